//! What a model can do, and the traits through which tasks ask it to.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sightline_core::ImageSpec;

use crate::Result;

/// Something a family can do; a task names the one it needs, before any weight is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Capability {
    /// Images and texts into one space: [`Embed`].
    Embed,
}

impl Capability {
    /// The name in manifests and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "embed",
        }
    }
}

/// What a model takes as its visual input.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VisualSpec {
    /// Pixels prepared as the specification says.
    Pixels(ImageSpec),
}

/// A loaded model. Each method answers `Some` exactly for the capabilities its family declares.
pub trait Model: Send + Sync {
    /// What it takes as visual input.
    fn input(&self) -> &VisualSpec;

    /// Images and texts into one space.
    fn embed(&self) -> Option<&dyn Embed> {
        None
    }
}

/// Embeds images and texts so that their dot product measures how well they fit.
pub trait Embed: Send + Sync {
    /// Width `D` of the space.
    fn width(&self) -> usize;

    /// `pixels` `[B, 3, H, W]` as [`Model::input`] prepares them; returns `[B, D]`, unit length, f32.
    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor>;

    /// Returns `[B, D]` for `B` texts, unit length, f32.
    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor>;

    /// Factor from cosine to logit (`exp(logit_scale)`).
    fn scale(&self) -> f32;
}
