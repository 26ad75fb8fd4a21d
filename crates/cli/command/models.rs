//! `sightline models`: families and what they can do; checkpoints as safetensors.

mod asif;
mod card;
mod check;
mod import;

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use sightline_models::families::virtex;
use sightline_models::{FAMILIES, Family, family};
use sightline_store::AtomicFile;

use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::print_either;

/// What to do with model families.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Every family, one a line
    List(ListArgs),
    /// What a family can do and where it is described, or what is known of a published checkpoint
    Show(ShowArgs),
    /// How far a checkpoint is from the recorded outputs of another program; 1 when an output is beyond its tolerance
    Check(check::CheckArgs),
    /// Anchors of ASIF models: made, added, deleted and asked
    #[command(subcommand)]
    Asif(asif::AsifCommand),
    /// Write the network for images of a VirTex checkpoint as safetensors, under torchvision's names
    ExportBackbone(ExportBackboneArgs),
    /// Any checkpoint as one safetensors file, with copies of its configuration and tokenizer files
    Import(import::ImportArgs),
}

/// Arguments of `sightline models list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline models show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Name of the family, or of a model manifest
    name: String,

    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline models export-backbone`.
#[derive(Debug, Args)]
pub(crate) struct ExportBackboneArgs {
    /// Folder that holds the weights
    checkpoint: PathBuf,

    /// File to write; there is no classifier (fc) in it
    #[arg(long)]
    out: PathBuf,

    /// Replace another file of that name
    #[arg(long)]
    force: bool,
}

/// Version of what `--json` prints.
const SCHEMA: u32 = 1;

/// What `models list --json` prints.
#[derive(Debug, Serialize)]
struct Listed {
    schema: u32,
    families: Vec<Entry>,
}

/// What `models show --json` prints.
#[derive(Debug, Serialize)]
struct Shown {
    schema: u32,
    #[serde(flatten)]
    family: Entry,
}

/// A family as JSON.
#[derive(Debug, Serialize)]
struct Entry {
    name: &'static str,
    paper: &'static str,
    capabilities: Vec<&'static str>,
    needs_checkpoint: bool,
}

impl From<&Family> for Entry {
    fn from(family: &Family) -> Self {
        Self {
            name: family.name,
            paper: family.paper,
            capabilities: family.capabilities.iter().map(|c| c.name()).collect(),
            needs_checkpoint: family.needs_checkpoint,
        }
    }
}

pub(crate) fn run(command: &ModelsCommand) -> Result<Exit, Failure> {
    match command {
        ModelsCommand::List(args) => {
            let listed = Listed {
                schema: SCHEMA,
                families: FAMILIES.iter().map(|&family| family.into()).collect(),
            };
            print_either(args.json, &listed, || {
                let mut text = String::new();
                let rows = listed
                    .families
                    .iter()
                    .map(|family| (family, family.capabilities.join(", ")));
                let rows: Vec<_> = rows.collect();
                let width = rows.iter().map(|(_, can)| can.len()).max().unwrap_or(0);
                for (family, can) in rows {
                    let _ = writeln!(text, "{:<12} {can:<width$}  {}", family.name, family.paper);
                }
                text.trim_end().to_owned()
            })?;
        }
        ModelsCommand::Asif(command) => return asif::run(command),
        ModelsCommand::Check(args) => return check::run(args),
        ModelsCommand::Import(args) => return import::run(args),
        ModelsCommand::Show(args) => {
            if let Some(card) = card::find(&args.manifests, &args.name)? {
                print_either(args.json, &card, || card.text())?;
                return Ok(Exit::Done);
            }
            let family: Entry = family(&args.name)
                .map_err(|error| card::unknown(&args.manifests, &error))?
                .into();
            let shown = Shown {
                schema: SCHEMA,
                family,
            };
            print_either(args.json, &shown, || {
                let shown = &shown.family;
                format!(
                    "{}\npaper: {}\ncan: {}\ncheckpoint: {}",
                    shown.name,
                    shown.paper,
                    shown.capabilities.join(", "),
                    if shown.needs_checkpoint {
                        "needed"
                    } else {
                        "none"
                    }
                )
            })?;
        }
        ModelsCommand::ExportBackbone(args) => export_backbone(args)?,
    }
    Ok(Exit::Done)
}

fn export_backbone(args: &ExportBackboneArgs) -> Result<(), Failure> {
    let writing = || format!("writing `{}`", args.out.display());
    let failed = |e: sightline_store::Error| Failure::new(exits::store(&e), writing(), &e);
    let file = AtomicFile::create(&args.out).map_err(failed)?;
    virtex::export_backbone(&args.checkpoint, file.path()).map_err(|error| {
        let doing = format!("exporting from `{}`", args.checkpoint.display());
        Failure::new(Exit::Usage, doing, &error)
    })?;
    if target::is_to_be_replaced(&args.out, file.path(), args.force)? {
        file.commit().map_err(failed)?;
    }
    Ok(())
}
