//! `sightline shards read`: the samples of a rank and worker as a stream.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use sightline_core::{ObjectSource as _, Sample, Seed};
use sightline_dataset::{Cache, ReadSpec, Reader, count};
use sightline_shard::Cursor;
use sightline_shard::order::{OrderSpec, Remainder, Share};
use sightline_shard::webdataset::StreamWriter;

use super::ShardsArgs;
use super::locate::{Located, locate};
use crate::command::exits;
use crate::command::size::parse_size;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// Bytes that are handed to the pipe at a time.
const PIECE: usize = 1 << 16;

/// Most ranks that a cursor may be of.
const MOST_RANKS: u64 = 1 << 16;

/// Arguments of `sightline shards read`.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// Number of the epoch; each has another order
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "cursor")]
    epoch: u64,

    /// Randomness of the order
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "cursor")]
    seed: u64,

    /// Keep the order of the dataset (with --lanes 1: exactly)
    #[arg(long, conflicts_with = "cursor")]
    no_shuffle: bool,

    /// Runs of shards that are read side by side; best a multiple of the number of ranks, or the other way round
    #[arg(long, value_name = "N", default_value_t = 8, conflicts_with = "cursor", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    lanes: u32,

    /// Shards of a lane whose samples are shuffled together
    #[arg(long, value_name = "N", default_value_t = 4, conflicts_with = "cursor", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,

    /// Begin where this cursor stands: what --plan prints as `cursor`, with `epoch` and `sample` moved on
    #[arg(long, value_name = "JSON")]
    cursor: Option<String>,

    /// Number of this rank, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    rank: u64,

    /// Number of ranks
    #[arg(long, value_name = "N", default_value_t = 1)]
    world: u64,

    /// Number of this worker of the rank, from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    worker: u64,

    /// Number of workers of a rank; 0 where the rank reads by itself
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: u64,

    /// Samples of a batch, in which workers take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch_size: u64,

    /// What becomes of samples when the number of ranks does not divide theirs
    #[arg(long, value_enum, default_value_t = RemainderArg::Pad)]
    remainder: RemainderArg,

    /// Keep copies of the shards in this folder, which the processes of a machine share
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,

    /// Most bytes of the copies
    #[arg(long, value_name = "SIZE", default_value = "64GiB", requires = "cache", value_parser = parse_size)]
    cache_size: u64,

    /// Bytes of samples that are fetched ahead
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size)]
    ahead: u64,

    /// Threads that fetch
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,

    /// What is written: a WebDataset archive, or a line of JSON for each sample, without the bytes of images
    #[arg(long, value_enum, default_value_t = Form::Tar)]
    to: Form,

    /// Say as JSON what would be read, with the cursor of its beginning, and read nothing
    #[arg(long)]
    plan: bool,
}

/// What becomes of samples that are left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RemainderArg {
    /// The first of the epoch are read twice, fewer than there are ranks
    Pad,
    /// The last of the epoch are not read, fewer than there are ranks
    Drop,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A WebDataset archive
    Tar,
    /// Lines of JSON
    Jsonl,
}

/// What `--plan` prints.
#[derive(Debug, Serialize)]
struct Planned {
    /// Version of this form: 1.
    schema: u32,
    shards: usize,
    /// Of the dataset.
    samples: u64,
    /// Left of the epoch for each rank.
    samples_of_rank: u64,
    /// Left of the epoch for this process.
    samples_of_worker: u64,
    /// Read twice, or not at all.
    padded: u64,
    dropped: u64,
    cursor: Cursor,
}

/// A line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// In the order of the epoch; beyond the number of samples it pads.
    position: u64,
    key: &'a str,
    captions: &'a [String],
    image: Option<Image>,
    meta: &'a sightline_core::Metadata,
}

#[derive(Debug, Serialize)]
struct Image {
    format: sightline_core::ImageFormat,
    len_bytes: usize,
}

pub(super) fn run(args: &ReadArgs) -> Result<Exit, Failure> {
    let Located { folder, names } = locate(&args.shards)?;
    let doing = || format!("reading shards of `{}`", args.shards.shards.display());
    let failed =
        |error: sightline_dataset::Error| Failure::new(exits::dataset(&error), doing(), &error);
    let share = Share::new(
        args.rank,
        args.world,
        args.worker,
        args.workers,
        args.batch_size,
    )
    .map_err(|error| Failure::usage(doing(), error.to_string()))?;
    let remainder = match args.remainder {
        RemainderArg::Pad => Remainder::Pad,
        RemainderArg::Drop => Remainder::Drop,
    };
    let given = match &args.cursor {
        Some(text) => Some(Cursor::parse(text).map_err(|error| failed(error.into()))?),
        None => None,
    };

    let lens = count(&folder, &names, &Bar::default()).map_err(failed)?;
    let named: Vec<(&str, u64)> = names
        .iter()
        .zip(&lens)
        .map(|((name, _), len)| (name.as_str(), *len))
        .collect();
    let samples: u64 = lens.iter().sum();
    // Behind an epoch that was padded it stands as far beyond the end as samples came twice.
    let is_padding = |cursor: &Cursor| cursor.sample.saturating_sub(samples) < MOST_RANKS;
    let given = given.map(|cursor| {
        if is_padding(&cursor) {
            cursor.within(samples)
        } else {
            cursor
        }
    });
    let cursor = given.unwrap_or_else(|| {
        let spec = OrderSpec {
            seed: Seed(args.seed),
            shuffle: !args.no_shuffle,
            lanes: args.lanes,
            window: args.window,
        };
        Cursor::new(&named, spec, args.epoch)
    });
    cursor.check(&named).map_err(|error| failed(error.into()))?;
    if args.plan {
        let order = cursor.order(&named);
        let each = share.samples_of_rank(samples, cursor.sample, remainder);
        let left = samples - cursor.sample;
        let read = each * args.world;
        let planned = Planned {
            schema: 1,
            shards: names.len(),
            samples,
            samples_of_rank: each,
            samples_of_worker: share.positions(&order, cursor.sample, remainder).len() as u64,
            padded: read.saturating_sub(left),
            dropped: left.saturating_sub(read),
            cursor,
        };
        print_either(true, &planned, String::new)?;
        return Ok(Exit::Done);
    }

    let cache = match &args.cache {
        Some(folder) => Some(Cache::open(folder, args.cache_size).map_err(failed)?),
        None => None,
    };
    let address = folder.root();
    let spec = ReadSpec {
        share,
        cursor,
        remainder,
        threads: args.threads.into(),
        ahead_bytes: args.ahead,
        cache,
        dataset: address
            .canonicalize()
            .unwrap_or_else(|_| address.to_owned())
            .display()
            .to_string(),
        scratch: std::env::temp_dir(),
    };
    let reader = Reader::new(folder.shared(), &names, &lens, &spec).map_err(failed)?;
    let out = BufWriter::with_capacity(PIECE, io::stdout().lock());
    let written = match args.to {
        Form::Tar => write_tar(reader, out),
        Form::Jsonl => write_lines(reader, out),
    };
    match written {
        // Whoever reads has had enough.
        Err(error) if is_closed(&error) => Ok(Exit::Done),
        Err(error) => Err(failed(error)),
        Ok(()) => Ok(Exit::Done),
    }
}

type Out = BufWriter<io::StdoutLock<'static>>;

/// What errors call the pipe.
const STREAM: &str = "standard output";

fn write_tar(reader: Reader, out: Out) -> sightline_dataset::Result<()> {
    let mut stream = StreamWriter::new(out, STREAM);
    for read in reader {
        stream.write(&read?.1)?;
    }
    Ok(stream.finish()?)
}

fn write_lines(reader: Reader, mut out: Out) -> sightline_dataset::Result<()> {
    let failed = |source| sightline_dataset::Error::Io {
        action: "write",
        name: STREAM.to_owned(),
        source,
    };
    for read in reader {
        let (position, sample) = read?;
        let Sample {
            key,
            image,
            captions,
            meta,
        } = &sample;
        let line = Line {
            position,
            key: key.as_str(),
            captions,
            image: image.as_ref().map(|image| Image {
                format: image.format,
                len_bytes: image.bytes.len(),
            }),
            meta,
        };
        let text = serde_json::to_string(&line).map_err(|error| failed(error.into()))?;
        writeln!(out, "{text}").map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Whether the other end of the pipe is closed.
fn is_closed(error: &sightline_dataset::Error) -> bool {
    match error {
        sightline_dataset::Error::Shard(sightline_shard::Error::Io { source, shard, .. })
        | sightline_dataset::Error::Io {
            source,
            name: shard,
            ..
        } => shard == STREAM && source.kind() == io::ErrorKind::BrokenPipe,
        _ => false,
    }
}
