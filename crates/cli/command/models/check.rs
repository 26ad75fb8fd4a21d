//! `sightline models check`: how far a checkpoint is from the recorded outputs of another program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sightline_core::text::counted;
use sightline_core::{Hint, Progress};
use sightline_models::recorded::{Case, Difference, RecordedError, Tolerance, cases};
use sightline_models::{Family, family};

use crate::command::model::{DeviceArg, WeightsArg};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};

/// Arguments of `sightline models check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Folder of a checkpoint with `io.safetensors` (inputs `in.NAME`, outputs `out.NAME`), or folder of such folders
    folder: PathBuf,

    /// Family of the model, instead of the one that `meta.json` or the configuration names
    #[arg(long, value_name = "NAME")]
    family: Option<String>,

    /// Allowed for every output: X + the relative part times the recorded value [default: the family's, see docs/models.md]
    #[arg(long, value_name = "X", value_parser = parse_tolerance)]
    absolute: Option<f64>,

    /// The relative part of what is allowed
    #[arg(long, value_name = "X", value_parser = parse_tolerance)]
    relative: Option<f64>,

    /// In what weights are kept: with fewer bits the differences are what rounding costs
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    weights: WeightsArg,

    #[command(flatten)]
    device: DeviceArg,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..f64::INFINITY).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 on, for example 1e-4".to_owned()),
    }
}

impl CheckArgs {
    /// What is allowed for every output; a part that is not given is 0.
    fn tolerance(&self) -> Option<Tolerance> {
        (self.absolute.is_some() || self.relative.is_some()).then(|| Tolerance {
            absolute: self.absolute.unwrap_or(0.0),
            relative: self.relative.unwrap_or(0.0),
        })
    }
}

/// What `models check --json` prints. Numbers that are infinite or not a number are `null`.
#[derive(Debug, Serialize)]
struct Checked {
    schema: u32,
    within: bool,
    cases: Vec<CheckedCase>,
}

#[derive(Debug, Serialize)]
struct CheckedCase {
    folder: String,
    family: Option<&'static str>,
    within: bool,
    /// Why it cannot be opened.
    problem: Option<String>,
    outputs: Vec<CheckedOutput>,
}

#[derive(Debug, Serialize)]
struct CheckedOutput {
    name: String,
    within: bool,
    difference: Option<Difference>,
    /// Why it cannot be compared.
    problem: Option<String>,
}

pub(super) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let doing = || format!("checking `{}`", args.folder.display());
    let wanted = match &args.family {
        Some(name) => {
            let found = family(name);
            Some(found.map_err(|error| Failure::new(Exit::Usage, "looking up a family", &error))?)
        }
        None => None,
    };
    let folders = cases(&args.folder).map_err(|e| Failure::new(Exit::Usage, doing(), &e))?;
    let is_one = folders == [args.folder.clone()];
    let device = args.device.open()?;

    let mut checked = Vec::new();
    for folder in &folders {
        match Case::open_in(folder, wanted, args.weights.into(), &device) {
            Ok(case) => checked.push(compare(folder, &case, args.tolerance())),
            // The only case was named: that it is none is a mistake in the arguments.
            Err(error) if is_one => return Err(Failure::new(Exit::Usage, doing(), &error)),
            Err(error) => checked.push(unopened(folder, wanted, &error)),
        }
    }
    let checked = Checked {
        schema: super::SCHEMA,
        within: checked.iter().all(|case| case.within),
        cases: checked,
    };
    print_either(args.json, &checked, || text(&checked))?;
    Ok(if checked.within { Exit::Done } else { Exit::No })
}

fn compare(folder: &Path, case: &Case, tolerance: Option<Tolerance>) -> CheckedCase {
    let bar = Bar::default();
    bar.start("outputs", Some(case.outputs().len() as u64));
    let mut outputs = Vec::new();
    for output in case.outputs() {
        let compared = case.compare(output, tolerance);
        bar.advance(1);
        let name = output.to_owned();
        outputs.push(match compared {
            Ok(difference) => CheckedOutput {
                name,
                within: difference.is_within(),
                difference: Some(difference),
                problem: None,
            },
            Err(error) => CheckedOutput {
                name,
                within: false,
                difference: None,
                problem: Some(chain(&error)),
            },
        });
    }
    bar.finish();
    let nothing = "it holds no tensor whose name begins with `out.`";
    CheckedCase {
        folder: folder.display().to_string(),
        family: Some(case.family().name),
        within: !outputs.is_empty() && outputs.iter().all(|output| output.within),
        problem: outputs.is_empty().then(|| nothing.to_owned()),
        outputs,
    }
}

fn unopened(folder: &Path, wanted: Option<&'static Family>, error: &RecordedError) -> CheckedCase {
    for hint in error.hints() {
        note(&format!("hint: {hint}"));
    }
    CheckedCase {
        folder: folder.display().to_string(),
        family: wanted.map(|family| family.name),
        within: false,
        problem: Some(chain(error)),
        outputs: Vec::new(),
    }
}

/// An error and its causes, in a line.
fn chain(error: &RecordedError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.ends_with(&message) {
            let _ = write!(text, ": {message}");
        }
        cause = error.source();
    }
    text
}

/// A table for each case, and what is not as recorded below it.
fn text(checked: &Checked) -> String {
    let mut text = String::new();
    for case in &checked.cases {
        let family = case.family.unwrap_or("no family");
        let _ = writeln!(text, "{} ({family})", case.folder);
        table(&mut text, &case.outputs);
        for output in case.outputs.iter().filter(|output| !output.within) {
            let _ = match (&output.difference, &output.problem) {
                (Some(difference), _) => writeln!(text, "{}: {difference}", output.name),
                (None, problem) => {
                    let problem = problem.as_deref().unwrap_or_default();
                    writeln!(text, "{}: {problem}", output.name)
                }
            };
        }
        if let Some(problem) = &case.problem {
            let _ = writeln!(text, "{problem}");
        }
        text.push('\n');
    }
    let outputs = checked.cases.iter().flat_map(|case| &case.outputs);
    let apart = outputs.clone().filter(|output| !output.within).count();
    let unread = checked.cases.iter().filter(|case| case.problem.is_some());
    let unread = unread.count();
    let _ = write!(text, "{}: ", counted(outputs.count(), "output"));
    let _ = match (apart, unread) {
        (0, 0) => write!(text, "all within their tolerance"),
        (_, 0) => write!(text, "{apart} not within their tolerance"),
        _ => {
            let unread = counted(unread, "folder");
            write!(
                text,
                "{apart} not within their tolerance; {unread} without any"
            )
        }
    };
    text
}

fn table(text: &mut String, outputs: &[CheckedOutput]) {
    let longest = outputs.iter().map(|output| output.name.chars().count());
    let width = longest.max().unwrap_or(0).max("output".len());
    if outputs.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "  {:<width$}  {:>9}  {:>9}  {:>9}  allowed",
        "output", "elements", "absolute", "relative"
    );
    for output in outputs {
        let Some(difference) = &output.difference else {
            let _ = writeln!(text, "  {:<width$}  {:>9}  not compared", output.name, "-");
            continue;
        };
        let Tolerance { absolute, relative } = difference.tolerance;
        let allowed = match (absolute, relative) {
            (absolute, relative) if absolute == 0.0 && relative == 0.0 => "equal".to_owned(),
            (absolute, 0.0) => format!("{absolute:.0e}"),
            (absolute, relative) => format!("{absolute:.0e} + {relative:.0e} |x|"),
        };
        let _ = writeln!(
            text,
            "  {:<width$}  {:>9}  {:>9.1e}  {:>9.1e}  {allowed}{}",
            output.name,
            difference.elements,
            difference.absolute,
            difference.relative,
            if output.within { "" } else { "  NOT WITHIN" }
        );
    }
}
