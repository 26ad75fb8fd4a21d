//! How far pixels are from those of a reference.

use serde::{Deserialize, Serialize};

/// How far the tensors of some images are from those that the reference processor makes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PixelDeviation {
    /// Images that were compared.
    pub images: u64,
    /// Images that could not be prepared in one of the ways.
    pub failed: u64,
    /// Mean absolute difference of the bytes before normalisation, in levels of 0 to 255.
    pub mean_levels: f64,
    /// The largest of them.
    pub max_levels: u8,
    /// Mean absolute difference of the values of the tensors.
    pub mean: f64,
    /// The largest of them.
    pub max: f64,
}
