//! Where `filter` and `dedup` write what stays.

use std::path::PathBuf;

use clap::Args;
use sightline_core::text::counted;
use sightline_dataset::Output;
use sightline_dataset::subset::Subset;
use sightline_store::Folder;

use super::{format_called, passed_over, target};
use crate::exit::Failure;

/// Where the rest of a dataset goes.
#[derive(Debug, Args)]
pub(crate) struct SubsetArgs {
    /// Folder for the new shards, also at s3://, gs:// or az://; on this machine it appears when all are written
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    out: Option<PathBuf>,

    /// Format of the new shards; by default that of the old ones
    #[arg(long, value_name = "NAME")]
    to: Option<String>,

    /// Samples of a new shard; by default what stays of an old one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples_per_shard: Option<u64>,

    /// Replace the folder if it is there
    #[arg(long)]
    force: bool,

    /// Count, and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl SubsetArgs {
    /// What was asked for, with names looked up.
    pub(super) fn output(&self, input: &Folder, doing: &str) -> Result<Output, Failure> {
        let to = self.to.as_ref().map(|name| format_called(name, doing));
        let out = self.out.as_deref().filter(|_| !self.dry_run);
        Ok(Output {
            folder: out.map(|out| target(out, input)).transpose()?,
            to: to.transpose()?,
            samples_per_shard: self.samples_per_shard,
            force: self.force,
        })
    }
}

/// How many samples stay, in words.
pub(super) fn kept(subset: &Subset, output: &Output) -> String {
    let share = if subset.read == 0 {
        0.0
    } else {
        100.0 * subset.kept as f64 / subset.read as f64
    };
    let Subset { read, kept, .. } = subset;
    let text = match &output.folder {
        Some(folder) => format!(
            "{kept} of {read} samples ({share:.1} %) in {} below `{folder}`",
            counted(subset.shards.len(), "shard"),
        ),
        None => format!("{kept} of {read} samples ({share:.1} %) would stay, nothing is written"),
    };
    text + &passed_over(&subset.passed_over)
}
