//! Mean per-class recall: the share of right answers within each class, averaged over classes.
//!
//! The mean is over the classes that have an image, of `right / images` of each; it runs from 0 to 1. It
//! is what the CLIP paper (Radford et al. 2021, appendix A) reports for Pets, Flowers, Caltech and
//! Aircraft, and equal to scikit-learn's `balanced_accuracy_score`: frequent classes do not outweigh rare
//! ones. A class that no image has plays no part, even if it was chosen.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::keyed::Keyed;
use crate::metric::{Mean, Metric, MetricInfo, Stats};
use crate::{Input, Item, Resources, Result};

/// `mean-per-class-recall`.
pub static MEAN: MeanPerClassRecall = MeanPerClassRecall;

/// The true class of an image and the one a model chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Index of the true class.
    pub truth: u32,
    /// Index of the chosen class; `None` where the model named none, which is wrong.
    pub chosen: Option<u32>,
}

impl Item for Label {}

impl Examples for Label {
    fn random(rng: &mut Rng) -> Self {
        let truth = rng.below(5) as u32;
        let chosen = match rng.below(4) {
            0 => None,
            1 => Some(rng.below(6) as u32),
            _ => Some(truth),
        };
        Self { truth, chosen }
    }

    fn perfect(rng: &mut Rng) -> Self {
        let truth = rng.below(5) as u32;
        Self {
            truth,
            chosen: Some(truth),
        }
    }

    fn empty() -> Option<Self> {
        Some(Self {
            truth: 0,
            chosen: None,
        })
    }
}

/// Mean per-class recall.
#[derive(Debug)]
pub struct MeanPerClassRecall;

/// Counts by true class.
pub type Classes = Keyed<Class>;

/// Counts of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Class {
    images: u64,
    right: u64,
}

impl Stats for Class {
    fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.right += other.right;
    }
}

impl Metric for MeanPerClassRecall {
    type Item = Label;
    type Corpus = ();
    type Stats = Classes;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "mean-per-class-recall",
            version: 1,
            input: Input::Label,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Mean over classes of the share of their images that were given their class.",
        }
    }

    fn corpus(&self, _: &[Label], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), label: &Label) -> Classes {
        let counts = Class {
            images: 1,
            right: u64::from(label.chosen == Some(label.truth)),
        };
        Classes::one(label.truth, counts)
    }

    fn value(&self, stats: &Classes) -> Option<f64> {
        let mut mean = Mean::default();
        for (_, class) in stats.iter() {
            mean.merge(&Mean::of(class.right as f64 / class.images as f64));
        }
        mean.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    fn value(labels: &[(u32, Option<u32>)]) -> Option<f64> {
        let stats: Vec<Classes> = labels
            .iter()
            .map(|&(truth, chosen)| MEAN.stats(&(), &Label { truth, chosen }))
            .collect();
        MEAN.value(&merged(&stats))
    }

    #[test]
    fn a_rare_class_weighs_as_much_as_a_frequent_one() {
        // Class 0: 3 of 4. Class 7: 0 of 1. Accuracy would be 3/5.
        let labels = [
            (0, Some(0)),
            (0, Some(0)),
            (0, Some(0)),
            (0, Some(7)),
            (7, Some(0)),
        ];
        assert_eq!(value(&labels), Some(0.375));
    }

    #[test]
    fn classes_without_an_image_play_no_part() {
        assert_eq!(value(&[(1, Some(3)), (2, Some(2))]), Some(0.5));
        assert_eq!(value(&[(1, None)]), Some(0.0));
        assert_eq!(value(&[]), None);
    }
}
