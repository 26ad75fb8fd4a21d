//! Activation functions of feed-forward layers.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::linear::{Activate, is_fusable};

/// An activation, under the name that published configurations give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `x * Φ(x)`, the exact form with the error function.
    Gelu,
}

impl Activation {
    /// Applied to each element of `x`, of any shape.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if is_fusable(x) {
            let y = x.copy()?;
            y.inplace_op1(&Activate(self))?;
            return Ok(y);
        }
        self.composed(x)
    }

    /// The same from candle's operations, through which gradients flow.
    pub(crate) fn composed(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
        })
    }
}
