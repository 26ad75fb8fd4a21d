//! The index of litData: every chunk with its length, and what the leaves of an item are.

use serde_json::json;
use sightline_core::{Metadata, Progress};
use sightline_shard::litdata::{INDEX, config, size};
use sightline_shard::python_json;
use sightline_store::Folder;

use super::{Index, IndexSpec, check_names, put};
use crate::{Error, Result};

/// The index of chunks that we wrote.
#[derive(Debug)]
pub(super) struct LitData;

impl Index for LitData {
    fn name(&self) -> &'static str {
        "litdata"
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
        check_names(self.name(), names, &[".bin"])?;
        let is_compressed = names
            .first()
            .is_some_and(|name| name.ends_with(".zstd.bin"));
        if let Some(shard) = names
            .iter()
            .find(|name| name.ends_with(".zstd.bin") != is_compressed)
        {
            return Err(Error::OtherFormat {
                shard: shard.clone(),
                index: self.name(),
            });
        }
        progress.start("chunks", Some(names.len() as u64));
        let mut chunks = Vec::new();
        for name in names {
            let (items, len) = size(folder, name)?;
            chunks.push(json!({
                "chunk_bytes": len,
                "chunk_size": items,
                "dim": null,
                "filename": name,
            }));
            progress.advance(1);
        }
        progress.finish();
        let compression = is_compressed.then_some("zstd");
        let mut index = json!({"chunks": chunks, "config": config(compression), "updated_at": "0"});
        index.sort_all_objects();
        let text = python_json::to_line(index.as_object().unwrap_or(&Metadata::new()));
        put(folder, self.file(), text.as_bytes())?;
        Ok(vec![self.file().to_owned()])
    }
}
