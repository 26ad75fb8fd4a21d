//! How the weights of linear maps are kept in memory.

use serde::{Deserialize, Serialize};

/// How the weight matrices of linear maps are kept. Sums are always `f32`, and so are biases, norms, embeddings and
/// convolutions; only what is trained through stays as it was read.
///
/// | kept as | bytes a weight | a weight is off by at most |
/// | --- | ---: | --- |
/// | [`F32`](Self::F32) | 4 | – |
/// | [`Bf16`](Self::Bf16) | 2 | 2⁻⁸ of its size (rounded to the nearest, halves to even) |
/// | [`Int8`](Self::Int8) | 1 | 1/254 of the largest weight of its output (symmetric, one scale for each output) |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// As computed with.
    #[default]
    F32,
    /// The upper half of a `f32`.
    Bf16,
    /// Whole numbers from −127 to 127 times the scale of their output.
    Int8,
}

impl Precision {
    /// Whether nothing is rounded.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}
