//! A dataset in parts: `sightline shards split`.
//!
//! Which part a sample goes to is a function of its key (or of a field of its metadata), of the seed and of the shares: the first 64 bits of
//! SHA-256 over seed and value, as a fraction, fall into the range of one part. So a sample stays in its part when others are added or removed, and
//! samples that share a field (an image's digest, a page's address) stay together. Parts then have about the size of their share; the
//! standard deviation of a part with share `p` of `n` samples is `sqrt(n p (1 − p))`.
//!
//! With `exact`, the ranges are cut at the ranks of the numbers instead, so that parts have the size of their share to within one value. When data are added, the
//! cuts move, and with them the few samples near them.

use std::sync::mpsc::sync_channel;
use std::thread;

use serde::Serialize;
use sightline_core::digest::Hasher;
use sightline_core::progress::Silent;
use sightline_core::{ObjectSource, Progress, Sample, Seed};
use sightline_shard::{ReaderStats, ShardFormat};

use crate::convert::{NamedShard, NewShard, Samples};
use crate::cut::{Cutting, complete, write_shards};
use crate::reshard::check_space;
use crate::select::Select;
use crate::staging::{Job, Staging, Target};
use crate::{Error, PassedOver, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// How far the shares may be from 1 together.
const SUM_TOLERANCE: f64 = 1e-6;

/// Samples that wait for the writer of a part.
const WAITING: usize = 4;

/// How to split.
#[derive(Clone)]
pub struct SplitSpec<'a> {
    /// The format of the new shards.
    pub to: &'static dyn ShardFormat,
    /// Names of the parts, which are folders, and their shares, which add up to 1.
    pub parts: Vec<(String, f64)>,
    /// The field of the metadata by which samples are split; by default their key. One that lacks the field is split by its key.
    pub by: Option<String>,
    /// Other parts for another seed.
    pub seed: Seed,
    /// Whether parts have exactly the size of their share.
    pub exact: bool,
    /// Most samples of a new shard.
    pub samples_per_shard: u64,
    /// Which samples are split; the others are left out.
    pub select: &'a dyn Select,
    /// Whether an output that is there is replaced.
    pub force: bool,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples of all parts.
    pub samples: u64,
    /// The parts.
    pub parts: Vec<Part>,
    /// Samples without the field by which they should be split.
    pub without_field: u64,
    /// Samples that were not meant.
    pub left_out: u64,
    /// What was not taken over.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// A part of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Its name, which is its folder's.
    pub name: String,
    /// The share that was asked for.
    pub share: f64,
    /// Samples in it.
    pub samples: u64,
    /// Its shards.
    pub shards: Vec<NewShard>,
}

/// Splits the shards `names` of `source` into folders of `out`.
pub fn split(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    out: impl Into<Target>,
    spec: &SplitSpec<'_>,
    progress: &dyn Progress,
) -> Result<Split> {
    let out = out.into();
    check_parts(&spec.parts)?;
    let bytes: u64 = names
        .iter()
        .filter_map(|(name, _)| source.object(name).and_then(|object| object.len()).ok())
        .sum();
    check_space(&out, bytes)?;
    let ends = if spec.exact {
        let mut numbers = Vec::new();
        let counts = each_number(source, names, spec, "numbers", progress, |number, _| {
            numbers.push(number);
            Ok(())
        })?;
        check_field(spec, &counts)?;
        exact_ends(&spec.parts, numbers)
    } else {
        ends(&spec.parts)
    };

    let mut staging = Staging::begin(&out, spec.force, Job::anew())?;
    let mut folders = Vec::new();
    for (name, _) in &spec.parts {
        folders.push(staging.part(name)?);
    }
    let cutting = Cutting {
        samples: Some(spec.samples_per_shard.max(1)),
        ..Cutting::default()
    };
    let split = thread::scope(|scope| {
        let mut senders = Vec::new();
        let mut writers = Vec::new();
        for folder in &folders {
            let (sender, receiver) = sync_channel::<Sample>(WAITING);
            senders.push(sender);
            writers.push(scope.spawn(move || {
                let next = || Ok(receiver.recv().ok());
                write_shards(next, folder, spec.to, cutting, &[], |_| Ok(()))
            }));
        }
        let spread = each_number(
            source,
            names,
            spec,
            "samples",
            progress,
            |number, sample| {
                let part = part_of(number, &ends);
                // A writer that has failed hangs up, and says why when it is asked below.
                senders[part].send(sample).map_err(|_| Stopped::Writer)
            },
        );
        drop(senders);
        let mut shards = Vec::new();
        for writer in writers {
            match writer.join() {
                Ok(written) => shards.push(written),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match spread {
            Err(Stopped::Error(error)) => Err(error),
            spread => {
                let shards: Result<Vec<Vec<NewShard>>> = shards.into_iter().collect();
                Ok((spread.unwrap_or_default(), shards?))
            }
        }
    });
    let (counts, shards) = split?;
    check_field(spec, &counts)?;
    for (folder, shards) in folders.iter().zip(&shards) {
        complete(folder, spec.to, shards)?;
    }
    staging.finish()?;
    let parts = spec
        .parts
        .iter()
        .zip(shards)
        .map(|((name, share), shards)| Part {
            name: name.clone(),
            share: *share,
            samples: shards.iter().map(|shard| shard.samples).sum(),
            shards,
        });
    let parts: Vec<Part> = parts.collect();
    Ok(Split {
        schema: SCHEMA,
        samples: parts.iter().map(|part| part.samples).sum(),
        parts,
        without_field: counts.without_field,
        left_out: counts.left_out,
        passed_over: counts.stats.into(),
    })
}

#[derive(Debug, Default)]
struct Counts {
    split: u64,
    without_field: u64,
    left_out: u64,
    stats: ReaderStats,
}

/// Why no more samples are read.
enum Stopped {
    /// A writer has failed.
    Writer,
    Error(Error),
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Error(error) => error,
            Stopped::Writer => Self::Io {
                action: "write",
                name: String::new(),
                source: std::io::ErrorKind::BrokenPipe.into(),
            },
        }
    }
}

/// Shows every sample that is meant, with its number, to `act`.
fn each_number(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    spec: &SplitSpec<'_>,
    what: &str,
    progress: &dyn Progress,
    mut act: impl FnMut(u64, Sample) -> Result<(), Stopped>,
) -> Result<Counts, Stopped> {
    let mut counts = Counts::default();
    let mut samples = Samples::new(source, names, &Silent);
    progress.start(what, None);
    while let Some(sample) = samples.next()? {
        progress.advance(1);
        if !spec.select.keeps(samples.shard(), &sample)? {
            counts.left_out += 1;
            continue;
        }
        let field = spec.by.as_ref().map(|field| {
            let value = sample.meta.get(field).filter(|value| !value.is_null());
            value.map(ToString::to_string)
        });
        let number = match field {
            Some(Some(value)) => number(spec.seed, "field", &value),
            field => {
                counts.without_field += u64::from(field.is_some());
                number(spec.seed, "key", sample.key.as_str())
            }
        };
        counts.split += 1;
        act(number, sample)?;
    }
    progress.finish();
    counts.stats = samples.into_stats();
    Ok(counts)
}

/// An error where no sample has the field by which they are split.
fn check_field(spec: &SplitSpec<'_>, counts: &Counts) -> Result<()> {
    match &spec.by {
        Some(field) if counts.split > 0 && counts.without_field == counts.split => {
            Err(Error::NoField {
                field: field.clone(),
            })
        }
        _ => Ok(()),
    }
}

/// The number of a value: the first eight bytes of SHA-256(seed ‖ kind ‖ 0 ‖ value), the first being the highest.
fn number(seed: Seed, kind: &str, value: &str) -> u64 {
    let mut hasher = Hasher::new();
    hasher.update(&seed.0.to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(&[0]);
    hasher.update(value.as_bytes());
    let digest = hasher.finish();
    let first = digest.as_bytes().iter().take(8);
    first.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Where the range of each part ends, but the last.
fn ends(parts: &[(String, f64)]) -> Vec<u128> {
    let whole = 2f64.powi(64);
    let mut sum = 0.0;
    let shares = parts.iter().take(parts.len().saturating_sub(1));
    shares
        .map(|(_, share)| {
            sum += share;
            (sum * whole) as u128
        })
        .collect()
}

/// The same, so that parts have the size of their share among `numbers`. Equal numbers stay together.
fn exact_ends(parts: &[(String, f64)], mut numbers: Vec<u64>) -> Vec<u128> {
    numbers.sort_unstable();
    let mut sum = 0.0;
    let shares = parts.iter().take(parts.len().saturating_sub(1));
    shares
        .map(|(_, share)| {
            sum += share;
            let rank = (sum * numbers.len() as f64).round() as usize;
            numbers
                .get(rank)
                .map_or(1 << 64, |number| u128::from(*number))
        })
        .collect()
}

fn part_of(number: u64, ends: &[u128]) -> usize {
    ends.partition_point(|end| *end <= u128::from(number))
}

fn check_parts(parts: &[(String, f64)]) -> Result<()> {
    for (at, (part, _)) in parts.iter().enumerate() {
        let is_folder = !part.is_empty()
            && part.len() <= 100
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || "-_.".contains(c));
        if !is_folder || parts[..at].iter().any(|(earlier, _)| earlier == part) {
            return Err(Error::Part { part: part.clone() });
        }
    }
    let sum: f64 = parts.iter().map(|(_, share)| share).sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(Error::Split { sum });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use sightline_core::io::Memory;
    use sightline_core::{SampleKey, ShardId};
    use sightline_shard::webdataset::WebDataset;
    use sightline_store::Folder;

    use super::*;
    use crate::select::All;

    fn parts(shares: &[f64]) -> Vec<(String, f64)> {
        let named = shares.iter().enumerate();
        named
            .map(|(at, share)| (format!("part-{at}"), *share))
            .collect()
    }

    fn spec(shares: &[f64], by: Option<&str>, exact: bool) -> SplitSpec<'static> {
        SplitSpec {
            to: &WebDataset,
            parts: parts(shares),
            by: by.map(str::to_owned),
            seed: Seed(1),
            exact,
            samples_per_shard: 40,
            select: &All,
            force: false,
        }
    }

    /// Samples `from..to`, two of each picture.
    fn shard(from: u64, to: u64) -> (Memory, Vec<NamedShard>) {
        let mut shards = Memory::default();
        let mut writer = WebDataset.create(&mut shards, ShardId(0)).unwrap();
        for number in from..to {
            let meta = serde_json::json!({ "picture": number / 2 });
            let sample = Sample {
                key: SampleKey::new(format!("{number}")).unwrap(),
                image: None,
                captions: Vec::new(),
                meta: meta.as_object().unwrap().clone(),
            };
            writer.write(&sample).unwrap();
        }
        writer.finish().unwrap();
        (shards, vec![("00000.tar".to_owned(), &WebDataset)])
    }

    /// The part of each key.
    fn run(samples: (u64, u64), spec: &SplitSpec<'_>) -> (Split, BTreeMap<String, usize>) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let (source, names) = shard(samples.0, samples.1);
        let done = split(&source, &names, &out, spec, &Silent).unwrap();
        let mut found = BTreeMap::new();
        for (at, part) in done.parts.iter().enumerate() {
            let folder = Folder::open(out.join(&part.name)).unwrap();
            for shard in &part.shards {
                let mut reader = WebDataset.open(&folder, &shard.name).unwrap();
                while let Some(sample) = reader.next_sample().unwrap() {
                    assert!(found.insert(sample.key.to_string(), at).is_none());
                }
            }
        }
        assert_eq!(found.len() as u64, done.samples);
        (done, found)
    }

    #[test]
    fn samples_stay_in_their_part_when_others_come() {
        let spec = spec(&[0.8, 0.1, 0.1], None, false);
        let (done, few) = run((0, 300), &spec);
        let (_, many) = run((100, 700), &spec);
        for (key, part) in &few {
            assert!(many.get(key).is_none_or(|other| other == part), "{key}");
        }
        let sizes: Vec<u64> = done.parts.iter().map(|part| part.samples).collect();
        assert!((210..270).contains(&sizes[0]), "{sizes:?}");
        assert!(sizes.iter().all(|size| *size > 10), "{sizes:?}");
        assert_eq!(done.parts[0].shards[0].samples, 40);
        let other = SplitSpec {
            seed: Seed(2),
            ..spec
        };
        assert_ne!(run((0, 300), &other).1, few);
    }

    #[test]
    fn samples_that_share_a_field_stay_together() {
        for exact in [false, true] {
            let (done, found) = run((0, 200), &spec(&[0.5, 0.5], Some("picture"), exact));
            for number in (0..200).step_by(2) {
                let pair = [number, number + 1].map(|n| found[&n.to_string()]);
                assert_eq!(pair[0], pair[1]);
            }
            assert_eq!(done.without_field, 0);
            if exact {
                assert_eq!(done.parts[0].samples, 100);
            }
        }
        for exact in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (source, names) = shard(0, 10);
            let spec = spec(&[1.0], Some("other"), exact);
            let out = dir.path().join("out");
            let error = split(&source, &names, &out, &spec, &Silent).unwrap_err();
            assert_eq!(error.to_string(), "no sample has `other` in its metadata");
            assert!(!out.exists());
        }
    }

    #[test]
    fn exact_parts_have_the_size_of_their_share() {
        let (done, _) = run((0, 250), &spec(&[0.7, 0.2, 0.1], None, true));
        let sizes: Vec<u64> = done.parts.iter().map(|part| part.samples).collect();
        assert_eq!(sizes, [175, 50, 25]);
        let (done, _) = run((0, 20), &spec(&[1.0, 0.0], None, true));
        assert_eq!((done.parts[0].samples, done.parts[1].shards.len()), (20, 1));
    }

    #[test]
    fn parts_that_are_no_folders_or_no_whole_are_refused() {
        let refused = |parts: &[(&str, f64)]| {
            let parts: Vec<(String, f64)> =
                parts.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect();
            check_parts(&parts).unwrap_err().to_string()
        };
        for part in ["", "..", ".hidden", "a/b", "a\\b", "a b"] {
            assert!(refused(&[(part, 1.0)]).contains("folders"), "{part}");
        }
        assert!(refused(&[("a", 0.5), ("a", 0.5)]).contains("`a`"));
        assert!(refused(&[("a", 0.5), ("b", 0.4)]).contains("0.9"));
    }

    #[test]
    fn a_writer_that_fails_ends_the_split() {
        let dir = tempfile::tempdir().unwrap();
        let (source, names) = shard(0, 100);
        let twice = [names.clone(), names].concat();
        let spec = SplitSpec {
            samples_per_shard: 1000,
            ..spec(&[0.5, 0.5], None, false)
        };
        let error = split(&source, &twice, &dir.path().join("out"), &spec, &Silent).unwrap_err();
        assert!(
            error.to_string().contains("two samples with the key"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    proptest! {
        /// The part of a value does not change when shares move, but across the border that moved.
        #[test]
        fn a_border_that_moves_moves_no_other_samples(value in ".*", seed in any::<u64>(), low in 0.0f64..1.0, high in 0.0f64..1.0) {
            let number = number(Seed(seed), "key", &value);
            let [before, after] = [low.min(high), low.max(high)].map(|share| part_of(number, &ends(&parts(&[share, 1.0 - share]))));
            prop_assert!(before >= after);
        }

        #[test]
        fn exact_ranges_cut_at_ranks(mut numbers in proptest::collection::hash_set(any::<u64>(), 0..60), share in 0.0f64..1.0) {
            let numbers: Vec<u64> = numbers.drain().collect();
            let ends = exact_ends(&parts(&[share, 1.0 - share]), numbers.clone());
            let first = numbers.iter().filter(|number| part_of(**number, &ends) == 0).count();
            prop_assert_eq!(first, (share * numbers.len() as f64).round() as usize);
        }
    }
}
