//! Shards of another size, order or format: `sightline shards reshard`.
//!
//! Shards are cut by a number of samples, by bytes, or so that every worker of every rank of a training run has equally many shards of equally many samples.
//! Samples keep their order or are shuffled, all of them together ([`crate::reshard`] says how in `shuffle.rs`). The same samples, specification and seed
//! give the same bytes, whatever the memory.
//!
//! The output appears whole, with its list of digests (`shards.manifest.json`) written last (in a store: shard by shard, marked as unfinished
//! until then). A run that was cut short goes on behind the shards that it had finished, when it is asked for again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sightline_core::progress::Silent;
use sightline_core::{ObjectSource, Progress, Sample, SampleKey, Seed, ShardId};
use sightline_shard::{ReaderStats, ShardFormat};
use sightline_store::free_bytes;

use crate::convert::{NamedShard, NewShard, Samples, version_of};
use crate::cut::{Cutting, Shares, complete, write_shards};
use crate::shuffle::{Buckets, ByIndex, Kept, by_index, open_all};
use crate::staging::{Job, Staging, Target};
use crate::{Error, PassedOver, Result, count};

/// Version of the serialised forms.
const SCHEMA: u32 = 1;

/// Where the row of samples is cut. Nothing said is one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Most samples of a shard.
    pub samples_per_shard: Option<u64>,
    /// Longest shard in bytes, measured as a tar archive that is not compressed. A sample that is longer has a shard of its own.
    pub bytes_per_shard: Option<u64>,
    /// Equal shards for training.
    pub ranks: Option<Ranks>,
}

/// Ranks and workers that read equally many shards of equally many samples. With [`Cut::samples_per_shard`] or [`Cut::bytes_per_shard`] a
/// worker has as many shards as that takes, the bytes as an average; else one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// Ranks.
    pub ranks: u64,
    /// Workers of a rank.
    pub workers: u64,
    /// What becomes of samples that are left over.
    pub remainder: Remainder,
}

/// What becomes of samples that cannot be shared out equally among shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Remainder {
    /// The last ones are left out.
    Drop,
    /// The first ones come again at the end, `~1` added to their keys.
    Pad,
    /// The first shards have one sample more.
    Keep,
}

/// How to reshard.
#[derive(Clone, Debug)]
pub struct ReshardSpec {
    /// The format of the new shards.
    pub to: &'static dyn ShardFormat,
    /// Where they are cut.
    pub cut: Cut,
    /// The randomness of a shuffle of all samples; without it they keep their order.
    pub shuffle: Option<Seed>,
    /// Memory that the shuffle may take.
    pub memory_bytes: u64,
    /// A folder for what the shuffle writes on the way; by default beside the output, or the system's where that is in a store.
    pub scratch: Option<PathBuf>,
    /// Whether an output that is there is replaced.
    pub force: bool,
}

/// What resharding will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples of the dataset.
    pub samples: u64,
    /// Samples that will be written.
    pub written: u64,
    /// How samples are put in order.
    pub order: Ordering,
    /// Shards that will be written, where that is known before.
    pub shards: Option<u64>,
    /// Fewest and most samples of a shard, where that is known before.
    pub samples_per_shard: Option<(u64, u64)>,
    /// Shards of each worker of each rank, where they are equal.
    pub shards_per_worker: Option<u64>,
    /// Samples that are left out.
    pub dropped: u64,
    /// Samples that are written once more.
    pub padded: u64,
    /// Bytes of the output, about: as many as the input has.
    pub out_bytes: u64,
    /// Bytes that are written on the way, about.
    pub scratch_bytes: u64,
    /// Bytes that are free where the output goes.
    pub free_bytes: Option<u64>,
    /// Samples of each shard that is read.
    #[serde(skip)]
    lens: Vec<u64>,
}

/// How samples are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ordering {
    /// They keep it.
    AsGiven,
    /// Shuffled by a sorted list, each sample read where it lies.
    ShuffledByIndex,
    /// Shuffled by files on the disk.
    ShuffledByBuckets,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resharded {
    /// Version of this form: 1.
    pub schema: u32,
    /// What was to be done.
    pub plan: Plan,
    /// Shards that an earlier run had finished.
    pub kept: u64,
    /// The new shards.
    pub shards: Vec<NewShard>,
    /// What was not taken over.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// What [`reshard`] will do with the shards `names` of `source`. It counts them and opens them; nothing is written.
pub fn plan(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    out: impl Into<Target>,
    spec: &ReshardSpec,
    progress: &dyn Progress,
) -> Result<Plan> {
    let out = out.into();
    let lens = count(source, names, progress)?;
    let samples = lens.iter().sum();
    let mut bytes = 0u64;
    for (name, _) in names {
        let len = source.object(name).and_then(|object| object.len());
        // A folder of plain files without a list has no length.
        bytes = bytes.saturating_add(len.unwrap_or(0));
    }
    let order = match spec.shuffle {
        None => Ordering::AsGiven,
        Some(_) if by_index(names, &lens, spec.memory_bytes) && finds_all(source, names)? => {
            Ordering::ShuffledByIndex
        }
        Some(_) => Ordering::ShuffledByBuckets,
    };
    let mut plan = Plan {
        schema: SCHEMA,
        samples,
        written: samples,
        order,
        shards: None,
        samples_per_shard: None,
        shards_per_worker: None,
        dropped: 0,
        padded: 0,
        out_bytes: bytes,
        scratch_bytes: if order == Ordering::ShuffledByBuckets {
            bytes
        } else {
            0
        },
        free_bytes: out.disk().and_then(free_bytes),
        lens,
    };
    plan.cut(spec.cut)?;
    plan.check_space(&out, spec.scratch.as_deref())?;
    Ok(plan)
}

/// Whether the first shard of each kind says that samples can be found by their number; the others are asked when they are read.
fn finds_all(source: &dyn ObjectSource, names: &[NamedShard]) -> Result<bool> {
    let mut kinds: Vec<&str> = Vec::new();
    for (name, format) in names {
        if !kinds.contains(&format.name()) {
            kinds.push(format.name());
            if format.open_at(source, name)?.is_none() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

impl Plan {
    fn cut(&mut self, cut: Cut) -> Result<()> {
        let samples = self.samples;
        let Some(ranks) = cut.ranks else {
            if cut.bytes_per_shard.is_none() {
                let most = cut.samples_per_shard.unwrap_or(u64::MAX).max(1);
                let shards = samples.div_ceil(most).max(1);
                self.shards = Some(shards);
                let last = samples - (shards - 1) * most.min(samples);
                self.samples_per_shard = Some((last, most.min(samples)));
            }
            return Ok(());
        };
        let readers = ranks.ranks.max(1).saturating_mul(ranks.workers.max(1));
        let by_samples = cut
            .samples_per_shard
            .map(|most| samples.div_ceil(readers.saturating_mul(most.max(1))));
        let by_bytes = cut
            .bytes_per_shard
            .map(|most| self.out_bytes.div_ceil(readers.saturating_mul(most.max(1))));
        let each = by_samples.max(by_bytes).unwrap_or(1).max(1);
        let shards = readers.saturating_mul(each);
        let too_few = Error::TooFew { samples, shards };
        let (low, high) = match ranks.remainder {
            Remainder::Drop => (samples / shards, samples / shards),
            Remainder::Pad => (samples.div_ceil(shards), samples.div_ceil(shards)),
            Remainder::Keep => (samples / shards, samples.div_ceil(shards)),
        };
        let written = match ranks.remainder {
            Remainder::Keep => Some(samples),
            _ => low.checked_mul(shards),
        };
        let written = written.filter(|_| low > 0).ok_or(too_few)?;
        self.written = written;
        self.dropped = samples.saturating_sub(written);
        self.padded = written.saturating_sub(samples);
        self.shards = Some(shards);
        self.samples_per_shard = Some((low, high));
        self.shards_per_worker = Some(each);
        Ok(())
    }

    /// Refuses what would fill a disk.
    fn check_space(&self, out: &Target, scratch: Option<&Path>) -> Result<()> {
        match scratch {
            Some(scratch) => {
                check_space(out, self.out_bytes)?;
                check_disk_space(scratch, self.scratch_bytes)
            }
            None => check_space(out, self.out_bytes.saturating_add(self.scratch_bytes)),
        }
    }

    fn cutting(&self, cut: Cut) -> Cutting {
        let shares = cut.ranks.and(self.shards).map(|shards| Shares {
            shards,
            samples: self.written,
        });
        Cutting {
            samples: cut.samples_per_shard,
            len_bytes: cut.bytes_per_shard.filter(|_| shares.is_none()),
            shares,
        }
    }
}

/// Refuses to write about `needed_bytes` where they are not free. Stores do not say what is.
pub(crate) fn check_space(out: &Target, needed_bytes: u64) -> Result<()> {
    match out.disk() {
        Some(path) => check_disk_space(path, needed_bytes),
        None => Ok(()),
    }
}

fn check_disk_space(path: &Path, needed_bytes: u64) -> Result<()> {
    match free_bytes(path) {
        Some(free_bytes) if free_bytes < needed_bytes => Err(Error::Space {
            path: path.to_owned(),
            needed_bytes,
            free_bytes,
        }),
        _ => Ok(()),
    }
}

/// Writes the shards `names` of `source` anew as the folder `out`, as `plan` says, which [`plan()`] made for the same arguments. Where a
/// run of the same arguments was killed or lost its disk or store, it goes on behind the shards that are finished.
pub fn reshard(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    out: impl Into<Target>,
    spec: &ReshardSpec,
    plan: Plan,
    progress: &dyn Progress,
) -> Result<Resharded> {
    let job = job(source, names, spec, &plan);
    Staging::run(&out.into(), spec.force, job, |staging| {
        let kept = staging.done().len() as u64;
        let (shards, stats) = write(source, names, spec, &plan, staging, progress)?;
        Ok(Resharded {
            schema: SCHEMA,
            plan,
            kept,
            shards,
            passed_over: stats.into(),
        })
    })
}

/// What tells this job from others: all that the bytes of the output depend on.
fn job(source: &dyn ObjectSource, names: &[NamedShard], spec: &ReshardSpec, plan: &Plan) -> Job {
    let mut parts = vec![
        "reshard 3".to_owned(),
        spec.to.name().to_owned(),
        format!("{:?} {:?} {:?}", spec.cut, spec.shuffle, plan.written),
    ];
    for (shard, len) in names.iter().zip(&plan.lens) {
        parts.push(format!("{} {len}", version_of(source, shard)));
    }
    Job::of(parts.iter().map(String::as_str))
}

fn write(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    spec: &ReshardSpec,
    plan: &Plan,
    staging: &mut Staging,
    progress: &dyn Progress,
) -> Result<(Vec<NewShard>, ReaderStats)> {
    let folder = staging.folder()?;
    let done = staging.done().to_vec();
    let input = Samples::counted(source, names, &plan.lens, &Silent);
    let mut ordered = match (spec.shuffle, plan.order) {
        (Some(seed), Ordering::ShuffledByIndex | Ordering::ShuffledByBuckets) => {
            let opened = match plan.order {
                Ordering::ShuffledByIndex => open_all(source, names, &plan.lens)?,
                _ => None,
            };
            if let Some(shards) = opened {
                Ordered::ByIndex(ByIndex::new(shards, seed))
            } else {
                progress.start("samples to buckets", Some(plan.samples));
                let scratch = staging.scratch(spec.scratch.as_deref())?;
                let len = plan.out_bytes;
                let memory = spec.memory_bytes;
                let buckets = Buckets::spread(input, len, seed, memory, scratch, progress)?;
                progress.finish();
                Ordered::ByBuckets(buckets)
            }
        }
        _ => Ordered::AsGiven(input),
    };
    progress.start("samples to shards", Some(plan.written));
    let scratch = match plan.padded {
        0 => None,
        _ => Some(staging.scratch(spec.scratch.as_deref())?),
    };
    let mut kept = match &scratch {
        Some(scratch) => Some(Kept::create(scratch.path())?),
        None => None,
    };
    let finished: u64 = done.iter().map(|shard| shard.samples).sum();
    let mut given = 0;
    // What comes again later has to be read.
    if plan.padded == 0 {
        ordered.skip(finished, &plan.lens)?;
        given = finished;
        progress.advance(finished);
    }
    let mut copies = Copies::default();
    let mut next = || -> Result<Option<Sample>> {
        if given == plan.samples && plan.padded == 0 {
            // The end of the last shard is looked at too.
            return ordered.next();
        }
        if given >= plan.written {
            return Ok(None);
        }
        let sample = if given < plan.samples {
            let sample = ordered.next()?;
            if let (Some(kept), Some(sample)) = (&mut kept, &sample) {
                copies.note(&sample.key);
                if given < plan.padded {
                    kept.keep(sample)?;
                }
            }
            sample
        } else {
            let number = given - plan.samples;
            let mut copy = match &mut kept {
                Some(kept) => kept.sample(number % plan.samples)?,
                None => return Ok(None),
            };
            copy.key = copies.key_of(&copy.key);
            Some(copy)
        };
        given += 1;
        progress.advance(1);
        Ok(sample)
    };
    if plan.padded > 0 {
        for _ in 0..finished {
            next()?;
        }
    }
    let shards = write_shards(
        next,
        &folder,
        spec.to,
        plan.cutting(spec.cut),
        &done,
        |shard| {
            let id = ShardId(staging.done().len() as u64);
            staging.record(shard, spec.to.folder_name(id))
        },
    )?;
    progress.finish();
    drop(scratch);
    let stats = ordered.into_stats();
    complete(&folder, spec.to, &shards)?;
    Ok((shards, stats))
}

/// Keys that look like those of copies, so that no copy is called like another sample.
#[derive(Debug, Default)]
struct Copies(HashSet<SampleKey>);

impl Copies {
    fn note(&mut self, key: &SampleKey) {
        let number = key.as_str().rsplit_once('~').map(|(_, number)| number);
        if number.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_hexdigit())) {
            self.0.insert(key.clone());
        }
    }

    /// The key of another copy of the sample `key`: `~1` added, or the next number that no sample has. One that would be too long
    /// has the nearest key.
    fn key_of(&mut self, key: &SampleKey) -> SampleKey {
        let mut number = 1u64;
        loop {
            let copy = SampleKey::nearest(&format!("{key}~{number}"));
            if self.0.insert(copy.clone()) {
                return copy;
            }
            number += 1;
        }
    }
}

/// Samples in their new order.
enum Ordered<'a> {
    AsGiven(Samples<'a>),
    ByIndex(ByIndex),
    ByBuckets(Buckets),
}

impl Ordered<'_> {
    /// What was seen of the samples so far.
    fn into_stats(self) -> ReaderStats {
        match self {
            Self::AsGiven(given) => given.into_stats(),
            Self::ByIndex(shuffled) => shuffled.stats,
            Self::ByBuckets(shuffled) => shuffled.stats,
        }
    }

    /// Passes over the first `samples` of a dataset whose shards hold `lens`.
    fn skip(&mut self, samples: u64, lens: &[u64]) -> Result<()> {
        match self {
            Self::AsGiven(given) => given.skip(samples, lens),
            Self::ByIndex(shuffled) => {
                shuffled.skip(samples);
                Ok(())
            }
            Self::ByBuckets(shuffled) => shuffled.skip(samples),
        }
    }

    fn next(&mut self) -> Result<Option<Sample>> {
        match self {
            Self::AsGiven(samples) => samples.next(),
            Self::ByIndex(samples) => samples.next(),
            Self::ByBuckets(samples) => samples.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::ops::Range;
    use std::sync::Arc;
    use std::sync::atomic::{self, AtomicI64};

    use bytes::Bytes;
    use sightline_core::io::Memory;
    use sightline_core::{EncodedImage, ImageFormat, Metadata, ReadAt};
    use sightline_shard::{FORMATS, webdataset};
    use sightline_store::Folder;

    use super::*;

    /// Shards of `lens` samples of about `len_bytes` each, in `format`.
    fn shards(
        format: &'static dyn ShardFormat,
        lens: &[u64],
        len_bytes: u64,
    ) -> (Memory, Vec<NamedShard>) {
        let mut shards = Memory::default();
        let mut rng = Seed(3).rng();
        let mut number = 0u64;
        let mut names = Vec::new();
        for (id, len) in (0..).zip(lens) {
            let mut writer = format.create(&mut shards, ShardId(id)).unwrap();
            for _ in 0..*len {
                let bytes = vec![number as u8; rng.below(2 * len_bytes) as usize];
                writer
                    .write(&Sample {
                        key: SampleKey::new(format!("{number:09}")).unwrap(),
                        image: Some(EncodedImage {
                            format: ImageFormat::Jpg,
                            bytes: bytes.into(),
                        }),
                        captions: vec![format!("number {number}")],
                        meta: Metadata::new(),
                    })
                    .unwrap();
                number += 1;
            }
            writer.finish().unwrap();
            names.push((format.file_name(ShardId(id)), format));
        }
        (shards, names)
    }

    fn spec(cut: Cut, shuffle: Option<u64>, memory_bytes: u64) -> ReshardSpec {
        ReshardSpec {
            to: &webdataset::WebDataset,
            cut,
            shuffle: shuffle.map(Seed),
            memory_bytes,
            scratch: None,
            force: false,
        }
    }

    fn run(
        source: &Memory,
        names: &[NamedShard],
        spec: &ReshardSpec,
    ) -> (Resharded, Vec<Vec<Sample>>) {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let plan = plan(source, names, &out, spec, &Silent).unwrap();
        let done = reshard(source, names, &out, spec, plan, &Silent).unwrap();
        // Nothing beside the output is left.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let folder = Folder::open(&out).unwrap();
        let read = done.shards.iter().map(|shard| {
            let mut reader = spec.to.open(&folder, &shard.name).unwrap();
            let mut samples = Vec::new();
            while let Some(sample) = reader.next_sample().unwrap() {
                samples.push(sample);
            }
            assert_eq!(samples.len() as u64, shard.samples);
            samples
        });
        (done.clone(), read.collect())
    }

    fn keys(shards: &[Vec<Sample>]) -> Vec<String> {
        let samples = shards.iter().flatten();
        samples.map(|sample| sample.key.to_string()).collect()
    }

    fn samples_each(n: u64) -> Cut {
        Cut {
            samples_per_shard: Some(n),
            ..Cut::default()
        }
    }

    #[test]
    fn a_shuffle_is_the_same_by_index_and_by_buckets_and_for_every_format_and_memory() {
        let lens = [40, 0, 25, 60];
        let mut found = BTreeSet::new();
        for (format, memory) in [
            (FORMATS[0], 1 << 30),
            (&webdataset::WebDataset as &dyn ShardFormat, 1 << 30),
            (&webdataset::WebDataset, 1000),
            (&webdataset::WebDataset, 200_000),
            (&webdataset::GZIP, 20_000),
            (&webdataset::GZIP, 200_000),
        ] {
            let (source, names) = shards(format, &lens, 1000);
            let (done, read) = run(&source, &names, &spec(samples_each(50), Some(7), memory));
            let by_index = format.name() == "webdataset" && memory > 1000;
            assert_eq!(
                done.plan.order == Ordering::ShuffledByIndex,
                by_index,
                "{}",
                format.name()
            );
            assert_eq!(done.plan.shards, Some(3));
            assert_eq!(done.plan.samples_per_shard, Some((25, 50)));
            let digests: Vec<String> = done.shards.iter().map(|s| s.sha256.clone()).collect();
            found.insert((digests, keys(&read)));
        }
        assert_eq!(found.len(), 1);
        let (_, keys) = found.into_iter().next().unwrap();
        assert!(!keys.is_sorted());
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 125);

        let (source, names) = shards(&webdataset::WebDataset, &lens, 1000);
        let other = run(&source, &names, &spec(samples_each(50), Some(8), 1000)).1;
        assert_ne!(super::tests::keys(&other), keys);
    }

    /// The number of each of four samples at each place, over many seeds: a uniform shuffle has all about equally often.
    #[test]
    fn every_sample_comes_everywhere() {
        let (source, names) = shards(&webdataset::WebDataset, &[2, 2], 10);
        let mut seen = [[0u32; 4]; 4];
        for seed in 0..400 {
            let shards = open_all(&source, &names, &[2, 2]).unwrap().unwrap();
            let mut shuffled = ByIndex::new(shards, Seed(seed));
            for of_place in &mut seen {
                let sample = shuffled.next().unwrap().unwrap();
                of_place[sample.key.as_str().parse::<usize>().unwrap()] += 1;
            }
        }
        assert!(
            seen.iter().flatten().all(|n| (65..140).contains(n)),
            "{seen:?}"
        );
    }

    #[test]
    fn shards_are_no_longer_than_asked() {
        let (source, names) = shards(&webdataset::WebDataset, &[30, 30], 4000);
        let cut = Cut {
            bytes_per_shard: Some(60_000),
            ..Cut::default()
        };
        let (done, read) = run(&source, &names, &spec(cut, None, 0));
        assert!(done.shards.len() > 3);
        assert!(
            done.shards
                .iter()
                .all(|shard| shard.len_bytes <= 60_000 && shard.samples > 1)
        );
        assert!(keys(&read).is_sorted());
        assert_eq!(done.plan.shards, None);
    }

    #[test]
    fn ranks_and_workers_get_equal_shards() {
        let (source, names) = shards(&webdataset::WebDataset, &[20, 0, 17], 50);
        for (remainder, each, dropped, padded) in [
            (Remainder::Drop, (4, 4), 5, 0),
            (Remainder::Pad, (5, 5), 0, 3),
            (Remainder::Keep, (4, 5), 0, 0),
        ] {
            let cut = Cut {
                samples_per_shard: Some(7),
                ranks: Some(Ranks {
                    ranks: 2,
                    workers: 2,
                    remainder,
                }),
                ..Cut::default()
            };
            let (done, read) = run(&source, &names, &spec(cut, Some(1), 1 << 20));
            let Plan {
                shards,
                samples_per_shard,
                shards_per_worker,
                ..
            } = done.plan;
            assert_eq!((shards, shards_per_worker), (Some(8), Some(2)));
            assert_eq!(samples_per_shard, Some(each));
            assert_eq!((done.plan.dropped, done.plan.padded), (dropped, padded));
            let lens: Vec<u64> = read.iter().map(|shard| shard.len() as u64).collect();
            assert_eq!(lens.iter().sum::<u64>(), 37 - dropped + padded);
            assert!(
                lens.iter().all(|len| (each.0..=each.1).contains(len)),
                "{lens:?}"
            );
            let keys = keys(&read);
            let copies: Vec<&String> = keys.iter().filter(|key| key.ends_with("~1")).collect();
            assert_eq!(copies.len() as u64, padded);
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
            for (copy, first) in copies.iter().zip(&keys) {
                assert_eq!(**copy, format!("{first}~1"));
            }
        }
        // Fewer samples than shards: each comes several times, or that is refused.
        let cut = |remainder| Cut {
            ranks: Some(Ranks {
                ranks: 10,
                workers: 9,
                remainder,
            }),
            ..Cut::default()
        };
        let (done, read) = run(&source, &names, &spec(cut(Remainder::Pad), None, 0));
        assert_eq!((done.plan.padded, read.len()), (53, 90));
        assert_eq!(keys(&read).iter().collect::<BTreeSet<_>>().len(), 90);
        for remainder in [Remainder::Drop, Remainder::Keep] {
            let error = plan(
                &source,
                &names,
                Path::new("out"),
                &spec(cut(remainder), None, 0),
                &Silent,
            );
            assert!(matches!(error, Err(Error::TooFew { .. })), "{error:?}");
        }
    }

    /// A source whose storage fails for good when so many bytes were read.
    #[derive(Clone)]
    struct Failing {
        source: Memory,
        left: Arc<AtomicI64>,
    }

    impl ObjectSource for Failing {
        fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
            Ok(Arc::new(FailingAt {
                object: self.source.object(name)?,
                left: Arc::clone(&self.left),
            }))
        }

        fn list(&self, folder: &str) -> io::Result<Vec<String>> {
            self.source.list(folder)
        }

        fn shared(&self) -> Arc<dyn ObjectSource> {
            Arc::new(self.clone())
        }
    }

    struct FailingAt {
        object: Arc<dyn ReadAt>,
        left: Arc<AtomicI64>,
    }

    impl ReadAt for FailingAt {
        fn len(&self) -> io::Result<u64> {
            self.object.len()
        }

        fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
            let len = (range.end - range.start) as i64;
            if self.left.fetch_sub(len, atomic::Ordering::Relaxed) < len {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.object.read_at(range)
        }
    }

    #[test]
    fn a_run_that_lost_its_storage_goes_on_with_the_same_bytes() {
        // Above the pieces of 1 MiB in which shards are read.
        let (source, names) = shards(&webdataset::WebDataset, &[300, 0, 300, 300], 10_000);
        let by_bytes = Cut {
            bytes_per_shard: Some(300_000),
            ..Cut::default()
        };
        let padded = Cut {
            ranks: Some(Ranks {
                ranks: 7,
                workers: 7,
                remainder: Remainder::Pad,
            }),
            ..Cut::default()
        };
        for (spec, order) in [
            (spec(samples_each(25), None, 0), Ordering::AsGiven),
            (spec(by_bytes, None, 0), Ordering::AsGiven),
            (
                spec(samples_each(25), Some(1), 1 << 20),
                Ordering::ShuffledByIndex,
            ),
            (spec(padded, Some(1), 1 << 20), Ordering::ShuffledByIndex),
            (
                spec(samples_each(25), Some(1), 1000),
                Ordering::ShuffledByBuckets,
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            let plan = plan(&source, &names, &out, &spec, &Silent).unwrap();
            assert_eq!(plan.order, order);
            let left = Arc::new(AtomicI64::new(i64::MAX));
            let failing = Failing {
                source: source.clone(),
                left: Arc::clone(&left),
            };
            let go = |out: &Path, budget| {
                left.store(budget, atomic::Ordering::Relaxed);
                let done = reshard(&failing, &names, out, &spec, plan.clone(), &Silent);
                (done, budget - left.load(atomic::Ordering::Relaxed))
            };
            let (whole, all) = go(&dir.path().join("whole"), i64::MAX);
            let whole = whole.unwrap();
            let lost = go(&out, all * 3 / 4).0.unwrap_err();
            assert!(lost.is_of_environment(), "{lost:?}");
            assert!(!out.exists());
            // Buckets are all read before anything is written.
            let is_kept = order != Ordering::ShuffledByBuckets;
            assert_eq!(
                dir.path().join(".out.partial").exists(),
                is_kept,
                "{order:?}"
            );
            let (done, read) = go(&out, i64::MAX);
            let done = done.unwrap();
            assert_eq!(done.kept > 5, is_kept, "{order:?}: {}", done.kept);
            assert_eq!(done.shards, whole.shards, "{order:?}");
            // A shuffle looks for the places of all samples again.
            let most = match order {
                Ordering::AsGiven => all * 3 / 4,
                _ => all * 9 / 10,
            };
            if is_kept && plan.padded == 0 {
                assert!(read < most, "{order:?}: {read} of {all} bytes again");
            }
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        }
    }

    /// What is finished is finished, and what is not is made, wherever the first run ended.
    #[test]
    fn a_run_that_was_killed_at_any_shard_goes_on() {
        let (source, names) = shards(&webdataset::WebDataset, &[40, 0, 25, 60], 1000);
        let orders = [(None, 0), (Some(3), 1 << 20), (Some(3), 20_000)];
        for (to, (shuffle, memory)) in FORMATS.iter().copied().zip(orders.into_iter().cycle()) {
            let mut spec = spec(samples_each(20), shuffle, memory);
            spec.to = to;
            let whole = run(&source, &names, &spec).0;
            for finished in 0..=whole.shards.len() {
                let dir = tempfile::tempdir().unwrap();
                let out = dir.path().join("out");
                let plan = plan(&source, &names, &out, &spec, &Silent).unwrap();
                let job = job(&source, &names, &spec, &plan);
                let mut staging = Staging::begin(&Target::from(&out), false, job).unwrap();
                write(&source, &names, &spec, &plan, &mut staging, &Silent).unwrap();
                staging.killed_behind(finished);
                let done = reshard(&source, &names, &out, &spec, plan, &Silent).unwrap();
                assert_eq!(done.kept, finished as u64, "{}", to.name());
                assert_eq!(done.shards, whole.shards, "{}", to.name());
                let folder = Folder::open(&out).unwrap();
                for shard in &done.shards {
                    let mut reader = to.open(&folder, &shard.name).unwrap();
                    let mut samples = 0;
                    while reader.next_sample().unwrap().is_some() {
                        samples += 1;
                    }
                    assert_eq!(samples, shard.samples, "{}", to.name());
                }
            }
        }
    }

    #[test]
    fn an_empty_dataset_is_one_empty_shard() {
        let (source, names) = shards(&webdataset::WebDataset, &[0, 0], 1);
        let (done, read) = run(&source, &names, &spec(samples_each(5), Some(1), 1000));
        assert_eq!(
            (done.plan.shards, read.len(), done.shards[0].samples),
            (Some(1), 1, 0)
        );
    }

    /// A dataset of 16 MB is shuffled with 2 MB.
    #[test]
    fn the_memory_of_a_shuffle_is_bounded() {
        let (source, names) = shards(&webdataset::WebDataset, &[400, 400], 20_000);
        let spec = spec(samples_each(100), Some(1), 2 << 20);
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mut plan = plan(&source, &names, &out, &spec, &Silent).unwrap();
        // The list of the numbers would fit.
        plan.order = Ordering::ShuffledByBuckets;
        let used = allocation_counter::measure(|| {
            reshard(&source, &names, &out, &spec, plan, &Silent).unwrap();
        });
        // The limit, and the pieces of what is read and written.
        assert!(used.bytes_max < (2 << 20) + (1 << 20), "{used:?}");
    }
}
