//! `sightline lock`: the digest and size of every file a suite reads.

use std::path::PathBuf;

use clap::Args;

use crate::args::SuiteArgs;
use crate::command::model::DeviceArg;
use crate::command::{exits, suite, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print};

/// Arguments of `sightline lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// File for the lock, to be given to `run --locked`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    device: DeviceArg,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &LockArgs) -> Result<Exit, Failure> {
    let mut suite = suite::load(&args.suite)?;
    suite.fetch_checkpoints(args.suite.offline)?;
    let lock = suite.lock(&Bar::default(), &args.device)?;
    let doing = || format!("writing lock `{}`", args.out.display());
    let text = lock
        .to_json()
        .map_err(|e| Failure::io(doing(), &e.into()))?;
    if target::is_to_be_written(&args.out, text.as_bytes(), args.force)? {
        lock.write(&args.out)
            .map_err(|error| Failure::new(exits::manifest(&error), doing(), &error))?;
    }
    let bytes: u64 = lock.files.iter().map(|file| file.bytes).sum();
    print(&format!(
        "{}: {} files, {bytes} bytes",
        args.out.display(),
        lock.files.len()
    ))?;
    Ok(Exit::Done)
}
