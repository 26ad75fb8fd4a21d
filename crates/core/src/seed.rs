//! Randomness that depends on names, never on time, threads or order.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A seed from which others are derived by name.
///
/// ```
/// use sightline_core::Seed;
/// let seed = Seed(17);
/// assert_eq!(seed.child("scene", 3).rng().below(10), seed.child("scene", 3).rng().below(10));
/// assert_ne!(seed.child("scene", 3), seed.child("scene", 4));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed called `name` number `index` below this one: the first eight bytes of
    /// SHA-256(seed ‖ name ‖ 0 ‖ index), little-endian throughout.
    #[must_use]
    pub fn child(self, name: &str, index: u64) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0.to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(index.to_le_bytes());
        let bytes: [u8; 32] = hasher.finalize().into();
        let (first, _) = bytes.split_at(8);
        Self(first.iter().rev().fold(0, |n, &b| (n << 8) | u64::from(b)))
    }

    /// A generator that always yields the same numbers for this seed, on every platform.
    pub fn rng(self) -> Rng {
        Rng(ChaCha8Rng::seed_from_u64(self.0))
    }
}

/// `ChaCha8` with the few distributions the project needs, written out here so that a dependency's
/// update cannot change a dataset.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// 64 uniform bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..n` without bias (rejection on the widening multiplication); 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// One of `items`, which must not be empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Puts `items` in a uniformly random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// Standard normal (Box–Muller, the cosine half).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_change() {
        let mut rng = Seed(17).rng();
        let first: Vec<u64> = (0..3).map(|_| rng.below(1000)).collect();
        let child = Seed(17).child("scene", 3);
        assert_eq!(
            (first, child.0),
            (vec![704, 649, 561], 7_047_256_823_764_938_894)
        );
    }

    #[test]
    fn below_reaches_every_value_and_no_other() {
        let mut rng = Seed(1).rng();
        let mut seen = [0u32; 7];
        for _ in 0..7000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Seed(5).rng().shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
