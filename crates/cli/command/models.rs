//! `sightline models`: families and what they can do; checkpoints as safetensors.

mod import;

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde::Serialize;
use sightline_models::{FAMILIES, Family, family};

use crate::exit::{Exit, Failure};
use crate::output::print_either;

/// What to do with model families.
#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Every family, one a line
    List(ListArgs),
    /// What a family can do, and where it is described
    Show(ShowArgs),
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
    /// Name of the family
    name: String,

    /// Print as JSON
    #[arg(long)]
    json: bool,
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
                for family in &listed.families {
                    let can = family.capabilities.join(", ");
                    let _ = writeln!(text, "{:<12} {can:<12} {}", family.name, family.paper);
                }
                text.trim_end().to_owned()
            })?;
        }
        ModelsCommand::Import(args) => return import::run(args),
        ModelsCommand::Show(args) => {
            let family: Entry = family(&args.name)
                .map_err(|error| Failure::new(Exit::Usage, "looking up a family", &error))?
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
    }
    Ok(Exit::Done)
}
