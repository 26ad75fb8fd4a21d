//! A linear map, with its bias and the activation behind it computed in one pass.

use candle_core::{CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Tensor};

use crate::kernel;
use crate::{Activation, Result, Weights};

/// `y = x Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `Wᵀ`, `[input, output]`.
    kernel: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Reads `weight` `[output, input]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> Result<Self> {
        let weight = weights.tensor("weight", &[output, input])?;
        Self::new(&weight, Some(weights.tensor("bias", &[output])?))
    }

    /// Reads `weight` `[output, input]` only.
    pub fn load_without_bias(weights: &Weights, input: usize, output: usize) -> Result<Self> {
        Self::new(&weights.tensor("weight", &[output, input])?, None)
    }

    /// The map of `weight` `[output, input]` and `bias` `[output]`.
    ///
    /// A weight that is not trained is kept transposed: with neighbouring outputs side by side, as the products'
    /// inner loop reads them, it need not be rearranged in each call.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        let kernel = weight.t()?;
        let kernel = if is_fusable(weight) {
            kernel.contiguous()?
        } else {
            kernel
        };
        Ok(Self { kernel, bias })
    }

    /// `x` `[.., input]`; returns `[.., output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// As [`Self::forward`], then `activation`.
    pub fn forward_activated(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.run(x, Some(activation))
    }

    pub(crate) fn run(&self, x: &Tensor, activation: Option<Activation>) -> Result<Tensor> {
        let (input, output) = self.kernel.dims2()?;
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        // One matrix product over all rows: a product per batch item is several times slower.
        let y = x.reshape(((), input))?.matmul(&self.kernel)?;
        Ok(self.finish(y, activation)?.reshape(dims)?)
    }

    /// `W` `[output, input]`.
    pub(crate) fn weight(&self) -> Result<Tensor> {
        Ok(self.kernel.t()?)
    }

    /// `b` `[output]`.
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Adds the bias to the fresh product `y` and applies the activation.
    fn finish(&self, y: Tensor, activation: Option<Activation>) -> Result<Tensor> {
        match (&self.bias, activation) {
            (Some(bias), _) if is_fusable(&y) && is_fusable(bias) => {
                y.inplace_op2(bias, &BiasActivate(activation))?;
                Ok(y)
            }
            (None, Some(activation)) if is_fusable(&y) => {
                y.inplace_op1(&Activate(activation))?;
                Ok(y)
            }
            (bias, activation) => {
                let y = match bias {
                    Some(bias) => y.broadcast_add(bias)?,
                    None => y,
                };
                match activation {
                    Some(activation) => activation.composed(&y),
                    None => Ok(y),
                }
            }
        }
    }
}

/// Whether the kernels of this crate may take the tensor: on the CPU, in `f32`, in order, and no gradient is
/// tracked through it.
pub(crate) fn is_fusable(x: &Tensor) -> bool {
    x.device().is_cpu() && x.dtype() == DType::F32 && x.is_contiguous() && !x.track_op()
}

/// The elements of a contiguous `f32` tensor on the CPU.
pub(crate) fn elements<'a>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [f32]> {
    let all = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("the tensor has to be contiguous"),
    }
}

/// As [`elements`], to be written.
pub(crate) fn elements_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let CpuStorage::F32(all) = storage else {
        candle_core::bail!("the tensor has to be of type f32");
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut all[start..end]),
        None => candle_core::bail!("the tensor has to be contiguous"),
    }
}

struct BiasActivate(Option<Activation>);

impl InplaceOp2 for BiasActivate {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<()> {
        let bias = elements(bias, bias_layout)?;
        kernel::bias_activation(elements_mut(x, x_layout)?, bias, self.0);
        Ok(())
    }
}

/// An activation in place.
pub(crate) struct Activate(pub(crate) Activation);

impl InplaceOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        kernel::activate(elements_mut(x, layout)?, self.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn fused_and_differentiable_paths_agree_and_gradients_flow() {
        let device = Device::Cpu;
        // The same numbers in every run: the last bits of random ones are now and then too far apart.
        let wave = |len: u32, shape: &[usize]| {
            let angles = Tensor::arange(0f32, len as f32, &device).unwrap();
            (angles * 0.37)
                .unwrap()
                .sin()
                .unwrap()
                .reshape(shape)
                .unwrap()
        };
        let x = wave(40, &[2, 5, 4]);
        let weight = Var::from_tensor(&wave(12, &[3, 4])).unwrap();
        let bias = Var::from_tensor(&wave(3, &[3])).unwrap();
        for bias in [Some(bias), None] {
            let plain = |v: &Var| v.as_detached_tensor();
            let fused = Linear::new(&plain(&weight), bias.as_ref().map(plain)).unwrap();
            let tracked = bias.as_ref().map(|b| b.as_tensor().clone());
            let tracked = Linear::new(weight.as_tensor(), tracked).unwrap();
            for activation in [None, Some(Activation::QuickGelu), Some(Activation::Gelu)] {
                let a = fused.run(&x, activation).unwrap();
                let b = tracked.run(&x, activation).unwrap();
                assert_eq!(a.dims(), [2, 5, 3]);
                let difference = (&a - &b).unwrap().abs().unwrap().max_all().unwrap();
                assert!(difference.to_scalar::<f32>().unwrap() < 1e-6);

                let gradients = b.sum_all().unwrap().backward().unwrap();
                for var in [Some(&weight), bias.as_ref()].into_iter().flatten() {
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
        }
    }

    #[test]
    fn an_activation_leaves_its_input_as_it_was() {
        let x = Tensor::new(&[1.0f32, -1.0], &Device::Cpu).unwrap();
        let y = Activation::Gelu.forward(&x).unwrap();
        assert_eq!(x.to_vec1::<f32>().unwrap(), [1.0, -1.0]);
        let y = y.to_vec1::<f32>().unwrap();
        assert!((y[0] - 0.841_344_7).abs() < 1e-6 && (y[1] + 0.158_655_3).abs() < 1e-6);
    }
}
