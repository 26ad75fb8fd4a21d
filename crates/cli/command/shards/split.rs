//! `sightline shards split`: a dataset in parts.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use sightline_core::Seed;
use sightline_core::text::counted;
use sightline_dataset::{SplitSpec, split};

use super::condition::WhereArgs;
use super::locate::{Located, locate};
use super::{ShardsArgs, format_called, parse_share, passed_over, target};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::stores::shown;

/// What `--by` means the key by.
const KEY: &str = "key";

/// Arguments of `sightline shards split`.
#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Folder for the parts, a folder each, also at s3://, gs:// or az://; on this machine it appears whole at the end
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Parts and their shares, which add up to 1: train=0.9,val=0.1
    #[arg(long, value_name = "PART=SHARE,…", value_delimiter = ',', required = true, value_parser = parse_share)]
    parts: Vec<(String, f64)>,

    /// What decides where a sample goes: its key, or a field of its metadata, so that samples with the same value stay together
    #[arg(long, value_name = "key|FIELD", default_value = KEY)]
    by: String,

    /// Other parts for another seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Parts of exactly the size of their share; some samples change their part when others are added
    #[arg(long)]
    exact: bool,

    /// Format of the new shards; by default that of the old ones
    #[arg(long, value_name = "NAME")]
    to: Option<String>,

    /// Most samples of a new shard
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    samples_per_shard: u64,

    #[command(flatten)]
    which: WhereArgs,

    /// Replace an output that is there
    #[arg(long)]
    force: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SplitArgs) -> Result<Exit, Failure> {
    let select = args.which.select()?;
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("splitting `{}`", shown(&args.shards.shards));
    let to = match (&args.to, names.first()) {
        (Some(name), _) => format_called(name, &doing())?,
        (None, Some((_, format))) => *format,
        (None, None) => return Err(Failure::usage(doing(), "there are no shards")),
    };
    let spec = SplitSpec {
        to,
        parts: args.parts.clone(),
        by: (args.by != KEY).then(|| args.by.clone()),
        seed: Seed(args.seed),
        exact: args.exact,
        samples_per_shard: args.samples_per_shard,
        select: &*select,
        force: args.force,
    };
    let out = target(&args.out, &folder)?;
    let done = split(&folder, &names, out, &spec, &Bar::default())
        .map_err(|error| Failure::new(exits::dataset(&error), doing(), &error))?;
    if done.without_field > 0 {
        note(&format!(
            "{} samples have no `{}` and were split by their keys",
            done.without_field, args.by
        ));
    }
    print_either(args.json, &done, || {
        let mut text = String::new();
        for part in &done.parts {
            let share = 100.0 * part.samples as f64 / done.samples.max(1) as f64;
            let _ = writeln!(
                text,
                "{}  {} ({share:.2} %)  {}",
                part.name,
                counted(part.samples as usize, "sample"),
                counted(part.shards.len(), "shard")
            );
        }
        let _ = write!(text, "{}", counted(done.samples as usize, "sample"));
        text + &passed_over(&done.passed_over)
    })?;
    Ok(Exit::Done)
}
