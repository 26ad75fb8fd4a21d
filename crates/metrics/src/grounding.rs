//! Grounding of phrases: whether the box, or the point, that a model gives for a phrase is where the
//! phrase's object is.
//!
//! Recall at k is the share of phrases for which one of the k best boxes overlaps the truth by at least
//! one half (intersection over union, coordinates continuous). A phrase of Flickr30k Entities may refer
//! to several boxes, and two protocols are in use:
//!
//! * `any-box`: overlapping any one of them is right;
//! * `merged-boxes`: only the smallest box around all of them is.
//!
//! Phrases that refer to no box are not counted in either; a phrase for which the model gives nothing is
//! counted as missed.

use sightline_core::seed::Rng;

use crate::boxes::finite;
use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::{BoundingBox, Error, Input, Item, Resources, Result};

/// `grounding-recall@1.any-box`.
pub static AT_1_ANY_BOX: GroundingRecall = GroundingRecall {
    k: 1,
    truth: Truth::AnyBox,
    id: "grounding-recall@1.any-box",
    description: "Share of phrases whose best box overlaps one of theirs by half.",
};

/// `grounding-recall@5.any-box`.
pub static AT_5_ANY_BOX: GroundingRecall = GroundingRecall {
    k: 5,
    truth: Truth::AnyBox,
    id: "grounding-recall@5.any-box",
    description: "Share of phrases with one of the five best boxes overlapping one of theirs by half.",
};

/// `grounding-recall@10.any-box`.
pub static AT_10_ANY_BOX: GroundingRecall = GroundingRecall {
    k: 10,
    truth: Truth::AnyBox,
    id: "grounding-recall@10.any-box",
    description: "Share of phrases with one of the ten best boxes overlapping one of theirs by half.",
};

/// `grounding-recall@1.merged-boxes`.
pub static AT_1_MERGED_BOXES: GroundingRecall = GroundingRecall {
    k: 1,
    truth: Truth::MergedBoxes,
    id: "grounding-recall@1.merged-boxes",
    description: "Share of phrases whose best box overlaps the box around all of theirs by half.",
};

/// `grounding-recall@5.merged-boxes`.
pub static AT_5_MERGED_BOXES: GroundingRecall = GroundingRecall {
    k: 5,
    truth: Truth::MergedBoxes,
    id: "grounding-recall@5.merged-boxes",
    description: "Share of phrases with one of the five best boxes overlapping the box around all of theirs by half.",
};

/// `grounding-recall@10.merged-boxes`.
pub static AT_10_MERGED_BOXES: GroundingRecall = GroundingRecall {
    k: 10,
    truth: Truth::MergedBoxes,
    id: "grounding-recall@10.merged-boxes",
    description: "Share of phrases with one of the ten best boxes overlapping the box around all of theirs by half.",
};

/// `pointing-accuracy`.
pub static POINTING: PointingAccuracy = PointingAccuracy;

/// The overlap from which a box is right.
const OVERLAP: f64 = 0.5;

/// Recall at k under one protocol.
#[derive(Debug)]
pub struct GroundingRecall {
    k: usize,
    truth: Truth,
    id: &'static str,
    description: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Truth {
    AnyBox,
    MergedBoxes,
}

/// A phrase with the boxes it refers to and those that a model gave for it.
#[derive(Clone, Debug, PartialEq)]
pub struct GroundingItem {
    truths: Vec<BoundingBox>,
    merged: BoundingBox,
    candidates: Vec<BoundingBox>,
}

impl GroundingItem {
    /// The boxes a phrase refers to, and a model's, best first, of which there may be none. An error if
    /// the phrase refers to none.
    pub fn new(truths: Vec<BoundingBox>, candidates: Vec<BoundingBox>) -> Result<Self> {
        let merged = BoundingBox::around(&truths).ok_or(Error::NoBox)?;
        Ok(Self {
            truths,
            merged,
            candidates,
        })
    }
}

impl Item for GroundingItem {}

impl Metric for GroundingRecall {
    type Item = GroundingItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Grounding,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[GroundingItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &GroundingItem) -> Mean {
        let truths = match self.truth {
            Truth::AnyBox => item.truths.as_slice(),
            Truth::MergedBoxes => std::slice::from_ref(&item.merged),
        };
        let is_found = item
            .candidates
            .iter()
            .take(self.k)
            .any(|candidate| truths.iter().any(|truth| candidate.iou(truth) >= OVERLAP));
        Mean::of(f64::from(u8::from(is_found)))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

/// The share of phrases for which the point a model gave is inside a box the phrase refers to, or on
/// its edge. No distance around the box is allowed.
#[derive(Debug)]
pub struct PointingAccuracy;

/// A phrase with the boxes it refers to and the point that a model gave for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PointingItem {
    truths: Vec<BoundingBox>,
    point: Option<[f64; 2]>,
}

impl PointingItem {
    /// The boxes a phrase refers to and a model's point `[x, y]`, if it gave one; of a model that gives
    /// boxes, for example the [centre](BoundingBox::centre) of the best. An error if the phrase refers to
    /// no box or the point is not finite.
    pub fn new(truths: Vec<BoundingBox>, point: Option<[f64; 2]>) -> Result<Self> {
        if truths.is_empty() {
            return Err(Error::NoBox);
        }
        if let Some([x, y]) = point {
            finite("x", x)?;
            finite("y", y)?;
        }
        Ok(Self { truths, point })
    }
}

impl Item for PointingItem {}

impl Metric for PointingAccuracy {
    type Item = PointingItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "pointing-accuracy",
            version: 1,
            input: Input::Pointing,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Share of phrases whose point is inside one of their boxes.",
        }
    }

    fn corpus(&self, _: &[PointingItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &PointingItem) -> Mean {
        let is_inside = item
            .point
            .is_some_and(|point| item.truths.iter().any(|truth| truth.contains(point)));
        Mean::of(f64::from(u8::from(is_inside)))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

fn random_box(rng: &mut Rng) -> BoundingBox {
    let corner = [rng.between(0.0, 60.0), rng.between(0.0, 60.0)];
    let sides = [rng.between(20.0, 60.0), rng.between(20.0, 60.0)];
    BoundingBox::new([corner[0], corner[1], sides[0], sides[1]])
        .expect("examples are made of finite numbers")
}

fn random_boxes(rng: &mut Rng, least: u64, most: u64) -> Vec<BoundingBox> {
    let count = least + rng.below(most - least + 1);
    (0..count).map(|_| random_box(rng)).collect()
}

impl Examples for GroundingItem {
    fn random(rng: &mut Rng) -> Self {
        let truths = random_boxes(rng, 1, 3);
        Self::new(truths, random_boxes(rng, 0, 12)).expect("at least one box")
    }

    fn perfect(rng: &mut Rng) -> Self {
        let truth = random_box(rng);
        Self::new(vec![truth, truth], vec![truth]).expect("two boxes")
    }

    fn empty() -> Option<Self> {
        let truth = BoundingBox::new([0.0, 0.0, 10.0, 10.0]).ok()?;
        Self::new(vec![truth], Vec::new()).ok()
    }
}

impl Examples for PointingItem {
    fn random(rng: &mut Rng) -> Self {
        let truths = random_boxes(rng, 1, 3);
        let point = random_box(rng).centre();
        Self::new(truths, (rng.below(8) > 0).then_some(point)).expect("at least one box")
    }

    fn perfect(rng: &mut Rng) -> Self {
        let truth = random_box(rng);
        Self::new(vec![truth], Some(truth.centre())).expect("one box")
    }

    fn empty() -> Option<Self> {
        let truth = BoundingBox::new([0.0, 0.0, 10.0, 10.0]).ok()?;
        Self::new(vec![truth], None).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(xywh: [f64; 4]) -> BoundingBox {
        BoundingBox::new(xywh).unwrap()
    }

    #[test]
    fn two_boxes_are_found_one_by_one_or_together() {
        let left = bbox([0.0, 0.0, 10.0, 10.0]);
        let right = bbox([20.0, 0.0, 10.0, 10.0]);
        let both = bbox([0.0, 0.0, 30.0, 10.0]);
        let found = |metric: &GroundingRecall, candidates: &[BoundingBox]| {
            let item = GroundingItem::new(vec![left, right], candidates.to_vec()).unwrap();
            metric.value(&metric.stats(&(), &item))
        };
        assert_eq!(found(&AT_1_ANY_BOX, &[right]), Some(1.0));
        assert_eq!(found(&AT_1_MERGED_BOXES, &[right]), Some(0.0));
        assert_eq!(found(&AT_1_ANY_BOX, &[both]), Some(0.0));
        assert_eq!(found(&AT_1_MERGED_BOXES, &[both]), Some(1.0));
        assert_eq!(found(&AT_1_MERGED_BOXES, &[right, both]), Some(0.0));
        assert_eq!(found(&AT_5_MERGED_BOXES, &[right, both]), Some(1.0));
        // Half of the truth is an overlap of exactly one half, and enough.
        assert_eq!(
            found(&AT_1_ANY_BOX, &[bbox([0.0, 0.0, 10.0, 5.0])]),
            Some(1.0)
        );
        assert_eq!(
            found(&AT_1_ANY_BOX, &[bbox([0.0, 0.0, 10.0, 4.9])]),
            Some(0.0)
        );
        assert_eq!(found(&AT_10_ANY_BOX, &[]), Some(0.0));
    }

    #[test]
    fn points_are_inside_or_on_the_edge() {
        let truths = vec![bbox([0.0, 0.0, 10.0, 10.0]), bbox([20.0, 0.0, 10.0, 10.0])];
        let hit = |point| {
            let item = PointingItem::new(truths.clone(), point).unwrap();
            POINTING.value(&POINTING.stats(&(), &item))
        };
        assert_eq!(hit(Some([30.0, 10.0])), Some(1.0));
        assert_eq!(hit(Some([15.0, 5.0])), Some(0.0));
        assert_eq!(hit(None), Some(0.0));
    }

    #[test]
    fn phrases_without_a_box_and_points_nowhere_are_refused() {
        let error = GroundingItem::new(Vec::new(), Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a phrase without a box");
        let truths = vec![bbox([0.0, 0.0, 1.0, 1.0])];
        let error = PointingItem::new(truths, Some([f64::NAN, 0.0])).unwrap_err();
        assert_eq!(error.to_string(), "x is NaN, expected a finite number");
    }
}
