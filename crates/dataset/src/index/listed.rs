//! What the `index.json` of other programs says of shards: which there are, and the digests of their bytes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use md5::Md5;
use serde_json::Value;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
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

/// What is to be said of a digest of a listed shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The bytes have another one, which is this.
    Other { kind: String, found: String },
    /// It is of a kind that is not known here.
    Unknown { kind: String },
}

/// Compares the digests of a shard with those of its bytes. A shard that cannot be read is for others to tell.
pub(crate) fn check(source: &dyn ObjectSource, listed: &Listed) -> Vec<Checked> {
    let mut hashers = (Md5::new(), Sha1::new(), Sha256::new(), Sha512::new());
    let kinds: BTreeSet<&str> = listed.hashes.iter().map(|(kind, _)| &kind[..]).collect();
    let is_known = |kind: &&str| ["md5", "sha1", "sha256", "sha512"].contains(kind);
    if kinds.iter().any(is_known) {
        let Ok(object) = source.object(&listed.name) else {
            return Vec::new();
        };
        let Ok(len) = object.len() else {
            return Vec::new();
        };
        for start in (0..len).step_by(PIECE_LEN_BYTES as usize) {
            let Ok(bytes) = object.read_at(start..len.min(start + PIECE_LEN_BYTES)) else {
                return Vec::new();
            };
            for kind in &kinds {
                match *kind {
                    "md5" => hashers.0.update(&bytes),
                    "sha1" => hashers.1.update(&bytes),
                    "sha256" => hashers.2.update(&bytes),
                    "sha512" => hashers.3.update(&bytes),
                    _ => {}
                }
            }
        }
    }
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let (md5, sha1, sha256, sha512) = hashers;
    let found: [(&str, String); 4] = [
        ("md5", hex(&md5.finalize())),
        ("sha1", hex(&sha1.finalize())),
        ("sha256", hex(&sha256.finalize())),
        ("sha512", hex(&sha512.finalize())),
    ];
    let check = |(kind, wanted): &(String, String)| {
        let kind = kind.clone();
        match found.iter().find(|(known, _)| *known == kind) {
            None => Some(Checked::Unknown { kind }),
            Some((_, found)) if found.eq_ignore_ascii_case(wanted) => None,
            Some((_, found)) => Some(Checked::Other {
                kind,
                found: found.clone(),
            }),
        }
    };
    listed.hashes.iter().filter_map(check).collect()
}

#[cfg(test)]
mod tests {
    use sightline_core::io::Memory;

    use super::*;

    #[test]
    fn digests_of_an_index_are_compared_and_unknown_ones_are_told() {
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
        let checked = check(&shards, &found[0]);
        assert!(
            matches!(&checked[0], Checked::Other { kind, found } if kind == "sha256" && found.starts_with("ba7816bf"))
        );
        assert_eq!(
            checked[1..],
            [Checked::Unknown {
                kind: "xxh64".to_owned()
            }]
        );

        let index = r#"{"chunks": [{"filename": "chunk-0-0.bin"}], "config": {}}"#;
        shards.insert("index.json", index.as_bytes());
        assert_eq!(listed(&shards)[0].name, "chunk-0-0.bin");
        shards.insert("index.json", &b"[]"[..]);
        assert!(listed(&shards).is_empty());
    }
}
