//! `sightline shards reshard`: shards of another size, order or format.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use sightline_core::Seed;
use sightline_core::text::counted;
use sightline_dataset::reshard::{Ordering, Ranks, Remainder, plan};
use sightline_dataset::{Cut, Plan, ReshardSpec, Target, reshard};

use super::locate::{Located, locate};
use super::{ShardsArgs, format_called, note_kept, passed_over, stopped, target};
use crate::command::exits;
use crate::command::size::{parse_length, parse_size, size};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::stores::{scratch, shown};

/// Arguments of `sightline shards reshard`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("cut").required(true).multiple(true).args(["samples_per_shard", "bytes_per_shard", "ranks"]))]
pub(crate) struct ReshardArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Folder for the new shards, also at s3://, gs:// or az://; on this machine it appears whole at the end
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Format of the new shards; by default that of the old ones
    #[arg(long, value_name = "NAME")]
    to: Option<String>,

    /// Most samples of a shard
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples_per_shard: Option<u64>,

    /// Longest shard, measured as a tar archive (64MiB); with --ranks the average
    #[arg(long, value_name = "SIZE", value_parser = parse_length)]
    bytes_per_shard: Option<u64>,

    /// Equal shards of equal numbers of samples for the workers of N ranks; one for each worker unless a size says more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    ranks: Option<u64>,

    /// Workers of a rank
    #[arg(long, value_name = "N", default_value_t = 1, requires = "ranks", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    workers: u64,

    /// What becomes of samples that cannot be shared out equally among ranks and workers
    #[arg(long, value_enum, default_value_t = RemainderArg::Keep, requires = "ranks")]
    remainder: RemainderArg,

    /// Shuffle all samples together; the same seed gives the same bytes, whatever the memory
    #[arg(long, value_name = "SEED")]
    shuffle: Option<u64>,

    /// Memory that the shuffle may take
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size)]
    memory: u64,

    /// Folder for what the shuffle writes on the way; by default beside the output, or TMPDIR where that is in a store
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,

    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Replace an output that is there
    #[arg(long)]
    force: bool,

    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of samples that are left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RemainderArg {
    /// The last ones are left out
    Drop,
    /// The first ones come again at the end, with ~1 added to their keys
    Pad,
    /// The first shards have one sample more
    Keep,
}

pub(super) fn run(args: &ReshardArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("resharding `{}`", shown(&args.shards.shards));
    let to = match (&args.to, names.first()) {
        (Some(name), _) => format_called(name, &doing())?,
        (None, Some((_, format))) => *format,
        (None, None) => return Err(Failure::usage(doing(), "there are no shards")),
    };
    let out = target(&args.out, &folder)?;
    let spec = ReshardSpec {
        to,
        cut: Cut {
            samples_per_shard: args.samples_per_shard,
            bytes_per_shard: args.bytes_per_shard,
            ranks: args.ranks.map(|ranks| Ranks {
                ranks,
                workers: args.workers,
                remainder: match args.remainder {
                    RemainderArg::Drop => Remainder::Drop,
                    RemainderArg::Pad => Remainder::Pad,
                    RemainderArg::Keep => Remainder::Keep,
                },
            }),
        },
        shuffle: args.shuffle.map(Seed),
        memory_bytes: args.memory,
        scratch: args.scratch.clone().or_else(|| match &out {
            Target::Local(_) => None,
            Target::Store(_) => Some(scratch()),
        }),
        force: args.force,
    };
    let failed =
        |error: sightline_dataset::Error| Failure::new(exits::dataset(&error), doing(), &error);
    let plan = plan(&folder, &names, &out, &spec, &Bar::default()).map_err(failed)?;
    if args.dry_run {
        print_either(args.json, &plan, || text(&plan))?;
        return Ok(Exit::Done);
    }
    note(&text(&plan));
    let bar = Bar::default();
    let done = reshard(&folder, &names, &out, &spec, plan, &bar)
        .map_err(|error| stopped(&error, doing()))?;
    note_kept(done.kept);
    print_either(args.json, &done, || {
        let mut text = String::new();
        for shard in &done.shards {
            let _ = writeln!(
                text,
                "{}  {} samples  {} bytes",
                shard.name, shard.samples, shard.len_bytes
            );
        }
        let samples: u64 = done.shards.iter().map(|shard| shard.samples).sum();
        let _ = write!(
            text,
            "{}, {}",
            counted(done.shards.len(), "shard"),
            counted(samples as usize, "sample")
        );
        text + &passed_over(&done.passed_over)
    })?;
    Ok(Exit::Done)
}

fn text(plan: &Plan) -> String {
    let mut text = format!("{} samples", plan.samples);
    let _ = match plan.order {
        Ordering::AsGiven => write!(text, " in their order"),
        Ordering::ShuffledByIndex => write!(text, ", shuffled by a list in memory"),
        Ordering::ShuffledByBuckets => write!(text, ", shuffled by files on the disk"),
    };
    if let Some(shards) = plan.shards {
        let _ = write!(text, ", into {}", counted(shards as usize, "shard"));
    }
    match plan.samples_per_shard {
        Some((low, high)) if low == high => {
            let _ = write!(text, " of {low}");
        }
        Some((low, high)) => {
            let _ = write!(text, " of {low} to {high}");
        }
        None => {}
    }
    if let Some(each) = plan.shards_per_worker {
        let _ = write!(text, ", {each} for each worker");
    }
    if plan.dropped > 0 {
        let _ = write!(text, "; the last {} are left out", plan.dropped);
    }
    if plan.padded > 0 {
        let _ = write!(text, "; {} are written once more", plan.padded);
    }
    let _ = write!(text, "\nabout {} to write", size(plan.out_bytes));
    if plan.scratch_bytes > 0 {
        let _ = write!(text, ", and {} on the way", size(plan.scratch_bytes));
    }
    if let Some(free) = plan.free_bytes {
        let _ = write!(text, "; {} are free", size(free));
    }
    text
}
