//! `sightline models`: families and what they can do.

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

/// A family as JSON.
#[derive(Debug, Serialize)]
struct Shown {
    schema: u32,
    name: &'static str,
    paper: &'static str,
    capabilities: Vec<&'static str>,
    needs_checkpoint: bool,
}

impl From<&Family> for Shown {
    fn from(family: &Family) -> Self {
        Self {
            schema: 1,
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
            let families: Vec<Shown> = FAMILIES.iter().map(|&family| family.into()).collect();
            print_either(args.json, &families, || {
                let mut text = String::new();
                for family in &families {
                    let can = family.capabilities.join(", ");
                    let _ = writeln!(text, "{:<12} {can:<12} {}", family.name, family.paper);
                }
                text.trim_end().to_owned()
            })?;
        }
        ModelsCommand::Show(args) => {
            let shown: Shown = family(&args.name)
                .map_err(|error| Failure::new(Exit::Usage, "looking up a family", &error))?
                .into();
            print_either(args.json, &shown, || {
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
