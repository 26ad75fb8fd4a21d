//! WebDataset: tar archives in which members that share a key form a sample.
//!
//! # Format
//!
//! Written shards MUST be plain USTAR archives, so that every tar reader opens them and equal samples
//! give equal bytes. A sample is up to three members, sorted by name:
//!
//! | member | holds | when |
//! | --- | --- | --- |
//! | `KEY.jpg` (`.png`, `.webp`, …) | the image as stored | there is an image |
//! | `KEY.json` | metadata, as [`crate::python_json`] writes them | always |
//! | `KEY.txt` | the first caption, UTF-8, without a line break | there is a caption |
//!
//! With more than one caption, the metadata hold all of them in order as a list named `captions`.
//! Mode is 0444, owner 0 and `bigdata`, time 0. Keys MUST be unique and their members consecutive.
//!
//! Reading follows the `webdataset` package. What is no file, has no extension, or stands in
//! `__…__` belongs to no sample. A name is cut at the first dot after its last slash; the extension
//! counts without regard to case; a new key, or the end mark, closes a sample. The captions are the
//! list `captions` of the metadata where there is a non-empty list of strings, else the text of
//! `KEY.txt`. `KEY.cls` becomes the metadata field `cls`, a number where it is one. Other extensions,
//! and images after the first, are passed over and counted in [`crate::ReaderStats`].
//!
//! Beyond that package: archives without an end mark or with data after it, absolute names and names
//! with `..` are errors, and a leading `./` is dropped. Floats that JSON cannot hold (`NaN`) are read
//! as `null`, whole numbers beyond 64 bits as floats.

use serde_json::Value;
use sightline_core::{ObjectSink, ObjectSource, ShardId};

use super::{ShardFormat, ShardReader, ShardWriter};
use crate::{Error, Limits, Result};

mod read;
mod write;

pub use read::Reader;
use write::Writer;

/// Metadata field that holds all captions of a sample that has several.
const CAPTIONS: &str = "captions";

/// Metadata field that takes the text of `KEY.cls`.
const CLASS: &str = "cls";

/// The WebDataset format.
#[derive(Clone, Copy, Debug, Default)]
pub struct WebDataset;

impl ShardFormat for WebDataset {
    fn name(&self) -> &'static str {
        "webdataset"
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.tar")
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let shard = self.file_name(id);
        match sink.create(&shard) {
            Ok(object) => Ok(Box::new(Writer::new(object, shard, Limits::default()))),
            Err(source) => Err(Error::Io {
                action: "create",
                shard,
                source,
            }),
        }
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        let object = source.object(name).map_err(|source| Error::Io {
            action: "open",
            shard: name.to_owned(),
            source,
        })?;
        Ok(Box::new(Reader::new(object, name, Limits::default())?))
    }
}

/// Cuts a member's name into key and extension; `None` for names that belong to no sample.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let is_comment = !name.contains('/') && name.starts_with("__") && name.ends_with("__");
    if is_comment || is_hidden(name) {
        return None;
    }
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = base + name[base..].find('.')?;
    (dot > base).then(|| (&name[..dot], &name[dot + 1..]))
}

/// Whether readers pass over `name` because its first part is `__…__`.
fn is_hidden(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or(name);
    first.len() >= 4 && first.starts_with("__") && first.ends_with("__")
}

/// The captions that the metadata field `captions` holds, if it does.
fn captions_in(value: &Value) -> Option<Vec<String>> {
    let items = value.as_array().filter(|items| !items.is_empty())?;
    let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
    texts.collect()
}
