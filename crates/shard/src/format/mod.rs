//! Shard formats: a name and two methods each; one conformance kit runs over all of them.
//!
//! To add a format, write `format/<name>.rs`, add its `mod` line and its line in [`FORMATS`]; the tests
//! in [`crate::conformance`] then run over it too.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, ObjectSink, ObjectSource, Sample, ShardId};

use crate::{ReaderStats, Result};

pub mod webdataset;

/// A way to store samples in shards.
pub trait ShardFormat: Debug + Send + Sync {
    /// Kebab-case name, unique among [`FORMATS`].
    fn name(&self) -> &'static str;

    /// File name of the shard `id`, for example `00017.tar`.
    fn file_name(&self, id: ShardId) -> String;

    /// Begins a shard; it exists once the writer is finished.
    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>>;

    /// Opens the shard in the object called `name`.
    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>>;
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
    /// The next sample, or `None` after the last. After an error the reader yields nothing more.
    fn next_sample(&mut self) -> Result<Option<Sample>>;

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
pub static FORMATS: &[&dyn ShardFormat] = &[&webdataset::WebDataset];
