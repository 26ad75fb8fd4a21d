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
//! of one type. A later row that does not fit them has its metadata in `json`. The first shard of a dataset settles it for all
//! ([`ShardFormat::after`]): `datasets` loads no shards together whose columns differ. The file's metadata say under
//! `huggingface` that `image` is an image. Images are not compressed again; the rest is, by Snappy. A row group
//! has at most 1,000 rows and about 32 MiB.
//!
//! Tables of others are read as the table in `row.rs` says: a struct of `bytes` and `path` is an image, as is a
//! binary column `image`, `jpg` and so on. The footer stands at the end of a file, so that of a file that was
//! cut nothing can be read. Errors give the number of the row and the offset of its row group.

use std::sync::Arc;

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
        let name = self.file_name(id);
        Ok(Box::new(write::Writer::create(sink, &name, None)?))
    }

    fn after(
        &self,
        source: &dyn ObjectSource,
        first: &str,
    ) -> Result<Option<Box<dyn ShardFormat>>> {
        let columns = read::columns(source, first)?.into();
        Ok(Some(Box::new(Alike { columns })))
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

/// The format with columns for these fields.
#[derive(Debug)]
struct Alike {
    columns: Arc<[Column]>,
}

impl ShardFormat for Alike {
    fn name(&self) -> &'static str {
        Parquet.name()
    }

    fn extension(&self) -> &'static str {
        Parquet.extension()
    }

    fn file_name(&self, id: ShardId) -> String {
        Parquet.file_name(id)
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let columns = Some(Arc::clone(&self.columns));
        let name = self.file_name(id);
        Ok(Box::new(write::Writer::create(sink, &name, columns)?))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        Parquet.open(source, name)
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        Parquet.count(source, name)
    }
}

/// A field of the metadata that has a column.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Column {
    name: String,
    kind: Kind,
}

/// The type of a field's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Bool,
    Text,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::io::Memory;
    use sightline_core::{Sample, SampleKey};

    use super::*;

    #[test]
    fn the_first_shard_settles_the_columns_of_all() {
        let mut shards = Memory::default();
        let sample = |key: &str, meta: serde_json::Value| Sample {
            key: SampleKey::new(key).unwrap(),
            image: None,
            captions: vec!["x".to_owned()],
            meta: meta.as_object().unwrap().clone(),
        };
        let all = [
            sample("0", json!({"n": 1, "s": "a", "f": 0.5, "b": true})),
            sample("1", json!({"n": 0.5, "lang": "de"})),
            sample("2", json!({"n": 3, "s": "a", "f": 0.5, "b": false})),
        ];
        let mut format: Box<dyn ShardFormat> = Box::new(Parquet);
        for (id, sample) in (0..).zip(&all) {
            let mut writer = format.create(&mut shards, ShardId(id)).unwrap();
            writer.write(sample).unwrap();
            writer.finish().unwrap();
            if id == 0 {
                format = Parquet.after(&shards, "00000.parquet").unwrap().unwrap();
            }
        }
        // One without samples has them too.
        let writer = format.create(&mut shards, ShardId(3)).unwrap();
        writer.finish().unwrap();
        let columns = |id: u64| read::columns(&shards, &Parquet.file_name(ShardId(id))).unwrap();
        let names: Vec<String> = columns(0)
            .iter()
            .map(|column| column.name.clone())
            .collect();
        assert_eq!(names, ["n", "s", "f", "b"]);
        for (id, sample) in (0..).zip(&all) {
            assert_eq!(columns(id), columns(0));
            let mut reader = format
                .open(&shards, &format.file_name(ShardId(id)))
                .unwrap();
            assert_eq!(reader.next_sample().unwrap().as_ref(), Some(sample));
        }
        assert_eq!(columns(3), columns(0));
    }
}
