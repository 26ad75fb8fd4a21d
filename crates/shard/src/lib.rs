//! Shards of samples behind one format trait.
//!
//! A shard is one object that holds samples in order. Each way to store them is a [`ShardFormat`]: a
//! name, a writer and a reader; [`FORMATS`] lists them and [`conformance`] checks each.
//!
//! Everything read is foreign: lengths are checked against the shard and against [`Limits`] before
//! memory is taken, and a damaged shard yields the whole samples before the damage, then an error
//! that names shard, member and offset. [`columns`] reads other tables in Parquet by the same rules.
//!
//! ```
//! use sightline_core::io::Memory;
//! use sightline_core::{Metadata, Sample, SampleKey, ShardId};
//! use sightline_shard::{ShardFormat, webdataset::WebDataset};
//!
//! let mut shards = Memory::default();
//! let sample = Sample {
//!     key: SampleKey::new("000000000")?,
//!     image: None,
//!     captions: vec!["a red circle".to_owned()],
//!     meta: Metadata::new(),
//! };
//! let mut writer = WebDataset.create(&mut shards, ShardId(0))?;
//! writer.write(&sample)?;
//! assert_eq!(writer.finish()?.samples, 1);
//!
//! let mut reader = WebDataset.open(&shards, "00000.tar")?;
//! assert_eq!(reader.next_sample()?, Some(sample));
//! assert_eq!(reader.next_sample()?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod caught;
pub mod columns;
mod compression;
pub mod conformance;
mod crc32c;
pub mod cursor;
mod engine;
mod error;
pub mod format;
mod input;
mod limits;
mod members;
pub mod order;
mod output;
mod packed;
pub mod python_json;
mod row;
mod slice;
mod stats;
mod tar;

pub use compression::Compression;
pub use cursor::Cursor;
pub use error::{Error, Place, Problem, Result};
pub use format::{
    FORMATS, SampleAt, ShardFormat, ShardReader, ShardSummary, ShardWriter, files, litdata, mds,
    parquet, tfrecord, webdataset,
};
pub use limits::Limits;
pub use stats::ReaderStats;
