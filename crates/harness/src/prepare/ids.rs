//! Drawing a list of keys: a dataset of fewer examples, as low-data training has it.
//!
//! Which keys are drawn is a function of the keys and the seed: each key has a rank of its own, and the lowest ranks are
//! taken. So a smaller share is part of a larger one of the same seed, and neither the order of the dataset nor this
//! program's version matters.

use std::fmt::Write as _;

use sightline_core::{SampleKey, Seed};
use sightline_store::Folder;

use super::{Found, Preparing};
use crate::dataset::{SHARD, folder_of, format};
use crate::{Error, Result};

/// How many keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So many; all of a dataset that has fewer.
    Count(u64),
    /// So large a share, rounded to the nearest number, at least one.
    Share(f64),
}

/// A list of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Those that were drawn, in the order of the dataset.
    pub keys: Vec<SampleKey>,
    /// Of how many.
    pub of: u64,
}

impl Drawn {
    /// As the file that `ids` of a dataset names: comments, then a key on each line.
    pub fn text(&self, comment: &str) -> String {
        let mut text = String::new();
        for line in comment.lines() {
            let _ = writeln!(text, "# {line}");
        }
        for key in &self.keys {
            let _ = writeln!(text, "{key}");
        }
        text
    }
}

impl Preparing<'_> {
    /// Draws keys of the dataset, whose files are there.
    pub fn draw(&self, amount: Amount, seed: Seed) -> Result<Drawn> {
        let (_, found) = self.found()?;
        let keys = match self.examples(&found)? {
            Some(examples) => examples.into_iter().map(|example| example.key).collect(),
            None => self.keys_of_shards(&found)?,
        };
        Ok(drawn(&keys, amount, seed))
    }

    fn keys_of_shards(&self, found: &Found) -> Result<Vec<SampleKey>> {
        let mut keys = Vec::new();
        self.each_shard(found, |folder, format, name| {
            let mut reader = format.open(folder, name)?;
            while let Some(sample) = reader.next_sample()? {
                keys.push(sample.key);
            }
            Ok(())
        })?;
        Ok(keys)
    }

    /// Calls `look` with each shard of the dataset; not at all for a dataset of other files.
    pub(super) fn each_shard(
        &self,
        found: &Found,
        mut look: impl FnMut(
            &Folder,
            &'static dyn sightline_shard::ShardFormat,
            &str,
        ) -> Result<(), sightline_shard::Error>,
    ) -> Result<()> {
        let (Some(place), Some(name)) = (&self.dataset.shards, &self.dataset.format) else {
            return Ok(());
        };
        let format = format(name)?;
        let folder = folder_of(self.roots, place)?;
        for path in found.get(SHARD).into_iter().flatten() {
            let name = path.strip_prefix(folder.root()).unwrap_or(path);
            let name = name.to_string_lossy();
            look(&folder, format, &name).map_err(|source| Error::Shard { source })?;
        }
        Ok(())
    }
}

fn drawn(keys: &[SampleKey], amount: Amount, seed: Seed) -> Drawn {
    let of = keys.len();
    let count = match amount {
        Amount::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        Amount::Share(share) => ((of as f64 * share).round() as usize).max(1),
    };
    let seed = seed.child("ids", 0);
    let mut ranked: Vec<(u64, usize)> = keys
        .iter()
        .enumerate()
        .map(|(at, key)| (seed.child(key.as_str(), 0).0, at))
        .collect();
    ranked.sort_unstable_by(|a, b| (a.0, &keys[a.1]).cmp(&(b.0, &keys[b.1])));
    ranked.truncate(count);
    let mut places: Vec<usize> = ranked.into_iter().map(|(_, at)| at).collect();
    places.sort_unstable();
    Drawn {
        keys: places.into_iter().map(|at| keys[at].clone()).collect(),
        of: of as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: impl Iterator<Item = u32>) -> Vec<SampleKey> {
        let key = |number: u32| SampleKey::new(number.to_string()).unwrap();
        numbers.map(key).collect()
    }

    #[test]
    fn a_smaller_share_is_part_of_a_larger_one_whatever_the_order() {
        let draw = |keys: Vec<SampleKey>, share| drawn(&keys, Amount::Share(share), Seed(17));
        let small = draw(keys(0..1000), 0.005);
        let large = draw(keys(0..1000), 0.01);
        assert_eq!(
            (small.keys.len(), large.keys.len(), large.of),
            (5, 10, 1000)
        );
        assert!(small.keys.iter().all(|key| large.keys.contains(key)));
        let mut backwards = draw(keys((0..1000).rev()), 0.01);
        backwards.keys.reverse();
        assert_eq!(backwards, large);
        assert_ne!(drawn(&keys(0..1000), Amount::Share(0.01), Seed(18)), large);
        assert_eq!(draw(keys(0..3), 0.0001).keys.len(), 1);
        let all = drawn(&keys(0..3), Amount::Count(9), Seed(1));
        assert_eq!(all.keys, keys(0..3));
    }
}
