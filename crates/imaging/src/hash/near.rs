//! Which of many hashes is within a few bits of a given one: exact answers by multi-index hashing (Norouzi, Punjani
//! and Fleet, "Fast Exact Search in Hamming Space with Multi-Index Hashing", 2014, section 3).
//!
//! The bits are cut into bands. Of two hashes that differ in at most `k` bits, some of `m` bands differ in at most `k / m`: it is
//! enough to look up each band with so many of its bits flipped. The more hashes there are, the longer the bands, so
//! that a look-up finds few that are not meant; the tables are made anew when their number has grown eightfold.

use super::ImageHash;

/// The largest distance that an index is made for.
pub const MAX_DISTANCE: u32 = 16;

/// How many hashes are compared one by one before there are tables.
const FEW: usize = 256;

/// The end of a chain, and more hashes than an index holds.
const NONE: u32 = u32::MAX;

/// Hashes that can be searched by distance.
///
/// Memory: 8 bytes for each hash and 4 for each of its bands, of which there are 3 beyond a million hashes, and as
/// much again in reserve, as any growing array has; beside them 48 MiB at most.
#[derive(Clone, Debug)]
pub struct NearIndex {
    distance: u32,
    hashes: Vec<u64>,
    bands: Vec<Band>,
    /// How many hashes the bands are made for.
    room: usize,
}

/// A hash that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near {
    /// The place of the hash in the order in which hashes were inserted, from 0.
    pub id: usize,
    /// In how many bits it differs.
    pub distance: u32,
}

/// Some bits of all hashes.
#[derive(Clone, Debug)]
struct Band {
    shift: u32,
    bits: u32,
    /// All ways to flip as many of its bits as may differ.
    flips: Vec<u32>,
    /// The last hash with each value, or [`NONE`].
    heads: Vec<u32>,
    /// For each hash the one before it with the same value.
    chain: Vec<u32>,
}

impl NearIndex {
    /// An empty index for hashes that differ in at most `distance` bits; more than [`MAX_DISTANCE`] are taken as so many.
    pub fn new(distance: u32) -> Self {
        Self {
            distance: distance.min(MAX_DISTANCE),
            hashes: Vec::new(),
            bands: Vec::new(),
            room: FEW,
        }
    }

    /// Hashes in the index.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Adds a hash; its id is how many there were before. Beyond four thousand million hashes nothing is added.
    pub fn insert(&mut self, hash: ImageHash) {
        if self.hashes.len() >= NONE as usize {
            return;
        }
        let id = self.hashes.len() as u32;
        self.hashes.push(hash.0);
        if self.hashes.len() > self.room {
            self.room = self.room.saturating_mul(8);
            self.bands = bands(self.distance, self.room);
            for (id, &hash) in (0..).zip(&self.hashes) {
                self.bands.iter_mut().for_each(|band| band.insert(id, hash));
            }
        } else {
            self.bands
                .iter_mut()
                .for_each(|band| band.insert(id, hash.0));
        }
    }

    /// The hash that was inserted first among those within the distance of `hash`.
    pub fn find(&self, hash: ImageHash) -> Option<Near> {
        let mut found = None;
        let mut look = |id: u32| {
            let distance = (self.hashes[id as usize] ^ hash.0).count_ones();
            if distance <= self.distance && found.is_none_or(|(earlier, _)| id < earlier) {
                found = Some((id, distance));
            }
        };
        let lookups: usize = self.bands.iter().map(|band| band.flips.len()).sum();
        if self.bands.is_empty() || lookups > self.hashes.len() {
            (0..self.hashes.len() as u32).for_each(look);
        } else {
            for band in &self.bands {
                band.each(hash.0, &mut look);
            }
        }
        found.map(|(id, distance)| Near {
            id: id as usize,
            distance,
        })
    }
}

/// The bands for so many hashes.
fn bands(distance: u32, hashes: usize) -> Vec<Band> {
    // As many values of a band as there are hashes, but no table of more than 2²² values.
    let count = (64 / hashes.max(2).ilog2()).max(3);
    let (each, more) = (distance / count, distance % count);
    (0..count)
        .filter_map(|i| {
            let (start, end) = (64 * i / count, 64 * (i + 1) / count);
            // Were each band farther than this, the sum would be larger than the distance.
            let radius = if i <= more {
                each
            } else {
                each.checked_sub(1)?
            };
            Some(Band::new(start, end - start, radius))
        })
        .collect()
}

impl Band {
    fn new(shift: u32, bits: u32, radius: u32) -> Self {
        Self {
            shift,
            bits,
            flips: flips(bits, radius),
            heads: vec![NONE; 1 << bits],
            chain: Vec::new(),
        }
    }

    fn value(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize & ((1 << self.bits) - 1)
    }

    fn insert(&mut self, id: u32, hash: u64) {
        let value = self.value(hash);
        let head = &mut self.heads[value];
        self.chain.push(std::mem::replace(head, id));
    }

    /// Calls `look` with every hash whose band is within the radius.
    fn each(&self, hash: u64, look: &mut impl FnMut(u32)) {
        let value = self.value(hash);
        for &flip in &self.flips {
            let mut id = self.heads[value ^ flip as usize];
            while id != NONE {
                look(id);
                id = self.chain[id as usize];
            }
        }
    }
}

/// The values of `bits` bits of which at most `radius` are ones.
fn flips(bits: u32, radius: u32) -> Vec<u32> {
    let end = 1_u32 << bits;
    let with = |ones: u32| {
        std::iter::successors(Some((1_u32 << ones) - 1), |&flip| {
            next_with_as_many_ones(flip)
        })
        .take_while(move |&flip| flip < end)
    };
    (0..=radius.min(bits)).flat_map(with).collect()
}

/// The next larger number with as many ones (Gosper's hack); none after zero.
fn next_with_as_many_ones(number: u32) -> Option<u32> {
    let lowest = number & number.wrapping_neg();
    let carried = number.checked_add(lowest).filter(|_| lowest > 0)?;
    Some((((carried ^ number) >> 2) / lowest) | carried)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The answer by looking at each.
    fn plain(hashes: &[u64], distance: u32, hash: u64) -> Option<Near> {
        let mut distances = hashes.iter().map(|other| (other ^ hash).count_ones());
        let id = distances.position(|found| found <= distance)?;
        Some(Near {
            id,
            distance: (hashes[id] ^ hash).count_ones(),
        })
    }

    #[test]
    fn all_ways_to_flip_are_tried_once() {
        let mut all = flips(6, 2);
        assert_eq!(all.len(), 1 + 6 + 15);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 22);
        assert_eq!(flips(4, 9).len(), 16);
    }

    #[test]
    fn bands_share_the_bits_and_the_distance() {
        for hashes in [257, 2048, 1 << 14, 1 << 20, 1 << 30] {
            for distance in 0..=MAX_DISTANCE {
                let bands = bands(distance, hashes);
                // A hash that escapes every band differs in more bits than the distance.
                let most = |band: &Band| band.flips.iter().map(|flip| flip.count_ones()).max();
                let escapes: u32 = bands.iter().filter_map(most).map(|ones| ones + 1).sum();
                assert!(escapes > distance, "{hashes} {distance}");
                let bits: u32 = bands.iter().map(|band| band.bits).sum();
                assert!(bits <= 64);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn answers_are_those_of_comparing_with_all(
            seeds in prop::collection::vec(any::<u64>(), 1..40),
            flips in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(0u32..64, 0..12)), 0..3000),
            distance in 0u32..=MAX_DISTANCE,
        ) {
            let mut index = NearIndex::new(distance);
            let mut hashes = Vec::new();
            for (seed, bits) in flips {
                let seed = seeds[seed.index(seeds.len())];
                let hash = bits.iter().fold(seed, |hash, bit| hash ^ 1 << bit);
                prop_assert_eq!(index.find(ImageHash(hash)), plain(&hashes, distance, hash));
                index.insert(ImageHash(hash));
                hashes.push(hash);
            }
            prop_assert_eq!(index.len(), hashes.len());
        }
    }
}
