//! What the `index.json` of other programs says of shards: which there are, and the digests of their bytes.

use std::fmt::Write as _;

use md5::Md5;
use serde_json::Value;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha512};
use sightline_core::ObjectSource;

/// Longest index that is read.
const MAX_LEN_BYTES: u64 = 1 << 30;

/// Bytes that are read at once.
const PIECE_LEN_BYTES: u64 = 1 << 20;

/// A shard in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// Kinds of digests and digests, in hexadecimal digits.
    pub(crate) hashes: Vec<(String, String)>,
}

/// The shards that `index.json` lists, of MDS or litData. Nothing if there is none, or one of something else: the readers of those
/// formats say what is wrong with it.
pub(crate) fn listed(source: &dyn ObjectSource) -> Vec<Listed> {
    read(source).unwrap_or_default()
}

fn read(source: &dyn ObjectSource) -> Option<Vec<Listed>> {
    let object = source.object("index.json").ok()?;
    let len = object.len().ok().filter(|len| *len <= MAX_LEN_BYTES)?;
    let index: Value = serde_json::from_slice(&object.read_at(0..len).ok()?).ok()?;
    let plain = |name: &str| Listed {
        name: name.to_owned(),
        hashes: Vec::new(),
    };
    if let Some(chunks) = index["chunks"].as_array() {
        let names = chunks.iter().filter_map(|chunk| chunk["filename"].as_str());
        return Some(names.map(plain).collect());
    }
    let shards = index["shards"].as_array()?.iter();
    let shards = shards.filter_map(|shard| {
        let packed = &shard["zip_data"];
        let file = if packed.is_object() {
            packed
        } else {
            &shard["raw_data"]
        };
        let mut listed = plain(file["basename"].as_str()?);
        let hashes = file["hashes"].as_object().into_iter().flatten();
        listed.hashes = hashes
            .filter_map(|(kind, hash)| Some((kind.clone(), hash.as_str()?.to_owned())))
            .collect();
        Some(listed)
    });
    Some(shards.collect())
}

/// Kinds of digests that are compared.
pub(crate) const KINDS: [&str; 4] = ["md5", "sha1", "sha256", "sha512"];

/// The digests of a shard's bytes, of [`KINDS`], that are not those that are listed: their kinds and what they are. A shard that
/// cannot be read is for others to tell.
pub(crate) fn others(source: &dyn ObjectSource, listed: &Listed) -> Vec<(String, String)> {
    if !listed
        .hashes
        .iter()
        .any(|(kind, _)| KINDS.contains(&&kind[..]))
    {
        return Vec::new();
    }
    let Ok(object) = source.object(&listed.name) else {
        return Vec::new();
    };
    let Ok(len) = object.len() else {
        return Vec::new();
    };
    let is_listed = |kind: &&str| listed.hashes.iter().any(|(listed, _)| listed == kind);
    let kinds = KINDS.into_iter().filter(is_listed);
    let mut hashers: Vec<(&str, Box<dyn DynDigest>)> =
        kinds.map(|kind| (kind, hasher(kind))).collect();
    for start in (0..len).step_by(PIECE_LEN_BYTES as usize) {
        let Ok(bytes) = object.read_at(start..len.min(start + PIECE_LEN_BYTES)) else {
            return Vec::new();
        };
        for (_, hasher) in &mut hashers {
            hasher.update(&bytes);
        }
    }
    let found = hashers
        .into_iter()
        .map(|(kind, hasher)| (kind.to_owned(), hex(&hasher.finalize())));
    let is_listed = |(kind, found): &(String, String)| {
        let mut hashes = listed.hashes.iter();
        hashes.any(|(listed, hash)| listed == kind && hash.eq_ignore_ascii_case(found))
    };
    found.filter(|found| !is_listed(found)).collect()
}

fn hasher(kind: &str) -> Box<dyn DynDigest> {
    match kind {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        "sha512" => Box::new(Sha512::default()),
        _ => Box::new(Sha256::default()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use sightline_core::io::Memory;

    use super::*;

    #[test]
    fn digests_of_an_index_are_compared_where_they_are_known() {
        let shards = Memory::default();
        shards.insert("shard.00000.mds", &b"abc"[..]);
        let index = serde_json::json!({"version": 2, "shards": [{
            "raw_data": {"basename": "shard.00000.mds", "bytes": 3, "hashes": {
                "md5": "900150983cd24fb0d6963f7d28e17f72",
                "sha1": "A9993E364706816ABA3E25717850C26C9CD0D89D",
                "sha256": "00",
                "xxh64": "44bc2cf5ad770999",
            }},
            "zip_data": null,
        }, {"raw_data": {"basename": "x.mds"}, "zip_data": {"basename": "x.mds.zstd", "hashes": {}}}]});
        shards.insert("index.json", index.to_string().into_bytes());
        let found = listed(&shards);
        let names: Vec<&str> = found.iter().map(|one| &one.name[..]).collect();
        assert_eq!(names, ["shard.00000.mds", "x.mds.zstd"]);
        let others = others(&shards, &found[0]);
        assert_eq!(others.len(), 1, "{others:?}");
        assert!(others[0].0 == "sha256" && others[0].1.starts_with("ba7816bf"));

        let index = r#"{"chunks": [{"filename": "chunk-0-0.bin"}], "config": {}}"#;
        shards.insert("index.json", index.as_bytes());
        assert_eq!(listed(&shards)[0].name, "chunk-0-0.bin");
        shards.insert("index.json", &b"[]"[..]);
        assert!(listed(&shards).is_empty());
    }
}
