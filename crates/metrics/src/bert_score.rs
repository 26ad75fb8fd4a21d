//! BERTScore from given token embeddings (Zhang et al. 2020, section 3).
//!
//! With x the tokens of a reference, y those of the candidate, cos the cosine of two embeddings and w the
//! weight of a token:
//!
//! | id | item |
//! | --- | --- |
//! | `bertscore-recall` | `R = Σ_x w(x) · max_y cos(x, y) / Σ_x w(x)` |
//! | `bertscore-precision` | `P = Σ_y w(y) · max_x cos(x, y) / Σ_y w(y)` |
//! | `bertscore-f1` | `2 P R / (P + R)` |
//!
//! Of several references each value takes its own best one. The metric is the mean over items, each
//! rescaled as (value − b) / (1 − b) if [`TokenMatch::rescaled`] was asked for. Values lie between −1 and 1
//! before rescaling, below 1 without a lower end after it; the F1 of a P and an R of opposite signs
//! has no bound.
//!
//! Equal to `bert-score` 0.3.13 up to the rounding of single precision, with these things to know: special
//! tokens (`[CLS]`, `[SEP]`) are tokens of weight 0 there, so they can be matched but do not count; a
//! sentence whose weights add up to 0 scores 0 throughout; and the zeros that pad a batch there can stand
//! in for a match below 0, which they never do here.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Metric, MetricInfo, Stats};
use crate::similarity::{Rows, dot};
use crate::{Error, Input, Item, Resources, Result};

/// `bertscore-f1`.
pub static F1: BertScore = BertScore {
    part: Part::F1,
    id: "bertscore-f1",
    description: "Mean over texts of the harmonic mean of BERTScore's precision and recall.",
};

/// `bertscore-precision`.
pub static PRECISION: BertScore = BertScore {
    part: Part::Precision,
    id: "bertscore-precision",
    description: "Mean over texts of how well candidate tokens are matched by tokens of the best reference.",
};

/// `bertscore-recall`.
pub static RECALL: BertScore = BertScore {
    part: Part::Recall,
    id: "bertscore-recall",
    description: "Mean over texts of how well the tokens of the best reference are matched by candidate tokens.",
};

/// The tokens of one text.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Their embeddings `[T, D]`, of any length but 0.
    pub embeddings: Rows<'a>,
    /// Their weights `[T]`, finite and not below 0, for example [`idf`]; `None` weighs all the same.
    pub weights: Option<&'a [f64]>,
}

/// The weight of a token that `containing` of `documents` references contain: ln((N + 1) / (n + 1)).
pub fn idf(documents: u64, containing: u64) -> f64 {
    ((documents as f64 + 1.0) / (containing as f64 + 1.0)).ln()
}

/// How well a candidate's tokens and those of its references match.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenMatch {
    precision: f64,
    recall: f64,
    f1: f64,
}

impl TokenMatch {
    /// Matches a candidate with each of its references, of which there must be one, and keeps the best of
    /// each value.
    pub fn new(candidate: Tokens<'_>, references: &[Tokens<'_>]) -> Result<Self> {
        let candidate = Text::new(candidate, "a candidate's token")?;
        let mut best: Option<Self> = None;
        for &reference in references {
            let reference = Text::new(reference, "a reference's token")?;
            let one = candidate.matched(&reference)?;
            best = Some(best.map_or(one, |best| Self {
                precision: best.precision.max(one.precision),
                recall: best.recall.max(one.recall),
                f1: best.f1.max(one.f1),
            }));
        }
        best.ok_or(Error::OutOfRange {
            what: "the number of references",
            value: 0.0,
            expected: "at least 1",
        })
    }

    /// The values rescaled so that `baseline`, what unrelated texts score, becomes 0 and 1 stays 1.
    /// Baselines are below 1.
    pub fn rescaled(self, baseline: Baseline) -> Result<Self> {
        let rescale = |value: f64, baseline: f64| {
            if baseline < 1.0 && baseline.is_finite() {
                Ok((value - baseline) / (1.0 - baseline))
            } else {
                Err(Error::OutOfRange {
                    what: "a baseline",
                    value: baseline,
                    expected: "a finite number below 1",
                })
            }
        };
        Ok(Self {
            precision: rescale(self.precision, baseline.precision)?,
            recall: rescale(self.recall, baseline.recall)?,
            f1: rescale(self.f1, baseline.f1)?,
        })
    }
}

/// What unrelated texts score with a model and layer; published for some as tables.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Of the precision.
    pub precision: f64,
    /// Of the recall.
    pub recall: f64,
    /// Of the F1.
    pub f1: f64,
}

impl Item for TokenMatch {}

impl Examples for TokenMatch {
    fn random(rng: &mut Rng) -> Self {
        // F1 has no bound where signs differ, so a sum of them could lose every digit.
        let precision = rng.between(-0.2, 1.0);
        let recall = precision.signum() * rng.between(0.0, 1.0);
        Self {
            precision,
            recall,
            f1: harmonic(precision, recall),
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self {
            precision: 1.0,
            recall: 1.0,
            f1: 1.0,
        }
    }

    fn empty() -> Option<Self> {
        Some(Self {
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
        })
    }
}

/// 2 P R / (P + R), and 0 where that divides by 0.
fn harmonic(precision: f64, recall: f64) -> f64 {
    let sum = precision + recall;
    if sum == 0.0 {
        return 0.0;
    }
    2.0 * precision * recall / sum
}

/// Unit embeddings and checked weights.
struct Text {
    /// `[T, D]`, row after row.
    units: Vec<f32>,
    width: usize,
    weights: Vec<f64>,
    what: &'static str,
}

impl Text {
    fn new(tokens: Tokens<'_>, what: &'static str) -> Result<Self> {
        let (count, width) = (tokens.embeddings.count(), tokens.embeddings.width());
        let weights = match tokens.weights {
            None => vec![1.0; count],
            Some(weights) if weights.len() == count => weights.to_vec(),
            Some(weights) => {
                return Err(Error::Shape {
                    len: weights.len(),
                    rows: count,
                    width: 1,
                });
            }
        };
        if let Some(&value) = weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            return Err(Error::OutOfRange {
                what: "the weight of a token",
                value,
                expected: "a finite number of at least 0",
            });
        }
        let total: f64 = weights.iter().sum();
        if !total.is_finite() {
            return Err(Error::OutOfRange {
                what: "the sum of the weights of tokens",
                value: total,
                expected: "a finite number",
            });
        }
        let mut units = Vec::with_capacity(count * width);
        for token in 0..count {
            let row = tokens.embeddings.row(token);
            let squares = row.iter().map(|&x| f64::from(x) * f64::from(x));
            let length = squares.sum::<f64>().sqrt();
            if length == 0.0 || !length.is_finite() {
                return Err(Error::NoDirection { of: what });
            }
            units.extend(row.iter().map(|&x| (f64::from(x) / length) as f32));
        }
        Ok(Self {
            units,
            width,
            weights,
            what,
        })
    }

    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        // A width of 0 has no direction, so there are no rows then; chunks of 0 would be a panic.
        self.units.chunks_exact(self.width.max(1))
    }

    /// `self` is the candidate.
    fn matched(&self, reference: &Self) -> Result<TokenMatch> {
        let none = |text: &Self| text.weights.iter().sum::<f64>() == 0.0;
        if none(self) || none(reference) {
            return Ok(TokenMatch {
                precision: 0.0,
                recall: 0.0,
                f1: 0.0,
            });
        }
        if self.width != reference.width {
            return Err(Error::EmbeddingWidth {
                of: reference.what,
                width: reference.width,
                expected: self.width,
            });
        }
        let mut of_candidate = vec![f32::NEG_INFINITY; self.weights.len()];
        let mut of_reference = vec![f32::NEG_INFINITY; reference.weights.len()];
        for (y, best_y) in self.rows().zip(&mut of_candidate) {
            for (x, best_x) in reference.rows().zip(&mut of_reference) {
                let cosine = dot(x, y);
                *best_y = best_y.max(cosine);
                *best_x = best_x.max(cosine);
            }
        }
        let precision = weighted_mean(&of_candidate, &self.weights);
        let recall = weighted_mean(&of_reference, &reference.weights);
        Ok(TokenMatch {
            precision,
            recall,
            f1: harmonic(precision, recall),
        })
    }
}

/// Σ w v / Σ w, the weights not adding up to 0.
fn weighted_mean(values: &[f32], weights: &[f64]) -> f64 {
    let weighted = values.iter().zip(weights).map(|(&v, w)| f64::from(v) * w);
    weighted.sum::<f64>() / weights.iter().sum::<f64>()
}

/// One of the three values.
#[derive(Debug)]
pub struct BertScore {
    part: Part,
    id: &'static str,
    description: &'static str,
}

/// Which value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Precision,
    Recall,
    F1,
}

/// Sums of the three values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    precision: f64,
    recall: f64,
    f1: f64,
    count: u64,
}

impl Stats for Sums {
    fn merge(&mut self, other: &Self) {
        self.precision += other.precision;
        self.recall += other.recall;
        self.f1 += other.f1;
        self.count += other.count;
    }
}

impl Metric for BertScore {
    type Item = TokenMatch;
    type Corpus = ();
    type Stats = Sums;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::TokenMatch,
            range: [
                f64::NEG_INFINITY,
                if self.part == Part::F1 {
                    f64::INFINITY
                } else {
                    1.0
                },
            ],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "bertscore"
    }

    fn corpus(&self, _: &[TokenMatch], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &TokenMatch) -> Sums {
        Sums {
            precision: item.precision,
            recall: item.recall,
            f1: item.f1,
            count: 1,
        }
    }

    fn value(&self, stats: &Sums) -> Option<f64> {
        let sum = match self.part {
            Part::Precision => stats.precision,
            Part::Recall => stats.recall,
            Part::F1 => stats.f1,
        };
        (stats.count > 0).then(|| sum / stats.count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    fn tokens<'a>(values: &'a [f32], width: usize, weights: Option<&'a [f64]>) -> Tokens<'a> {
        Tokens {
            embeddings: Rows::new(values, values.len() / width, width).unwrap(),
            weights,
        }
    }

    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-7, "{actual} {expected}");
    }

    /// Cosines: 1 and 0.6 of the first candidate token, 0 and 0.8 of the second.
    const CANDIDATE: [f32; 4] = [2.0, 0.0, 0.0, 0.5];
    const REFERENCE: [f32; 4] = [1.0, 0.0, 3.0, 4.0];

    #[test]
    fn each_token_takes_its_best_match() {
        let one =
            TokenMatch::new(tokens(&CANDIDATE, 2, None), &[tokens(&REFERENCE, 2, None)]).unwrap();
        near(one.precision, 0.9);
        near(one.recall, 0.9);
        near(one.f1, 0.9);
    }

    #[test]
    fn weights_weigh_and_tokens_without_weight_can_be_matched() {
        let one = TokenMatch::new(
            tokens(&CANDIDATE, 2, Some(&[1.0, 3.0])),
            &[tokens(&REFERENCE, 2, Some(&[2.0, 0.0]))],
        )
        .unwrap();
        near(one.precision, (1.0 + 3.0 * 0.8) / 4.0);
        near(one.recall, 1.0);
        near(one.f1, 2.0 * 0.85 / 1.85);
    }

    #[test]
    fn each_value_takes_its_own_best_reference() {
        // The second reference is one of the candidate's tokens: recall 1, precision 1/2.
        let one = TokenMatch::new(
            tokens(&CANDIDATE, 2, None),
            &[tokens(&REFERENCE, 2, None), tokens(&[1.0, 0.0], 2, None)],
        )
        .unwrap();
        near(one.precision, 0.9);
        near(one.recall, 1.0);
        near(one.f1, 0.9);
    }

    #[test]
    fn a_text_without_weight_scores_nothing() {
        let silent = tokens(&CANDIDATE, 2, Some(&[0.0, 0.0]));
        let reference = tokens(&REFERENCE, 2, None);
        let zero = TokenMatch {
            precision: 0.0,
            recall: 0.0,
            f1: 0.0,
        };
        assert_eq!(TokenMatch::new(silent, &[reference]).unwrap(), zero);
        let none = Tokens {
            embeddings: Rows::new(&[], 0, 2).unwrap(),
            weights: None,
        };
        assert_eq!(TokenMatch::new(none, &[reference]).unwrap(), zero);
        assert_eq!(TokenMatch::new(reference, &[none]).unwrap(), zero);
    }

    #[test]
    fn rescaling_moves_the_baseline_to_0() {
        let one = TokenMatch {
            precision: 0.9,
            recall: 0.8,
            f1: 0.85,
        };
        let baseline = Baseline {
            precision: 0.8,
            recall: 0.8,
            f1: 0.9,
        };
        let rescaled = one.rescaled(baseline).unwrap();
        near(rescaled.precision, 0.5);
        near(rescaled.recall, 0.0);
        near(rescaled.f1, -0.5);
        for wrong in [1.0, f64::NAN, f64::NEG_INFINITY] {
            let wrong = Baseline {
                f1: wrong,
                ..baseline
            };
            assert!(one.rescaled(wrong).is_err());
        }
    }

    #[test]
    fn corpus_values_are_means_of_items_and_share_their_sums() {
        let item = |precision, recall, f1| TokenMatch {
            precision,
            recall,
            f1,
        };
        let items = [item(1.0, 0.5, 0.75), item(0.0, 0.0, 0.25)];
        let stats: Vec<Sums> = items.iter().map(|i| F1.stats(&(), i)).collect();
        let sum = merged(&stats);
        assert_eq!(PRECISION.value(&sum), Some(0.5));
        assert_eq!(RECALL.value(&sum), Some(0.25));
        assert_eq!(F1.value(&sum), Some(0.5));
        assert_eq!(F1.family(), RECALL.family());
    }

    #[test]
    fn what_has_no_score_is_refused() {
        let good = tokens(&CANDIDATE, 2, None);
        let cases = [
            TokenMatch::new(good, &[]),
            TokenMatch::new(good, &[tokens(&[0.0, 0.0], 2, None)]),
            TokenMatch::new(good, &[tokens(&[f32::NAN, 0.0], 2, None)]),
            TokenMatch::new(good, &[tokens(&[1.0, 0.0, 0.0], 3, None)]),
            TokenMatch::new(good, &[tokens(&REFERENCE, 2, Some(&[1.0]))]),
            TokenMatch::new(good, &[tokens(&REFERENCE, 2, Some(&[1.0, -1.0]))]),
            TokenMatch::new(good, &[tokens(&REFERENCE, 2, Some(&[f64::MAX, f64::MAX]))]),
        ];
        for (number, case) in cases.iter().enumerate() {
            assert!(case.is_err(), "{number}");
        }
    }

    #[test]
    fn rare_tokens_weigh_more() {
        near(idf(9, 9), 0.0);
        near(idf(9, 4), 2.0f64.ln());
        near(idf(9, 0), 10.0f64.ln());
    }
}
