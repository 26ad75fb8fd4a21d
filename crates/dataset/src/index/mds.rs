//! The index of Mosaic's `streaming`: the columns and lengths of every shard, as the shards say themselves.

use serde_json::{Value, json};
use sightline_core::{Metadata, ObjectSource, Progress};
use sightline_shard::mds::{INDEX, Reader};
use sightline_shard::{Limits, python_json};
use sightline_store::Folder;

use super::{Index, IndexSpec, check_names, put};
use crate::{Error, Result};

/// The index of MDS shards.
#[derive(Debug)]
pub(super) struct Mds;

impl Index for Mds {
    fn name(&self) -> &'static str {
        "mds"
    }

    fn file(&self) -> &'static str {
        INDEX
    }

    fn write(
        &self,
        folder: &Folder,
        names: &[String],
        _: &IndexSpec,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        check_names(self.name(), names, &[".mds", ".mds.zstd"])?;
        progress.start("shards", Some(names.len() as u64));
        let mut shards = Vec::new();
        for name in names {
            let reader = Reader::open(folder, name, Limits::default())?;
            let len = folder.object(name).and_then(|object| object.len());
            let len = len.map_err(|source| Error::Io {
                action: "read",
                name: name.clone(),
                source,
            })?;
            shards.push(shard(name, &reader, len));
            progress.advance(1);
        }
        progress.finish();
        let mut index = json!({"shards": shards, "version": 2});
        index.sort_all_objects();
        let text = python_json::to_line(index.as_object().unwrap_or(&Metadata::new()));
        put(folder, self.file(), text.as_bytes())?;
        Ok(vec![self.file().to_owned()])
    }
}

/// What the index says of the shard `name`, which is `len` bytes long as a file.
fn shard(name: &str, reader: &Reader, len: u64) -> Value {
    let file = |name: &str, len: u64| json!({"basename": name, "bytes": len, "hashes": {}});
    let raw = name.strip_suffix(".zstd");
    let mut shard = reader.head().clone();
    shard.insert("samples".to_owned(), reader.samples().into());
    shard.insert(
        "raw_data".to_owned(),
        file(raw.unwrap_or(name), reader.raw_len_bytes()),
    );
    let zip = raw.map(|_| file(name, len));
    shard.insert("zip_data".to_owned(), zip.unwrap_or(Value::Null));
    Value::Object(shard)
}
