//! Layer normalisation (Ba et al. 2016), and vectors of unit length.

use candle_core::{D, DType, Tensor};

#[cfg(feature = "cuda")]
use crate::kernel;
use crate::linear::is_fusable;
use crate::tracked::{self, is_trainable};
use crate::{Result, Weights};

/// `(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// `f32` like the arithmetic, whatever the type of the model's tensors.
    weight: Tensor,
    bias: Tensor,
    eps: f32,
    /// The type of the model's tensors.
    dtype: DType,
}

impl LayerNorm {
    /// Reads `weight` and `bias`, both `[width]`.
    pub fn load(weights: &Weights, width: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: weights.tensor_f32("weight", &[width])?,
            bias: weights.tensor_f32("bias", &[width])?,
            eps: eps as f32,
            dtype: weights.dtype(),
        })
    }

    /// As [`Self::load`] without a bias, which is then 0.
    pub fn load_without_bias(weights: &Weights, width: usize, eps: f64) -> Result<Self> {
        let weight = weights.tensor_f32("weight", &[width])?;
        Ok(Self {
            bias: Tensor::zeros(width, weight.dtype(), weight.device())?,
            weight,
            eps: eps as f32,
            dtype: weights.dtype(),
        })
    }

    /// `x` `[.., width]`; returns the same shape, in the type of the model's tensors.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.contiguous()?;
        if [&x, &self.weight, &self.bias].into_iter().all(is_fusable) {
            let norm = tracked::Norm { eps: self.eps };
            return Ok(x.apply_op3_no_bwd(&self.weight, &self.bias, &norm)?);
        }
        #[cfg(feature = "cuda")]
        if x.dtype() == self.dtype
            && [&x, &self.weight, &self.bias]
                .into_iter()
                .all(kernel::cuda::is_fusable)
        {
            return Ok(kernel::cuda::layer_norm(
                &x,
                &self.weight,
                &self.bias,
                self.eps,
            )?);
        }
        if self.dtype == DType::F32 && is_trainable(&[&x, &self.weight, &self.bias]) {
            return tracked::layer_norm(&x, &self.weight, &self.bias, self.eps);
        }
        // candle's own kernel for GPUs takes the variance in one pass, which a large mean swallows.
        let x = x.to_dtype(DType::F32)?;
        let normed = candle_nn::ops::layer_norm_slow(&x, &self.weight, &self.bias, self.eps)?;
        Ok(normed.to_dtype(self.dtype)?)
    }
}

/// Rows of `x` `[B, width]` divided by their Euclidean length, as `f32`.
pub fn unit_length(x: &Tensor) -> Result<Tensor> {
    let x = x.to_dtype(DType::F32)?;
    let lengths = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    Ok(x.broadcast_div(&lengths)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn fused_and_differentiable_paths_agree_and_gradients_flow() {
        let device = Device::Cpu;
        let x = Tensor::randn(1f32, 2.0, (2, 7, 33), &device).unwrap();
        let weight = Var::randn(1f32, 0.1, 33, &device).unwrap();
        let bias = Var::randn(0f32, 0.1, 33, &device).unwrap();
        let norm = |weight: Tensor, bias: Tensor| LayerNorm {
            weight,
            bias,
            eps: 1e-5,
            dtype: DType::F32,
        };
        let fused = norm(weight.as_detached_tensor(), bias.as_detached_tensor());
        let tracked = norm(weight.as_tensor().clone(), bias.as_tensor().clone());
        let (a, b) = (fused.forward(&x).unwrap(), tracked.forward(&x).unwrap());
        let difference = (&a - &b).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() < 2e-6);
        let gradients = b.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        for var in [&weight, &bias] {
            let size = gradients
                .get(var)
                .unwrap()
                .abs()
                .unwrap()
                .sum_all()
                .unwrap();
            assert!(size.to_scalar::<f32>().unwrap() > 0.0);
        }
    }

    #[test]
    fn unit_rows_point_the_same_way() {
        let x = Tensor::new(&[[3f32, 4.0], [0.0, -2.0]], &Device::Cpu).unwrap();
        let unit = unit_length(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(unit, [[0.6, 0.8], [0.0, -1.0]]);
    }

    #[test]
    fn rows_of_another_width_are_an_error() {
        let ones = |n: usize| Tensor::ones(n, candle_core::DType::F32, &Device::Cpu).unwrap();
        let norm = LayerNorm {
            weight: ones(3),
            bias: ones(3),
            eps: 1e-5,
            dtype: DType::F32,
        };
        assert!(norm.forward(&ones(4)).is_err());
    }
}
