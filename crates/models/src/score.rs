//! How likely a model finds texts about images.

use crate::{Result, Visual};

/// Finds texts likely or not.
pub trait Score: Send + Sync {
    /// A text for each of the `B` images. Returns for each text the natural logarithm of the probability of each of its
    /// tokens, its end included, given the image and the tokens before. A text longer than the model's context is cut, and
    /// has no end then.
    fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}
