//! `sightline perf`: how fast models answer, apart from what they answer.

mod alone;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use sightline_harness::Options;
use sightline_harness::perf::{Measure, measure};
use sightline_report::performance::{Energy, Performance, Scenario};
use tempfile::TempDir;

use crate::args::SuiteArgs;
use crate::command::model::DeviceArg;
use crate::command::suite::Suite;
use crate::command::{exits, run, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;

use alone::Alone;

/// Arguments of `sightline perf`.
#[derive(Debug, Args)]
#[command(mut_arg("suite", |arg| arg
    .value_name("SUITE|MODEL")
    .help("Suite manifest or bundle, as `run` takes them; or one model alone: name of a model manifest, checkpoint folder, \
           or hf:OWNER/NAME@REVISION, which is asked what it can do about scenes that are made here")))]
pub(crate) struct PerfArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// How queries are made
    #[arg(long, value_enum, default_value_t = ScenarioArg::SingleStream)]
    scenario: ScenarioArg,

    /// Seconds of queries that are not counted
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = parse_seconds)]
    warm_up: f64,

    /// Seconds of queries that are counted, at least; 600 for figures that are to be compared
    #[arg(long, value_name = "S", default_value_t = 60.0, value_parser = parse_seconds)]
    seconds: f64,

    /// Queries that are counted, at least
    #[arg(long, value_name = "N", default_value_t = 1)]
    queries: u64,

    /// Different samples in memory, of which queries are drawn
    #[arg(long, value_name = "N", default_value_t = 256)]
    samples: u64,

    /// Images for a model alone, instead of scenes: files, folders, patterns or shards
    #[arg(long, num_args = 1.., value_name = "PATH")]
    images: Vec<PathBuf>,

    /// Folder of the manifests, for a model alone
    #[arg(long, default_value = "manifests", value_name = "DIR")]
    manifests: PathBuf,

    /// Folder for the records, beside those of scores
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    #[command(flatten)]
    device: DeviceArg,

    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

/// How queries are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScenarioArg {
    /// One sample as soon as the one before is answered: latencies count
    SingleStream,
    /// As many at once as the batch size says: samples in a second count
    Offline,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    schema: u32,
    records: Vec<Performance>,
}

pub(crate) fn run(args: &PerfArgs) -> Result<Exit, Failure> {
    let (mut suite, _input) = suite_of(args)?;
    let stop = Stop::listen()?;
    suite.roots.logs = Some(args.records.clone());
    let lock = suite.lock(&Bar::default(), &args.device)?;
    let options = Options {
        tool: run::tool(),
        command: run::command(),
        device: args.device.open()?,
        ..Options::new(&args.records)
    };
    let what = Measure {
        scenario: match args.scenario {
            ScenarioArg::SingleStream => Scenario::SingleStream,
            ScenarioArg::Offline => Scenario::Offline,
        },
        warm_up: Duration::from_secs_f64(args.warm_up),
        duration: Duration::from_secs_f64(args.seconds),
        queries: args.queries,
        samples: args.samples,
    };
    let mut records = Vec::new();
    let ended = measure(
        &suite.plan,
        &lock,
        &suite.roots,
        &options,
        &what,
        &Bar::default(),
        &stop.flag(),
        |record, path| {
            note(&format!("{}: {}", record.model, path.display()));
            records.push(record.clone());
        },
    );
    let printed = Printed { schema: 1, records };
    print_either(args.json, &printed, || text(&printed.records))?;
    match ended {
        Ok(()) => Ok(Exit::Done),
        Err(sightline_harness::Error::Stopped) => Ok(stop.exit()),
        Err(error) => {
            let doing = format!("measuring suite `{}`", suite.plan.suite);
            Err(Failure::new(exits::harness(&error), doing, &error))
        }
    }
}

/// The suite, or that of a model alone with the folder of its input.
fn suite_of(args: &PerfArgs) -> Result<(Suite, Option<TempDir>), Failure> {
    let named = &args.suite.suite;
    if !alone::is_model(named) {
        if !args.images.is_empty() {
            let cause = "`--images` is for a model alone, and a suite has its own";
            return Err(Failure::usage("choosing images", cause));
        }
        let mut suite = suite::load(&args.suite)?;
        suite.fetch_checkpoints(args.suite.offline)?;
        return Ok((suite, None));
    }
    if args.suite.models.is_some() {
        let cause = format!(
            "`{}` is the model, `--models` is for suites",
            named.display()
        );
        return Err(Failure::usage("choosing models", cause));
    }
    let alone = Alone {
        model: named,
        manifests: &args.manifests,
        data: &args.suite.data,
        checkpoints: &args.suite.checkpoint,
        images: &args.images,
        samples: args
            .suite
            .limit
            .map_or(args.samples, |limit| limit.min(args.samples)),
        kinds: args.suite.tasks.as_deref(),
        batch_size: args.suite.batch_size,
        offline: args.suite.offline,
    };
    let (suite, input) = alone.plan()?;
    Ok((suite, Some(input)))
}

fn text(records: &[Performance]) -> String {
    let lines = records.iter().map(|record| {
        let it = &record.measured;
        let energy = match &it.energy {
            Energy::Joules(joules) => format!("{:.3} J a sample", joules / it.samples.max(1) as f64),
            Energy::Unknown(why) => format!("energy unknown: {why}"),
        };
        let memory = it.peak_memory_bytes.map_or_else(
            || "memory unknown".to_owned(),
            |bytes| format!("{} MiB at most", bytes >> 20),
        );
        format!(
            "{} at {}: {:.2} samples/s; a query {:.2} ms (p50), {:.2} (p90), {:.2} (p99) of {}; {memory}; {energy}{}",
            record.model,
            record.task,
            it.samples_per_second,
            it.latency.p50_ms,
            it.latency.p90_ms,
            it.latency.p99_ms,
            it.latency.count,
            if it.meets_mlperf { "" } else { "; shorter than MLPerf asks" },
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds, at most 86400".to_owned()),
    }
}
