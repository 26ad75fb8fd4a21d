//! Mean average precision of classifiers that give an image several labels.
//!
//! For each class, images are ranked by their scores; precision and recall are taken after each distinct
//! score, so that images of the same score enter together and their order does not matter. `map` adds
//! precision times the rise in recall, `sklearn.metrics.average_precision_score` (scikit-learn 1.9), as the
//! VOC07 SVM probe of VirTex does. `voc07-map-11` is the mean of the highest precision at or above each
//! of the recalls 0.0, 0.1, …, 1.0, as in the PASCAL VOC challenge of 2007; its program differs where
//! scores are equal, since it lets images enter one by one in the order of the file.
//!
//! The value is the mean over the classes that have a positive image. A label may be ignored for an image
//! ("difficult" in PASCAL VOC); the image is then left out for that class.

use std::sync::Arc;

use rayon::prelude::*;
use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo, Stats};
use crate::ranking::{Entry, Ranking, View};
use crate::selection::{self, Chosen, Indexed, Selection, Shared, Table};
use crate::{Error, Input, Item, Resources, Result};

/// `map`: the area under the curve, not interpolated.
pub static MAP: AveragePrecision = AveragePrecision {
    id: "map",
    description: "Mean over classes of average precision, the sum of precision times rise in recall.",
    take: Take::Area,
};

/// `voc07-map-11`: eleven points of the interpolated curve.
pub static VOC07_MAP_11: AveragePrecision = AveragePrecision {
    id: "voc07-map-11",
    description: "Mean over classes of interpolated precision at the recalls 0.0, 0.1 to 1.0.",
    take: Take::ElevenPoints,
};

/// Recalls of the eleven points.
const POINTS: usize = 11;

/// Mean average precision.
#[derive(Debug)]
pub struct AveragePrecision {
    id: &'static str,
    description: &'static str,
    take: Take,
}

/// What is taken of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The area: the sum of precision times rise in recall.
    Area,
    /// The mean of the interpolated precision at eleven recalls.
    ElevenPoints,
}

/// Whether a class is present in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// It has.
    Positive,
    /// It has not.
    Negative,
    /// It is not said, or does not count.
    Ignored,
}

/// The scores and labels of one image, one of each for every class. Clones share their content.
#[derive(Clone, Debug)]
pub struct LabelledScores(Arc<ScoresAndLabels>);

#[derive(Debug)]
struct ScoresAndLabels {
    scores: Vec<f64>,
    labels: Vec<Presence>,
}

impl LabelledScores {
    /// An image's `scores` `[C]`, more being surer, and its `labels` `[C]`. An error if there are not as
    /// many of both or if a score is not a number.
    pub fn new(mut scores: Vec<f64>, labels: Vec<Presence>) -> Result<Self> {
        if scores.len() != labels.len() {
            return Err(Error::Labels {
                scores: scores.len(),
                labels: labels.len(),
            });
        }
        for (index, score) in scores.iter_mut().enumerate() {
            if score.is_nan() {
                return Err(Error::ScoreNotANumber { index });
            }
            // No negative zero, which would not equal zero when sorted.
            *score += 0.0;
        }
        Ok(Self(Arc::new(ScoresAndLabels { scores, labels })))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.0.labels.len()
    }
}

impl Item for LabelledScores {}

impl Shared for LabelledScores {
    fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// Every class with all images, highest score first.
#[derive(Debug)]
pub struct ClassTable {
    items: Vec<LabelledScores>,
    classes: Ranking<Ranked>,
}

/// An image in the list of a class.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    is_positive: bool,
    /// Number of the score in the list; equal scores have the same.
    score: u32,
}

impl ClassTable {
    fn new(items: &[LabelledScores]) -> Self {
        let classes = items.iter().map(LabelledScores::classes).max().unwrap_or(0);
        let lists: Vec<Vec<Entry<Ranked>>> = (0..classes)
            .into_par_iter()
            .map(|class| ranked(items, class))
            .collect();
        Self {
            classes: Ranking::new(lists, items.len()),
            items: items.to_vec(),
        }
    }

    /// The average precision of each class that has a positive image among the chosen ones.
    fn of_classes(&self, chosen: &Chosen, take: Take) -> Vec<(usize, f64)> {
        let view = self.classes.view(chosen);
        view.lists()
            .into_iter()
            .filter_map(|class| Some((class, average_precision(&view, class, take)?)))
            .collect()
    }
}

impl Table for ClassTable {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn joined(parts: &[&Self]) -> Self {
        let items = parts.iter().flat_map(|table| &table.items).cloned();
        Self::new(&items.collect::<Vec<_>>())
    }
}

/// The images that are labelled for `class`, highest score first.
fn ranked(items: &[LabelledScores], class: usize) -> Vec<Entry<Ranked>> {
    let mut labelled: Vec<(f64, u32, bool)> = (0..)
        .zip(items)
        .filter_map(|(item, image)| match image.0.labels.get(class)? {
            Presence::Positive => Some((image.0.scores[class], item, true)),
            Presence::Negative => Some((image.0.scores[class], item, false)),
            Presence::Ignored => None,
        })
        .collect();
    labelled.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut number = 0;
    let mut last = None;
    labelled
        .into_iter()
        .map(|(score, item, is_positive)| {
            if last.is_some_and(|last: f64| last.total_cmp(&score).is_ne()) {
                number += 1;
            }
            last = Some(score);
            Entry {
                item,
                payload: Ranked {
                    is_positive,
                    score: number,
                },
            }
        })
        .collect()
}

/// The average precision of a class; `None` without a positive image.
fn average_precision(view: &View<'_, Ranked>, class: usize, take: Take) -> Option<f64> {
    let mut positives = 0.0;
    view.for_each(class, |weight, ranked| {
        if ranked.is_positive {
            positives += f64::from(weight);
        }
    });
    if positives == 0.0 {
        return None;
    }
    let mut curve = Curve::new(positives);
    let mut score = 0;
    view.for_each(class, |weight, ranked| {
        if ranked.score != score {
            curve.point();
            score = ranked.score;
        }
        curve.enter(f64::from(weight), ranked.is_positive);
    });
    curve.point();
    Some(match take {
        Take::Area => curve.area,
        Take::ElevenPoints => curve.eleven_points(),
    })
}

/// A precision-recall curve while its list is read. Counts are numbers that are whole.
#[derive(Debug)]
struct Curve {
    positives: f64,
    right: f64,
    wrong: f64,
    /// `right` at the last point.
    right_before: f64,
    area: f64,
    /// Index of the last of the eleven recalls that was reached.
    recall: usize,
    /// For each of them, the highest precision while it was the last one reached.
    best: [f64; POINTS],
}

impl Curve {
    fn new(positives: f64) -> Self {
        Self {
            positives,
            right: 0.0,
            wrong: 0.0,
            right_before: 0.0,
            area: 0.0,
            recall: 0,
            best: [0.0; POINTS],
        }
    }

    fn enter(&mut self, weight: f64, is_positive: bool) {
        if is_positive {
            self.right += weight;
        } else {
            self.wrong += weight;
        }
    }

    /// Takes precision and recall of all that entered. Points at which recall did not rise add no area
    /// and have less precision than the one before.
    fn point(&mut self) {
        if self.right <= self.right_before {
            return;
        }
        let precision = self.right / (self.right + self.wrong);
        self.area += (self.right - self.right_before) / self.positives * precision;
        self.right_before = self.right;
        let recall = self.right / self.positives;
        while self.recall + 1 < POINTS && eleventh(self.recall + 1) <= recall {
            self.recall += 1;
        }
        let best = &mut self.best[self.recall];
        *best = best.max(precision);
    }

    fn eleven_points(&self) -> f64 {
        let mut highest = 0.0f64;
        let mut sum = 0.0;
        for best in self.best.iter().rev() {
            highest = highest.max(*best);
            sum += highest;
        }
        sum / POINTS as f64
    }
}

/// Recall number `index` of the eleven, in the arithmetic of `numpy.arange(0, 1.1, 0.1)`, which programs
/// take; some lie one rounding above the decimal fraction, so that 3 of 10 do not reach 0.3.
fn eleventh(index: usize) -> f64 {
    index as f64 * 0.1
}

/// The average precision of each class, `None` for classes without a positive image.
pub fn per_class(items: &[LabelledScores], take: Take) -> Result<Vec<Option<f64>>> {
    let classes = agree(items)?;
    let table = ClassTable::new(items);
    let mut values = vec![None; classes];
    for (class, value) in table.of_classes(&Chosen::all(items.len()), take) {
        values[class] = Some(value);
    }
    Ok(values)
}

/// The number of classes, if all items have as many.
fn agree(items: &[LabelledScores]) -> Result<usize> {
    let Some(first) = items.first() else {
        return Ok(0);
    };
    let classes = first.classes();
    match items.iter().position(|item| item.classes() != classes) {
        Some(item) => Err(Error::Classes {
            item,
            found: items[item].classes(),
            classes,
        }),
        None => Ok(classes),
    }
}

impl Metric for AveragePrecision {
    type Item = LabelledScores;
    type Corpus = Indexed<LabelledScores, ClassTable>;
    type Stats = Selection<ClassTable>;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::MultiLabel,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "multi-label-average-precision"
    }

    fn corpus(&self, items: &[LabelledScores], _: &Resources) -> Result<Self::Corpus> {
        agree(items)?;
        Ok(Indexed::new(items, ClassTable::new))
    }

    fn stats(&self, corpus: &Self::Corpus, item: &LabelledScores) -> Self::Stats {
        corpus.select(item, ClassTable::new)
    }

    fn value(&self, stats: &Self::Stats) -> Option<f64> {
        stats.of_table(|table, chosen| {
            let mut mean = Mean::default();
            for (_, value) in table.of_classes(chosen, self.take) {
                mean.merge(&Mean::of(value));
            }
            mean.value()
        })?
    }

    fn jackknife_groups(&self) -> usize {
        selection::JACKKNIFE_GROUPS
    }
}

/// Classes of the examples.
const CLASSES: usize = 5;

impl Examples for LabelledScores {
    /// Scores are often equal. One label is positive, since without one there is no value.
    fn random(rng: &mut Rng) -> Self {
        let one = rng.below(CLASSES as u64) as usize;
        let labels = (0..CLASSES)
            .map(|class| match rng.below(6) {
                _ if class == one => Presence::Positive,
                0 => Presence::Positive,
                1 => Presence::Ignored,
                _ => Presence::Negative,
            })
            .collect();
        let scores = (0..CLASSES).map(|_| rng.below(8) as f64 / 8.0).collect();
        Self::new(scores, labels).expect("examples have a score for each label")
    }

    fn perfect(rng: &mut Rng) -> Self {
        let one = rng.below(CLASSES as u64) as usize;
        let labels: Vec<Presence> = (0..CLASSES)
            .map(|class| match rng.below(3) {
                _ if class == one => Presence::Positive,
                0 => Presence::Positive,
                _ => Presence::Negative,
            })
            .collect();
        let scores = labels
            .iter()
            .map(|&label| f64::from(u8::from(label == Presence::Positive)))
            .collect();
        Self::new(scores, labels).expect("examples have a score for each label")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    fn item(scores: &[f64], labels: &[i8]) -> LabelledScores {
        let labels = labels.iter().map(|label| match label {
            1 => Presence::Positive,
            0 => Presence::Negative,
            _ => Presence::Ignored,
        });
        LabelledScores::new(scores.to_vec(), labels.collect()).unwrap()
    }

    /// Fourteen images, three classes, many equal scores, three ignored labels.
    fn fourteen() -> Vec<LabelledScores> {
        let scores = [
            [1, 2, 4],
            [5, 5, 1],
            [0, 8, 3],
            [5, 2, 8],
            [2, 5, 3],
            [1, 4, 4],
            [4, 5, 1],
            [6, 1, 6],
            [4, 2, 7],
            [1, 2, 7],
            [2, 6, 3],
            [5, 8, 4],
            [5, 1, 6],
            [5, 2, 3],
        ];
        let labels = [
            [0, 0, 0],
            [1, 1, 0],
            [0, 1, 1],
            [-1, 0, 1],
            [0, -1, 0],
            [0, 0, 0],
            [0, 1, 0],
            [1, 0, 1],
            [0, 0, 1],
            [0, 0, 1],
            [0, 1, 0],
            [0, 1, 0],
            [0, 0, 1],
            [0, 0, 0],
        ];
        let eighths = |row: &[i32; 3]| row.map(|score| f64::from(score) / 8.0);
        scores
            .iter()
            .zip(&labels)
            .map(|(scores, labels)| item(&eighths(scores), labels))
            .collect()
    }

    fn close(found: &[Option<f64>], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found.unwrap() - expected).abs() < 1e-12,
                "{found:?} {expected}"
            );
        }
    }

    /// Recorded with scikit-learn 1.9.1: `average_precision_score`, and the eleven points from
    /// `precision_recall_curve` and `numpy.arange(0, 1.1, 0.1)`.
    #[test]
    fn classes_agree_with_scikit_learn_with_ties_and_ignored_labels() {
        let items = fourteen();
        let area = per_class(&items, Take::Area).unwrap();
        close(&area, &[0.7, 1.0, 0.916_666_666_666_666_6]);
        let points = per_class(&items, Take::ElevenPoints).unwrap();
        close(
            &points,
            &[0.727_272_727_272_727_3, 1.0, 0.909_090_909_090_909_1],
        );
    }

    #[test]
    fn the_value_is_the_mean_over_classes_with_positives() {
        let items = [
            item(&[0.9, 0.1, 0.5], &[0, 0, -1]),
            item(&[0.8, 0.3, 0.5], &[1, 0, 1]),
        ];
        let area = per_class(&items, Take::Area).unwrap();
        assert_eq!(area, [Some(0.5), None, Some(1.0)]);
        let corpus = MAP.corpus(&items, &Resources::default()).unwrap();
        let sums: Vec<_> = items.iter().map(|one| MAP.stats(&corpus, one)).collect();
        assert_eq!(MAP.value(&merged(&sums)), Some(0.75));
        assert_eq!(MAP.value(&sums[0]), None);
        assert_eq!(MAP.value(&Selection::default()), None);
    }

    /// Few of many items are read at their places, many with weights.
    #[test]
    fn a_part_has_the_value_it_has_alone() {
        let many: Vec<LabelledScores> = (0..20).flat_map(|_| fourteen()).collect();
        let corpus = MAP.corpus(&many, &Resources::default()).unwrap();
        for part in [3usize, 9, 14, 200] {
            let sums: Vec<_> = many[..part]
                .iter()
                .rev()
                .chain(&many[..2])
                .map(|one| MAP.stats(&corpus, one))
                .collect();
            let mut alone = many[..part].to_vec();
            alone.extend_from_slice(&many[..2]);
            let known: Vec<f64> = per_class(&alone, Take::Area)
                .unwrap()
                .into_iter()
                .flatten()
                .collect();
            let mean = known.iter().sum::<f64>() / known.len() as f64;
            let found = MAP.value(&merged(&sums)).unwrap();
            assert!((found - mean).abs() < 1e-12, "{part}: {found} {mean}");
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        let error = LabelledScores::new(vec![0.5], Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "1 scores for 0 labels");
        let error = LabelledScores::new(vec![f64::NAN], vec![Presence::Positive]).unwrap_err();
        assert_eq!(error.to_string(), "score 0 is not a number");
        let items = [item(&[0.5], &[1]), item(&[0.5, 0.5], &[1, 0])];
        let error = per_class(&items, Take::Area).unwrap_err();
        assert_eq!(error.to_string(), "item 1 has 2 classes, item 0 has 1");
    }
}
