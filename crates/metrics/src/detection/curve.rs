//! Precision-recall curves of one category, one for each overlap threshold.
//!
//! Precision at a recall is the highest precision at that recall or above, the envelope of the curve,
//! taken at the 101 recalls 0.00, 0.01, …, 1.00. The mean is the average precision.
//!
//! A bootstrap reads every list once for each resample, so reading divides rarely: which recall a count
//! reaches is known beforehand, and the highest precision between two recalls is kept as a fraction.

use super::matching::{IOUS, Verdict};
use crate::ranking::View;

/// Number of recalls at which precision is taken.
const RECALLS: usize = 101;
/// The distance of 1 to the next number, which pycocotools adds to the divisor of precision.
const SPACING: f64 = f64::EPSILON;

/// A precision-recall curve: the precision at each recall.
pub(crate) type Curve = [f64; RECALLS];

/// The count that reaches each recall, and one that nothing reaches.
type Reach = [f64; RECALLS + 1];

/// Recall number `index`, in the arithmetic of `numpy.linspace(0, 1, 101)`.
fn recall_at(index: usize) -> f64 {
    if index == RECALLS - 1 {
        1.0
    } else {
        index as f64 * 0.01
    }
}

/// The least count that, as a share of `positives`, is at least each recall; nothing reaches one after
/// the last.
fn counts_to_reach(positives: f64) -> Reach {
    let mut counts = [f64::INFINITY; RECALLS + 1];
    for (index, count) in counts[..RECALLS].iter_mut().enumerate() {
        let recall = recall_at(index);
        // The product may be rounded to either side of the count whose share it is.
        *count = (recall * positives).ceil();
        if (*count - 1.0) / positives >= recall {
            *count -= 1.0;
        } else if *count / positives < recall {
            *count += 1.0;
        }
    }
    counts
}

/// The curves of one category at some thresholds.
#[derive(Debug)]
pub(crate) struct Curves {
    ious: u16,
    states: [State; IOUS],
    precision: [Curve; IOUS],
}

/// Where the reading of a list stands at one threshold. Counts are numbers that are whole.
#[derive(Clone, Copy, Debug)]
struct State {
    right: f64,
    /// Right and wrong detections that are ignored at another threshold.
    others: f64,
    /// Index of the last recall that was reached.
    recall: usize,
    /// The highest precision since: right detections, and all.
    best: [f64; 2],
}

impl State {
    const START: Self = Self {
        right: 0.0,
        others: 0.0,
        recall: 0,
        best: Self::NOTHING,
    };
    /// No precision is lower.
    const NOTHING: [f64; 2] = [0.0, 1.0];

    /// Precision as pycocotools computes it.
    fn best_precision(&self) -> f64 {
        let [right, all] = self.best;
        right / (all + SPACING)
    }
}

impl Curves {
    /// Curves at the thresholds whose bits are set in `ious`.
    pub(crate) fn new(ious: u16) -> Self {
        Self {
            ious,
            states: [State::START; IOUS],
            precision: [[0.0; RECALLS]; IOUS],
        }
    }

    /// Reads the list of `category`, of which there are `positives` objects, at least one.
    ///
    /// Precision rises with each right detection and falls with each wrong one, so a detection of
    /// weight `w` can be counted at once: within its copies the last has the highest precision if it
    /// is right, and none matters if it is wrong.
    pub(crate) fn read(&mut self, view: &View<'_, Verdict>, category: usize, positives: u64) {
        for iou in bits(self.ious) {
            self.states[iou] = State::START;
            self.precision[iou] = [0.0; RECALLS];
        }
        let reach = counts_to_reach(positives as f64);
        let ious = self.ious;
        // Detections that are right or wrong, whichever, at every threshold.
        let mut counted = 0u64;
        view.for_each(category, |weight, verdict| {
            // Nearly every detection of a real model is wrong at every threshold.
            if verdict.wrong & ious == ious {
                counted += u64::from(weight);
            } else if weight > 0 {
                let known = (verdict.right | verdict.wrong) & ious;
                let others = if known == ious {
                    counted += u64::from(weight);
                    0
                } else {
                    known
                };
                let bits = [verdict.right & ious, others];
                self.enter(f64::from(weight), bits, counted as f64, &reach);
            }
        });
        for iou in bits(self.ious) {
            let state = &self.states[iou];
            let curve = &mut self.precision[iou];
            curve[state.recall] = state.best_precision();
            let mut highest = 0.0f64;
            for precision in curve[..=state.recall].iter_mut().rev() {
                highest = highest.max(*precision);
                *precision = highest;
            }
        }
    }

    /// Counts a detection of `weight` that is right at the thresholds `right`. So far, `counted` detections
    /// are right or wrong at every threshold, this one among them; or it is ignored at some and counts at
    /// the thresholds `others`.
    #[inline(never)] // So that the loop around stays small.
    fn enter(&mut self, weight: f64, [right, others]: [u16; 2], counted: f64, reach: &Reach) {
        for iou in bits(others) {
            self.states[iou].others += weight;
        }
        for iou in bits(right) {
            let state = &mut self.states[iou];
            state.right += weight;
            if state.right >= reach[state.recall + 1] {
                self.precision[iou][state.recall] = state.best_precision();
                state.best = State::NOTHING;
                while state.right >= reach[state.recall + 1] {
                    state.recall += 1;
                }
            }
            // Of equal fractions the one of larger counts suffers less from the spacing.
            let all = counted + state.others;
            if state.right * state.best[1] >= state.best[0] * all {
                state.best = [state.right, all];
            }
        }
    }

    /// The precision at each recall.
    pub(crate) fn curve(&self, iou: usize) -> &Curve {
        &self.precision[iou]
    }

    /// The mean of the curve.
    pub(crate) fn average(&self, iou: usize) -> f64 {
        self.precision[iou].iter().sum::<f64>() / RECALLS as f64
    }

    /// The share of objects that were found.
    pub(crate) fn recall(&self, iou: usize, positives: u64) -> f64 {
        self.states[iou].right / positives as f64
    }
}

/// The numbers of the bits that are set, ascending.
pub(crate) fn bits(mut set: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::matching::EVERY_IOU;
    use crate::ranking::{Entry, Ranking};
    use crate::selection::Chosen;

    #[test]
    #[expect(clippy::float_cmp, reason = "the same rounding is claimed")]
    fn recalls_are_those_of_numpy() {
        assert_eq!(
            [7, 14, 29, 57, 100].map(recall_at),
            [0.07, 0.14, 0.29, 0.570_000_000_000_000_1, 1.0]
        );
    }

    #[test]
    fn counts_reach_the_recalls_that_their_shares_reach() {
        for positives in (1..1200).chain([36_781, 1_000_003]) {
            let positives = f64::from(positives);
            let counts = counts_to_reach(positives);
            for (index, count) in counts[..RECALLS].iter().enumerate() {
                let recall = recall_at(index);
                assert!(count / positives >= recall, "{positives} {index}");
                assert!((count - 1.0) / positives < recall, "{positives} {index}");
            }
            assert!(counts[RECALLS] > positives);
        }
    }

    /// The definition, spelled out: precision after every detection, then the maximum to the right.
    fn plain(right: &[bool], positives: usize) -> Vec<f64> {
        let mut found = 0.0;
        let points: Vec<(f64, f64)> = (1..)
            .zip(right)
            .map(|(seen, &is_right)| {
                found += f64::from(u8::from(is_right));
                (
                    found / positives as f64,
                    found / (f64::from(seen) + SPACING),
                )
            })
            .collect();
        (0..RECALLS)
            .map(|index| {
                let reached = points.iter().filter(|point| point.0 >= recall_at(index));
                reached.map(|point| point.1).fold(0.0, f64::max)
            })
            .collect()
    }

    #[test]
    fn curves_are_those_of_the_definition() {
        let mut rng = sightline_core::Seed(5).rng();
        for round in 0..200u64 {
            let length = rng.below(400);
            let share = rng.unit();
            let right: Vec<bool> = (0..length).map(|_| rng.unit() < share).collect();
            let found = right.iter().filter(|&&is_right| is_right).count();
            let positives = (found + rng.below(30) as usize).max(1);
            let verdicts = right.iter().map(|&is_right| Entry {
                item: 0,
                payload: Verdict {
                    right: if is_right { EVERY_IOU } else { 0 },
                    wrong: if is_right { 0 } else { EVERY_IOU },
                },
            });
            let ranking = Ranking::new(vec![verdicts.collect()], 1);
            let chosen = Chosen::all(1);
            let mut curves = Curves::new(EVERY_IOU);
            curves.read(&ranking.view(&chosen), 0, positives as u64);
            let expected = plain(&right, positives);
            for iou in 0..IOUS {
                assert_eq!(curves.curve(iou)[..], expected[..], "round {round}");
            }
        }
    }
}
