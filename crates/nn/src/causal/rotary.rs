//! Rotary positions (Su et al. 2021, arXiv 2104.09864).

use candle_core::{DType, Device, Tensor};

use super::Pairing;
use crate::Result;

/// By how much each pair of `dims` elements turns with a position.
pub(super) fn frequencies(dims: usize, base: f64) -> Vec<f32> {
    let frequency = |i| base.powf(-2.0 * i as f64 / dims as f64) as f32;
    (0..dims / 2).map(frequency).collect()
}

/// Turns queries and keys of a batch by their positions.
pub(super) struct Turn {
    /// `[B, T, 1, dims / 2]`.
    cos: Tensor,
    sin: Tensor,
    dims: usize,
    head_dim: usize,
    pairing: Pairing,
}

impl Turn {
    pub(super) fn new(
        positions: &[Vec<u32>],
        dims: usize,
        base: f64,
        pairing: Pairing,
        head_dim: usize,
        device: &Device,
    ) -> Result<Self> {
        let (batch, len, half) = (
            positions.len(),
            positions.first().map_or(0, Vec::len),
            dims / 2,
        );
        let frequencies = frequencies(dims, base);
        let positions = positions.iter().flatten();
        let angles: Vec<f32> = positions
            .flat_map(|&position| frequencies.iter().map(move |f| position as f32 * f))
            .collect();
        let angles = Tensor::from_vec(angles, (batch, len, 1, half), device)?;
        Ok(Self {
            cos: angles.cos()?,
            sin: angles.sin()?,
            dims,
            head_dim,
            pairing,
        })
    }

    /// `x` `[B, T, heads * head_dim]`; returns the same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, len, inner) = x.dims3()?;
        let (half, heads) = (self.dims / 2, inner / self.head_dim);
        let dtype = x.dtype();
        let x = x.to_dtype(DType::F32)?;
        let x = x.reshape((batch, len, heads, self.head_dim))?;
        let turned = x.narrow(3, 0, self.dims)?;
        let pairs = (batch, len, heads, half, 2);
        let (a, b) = match self.pairing {
            Pairing::Halves => (turned.narrow(3, 0, half)?, turned.narrow(3, half, half)?),
            Pairing::Neighbours => {
                let pairs = turned.contiguous()?.reshape(pairs)?;
                (
                    pairs.narrow(4, 0, 1)?.squeeze(4)?,
                    pairs.narrow(4, 1, 1)?.squeeze(4)?,
                )
            }
        };
        let (cos, sin) = (&self.cos, &self.sin);
        let first = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
        let second = (b.broadcast_mul(cos)? + a.broadcast_mul(sin)?)?;
        let turned = match self.pairing {
            Pairing::Halves => Tensor::cat(&[&first, &second], 3)?,
            Pairing::Neighbours => {
                Tensor::stack(&[&first, &second], 4)?.reshape((batch, len, heads, self.dims))?
            }
        };
        let rest = self.head_dim - self.dims;
        let all = if rest == 0 {
            turned
        } else {
            Tensor::cat(&[&turned, &x.narrow(3, self.dims, rest)?], 3)?
        };
        Ok(all.reshape((batch, len, inner))?.to_dtype(dtype)?)
    }
}
