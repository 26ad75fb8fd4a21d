//! Conditions on samples, and the tables that they read: what `filter`, `split` and `export` share.

use std::path::PathBuf;

use clap::Args;
use sightline_core::ObjectSource as _;
use sightline_dataset::expression::Expression;
use sightline_dataset::filter::BUILT_IN;
use sightline_dataset::scores::{Scores, ScoresError};
use sightline_dataset::{All, FilterSpec, Select};

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::stores::stores;

/// Tables beside the samples.
#[derive(Debug, Args)]
pub(super) struct ScoresArgs {
    /// A table with more columns, by the samples' keys: .parquet, .csv or .jsonl, also at s3://, gs://, az:// or http(s)://; may be
    /// given several times
    #[arg(long, value_name = "FILE")]
    pub(super) scores: Vec<PathBuf>,

    /// Column of the tables that holds the keys
    #[arg(long, value_name = "COLUMN", default_value = "key")]
    on: String,
}

/// Which samples are meant.
#[derive(Debug, Args)]
pub(super) struct WhereArgs {
    /// Only the samples for which this condition holds; `shards filter --help` says how it is written
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    condition: Option<String>,

    #[command(flatten)]
    scores: ScoresArgs,
}

impl WhereArgs {
    /// What chooses them.
    pub(super) fn select(&self) -> Result<Box<dyn Select>, Failure> {
        match &self.condition {
            Some(condition) => Ok(Box::new(self.scores.spec(condition)?)),
            None if self.scores.scores.is_empty() => Ok(Box::new(All)),
            None => Err(Failure::usage(
                "reading the tables of --scores",
                "there is no --where to use them",
            )),
        }
    }
}

impl ScoresArgs {
    /// The condition that a person typed, with the tables.
    pub(super) fn spec(&self, condition: &str) -> Result<FilterSpec, Failure> {
        let condition = parse(condition)?;
        let scores = scores(&self.scores, &self.on, &condition)?;
        Ok(FilterSpec { condition, scores })
    }
}

/// Reads the condition that a person typed.
fn parse(text: &str) -> Result<Expression, Failure> {
    Expression::parse(text).map_err(|error| {
        let text = error.to_string();
        Failure::usage("reading the condition of --where", text)
            .with_hint("`sightline shards filter --help` lists operators, functions and columns.")
    })
}

/// Reads the tables: of their columns those that the condition needs.
fn scores(paths: &[PathBuf], on: &str, condition: &Expression) -> Result<Vec<Scores>, Failure> {
    let needs = |name: &str| {
        let mut columns = condition.columns().iter();
        !BUILT_IN.contains(&name) && columns.any(|column| column.name == name)
    };
    let doing = "reading a table of scores";
    let read = |path: &PathBuf| {
        let (folder, name) = stores()
            .object(path)
            .map_err(|error| Failure::new(exits::store(&error), doing, &error))?;
        let shown = folder.shown(&name);
        let scores = folder
            .object(&name)
            .map_err(|source| ScoresError::Io {
                path: shown.clone(),
                source,
            })
            .and_then(|object| Scores::read(object, &shown, on, &needs));
        scores.map_err(|error| {
            let exit = match &error {
                ScoresError::Io { source, .. } => exits::io(source),
                _ => Exit::Usage,
            };
            Failure::new(exit, doing, &error)
        })
    };
    paths.iter().map(read).collect()
}
