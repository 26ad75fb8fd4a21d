//! Shard formats: a name and two methods each; one conformance kit runs over all of them.
//!
//! To add a format, write `format/<name>.rs`, add its `mod` line and its line in [`FORMATS`]; the tests
//! in [`crate::conformance`] then run over it too.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, ObjectSink, ObjectSource, Sample, ShardId};

use crate::{ReaderStats, Result};

pub mod files;
pub mod litdata;
pub mod mds;
pub mod parquet;
pub mod tfrecord;
pub mod webdataset;

/// A way to store samples in shards.
pub trait ShardFormat: Debug + Send + Sync {
    /// Kebab-case name, unique among [`FORMATS`].
    fn name(&self) -> &'static str;

    /// How the names of its shards end, without the dot: `tar`, `mds.zstd`.
    fn extension(&self) -> &'static str;

    /// File name of the shard `id`, for example `00017.tar`.
    fn file_name(&self, id: ShardId) -> String;

    /// Name of the file beside the shards without which the programs of this format do not read a folder of them.
    fn index_file(&self) -> Option<&'static str> {
        None
    }

    /// Name of the folder that holds the members of the shard `id`, where they are files of their own.
    fn folder_name(&self, _id: ShardId) -> Option<String> {
        None
    }

    /// Whether a shard that is cut between two samples is a shorter shard, which only a list of digests tells.
    fn has_no_end_mark(&self) -> bool {
        false
    }

    /// Whether every change of a sample's bytes is found by a checksum in the shard.
    fn has_checksums(&self) -> bool {
        false
    }

    /// Begins a shard; it exists once the writer is finished.
    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>>;

    /// The format with what the first shard of a dataset, `first`, settles for the others; `None` where that is nothing.
    fn after(
        &self,
        _source: &dyn ObjectSource,
        _first: &str,
    ) -> Result<Option<Box<dyn ShardFormat>>> {
        Ok(None)
    }

    /// Opens the shard in the object called `name`.
    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>>;

    /// Whether [`Self::open_at`] finds samples in its shards, unless they are compressed behind a name that does not say so.
    fn finds_samples(&self) -> bool {
        false
    }

    /// Opens the shard so that any of its samples can be read by itself. `None` where nothing says where a sample lies: in a shard that is
    /// compressed as a whole, and in formats that have no way to find one. Samples are read when they are asked for; opening may read the
    /// whole shard once.
    fn open_at(
        &self,
        _source: &dyn ObjectSource,
        _name: &str,
    ) -> Result<Option<Box<dyn SampleAt>>> {
        Ok(None)
    }

    /// How many samples the shard `name` holds. Their data are not looked at where the format allows that.
    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        self.open(source, name)?.skip(u64::MAX)
    }
}

/// A shard whose samples are read in any order, by any number of threads at once.
pub trait SampleAt: Send + Sync {
    /// Samples of the shard.
    fn samples(&self) -> u64;

    /// The sample number `row`, counted from 0; adds it, and what it has no place for, to `stats`.
    fn read(&self, row: u64, stats: &mut ReaderStats) -> Result<Sample>;

    /// The sample number `row`, counted from 0.
    fn sample(&self, row: u64) -> Result<Sample> {
        self.read(row, &mut ReaderStats::default())
    }
}

/// Writes the samples of one shard in order.
pub trait ShardWriter: Send {
    /// Appends `sample`.
    fn write(&mut self, sample: &Sample) -> Result<()>;

    /// Closes the shard. Dropping a writer without finishing it leaves no shard behind.
    fn finish(self: Box<Self>) -> Result<ShardSummary>;
}

/// Reads the samples of one shard in order.
pub trait ShardReader: Send {
    /// The next sample, or `None` after the last. After an error the reader yields nothing more, but see [`Self::recover`].
    fn next_sample(&mut self) -> Result<Option<Sample>>;

    /// After an error: goes behind the sample that is damaged, so that [`Self::next_sample`] gives the whole ones that follow.
    /// `false` where nothing that follows can be told to be a sample.
    fn recover(&mut self) -> Result<bool> {
        Ok(false)
    }

    /// Passes over up to `n` samples and says how many there were.
    fn skip(&mut self, n: u64) -> Result<u64> {
        for skipped in 0..n {
            if self.next_sample()?.is_none() {
                return Ok(skipped);
            }
        }
        Ok(n)
    }

    /// What was read and what was passed over so far.
    fn stats(&self) -> &ReaderStats;
}

/// What was written to a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSummary {
    /// Samples written.
    pub samples: u64,
    /// Length of the shard in bytes.
    pub len_bytes: u64,
    /// SHA-256 of the shard.
    pub sha256: Digest,
}

/// Every format, sorted by name.
pub static FORMATS: &[&dyn ShardFormat] = &[
    &files::Files,
    &litdata::PLAIN,
    &litdata::ZSTD,
    &mds::PLAIN,
    &mds::ZSTD,
    &parquet::Parquet,
    &tfrecord::TfRecord,
    &webdataset::WebDataset,
    &webdataset::GZIP,
    &webdataset::ZSTD,
];

/// The format of the shard called `name`, by the longest extension that fits.
///
/// ```
/// use sightline_shard::format::of_name;
/// assert_eq!(of_name("a/00017.tar.gz").unwrap().name(), "webdataset-gz");
/// assert_eq!(of_name("shard.00017.mds").unwrap().name(), "mds");
/// assert!(of_name("00017.txt").is_none());
/// ```
pub fn of_name(name: &str) -> Option<&'static dyn ShardFormat> {
    FORMATS
        .iter()
        .copied()
        .filter(|format| {
            name.strip_suffix(format.extension())
                .is_some_and(|stem| stem.ends_with('.'))
        })
        .max_by_key(|format| format.extension().len())
}
