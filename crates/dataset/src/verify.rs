//! Whether a dataset is whole: `sightline shards verify`.
//!
//! Every sample of every shard is read: its structure and checksums are those of the format. Beyond that, keys must be
//! unique over all shards, images must decode where that is asked for, and the shards must be those of a manifest where
//! there is one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rayon::prelude::*;
use serde::Serialize;
use sightline_core::{Digest, Progress, Sample, SampleKey};
use sightline_imaging::decode::{DecodeOptions, decode_rgb};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::index::Manifest;
use crate::index::listed::{KINDS, Listed, listed, others};
use crate::repair::{chain, hints, is_store_failure, whole_samples};

/// Version of the serialised form.
const SCHEMA: u32 = 1;

/// What to look at beyond structure and keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifySpec<'a> {
    /// Whether every image is decoded.
    pub decode: bool,
    /// Whether the shards are all there are in the folder, so that those of its `index.json` must be among them.
    pub index: bool,
    /// The list that the shards must be those of.
    pub manifest: Option<&'a Manifest>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Version of this form: 1.
    pub schema: u32,
    /// Shards looked at.
    pub shards: u64,
    /// Whole samples in them.
    pub samples: u64,
    /// Everything that is wrong, in the order of the shards.
    pub findings: Vec<Finding>,
    /// Kinds of digests in an `index.json` that are not known here, and were not compared.
    pub unchecked: BTreeSet<String>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// In which shard.
    pub shard: String,
    /// In which sample, where it is one.
    pub key: Option<String>,
    /// What kind of thing it is.
    pub kind: FindingKind,
    /// What exactly.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// A kind of thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Something in the shard cannot be read.
    Damaged,
    /// An object store failed, and nothing is known of the shard.
    Unread,
    /// A key occurs twice.
    DuplicateKey,
    /// An image does not decode.
    Image,
    /// The shard is not the one in the manifest, or in the index.
    OtherBytes,
    /// A shard of the manifest, or of the index, is not there.
    Missing,
    /// A shard is not in the manifest.
    Unlisted,
}

/// What one shard holds.
struct Shard {
    keys: Vec<SampleKey>,
    findings: Vec<Finding>,
}

/// Verifies the shards `names` of `source` on all cores.
pub fn verify(
    source: &Folder,
    names: &[NamedShard],
    spec: VerifySpec<'_>,
    progress: &dyn Progress,
) -> Verified {
    let mut verified = Verified {
        schema: SCHEMA,
        ..Verified::default()
    };
    let has_index = names
        .iter()
        .any(|(_, format)| format.index_file().is_some());
    let index = if spec.index && has_index {
        listed(source)
    } else {
        Vec::new()
    };
    let index: BTreeMap<String, Listed> = index
        .into_iter()
        .map(|shard| (shard.name.clone(), shard))
        .collect();
    progress.start("shards", Some(names.len() as u64));
    // Half a digest of each key, and its shard: some 30 bytes a sample. Shards are taken a few at a time, so that which
    // of two equal keys is the second does not depend on the number of cores.
    let mut seen: HashMap<[u8; 16], usize> = HashMap::new();
    let mut first = 0;
    for some in names.chunks(2 * rayon::current_num_threads()) {
        let shards: Vec<Shard> = some
            .par_iter()
            .map(|shard| {
                let shard = look(source, shard, spec, &index);
                progress.advance(1);
                shard
            })
            .collect();
        for (at, mut shard) in (first..).zip(shards) {
            verified.shards += 1;
            verified.samples += shard.keys.len() as u64;
            verified.findings.append(&mut shard.findings);
            for key in shard.keys {
                let digest = Digest::of(key.as_str().as_bytes());
                let half = digest.as_bytes().first_chunk::<16>().copied();
                if let Some(earlier) = seen.insert(half.unwrap_or_default(), at) {
                    verified.findings.push(Finding {
                        shard: names[at].0.clone(),
                        message: format!("a sample of `{}` has this key too", names[earlier].0),
                        key: Some(key.to_string()),
                        kind: FindingKind::DuplicateKey,
                        hints: vec!["Keys must be unique within a dataset.".to_owned()],
                    });
                }
            }
        }
        first += some.len();
    }
    if let Some(manifest) = spec.manifest {
        verified.findings.extend(missing(names, manifest));
    }
    verified.findings.extend(missing_of_index(names, &index));
    let kinds = index.values().flat_map(|shard| &shard.hashes);
    let kinds = kinds.map(|(kind, _)| kind.clone());
    verified.unchecked = kinds.filter(|kind| !KINDS.contains(&&kind[..])).collect();
    progress.finish();
    verified
}

fn look(
    source: &Folder,
    (name, format): &NamedShard,
    spec: VerifySpec<'_>,
    index: &BTreeMap<String, Listed>,
) -> Shard {
    let mut shard = Shard {
        keys: Vec::new(),
        findings: Vec::new(),
    };
    let finding = |kind, message| Finding {
        shard: name.clone(),
        key: None,
        kind,
        message,
        hints: Vec::new(),
    };
    let Shard { keys, findings } = &mut shard;
    let damages = whole_samples(source, name, *format, &mut |sample| {
        if spec.decode {
            findings.extend(undecodable(name, sample));
        }
        keys.push(sample.key.clone());
        Ok(())
    });
    for error in damages.unwrap_or_default() {
        let kind = if is_store_failure(&error) {
            FindingKind::Unread
        } else {
            FindingKind::Damaged
        };
        shard.findings.push(Finding {
            hints: hints(&error),
            ..finding(kind, chain(&error))
        });
    }
    if let Some(listed) = index.get(name) {
        for (kind, found) in others(source, listed) {
            shard.findings.push(finding(
                FindingKind::OtherBytes,
                format!("its {kind} is {found}, `index.json` lists another"),
            ));
        }
    }
    if let Some(manifest) = spec.manifest {
        let listed = manifest.shards.iter().find(|listed| listed.name == *name);
        let digest = source.digest(name);
        match (listed, digest) {
            (None, _) => shard.findings.push(finding(
                FindingKind::Unlisted,
                "the manifest does not list it".to_owned(),
            )),
            (Some(listed), Ok(digest)) if digest.sha256 != listed.sha256 => {
                shard.findings.push(finding(
                    FindingKind::OtherBytes,
                    format!(
                        "{} bytes with the SHA-256 {}, the manifest lists {} bytes with {}",
                        digest.len_bytes, digest.sha256, listed.len_bytes, listed.sha256
                    ),
                ));
            }
            // A shard that cannot be read is damaged already.
            _ => {}
        }
    }
    shard
}

fn undecodable(shard: &str, sample: &Sample) -> Option<Finding> {
    let image = sample.image.as_ref()?;
    let error = decode_rgb(&image.bytes, &DecodeOptions::sane()).err()?;
    Some(Finding {
        shard: shard.to_owned(),
        key: Some(sample.key.to_string()),
        kind: FindingKind::Image,
        message: format!("the image does not decode: {error}"),
        hints: Vec::new(),
    })
}

/// The shards of the index that are not there.
fn missing_of_index<'a>(
    names: &'a [NamedShard],
    index: &'a BTreeMap<String, Listed>,
) -> impl Iterator<Item = Finding> + 'a {
    let there: HashSet<&str> = names.iter().map(|(name, _)| &name[..]).collect();
    let missing = index.keys().filter(move |name| !there.contains(&name[..]));
    missing.map(|name| Finding {
        shard: name.clone(),
        key: None,
        kind: FindingKind::Missing,
        message: "`index.json` lists it".to_owned(),
        hints: vec![
            "Copy or fetch the shard again, or write a new index: `sightline shards index`."
                .to_owned(),
        ],
    })
}

/// The shards of the manifest that are not there.
fn missing<'a>(
    names: &'a [NamedShard],
    manifest: &'a Manifest,
) -> impl Iterator<Item = Finding> + 'a {
    let there: HashSet<&str> = names.iter().map(|(name, _)| &name[..]).collect();
    manifest
        .shards
        .iter()
        .filter(move |listed| !there.contains(&listed.name[..]))
        .map(|listed| Finding {
            shard: listed.name.clone(),
            key: None,
            kind: FindingKind::Missing,
            message: format!("the manifest lists it with {} samples", listed.samples),
            hints: vec!["Copy or fetch the shard again.".to_owned()],
        })
}
