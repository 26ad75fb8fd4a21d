//! Which positions may look at which.

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// An additive mask `[batch or 1, heads or 1, queries or 1, keys]`: 0 where a query may look at a key, the most
/// negative float where not (the value that Hugging Face uses, so that a row without any allowed key is
/// uniform and not NaN).
#[derive(Clone, Debug)]
pub struct Mask(pub(crate) Tensor);

impl Mask {
    /// Position `t` looks at `0..=t`; `[1, 1, len, len]`.
    pub fn causal(len: usize, device: &Device) -> Result<Self> {
        let mut values = vec![0.0f32; len * len];
        for t in 0..len {
            values[t * len + t + 1..(t + 1) * len].fill(f32::MIN);
        }
        Ok(Self(Tensor::from_vec(values, (1, 1, len, len), device)?))
    }

    /// As [`Self::causal`], for `len` positions behind `seen` others, which all of them look at;
    /// `[1, 1, len, seen + len]`.
    pub fn causal_behind(seen: usize, len: usize, device: &Device) -> Result<Self> {
        let keys = seen + len;
        let mut values = vec![0.0f32; len * keys];
        for (t, row) in values.chunks_exact_mut(keys.max(1)).enumerate() {
            row[seen + t + 1..].fill(f32::MIN);
        }
        Ok(Self(Tensor::from_vec(values, (1, 1, len, keys), device)?))
    }

    /// Everybody looks at everything, and `bias` `[batch or 1, heads or 1, queries or 1, keys]` is added to how much.
    pub fn bias(bias: &Tensor) -> Result<Self> {
        bias.dims4()?;
        Ok(Self(bias.to_dtype(DType::F32)?.contiguous()?))
    }

    /// Nobody looks at padding: `present` has a row per sequence, 0 for padding; `[batch, 1, 1, len]`.
    pub fn padding(present: &[Vec<u8>], device: &Device) -> Result<Self> {
        let len = present.first().map_or(0, Vec::len);
        if let Some(odd) = present.iter().find(|row| row.len() != len) {
            return Err(Error::Shape {
                what: "a row of the padding mask",
                found: vec![odd.len()],
                wanted: format!("[{len}], as the first"),
            });
        }
        let value = |&present: &u8| if present == 0 { f32::MIN } else { 0.0 };
        let values: Vec<f32> = present.iter().flatten().map(value).collect();
        let shape = (present.len(), 1, 1, len);
        Ok(Self(Tensor::from_vec(values, shape, device)?))
    }

    /// Nobody looks at what is absent: `present` `[batch, len]`, 1 for what is there and 0 for padding;
    /// `[batch, 1, 1, len]`. Anything between is as good as 0, as in Hugging Face's formula.
    pub fn present(present: &Tensor) -> Result<Self> {
        let (batch, len) = present.dims2()?;
        let present = present.to_dtype(DType::F32)?;
        let values = ((present - 1.0)? * f64::from(f32::MAX))?;
        Ok(Self(values.reshape((batch, 1, 1, len))?))
    }

    /// The keys of this mask and behind them those of `other`, for sequences that are put one behind the other.
    pub fn beside(&self, other: &Self) -> Result<Self> {
        Ok(Self(Tensor::cat(&[&self.0, &other.0], 3)?))
    }

    /// What a place of each sequence may look at, `places` `[B]`: `[B or 1, heads or 1, 1, keys]`.
    pub(crate) fn at_places(&self, places: &[usize]) -> Result<Self> {
        let (batch, _, queries, _) = self.0.dims4()?;
        if queries == 1 {
            return Ok(self.clone());
        }
        let row = |(item, &place): (usize, &usize)| {
            let of_item = self.0.narrow(0, if batch == 1 { 0 } else { item }, 1)?;
            of_item.narrow(2, place, 1)
        };
        let rows = places.iter().enumerate().map(row);
        let rows = rows.collect::<candle_core::Result<Vec<_>>>()?;
        Ok(Self(Tensor::cat(&rows, 0)?.contiguous()?))
    }

    /// Position `t` of the last `queries` ones looks at all before it and at itself, without what is absent: `present`
    /// has a row per sequence, 0 for padding, over all that is seen. With `slopes`, one for each head, a key that is `d`
    /// positions back gets `-slope * d` (ALiBi, Press et al. 2022, arXiv 2108.12409). `[batch, heads or 1, queries,
    /// keys]`.
    pub fn continued(
        present: &[Vec<u8>],
        queries: usize,
        slopes: Option<&[f32]>,
        device: &Device,
    ) -> Result<Self> {
        let keys = present.first().map_or(0, Vec::len);
        if present.iter().any(|row| row.len() != keys) || queries > keys {
            return Err(Error::Shape {
                what: "the padding mask",
                found: present.iter().map(Vec::len).collect(),
                wanted: format!("rows of the same length, at least {queries}"),
            });
        }
        let slopes = slopes.unwrap_or(&[0.0]);
        let mut values = Vec::with_capacity(present.len() * slopes.len() * queries * keys);
        for row in present {
            for slope in slopes {
                for query in keys - queries..keys {
                    values.extend(row.iter().enumerate().map(|(key, &there)| {
                        if key > query || there == 0 {
                            f32::MIN
                        } else {
                            -slope * (query - key) as f32
                        }
                    }));
                }
            }
        }
        let shape = (present.len(), slopes.len(), queries, keys);
        Ok(Self(Tensor::from_vec(values, shape, device)?))
    }

    /// Allows what both allow.
    pub fn and(&self, other: &Self) -> Result<Self> {
        Ok(Self(self.0.broadcast_minimum(&other.0)?.contiguous()?))
    }

    /// What both add to the scores: a bias beside a mask.
    pub fn plus(&self, other: &Self) -> Result<Self> {
        Ok(Self(self.0.broadcast_add(&other.0)?.contiguous()?))
    }

    /// What is added to the scores of queries and keys, `[batch or 1, heads or 1, queries or 1, keys]`.
    pub fn values(&self) -> &Tensor {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causal_and_padding_combine() {
        let device = Device::Cpu;
        let padding = Mask::padding(&[vec![1, 1, 0], vec![0, 1, 1]], &device).unwrap();
        let both = Mask::causal(3, &device).unwrap().and(&padding).unwrap();
        assert_eq!(both.0.dims(), [2, 1, 3, 3]);
        let allowed: Vec<bool> = both
            .0
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
            .iter()
            .map(|&v| v == 0.0)
            .collect();
        let rows = |rows: [&str; 3]| rows.concat().chars().map(|c| c == '1').collect::<Vec<_>>();
        assert_eq!(allowed[..9], rows(["100", "110", "110"]));
        assert_eq!(allowed[9..], rows(["000", "010", "011"]));
    }

    #[test]
    fn positions_behind_others_look_at_these_and_at_themselves() {
        let mask = Mask::causal_behind(2, 2, &Device::Cpu).unwrap();
        assert_eq!(mask.0.dims(), [1, 1, 2, 4]);
        let values = mask.0.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, [0.0, 0.0, 0.0, f32::MIN, 0.0, 0.0, 0.0, 0.0]);
        assert!(Mask::causal_behind(0, 0, &Device::Cpu).is_ok());
    }

    #[test]
    fn masks_of_parts_stand_side_by_side() {
        let device = Device::Cpu;
        let words = Mask::padding(&[vec![1, 0], vec![1, 1]], &device).unwrap();
        let present = Tensor::new(&[[1f32, 0.0, 0.5], [0.0, 1.0, 1.0]], &device).unwrap();
        let both = words.beside(&Mask::present(&present).unwrap()).unwrap();
        assert_eq!(both.0.dims(), [2, 1, 1, 5]);
        let values = both.0.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (no, half) = (f32::MIN, f32::MIN / 2.0);
        assert_eq!(values, [0.0, no, 0.0, no, half, 0.0, 0.0, no, 0.0, 0.0]);
        assert!(words.beside(&Mask::causal(2, &device).unwrap()).is_err());
    }

    #[test]
    fn rows_of_different_lengths_are_refused() {
        assert!(Mask::padding(&[vec![1, 1], vec![1]], &Device::Cpu).is_err());
    }
}
