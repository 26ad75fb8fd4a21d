//! The residual block of convolutions (He et al. 2016), as all convolutional networks here have it.

use candle_core::Tensor;

use crate::activation::add_activated;
use crate::convolution::{ConvNorm, ConvolutionSpec};
use crate::pool::average_pool;
use crate::{Activation, Result, Weights};

/// Added to variances by every batch norm.
pub(super) const NORM_EPS: f64 = 1e-5;

/// What a block looks like.
#[derive(Clone, Debug)]
pub(super) struct ResidualSpec {
    /// The convolutions, called `conv1`, `conv2`, … with norms `bn1`, `bn2`, …; behind each but the last an activation.
    pub(super) convolutions: Vec<ConvolutionSpec>,
    /// Side of the squares whose mean is taken before the last convolution and before the shortcut's; 1 for none.
    pub(super) pool: usize,
    /// The convolution of the shortcut, `downsample.0` with the norm `downsample.1`, where shape or channels change.
    pub(super) shortcut: Option<ConvolutionSpec>,
}

/// `relu(f(x) + shortcut(x))`.
#[derive(Clone, Debug)]
pub(super) struct Residual {
    convolutions: Vec<ConvNorm>,
    pool: usize,
    shortcut: Option<ConvNorm>,
}

impl Residual {
    pub(super) fn load(weights: &Weights, spec: &ResidualSpec) -> Result<Self> {
        let shortcut = |spec: &ConvolutionSpec| {
            let weights = weights.scope("downsample");
            ConvNorm::load(&weights.scope(0), &weights.scope(1), spec, NORM_EPS)
        };
        Ok(Self {
            convolutions: (1..)
                .zip(&spec.convolutions)
                .map(|(number, spec)| numbered(weights, number, spec))
                .collect::<Result<_>>()?,
            pool: spec.pool,
            shortcut: spec.shortcut.as_ref().map(shortcut).transpose()?,
        })
    }

    #[cfg(test)]
    pub(super) fn has_shortcut(&self) -> bool {
        self.shortcut.is_some()
    }

    /// `x` `[B, H, W, C]`, channels last.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let pooled = |x: &Tensor| match self.pool {
            0 | 1 => Ok(x.clone()),
            side => average_pool(x, side),
        };
        let mut y = x.clone();
        for (i, convolution) in self.convolutions.iter().enumerate() {
            y = if i + 1 < self.convolutions.len() {
                convolution.forward_activated(&y, Activation::Relu)?
            } else {
                convolution.forward(&pooled(&y)?)?
            };
        }
        match &self.shortcut {
            Some(shortcut) => {
                let x = shortcut.forward(&pooled(x)?)?;
                add_activated(y, &x, Some(Activation::Relu))
            }
            None => add_activated(y, x, Some(Activation::Relu)),
        }
    }
}

/// The convolution `conv{number}` with the norm `bn{number}`.
pub(super) fn numbered(
    weights: &Weights,
    number: usize,
    spec: &ConvolutionSpec,
) -> Result<ConvNorm> {
    let convolution = weights.scope(format!("conv{number}"));
    let norm = weights.scope(format!("bn{number}"));
    ConvNorm::load(&convolution, &norm, spec, NORM_EPS)
}
