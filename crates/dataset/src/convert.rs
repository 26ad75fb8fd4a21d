//! Shards of one format into shards of another: `sightline shards convert`.
//!
//! Samples keep their order. By default each shard becomes one of the same place in the row; with a number of
//! samples a shard they are cut anew. A sample that cannot be written ends the run with its name: none is lost
//! silently. Members that a sample has no place for are counted.
//!
//! The output is whole or says that it is not, and a run that was killed goes on behind the shards that are finished
//! ([`crate::staging`]). Beside the shards lie the index without which nobody reads them, and the list with their digests.

use std::slice;

use serde::{Deserialize, Serialize};
use sightline_core::{ObjectSource, Progress, Sample, ShardId};
use sightline_shard::{ReaderStats, ShardFormat, ShardReader, ShardSummary};

use crate::count::check_count;
use crate::cut::{Cutting, Series, complete, write_shards};
use crate::staging::{Job, Staging, Target};
use crate::{PassedOver, Result};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// A shard's name and the format that reads it.
pub type NamedShard = (String, &'static dyn ShardFormat);

/// How to convert.
#[derive(Clone, Debug)]
pub struct ConvertSpec {
    /// The format of the new shards.
    pub to: &'static dyn ShardFormat,
    /// Samples of a new shard; by default as many as the old one has.
    pub samples_per_shard: Option<u64>,
    /// Whether an output that is there is replaced.
    pub force: bool,
}

/// What was converted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Converted {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples written.
    pub samples: u64,
    /// How many of the shards an earlier run had finished.
    pub kept: u64,
    /// The new shards.
    pub shards: Vec<NewShard>,
    /// What was not taken over.
    #[serde(flatten)]
    pub passed_over: PassedOver,
}

/// A shard that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewShard {
    /// Its name.
    pub name: String,
    /// Samples in it.
    pub samples: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Digest of its bytes, as 64 hexadecimal digits.
    pub sha256: String,
}

impl NewShard {
    pub(crate) fn new(name: String, summary: &ShardSummary) -> Self {
        Self {
            name,
            samples: summary.samples,
            len_bytes: summary.len_bytes,
            sha256: summary.sha256.to_string(),
        }
    }
}

/// Converts the shards `names` of `source` into `out`.
pub fn convert(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    out: impl Into<Target>,
    spec: &ConvertSpec,
    progress: &dyn Progress,
) -> Result<Converted> {
    let job = job(source, names, spec);
    Staging::run(&out.into(), spec.force, job, |staging| {
        write(source, names, spec, staging, progress)
    })
}

/// What tells this job from others: all that the bytes of the output depend on.
fn job(source: &dyn ObjectSource, names: &[NamedShard], spec: &ConvertSpec) -> Job {
    let to = format!("convert 2 {} {:?}", spec.to.name(), spec.samples_per_shard);
    let versions = names.iter().map(|shard| version_of(source, shard));
    let parts: Vec<String> = [to].into_iter().chain(versions).collect();
    Job::of(parts.iter().map(String::as_str))
}

/// What tells a shard from one of other bytes, as well as its place says it.
pub(crate) fn version_of(source: &dyn ObjectSource, (name, format): &NamedShard) -> String {
    // A folder of plain files is no object.
    let object = source.object(name).ok();
    let bytes = object.as_ref().and_then(|object| object.len().ok());
    let version = object.and_then(|object| object.version());
    format!("{name} {} {bytes:?} {version:?}", format.name())
}

fn write(
    source: &dyn ObjectSource,
    names: &[NamedShard],
    spec: &ConvertSpec,
    staging: &mut Staging,
    progress: &dyn Progress,
) -> Result<Converted> {
    let folder = staging.folder()?;
    let shards = staging.done().to_vec();
    let mut converted = Converted {
        schema: SCHEMA,
        kept: shards.len() as u64,
        shards,
        ..Converted::default()
    };
    let mut stats = ReaderStats::default();
    progress.start("shards", Some(names.len() as u64));
    match spec.samples_per_shard {
        None => {
            progress.advance(converted.kept);
            let mut series = Series::new(spec.to, &folder, &converted.shards)?;
            for (id, shard) in (0..).zip(names).skip(converted.shards.len()) {
                let mut samples = Samples::new(source, slice::from_ref(shard), progress);
                let shard = series.write(ShardId(id), |writer| {
                    while let Some(sample) = samples.next()? {
                        writer.write(&sample)?;
                    }
                    Ok(())
                })?;
                staging.record(&shard, spec.to.folder_name(ShardId(id)))?;
                converted.shards.push(shard);
                stats.add(&samples.into_stats());
            }
        }
        Some(most) => {
            let mut samples = Samples::new(source, names, progress);
            samples.skip(
                converted.shards.iter().map(|shard| shard.samples).sum(),
                &[],
            )?;
            let cutting = Cutting {
                samples: Some(most.max(1)),
                ..Cutting::default()
            };
            let done = &converted.shards;
            let next = || samples.next();
            converted.shards = write_shards(next, &folder, spec.to, cutting, done, |shard| {
                let id = ShardId(staging.done().len() as u64);
                staging.record(shard, spec.to.folder_name(id))
            })?;
            stats = samples.into_stats();
        }
    }
    progress.finish();
    converted.samples = converted.shards.iter().map(|shard| shard.samples).sum();
    converted.passed_over = stats.into();
    complete(&folder, spec.to, &converted.shards)?;
    Ok(converted)
}

/// The samples of several shards, one after the other.
pub(crate) struct Samples<'a> {
    source: &'a dyn ObjectSource,
    shards: slice::Iter<'a, NamedShard>,
    progress: &'a dyn Progress,
    reader: Option<Box<dyn ShardReader>>,
    /// The name of the shard of the last sample.
    shard: &'a str,
    /// Samples that were counted in the shards, where they were, that of the current one first.
    lens: slice::Iter<'a, u64>,
    /// Samples of the current shard that were read.
    read: u64,
    /// What was seen of shards that are read to their end.
    stats: ReaderStats,
}

impl<'a> Samples<'a> {
    /// `progress` is told each shard that ends.
    pub(crate) fn new(
        source: &'a dyn ObjectSource,
        shards: &'a [NamedShard],
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            source,
            shards: shards.iter(),
            progress,
            reader: None,
            shard: "",
            lens: [].iter(),
            read: 0,
            stats: ReaderStats::default(),
        }
    }

    /// The same of shards that were counted to hold `lens` samples: one that holds others is an error.
    pub(crate) fn counted(
        source: &'a dyn ObjectSource,
        shards: &'a [NamedShard],
        lens: &'a [u64],
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            lens: lens.iter(),
            ..Self::new(source, shards, progress)
        }
    }

    /// The name of the shard of the last sample that was read.
    pub(crate) fn shard(&self) -> &'a str {
        self.shard
    }

    /// What was seen so far.
    pub(crate) fn into_stats(mut self) -> ReaderStats {
        if let Some(reader) = &self.reader {
            self.stats.add(reader.stats());
        }
        self.stats
    }

    /// Passes over the next `samples`, of shards that hold `lens`; whole shards are not opened. Only before anything is read.
    pub(crate) fn skip(&mut self, mut samples: u64, lens: &[u64]) -> Result<()> {
        for len in lens {
            if samples < *len {
                break;
            }
            samples -= len;
            self.shards.next();
            self.lens.next();
        }
        for _ in 0..samples {
            self.next()?;
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Sample>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let counted = self.lens.as_slice().first();
                if let Some(sample) = reader.next_sample()? {
                    self.read += 1;
                    if let Some(&len) = counted.filter(|len| self.read > **len) {
                        check_count(self.shard, len, self.read)?;
                    }
                    return Ok(Some(sample));
                }
                if let Some(&len) = counted {
                    check_count(self.shard, len, self.read)?;
                }
                self.lens.next();
                self.read = 0;
                self.stats.add(reader.stats());
                self.progress.advance(1);
                self.reader = None;
            }
            let Some((name, format)) = self.shards.next() else {
                return Ok(None);
            };
            self.shard = name;
            self.reader = Some(format.open(self.source, name)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sightline_core::io::Memory;
    use sightline_core::progress::Silent;
    use sightline_shard::format::of_name;
    use sightline_shard::webdataset::WebDataset;
    use sightline_shard::{FORMATS, conformance};
    use sightline_store::Folder;

    use super::*;
    use crate::verify::{VerifySpec, verify};

    /// Three archives of five samples and less.
    fn source() -> (Memory, Vec<NamedShard>) {
        let mut shards = Memory::default();
        let samples = conformance::samples();
        let names = samples.chunks(5).zip(0..).map(|(samples, id)| {
            let mut writer = WebDataset.create(&mut shards, ShardId(id)).unwrap();
            for sample in samples {
                writer.write(sample).unwrap();
            }
            writer.finish().unwrap();
            let format: &'static dyn ShardFormat = &WebDataset;
            (WebDataset.file_name(ShardId(id)), format)
        });
        let names = names.collect();
        (shards, names)
    }

    fn spec(to: &'static dyn ShardFormat, samples_per_shard: Option<u64>) -> ConvertSpec {
        ConvertSpec {
            to,
            samples_per_shard,
            force: false,
        }
    }

    fn files(path: &std::path::Path) -> Vec<(String, Vec<u8>)> {
        let folder = Folder::open(path).unwrap();
        let names = folder.names().unwrap().into_iter();
        names
            .map(|name| {
                let bytes = folder.read(&name).unwrap().unwrap().to_vec();
                (name, bytes)
            })
            .collect()
    }

    #[test]
    fn a_run_that_is_killed_behind_any_shard_goes_on_to_the_same_bytes() {
        let (shards, names) = source();
        for to in FORMATS.iter().copied() {
            for samples in [None, Some(4)] {
                let dir = tempfile::tempdir().unwrap();
                let spec = spec(to, samples);
                let whole = dir.path().join("whole");
                let converted = convert(&shards, &names, &whole, &spec, &Silent).unwrap();
                assert_eq!(converted.kept, 0);
                for killed in 1..=converted.shards.len() {
                    let out = dir.path().join("out");
                    let job = job(&shards, &names, &spec);
                    let mut staging = Staging::begin(&Target::from(&out), false, job).unwrap();
                    write(&shards, &names, &spec, &mut staging, &Silent).unwrap();
                    staging.killed_behind(killed);
                    let again = convert(&shards, &names, &out, &spec, &Silent).unwrap();
                    assert_eq!(again.kept, killed as u64);
                    assert_eq!(again.shards, converted.shards);
                    assert_eq!(files(&out), files(&whole), "{} {killed}", to.name());
                    fs::remove_dir_all(out).unwrap();
                }
            }
        }
    }

    #[test]
    fn damage_leaves_nothing_and_what_is_written_is_listed_with_its_digests() {
        let (shards, names) = source();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let mds = of_name("shard.00000.mds").unwrap();
        convert(&shards, &names, &out, &spec(mds, None), &Silent).unwrap();
        let folder = Folder::open(&out).unwrap();
        for file in ["index.json", crate::index::MANIFEST] {
            assert!(folder.entry(file).unwrap().is_some());
        }
        fs::remove_file(out.join("shard.00001.mds")).unwrap();
        let left: Vec<NamedShard> = ["shard.00000.mds", "shard.00002.mds"]
            .map(|name| (name.to_owned(), mds))
            .to_vec();
        let all = VerifySpec {
            index: true,
            ..VerifySpec::default()
        };
        let found = verify(&folder, &left, all, &Silent).findings;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].shard, "shard.00001.mds");

        let torn = dir.path().join("torn");
        let bytes = shards.object(&names[1].0).unwrap();
        let half = bytes.read_at(0..bytes.len().unwrap() / 2).unwrap();
        shards.insert(&names[1].0, half);
        convert(&shards, &names, &torn, &spec(mds, None), &Silent).unwrap_err();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
