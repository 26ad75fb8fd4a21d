//! Our own list of shards, with which any copy of a dataset can be checked.
//!
//! `shards.manifest.json` is `{"schema": 1, "samples", "len_bytes", "shards": [{"name", "format", "samples", "len_bytes",
//! "sha256"}]}`, the shards in the order given. It is written only when every shard could be read to its end.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Progress};
use sightline_shard::format::of_name;
use sightline_store::Folder;

use super::{Index, IndexSpec, put};
use crate::{Error, Result};

/// Name of the list.
pub const MANIFEST: &str = "shards.manifest.json";

/// Version of the list.
const SCHEMA: u32 = 1;

/// A list of shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples of all shards.
    pub samples: u64,
    /// Bytes of all shards.
    pub len_bytes: u64,
    /// The shards.
    pub shards: Vec<ManifestShard>,
}

/// A shard in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestShard {
    /// Its name.
    pub name: String,
    /// Name of its format.
    pub format: String,
    /// Its samples.
    pub samples: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Digest of its bytes.
    pub sha256: Digest,
}

/// The index that is our own list.
#[derive(Debug)]
pub(super) struct ManifestIndex;

impl Index for ManifestIndex {
    fn name(&self) -> &'static str {
        "manifest"
    }

    fn file(&self) -> &'static str {
        MANIFEST
    }

    fn write(
        &self,
        folder: &Folder,
        names: &[String],
        _: &IndexSpec,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        progress.start("shards", Some(names.len() as u64));
        let shards: Result<Vec<ManifestShard>> = names
            .par_iter()
            .map(|name| {
                let shard = shard(folder, name)?;
                progress.advance(1);
                Ok(shard)
            })
            .collect();
        progress.finish();
        Manifest::of(shards?).write(folder)?;
        Ok(vec![MANIFEST.to_owned()])
    }
}

impl Manifest {
    /// The list of `shards`.
    pub fn of(shards: Vec<ManifestShard>) -> Self {
        Self {
            schema: SCHEMA,
            samples: shards.iter().map(|shard| shard.samples).sum(),
            len_bytes: shards.iter().map(|shard| shard.len_bytes).sum(),
            shards,
        }
    }

    /// Writes the list beside its shards.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Io {
            action: "write",
            name: MANIFEST.to_owned(),
            source: e.into(),
        })?;
        put(folder, MANIFEST, format!("{text}\n").as_bytes())
    }
}

fn shard(folder: &Folder, name: &str) -> Result<ManifestShard> {
    let format = of_name(name).ok_or_else(|| Error::OtherFormat {
        shard: name.to_owned(),
        index: "manifest",
    })?;
    let mut reader = format.open(folder, name)?;
    let mut samples = 0;
    while reader.next_sample()?.is_some() {
        samples += 1;
    }
    let file = folder.digest(name)?;
    Ok(ManifestShard {
        name: name.to_owned(),
        format: format.name().to_owned(),
        samples,
        len_bytes: file.len_bytes,
        sha256: file.sha256,
    })
}
