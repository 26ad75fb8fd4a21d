//! Operations through which gradients flow, as one step each instead of a dozen of candle's: training on a CPU spends most
//! of its time between them otherwise.
//!
//! Each takes `f32` on the CPU; [`is_trainable`] says whether tensors are that. Their values are those of the kernels that
//! compute without gradients, their gradients those of [`kernel::gradient`].

mod attention;
mod channels;
mod map;

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor};

use crate::Result;
use crate::activation::Activation;
use crate::kernel::{self, gradient};
use crate::linear::{elements, with_elements};

pub(crate) use self::attention::{HeadShape, attention, own_attention};
pub(crate) use self::channels::{depthwise, mean_positions, pool, scale_channels};
pub(crate) use self::map::{convolution, linear};

/// Whether the operations here may take the tensors.
pub(crate) fn is_trainable(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|x| x.device().is_cpu() && x.dtype() == DType::F32)
}

/// A new tensor of the shape of `like`.
fn tensor(values: Vec<f32>, like: &Tensor) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, like.shape(), like.device())
}

/// The gradient `values` of `of`; none for what is not tracked, or candle would keep it.
fn gradient_of(of: &Tensor, values: Vec<f32>) -> candle_core::Result<Option<Tensor>> {
    of.track_op().then(|| tensor(values, of)).transpose()
}

/// `f` of the elements of tensors, brought into order first.
fn with<T>(tensors: &[&Tensor], f: impl FnOnce(&[&[f32]]) -> T) -> candle_core::Result<T> {
    let ordered = tensors.iter().map(|x| x.contiguous());
    let ordered = ordered.collect::<candle_core::Result<Vec<_>>>()?;
    let borrowed: Vec<&Tensor> = ordered.iter().collect();
    with_elements(&borrowed, f).map_err(candle_core::Error::wrap)
}

/// The activation behind a step.
struct Behind {
    activation: Option<Activation>,
    /// What it was taken of, where a gradient will ask for that.
    before: Option<OnceLock<Vec<f32>>>,
}

impl Behind {
    /// Behind a step on `tensors`.
    fn new(activation: Option<Activation>, tensors: &[&Tensor]) -> Self {
        let is_tracked = tensors.iter().any(|x| x.track_op());
        // What comes out of a ReLU says where it let pass.
        let is_asked_for = activation.is_some_and(|activation| activation != Activation::Relu);
        Self {
            activation,
            before: (is_tracked && is_asked_for).then(OnceLock::new),
        }
    }

    /// The activation, if the step may apply it while its values are near; [`Self::apply`] then does nothing.
    fn within(&self) -> Option<Activation> {
        self.activation.filter(|_| self.before.is_none())
    }

    /// Applies it to what the step made.
    fn apply(&self, out: &mut [f32]) {
        if let (Some(before), Some(activation)) = (&self.before, self.activation) {
            // There is one run.
            before.get_or_init(|| out.to_vec());
            kernel::activate(out, activation);
        }
    }

    /// The gradient of what the activation was taken of; `out` is what came of it.
    fn back(&self, out: &Tensor, gradient: &Tensor) -> candle_core::Result<Tensor> {
        let Some(activation) = self.activation else {
            return gradient.contiguous();
        };
        let values = with(&[gradient, out], |values| {
            let kept = self.before.as_ref().and_then(OnceLock::get);
            let before = kept.map_or(values[1], Vec::as_slice);
            let mut gradient = values[0].to_vec();
            gradient::activation(&mut gradient, before, activation);
            gradient
        })?;
        tensor(values, gradient)
    }
}

/// Layer norm over the last dimension; see [`crate::LayerNorm`].
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let x = x.contiguous()?;
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    Ok(x.apply_op3(&weight, &bias, Norm { eps })?)
}

/// The operation of [`layer_norm`], which has the values of the kernel with gradients and without.
pub(crate) struct Norm {
    pub(crate) eps: f32,
}

impl CustomOp3 for Norm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = elements(x, x_layout)?;
        let weight = elements(weight, weight_layout)?;
        let bias = elements(bias, bias_layout)?;
        let width = x_layout.dims().last().copied().unwrap_or(0);
        if weight.len() != width || bias.len() != width {
            candle_core::bail!("layer norm of width {} over rows of {width}", weight.len());
        }
        let mut out = vec![0.0; x.len()];
        kernel::layer_norm(&mut out, x, weight, bias, self.eps);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_x, of_weight, of_bias) = with(&[gradient, x, weight], |values| {
            gradient::layer_norm(values[0], values[1], values[2], self.eps)
        })?;
        Ok((
            gradient_of(x, of_x)?,
            gradient_of(weight, of_weight)?,
            gradient_of(bias, of_bias)?,
        ))
    }
}

/// An activation; see [`Activation`].
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Activate(activation))?)
}

struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = elements(x, layout)?.to_vec();
        kernel::activate(&mut out, self.0);
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let of_x = with(&[gradient, x], |values| {
            let mut of_x = values[0].to_vec();
            gradient::activation(&mut of_x, values[1], self.0);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

/// `activation(x + y)` of tensors of the same shape.
pub(crate) fn add_activate(x: &Tensor, y: &Tensor, activation: Activation) -> Result<Tensor> {
    let behind = Behind::new(Some(activation), &[x, y]);
    Ok(x.contiguous()?
        .apply_op2(&y.contiguous()?, AddActivate { behind })?)
}

struct AddActivate {
    behind: Behind,
}

impl CustomOp2 for AddActivate {
    fn name(&self) -> &'static str {
        "add-activation"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let mut out = elements(x, x_layout)?.to_vec();
        kernel::add_activate(&mut out, elements(y, y_layout)?, self.behind.within());
        self.behind.apply(&mut out);
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = self.behind.back(out, gradient)?;
        let of = |x: &Tensor| x.track_op().then(|| gradient.clone());
        Ok((of(x), of(y)))
    }
}

/// The mean cross entropy of `logits` `[N, C]` at `labels`, of which there are N, all below C; a scalar.
pub(crate) fn cross_entropy(logits: &Tensor, labels: Vec<u32>) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(Entropy { labels })?)
}

struct Entropy {
    labels: Vec<u32>,
}

impl CustomOp1 for Entropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        if rows != self.labels.len() || self.labels.iter().any(|&l| l as usize >= width) {
            candle_core::bail!("{} labels for {rows} rows of {width}", self.labels.len());
        }
        let mut logs = elements(x, layout)?.to_vec();
        kernel::log_softmax(&mut logs, width);
        let own = logs.chunks_exact(width.max(1)).zip(&self.labels);
        let sum: f64 = own
            .map(|(row, &label)| f64::from(row[label as usize]))
            .sum();
        let mean = (-sum / rows.max(1) as f64) as f32;
        Ok((CpuStorage::F32(vec![mean]), Shape::from(())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let factor = gradient.to_scalar::<f32>()?;
        let of_x = with(&[x], |values| {
            let mut of_x = values[0].to_vec();
            gradient::cross_entropy(&mut of_x, &self.labels, factor);
            of_x
        })?;
        tensor(of_x, x).map(Some)
    }
}

#[cfg(test)]
mod tests;
