//! How likely a model finds texts about images.

use crate::{Result, Visual};

/// Finds texts likely or not.
pub trait Score: Send + Sync {
    /// A text for each of the `B` images. Returns for each text the natural logarithm of the probability of each of its
    /// tokens, its end included, given the image and the tokens before. A text longer than the model's context is cut, and
    /// has no end then.
    fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>>;
}

/// The natural logarithm of the probability of each of `ids`; `logits` has those of every token at its place.
pub(crate) fn log_probabilities_of(logits: &[Vec<f32>], ids: &[u32]) -> Vec<f32> {
    let places = ids.iter().zip(logits);
    places
        .map(|(&id, logits)| log_probability(logits, id))
        .collect()
}

/// The natural logarithm of the probability of `id`, of which there is a logit.
fn log_probability(logits: &[f32], id: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - most).exp())
        .sum();
    let own = logits
        .get(id as usize)
        .copied()
        .unwrap_or(f32::NEG_INFINITY);
    // Rounding may put the most likely token a little above; what is not a number stays one that is none.
    let found = (f64::from(own - most) - sum.ln()) as f32;
    if found > 0.0 { 0.0 } else { found }
}
