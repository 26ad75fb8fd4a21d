//! Multinomial logistic regression with an L2 penalty, to its optimum.
//!
//! What is minimised is that of scikit-learn 1.9's `LogisticRegression(C=…)` with the solver `lbfgs`: C times the sum over
//! images of the cross entropy, plus half the square of the weights; the constants are not penalised, and of two classes
//! there is one row of weights with a sigmoid. That optimum is unique, and both programs come as near to it as they are
//! told (golden files: weights within 1e-4, probabilities within 1e-5 of `tol=1e-10`).
//!
//! The strength is chosen as for CLIP (Radford et al. 2021, appendix A.3): C is one of 97 from 1e-6 to 1e6, eight to a
//! factor of ten, whose accuracy on a validation part is the highest, the smaller of equal ones. Not all are tried: every
//! sixteenth, and then twice as densely around the best one, until its neighbours were tried. The best one is then used
//! for all training images.

use sightline_core::{SampleKey, Seed};

use super::lbfgs::{Stop, minimise};
use super::{Features, Linear, parts};

/// Largest C as a power of ten; the smallest is its inverse.
const DECADES: i32 = 6;
/// Values of C within a factor of ten.
const PER_DECADE: i32 = 8;
/// Distance of the values that are tried first.
const COARSE: i32 = 16;
/// Part of the training images on which strengths are compared: one in so many.
const VALIDATION: usize = 5;
/// Steps that a fit has at most, as CLIP's have.
const STEPS: usize = 1000;
/// Gradient of the mean loss below which a fit has ended.
const GRADIENT: f64 = 1e-8;

/// Fits `classes` classes, `labels[n]` being that of image n, with the inverse strength `c` of the penalty.
///
/// # Panics
///
/// If there are not as many labels as images.
pub fn fit(features: &Features, labels: &[u32], classes: usize, c: f64) -> Linear {
    let width = features.width();
    // Two classes have one sigmoid, as in scikit-learn: two rows would halve the penalty.
    let rows = if classes == 2 { 1 } else { classes };
    let start = vec![0.0; rows * (width + 1)];
    let found = fit_from(start, features, labels, rows, c);
    if rows == classes {
        return Linear::new(found, rows, width);
    }
    // Scores of both classes whose softmax is that sigmoid.
    let (weights, bias) = found.split_at(width);
    let zeros = vec![0.0; width];
    Linear::new([&zeros, weights, &[0.0], bias].concat(), 2, width)
}

fn fit_from(start: Vec<f64>, features: &Features, labels: &[u32], rows: usize, c: f64) -> Vec<f64> {
    assert_eq!(features.len(), labels.len(), "an image without a label");
    let (width, count) = (features.width(), features.len().max(1) as f64);
    let penalty = 1.0 / (c * count);
    let stop = Stop {
        gradient: GRADIENT,
        steps: STEPS,
    };
    minimise(start, stop, |at| {
        let (weights, bias) = at.split_at(rows * width);
        let (sum, mut gradient) = parts::sum(features, at.len(), |block, images, sums| {
            let (of_weights, of_bias) = sums.split_at_mut(rows * width);
            let mut value = 0.0;
            for (image, number) in images.chunks(width).zip(block) {
                let logits = weights.chunks(width).zip(bias);
                let mut logits: Vec<f64> = logits
                    .map(|(row, bias)| parts::dot(row, image) + bias)
                    .collect();
                value += errors(&mut logits, labels[number]);
                for (row, &error) in of_weights.chunks_mut(width).zip(&logits) {
                    parts::add_scaled(row, error, image);
                }
                parts::add_scaled(of_bias, 1.0, &logits);
            }
            value
        });
        for value in &mut gradient {
            *value /= count;
        }
        parts::add_scaled(&mut gradient[..rows * width], penalty, weights);
        let square = parts::dot(weights, weights);
        (sum / count + penalty / 2.0 * square, gradient)
    })
}

/// The cross entropy of an image's logits, which become its derivatives; one logit is that of class 1 against class 0.
pub(super) fn errors(logits: &mut [f64], label: u32) -> f64 {
    if let [logit] = logits {
        let (z, is_one) = (*logit, label == 1);
        let probability = 1.0 / (1.0 + (-z).exp());
        *logit = probability - f64::from(u8::from(is_one));
        // log(1 + exp(z)) without overflow.
        return z.max(0.0) + (-z.abs()).exp().ln_1p() - if is_one { z } else { 0.0 };
    }
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = logits.get(label as usize).copied().unwrap_or(most);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = (*logit - most).exp();
        sum += *logit;
    }
    for logit in logits.iter_mut() {
        *logit /= sum;
    }
    if let Some(logit) = logits.get_mut(label as usize) {
        *logit -= 1.0;
    }
    sum.ln() + most - own
}

/// A fit whose strength was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Of all training images.
    pub fitted: Linear,
    /// C.
    pub c: f64,
    /// Its accuracy on the validation part.
    pub validation_accuracy: f64,
}

/// Chooses C on a validation part of the training images, one in five, and fits all of them with it. Which images are
/// the part depends on their keys and `seed` alone. [`tick`](Tick) is asked before each fit whether to go on; `None`
/// where it says no.
pub fn fit_with_choice(
    features: &Features,
    labels: &[u32],
    classes: usize,
    keys: &[SampleKey],
    seed: Seed,
    tick: &Tick<'_>,
) -> Option<Chosen> {
    let (training, validation) = split(keys, seed);
    let of = |numbers: &[usize]| -> (Features, Vec<u32>) {
        let labels = numbers.iter().map(|&number| labels[number]).collect();
        (features.select(numbers), labels)
    };
    let ((training, training_labels), (validation, validation_labels)) =
        (of(&training), of(&validation));
    let last = DECADES * PER_DECADE;
    let mut tried: Vec<(i32, f64)> = Vec::new();
    let mut wanted: Vec<i32> = (-last..=last).step_by(COARSE as usize).collect();
    let mut distance = COARSE;
    loop {
        for place in wanted {
            if !tick() {
                return None;
            }
            let fitted = fit(&training, &training_labels, classes, strength(place));
            tried.push((place, accuracy(&fitted, &validation, &validation_labels)));
        }
        let best = best(&tried)?;
        distance /= 2;
        if distance == 0 {
            let (place, validation_accuracy) = best;
            let c = strength(place);
            return tick().then(|| Chosen {
                fitted: fit(features, labels, classes, c),
                c,
                validation_accuracy,
            });
        }
        let near = [best.0 - distance, best.0 + distance];
        wanted = near
            .into_iter()
            .filter(|place| place.abs() <= last)
            .collect();
    }
}

/// Whether long work is to go on.
pub type Tick<'a> = dyn Fn() -> bool + Sync + 'a;

fn strength(place: i32) -> f64 {
    10f64.powf(f64::from(place) / f64::from(PER_DECADE))
}

/// The highest accuracy, of equal ones the smallest C.
fn best(tried: &[(i32, f64)]) -> Option<(i32, f64)> {
    tried.iter().copied().reduce(|best, other| {
        let is_better = other.1 > best.1 || (other.1 >= best.1 && other.0 < best.0);
        if is_better { other } else { best }
    })
}

/// Numbers of the images for training and for validation, each in order.
fn split(keys: &[SampleKey], seed: Seed) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<(u64, usize)> = keys
        .iter()
        .map(|key| {
            seed.child("validation", 0)
                .child(key.as_str(), 0)
                .rng()
                .bits()
        })
        .zip(0..)
        .collect();
    order.sort_unstable();
    let (validation, training) = order.split_at(keys.len() / VALIDATION);
    let numbers = |part: &[(u64, usize)]| {
        let mut numbers: Vec<usize> = part.iter().map(|(_, number)| *number).collect();
        numbers.sort_unstable();
        numbers
    };
    (numbers(training), numbers(validation))
}

/// The share of images whose best class, the first of equal ones, is their own.
fn accuracy(fitted: &Linear, features: &Features, labels: &[u32]) -> f64 {
    let is_right = |&(number, label): &(usize, &u32)| {
        let scores = fitted.scores(features.row(number));
        let mut best = 0;
        for (class, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = class;
            }
        }
        best == *label as usize
    };
    let right = labels.iter().enumerate().filter(is_right).count();
    right as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of three classes around three corners.
    fn corners(count: usize) -> (Features, Vec<u32>, Vec<SampleKey>) {
        let mut rng = Seed(5).rng();
        let mut values = Vec::new();
        let labels: Vec<u32> = (0..count as u32).map(|n| n % 3).collect();
        for &label in &labels {
            for axis in 0..3 {
                let corner = if axis == label { 1.0 } else { 0.0 };
                values.push((corner + 0.4 * rng.normal()) as f32);
            }
        }
        let keys = (0..count).map(|n| SampleKey::new(format!("{n}")).unwrap());
        (Features::new(values, 3).unwrap(), labels, keys.collect())
    }

    #[test]
    fn the_gradient_vanishes_at_the_fit_and_the_constants_are_free() {
        let (features, labels, _) = corners(60);
        let fitted = fit(&features, &labels, 3, 1.0);
        // At the optimum the mean probability of each class is its share.
        let mut sums = [0.0; 3];
        for (number, &label) in labels.iter().enumerate() {
            let mut logits = fitted.scores(features.row(number));
            errors(&mut logits, label);
            for (sum, error) in sums.iter_mut().zip(&logits) {
                *sum += error;
            }
        }
        for sum in sums {
            assert!(sum.abs() < 1e-5, "{sums:?}");
        }
    }

    #[test]
    fn a_choice_depends_on_keys_and_not_on_threads() {
        let (features, labels, keys) = corners(90);
        let choose = || fit_with_choice(&features, &labels, 3, &keys, Seed(1), &|| true).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let (one, many) = (pool.install(choose), choose());
        assert_eq!(one, many);
        assert!(one.validation_accuracy > 0.7, "{}", one.validation_accuracy);
        let (training, validation) = split(&keys, Seed(1));
        assert_eq!((training.len(), validation.len()), (72, 18));
        assert_ne!(validation, split(&keys, Seed(2)).1);
        assert_eq!(
            fit_with_choice(&features, &labels, 3, &keys, Seed(1), &|| false),
            None
        );
    }

    #[test]
    fn the_best_of_equal_strengths_is_the_smallest() {
        assert_eq!(best(&[(3, 0.5), (-2, 0.5), (0, 0.4)]), Some((-2, 0.5)));
        assert_eq!(best(&[]), None);
        assert!((strength(-48) - 1e-6).abs() < 1e-18);
    }
}
