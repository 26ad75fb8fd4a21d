//! `sightline run`: predictions, scores with intervals, records.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_core::Digest;
use sightline_harness::{Options, Part, RunOutcome, State};
use sightline_manifest::{Lock, Plan};
use sightline_metrics::Resources;
use sightline_report::record::{Record, Tool};
use sightline_report::{comparisons_text, text_table};

use crate::args::SuiteArgs;
use crate::cache;
use crate::command::device::DecodeArg;
use crate::command::evidence::comparisons;
use crate::command::model::DeviceArg;
use crate::command::size::parse_size;
use crate::command::suite::Suite;
use crate::command::{exits, metrics, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;

/// Most parts of a run.
const MAX_PARTS: usize = 1 << 16;

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

    /// Who decodes JPEG files on --device cuda: host, any or card. With host the scores are the same again; else pixels
    /// differ by some levels, by who was free, and predictions are kept apart [default: host]
    #[arg(long, value_enum, value_name = "WHO", hide_possible_values = true)]
    decode: Option<DecodeArg>,

    /// Refuse to run unless every file is the one in this lock
    #[arg(long, value_name = "FILE")]
    locked: Option<PathBuf>,

    #[command(flatten)]
    cache: CacheArgs,

    /// Predict part I of N of each task's examples only; `sightline merge` puts the parts together
    #[arg(long, value_name = "I/N", value_parser = parse_part, conflicts_with = "self_check")]
    part: Option<Part>,

    /// Predict the first N examples of each task again, in other batches, orders and numbers of threads: the record says
    /// whether every answer was the same, and exit code 1 that one was not
    #[arg(long, value_name = "N", num_args = 0..=1, default_value_t = 0, default_missing_value = "32")]
    self_check: usize,

    /// Print the records as JSON
    #[arg(long)]
    json: bool,
}

/// Answers that are kept between runs.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    /// Folder of answers that are kept: what was asked of the same weights in the same way is not asked again
    /// [default: `predictions` in the cache folder]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Most bytes of kept answers, for example 2GiB; those used longest ago go first
    #[arg(long, value_name = "SIZE", default_value = "10GiB", value_parser = parse_size)]
    cache_limit: u64,

    /// Keep no answers, and ask everything again
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

impl CacheArgs {
    /// The folder, and what tells this build from another one.
    fn resolve(&self) -> Result<(Option<PathBuf>, String), Failure> {
        if self.no_cache {
            return Ok((None, String::new()));
        }
        let folder = match &self.cache {
            Some(folder) => folder.clone(),
            None => cache::folder()?.join("predictions"),
        };
        Ok((Some(folder), code()?))
    }
}

/// The commit that this program was built from; where there is none, or more than a commit, the digest of the program.
fn code() -> Result<String, Failure> {
    match option_env!("SIGHTLINE_COMMIT") {
        Some(commit) if !commit.ends_with("-dirty") => Ok(commit.to_owned()),
        _ => {
            let failed = |error| Failure::io("digesting this program", &error);
            let program = std::env::current_exe()
                .and_then(File::open)
                .map_err(failed)?;
            let (digest, _) = Digest::of_reader(program).map_err(failed)?;
            Ok(digest.to_string())
        }
    }
}

fn parse_part(text: &str) -> Result<Part, String> {
    let numbers = text.split_once('/');
    let numbers = numbers.and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    match numbers {
        Some((number, count)) if (1..=count).contains(&number) && count <= MAX_PARTS => {
            Ok(Part { number, count })
        }
        _ => Err(format!(
            "expected I/N, for example 2/4, with N at most {MAX_PARTS}"
        )),
    }
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
    suite.roots.logs = Some(args.records.clone());
    let lock = suite.lock(&Bar::default(), &args.device)?;
    if let Some(path) = args.locked.as_ref().or(suite.lock.as_ref()) {
        // A bundle is of files; another build of the program may run it, unless the person names the lock.
        let of_files = args.locked.is_none();
        if !is_as_locked(path, &lock, of_files)? {
            return Ok(Exit::No);
        }
    }

    let (cache, code) = args.cache.resolve()?;
    let options = Options {
        cache,
        cache_limit: Some(args.cache.cache_limit),
        code,
        part: args.part,
        self_check: args.self_check,
        ..options(&suite, &args.records, &args.device, args.decode)?
    };
    let outcome = execute(&suite, &lock, &options, &stop)?;
    conclude(&suite.plan, &outcome, args.json, &stop)
}

/// Prints the records of `outcome` and what `plan` puts side by side, says what is missing, and how the program ends.
pub(crate) fn conclude(
    plan: &Plan,
    outcome: &RunOutcome,
    json: bool,
    stop: &Stop,
) -> Result<Exit, Failure> {
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
    print_either(json, &printed, || {
        let records = || printed.records.iter().copied();
        let figures = comparisons_text(records(), &comparisons(plan));
        let gap = if figures.is_empty() { "" } else { "\n" };
        format!("{}{gap}{figures}", text_table(records()))
    })?;
    tell(outcome);
    Ok(if !outcome.is_complete() {
        stop.exit()
    } else if outcome.differs_from_itself() {
        Exit::No
    } else if outcome.failed() > 0 {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

/// This program, for records.
pub(crate) fn tool() -> Tool {
    Tool {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("SIGHTLINE_COMMIT").map(str::to_owned),
    }
}

/// The command line, for records.
pub(crate) fn command() -> Vec<String> {
    std::iter::once("sightline".to_owned())
        // Arguments are any bytes, a record is text: what is no UTF-8 is shown as far as it can be.
        .chain(
            std::env::args_os()
                .skip(1)
                .map(|argument| argument.to_string_lossy().into_owned()),
        )
        .collect()
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

/// How a suite is run whole, into `records`.
pub(crate) fn options(
    suite: &Suite,
    records: &Path,
    device: &DeviceArg,
    decode: Option<DecodeArg>,
) -> Result<Options, Failure> {
    Ok(Options {
        tool: tool(),
        command: command(),
        resources: resources(&suite.plan)?,
        card: device.card(decode)?,
        device: device.open()?,
        paper_targets: suite.paper_targets()?,
        ..Options::new(records)
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

/// Whether everything is as in the lock at `path`, but for the program where only files count; tells what is not.
fn is_as_locked(path: &Path, found: &Lock, of_files: bool) -> Result<bool, Failure> {
    let mut locked = Lock::read(path).map_err(|error| {
        let doing = format!("reading lock `{}`", path.display());
        Failure::new(exits::manifest(&error), doing, &error)
    })?;
    if of_files {
        locked.program = None;
    }
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
            State::Recorded {
                record,
                path,
                is_new,
            } => {
                let known = if *is_new { "" } else { " (the same as before)" };
                note(&format!("{}: {}{known}", model.model, path.display()));
                tell_failed(record);
            }
            State::Incomplete { tasks } => {
                for task in tasks {
                    let doing = format!("finishing {} for {}", task.task, model.model);
                    note(&Failure::new(Exit::Incomplete, doing, &task.error).to_string());
                }
            }
            State::Part { tasks } => {
                for part in tasks {
                    let (task, path) = (&part.task, part.path.display());
                    note(&format!(
                        "{}: {task}: {} examples, {path}",
                        model.model, part.examples
                    ));
                    if part.failed > 0 {
                        note(&format!(
                            "{}: {task}: {} of them failed",
                            model.model, part.failed
                        ));
                    }
                }
            }
            State::Stopped => note(&format!("{}: interrupted", model.model)),
        }
    }
    if !outcome.is_complete() {
        note("incomplete: run the same command again to go on");
    } else if outcome.failed() > 0 {
        note(&format!(
            "incomplete: {} examples failed, no score counts them",
            outcome.failed()
        ));
    }
}

/// Says for each task how many examples failed, and for which reasons; and what a self-check found.
fn tell_failed(record: &Record) {
    for task in &record.tasks {
        let name = format!("{}: {}", record.model.name, task.task);
        let counts = task.counts;
        if counts.failed > 0 {
            note(&format!(
                "{name}: {} of {} failed",
                counts.failed, counts.attempted
            ));
            for (reason, count) in &task.reasons {
                note(&format!("  {count} failed or skipped: {reason}"));
            }
        }
        if let Some(check) = &task.self_check {
            let (examples, ways) = (check.examples, check.ways.len());
            if check.differing.is_empty() {
                note(&format!(
                    "{name}: {examples} examples have the same answers in {ways} other ways"
                ));
            } else {
                note(&format!(
                    "{name}: of {examples} examples these have other answers in another batch, order or number of threads: {}",
                    check.differing.join(", ")
                ));
            }
        }
    }
}
