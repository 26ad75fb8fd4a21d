//! How the weights of a model are kept in memory, and in what type it computes with them.

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How weights are kept.
///
/// On a CPU `bf16` and `int8` are forms of the weight matrices of linear maps: sums are always `f32`, and so are
/// biases, norms, embeddings and convolutions; only what is trained through stays as it was read.
///
/// | kept as | bytes a weight | a weight is off by at most |
/// | --- | ---: | --- |
/// | [`F32`](Self::F32) | 4 | – |
/// | [`Bf16`](Self::Bf16) | 2 | 2⁻⁸ of its size (rounded to the nearest, halves to even) |
/// | [`F16`](Self::F16) | 2 | 2⁻¹¹ of its size from 2⁻¹⁴ to 65504 |
/// | [`Int8`](Self::Int8) | 1 | 1/254 of the largest weight of its output (symmetric, one scale for each output) |
///
/// On a GPU `bf16` and `f16` are the types of all tensors, results of operations included. Sums of products, norms and
/// softmax are taken in `f32` there too. `f16` is computed with in the same way on a CPU, which is slow: it shows what
/// rounding costs without a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// As computed with.
    #[default]
    F32,
    /// The upper half of a `f32`.
    Bf16,
    /// Half precision (IEEE 754).
    F16,
    /// Whole numbers from −127 to 127 times the scale of their output.
    Int8,
}

impl Precision {
    /// Every one, the one without rounding first.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::F16, Self::Int8];

    /// The name in manifests and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// Whether nothing is rounded.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }

    /// The type of tensors made on `device`; an error where weights cannot be kept so.
    pub fn element_type(self, device: &Device) -> Result<DType> {
        match (self, device.is_cpu()) {
            (Self::F32, _) | (Self::Bf16 | Self::Int8, true) => Ok(DType::F32),
            (Self::F16, _) => Ok(DType::F16),
            (Self::Bf16, false) => Ok(DType::BF16),
            (Self::Int8, false) => Err(Error::Precision {
                precision: self.name(),
                device: crate::device::name(device),
            }),
        }
    }
}
