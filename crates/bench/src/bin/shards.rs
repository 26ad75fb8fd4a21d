//! Runs one workload of `just bench-peers shards` over the shards of a folder and says how long it took.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p sightline-bench --bin sightline-bench-shards -- read FOLDER [--decode] [--digest]
//! … -- write FOLDER OUT        # reads all samples, then writes them as WebDataset archives of 1,000
//! … -- random FOLDER ROWS      # ROWS: a JSON list of sample numbers, read in this order
//! ```
//!
//! Prints one JSON object: samples, bytes of their images, the seconds of the workload (wall, and CPU over all threads), and with
//! `--digest` the SHA-256 over keys and images, or keys and pixels. `benchmarks/peers/shards/peer.py` does the same with
//! the libraries of others.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the program is for"
)]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mimalloc::MiMalloc;
use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Sample, ShardId};
use sightline_imaging::{DecodeOptions, Decoder};
use sightline_shard::format::of_name;
use sightline_shard::webdataset::WebDataset;
use sightline_shard::{SampleAt, ShardFormat};
use sightline_store::Folder;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Samples of a shard that is written.
const PER_SHARD: usize = 1000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a workload went through.
#[derive(Default)]
struct Seen {
    samples: u64,
    bytes: u64,
    /// Of each sample, where they are asked for.
    digests: Vec<Digest>,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (words, flags): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .partition(|argument| !argument.starts_with("--"));
    let has = |flag: &str| flags.contains(&flag);
    let [what, folder, more @ ..] = &words[..] else {
        return Err("read, write or random, and a folder of shards, are needed".into());
    };
    let folder = Folder::open(*folder)?;
    let mut names = folder.expand(&["*"])?;
    names.retain(|name| of_name(name).is_some());
    let (seen, wall_s, cpu_s) = match (*what, more) {
        ("read", []) => timed(|| read(&folder, &names, has("--decode"), has("--digest")))?,
        ("write", [out]) => {
            let samples = all(&folder, &names)?;
            timed(|| write(&samples, Path::new(out)))?
        }
        ("random", [rows]) => {
            let rows: Vec<u64> = serde_json::from_slice(&fs::read(rows)?)?;
            let shards = open(&folder, &names)?;
            timed(|| random(&shards, &rows, has("--digest")))?
        }
        _ => return Err("read FOLDER, write FOLDER OUT or random FOLDER ROWS".into()),
    };
    let mut hasher = Hasher::new();
    for digest in &seen.digests {
        hasher.update(digest.as_bytes());
    }
    let digest = (!seen.digests.is_empty()).then(|| hasher.finish());
    println!(
        "{}",
        json!({
            "samples": seen.samples, "bytes": seen.bytes, "wall_s": wall_s, "cpu_s": cpu_s, "digest": digest,
        })
    );
    Ok(())
}

fn timed(act: impl FnOnce() -> Outcome<Seen>) -> Outcome<(Seen, f64, f64)> {
    let (began, cpu) = (Instant::now(), cpu_s());
    let seen = act()?;
    Ok((seen, began.elapsed().as_secs_f64(), cpu_s() - cpu))
}

/// CPU time of all threads so far.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Reads every sample, shards side by side.
fn read(folder: &Folder, names: &[String], decode: bool, digest: bool) -> Outcome<Seen> {
    let shards: Outcome<Vec<Seen>> = names
        .par_iter()
        .map(|name| {
            let mut seen = Seen::default();
            let mut decoder = Decoder::default();
            let Some(format) = of_name(name) else {
                return Ok(seen);
            };
            let mut reader = format.open(folder, name)?;
            while let Some(sample) = reader.next_sample()? {
                look(&mut seen, &sample, decode.then_some(&mut decoder), digest)?;
            }
            Ok(seen)
        })
        .collect();
    Ok(joined(shards?))
}

fn look(
    seen: &mut Seen,
    sample: &Sample,
    decoder: Option<&mut Decoder>,
    digest: bool,
) -> Outcome<()> {
    seen.samples += 1;
    let Some(image) = &sample.image else {
        return Ok(());
    };
    seen.bytes += image.bytes.len() as u64;
    let of = |bytes: &[u8]| {
        let mut hasher = Hasher::new();
        hasher.update(sample.key.as_str().as_bytes());
        hasher.update(b"\0");
        hasher.update(bytes);
        hasher.finish()
    };
    match decoder {
        None if digest => seen.digests.push(of(&image.bytes)),
        None => {}
        Some(decoder) => {
            let decoded = decoder.decode_rgb(&image.bytes, &DecodeOptions::pillow())?;
            if digest {
                seen.digests.push(of(decoded.pixels.data()));
            }
            decoder.recycle(decoded.pixels);
        }
    }
    Ok(())
}

fn joined(shards: Vec<Seen>) -> Seen {
    let mut all = Seen::default();
    for mut shard in shards {
        all.samples += shard.samples;
        all.bytes += shard.bytes;
        all.digests.append(&mut shard.digests);
    }
    all
}

fn all(folder: &Folder, names: &[String]) -> Outcome<Vec<Sample>> {
    let mut samples = Vec::new();
    for name in names {
        let Some(format) = of_name(name) else {
            continue;
        };
        let mut reader = format.open(folder, name)?;
        while let Some(sample) = reader.next_sample()? {
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// Writes archives side by side.
fn write(samples: &[Sample], out: &Path) -> Outcome<Seen> {
    let out = Folder::create(out)?;
    let shards: Outcome<Vec<Seen>> = samples
        .par_chunks(PER_SHARD)
        .enumerate()
        .map(|(id, some)| {
            let mut sink = out.clone();
            let mut writer = WebDataset.create(&mut sink, ShardId(id as u64))?;
            let mut seen = Seen::default();
            for sample in some {
                writer.write(sample)?;
                look(&mut seen, sample, None, false)?;
            }
            writer.finish()?;
            Ok(seen)
        })
        .collect();
    Ok(joined(shards?))
}

/// Shards whose samples are read by their numbers, and how many samples are before each.
type Shards = Vec<(u64, Arc<dyn SampleAt>)>;

fn open(folder: &Folder, names: &[String]) -> Outcome<Shards> {
    let mut shards = Vec::new();
    let mut before = 0;
    for name in names {
        let Some(format) = of_name(name) else {
            continue;
        };
        let shard = format.open_at(folder, name)?;
        let shard: Arc<dyn SampleAt> = shard.ok_or("samples of this format have no places")?.into();
        let samples = shard.samples();
        shards.push((before, shard));
        before += samples;
    }
    Ok(shards)
}

fn random(shards: &Shards, rows: &[u64], digest: bool) -> Outcome<Seen> {
    let parts: Outcome<Vec<Seen>> = rows
        .par_chunks(rows.len().div_ceil(rayon::current_num_threads()).max(1))
        .map(|rows| {
            let mut seen = Seen::default();
            for &row in rows {
                let at = shards.partition_point(|(before, _)| *before <= row);
                let (before, shard) = &shards[at.checked_sub(1).ok_or("no shards")?];
                look(&mut seen, &shard.sample(row - before)?, None, digest)?;
            }
            Ok(seen)
        })
        .collect();
    Ok(joined(parts?))
}
