//! What is on an image, and what a model found there.

use std::sync::Arc;

use crate::boxes::finite;
use crate::selection::Shared;
use crate::{BoundingBox, Error, Item, Result};

/// Detections of one category on one image that count, best first, in the COCO protocol.
const LIMIT: usize = 100;

/// An annotated object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroundTruth {
    /// Its category.
    pub category: u32,
    /// Where it is.
    pub bbox: BoundingBox,
    /// The area by which it is small, medium or large, in square pixels: in COCO's files that of the mask,
    /// not of the box.
    pub area: f64,
    /// Whether it is a group of objects that were not annotated one by one (`iscrowd`). In the COCO protocol
    /// detections inside are neither right nor wrong; the LVIS protocol has no crowds.
    pub is_crowd: bool,
    /// Whether it need not be found (`ignore`). In the LVIS protocol a detection of it is neither right
    /// nor wrong; pycocotools overwrites the field with `iscrowd`.
    pub is_ignored: bool,
}

/// A detected object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Its category.
    pub category: u32,
    /// Where it is. Its area says whether it is small, medium or large.
    pub bbox: BoundingBox,
    /// How sure the model is; more is surer.
    pub score: f64,
}

/// One image of the COCO protocol. Clones share their content.
#[derive(Clone, Debug)]
pub struct DetectionItem(Arc<Boxes>);

impl DetectionItem {
    /// The annotations and detections of an image, in the order of their files: of detections with the
    /// same score the first is taken first. An error for a score that is not a number and an area that
    /// is not finite.
    ///
    /// Like pycocotools this takes the 100 best detections of each category and ignores annotations that
    /// are crowds and no others. Unlike there, an annotation needs no id, so that none can have the id 0,
    /// of which pycocotools counts the detection as wrong.
    pub fn new(truths: Vec<GroundTruth>, detections: Vec<Detection>) -> Result<Self> {
        let truths = truths
            .into_iter()
            .map(|truth| {
                Ok(Truth {
                    category: truth.category,
                    bbox: truth.bbox,
                    area: finite("area", truth.area)?,
                    is_crowd: truth.is_crowd,
                    is_ignored: truth.is_crowd,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self(Arc::new(Boxes::new(
            truths,
            checked(detections)?,
            LIMIT,
        ))))
    }

    pub(crate) fn boxes(&self) -> &Boxes {
        &self.0
    }
}

impl Item for DetectionItem {}

impl Shared for DetectionItem {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// `detections` with comparable scores: none that is not a number, and no negative zero.
pub(crate) fn checked(mut detections: Vec<Detection>) -> Result<Vec<Detection>> {
    for (index, detection) in detections.iter_mut().enumerate() {
        if detection.score.is_nan() {
            return Err(Error::ScoreNotANumber { index });
        }
        // Equal for the reference programs, which compare numbers; not for `total_cmp`.
        detection.score += 0.0;
    }
    Ok(detections)
}

/// An annotated object and what a protocol makes of its flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) category: u32,
    pub(crate) bbox: BoundingBox,
    pub(crate) area: f64,
    /// May be found several times, by any detection inside.
    pub(crate) is_crowd: bool,
    /// Need not be found; a detection of it is neither right nor wrong.
    pub(crate) is_ignored: bool,
}

/// The annotations and detections of an image by category, the latter best first.
#[derive(Debug)]
pub(crate) struct Boxes {
    truths: Vec<Truth>,
    detections: Vec<Detection>,
    limit: usize,
}

impl Boxes {
    /// Sorts both; at most `limit` detections of a category count.
    pub(crate) fn new(
        mut truths: Vec<Truth>,
        mut detections: Vec<Detection>,
        limit: usize,
    ) -> Self {
        truths.sort_by_key(|truth| truth.category);
        detections.sort_by(|a, b| {
            (a.category.cmp(&b.category)).then_with(|| b.score.total_cmp(&a.score))
        });
        Self {
            truths,
            detections,
            limit,
        }
    }

    /// Each category that has an annotation or a detection, ascending, with both; of detections the
    /// best ones.
    pub(crate) fn by_category(&self) -> impl Iterator<Item = (u32, &[Truth], &[Detection])> {
        let mut truths = self.truths.as_slice();
        let mut detections = self.detections.as_slice();
        std::iter::from_fn(move || {
            let category = match (truths.first(), detections.first()) {
                (Some(truth), Some(detection)) => truth.category.min(detection.category),
                (Some(truth), None) => truth.category,
                (None, Some(detection)) => detection.category,
                (None, None) => return None,
            };
            let (own_truths, rest) =
                truths.split_at(truths.partition_point(|t| t.category == category));
            truths = rest;
            let (own, rest) =
                detections.split_at(detections.partition_point(|d| d.category == category));
            detections = rest;
            Some((category, own_truths, &own[..own.len().min(self.limit)]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(category: u32, score: f64, x: f64) -> Detection {
        Detection {
            category,
            bbox: BoundingBox::new([x, 0.0, 1.0, 1.0]).unwrap(),
            score,
        }
    }

    #[test]
    fn detections_are_sorted_by_category_and_score_first_in_file_first() {
        let detections = vec![
            detection(2, 0.0, 0.0),
            detection(1, 0.5, 1.0),
            detection(2, -0.0, 2.0),
            detection(1, 0.9, 3.0),
            detection(1, 0.5, 4.0),
        ];
        let item = DetectionItem::new(Vec::new(), detections).unwrap();
        let found: Vec<(u32, Vec<f64>)> = item
            .boxes()
            .by_category()
            .map(|(category, _, own)| (category, own.iter().map(|d| d.bbox.xywh()[0]).collect()))
            .collect();
        assert_eq!(found, [(1, vec![3.0, 1.0, 4.0]), (2, vec![0.0, 2.0])]);
    }

    #[test]
    fn scores_and_areas_that_are_no_numbers_are_refused() {
        let detections = vec![detection(1, 0.5, 0.0), detection(1, f64::NAN, 0.0)];
        let error = DetectionItem::new(Vec::new(), detections).unwrap_err();
        assert_eq!(error.to_string(), "score 1 is not a number");
        let truth = GroundTruth {
            category: 1,
            bbox: detection(1, 0.5, 0.0).bbox,
            area: f64::INFINITY,
            is_crowd: false,
            is_ignored: false,
        };
        let error = DetectionItem::new(vec![truth], Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "area is inf, expected a finite number");
    }
}
