//! The index of `wids`: a JSON list of shards with their number of samples, length and MD5.
//!
//! `wids` reads the 100-byte name field of a header and knows no extended headers; members of our shards fit it. It also
//! takes names apart at the first dot, as WebDataset does, but keeps the dot in the name of the field.

use md5::{Digest as _, Md5};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sightline_core::Progress;
use sightline_shard::webdataset::layout;
use sightline_store::Folder;

use super::{Index, IndexSpec, check_names, each_piece, hex, put};
use crate::Result;

/// The index of `wids`.
#[derive(Debug)]
pub(super) struct Wids;

impl Index for Wids {
    fn name(&self) -> &'static str {
        "wids"
    }

    fn file(&self) -> &'static str {
        "index.wids.json"
    }

    fn write(
        &self,
        folder: &Folder,
        names: &[String],
        spec: &IndexSpec,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        check_names(self.name(), names, &[".tar"])?;
        progress.start("shards", Some(names.len() as u64));
        let shards: Result<Vec<Value>> = names
            .par_iter()
            .map(|name| {
                let samples = layout(folder, name)?.samples.len();
                let mut md5 = Md5::new();
                let len = each_piece(folder, name, |piece| md5.update(piece))?;
                let md5 = hex(&md5.finalize());
                progress.advance(1);
                Ok(json!({"url": name, "md5sum": md5, "nsamples": samples, "filesize": len}))
            })
            .collect();
        progress.finish();
        let mut index = Map::new();
        index.insert("__kind__".to_owned(), "wids-shard-index-v1".into());
        index.insert("wids_version".to_owned(), 1.into());
        index.insert("shardlist".to_owned(), shards?.into());
        if let Some(name) = &spec.name {
            index.insert("name".to_owned(), name.as_str().into());
        }
        let text = format!("{:#}\n", Value::Object(index));
        put(folder, self.file(), text.as_bytes())?;
        Ok(vec![self.file().to_owned()])
    }
}
