//! `sightline shards export`: samples as plain files.

use std::path::PathBuf;

use clap::Args;
use sightline_dataset::{ExportSpec, export};

use super::condition::WhereArgs;
use super::locate::{Located, locate};
use super::{ShardsArgs, passed_over, target};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};
use crate::stores::shown;

/// Arguments of `sightline shards export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Folder for the files, KEY.jpg, KEY.txt and KEY.json, also at s3://, gs:// or az://; on this machine it appears whole at the end
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// All files in one folder; by default in a folder for each shard
    #[arg(long)]
    flat: bool,

    #[command(flatten)]
    which: WhereArgs,

    /// Replace an output that is there
    #[arg(long)]
    force: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let select = args.which.select()?;
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("exporting `{}`", shown(&args.shards.shards));
    let spec = ExportSpec {
        flat: args.flat,
        select: &*select,
        force: args.force,
    };
    let out = target(&args.out, &folder)?;
    let done = export(&folder, &names, out, &spec, &Bar::default())
        .map_err(|error| Failure::new(exits::dataset(&error), doing(), &error))?;
    print_either(args.json, &done, || {
        let text = format!(
            "{} samples, {} files, {} bytes",
            done.samples, done.files, done.len_bytes
        );
        text + &passed_over(&done.passed_over)
    })?;
    Ok(Exit::Done)
}
