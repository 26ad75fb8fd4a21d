//! `sightline run`: predictions, scores with intervals, records.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_harness::{Options, RunOutcome, State};
use sightline_manifest::{Lock, Plan};
use sightline_metrics::Resources;
use sightline_report::record::{Record, Tool};
use sightline_report::text_table;

use crate::args::SuiteArgs;
use crate::command::model::DeviceArg;
use crate::command::suite::Suite;
use crate::command::{exits, metrics, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;

/// Arguments of `sightline run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// Folder for predictions and records; a run that was cut short continues in it
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    #[command(flatten)]
    device: DeviceArg,

    /// Refuse to run unless every file is the one in this lock
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,

    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    complete: bool,
    records: Vec<&'a Record>,
}

pub(crate) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    let mut suite = suite::load(&args.suite)?;
    suite.fetch_checkpoints(args.suite.offline)?;
    let stop = Stop::listen()?;
    let lock = suite.lock(&Bar::default())?;
    if let Some(path) = &args.locked
        && !is_as_locked(path, &lock)?
    {
        return Ok(Exit::No);
    }

    let options = options(&suite, &args.records, &args.device)?;
    let outcome = execute(&suite, &lock, &options, &stop)?;
    let records: Vec<&Record> = outcome
        .models
        .iter()
        .filter_map(|model| match &model.state {
            State::Recorded { record, .. } => Some(&**record),
            _ => None,
        })
        .collect();
    let printed = Printed {
        schema: 1,
        complete: outcome.is_complete(),
        records,
    };
    print_either(args.json, &printed, || {
        text_table(printed.records.iter().copied())
    })?;
    tell(&outcome);
    Ok(if outcome.is_complete() {
        Exit::Done
    } else {
        stop.exit()
    })
}

/// This program.
pub(crate) fn tool() -> Tool {
    Tool {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("SIGHTLINE_COMMIT").map(str::to_owned),
    }
}

pub(crate) fn execute(
    suite: &Suite,
    lock: &Lock,
    options: &Options,
    stop: &Stop,
) -> Result<RunOutcome, Failure> {
    let bar = Bar::default();
    let (plan, roots) = (&suite.plan, &suite.roots);
    sightline_harness::run(plan, lock, roots, options, &bar, &stop.flag()).map_err(|error| {
        let doing = format!("running suite `{}`", suite.plan.suite);
        Failure::new(exits::harness(&error), doing, &error)
    })
}

/// How a suite is run, into `records`.
pub(crate) fn options(
    suite: &Suite,
    records: &Path,
    device: &DeviceArg,
) -> Result<Options, Failure> {
    let device = device.open()?;
    Ok(Options {
        records: records.to_owned(),
        tool: tool(),
        command: std::iter::once("sightline".to_owned())
            // Arguments are any bytes, a record is text: what is no UTF-8 is shown as far as it can be.
            .chain(
                std::env::args_os()
                    .skip(1)
                    .map(|argument| argument.to_string_lossy().into_owned()),
            )
            .collect(),
        resources: resources(&suite.plan)?,
        device,
        paper_targets: suite.paper_targets()?,
    })
}

/// The tables that the metrics of `plan` need, of those that are there.
pub(crate) fn resources(plan: &Plan) -> Result<Resources, Failure> {
    let mut metrics = plan.tasks.iter().flat_map(|task| &task.metrics);
    let meteor = if metrics.any(|metric| metric == "meteor") {
        metrics::meteor_tables()?
    } else {
        None
    };
    Ok(Resources {
        meteor,
        ..Resources::default()
    })
}

/// Whether every file is the one in the lock at `path`; tells what is not.
fn is_as_locked(path: &Path, found: &Lock) -> Result<bool, Failure> {
    let locked = Lock::read(path).map_err(|error| {
        let doing = format!("reading lock `{}`", path.display());
        Failure::new(exits::manifest(&error), doing, &error)
    })?;
    let differences = locked.compare(found);
    for difference in &differences {
        note(&format!("not as locked: {difference}"));
    }
    if !differences.is_empty() {
        note(&format!(
            "hint: Bring back the files of `{}`, or make the lock again with `sightline lock`.",
            path.display()
        ));
    }
    Ok(differences.is_empty())
}

/// Says where records went, and what is missing.
fn tell(outcome: &RunOutcome) {
    for model in &outcome.models {
        match &model.state {
            State::Recorded { path, is_new, .. } => {
                let known = if *is_new { "" } else { " (the same as before)" };
                note(&format!("{}: {}{known}", model.model, path.display()));
            }
            State::Incomplete { tasks } => {
                for task in tasks {
                    let doing = format!("finishing {} for {}", task.task, model.model);
                    note(&Failure::new(Exit::Incomplete, doing, &task.error).to_string());
                }
            }
            State::Stopped => note(&format!("{}: interrupted", model.model)),
        }
    }
    if !outcome.is_complete() {
        note("incomplete: run the same command again to go on");
    }
}
