//! `sightline shards dedup`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use sightline_dataset::dedup::{Groups, Keep, Same};
use sightline_dataset::{DedupSpec, dedup};
use sightline_imaging::hash::{ALIKE, MAX_DISTANCE};

use super::ShardsArgs;
use super::locate::{Located, locate};
use super::subset::{SubsetArgs, kept};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};
use crate::stores::{shown, stores};

/// Arguments of `sightline shards dedup`.
#[derive(Debug, Args)]
pub(crate) struct DedupArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// When two samples are the same
    #[arg(long, value_name = "WHAT")]
    by: By,

    /// With `--by phash`, in how many of 64 bits the hashes of two images that are the same may differ, 0 to 16
    #[arg(long, value_name = "BITS", default_value_t = ALIKE,
          value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_DISTANCE)))]
    distance: u32,

    /// Which of them stays
    #[arg(long, value_name = "WHICH", default_value = "first")]
    keep: KeepArg,

    /// Write which samples are the same as JSON, also at s3://, gs:// or az://
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    subset: SubsetArgs,

    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// What makes two samples the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Image files that are equal, byte for byte
    Content,
    /// Images with the same pixels, in whatever files
    Pixels,
    /// Images that look alike: perceptual hashes, those of Python's `ImageHash`
    Phash,
}

/// Which of some samples stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeepArg {
    /// The first in the order of the shards
    First,
    /// The one with most pixels, of equal ones the first
    Largest,
}

pub(super) fn run(args: &DedupArgs) -> Result<Exit, Failure> {
    let doing = || format!("looking for duplicates in `{}`", shown(&args.shards.shards));
    let Located { folder, names } = locate(&args.shards)?;
    let output = args.subset.output(&folder, &doing())?;
    let spec = DedupSpec {
        same: match args.by {
            By::Content => Same::Content,
            By::Pixels => Same::Pixels,
            By::Phash => Same::Perceptual {
                distance: args.distance,
            },
        },
        keep: match args.keep {
            KeepArg::First => Keep::First,
            KeepArg::Largest => Keep::Largest,
        },
        groups: args.report.is_some(),
    };
    if let Some(path) = &args.report {
        let doing = || format!("writing `{}`", shown(path));
        let place = stores().object(path);
        place.map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    }
    let (found, groups) = dedup(&folder, &names, &spec, &output, &Bar::default())
        .map_err(|error| Failure::new(exits::dataset(&error), doing(), &error))?;
    if let (Some(path), Some(groups)) = (&args.report, &groups) {
        write_report(path, groups)?;
    }
    print_either(args.json, &found, || {
        let mut text = kept(&found.subset, &output);
        let _ = write!(
            text,
            "\n  {} are the same as one of {} that stay",
            found.duplicates, found.with_duplicates
        );
        if args.by == By::Phash {
            for (bits, n) in &found.by_distance {
                let _ = write!(text, "\n    {n} at {bits} bits");
            }
        }
        for (n, what) in [
            (found.without_image, "have no image"),
            (found.undecodable, "have an image that does not decode"),
        ] {
            if n > 0 {
                let _ = write!(text, "\n  {n} {what} and stay");
            }
        }
        text
    })?;
    Ok(Exit::Done)
}

fn write_report(path: &Path, groups: &Groups) -> Result<(), Failure> {
    let doing = || format!("writing `{}`", shown(path));
    let text = serde_json::to_vec_pretty(groups)
        .map_err(|error| Failure::io(doing(), &std::io::Error::from(error)))?;
    stores()
        .object(path)
        .and_then(|(folder, name)| folder.write(&name, &text))
        .map_err(|error| Failure::new(exits::store(&error), doing(), &error))
}
