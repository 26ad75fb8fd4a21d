//! Indexes: files beside the shards of a dataset, by which training programs find samples.
//!
//! | index | for | of | writes |
//! | --- | --- | --- | --- |
//! | `energon` | Megatron Energon | WebDataset tar | `.nv-meta/` and a `.tar.idx` beside each shard |
//! | `litdata` | litData | its chunks | `index.json` |
//! | `manifest` | people and `sightline shards verify` | any shard | `shards.manifest.json`: samples, bytes and SHA-256 of each |
//! | `mds` | Mosaic's `streaming` | MDS | `index.json` |
//! | `wids` | `wids` | WebDataset tar | `index.wids.json` |
//!
//! Equal shards give equal indexes: what the peers fill with a clock or with chance is made from the shards. The file that makes an index
//! complete is written last, and every file appears whole.

use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use sightline_core::digest::Hasher;
use sightline_core::io::Sequential;
use sightline_core::{ObjectSink, ObjectSource, Progress};
use sightline_shard::ShardFormat;
use sightline_store::Folder;

use crate::{Error, Result};

mod energon;
pub(crate) mod listed;
mod litdata;
mod manifest;
mod mds;
mod wids;

pub use manifest::{MANIFEST, Manifest, ManifestShard};

/// A kind of index.
pub trait Index: Debug + Sync {
    /// Kebab-case name, unique among [`INDEXES`].
    fn name(&self) -> &'static str;

    /// Name of the file that makes the index complete.
    fn file(&self) -> &'static str;

    /// Writes the index of the shards `names` of `folder`; gives back the names of the files.
    fn write(
        &self,
        folder: &Folder,
        names: &[String],
        spec: &IndexSpec,
        progress: &dyn Progress,
    ) -> Result<Vec<String>>;
}

/// Every kind of index, sorted by name.
pub static INDEXES: &[&dyn Index] = &[
    &energon::Energon,
    &litdata::LitData,
    &manifest::ManifestIndex,
    &mds::Mds,
    &wids::Wids,
];

/// The index without which the programs of `format` do not read a folder of its shards.
pub fn needed_by(format: &dyn ShardFormat) -> Option<&'static dyn Index> {
    // Compressed variants are called `mds-zstd`.
    let family = format.name().split('-').next();
    format.index_file()?;
    INDEXES
        .iter()
        .copied()
        .find(|index| Some(index.name()) == family)
}

/// What a person may say about an index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexSpec {
    /// Name of the dataset, where the index holds one.
    pub name: Option<String>,
    /// Parts of the dataset with their shares, for Energon; shards are shuffled and cut by them.
    pub split: Vec<(String, f64)>,
    /// Local folder for a database that is being made, which a folder of an object store has no room for. Only Energon's index
    /// needs it.
    pub scratch: Option<PathBuf>,
}

impl Default for IndexSpec {
    fn default() -> Self {
        Self {
            name: None,
            split: vec![("train".to_owned(), 1.0)],
            scratch: None,
        }
    }
}

/// Writes `bytes` as the object `name` of `folder`, whole or not at all.
pub(crate) fn put(folder: &Folder, name: &str, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::Io {
        action: "write",
        name: name.to_owned(),
        source,
    };
    let mut folder = folder.clone();
    let mut object = folder.create(name).map_err(failed)?;
    object.write_all(bytes).map_err(failed)?;
    object.commit().map_err(failed)
}

/// A shard as a file: its length, and what `add` makes of its bytes.
fn each_piece(folder: &Folder, name: &str, mut add: impl FnMut(&[u8])) -> Result<u64> {
    let failed = |source| Error::Io {
        action: "read",
        name: name.to_owned(),
        source,
    };
    let object = folder.object(name).map_err(failed)?;
    let mut bytes = Sequential::new(object).map_err(failed)?;
    let mut buffer = vec![0; 1 << 16];
    let mut len = 0;
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return Ok(len),
            Ok(n) => {
                add(&buffer[..n]);
                len += n as u64;
            }
            Err(source) => return Err(failed(source)),
        }
    }
}

/// The digest of the names and lengths of shards: what an index is of.
fn digest_of_shards(shards: &[(&str, u64)]) -> sightline_core::Digest {
    let mut hasher = Hasher::new();
    for (name, samples) in shards {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(&samples.to_le_bytes());
    }
    hasher.finish()
}

/// Two hexadecimal digits for each byte.
fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Refuses shards whose names do not end in one of `extensions`.
fn check_names(index: &'static str, names: &[String], extensions: &[&str]) -> Result<()> {
    match names
        .iter()
        .find(|name| !extensions.iter().any(|extension| name.ends_with(extension)))
    {
        Some(shard) => Err(Error::OtherFormat {
            shard: shard.clone(),
            index,
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_sorted_by_name() {
        assert!(INDEXES.is_sorted_by(|a, b| a.name() < b.name()));
    }

    #[test]
    fn formats_that_need_an_index_get_it() {
        for format in sightline_shard::FORMATS {
            let index = needed_by(*format).map(Index::file);
            assert_eq!(index, format.index_file(), "{}", format.name());
        }
    }
}
