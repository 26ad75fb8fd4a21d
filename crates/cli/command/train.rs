//! `sightline train`: a manifest and data to a model.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use sightline_core::{Metadata, Progress};
use sightline_manifest::{TrainPlan, load_train};
use sightline_shard::FORMATS;
use sightline_train::{Outcome, Record, Roots, TrainSpec, objective, train};

use crate::command::exits;
use crate::command::model::DeviceArg;
use crate::exit::{Exit, Failure};
use crate::monitor::{Monitor, MonitorArgs, ProgressMode};
use crate::output::{note, print_either};
use crate::signal::Stop;

/// Time between two lines where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);

/// Arguments of `sightline train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Training manifest, a TOML file
    manifest: PathBuf,

    /// Folder for checkpoints, metrics and the record; a run that was cut short goes on in it [default: out/train/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Folder below which shards and checkpoints are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Throw away the run that is there and begin anew
    #[arg(long)]
    overwrite: bool,

    /// Check the manifest, print it with every default filled in, and train nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    device: DeviceArg,

    #[command(flatten)]
    monitor: MonitorArgs,

    /// Print the record as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    complete: bool,
    step: u64,
    steps: u64,
    out: &'a Path,
    record: Option<&'a Record>,
}

pub(crate) fn run(args: &TrainArgs) -> Result<Exit, Failure> {
    let formats: Vec<String> = FORMATS.iter().map(|f| f.name().to_owned()).collect();
    let plan = load_train(&args.manifest, &objective::families(), &formats).map_err(|error| {
        let doing = format!("reading manifest `{}`", args.manifest.display());
        Failure::new(exits::manifest(&error), doing, &error)
    })?;
    if args.dry_run {
        print_either(true, &plan, String::new)?;
        return Ok(Exit::Done);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => Path::new("out/train").join(&plan.name),
    };
    let stop = Stop::listen()?;
    let watch = Watch {
        monitor: Monitor::new(args.monitor)?,
        has_lines: args.monitor.progress == ProgressMode::Bar && !io::stderr().is_terminal(),
        told: Mutex::default(),
    };
    let outcome = execute(args, &plan, &out, &watch, &stop)?;
    let (step, steps, record) = match &outcome {
        Outcome::Complete(record) => (record.steps, record.steps, Some(&**record)),
        Outcome::Stopped { step, steps } => (*step, *steps, None),
    };
    let printed = Printed {
        schema: 1,
        complete: record.is_some(),
        step,
        steps,
        out: &out,
        record,
    };
    print_either(args.json, &printed, || text(&printed))?;
    if record.is_some() {
        return Ok(Exit::Done);
    }
    note("interrupted: run the same command again to go on");
    Ok(stop.exit())
}

fn execute(
    args: &TrainArgs,
    plan: &TrainPlan,
    out: &Path,
    watch: &Watch,
    stop: &Stop,
) -> Result<Outcome, Failure> {
    let device = args.device.open()?;
    let roots = Roots {
        data: args.data.clone(),
        manifest: args.manifest.parent().unwrap_or(Path::new("")).to_owned(),
    };
    let spec = TrainSpec {
        plan,
        roots: &roots,
        out,
        overwrite: args.overwrite,
        device: &device,
        tool: [
            Some(env!("CARGO_PKG_VERSION")),
            option_env!("SIGHTLINE_COMMIT"),
        ],
        open: &|stage, folder, support| {
            objective::open(&plan.family, stage, folder, &device, support)
        },
    };
    train(&spec, watch, &stop.flag()).map_err(|error| {
        let doing = format!("training `{}` in `{}`", plan.name, out.display());
        Failure::new(exits::train(&error), doing, &error)
    })
}

fn text(printed: &Printed<'_>) -> String {
    let out = printed.out.display();
    let Some(record) = printed.record else {
        return format!("{out}: step {} of {}", printed.step, printed.steps);
    };
    let held_out = record.best.map_or_else(String::new, |best| {
        format!(
            ", best held-out loss {:.4} at step {}",
            best.loss, best.step
        )
    });
    format!(
        "{out}: {} steps, {} parameters{held_out}; {:.1} s, {:.0} samples/s, {:.1} % of it waiting for batches\n{out}/best",
        record.steps,
        record.parameters,
        record.time.seconds,
        record.time.samples_per_second,
        100.0 * record.time.waited_share,
    )
}

/// A bar on a terminal, lines elsewhere.
struct Watch {
    monitor: Monitor,
    has_lines: bool,
    told: Mutex<Option<Instant>>,
}

impl Progress for Watch {
    fn start(&self, what: &str, total: Option<u64>) {
        self.monitor.start(what, total);
    }

    fn advance(&self, steps: u64) {
        self.monitor.advance(steps);
    }

    fn message(&self, text: &str) {
        self.monitor.message(text);
        let Ok(mut told) = self.told.lock() else {
            return;
        };
        // Measurements are few, and what one waits for.
        let is_due = text.contains("held-out") || told.is_none_or(|told| told.elapsed() >= EVERY);
        if self.has_lines && is_due {
            *told = Some(Instant::now());
            note(text);
        }
    }

    fn facts(&self, facts: Metadata) {
        self.monitor.facts(facts);
    }

    fn finish(&self) {
        self.monitor.finish();
    }
}
