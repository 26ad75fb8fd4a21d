//! `sightline nightly`: the suites of a list, the board, and an alarm where something got worse.
//!
//! One step after the other: suites that are not recorded yet for their lock run; the board is made of everything that is
//! recorded; each model's record is compared with the one that it had in the last night. What cannot be done is a sentence
//! of the summary and keeps nothing else from being done. The night is noted in `nights.jsonl` only when all is written, so
//! that a night that was cut short is done again by the same command.

mod nights;
mod summary;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use clap::Args;
use sightline_core::Digest;
use sightline_harness::{Comparing, Error, State, TaskComparison, now, recorded, sentence};
use sightline_manifest::{Nightly, NightlySuite, Roots, load_nightly, manifests_folder};
use sightline_report::record::Record;
use sightline_report::{Stored, board, read_records};

use self::nights::{Night, NightModel, Nights};
use self::summary::{Compared, Metric, Regression, Standing, SuiteSummary, Summary};
use crate::args::SuiteArgs;
use crate::command::board::SAMPLES;
use crate::command::evidence::Sources;
use crate::command::model::DeviceArg;
use crate::command::suite::Suite;
use crate::command::{compare, exits, run, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;

/// Samples that got worse which an alarm names.
const FLIPS: usize = 5;

/// Arguments of `sightline nightly`.
#[derive(Debug, Args)]
pub(crate) struct NightlyArgs {
    /// List of suites, a TOML file among them
    #[arg(default_value = "manifests/suites/nightly.toml")]
    list: PathBuf,

    /// Folder below which the data folders of the list are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Folder for predictions and records of all nights; a night that was cut short continues in it
    #[arg(long, default_value = "records", value_name = "DIR")]
    records: PathBuf,

    /// Folder for the board and the summary (alerts.md, alerts.json)
    #[arg(long, default_value = "site", value_name = "DIR")]
    out: PathBuf,

    /// Ask nothing of the network: checkpoints on the hub (hf:…) have to be in its cache
    #[arg(long)]
    offline: bool,

    #[command(flatten)]
    device: DeviceArg,

    /// Show so many samples of each task on the board
    #[arg(long, value_name = "N", default_value_t = SAMPLES)]
    samples: usize,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// What became of a suite, and the records that its models now have.
struct Ran {
    summary: SuiteSummary,
    models: Vec<(String, Digest)>,
    data: PathBuf,
    path: PathBuf,
}

pub(crate) fn run(args: &NightlyArgs) -> Result<Exit, Failure> {
    let list = load_nightly(&args.list).map_err(|error| {
        let doing = format!("reading the list `{}`", args.list.display());
        Failure::new(exits::manifest(&error), doing, &error)
    })?;
    fs::create_dir_all(&args.records)
        .map_err(|error| Failure::io(format!("making `{}`", args.records.display()), &error))?;
    let _held = hold(&args.records)?;
    let stop = Stop::listen()?;
    let began = now();
    let nights = Nights::read(&args.records)?;

    let mut all = Vec::new();
    for one in &list.suites {
        note(&format!("{}: suite {}", list.name, one.name));
        let (ran, was_stopped) = suite_of_night(args, one, &stop)?;
        if was_stopped {
            note("interrupted: run the same command again to go on with this night");
            return Ok(stop.exit());
        }
        all.push(ran);
    }

    let reading = |error| Failure::new(exits::report(&error), "reading records", &error);
    let records = read_records(&args.records).map_err(reading)?;
    let sources = Sources {
        suites: all
            .iter()
            .map(|ran| (ran.path.clone(), Some(ran.data.clone())))
            .collect(),
        data: args.data.clone(),
        samples: args.samples,
    };
    let making = |error| Failure::new(exits::report(&error), "making the board", &error);
    let evidence = sources.evidence(&records);
    let (comparisons, problems) = sources.comparisons(&records);
    for problem in problems {
        note(&problem);
    }
    board(&records, &evidence, &comparisons, &args.out).map_err(making)?;

    let last = nights.last(&list.name);
    for ran in &mut all {
        let now: Vec<(&str, Option<&Stored>)> = ran
            .models
            .iter()
            .map(|(model, id)| {
                (
                    model.as_str(),
                    records.iter().find(|stored| stored.id == *id),
                )
            })
            .collect();
        for (model, stored) in now {
            let Some(stored) = stored else { continue };
            let before = last.and_then(|night| night.record_of(&ran.summary.suite, model));
            let compared = compared(&list, &ran.path, &ran.data, stored, before, last, &records);
            ran.summary.models.push(compared);
        }
    }
    let night = Night {
        schema: 1,
        nightly: list.name.clone(),
        began: began.clone(),
        models: all
            .iter()
            .flat_map(|ran| {
                let suite = &ran.summary.suite;
                ran.models.iter().map(|(model, record)| NightModel {
                    suite: suite.clone(),
                    model: model.clone(),
                    record: *record,
                })
            })
            .chain(kept(last, &all))
            .collect(),
    };
    let summary = Summary::new(
        &list,
        began,
        last.map(|night| night.began.clone()),
        all.into_iter().map(|ran| ran.summary).collect(),
    );
    summary.write(&args.out)?;
    nights.add(&night)?;
    print_either(args.json, &summary, || summary.markdown())?;
    Ok(summary.exit())
}

/// Records of the last night whose suites or models failed in this one: the next night compares with them.
fn kept(last: Option<&Night>, all: &[Ran]) -> Vec<NightModel> {
    let is_missing = |model: &&NightModel| {
        all.iter().any(|ran| {
            ran.summary.suite == model.suite
                && !ran.models.iter().any(|(name, _)| *name == model.model)
        })
    };
    let before = last.iter().flat_map(|night| &night.models);
    before.filter(is_missing).cloned().collect()
}

/// Keeps other nights out of the records folder while this one lasts.
fn hold(records: &Path) -> Result<File, Failure> {
    let path = records.join(".nightly.lock");
    let failure =
        |error: &std::io::Error| Failure::io(format!("opening `{}`", path.display()), error);
    let file = File::create(&path).map_err(|error| failure(&error))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let held = std::io::Error::other("another night is running in this folder");
            Err(Failure::io(format!("locking `{}`", path.display()), &held)
                .with_hint("Wait until it has ended, or choose another folder with `--records`."))
        }
        // Where the system has no locks, two nights are the person's own doing.
        _ => Ok(file),
    }
}

/// Runs a suite if it is not recorded yet. What is wrong with it is told in its summary; also returns whether the program
/// was asked to stop.
fn suite_of_night(
    args: &NightlyArgs,
    one: &NightlySuite,
    stop: &Stop,
) -> Result<(Ran, bool), Failure> {
    let data = match &one.data {
        Some(data) => args.data.join(data),
        None => args.data.clone(),
    };
    let mut ran = Ran {
        summary: SuiteSummary::new(&one.name),
        models: Vec::new(),
        path: one.path.clone(),
        data,
    };
    let loaded = suite::load(&arguments(args, one, &ran.data)).and_then(|mut loaded| {
        loaded.fetch_checkpoints(args.offline)?;
        let lock = loaded.lock(&Bar::default(), &args.device)?;
        Ok((loaded, lock))
    });
    let (loaded, lock) = match loaded {
        Ok(loaded) => loaded,
        Err(failure) => {
            ran.summary.fail(&failure.to_string());
            return Ok((ran, false));
        }
    };
    let reading = |error| Failure::new(exits::report(&error), "reading records", &error);
    let records = read_records(&args.records).map_err(reading)?;
    let known = recorded(&loaded.plan, &lock, &run::tool(), &records)
        .map_err(|error| Failure::new(exits::harness(&error), "looking for records", &error))?;
    if known.values().all(Option::is_some) {
        let known = known
            .into_iter()
            .filter_map(|(model, stored)| Some((model, stored?.id)));
        ran.models = known.collect();
        ran.summary.standing = Standing::Known;
        return Ok((ran, false));
    }
    let mut options = run::options(&loaded, &args.records, &args.device, None)?;
    options.command = command(args, one, &ran.data, &loaded);
    let outcome = match run::execute(&loaded, &lock, &options, stop) {
        Ok(outcome) => outcome,
        Err(failure) => {
            ran.summary.fail(&failure.to_string());
            return Ok((ran, false));
        }
    };
    let records = read_records(&args.records).map_err(reading)?;
    ran.summary.standing = Standing::Ran;
    for model in &outcome.models {
        match &model.state {
            State::Recorded { path, .. } => {
                let is_it = |stored: &&Stored| stored.folder.join(&stored.path) == *path;
                let stored = records.iter().find(is_it);
                ran.models
                    .extend(stored.map(|stored| (model.model.clone(), stored.id)));
            }
            State::Incomplete { tasks } => {
                for task in tasks {
                    let sentence = sentence(&task.error);
                    ran.summary
                        .incomplete(&format!("{} at {}: {sentence}", model.model, task.task));
                }
            }
            // A night runs whole suites.
            State::Part { .. } | State::Stopped => {}
        }
    }
    Ok((ran, outcome.stopped))
}

/// The suite as `run` would be given it.
fn arguments(args: &NightlyArgs, one: &NightlySuite, data: &Path) -> SuiteArgs {
    let written = one.checkpoints.iter();
    let checkpoint = written.map(|(model, place)| (model.clone(), place.into()));
    SuiteArgs {
        suite: one.path.clone(),
        data: data.to_owned(),
        checkpoint: checkpoint.collect(),
        offline: args.offline,
        models: None,
        tasks: None,
        limit: None,
        batch_size: None,
    }
}

/// The command that makes the records of a suite again.
fn command(args: &NightlyArgs, one: &NightlySuite, data: &Path, loaded: &Suite) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec![
        "sightline".to_owned(),
        "run".to_owned(),
        text(&one.path),
        "--data".to_owned(),
        text(data),
        "--records".to_owned(),
        text(&args.records),
    ];
    for (model, place) in arguments(args, one, data).checkpoint {
        let source = loaded.roots.sources.get(&model);
        let place = source.cloned().unwrap_or_else(|| text(&place));
        words.push("--checkpoint".to_owned());
        words.push(format!("{model}={place}"));
    }
    words
}

/// How a model's record compares with the one of the last night.
fn compared(
    list: &Nightly,
    suite: &Path,
    data: &Path,
    stored: &Stored,
    before: Option<Digest>,
    last: Option<&Night>,
    records: &[Stored],
) -> Compared {
    let mut compared = Compared::new(stored);
    let Some(last) = last else {
        compared.say("The first night: there is nothing to compare with.");
        return compared;
    };
    let Some(before) = before else {
        compared.say(&format!(
            "Not in the night of {}: there is nothing to compare with.",
            last.began
        ));
        return compared;
    };
    if before == stored.id {
        compared.say("The record of the last night: nothing that it is made from has changed.");
        return compared;
    }
    let Some(before) = records.iter().find(|stored| stored.id == before) else {
        compared.say(&format!(
            "The record of the last night, {}, is gone: not compared.",
            before.short()
        ));
        return compared;
    };
    compared.before = Some(before.path.clone());
    compared.say(&changes(&before.record, &stored.record));
    match tasks(suite, data, before, stored) {
        Err(why) => compared.say(&format!("Not compared: {why}")),
        Ok(tasks) => {
            for (task, outcome) in tasks {
                match outcome {
                    Err(error) => compared.say(&not_compared(&task, &error)),
                    Ok(task) => judge(&mut compared, &task, list.fail_below),
                }
            }
        }
    }
    for (of, others, word) in [
        (&stored.record, &before.record, "new"),
        (&before.record, &stored.record, "gone"),
    ] {
        for task in &of.tasks {
            if !others.tasks.iter().any(|other| other.task == task.task) {
                compared.say(&format!("Task {} is {word}.", task.task));
            }
        }
    }
    compared
}

/// What a record was made from that the one before was not.
fn changes(before: &Record, after: &Record) -> String {
    if before.lock == after.lock {
        return format!(
            "The same lock, {}, by another build: {} was {}.",
            after.lock.short(),
            after.tool.version,
            before.tool.version
        );
    }
    let files = |record: &Record, kind: &str| {
        let own = record
            .files
            .iter()
            .filter(|file| file.owner.starts_with(kind));
        own.map(|file| (file.owner.clone(), file.name.clone(), file.sha256))
            .collect::<Vec<_>>()
    };
    let mut changed = Vec::new();
    for (kind, words) in [
        ("model:", "files of the model"),
        ("dataset:", "files of datasets"),
    ] {
        if files(before, kind) != files(after, kind) {
            changed.push(words);
        }
    }
    if before.plan != after.plan {
        changed.push("the plan");
    }
    if changed.is_empty() {
        changed.push("how images are prepared");
    }
    format!(
        "Another lock than in the last night ({}, was {}): {} changed.",
        after.lock.short(),
        before.lock.short(),
        changed.join(" and ")
    )
}

type Tasks = Vec<(String, Result<TaskComparison, Error>)>;

/// The comparisons of all tasks that both records have; or why there are none.
fn tasks(suite: &Path, data: &Path, before: &Stored, after: &Stored) -> Result<Tasks, String> {
    let records = [&before.record, &after.record].into_iter();
    let plan = compare::plan_of(suite, records, None, None).map_err(|error| sentence(&error))?;
    let manifests = manifests_folder(suite).map_err(|error| sentence(&error))?;
    let roots = Roots {
        data: data.to_owned(),
        manifests,
        ..Roots::default()
    };
    let resources = run::resources(&plan).map_err(|failure| failure.to_string())?;
    let comparing = Comparing {
        plan: &plan,
        roots: &roots,
        resources: &resources,
        flips: FLIPS,
    };
    Ok(comparing.each(before, after, &Bar::default()))
}

/// Why a task was not compared.
fn not_compared(task: &str, error: &Error) -> String {
    let is_missing = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
    match error {
        Error::Io { path, source } if is_missing(source) => format!(
            "Task {task} is not compared: the predictions `{}` are gone.",
            path.display()
        ),
        Error::Incomparable { .. } | Error::OtherData { .. } | Error::OtherProtocol { .. } => {
            format!(
                "Task {task} is not comparable with the last night: {}",
                sentence(error)
            )
        }
        error => format!("Task {task} is not compared: {}", sentence(error)),
    }
}

/// Adds what a comparison found.
fn judge(compared: &mut Compared, task: &TaskComparison, fail_below: f64) {
    for one in &task.metrics {
        let metric = Metric::new(task, one);
        if let Some(drop) = compare::worse_by(one, fail_below) {
            compared.regressions.push(Regression {
                task: task.task.clone(),
                metric: one.metric.clone(),
                drop,
                p: one.p_corrected,
                worst: metric.worst.clone(),
            });
        }
        compared.metrics.push(metric);
    }
}
