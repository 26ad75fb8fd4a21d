//! The rank of the right answer among all candidates, with what ties could do to it.
//!
//! Two tools that print "recall@1" differ where scores are equal. [`Rank`] keeps what each rule needs,
//! so that the rule is a parameter and its effect can be counted:
//!
//! | scores | right | above | tied before | tied after | optimistic | by index |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `0.9 0.5 0.1` | 1 | 1 | 0 | 0 | 1 | 1 |
//! | `0.5 0.5 0.1` | 1 | 0 | 1 | 0 | 0 | 1 |
//! | `0.5 0.5 0.5` | 1 | 0 | 1 | 1 | 0 | 1 |
//! | `0.5 0.5 0.1` | 0 and 1 | 0 | 0 | 0 | 0 | 0 |

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Where the best right answer stands among all candidates; 0 is the first place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rank {
    /// Candidates that score strictly higher.
    pub above: u32,
    /// Wrong candidates of the same score and a lower index.
    pub tied_before: u32,
    /// Wrong candidates of the same score and a higher index.
    pub tied_after: u32,
}

/// Which of several equal scores comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TiePolicy {
    /// The lower index: what sorting in a stable way does. The default everywhere.
    ByIndex,
    /// The right answer: counts only strictly higher scores. A model that answers the same to
    /// everything is perfect under this rule, which is why it is not the default.
    Optimistic,
}

impl Rank {
    /// The rank of the best of `positives` (indices into `scores`; indices outside are ignored), or
    /// `None` when there is none. A score that is not a number counts as lower than every other.
    pub fn of(scores: &[f64], positives: &[usize]) -> Option<Self> {
        let score = |index: usize| scores.get(index).map(|&score| comparable(score));
        let (best, first) = positives
            .iter()
            .filter_map(|&index| Some((score(index)?, index)))
            .reduce(|a, b| match order(b.0, a.0) {
                Ordering::Greater => b,
                Ordering::Equal if b.1 < a.1 => b,
                _ => a,
            })?;
        let mut rank = Self::default();
        for (index, &score) in scores.iter().enumerate() {
            match order(comparable(score), best) {
                // No right answer scores above the best one, so only ties need to know which are right.
                Ordering::Greater => rank.above += 1,
                Ordering::Equal if !positives.contains(&index) => rank.tie(index < first),
                _ => {}
            }
        }
        Some(rank)
    }

    /// Counts one more wrong candidate of the same score.
    pub fn tie(&mut self, before: bool) {
        if before {
            self.tied_before += 1;
        } else {
            self.tied_after += 1;
        }
    }

    /// The place under `policy`, 0 being the first.
    pub fn place(self, policy: TiePolicy) -> u32 {
        match policy {
            TiePolicy::ByIndex => self.above.saturating_add(self.tied_before),
            TiePolicy::Optimistic => self.above,
        }
    }

    /// The last place that some rule could give: every wrong candidate of the same score first.
    pub fn last_place(self) -> u32 {
        self.place(TiePolicy::ByIndex)
            .saturating_add(self.tied_after)
    }

    /// Whether a wrong candidate has the same score.
    pub fn is_tied(self) -> bool {
        self.tied_before > 0 || self.tied_after > 0
    }

    /// Whether the first `k` places hold the right answer under one rule and not under another.
    pub fn is_decided_by_ties_within(self, k: u32) -> bool {
        self.above < k && k <= self.last_place()
    }
}

/// Not-a-number below everything, so that a broken score never wins.
pub(crate) fn comparable(score: f64) -> f64 {
    if score.is_nan() {
        f64::NEG_INFINITY
    } else {
        score
    }
}

/// The order of two [`comparable`] scores; unlike `total_cmp`, the two zeros are equal.
pub(crate) fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(scores: &[f64], positives: &[usize]) -> (u32, u32, u32) {
        let rank = Rank::of(scores, positives).unwrap();
        (rank.above, rank.tied_before, rank.tied_after)
    }

    #[test]
    fn the_table_above_holds() {
        assert_eq!(rank(&[0.9, 0.5, 0.1], &[1]), (1, 0, 0));
        assert_eq!(rank(&[0.5, 0.5, 0.1], &[1]), (0, 1, 0));
        assert_eq!(rank(&[0.5, 0.5, 0.5], &[1]), (0, 1, 1));
        assert_eq!(rank(&[0.5, 0.5, 0.1], &[0, 1]), (0, 0, 0));
    }

    #[test]
    fn the_best_positive_counts_and_the_first_of_equal_ones() {
        assert_eq!(rank(&[0.2, 0.9, 0.5, 0.7], &[0, 2]), (2, 0, 0));
        assert_eq!(rank(&[0.5, 0.5, 0.5, 0.5], &[3, 1]), (0, 1, 1));
    }

    #[test]
    fn a_score_that_is_no_number_never_wins() {
        assert_eq!(rank(&[f64::NAN, 0.5, 0.1], &[1]), (0, 0, 0));
        assert_eq!(rank(&[f64::NAN, 0.5, 0.1], &[0]), (2, 0, 0));
    }

    #[test]
    fn nothing_right_has_no_rank() {
        assert_eq!(Rank::of(&[0.5], &[]), None);
        assert_eq!(Rank::of(&[0.5], &[1]), None);
        assert_eq!(Rank::of(&[], &[0]), None);
    }

    #[test]
    fn ties_decide_only_when_they_straddle_the_last_place_counted() {
        let rank = Rank {
            above: 1,
            tied_before: 1,
            tied_after: 1,
        };
        let decided: Vec<bool> = (1..=5).map(|k| rank.is_decided_by_ties_within(k)).collect();
        assert_eq!(decided, [false, true, true, false, false]);
        assert_eq!(rank.place(TiePolicy::Optimistic), 1);
        assert_eq!(rank.place(TiePolicy::ByIndex), 2);
        assert_eq!(rank.last_place(), 3);
    }
}
