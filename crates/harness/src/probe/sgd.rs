//! The `ImageNet` probe of VirTex (Desai and Johnson 2021, section 4.1): logistic regression by stochastic gradient descent.
//!
//! A learning rate of 0.3, divided by ten behind 60 and behind 80 of 100 epochs, batches of 256, momentum 0.9, no weight
//! decay; weights begin as normal numbers of deviation 0.01, constants as zeros. Batches are drawn from the seed; the last
//! batch of an epoch is what is left. Computed in `f64`.
//!
//! There it is trained on random crops of the images, looked at again in each epoch; here features are taken once, of
//! images as they are prepared for the test. So values are not those of the paper's protocol, and the id of the task says
//! so.

use sightline_core::Seed;

use super::logistic::{Tick, errors};
use super::{Features, Linear, parts};

/// How the weights are learned.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Passes over the images.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Learning rate at the start.
    pub rate: f64,
    /// Epochs behind which it is divided by ten.
    pub drops: Vec<usize>,
    /// Share of the last step that the next one keeps.
    pub momentum: f64,
}

impl Default for Recipe {
    /// VirTex's.
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 256,
            rate: 0.3,
            drops: vec![60, 80],
            momentum: 0.9,
        }
    }
}

/// Deviation of the weights at the start.
const DEVIATION: f64 = 0.01;

/// Learns `classes` classes, `labels[n]` being that of image n. `None` where `tick`, asked before each epoch, says no.
///
/// # Panics
///
/// If there are not as many labels as images.
pub fn fit(
    features: &Features,
    labels: &[u32],
    classes: usize,
    recipe: &Recipe,
    seed: Seed,
    tick: &Tick<'_>,
) -> Option<Linear> {
    assert_eq!(features.len(), labels.len(), "an image without a label");
    let width = features.width();
    let mut rng = seed.child("start", 0).rng();
    let mut at: Vec<f64> = (0..classes * width)
        .map(|_| DEVIATION * rng.normal())
        .collect();
    at.resize(classes * (width + 1), 0.0);
    let mut velocity = vec![0.0; at.len()];
    for epoch in 0..recipe.epochs {
        if !tick() {
            return None;
        }
        let drops = recipe.drops.iter().filter(|&&drop| drop <= epoch).count();
        let rate = recipe.rate * 0.1f64.powi(drops as i32);
        let mut order: Vec<usize> = (0..labels.len()).collect();
        seed.child("epoch", epoch as u64).rng().shuffle(&mut order);
        for numbers in order.chunks(recipe.batch.max(1)) {
            let batch = features.select(numbers);
            let (weights, bias) = at.split_at(classes * width);
            let (_, gradient) = parts::sum(&batch, at.len(), |block, images, sums| {
                let (of_weights, of_bias) = sums.split_at_mut(classes * width);
                for (image, place) in images.chunks(width).zip(block) {
                    let logits = weights.chunks(width).zip(bias);
                    let mut logits: Vec<f64> = logits
                        .map(|(row, bias)| parts::dot(row, image) + bias)
                        .collect();
                    errors(&mut logits, labels[numbers[place]]);
                    for (row, &error) in of_weights.chunks_mut(width).zip(&logits) {
                        parts::add_scaled(row, error, image);
                    }
                    parts::add_scaled(of_bias, 1.0, &logits);
                }
                0.0
            });
            // PyTorch's momentum: the rate is not in the velocity.
            let share = 1.0 / numbers.len() as f64;
            for ((at, velocity), gradient) in at.iter_mut().zip(&mut velocity).zip(&gradient) {
                *velocity = recipe.momentum * *velocity + gradient * share;
                *at -= rate * *velocity;
            }
        }
    }
    Some(Linear::new(at, classes, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_depends_on_its_seed_and_not_on_threads() {
        let values: Vec<f32> = (0..40)
            .map(|n| if n % 4 < 2 { 1.0 } else { -1.0 } + n as f32 / 100.0)
            .collect();
        let features = Features::new(values, 2).unwrap();
        let labels: Vec<u32> = (0..20).map(|n| n % 2).collect();
        let recipe = Recipe {
            epochs: 10,
            batch: 8,
            ..Recipe::default()
        };
        let learn = |seed| fit(&features, &labels, 2, &recipe, Seed(seed), &|| true).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(pool.install(|| learn(1)), learn(1));
        assert_ne!(learn(1), learn(2));
        let scores = learn(1).scores(&[1.0, 1.0]);
        assert!(scores[0] > scores[1], "{scores:?}");
        assert!(fit(&features, &labels, 2, &recipe, Seed(1), &|| false).is_none());
    }
}
