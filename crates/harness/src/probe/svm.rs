//! The VOC07 protocol of VirTex (`scripts/clf_voc07.py`): a linear SVM of each class, one against the others.
//!
//! Features are scaled to unit length by the caller. What is minimised is that of scikit-learn 1.9's
//! `LinearSVC(C=…, class_weight={1: 2, -1: 1}, penalty="l2", loss="squared_hinge")`: half the square of the weights, the
//! constant among them, plus C times the weighted sum of the squared hinge losses. That optimum is unique; liblinear stops
//! at a tolerance of 1e-4 on its way to it, in an order that it draws anew each time, and here it is reached (golden
//! files: decisions within 1e-3 of liblinear's at `tol=1e-8`).
//!
//! C is one of 0.01, 0.1, 1 and 10: the first whose mean average precision over three folds is the highest; the folds are
//! those of `StratifiedKFold(3)`, in the order of the images. The class is then fitted on all images. As in that program,
//! "difficult" images count as negative ones in training; in the test they are left out, which is up to the metric.

use rayon::prelude::*;
use sightline_metrics::average_precision::{LabelledScores, Presence, Take, per_class};

use super::lbfgs::{Stop, minimise};
use super::logistic::Tick;
use super::{Features, Linear, parts};

/// Costs that are tried, in this order.
pub const COSTS: [f64; 4] = [0.01, 0.1, 1.0, 10.0];
/// Parts of the cross-validation.
const FOLDS: usize = 3;
/// What a positive image weighs.
const POSITIVE_WEIGHT: f64 = 2.0;
/// Steps that a fit has at most; VirTex's have as many passes over the images.
const STEPS: usize = 2000;
/// Largest gradient behind a fit, as a share of what the costs of all images sum to.
const GRADIENT: f64 = 1e-9;

/// Fits one class: `positive[n]` is whether image n shows it.
///
/// # Panics
///
/// If there are not as many labels as images.
pub fn fit(features: &Features, positive: &[bool], c: f64) -> Linear {
    assert_eq!(features.len(), positive.len(), "an image without a label");
    let width = features.width();
    let stop = Stop {
        gradient: GRADIENT * (c * features.len() as f64).max(1.0),
        steps: STEPS,
    };
    let found = minimise(vec![0.0; width + 1], stop, |at| {
        let (weights, bias) = at.split_at(width);
        let (loss, mut gradient) = parts::sum(features, at.len(), |block, images, sums| {
            let mut value = 0.0;
            for (image, number) in images.chunks(width).zip(block) {
                let (sign, cost) = if positive[number] {
                    (1.0, c * POSITIVE_WEIGHT)
                } else {
                    (-1.0, c)
                };
                let lack = 1.0 - sign * (parts::dot(weights, image) + bias[0]);
                if lack > 0.0 {
                    value += cost * lack * lack;
                    let slope = -2.0 * cost * lack * sign;
                    parts::add_scaled(&mut sums[..width], slope, image);
                    sums[width] += slope;
                }
            }
            value
        });
        parts::add_scaled(&mut gradient, 1.0, at);
        (loss + parts::dot(at, at) / 2.0, gradient)
    });
    Linear::new(found, 1, width)
}

/// A class with the cost that was chosen for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// Of all training images.
    pub fitted: Linear,
    /// C.
    pub cost: f64,
    /// Its mean average precision over the folds.
    pub average_precision: f64,
}

/// Chooses the cost of one class and fits it. `None` where `tick` says that there is no time left.
pub fn fit_with_choice(features: &Features, positive: &[bool], tick: &Tick<'_>) -> Option<Chosen> {
    let folds = stratified_folds(positive, FOLDS);
    let mut best = (0.0, COSTS[0]);
    for cost in COSTS {
        let mut sum = 0.0;
        for fold in 0..FOLDS {
            if !tick() {
                return None;
            }
            sum += precision_of_fold(features, positive, &folds, fold, cost);
        }
        let mean = sum / FOLDS as f64;
        if mean > best.0 {
            best = (mean, cost);
        }
    }
    let (average_precision, cost) = best;
    Some(Chosen {
        fitted: fit(features, positive, cost),
        cost,
        average_precision,
    })
}

/// Fits every class of `presence`, `[N][C]`, with its own cost.
pub fn fit_all(
    features: &Features,
    presence: &[Vec<Presence>],
    tick: &Tick<'_>,
) -> Option<Vec<Chosen>> {
    let classes = presence.iter().map(Vec::len).min().unwrap_or(0);
    let of_class = |class: usize| {
        let is_positive = |labels: &Vec<Presence>| labels[class] == Presence::Positive;
        let positive: Vec<bool> = presence.iter().map(is_positive).collect();
        fit_with_choice(features, &positive, tick)
    };
    (0..classes).into_par_iter().map(of_class).collect()
}

/// The average precision on one fold of what was fitted on the others; 0 for a fold without a positive image, as in
/// scikit-learn.
fn precision_of_fold(
    features: &Features,
    positive: &[bool],
    folds: &[usize],
    fold: usize,
    cost: f64,
) -> f64 {
    let numbers = |inside: bool| -> Vec<usize> {
        let all = 0..positive.len();
        all.filter(|&n| (folds[n] == fold) == inside).collect()
    };
    let (training, test) = (numbers(false), numbers(true));
    let labels: Vec<bool> = training.iter().map(|&n| positive[n]).collect();
    let fitted = fit(&features.select(&training), &labels, cost);
    let items: Option<Vec<LabelledScores>> = test
        .iter()
        .map(|&n| {
            let label = if positive[n] {
                Presence::Positive
            } else {
                Presence::Negative
            };
            LabelledScores::new(fitted.scores(features.row(n)), vec![label]).ok()
        })
        .collect();
    let values = items.and_then(|items| per_class(&items, Take::Area).ok());
    values.and_then(|values| *values.first()?).unwrap_or(0.0)
}

/// The fold of each image: scikit-learn's `StratifiedKFold(folds)`, not shuffled.
pub fn stratified_folds(positive: &[bool], folds: usize) -> Vec<usize> {
    // Classes are numbered in the order in which they first occur.
    let first = positive.first().copied().unwrap_or(false);
    let class = |is_positive: bool| usize::from(is_positive != first);
    let of_first = positive.iter().filter(|&&p| p == first).count();
    // How many of each class a fold takes: those at every `folds`-th place of the labels in order.
    let mut allocation = vec![[0usize; 2]; folds];
    for place in 0..positive.len() {
        allocation[place % folds][usize::from(place >= of_first)] += 1;
    }
    let mut next = [0usize; 2];
    let mut left = [allocation[0][0], allocation[0][1]];
    positive
        .iter()
        .map(|&is_positive| {
            let class = class(is_positive);
            while left[class] == 0 {
                next[class] += 1;
                left[class] = allocation[next[class]][class];
            }
            left[class] -= 1;
            next[class]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_those_of_scikit_learn() {
        // StratifiedKFold(3).split(y) for y = [1, 0, 0, 1, 0, 0, 0, 1, 0, 0].
        let positive = [1, 0, 0, 1, 0, 0, 0, 1, 0, 0].map(|p| p == 1);
        assert_eq!(
            stratified_folds(&positive, 3),
            [0, 0, 0, 1, 0, 1, 1, 2, 2, 2]
        );
        assert_eq!(stratified_folds(&[], 3), Vec::<usize>::new());
    }

    #[test]
    fn a_class_that_can_be_told_is_told() {
        let values = vec![1.0, 0.0, 0.9, 0.1, 0.0, 1.0, 0.1, 0.9, 1.0, 0.1, 0.2, 1.0];
        let features = Features::new(values, 2).unwrap().unit_length();
        let positive = [true, true, false, false, true, false];
        let chosen = fit_with_choice(&features, &positive, &|| true).unwrap();
        assert_eq!((chosen.cost, chosen.average_precision), (0.01, 1.0));
        let strong = fit(&features, &positive, 10.0);
        for (number, is_positive) in positive.into_iter().enumerate() {
            assert_eq!(strong.scores(features.row(number))[0] > 0.0, is_positive);
        }
        assert_eq!(fit_with_choice(&features, &positive, &|| false), None);
    }

    #[test]
    fn a_class_that_no_image_shows_is_found_nowhere() {
        let features = Features::new(vec![1.0, 2.0, 3.0], 1).unwrap();
        let fitted = fit(&features, &[false; 3], 1.0);
        assert!(fitted.scores(&[2.0])[0] < 0.0);
    }
}
