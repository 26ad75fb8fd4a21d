//! `sightline plan`: a suite with every name resolved and every default filled in, and what a run of it will need.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use sightline_harness::{Outlook, outlook};
use sightline_manifest::{Place, Plan, PlannedTask};

use crate::args::SuiteArgs;
use crate::command::{exits, suite};
use crate::exit::{Exit, Failure};
use crate::output::{print, print_either};

/// Arguments of `sightline plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// Folder of earlier predictions and records, which tell what is done and how long it took
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    /// Print the plan itself as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let suite = suite::load(&args.suite)?;
    let plan = &suite.plan;
    if args.json {
        print_either(true, plan, String::new)?;
        return Ok(Exit::Done);
    }
    let needs = outlook(plan, &suite.roots, &args.records).map_err(|error| {
        let doing = format!("looking at the files of suite `{}`", plan.suite);
        Failure::new(exits::harness(&error), doing, &error)
    })?;
    print(&format!("{}\n{}", text(plan), needs_text(&needs)))?;
    Ok(Exit::Done)
}

fn text(plan: &Plan) -> String {
    let mut text = format!("suite {}: {}\n", plan.suite, plan.description);
    let _ = writeln!(
        text,
        "seed {}, intervals of {} % from {} resamples",
        plan.seed.0,
        plan.bootstrap.confidence * 100.0,
        plan.bootstrap.resamples
    );
    if let Ok(digest) = plan.digest() {
        let _ = writeln!(text, "plan {digest}");
    }
    for (name, dataset) in &plan.datasets {
        let form = match &dataset.annotations {
            Some(annotations) => annotations.form.as_str(),
            None => dataset.format.as_deref().unwrap_or_default(),
        };
        let annotations = dataset.annotations.iter().flat_map(|a| a.files.values());
        let places: Vec<String> = dataset
            .shards
            .iter()
            .chain(annotations)
            .chain(&dataset.images)
            .chain(&dataset.regions)
            .map(place)
            .collect();
        let _ = writeln!(text, "dataset {name}: {form} {}", places.join(", "));
    }
    for (name, model) in &plan.models {
        let checkpoint = model.checkpoint.as_ref().map_or_else(String::new, |at| {
            format!(", checkpoint {}, tokenizer {}", place(at), model.tokenizer)
        });
        let weights = model
            .weights
            .as_ref()
            .map_or_else(String::new, |weights| format!(", weights in {weights}"));
        let _ = writeln!(
            text,
            "model {name}: family {}{checkpoint}{weights}",
            model.family
        );
    }
    for task in &plan.tasks {
        let limit = task
            .limit
            .map_or_else(String::new, |n| format!(", first {n} samples"));
        let _ = writeln!(
            text,
            "task {}: {} on {}{limit}{}\n  models: {}\n  metrics: {}",
            task.name,
            task.kind,
            task.dataset,
            options(task),
            task.models.join(", "),
            task.metrics.join(", ")
        );
    }
    for comparison in &plan.comparisons {
        let rows = comparison.rows.iter();
        let rows: Vec<String> = rows
            .map(|row| format!("{} at {}", row.model, row.task))
            .collect();
        let _ = writeln!(
            text,
            "comparison {}: {}\n  {} of {}",
            comparison.name,
            comparison.title,
            comparison.metric,
            rows.join(", ")
        );
    }
    text.truncate(text.trim_end().len());
    text
}

/// What a task says beside its dataset.
fn options(task: &PlannedTask) -> String {
    let mut text = String::new();
    if let Some(train) = &task.train {
        let _ = write!(text, ", learned from {train}");
    }
    if let Some(shown) = &task.demonstrations {
        let by = shown.by.iter().map(|by| format!(" by {by}"));
        let pool = shown.pool.iter().map(|pool| format!(" among {pool}"));
        let _ = match (shown.shots, shown.texts) {
            (0, texts) => write!(
                text,
                ", 0 shots and {} texts of {}",
                texts.unwrap_or(0),
                shown.dataset
            ),
            (shots, _) => write!(
                text,
                ", {shots} shots of {} ({}",
                shown.dataset, shown.choice
            ),
        };
        if shown.shots > 0 {
            text.extend(by.chain(pool));
            text.push(')');
        }
    }
    if let Some(repeats) = task.repeats {
        let _ = write!(text, ", shown {repeats} times again");
    }
    if let Some(likelihood) = &task.likelihood {
        let _ = write!(text, ", likelihood by {likelihood}");
    }
    text
}

fn needs_text(needs: &Outlook) -> String {
    let mut text = String::new();
    for inputs in &needs.inputs {
        let (owner, files, bytes) = (&inputs.owner, inputs.files, inputs.bytes);
        let _ = write!(text, "{owner}: {files} files, {bytes} bytes");
        let _ = match &inputs.missing[..] {
            [] => writeln!(text),
            missing => writeln!(text, "; missing: {}", missing.join(", ")),
        };
    }
    let recorded = needs.work.iter().filter(|work| work.is_recorded).count();
    let _ = writeln!(
        text,
        "recorded before: {recorded} of {} pairs of a model and a task",
        needs.work.len()
    );
    let (seconds, unknown) = needs.seconds();
    let _ = match (seconds > 0.0, unknown) {
        (false, 0) => writeln!(text, "time: nothing left to do"),
        (false, unknown) => writeln!(text, "time: unknown, {unknown} pairs were never measured"),
        (true, 0) => writeln!(text, "time: about {seconds:.0} s, by earlier records"),
        (true, unknown) => writeln!(
            text,
            "time: about {seconds:.0} s by earlier records, and {unknown} pairs that were never measured"
        ),
    };
    text.truncate(text.trim_end().len());
    text
}

fn place(place: &Place) -> String {
    match place {
        Place::Data(path) => format!("DATA/{path}"),
        Place::Manifests(path) => format!("MANIFESTS/{path}"),
        Place::Hub(name) => name.clone(),
        Place::Given(name) => format!("given for {name}"),
    }
}
