//! `sightline compare`: whether two records differ, sample by sample.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_core::SampleKey;
use sightline_core::text::{count, counted};
use sightline_harness::{Comparing, Flip, MetricComparison, TaskComparison};
use sightline_manifest::{Overrides, Plan, Roots, load_suite, manifests_folder};
use sightline_report::record::Record;
use sightline_report::{Stored, find_pair, read_records};

use crate::command::{exits, run};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};

/// Chance of calling a difference significant that is none.
const LEVEL: f64 = 0.05;

/// Arguments of `sightline compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The first record: its file, the first digits of its id, or the name of a model, whose latest record is taken
    #[arg(value_name = "A")]
    first: String,

    /// The second record: what is asked is whether it is better or worse than the first
    #[arg(value_name = "B")]
    second: String,

    /// Folder of records, as `sightline run` writes it
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    /// Suite manifest of the records [default: the one of their suite's name in `manifests/suites`]
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,

    /// Folder below which the datasets are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Compare only these tasks
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    tasks: Option<Vec<String>>,

    /// The limit that the records were made with
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// End with 1 where the second is worse by more than this by any metric, and significantly so
    #[arg(long, value_name = "DROP", value_parser = parse_drop)]
    fail_below: Option<f64>,

    /// List so many of the samples that got worse, and as many of those that got better, of each metric
    #[arg(long, value_name = "N", default_value_t = 3)]
    flips: usize,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

fn parse_drop(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(drop) if drop >= 0.0 && drop.is_finite() => Ok(drop),
        _ => Err("expected a number from 0 on, in the unit of the metric: 0.01".to_owned()),
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    suite: &'a str,
    a: Named<'a>,
    b: Named<'a>,
    tasks: Vec<PrintedTask<'a>>,
    /// Metrics by which the second is worse by more than `--fail-below`, and significantly.
    regressions: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    model: &'a str,
    record: &'a str,
    created: &'a str,
}

#[derive(Debug, Serialize)]
struct PrintedTask<'a> {
    task: &'a str,
    dataset: &'a str,
    samples: u64,
    paired: u64,
    failed: [u64; 2],
    metrics: Vec<PrintedMetric<'a>>,
}

#[derive(Debug, Serialize)]
struct PrintedMetric<'a> {
    metric: &'a str,
    higher_is_better: bool,
    a: Option<f64>,
    b: Option<f64>,
    difference: Option<f64>,
    interval: Option<[f64; 2]>,
    p_bootstrap: Option<f64>,
    p_randomisation: Option<f64>,
    p_corrected: Option<f64>,
    detectable: Option<f64>,
    items: u64,
    wins: u64,
    losses: u64,
    ties: u64,
    flips: Vec<PrintedFlip<'a>>,
}

#[derive(Debug, Serialize)]
struct PrintedFlip<'a> {
    key: Option<&'a str>,
    item: usize,
    a: f64,
    b: f64,
}

pub(crate) fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let reading = |error| Failure::new(exits::report(&error), "reading records", &error);
    let records = read_records(&args.records).map_err(reading)?;
    let names = [args.first.as_str(), args.second.as_str()];
    let both = find_pair(&records, &args.records, names)
        .map_err(|error| Failure::new(Exit::Usage, "looking for the records", &error))?;
    let [a, b] = both;

    let file = args.suite.clone();
    let file = file.unwrap_or_else(|| suite_called(&a.record.suite));
    let doing = || format!("reading suite `{}`", file.display());
    let of_suite = |error| Failure::new(exits::manifest(&error), doing(), &error);
    let records = both.iter().map(|stored| &stored.record);
    let plan = plan_of(&file, records, args.tasks.clone(), args.limit).map_err(of_suite)?;
    let roots = Roots {
        data: args.data.clone(),
        manifests: manifests_folder(&file).map_err(of_suite)?,
        ..Roots::default()
    };
    let resources = run::resources(&plan)?;
    let comparing = Comparing {
        plan: &plan,
        roots: &roots,
        resources: &resources,
        flips: args.flips,
    };
    let tasks = comparing
        .records(a, b, &Bar::default())
        .map_err(|error| Failure::new(exits::harness(&error), "comparing the records", &error))?;

    let worse = regressions(&tasks, args.fail_below);
    let printed = Printed {
        schema: 1,
        suite: &plan.suite,
        a: name_of(a),
        b: name_of(b),
        tasks: tasks.iter().map(printed_task).collect(),
        regressions: worse,
    };
    print_either(args.json, &printed, || text(&printed))?;
    if printed.regressions.is_empty() {
        return Ok(Exit::Done);
    }
    for regression in &printed.regressions {
        note(&format!("worse: {regression}"));
    }
    Ok(Exit::No)
}

/// Where the manifest of the suite `name` is unless a person says otherwise.
pub(crate) fn suite_called(name: &str) -> PathBuf {
    let file = format!("{name}.toml");
    Path::new("manifests").join("suites").join(file)
}

/// The plan of the suite in `file`, as the models of `records` were asked. No weights are read: where they are does not
/// matter.
pub(crate) fn plan_of<'r>(
    file: &Path,
    records: impl Iterator<Item = &'r Record> + Clone,
    tasks: Option<Vec<String>>,
    limit: Option<u64>,
) -> Result<Plan, sightline_manifest::Error> {
    let models = records.map(|record| &record.model);
    let trained = models.clone().filter(|model| !model.baseline);
    let overrides = Overrides {
        manifests: None,
        checkpoints: trained.map(|model| model.name.clone()).collect(),
        models: Some(models.map(|model| model.name.clone()).collect()),
        tasks,
        limit,
    };
    load_suite(file, &sightline_harness::catalog(), &overrides)
}

fn name_of(stored: &Stored) -> Named<'_> {
    Named {
        model: &stored.record.model.name,
        record: &stored.path,
        created: &stored.record.created,
    }
}

/// What is worse than may be.
fn regressions(tasks: &[TaskComparison], most: Option<f64>) -> Vec<String> {
    let Some(most) = most else {
        return Vec::new();
    };
    let metrics = tasks
        .iter()
        .flat_map(|task| task.metrics.iter().map(move |one| (task, one)));
    metrics
        .filter_map(|(task, one)| {
            let drop = worse_by(one, most)?;
            Some(format!("{} {} by {drop:.4}", task.task, one.metric))
        })
        .collect()
}

/// By how much the second is worse, if that is more than `most` and significant.
pub(crate) fn worse_by(one: &MetricComparison, most: f64) -> Option<f64> {
    let is_significant = one.p_corrected.is_some_and(|p| p < LEVEL);
    one.gain()
        .map(|gain| -gain)
        .filter(|drop| *drop > most && is_significant)
}

fn printed_task(task: &TaskComparison) -> PrintedTask<'_> {
    PrintedTask {
        task: &task.task,
        dataset: &task.dataset,
        samples: task.samples,
        paired: task.paired,
        failed: task.failed,
        metrics: task.metrics.iter().map(printed_metric).collect(),
    }
}

fn printed_metric(one: &MetricComparison) -> PrintedMetric<'_> {
    let of = &one.comparison;
    PrintedMetric {
        metric: &one.metric,
        higher_is_better: one.higher_is_better,
        a: of.a,
        b: of.b,
        difference: of.difference,
        interval: of.interval.map(|ends| [ends.low, ends.high]),
        p_bootstrap: of.p_bootstrap,
        p_randomisation: of.p_randomisation,
        p_corrected: one.p_corrected,
        detectable: of.detectable,
        items: of.items,
        wins: one.wins,
        losses: one.losses,
        ties: one.ties,
        flips: one.flips.iter().map(printed_flip).collect(),
    }
}

fn printed_flip(flip: &Flip) -> PrintedFlip<'_> {
    PrintedFlip {
        key: flip.key.as_ref().map(SampleKey::as_str),
        item: flip.item,
        a: flip.values[0],
        b: flip.values[1],
    }
}

const HEADINGS: [&str; 8] = ["", "A", "B", "B - A", "interval", "p", "better", "worse"];

/// Tables for people: one of each task, and the samples that changed most.
fn text(printed: &Printed<'_>) -> String {
    let mut text = String::new();
    for (letter, side) in [("A", &printed.a), ("B", &printed.b)] {
        let _ = writeln!(text, "{letter}  {}  {}", side.model, side.record);
    }
    for task in &printed.tasks {
        let _ = write!(
            text,
            "\n{} on {}: {} of {} compared",
            task.task,
            task.dataset,
            counted(task.paired as usize, "sample"),
            count(task.samples)
        );
        for (letter, failed) in ["A", "B"].iter().zip(task.failed) {
            if failed > 0 {
                let _ = write!(text, ", {} failed by {letter}", count(failed));
            }
        }
        text.push('\n');
        let rows: Vec<[String; 8]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(task.metrics.iter().map(row))
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        for row in &rows {
            let mut line = format!("  {:<1$}", row[0], width(0));
            for (column, cell) in row.iter().enumerate().skip(1) {
                let _ = write!(line, "  {cell:>0$}", width(column));
            }
            let _ = writeln!(text, "{}", line.trim_end());
        }
        for metric in task
            .metrics
            .iter()
            .filter(|metric| !metric.flips.is_empty())
        {
            let changed = |flip: &PrintedFlip<'_>| {
                let name = flip
                    .key
                    .map_or_else(|| format!("item {}", flip.item), str::to_owned);
                format!("{name} {} → {}", short(flip.a), short(flip.b))
            };
            let flips: Vec<String> = metric.flips.iter().map(changed).collect();
            let _ = writeln!(
                text,
                "  {} changed most: {}",
                metric.metric,
                flips.join(", ")
            );
        }
    }
    text.push_str("\np: approximate randomisation, corrected for all rows (Holm); better and worse: items by their own value");
    text
}

fn row(one: &PrintedMetric<'_>) -> [String; 8] {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.4}"));
    let signed = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:+.4}"));
    let interval = one
        .interval
        .map(|[low, high]| format!("[{low:+.4}, {high:+.4}]"));
    [
        one.metric.to_owned(),
        number(one.a),
        number(one.b),
        signed(one.difference),
        interval.unwrap_or_else(|| "–".to_owned()),
        number(one.p_corrected),
        count(one.wins),
        count(one.losses),
    ]
}

/// A value of one sample: most are 0 or 1.
fn short(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
