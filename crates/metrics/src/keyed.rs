//! Sums by key: small for the one key of an item, fast for the keys of a corpus.
//!
//! A metric that counts by place or by class has one key an item, and the bootstrap merges the sums of
//! thousands of items thousands of times. Finding an entry in a map takes most of that time: 5,000 items
//! of 1,000 keys, resampled 1,000 times, take 0.38 s of one core with a map and 0.05 s with a vector
//! that keys index. Keys that are too large for that are in a map.

use std::collections::BTreeMap;

use crate::Stats;

/// Keys below this are indices. A vector of so many counts still fits the first cache, and copies of it
/// for every item, which `BCa` intervals take, fit into memory.
const INDICES: u32 = 1024;

/// Sums by key. Sums that are equal to those of nothing count as absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed<V>(Entries<V>);

#[derive(Clone, Debug, PartialEq)]
enum Entries<V> {
    None,
    One(u32, V),
    Many {
        /// By key, as far as the largest one below [`INDICES`].
        indexed: Vec<V>,
        /// The others.
        mapped: BTreeMap<u32, V>,
    },
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self(Entries::None)
    }
}

impl<V: Stats + PartialEq> Keyed<V> {
    /// The sums of one key.
    pub fn one(key: u32, sums: V) -> Self {
        Self(Entries::One(key, sums))
    }

    /// Every key with its sums, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &V)> {
        let (one, many) = match &self.0 {
            Entries::None => (None, None),
            Entries::One(key, sums) => (Some((*key, sums)), None),
            Entries::Many { indexed, mapped } => (None, Some((indexed, mapped))),
        };
        let many = many.into_iter().flat_map(|(indexed, mapped)| {
            let mapped = mapped.iter().map(|(&key, sums)| (key, sums));
            (0..).zip(indexed).chain(mapped)
        });
        let nothing = V::default();
        one.into_iter()
            .chain(many)
            .filter(move |(_, sums)| **sums != nothing)
    }

    fn add(&mut self, key: u32, sums: &V) {
        match &mut self.0 {
            Entries::Many { indexed, mapped } => {
                if key >= INDICES {
                    mapped.entry(key).or_default().merge(sums);
                    return;
                }
                let index = key as usize;
                if index >= indexed.len() {
                    indexed.resize(index + 1, V::default());
                }
                indexed[index].merge(sums);
            }
            Entries::None => self.0 = Entries::One(key, sums.clone()),
            Entries::One(own, one) if *own == key => one.merge(sums),
            Entries::One(..) => {
                let many = Entries::Many {
                    indexed: Vec::new(),
                    mapped: BTreeMap::new(),
                };
                if let Entries::One(own, one) = std::mem::replace(&mut self.0, many) {
                    self.add(own, &one);
                }
                self.add(key, sums);
            }
        }
    }
}

impl<V: Stats + PartialEq> Stats for Keyed<V> {
    fn merge(&mut self, other: &Self) {
        // The bootstrap's only case, without the iterator's detours.
        if let Entries::One(key, sums) = &other.0 {
            return self.add(*key, sums);
        }
        for (key, sums) in other.iter() {
            self.add(key, sums);
        }
    }
}

/// A count.
impl Stats for u64 {
    fn merge(&mut self, other: &Self) {
        *self += other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn sums_of_equal_keys_are_merged_and_keys_sorted() {
        let last = INDICES - 1;
        let entries = [
            (last, 1),
            (last, 2),
            (u32::MAX, 4),
            (INDICES, 8),
            (3, 16),
            (last, 32),
            (INDICES, 64),
            (0, 128),
        ];
        let stats: Vec<Keyed<u64>> = entries.map(|(key, n)| Keyed::one(key, n)).into();
        let of = |keyed: &Keyed<u64>| -> Vec<(u32, u64)> {
            keyed.iter().map(|(key, &n)| (key, n)).collect()
        };
        let all = [(0, 128), (3, 16), (last, 35), (INDICES, 72), (u32::MAX, 4)];
        assert_eq!(of(&Keyed::default()), []);
        assert_eq!(of(&merged(&stats[..2])), [(last, 3)]);
        assert_eq!(of(&merged(&stats)), all);
        for middle in 0..=stats.len() {
            let (first, second) = stats.split_at(middle);
            let parts = [merged(first), Keyed::default(), merged(second)];
            assert_eq!(of(&merged(&parts)), all, "{middle}");
        }
    }
}
