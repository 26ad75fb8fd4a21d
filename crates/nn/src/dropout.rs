//! Dropout (Srivastava et al. 2014): in training, elements that are left out by chance.

use candle_core::{DType, Tensor};
use sightline_core::Seed;

use crate::Result;

/// Which share of elements is left out, and what decides which ones: the same seed leaves out the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    share: f64,
    seed: Seed,
}

impl Dropout {
    /// `share` from 0 on and below 1; any other counts as the nearest.
    pub fn new(share: f64, seed: Seed) -> Self {
        Self {
            share: share.clamp(0.0, 0.999),
            seed,
        }
    }

    /// The same share with a seed of its own, for the part called `name`.
    #[must_use]
    pub(crate) fn of(self, name: &str) -> Self {
        Self {
            seed: self.seed.child(name, 0),
            ..self
        }
    }

    /// `x` with elements left out and the others grown to keep the sum on average; `place` tells apart the places of a part.
    pub fn forward(&self, x: &Tensor, place: u64) -> Result<Tensor> {
        let kept = 1.0 - self.share;
        let grown = (1.0 / kept) as f32;
        // 16 bits are fine enough, and one draw has four of them.
        let least = (self.share * 65_536.0).round() as u64;
        let mut rng = self.seed.child("dropout", place).rng();
        let count = x.elem_count();
        let mut values = Vec::with_capacity(count + 3);
        while values.len() < count {
            let bits = rng.bits();
            for shift in [0, 16, 32, 48] {
                let is_kept = (bits >> shift) & 0xffff >= least;
                values.push(if is_kept { grown } else { 0.0 });
            }
        }
        values.truncate(count);
        let mask = Tensor::from_vec(values, x.shape(), x.device())?;
        debug_assert_eq!(mask.dtype(), DType::F32);
        Ok((x * mask.to_dtype(x.dtype())?)?)
    }
}

/// `x` through `dropout`, if there is one.
pub fn dropped(dropout: Option<&Dropout>, x: Tensor, place: u64) -> Result<Tensor> {
    match dropout {
        Some(dropout) => dropout.forward(&x, place),
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_share_is_left_out_and_the_rest_is_grown() {
        let x = Tensor::ones((50, 100), DType::F32, &Device::Cpu).unwrap();
        let values = |seed, place| {
            let dropped = Dropout::new(0.2, Seed(seed)).forward(&x, place).unwrap();
            dropped.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let first = values(1, 0);
        let gone = first.iter().filter(|&&value| value == 0.0).count();
        assert!((900..1100).contains(&gone), "{gone}");
        assert!(
            first
                .iter()
                .all(|&value| value == 0.0 || (value - 1.25).abs() < 1e-6)
        );
        assert_eq!(first, values(1, 0));
        assert_ne!(first, values(2, 0));
        assert_ne!(first, values(1, 1));
    }
}
