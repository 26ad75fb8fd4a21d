//! The detections of all images, best first, and what they are worth: means over thresholds and over
//! the categories that have an object.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::Frequency;
use super::curve::{Curves, bits};
use super::matching::{AREAS, EVERY_IOU, IOUS, ImageEvaluation, Outcome, Verdict};
use crate::metric::Mean;
use crate::ranking::{Entry, Ranking};
use crate::selection::{Chosen, Table};

/// Which annotations and detections count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AreaRange {
    /// All of them.
    All,
    /// Up to 32² square pixels.
    Small,
    /// 32² to 96² square pixels.
    Medium,
    /// From 96² square pixels.
    Large,
}

/// How many of the best detections of each category on each image count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    One,
    Ten,
    /// As many as the protocol allows.
    Limit,
}

const DEPTHS: usize = 3;

/// Every category with its detections on all images, sorted.
#[derive(Debug)]
pub struct DetectionTable {
    images: Vec<Arc<ImageEvaluation>>,
    categories: Vec<Category>,
    /// By category, what each image has to be found.
    found: Ranking<Found>,
    /// By area range and category, detections that are right or wrong at some threshold.
    verdicts: [Ranking<Verdict>; AREAS],
}

/// A category that some image has an annotation or a detection of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Category {
    pub(crate) id: u32,
    pub(crate) frequency: Option<Frequency>,
}

/// How many objects of a category an image has and how many of them were found.
#[derive(Clone, Copy, Debug)]
struct Found {
    positives: [u32; AREAS],
    /// By depth (of any size) and then by size (to the limit), at each threshold.
    right: [[u16; IOUS]; DEPTHS + AREAS - 1],
}

impl Found {
    fn slot(depth: Depth, area: AreaRange) -> usize {
        match area {
            AreaRange::All => depth as usize,
            _ => DEPTHS - 1 + area as usize,
        }
    }

    fn new(positives: [u32; AREAS], outcomes: &[Outcome]) -> Self {
        let mut right = [[0; IOUS]; DEPTHS + AREAS - 1];
        for (place, outcome) in outcomes.iter().enumerate() {
            let mut add = |slot: usize, area: AreaRange| {
                for iou in bits(outcome.verdicts[area as usize].right) {
                    right[slot][iou] += 1;
                }
            };
            for (depth, limit) in [
                (Depth::One, 1),
                (Depth::Ten, 10),
                (Depth::Limit, usize::MAX),
            ] {
                if place < limit {
                    add(Self::slot(depth, AreaRange::All), AreaRange::All);
                }
            }
            for area in [AreaRange::Small, AreaRange::Medium, AreaRange::Large] {
                add(Self::slot(Depth::Limit, area), area);
            }
        }
        Self { positives, right }
    }
}

impl Table for DetectionTable {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn joined(parts: &[&Self]) -> Self {
        let images = parts.iter().flat_map(|table| &table.images).cloned();
        Self::new(images.collect())
    }
}

impl DetectionTable {
    /// Sorts the detections of `images`, those of equal scores by the order of images.
    pub(crate) fn new(images: Vec<Arc<ImageEvaluation>>) -> Self {
        let mut groups: BTreeMap<u32, Vec<ImageGroup<'_>>> = BTreeMap::new();
        for (image, evaluation) in images.iter().enumerate() {
            let mut start = 0;
            for group in &evaluation.groups {
                groups.entry(group.category).or_default().push(ImageGroup {
                    image: image as u32,
                    frequency: group.frequency,
                    positives: group.positives,
                    outcomes: &evaluation.outcomes[start..group.end],
                });
                start = group.end;
            }
        }
        let categories = groups
            .iter()
            .map(|(&id, groups)| Category {
                id,
                frequency: groups.iter().find_map(|group| group.frequency),
            })
            .collect();
        let groups: Vec<Vec<ImageGroup<'_>>> = groups.into_values().collect();
        let found = groups.iter().map(|groups| found(groups)).collect();
        let sorted: Vec<[Vec<Entry<Verdict>>; AREAS]> =
            groups.par_iter().map(|groups| sorted(groups)).collect();
        let mut by_area: [Vec<Vec<Entry<Verdict>>>; AREAS] = Default::default();
        for lists in sorted {
            for (area, list) in by_area.iter_mut().zip(lists) {
                area.push(list);
            }
        }
        Self {
            found: Ranking::new(found, images.len()),
            verdicts: by_area.map(|lists| Ranking::new(lists, images.len())),
            categories,
            images,
        }
    }

    /// The categories, ascending.
    pub(crate) fn categories(&self) -> &[Category] {
        &self.categories
    }

    /// Number of objects to be found of each category that has one among `chosen` images, ascending.
    pub(crate) fn positives(&self, chosen: &Chosen, area: AreaRange) -> Vec<(usize, u64)> {
        let view = self.found.view(chosen);
        let mut counts = Vec::new();
        for category in view.lists() {
            let mut count = 0;
            view.for_each(category, |weight, found| {
                count += u64::from(weight) * u64::from(found.positives[area as usize]);
            });
            if count > 0 {
                counts.push((category, count));
            }
        }
        counts
    }

    /// The mean over categories and the thresholds of `ious` (bits) of average precision; `None` where
    /// there is nothing to be found. Only categories of `frequency`, if one is given.
    pub(crate) fn mean_average_precision(
        &self,
        chosen: &Chosen,
        area: AreaRange,
        ious: u16,
        frequency: Option<Frequency>,
    ) -> Option<f64> {
        let view = self.verdicts[area as usize].view(chosen);
        let mut mean = Mean::default();
        let mut curves = Curves::new(ious);
        for (category, positives) in self.positives(chosen, area) {
            if frequency.is_some() && self.categories[category].frequency != frequency {
                continue;
            }
            curves.read(&view, category, positives);
            for iou in bits(ious) {
                mean.sum += curves.average(iou);
                mean.count += 1;
            }
        }
        mean.value()
    }

    /// The mean over categories and thresholds of the recall of all detections to `depth`.
    pub(crate) fn mean_recall(
        &self,
        chosen: &Chosen,
        area: AreaRange,
        depth: Depth,
    ) -> Option<f64> {
        let slot = Found::slot(depth, area);
        let view = self.found.view(chosen);
        let mut mean = Mean::default();
        for (category, positives) in self.positives(chosen, area) {
            let mut right = [0u64; IOUS];
            view.for_each(category, |weight, found| {
                for (sum, &count) in right.iter_mut().zip(&found.right[slot]) {
                    *sum += u64::from(weight) * u64::from(count);
                }
            });
            for count in right {
                mean.sum += count as f64 / positives as f64;
                mean.count += 1;
            }
        }
        mean.value()
    }

    /// The curves of a category over objects of any size, of which there are `positives`.
    pub(crate) fn curves(&self, chosen: &Chosen, category: usize, positives: u64) -> Curves {
        let mut curves = Curves::new(EVERY_IOU);
        let view = self.verdicts[AreaRange::All as usize].view(chosen);
        curves.read(&view, category, positives);
        curves
    }
}

/// A category on one image.
struct ImageGroup<'a> {
    image: u32,
    frequency: Option<Frequency>,
    positives: [u32; AREAS],
    outcomes: &'a [Outcome],
}

/// What images have to be found; those that have nothing are left out.
fn found(groups: &[ImageGroup<'_>]) -> Vec<Entry<Found>> {
    groups
        .iter()
        .filter(|group| group.positives.iter().any(|&count| count > 0))
        .map(|group| Entry {
            item: group.image,
            payload: Found::new(group.positives, group.outcomes),
        })
        .collect()
}

/// The detections of a category best first, for each area range those that count there.
fn sorted(groups: &[ImageGroup<'_>]) -> [Vec<Entry<Verdict>>; AREAS] {
    let mut all: Vec<(f64, u32, &[Verdict; AREAS])> = groups
        .iter()
        .flat_map(|group| {
            group
                .outcomes
                .iter()
                .map(|outcome| (outcome.score, group.image, &outcome.verdicts))
        })
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    std::array::from_fn(|area| {
        all.iter()
            .map(|&(_, item, verdicts)| Entry {
                item,
                payload: verdicts[area],
            })
            .filter(|entry| entry.payload != Verdict::default())
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BoundingBox;
    use crate::detection::image::Boxes;
    use crate::detection::matching::CategoryRule;
    use crate::detection::{Detection, image::Truth};

    /// An image with one object and detections that find it or lie apart.
    fn image(detections: &[(f64, bool)]) -> Arc<ImageEvaluation> {
        let bbox = |x| BoundingBox::new([x, 0.0, 10.0, 10.0]).unwrap();
        let truth = Truth {
            category: 7,
            bbox: bbox(0.0),
            area: 100.0,
            is_crowd: false,
            is_ignored: false,
        };
        let detections = detections
            .iter()
            .map(|&(score, is_right)| Detection {
                category: 7,
                bbox: bbox(if is_right { 0.0 } else { 50.0 }),
                score,
            })
            .collect();
        let boxes = Boxes::new(vec![truth], detections, 100);
        Arc::new(ImageEvaluation::new(&boxes, |_| CategoryRule::default()))
    }

    fn table() -> DetectionTable {
        DetectionTable::new(vec![
            image(&[(0.9, false), (0.8, true)]),
            image(&[(0.7, true)]),
            image(&[(0.6, false)]),
        ])
    }

    #[test]
    fn precision_is_that_of_the_envelope_at_101_recalls() {
        // Wrong, right, right, wrong: precisions 1/2 and 2/3 at recalls 1/3 and 2/3, so the envelope is
        // 2/3 at the 67 recalls from 0 to 0.66 and 0 above.
        let table = table();
        let chosen = Chosen::all(3);
        let ap = table.mean_average_precision(&chosen, AreaRange::All, EVERY_IOU, None);
        assert!((ap.unwrap() - 2.0 / 3.0 * 67.0 / 101.0).abs() < 1e-12);
        let recall = table.mean_recall(&chosen, AreaRange::All, Depth::Limit);
        assert!((recall.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        let recall = table.mean_recall(&chosen, AreaRange::Small, Depth::Limit);
        assert!((recall.unwrap() - 2.0 / 3.0).abs() < 1e-12);
        let first = table.mean_recall(&chosen, AreaRange::All, Depth::One);
        assert!((first.unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(
            table.mean_average_precision(&chosen, AreaRange::Large, EVERY_IOU, None),
            None
        );
    }

    #[test]
    fn a_weight_is_as_many_copies() {
        let table = table();
        let copies = [0, 0, 1, 2, 2, 2].map(|item: usize| Arc::clone(&table.images[item]));
        let copies = DetectionTable::new(copies.into());
        for area in [AreaRange::All, AreaRange::Small] {
            let value = |table: &DetectionTable, chosen: &Chosen| {
                (
                    table.mean_average_precision(chosen, area, EVERY_IOU, None),
                    table.mean_recall(chosen, area, Depth::Limit),
                )
            };
            let expected = value(&copies, &Chosen::all(6));
            assert_eq!(value(&table, &Chosen::Weights(vec![2, 1, 3])), expected);
            let items = Chosen::Items(vec![2, 0, 2, 1, 0, 2]);
            assert_eq!(value(&table, &items), expected);
        }
    }
}
