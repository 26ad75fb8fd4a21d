//! A dataset without images that are there already: `sightline shards dedup`.
//!
//! The shards are read twice: once to hash every image, on all cores, and once to write what stays. Samples are gone
//! through in an order that says which of two images stays: the first in the shards, or the one with more pixels. One
//! whose image is that of a sample that stayed is left out; where hashes are perceptual, one whose hash is within the distance of such a
//! sample's. So no two that stay are alike, and each that is left out is like one that stays. Neither depends on
//! the number of cores.
//!
//! A sample without an image, or with one that does not decode where pixels are asked for, has nothing to be compared by:
//! it stays and is counted.
//!
//! Memory: 25 bytes a sample for exact hashes; 17 for perceptual ones, and 24 for each that stays in a [`NearIndex`], whose
//! arrays have up to as much again in reserve; 8 more with [`Keep::Largest`]; and the keys of the samples that a report lists.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use sightline_core::{Digest, Progress, Sample};
use sightline_imaging::hash::{ImageHash, NearIndex, phash};
use sightline_imaging::{DecodeOptions, Decoder};
use sightline_store::Folder;

use crate::convert::NamedShard;
use crate::filter::size;
use crate::subset::{Judge, Output, Subset, check_vacant, write_subset};
use crate::{Error, Result};

/// Version of the serialised forms.
const SCHEMA: u32 = 1;

/// A sample that equals no other.
const NONE: u32 = u32::MAX;

/// Samples that are decoded at once.
const BATCH: usize = 256;

/// When two samples are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// Their image files are equal, byte for byte.
    Content,
    /// Their images have the same size and the same pixels.
    Pixels,
    /// Their perceptual hashes differ in at most so many bits.
    Perceptual {
        /// Bits, at most [`sightline_imaging::hash::MAX_DISTANCE`].
        distance: u32,
    },
}

/// Which of two samples that are the same stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// The first one in the order of the shards.
    #[default]
    First,
    /// The one whose image has more pixels; of equal ones the first.
    Largest,
}

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupSpec {
    /// When two samples are the same.
    pub same: Same,
    /// Which one stays.
    pub keep: Keep,
    /// Whether the groups of equal samples are told.
    pub groups: bool,
}

/// What was left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deduplicated {
    /// Version of this form: 1.
    pub schema: u32,
    /// Samples and shards.
    #[serde(flatten)]
    pub subset: Subset,
    /// Samples that were left out.
    pub duplicates: u64,
    /// Samples that stay and that others were the same as.
    pub with_duplicates: u64,
    /// Samples without an image, which stay.
    pub without_image: u64,
    /// Samples whose image does not decode, which stay.
    pub undecodable: u64,
    /// How many samples were left out at each distance from the one that stays.
    pub by_distance: BTreeMap<u32, u64>,
}

/// Samples that are the same, as a report lists them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The sample that stays.
    pub kept: Member,
    /// Those that are left out, in their order.
    pub left_out: Vec<Member>,
}

/// A sample of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its shard.
    pub shard: String,
    /// Its key.
    pub key: String,
    /// In how many bits its hash differs from that of the sample that stays.
    pub distance: u32,
}

/// The groups of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// Version of this form: 1.
    pub schema: u32,
    /// Every group, in the order of the samples that stay.
    pub groups: Vec<Group>,
}

/// What is known of an image.
#[derive(Clone, Copy, Debug)]
struct Look {
    hash: Hashed,
    pixels: u64,
}

/// What an image is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hashed {
    /// The first half of a SHA-256, which no two different contents share.
    Exact(u128),
    Perceptual(ImageHash),
    NoImage,
    Undecodable,
}

/// What is known of every image, column by column.
#[derive(Debug, Default)]
struct Looks {
    states: Vec<State>,
    /// One for each sample, or none at all.
    exact: Vec<u128>,
    /// One for each sample, or none at all.
    perceptual: Vec<ImageHash>,
    /// One for each sample, or none at all.
    pixels: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hashed,
    NoImage,
    Undecodable,
}

impl Looks {
    fn push(&mut self, look: Look, spec: &DedupSpec) {
        let state = match look.hash {
            Hashed::Exact(_) | Hashed::Perceptual(_) => State::Hashed,
            Hashed::NoImage => State::NoImage,
            Hashed::Undecodable => State::Undecodable,
        };
        self.states.push(state);
        if let Same::Perceptual { .. } = spec.same {
            self.perceptual.push(match look.hash {
                Hashed::Perceptual(hash) => hash,
                _ => ImageHash(0),
            });
        } else {
            self.exact.push(match look.hash {
                Hashed::Exact(hash) => hash,
                _ => 0,
            });
        }
        if spec.keep == Keep::Largest {
            self.pixels.push(look.pixels.try_into().unwrap_or(u32::MAX));
        }
    }

    fn len(&self) -> usize {
        self.states.len()
    }

    fn count(&self, state: State) -> u64 {
        self.states.iter().filter(|&&found| found == state).count() as u64
    }

    /// The place of a sample among those that are judged: the lower one stays.
    fn rank(&self, at: u32) -> (Reverse<u32>, u32) {
        let pixels = self.pixels.get(at as usize).copied();
        (Reverse(pixels.unwrap_or(0)), at)
    }

    /// The samples that have a hash.
    fn hashed(&self) -> Vec<u32> {
        let samples = (0..).zip(&self.states);
        let hashed = samples.filter(|(_, state)| **state == State::Hashed);
        hashed.map(|(at, _)| at).collect()
    }
}

/// Leaves out the samples of the shards `names` of `source` that are the same as others.
pub fn dedup(
    source: &Folder,
    names: &[NamedShard],
    spec: &DedupSpec,
    output: &Output,
    progress: &dyn Progress,
) -> Result<(Deduplicated, Option<Groups>)> {
    check_vacant(output)?;
    let looks = looks(source, names, spec, progress)?;
    let found = match spec.same {
        Same::Perceptual { distance } => perceptual(&looks, distance, progress),
        Same::Content | Same::Pixels => exact(&looks),
    };
    let mut deduplicated = Deduplicated {
        schema: SCHEMA,
        subset: Subset::default(),
        duplicates: found.by_distance.values().sum(),
        with_duplicates: 0,
        without_image: looks.count(State::NoImage),
        undecodable: looks.count(State::Undecodable),
        by_distance: found.by_distance.clone(),
    };
    let mut is_kept_with: Vec<u32> = found
        .left_out
        .iter()
        .copied()
        .filter(|&same| same != NONE)
        .collect();
    is_kept_with.sort_unstable();
    is_kept_with.dedup();
    deduplicated.with_duplicates = is_kept_with.len() as u64;
    let mut leaving = Leaving {
        found: &found,
        looks: &looks,
        at: 0,
        named: spec.groups.then(BTreeMap::new),
        is_kept_with: &is_kept_with,
    };
    if output.folder.is_some() || spec.groups {
        deduplicated.subset = write_subset(source, names, output, progress, &mut leaving)?;
    } else {
        deduplicated.subset.read = looks.len() as u64;
        deduplicated.subset.kept = looks.len() as u64 - deduplicated.duplicates;
    }
    let groups = leaving.named.map(|named| groups(&found, &looks, &named));
    Ok((deduplicated, groups))
}

/// Looks at every image, in the order of the samples.
fn looks(
    source: &Folder,
    names: &[NamedShard],
    spec: &DedupSpec,
    progress: &dyn Progress,
) -> Result<Looks> {
    progress.start("shards to look at", Some(names.len() as u64));
    let mut looks = Looks::default();
    for (name, format) in names {
        let mut reader = format.open(source, name)?;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let next = reader.next_sample()?;
            let is_end = next.is_none();
            batch.extend(next);
            if batch.len() == BATCH || is_end {
                let looked: Vec<Look> = batch
                    .par_iter()
                    .map_init(Decoder::default, |decoder, sample| {
                        look(decoder, sample, spec)
                    })
                    .collect();
                for look in looked {
                    looks.push(look, spec);
                }
                batch.clear();
            }
            if looks.len() >= NONE as usize {
                let limit = u64::from(NONE) - 1;
                return Err(Error::TooMany { limit });
            }
            if is_end {
                break;
            }
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(looks)
}

fn look(decoder: &mut Decoder, sample: &Sample, spec: &DedupSpec) -> Look {
    // A file without bytes, as a failed download leaves them, is no image.
    let Some(image) = sample.image.as_ref().filter(|i| !i.bytes.is_empty()) else {
        return Look {
            hash: Hashed::NoImage,
            pixels: 0,
        };
    };
    let half = |digest: Digest| {
        let half = digest.as_bytes().first_chunk::<16>().copied();
        Hashed::Exact(u128::from_le_bytes(half.unwrap_or_default()))
    };
    let count = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    if spec.same == Same::Content {
        let pixels = match spec.keep {
            Keep::First => None,
            Keep::Largest => size(sample).map(count),
        };
        return Look {
            hash: half(Digest::of(&image.bytes)),
            pixels: pixels.unwrap_or(0),
        };
    }
    // As ImageHash gets it from Pillow, so that hashes can be compared with those made elsewhere.
    let Ok(decoded) = decoder.decode_rgb(&image.bytes, &DecodeOptions::pillow()) else {
        return Look {
            hash: Hashed::Undecodable,
            pixels: 0,
        };
    };
    let pixels = decoded.pixels;
    let size = (pixels.width(), pixels.height());
    let hash = if spec.same == Same::Pixels {
        let mut hasher = sightline_core::digest::Hasher::new();
        hasher.update(&size.0.to_le_bytes());
        hasher.update(&size.1.to_le_bytes());
        hasher.update(pixels.data());
        half(hasher.finish())
    } else {
        Hashed::Perceptual(phash(&pixels))
    };
    decoder.recycle(pixels);
    Look {
        hash,
        pixels: count(size),
    }
}

/// For each sample the one that it is left out for, or [`NONE`].
#[derive(Debug)]
struct Found {
    left_out: Vec<u32>,
    by_distance: BTreeMap<u32, u64>,
}

impl Found {
    fn new(samples: usize) -> Self {
        Self {
            left_out: vec![NONE; samples],
            by_distance: BTreeMap::new(),
        }
    }

    fn leave_out(&mut self, at: u32, same: u32, distance: u32) {
        self.left_out[at as usize] = same;
        *self.by_distance.entry(distance).or_default() += 1;
    }
}

fn exact(looks: &Looks) -> Found {
    let mut found = Found::new(looks.len());
    let hash = |at: u32| looks.exact[at as usize];
    let mut order = looks.hashed();
    order.par_sort_unstable_by_key(|&at| (hash(at), looks.rank(at)));
    for equal in order.chunk_by(|&a, &b| hash(a) == hash(b)) {
        for &at in &equal[1..] {
            found.leave_out(at, equal[0], 0);
        }
    }
    found
}

fn perceptual(looks: &Looks, distance: u32, progress: &dyn Progress) -> Found {
    let mut found = Found::new(looks.len());
    let mut index = NearIndex::new(distance);
    // Sample numbers by their places in the index.
    let mut kept = Vec::new();
    let mut order = looks.hashed();
    order.par_sort_unstable_by_key(|&at| looks.rank(at));
    progress.start("hashes", Some(order.len() as u64));
    for some in order.chunks(1 << 14) {
        for &at in some {
            let hash = looks.perceptual[at as usize];
            if let Some(near) = index.find(hash) {
                found.leave_out(at, kept[near.id], near.distance);
            } else {
                index.insert(hash);
                kept.push(at);
            }
        }
        progress.advance(some.len() as u64);
    }
    progress.finish();
    found
}

/// Goes through the samples again and leaves out what was found.
struct Leaving<'a> {
    found: &'a Found,
    looks: &'a Looks,
    at: usize,
    /// Shard and key of the samples that are in groups, where they are wanted.
    named: Option<BTreeMap<u32, (String, String)>>,
    is_kept_with: &'a [u32],
}

impl Judge for Leaving<'_> {
    fn keeps(&mut self, shard: &str, sample: &Sample) -> Result<bool> {
        let at = self.at;
        self.at += 1;
        let Some(&same) = self.found.left_out.get(at) else {
            return Err(self.changed());
        };
        let stays = same == NONE;
        if let Some(named) = &mut self.named
            && (!stays || self.is_kept_with.binary_search(&(at as u32)).is_ok())
        {
            named.insert(at as u32, (shard.to_owned(), sample.key.to_string()));
        }
        Ok(stays)
    }

    fn check(&self) -> Result<()> {
        if self.at == self.looks.len() {
            return Ok(());
        }
        Err(self.changed())
    }
}

impl Leaving<'_> {
    /// Another number of samples than were looked at.
    fn changed(&self) -> Error {
        Error::Changed {
            samples: self.looks.len() as u64,
        }
    }
}

fn groups(found: &Found, looks: &Looks, named: &BTreeMap<u32, (String, String)>) -> Groups {
    let member = |at: u32, kept: u32| {
        let (shard, key) = named.get(&at).cloned().unwrap_or_default();
        let hash = |at: u32| looks.perceptual.get(at as usize).copied();
        let distance = match (hash(at), hash(kept)) {
            (Some(a), Some(b)) => a.distance(b),
            _ => 0,
        };
        Member {
            shard,
            key,
            distance,
        }
    };
    let mut by_kept: BTreeMap<u32, Vec<Member>> = BTreeMap::new();
    for (at, &kept) in (0..).zip(&found.left_out) {
        if kept != NONE {
            by_kept.entry(kept).or_default().push(member(at, kept));
        }
    }
    let groups = by_kept.into_iter().map(|(kept, left_out)| Group {
        kept: member(kept, kept),
        left_out,
    });
    Groups {
        schema: SCHEMA,
        groups: groups.collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::progress::Silent;

    use super::*;

    /// Samples with these hashes, and as many pixels where the largest stays.
    fn looks(hashes: &[u64], pixels: &[u64], keep: Keep) -> Looks {
        let spec = DedupSpec {
            same: Same::Perceptual { distance: 0 },
            keep,
            groups: false,
        };
        let mut looks = Looks::default();
        for (&hash, &pixels) in hashes.iter().zip(pixels) {
            let hash = Hashed::Perceptual(ImageHash(hash));
            looks.push(Look { hash, pixels }, &spec);
        }
        looks
    }

    #[test]
    fn the_largest_stays_and_the_first_of_equal_ones() {
        let left_out = |keep| {
            let looks = looks(&[0, 1, 0xff00, 3, 0xff01], &[5, 9, 7, 9, 7], keep);
            perceptual(&looks, 1, &Silent).left_out
        };
        assert_eq!(left_out(Keep::Largest), [1, NONE, NONE, 1, 2]);
        assert_eq!(left_out(Keep::First), [NONE, 0, NONE, NONE, 2]);
    }

    proptest! {
        #[test]
        fn no_two_that_stay_are_alike_and_each_other_is_like_one(
            flips in prop::collection::vec((0u64..4, prop::collection::vec(0u32..64, 0..6), 0u64..3), 0..400),
            distance in 0u32..9,
            largest in any::<bool>(),
        ) {
            let hash = |(seed, bits, _): &(u64, Vec<u32>, u64)| {
                let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                bits.iter().fold(seed, |hash, bit| hash ^ 1 << bit)
            };
            let hashes: Vec<u64> = flips.iter().map(hash).collect();
            let pixels: Vec<u64> = flips.iter().map(|(_, _, pixels)| *pixels).collect();
            let keep = if largest { Keep::Largest } else { Keep::First };
            let looks = looks(&hashes, &pixels, keep);
            let found = perceptual(&looks, distance, &Silent);
            let rank = |at: usize| looks.rank(at as u32);
            for (at, &same) in found.left_out.iter().enumerate() {
                if same == NONE {
                    for (other, &out) in found.left_out[..at].iter().enumerate() {
                        prop_assert!(out != NONE || (hashes[at] ^ hashes[other]).count_ones() > distance);
                    }
                    continue;
                }
                let same = same as usize;
                prop_assert_eq!(found.left_out[same], NONE);
                prop_assert!((hashes[at] ^ hashes[same]).count_ones() <= distance);
                prop_assert!(rank(same) < rank(at));
            }
            prop_assert_eq!(found.by_distance.values().sum::<u64>(), found.left_out.iter().filter(|&&s| s != NONE).count() as u64);
        }
    }
}
