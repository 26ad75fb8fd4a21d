//! `sightline verify`: whether a record can be made again.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_harness::{
    Agreement, Comparing, Options, State, VerifiedTask, check_protocols, verify,
};
use sightline_manifest::Lock;
use sightline_report::record::Record;
use sightline_report::{Stored, find_record, read_records};

use crate::args::SuiteArgs;
use crate::command::model::DeviceArg;
use crate::command::suite::Suite;
use crate::command::{exits, run, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;

/// Arguments of `sightline verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The record: its file, the first digits of its id, or the name of a model, whose latest record is taken
    #[arg(value_name = "RECORD")]
    record: String,

    /// Folder of records, as `sightline run` writes it
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    /// Suite manifest of the record [default: the one of its suite's name in `manifests/suites`]
    #[arg(long, value_name = "FILE")]
    suite: Option<PathBuf>,

    /// Folder below which datasets and checkpoints are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Checkpoint folder of the model, or hf:OWNER/NAME@REVISION [default: what the manifest says]
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,

    /// Ask nothing of the network: a checkpoint on the hub (hf:…) has to be in its cache
    #[arg(long)]
    offline: bool,

    /// The limit that the record was made with
    #[arg(long, value_name = "N")]
    limit: Option<u64>,

    /// Samples in a batch; changes speed and memory, never a score
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Folder for the new predictions, removed at the end; a run that was cut short continues in it
    /// [default: RECORDS.verify]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    #[command(flatten)]
    device: DeviceArg,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    record: &'a str,
    /// The least agreement of a task.
    agreement: &'static str,
    tasks: Vec<PrintedTask<'a>>,
}

#[derive(Debug, Serialize)]
struct PrintedTask<'a> {
    task: &'a str,
    agreement: &'static str,
    changed: &'a [(String, Option<f64>, Option<f64>)],
}

pub(crate) fn run(args: &VerifyArgs) -> Result<Exit, Failure> {
    let reading = |error| Failure::new(exits::report(&error), "reading records", &error);
    let records = read_records(&args.records).map_err(reading)?;
    let recorded = find_record(&records, &args.records, &args.record)
        .map_err(|error| Failure::new(Exit::Usage, "looking for the record", &error))?;
    let record = &recorded.record;

    let mut suite = suite::load(&suite_of(args, record))?;
    check_protocols(&suite.plan, record).map_err(|error| {
        let doing = format!("comparing suite `{}` with the record", record.suite);
        Failure::new(exits::harness(&error), doing, &error)
    })?;
    suite.fetch_checkpoints(args.offline)?;
    let stop = Stop::listen()?;
    let lock = suite.lock(&Bar::default(), &args.device)?;
    let others = other_files(record, &lock);
    if !others.is_empty() {
        for file in &others {
            note(&format!("not as recorded: {file}"));
        }
        note(
            "hint: Bring back the files that the record names; with others nothing is made again.",
        );
        return Ok(Exit::No);
    }

    let scratch = args.scratch.clone().unwrap_or_else(|| {
        let mut name = args.records.clone().into_os_string();
        name.push(".verify");
        name.into()
    });
    let Some(again) = execute(&suite, &lock, args, record, &scratch, &stop)? else {
        note("incomplete: run the same command again to go on");
        return Ok(stop.exit());
    };
    let resources = run::resources(&suite.plan)?;
    let comparing = Comparing {
        plan: &suite.plan,
        roots: &suite.roots,
        resources: &resources,
        flips: 0,
    };
    let tasks = verify(recorded, &again, &comparing, &Bar::default()).map_err(|error| {
        Failure::new(exits::harness(&error), "comparing with the record", &error)
    })?;
    fs::remove_dir_all(&scratch)
        .map_err(|error| Failure::io(format!("removing `{}`", scratch.display()), &error))?;

    let least = tasks.iter().map(|task| task.agreement).max();
    let least = least.unwrap_or(Agreement::Bitwise);
    let printed = Printed {
        schema: 1,
        record: &recorded.path,
        agreement: least.words(),
        tasks: tasks.iter().map(printed_task).collect(),
    };
    print_either(args.json, &printed, || text(&printed))?;
    Ok(if least == Agreement::Differs {
        Exit::No
    } else {
        Exit::Done
    })
}

/// The part of the suite that made the record.
fn suite_of(args: &VerifyArgs, record: &Record) -> SuiteArgs {
    let file = format!("{}.toml", record.suite);
    let default = || Path::new("manifests").join("suites").join(file);
    let name = &record.model.name;
    let place = args
        .checkpoint
        .iter()
        .map(|place| (name.clone(), place.clone()));
    SuiteArgs {
        suite: args.suite.clone().unwrap_or_else(default),
        data: args.data.clone(),
        checkpoint: place.collect(),
        offline: args.offline,
        models: Some(vec![name.clone()]),
        tasks: Some(record.tasks.iter().map(|task| task.task.clone()).collect()),
        limit: args.limit,
        batch_size: args.batch_size,
    }
}

/// What the lock has otherwise than the record.
fn other_files(record: &Record, lock: &Lock) -> Vec<String> {
    let mut others = Vec::new();
    for file in &lock.files {
        let is_it =
            |it: &&sightline_report::record::File| it.owner == file.owner && it.name == file.name;
        match record.files.iter().find(is_it) {
            None => others.push(format!("{} `{}` is new", file.owner, file.name)),
            Some(it) if it.sha256 != file.sha256 => {
                others.push(format!("{} `{}` has other bytes", file.owner, file.name));
            }
            Some(_) => {}
        }
    }
    for it in &record.files {
        let is_there =
            |file: &sightline_manifest::LockedFile| it.owner == file.owner && it.name == file.name;
        if !lock.files.iter().any(is_there) {
            others.push(format!("{} `{}` is missing", it.owner, it.name));
        }
    }
    others
}

/// Makes the record again below `scratch`; `None` if it was stopped or a shard is damaged.
fn execute(
    suite: &Suite,
    lock: &Lock,
    args: &VerifyArgs,
    record: &Record,
    scratch: &Path,
    stop: &Stop,
) -> Result<Option<Stored>, Failure> {
    let options = Options {
        resources: run::resources(&suite.plan)?,
        card: args.device.card(None)?,
        device: args.device.open()?,
        ..Options::new(scratch)
    };
    let flag = stop.flag();
    let outcome = sightline_harness::run(
        &suite.plan,
        lock,
        &suite.roots,
        &options,
        &Bar::default(),
        &flag,
    )
    .map_err(|error| {
        let doing = format!("running suite `{}` again", record.suite);
        Failure::new(exits::harness(&error), doing, &error)
    })?;
    let Some(State::Recorded { path, .. }) =
        outcome.models.into_iter().next().map(|model| model.state)
    else {
        return Ok(None);
    };
    let reading = |error| Failure::new(exits::report(&error), "reading the new record", &error);
    let again = read_records(scratch).map_err(reading)?;
    Ok(again
        .into_iter()
        .find(|stored| path.ends_with(&stored.path)))
}

fn printed_task(task: &VerifiedTask) -> PrintedTask<'_> {
    PrintedTask {
        task: &task.task,
        agreement: task.agreement.words(),
        changed: &task.changed,
    }
}

/// A line for each task, and one for each score that changed.
fn text(printed: &Printed<'_>) -> String {
    let value = |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), |v| v.to_string());
    let mut lines = vec![format!("{}: {}", printed.record, printed.agreement)];
    for task in &printed.tasks {
        lines.push(format!("  {}: {}", task.task, task.agreement));
        for (metric, old, new) in task.changed {
            lines.push(format!(
                "    {metric}: {} in the record, {} now",
                value(*old),
                value(*new)
            ));
        }
    }
    lines.join("\n")
}
