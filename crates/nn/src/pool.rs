//! Pooling of feature maps `[B, H, W, C]`, channels last, and weights of their channels.
//!
//! Maxima and means over windows make maps smaller; the mean over all positions and factors per channel are the
//! two halves of squeeze and excitation (Hu et al. 2018).

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor};

use crate::convolution::{Padding, picked, sliding};
use crate::kernel::map::{self, Pool, Sliding};
use crate::linear::{elements, elements_mut, is_fusable};
use crate::tracked::{self, is_trainable};
use crate::{Error, Result};

/// The maximum of each channel in a window of `side` (odd) that moves by `stride`; `x` `[B, H, W, C]`, padded as
/// much as keeps its size at stride 1. The padding is never the maximum.
pub fn max_pool(x: &Tensor, side: usize, stride: usize) -> Result<Tensor> {
    let padding = Padding::even(side.saturating_sub(1) / 2);
    let sliding = sliding(x, channels(x)?, (side, stride), padding)?;
    let x = x.contiguous()?;
    if is_trainable(&[&x]) {
        return tracked::pool(&x, sliding, Pool::Max);
    }
    // Rows, then columns: each is the maximum of shifted copies. An index beyond an edge is brought back to it,
    // where the window stands anyway.
    let rows = shifted_max(&x, 1, sliding.height, sliding.out_height, &sliding)?;
    shifted_max(&rows, 2, sliding.width, sliding.out_width, &sliding)
}

/// The mean of each channel in squares of `side` that do not overlap; rows and columns beyond the last whole square
/// do not count. `x` `[B, H, W, C]`; returns `[B, H / side, W / side, C]`.
pub fn average_pool(x: &Tensor, side: usize) -> Result<Tensor> {
    let side = side.max(1);
    let channels = channels(x)?;
    let sliding = sliding(x, channels, (side, side), Padding::even(0))?;
    let x = x.contiguous()?;
    if is_trainable(&[&x]) {
        return tracked::pool(&x, sliding, Pool::Mean);
    }
    let (batch, height, width) = (x.dim(0)?, sliding.out_height, sliding.out_width);
    let whole = x.narrow(1, 0, height * side)?.narrow(2, 0, width * side)?;
    let squares = whole.contiguous()?;
    let squares = squares.reshape(&[batch, height, side, width, side, channels][..])?;
    in_f32(&squares, |squares| squares.mean((2, 4)))
}

/// The mean of each channel over all positions; `x` `[B, H, W, C]`, returns `[B, C]`.
pub fn mean_positions(x: &Tensor) -> Result<Tensor> {
    channels(x)?;
    if is_trainable(&[x]) {
        return tracked::mean_positions(x);
    }
    in_f32(&x.contiguous()?.flatten(1, 2)?, |x| x.mean(1))
}

/// `f` of `x` in `f32`, in the type of `x`: sums in 16 bits lose the last terms.
fn in_f32(x: &Tensor, f: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>) -> Result<Tensor> {
    Ok(f(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype())?)
}

/// The maximum of each channel over all positions; `x` `[B, H, W, C]`, returns `[B, C]`.
pub fn max_positions(x: &Tensor) -> Result<Tensor> {
    channels(x)?;
    Ok(x.flatten(1, 2)?.max(1)?)
}

/// `x` `[B, H, W, C]` times `factors` `[B, C]`. `x` MUST be fresh, without another handle on its memory: the result
/// may be written there.
pub(crate) fn scale_channels(x: Tensor, factors: &Tensor) -> Result<Tensor> {
    let (batch, channels) = (x.dim(0)?, channels(&x)?);
    if factors.dims() != [batch, channels] {
        return Err(Error::Shape {
            what: "the factors of channels",
            found: factors.dims().to_vec(),
            wanted: format!("[{batch}, {channels}]"),
        });
    }
    if is_fusable(&x) && is_fusable(factors) {
        x.inplace_op2(factors, &ScaleChannels)?;
        return Ok(x);
    }
    if is_trainable(&[&x, factors]) {
        return tracked::scale_channels(&x, factors);
    }
    let factors = factors.reshape((batch, 1, 1, channels))?;
    Ok(x.broadcast_mul(&factors)?)
}

/// The last dimension of a map.
fn channels(x: &Tensor) -> Result<usize> {
    match *x.dims() {
        [_, _, _, channels] => Ok(channels),
        _ => Err(Error::Shape {
            what: "the map",
            found: x.dims().to_vec(),
            wanted: "[B, H, W, C]".to_owned(),
        }),
    }
}

fn shifted_max(
    x: &Tensor,
    dim: usize,
    size: usize,
    out: usize,
    sliding: &Sliding,
) -> Result<Tensor> {
    let shifted = |shift: usize| -> Result<Tensor> {
        let at = |i: usize| (i * sliding.stride + shift).saturating_sub(sliding.before);
        picked(x, dim, (0..out).map(|i| at(i).min(size.saturating_sub(1))))
    };
    let mut most = shifted(0)?;
    for shift in 1..sliding.side {
        most = most.maximum(&shifted(shift)?)?;
    }
    Ok(most)
}

struct ScaleChannels;

impl InplaceOp2 for ScaleChannels {
    fn name(&self) -> &'static str {
        "scale-channels"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        factors: &CpuStorage,
        factors_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (_, height, width, channels) = x_layout.shape().dims4()?;
        let factors = elements(factors, factors_layout)?;
        let x = elements_mut(x, x_layout)?;
        map::scale_channels(x, factors, height * width, channels);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    type Pool = fn(&Tensor) -> Result<Tensor>;

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn fused_and_differentiable_pools_agree_and_gradients_flow() {
        // All negative: zeros in the padding would be the largest.
        let x = Var::rand(-2f32, -1.0, (2, 7, 6, 3), &Device::Cpu).unwrap();
        let pools: [(&str, Pool); 5] = [
            ("max", |x| max_pool(x, 3, 2)),
            ("max of 5", |x| max_pool(x, 5, 1)),
            ("average", |x| average_pool(x, 2)),
            ("mean", mean_positions),
            ("scale", |x| {
                let factors = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 6.0]], x.device())?;
                scale_channels((x * 1.0)?, &factors)
            }),
        ];
        for (name, pool) in pools {
            let fused = pool(&x.as_detached_tensor()).unwrap();
            let tracked = pool(x.as_tensor()).unwrap();
            assert!(distance(&fused, &tracked) < 1e-6, "{name}");
            let gradients = tracked.sum_all().unwrap().backward().unwrap();
            let size = gradients.get(&x).unwrap().abs().unwrap().sum_all().unwrap();
            assert!(size.to_scalar::<f32>().unwrap() > 0.0, "{name}");
        }
    }

    #[test]
    fn sizes_are_those_of_pytorch() {
        let x = Tensor::zeros((2, 7, 6, 3), DType::F32, &Device::Cpu).unwrap();
        let dims = |y: Result<Tensor>| y.unwrap().dims().to_vec();
        assert_eq!(dims(max_pool(&x, 3, 2)), [2, 4, 3, 3]);
        assert_eq!(dims(average_pool(&x, 2)), [2, 3, 3, 3]);
        assert_eq!(dims(average_pool(&x, 1)), [2, 7, 6, 3]);
        assert_eq!(dims(max_positions(&x)), [2, 3]);
        assert!(average_pool(&x, 8).is_err());
        assert!(max_pool(&x.flatten(1, 2).unwrap(), 3, 2).is_err());
        assert!(
            scale_channels(x, &Tensor::zeros((2, 4), DType::F32, &Device::Cpu).unwrap()).is_err()
        );
    }
}
