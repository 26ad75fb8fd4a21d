//! `sightline bundle` and `sightline unbundle`: a suite as one file, for a machine without a network.

use std::path::PathBuf;

use clap::Args;
use sightline_harness::bundle::{self, BundleError, Chosen};
use sightline_manifest::Place;

use crate::args::SuiteArgs;
use crate::command::model::DeviceArg;
use crate::command::{exits, suite};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print};

/// Arguments of `sightline bundle`.
#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    #[command(flatten)]
    suite: SuiteArgs,

    /// File for the bundle, a tar
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    device: DeviceArg,

    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

/// Arguments of `sightline unbundle`.
#[derive(Debug, Args)]
pub(crate) struct UnbundleArgs {
    /// The bundle
    #[arg(value_name = "FILE")]
    bundle: PathBuf,

    /// Folder for what is in it, new or empty; `sightline run` takes it in the place of a suite
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn pack(args: &BundleArgs) -> Result<Exit, Failure> {
    let doing = || format!("writing bundle `{}`", args.out.display());
    if args.out.exists() && !args.force {
        return Err(Failure::usage(doing(), "there is a file of that name")
            .with_hint("Choose another name, or overwrite the file with --force."));
    }
    let mut suite = suite::load(&args.suite)?;
    suite.fetch_checkpoints(args.suite.offline)?;
    let lock = suite.lock(&Bar::default(), &args.device)?;
    let models = suite.plan.models.iter();
    let given = models.filter(|(_, model)| matches!(model.checkpoint, Some(Place::Given(_))));
    let chosen = Chosen {
        models: args.suite.models.clone(),
        tasks: args.suite.tasks.clone(),
        limit: args.suite.limit,
        given: given.map(|(name, _)| name.clone()).collect(),
    };
    let contents = bundle::pack(
        &suite.plan,
        &lock,
        &suite.roots,
        &chosen,
        &args.out,
        &Bar::default(),
    )
    .map_err(|error| Failure::new(exit(&error), doing(), &error))?;
    let bytes: u64 = contents.files.iter().map(|file| file.bytes).sum();
    print(&format!(
        "{}: {} files, {bytes} bytes",
        args.out.display(),
        contents.files.len()
    ))?;
    Ok(Exit::Done)
}

pub(crate) fn unpack(args: &UnbundleArgs) -> Result<Exit, Failure> {
    let contents = bundle::unpack(&args.bundle, &args.out, &Bar::default()).map_err(|error| {
        let doing = format!("unpacking bundle `{}`", args.bundle.display());
        Failure::new(exit(&error), doing, &error)
    })?;
    print(&format!(
        "{}: suite {}, {} files as they were packed",
        args.out.display(),
        contents.suite,
        contents.files.len()
    ))?;
    Ok(Exit::Done)
}

fn exit(error: &BundleError) -> Exit {
    match error {
        BundleError::Io { source, .. } => exits::io(source),
        BundleError::Store(error) => exits::store(error),
        BundleError::Harness(error) => exits::harness(error),
        BundleError::Damaged { .. } => Exit::No,
        BundleError::Changed { .. } => Exit::Environment,
        _ => Exit::Usage,
    }
}
