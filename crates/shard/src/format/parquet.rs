//! Parquet: a table with a row for each sample, which `datasets` of Hugging Face loads as images.
//!
//! # Format
//!
//! | column | type | holds |
//! | --- | --- | --- |
//! | `key` | string | the key |
//! | `image` | struct of `bytes` (binary) and `path` (string) | the image as stored, and `KEY.jpg`; null where there is none |
//! | `captions` | list of string | all captions |
//! | each field of the metadata | 64-bit integer, double, boolean or string | the field, null where it is null |
//! | `json` | string | all metadata as JSON, where the columns do not give them back exactly, else null |
//!
//! Which fields have columns, and of what type, is settled by the first row group: those whose values are all
//! of one type. A later row that does not fit them has its metadata in `json`. The file's metadata say under
//! `huggingface` that `image` is an image. Images are not compressed again; the rest is, by Snappy. A row group
//! has at most 1,000 rows and about 32 MiB.
//!
//! Tables of others are read as the table in `row.rs` says: a struct of `bytes` and `path` is an image, as is a
//! binary column `image`, `jpg` and so on. The footer stands at the end of a file, so that of a file that was
//! cut nothing can be read. Errors give the number of the row and the offset of its row group.

use sightline_core::{ObjectSink, ObjectSource, ShardId};

use super::{ShardFormat, ShardReader, ShardWriter};
use crate::{Limits, Result};

mod read;
mod write;

/// The Parquet format.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parquet;

impl ShardFormat for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }

    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.parquet")
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        Ok(Box::new(write::Writer::create(sink, &self.file_name(id))?))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        Ok(Box::new(read::Reader::open(
            source,
            name,
            Limits::default(),
        )?))
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        read::count(source, name)
    }
}
