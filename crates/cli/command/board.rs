//! `sightline board`: the static leaderboard from records, and from what their predictions say.

use std::path::PathBuf;

use clap::Args;
use sightline_report::{board, read_records};

use crate::command::evidence::Sources;
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{note, print_either};

/// Samples of a task that are shown unless a person says otherwise.
pub(crate) const SAMPLES: usize = 60;

/// Arguments of `sightline board`.
#[derive(Debug, Args)]
pub(crate) struct BoardArgs {
    /// Folder of records, as `sightline run` writes it
    records: PathBuf,

    /// Folder for the pages and their data
    #[arg(long, default_value = "site", value_name = "DIR")]
    out: PathBuf,

    /// Suite manifests of the records [default: those of their suites' names in `manifests/suites`]
    #[arg(long, value_name = "FILE")]
    suite: Vec<PathBuf>,

    /// Folder below which the datasets are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Show so many samples of each task with their images, about 8 kB each: a third are those on which the models differ most
    #[arg(long, value_name = "N", default_value_t = SAMPLES)]
    samples: usize,

    /// Make the board of the records alone, without tests between models and without samples
    #[arg(long)]
    records_only: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &BoardArgs) -> Result<Exit, Failure> {
    let failure = |error| Failure::new(exits::report(&error), "making the board", &error);
    let records = read_records(&args.records).map_err(failure)?;
    let sources = Sources {
        suites: args.suite.iter().map(|file| (file.clone(), None)).collect(),
        data: args.data.clone(),
        samples: args.samples,
    };
    let (evidence, comparisons) = if args.records_only {
        (Vec::new(), Vec::new())
    } else {
        let (comparisons, problems) = sources.comparisons(&records);
        for problem in problems {
            note(&problem);
        }
        (sources.evidence(&records), comparisons)
    };
    let summary = board(&records, &evidence, &comparisons, &args.out).map_err(failure)?;
    print_either(args.json, &summary, || {
        format!(
            "{}: records shown {} of {}, suites {}, tasks {}, pages of tasks {} ({} bytes in all)",
            summary.page.display(),
            summary.shown,
            summary.records,
            summary.suites,
            summary.tasks,
            summary.pages,
            summary.page_bytes
        )
    })?;
    Ok(Exit::Done)
}
