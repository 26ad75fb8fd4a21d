//! Activation functions of feed-forward layers.

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use serde::{Deserialize, Serialize};

use crate::linear::{Activate, elements, elements_mut, is_fusable};
use crate::tracked::{self, is_trainable};
use crate::{Result, kernel};

/// An activation, under the name that published configurations give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`.
    QuickGelu,
    /// `x * Φ(x)`, the exact form with the error function.
    Gelu,
    /// `x * (1 + tanh(sqrt(2 / π) (x + 0.044715 x³))) / 2`, GPT-2's form.
    #[serde(alias = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x * sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
}

impl Activation {
    /// Applied to each element of `x`, of any shape.
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if is_fusable(x) {
            let y = x.copy()?;
            y.inplace_op1(&Activate(self))?;
            return Ok(y);
        }
        #[cfg(feature = "cuda")]
        if kernel::cuda::is_fusable(x) {
            return Ok(kernel::cuda::bias_activation(x, None, Some(self))?);
        }
        self.composed(x)
    }

    /// The same from candle's operations, through which gradients flow.
    pub(crate) fn composed(self, x: &Tensor) -> Result<Tensor> {
        if is_trainable(&[x]) {
            return tracked::activate(x, self);
        }
        Ok(match self {
            Self::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
            Self::Gelu => x.gelu_erf()?,
            Self::GeluTanh => x.gelu()?,
            Self::Relu => x.relu()?,
            Self::Silu => x.silu()?,
            Self::Sigmoid => candle_nn::ops::sigmoid(x)?,
        })
    }
}

/// `activation(x + y)` of two tensors of the same shape. `x` MUST be fresh, without another handle on its memory:
/// the result may be written there.
pub(crate) fn add_activated(
    x: Tensor,
    y: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    if is_fusable(&x) && is_fusable(y) && x.dims() == y.dims() {
        x.inplace_op2(y, &AddActivate(activation))?;
        return Ok(x);
    }
    #[cfg(feature = "cuda")]
    if kernel::cuda::is_fusable(&x)
        && kernel::cuda::is_fusable(y)
        && x.dims() == y.dims()
        && x.dtype() == y.dtype()
    {
        return Ok(kernel::cuda::add_activation(&x, y, activation)?);
    }
    if let Some(activation) = activation
        && is_trainable(&[&x, y])
        && x.dims() == y.dims()
    {
        return tracked::add_activate(&x, y, activation);
    }
    let sum = (&x + y.to_dtype(x.dtype())?)?;
    match activation {
        Some(activation) => activation.composed(&sum),
        None => Ok(sum),
    }
}

struct AddActivate(Option<Activation>);

impl InplaceOp2 for AddActivate {
    fn name(&self) -> &'static str {
        "add-activation"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> candle_core::Result<()> {
        let y = elements(y, y_layout)?;
        kernel::add_activate(elements_mut(x, x_layout)?, y, self.0);
        Ok(())
    }
}
