//! `sightline board`: the static leaderboard from records.

use std::path::PathBuf;

use clap::Args;
use sightline_report::{board, read_records};

use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::print_either;

/// Arguments of `sightline board`.
#[derive(Debug, Args)]
pub(crate) struct BoardArgs {
    /// Folder of records, as `sightline run` writes it
    records: PathBuf,

    /// Folder for the page and its data
    #[arg(long, default_value = "site", value_name = "DIR")]
    out: PathBuf,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BoardArgs) -> Result<Exit, Failure> {
    let failure = |error| Failure::new(exits::report(&error), "making the board", &error);
    let records = read_records(&args.records).map_err(failure)?;
    let summary = board(&records, &args.out).map_err(failure)?;
    print_either(args.json, &summary, || {
        format!(
            "{}: records shown {} of {}, suites {}, tasks {}",
            summary.page.display(),
            summary.shown,
            summary.records,
            summary.suites,
            summary.tasks
        )
    })?;
    Ok(Exit::Done)
}
