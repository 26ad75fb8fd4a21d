//! `sightline datasets`: what is known of published datasets, and getting their files to where suites read them.

mod ids;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use sightline_harness::catalog;
use sightline_harness::prepare::{
    Check, Preparation, Preparing, Sharding, ShardingError, Shards, SourceState, prepare,
};
use sightline_manifest::{DatasetCard, Error, Roots, list, load_dataset, load_dataset_card};

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::signal::Stop;
use crate::stores::stores;

/// Version of what `--json` prints.
const SCHEMA: u32 = 1;

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub(crate) enum DatasetsCommand {
    /// Every dataset manifest, one a line
    List(ListArgs),
    /// Where a dataset comes from, its licence, and what others report on it
    Show(ShowArgs),
    /// Take a dataset's files from a copy or fetch them, check and unpack them, count what is there, and make shards of them;
    /// 1 if the counts are wrong, 3 if something is missing
    Prepare(PrepareArgs),
    /// Draw a list of keys, for `ids` of a dataset of few examples
    Ids(ids::IdsArgs),
}

/// Arguments of `sightline datasets list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline datasets show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Name of the dataset
    name: String,

    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline datasets prepare`.
#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// Name of the dataset
    name: String,

    /// Folder below which the files go, the `--data` of `run`
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Your copy: a folder with the published files, or with what is in them
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Fetch nothing
    #[arg(long)]
    offline: bool,

    /// Also write the dataset as shards into this folder, once all is there; those that are whole are kept
    #[arg(long, value_name = "DIR")]
    shards: Option<PathBuf>,

    /// Samples of a shard
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "shards", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    samples_per_shard: u64,

    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `datasets list --json` prints.
#[derive(Debug, Serialize)]
struct Listed {
    schema: u32,
    datasets: Vec<Entry>,
}

/// A dataset in a list.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    description: String,
    access: Option<&'static str>,
}

/// What `datasets show --json` prints.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    schema: u32,
    #[serde(flatten)]
    card: &'a DatasetCard,
}

/// What `datasets prepare --json` prints.
#[derive(Debug, Serialize)]
struct Prepared<'a> {
    schema: u32,
    dataset: &'a str,
    complete: bool,
    #[serde(flatten)]
    preparation: &'a Preparation,
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<&'a Shards>,
}

pub(crate) fn run(command: &DatasetsCommand) -> Result<Exit, Failure> {
    match command {
        DatasetsCommand::List(args) => run_list(args),
        DatasetsCommand::Show(args) => {
            let card = card(&args.manifests, &args.name)?;
            let shown = Shown {
                schema: SCHEMA,
                card: &card,
            };
            print_either(args.json, &shown, || text(&card))?;
            Ok(Exit::Done)
        }
        DatasetsCommand::Prepare(args) => run_prepare(args),
        DatasetsCommand::Ids(args) => ids::run(args),
    }
}

fn run_list(args: &ListArgs) -> Result<Exit, Failure> {
    let listing = list(&args.manifests).map_err(|error| failed(&args.manifests, &error))?;
    let mut datasets = Vec::new();
    for entry in listing.datasets {
        let card = load_dataset_card(&args.manifests, &entry.name, &catalog()).ok();
        let published = card.and_then(|card| card.published);
        datasets.push(Entry {
            description: entry.description.unwrap_or_default(),
            access: published.map(|published| published.access.name()),
            name: entry.name,
        });
    }
    let listed = Listed {
        schema: SCHEMA,
        datasets,
    };
    print_either(args.json, &listed, || {
        let width = listed.datasets.iter().map(|entry| entry.name.len()).max();
        let width = width.unwrap_or(0);
        let mut text = String::new();
        for entry in &listed.datasets {
            let access = entry.access.unwrap_or("");
            let _ = writeln!(
                text,
                "{:<width$}  {access:<9}  {}",
                entry.name, entry.description
            );
        }
        text.trim_end().to_owned()
    })?;
    Ok(Exit::Done)
}

fn run_prepare(args: &PrepareArgs) -> Result<Exit, Failure> {
    let card = card(&args.manifests, &args.name)?;
    let dataset = load_dataset(&args.manifests, &args.name, &catalog())
        .map_err(|error| failed(&args.manifests, &error))?;
    if let Some(from) = args.from.as_ref().filter(|from| !from.is_dir()) {
        let doing = format!("preparing `{}`", args.name);
        let cause = format!("`{}` is no folder", from.display());
        return Err(Failure::usage(doing, cause));
    }
    let roots = Roots {
        data: args.data.clone(),
        manifests: args.manifests.clone(),
        ..Roots::default()
    };
    let stop = Stop::listen()?;
    let stores = stores();
    let preparing = Preparing {
        card: &card,
        dataset: &dataset,
        roots: &roots,
        from: args.from.as_deref(),
        stores: (!args.offline).then_some(&stores),
        progress: &Bar::default(),
        stop: &stop.flag(),
    };
    let failed = |error: sightline_harness::Error| {
        let exit = match &error {
            sightline_harness::Error::Stopped => stop.exit(),
            sightline_harness::Error::OtherSource { .. } => Exit::No,
            sightline_harness::Error::Annotations { .. } => Exit::Usage,
            sightline_harness::Error::Sharding { source } => match source {
                ShardingError::Image { .. } => Exit::Incomplete,
                _ => Exit::Usage,
            },
            _ => Exit::Environment,
        };
        Failure::new(exit, format!("preparing `{}`", args.name), &error)
    };
    let preparation = prepare(&preparing).map_err(failed)?;
    let shards = match &args.shards {
        Some(folder) if preparation.is_complete() => {
            let sharding = Sharding {
                folder,
                samples_per_shard: args.samples_per_shard,
            };
            Some(preparing.shards(&sharding).map_err(failed)?)
        }
        _ => None,
    };
    let prepared = Prepared {
        schema: SCHEMA,
        dataset: &args.name,
        complete: preparation.is_complete(),
        preparation: &preparation,
        shards: shards.as_ref(),
    };
    print_either(args.json, &prepared, || {
        let mut text = outcome(&preparation);
        if let (Some(shards), Some(folder)) = (&shards, &args.shards) {
            let (count, samples) = (shards.shards.len(), shards.samples());
            let _ = write!(
                text,
                "\nshards: {count} of {samples} samples in {}",
                folder.display()
            );
        }
        text
    })?;
    let is_missing = |state: &SourceState| matches!(state, SourceState::Missing { .. });
    let missing = preparation
        .sources
        .iter()
        .filter(|source| is_missing(&source.state));
    let missing = missing.count();
    if missing > 0 {
        note(&format!("{}: {missing} files are missing", args.name));
        return Ok(Exit::Incomplete);
    }
    Ok(if preparation.is_complete() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn outcome(preparation: &Preparation) -> String {
    let mut text = String::new();
    for source in &preparation.sources {
        let state = match &source.state {
            SourceState::There => "there",
            SourceState::Taken => "taken",
            SourceState::Fetched => "fetched",
            SourceState::Missing { why } => {
                let _ = writeln!(text, "{}: missing. {why}", source.file);
                continue;
            }
        };
        let _ = writeln!(text, "{}: {state}", source.file);
    }
    for check in &preparation.checks {
        let Check {
            what,
            found,
            expected,
        } = check;
        let _ = match expected {
            Some(expected) if !check.is_right() => {
                writeln!(text, "{what}: {found}, expected are {expected}")
            }
            _ => writeln!(text, "{what}: {found}"),
        };
    }
    text.trim_end().to_owned()
}

fn text(card: &DatasetCard) -> String {
    let mut text = format!("{}: {}\n", card.name, card.description);
    if let Some(published) = &card.published {
        let _ = writeln!(text, "page: {}", published.page);
        let _ = writeln!(text, "access: {}", published.access.name());
        let _ = writeln!(text, "licence: {}", published.licence);
        let _ = writeln!(text, "cite: {}", published.citation);
        for (what, count) in [
            ("examples", published.examples),
            ("images", published.images),
        ] {
            if let Some(count) = count {
                let _ = writeln!(text, "{what}: {count}");
            }
        }
        if let Some(note) = &published.note {
            let _ = writeln!(text, "note: {note}");
        }
    }
    for source in &card.sources {
        let from = source
            .url
            .as_deref()
            .unwrap_or("not to be fetched by a program");
        let _ = writeln!(text, "file {}: {from}, to DATA/{}", source.file, source.to);
    }
    // A value that nobody looked up is not printed.
    for target in card.paper_targets.iter().filter(|target| target.verified) {
        let _ = writeln!(
            text,
            "reported: {} on {}, {} {} ({})",
            target.task, target.dataset, target.metric, target.value, target.source
        );
    }
    text.trim_end().to_owned()
}

fn card(manifests: &Path, name: &str) -> Result<DatasetCard, Failure> {
    load_dataset_card(manifests, name, &catalog()).map_err(|error| failed(manifests, &error))
}

fn failed(manifests: &Path, error: &Error) -> Failure {
    let doing = format!("reading manifests in `{}`", manifests.display());
    Failure::new(exits::manifest(error), doing, error)
}
