//! Which detection found which annotation, on one image in one category.
//!
//! Detections choose in the order of their scores. Each takes the annotation it overlaps most, of
//! those nobody took, if the overlap reaches the threshold; annotations that are ignored are left for
//! detections that find no other. This is done for every threshold and area range on its own: an
//! annotation outside the range is ignored, and so is a detection outside that found nothing.

use super::image::{Boxes, Truth};
use super::{Detection, Frequency};

/// Number of overlap thresholds.
pub(crate) const IOUS: usize = 10;
/// Number of area ranges.
pub(crate) const AREAS: usize = 4;
/// Areas of the ranges all, small, medium and large, in square pixels, both ends included.
const AREA_RANGES: [[f64; 2]; AREAS] =
    [[0.0, 1e10], [0.0, 1024.0], [1024.0, 9216.0], [9216.0, 1e10]];
/// All thresholds, one bit each.
pub(crate) const EVERY_IOU: u16 = (1 << IOUS) - 1;

/// The thresholds 0.50, 0.55, …, 0.95 in the arithmetic of `numpy.linspace(0.5, 0.95, 10)`.
pub(crate) const IOU_THRESHOLDS: [f64; IOUS] = {
    let step = (0.95 - 0.5) / 9.0;
    let mut thresholds = [0.95; IOUS];
    let mut i = 0;
    while i < IOUS - 1 {
        thresholds[i] = 0.5 + i as f64 * step;
        i += 1;
    }
    thresholds
};

/// Everything that was found on an image and what it was worth.
#[derive(Debug)]
pub(crate) struct ImageEvaluation {
    /// Categories that have an annotation or a detection, ascending.
    pub(crate) groups: Vec<Group>,
    /// The detections of one group after those of another, best first.
    pub(crate) outcomes: Vec<Outcome>,
}

/// One category of an image.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) category: u32,
    /// Where the protocol has frequencies.
    pub(crate) frequency: Option<Frequency>,
    /// Annotations to be found in each area range.
    pub(crate) positives: [u32; AREAS],
    /// Where its outcomes end; they start where those of the group before end.
    pub(crate) end: usize,
}

/// What became of a detection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) score: f64,
    /// In each area range.
    pub(crate) verdicts: [Verdict; AREAS],
}

/// Whether a detection is right or wrong, one bit for each threshold. One that is neither is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) right: u16,
    pub(crate) wrong: u16,
}

/// What a protocol says of a category.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CategoryRule {
    pub(crate) frequency: Option<Frequency>,
    /// Whether objects of the image may be missing from its annotations, so that a detection that
    /// found none may still be right.
    pub(crate) is_incomplete: bool,
}

impl ImageEvaluation {
    /// Matches all `boxes`, with what `rule` says of their categories on this image.
    pub(crate) fn new(boxes: &Boxes, rule: impl Fn(u32) -> CategoryRule) -> Self {
        let mut groups = Vec::new();
        let mut outcomes = Vec::new();
        for (category, truths, detections) in boxes.by_category() {
            let rule = rule(category);
            outcomes.extend(matched(truths, detections, rule.is_incomplete));
            let positives =
                AREA_RANGES.map(|range| truths.iter().filter(|t| !is_ignored(t, range)).count());
            groups.push(Group {
                category,
                frequency: rule.frequency,
                positives: positives.map(|count| count as u32),
                end: outcomes.len(),
            });
        }
        Self { groups, outcomes }
    }
}

fn is_outside(area: f64, [low, high]: [f64; 2]) -> bool {
    area < low || area > high
}

fn is_ignored(truth: &Truth, range: [f64; 2]) -> bool {
    truth.is_ignored || is_outside(truth.area, range)
}

/// What becomes of `detections`, which are of one category and best first.
fn matched(truths: &[Truth], detections: &[Detection], is_incomplete: bool) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = detections
        .iter()
        .map(|detection| {
            let area = detection.bbox.area();
            let verdicts = AREA_RANGES.map(|range| Verdict {
                right: 0,
                wrong: if is_incomplete || is_outside(area, range) {
                    0
                } else {
                    EVERY_IOU
                },
            });
            Outcome {
                score: detection.score,
                verdicts,
            }
        })
        .collect();
    let pairs = overlapping(truths, detections);
    if pairs.is_empty() {
        return outcomes;
    }
    let mut taken = vec![0u16; truths.len()];
    let mut ignored = vec![false; truths.len()];
    for (area, range) in AREA_RANGES.into_iter().enumerate() {
        for (flag, truth) in ignored.iter_mut().zip(truths) {
            *flag = is_ignored(truth, range);
        }
        taken.fill(0);
        for pairs in pairs.chunk_by(|a, b| a.detection == b.detection) {
            let verdict = &mut outcomes[pairs[0].detection].verdicts[area];
            for (iou, threshold) in IOU_THRESHOLDS.into_iter().enumerate() {
                let bit = 1 << iou;
                let best = |is_ignored: bool| {
                    let free = pairs.iter().filter(|pair| {
                        ignored[pair.truth] == is_ignored
                            && (taken[pair.truth] & bit == 0 || truths[pair.truth].is_crowd)
                    });
                    // Of equal overlaps the last in the file wins, as in pycocotools.
                    free.filter(|pair| pair.overlap >= threshold)
                        .max_by(|a, b| a.overlap.total_cmp(&b.overlap))
                };
                if let Some(pair) = best(false) {
                    taken[pair.truth] |= bit;
                    verdict.right |= bit;
                    verdict.wrong &= !bit;
                } else if let Some(pair) = best(true) {
                    taken[pair.truth] |= bit;
                    verdict.wrong &= !bit;
                }
            }
        }
    }
    outcomes
}

/// A detection and an annotation that overlap enough for the lowest threshold.
#[derive(Clone, Copy, Debug)]
struct Pair {
    detection: usize,
    truth: usize,
    overlap: f64,
}

/// All such pairs, by detection and then by annotation.
fn overlapping(truths: &[Truth], detections: &[Detection]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for (detection, found) in detections.iter().enumerate() {
        for (truth, annotated) in truths.iter().enumerate() {
            let overlap = if annotated.is_crowd {
                found.bbox.share_inside(&annotated.bbox)
            } else {
                found.bbox.iou(&annotated.bbox)
            };
            if overlap >= IOU_THRESHOLDS[0] {
                pairs.push(Pair {
                    detection,
                    truth,
                    overlap,
                });
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoundingBox;

    fn bbox(x: f64, width: f64) -> BoundingBox {
        BoundingBox::new([x, 0.0, width, 10.0]).unwrap()
    }

    fn truth(x: f64, width: f64) -> Truth {
        let bbox = bbox(x, width);
        Truth {
            category: 1,
            bbox,
            area: bbox.area(),
            is_crowd: false,
            is_ignored: false,
        }
    }

    fn crowd(x: f64, width: f64) -> Truth {
        Truth {
            is_crowd: true,
            is_ignored: true,
            ..truth(x, width)
        }
    }

    /// Best first.
    fn found(boxes: &[BoundingBox]) -> Vec<Detection> {
        let scores = (0..).map(|i| 1.0 - f64::from(i) / 100.0);
        boxes
            .iter()
            .zip(scores)
            .map(|(&bbox, score)| Detection {
                category: 1,
                bbox,
                score,
            })
            .collect()
    }

    fn verdicts(truths: &[Truth], detections: &[Detection]) -> Vec<[u16; 2]> {
        matched(truths, detections, false)
            .iter()
            .map(|outcome| [outcome.verdicts[0].right, outcome.verdicts[0].wrong])
            .collect()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the same rounding is claimed")]
    fn thresholds_are_those_of_numpy() {
        let numpy = [
            0.5,
            0.55,
            0.6,
            0.65,
            0.7,
            0.75,
            0.8,
            0.85,
            0.899_999_999_999_999_9,
            0.95,
        ];
        assert_eq!(IOU_THRESHOLDS, numpy);
    }

    #[test]
    fn an_annotation_is_found_once_by_the_surest() {
        let detections = found(&[bbox(1.0, 10.0), bbox(0.0, 10.0)]);
        // 9 / 11 reaches seven thresholds; where it does not, the second detection finds the object.
        let low = (1 << 7) - 1;
        assert_eq!(
            verdicts(&[truth(0.0, 10.0)], &detections),
            [[low, EVERY_IOU ^ low], [EVERY_IOU ^ low, low]]
        );
    }

    #[test]
    fn of_equal_overlaps_the_last_annotation_is_taken() {
        // The first detection overlaps both by 10 / 15 and takes the right one; the second needs that.
        let truths = [truth(0.0, 10.0), truth(10.0, 10.0)];
        let middle = BoundingBox::new([0.0, 0.0, 20.0, 10.0]).unwrap();
        let detections = found(&[middle, bbox(0.0, 10.0), bbox(10.0, 10.0)]);
        assert_eq!(
            verdicts(&truths, &detections),
            [[1, EVERY_IOU ^ 1], [EVERY_IOU, 0], [EVERY_IOU ^ 1, 1]]
        );
    }

    #[test]
    fn a_crowd_excuses_any_number_inside_but_yields_to_an_object() {
        let truths = [crowd(0.0, 100.0), truth(40.0, 10.0)];
        let detections = found(&[
            bbox(0.0, 10.0),
            bbox(5.0, 10.0),
            bbox(40.0, 10.0),
            bbox(40.0, 10.0),
            bbox(200.0, 10.0),
        ]);
        assert_eq!(
            verdicts(&truths, &detections),
            [[0, 0], [0, 0], [EVERY_IOU, 0], [0, 0], [0, EVERY_IOU]]
        );
    }

    #[test]
    fn an_ignored_object_is_taken_by_one_detection() {
        let ignored = Truth {
            is_ignored: true,
            ..truth(0.0, 10.0)
        };
        let detections = found(&[bbox(0.0, 10.0), bbox(0.0, 10.0)]);
        assert_eq!(verdicts(&[ignored], &detections), [[0, 0], [0, EVERY_IOU]]);
        let outcomes = matched(&[ignored], &detections, true);
        assert_eq!(outcomes[1].verdicts[0], Verdict::default());
    }

    #[test]
    fn a_size_range_ignores_what_is_outside_of_it() {
        // 1,024 square pixels are small and medium.
        let square = |x, side| BoundingBox::new([x, 0.0, side, side]).unwrap();
        let truths = [Truth {
            bbox: square(0.0, 32.0),
            area: 1024.0,
            ..truth(0.0, 1.0)
        }];
        let detections = found(&[square(0.0, 32.0), square(500.0, 100.0)]);
        let [first, second] = matched(&truths, &detections, false)[..] else {
            panic!("two detections");
        };
        let right = first.verdicts.map(|verdict| verdict.right);
        let wrong = second.verdicts.map(|verdict| verdict.wrong);
        assert_eq!(right, [EVERY_IOU, EVERY_IOU, EVERY_IOU, 0]);
        assert_eq!(wrong, [EVERY_IOU, 0, 0, EVERY_IOU]);
    }
}
