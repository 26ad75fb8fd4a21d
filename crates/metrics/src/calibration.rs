//! Calibration: whether a model that is sure of something is right about it.
//!
//! | id | value |
//! | --- | --- |
//! | `brier` | mean of (confidence − right)², right being 1 or 0 |
//! | `ece` | Σ over bins of the share of items in the bin · the distance of their share right and their mean confidence |
//!
//! Both run from 0 to 1, lower being better. `ece` is the expected calibration error of Guo et al. 2017
//! (equation 3) with their 15 bins of equal width; bin `b` of 0 to 14 holds the confidences above b/15 and
//! up to (b + 1)/15. Confidence 0 is in the first bin; the published code leaves it out. The error of few
//! items is biased upwards, and that of a single one is |right − confidence|.
//!
//! `brier` scores the confidence in the chosen answer, so it is a probability's squared error; the form
//! of Brier 1950 that sums squares over all classes and reaches 2 is another metric.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::keyed::Keyed;
use crate::metric::{Mean, Metric, MetricInfo, Stats};
use crate::{Error, Input, Item, Resources, Result};

/// Bins of the expected calibration error.
const BINS: u32 = 15;

/// `brier`.
pub static BRIER: Brier = Brier;

/// `ece`.
pub static ECE: Ece = Ece;

/// How sure a model was of its answer, and whether the answer was right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Confidence {
    confidence: f64,
    right: bool,
}

impl Confidence {
    /// `confidence` is a probability, 0 to 1.
    pub fn new(confidence: f64, right: bool) -> Result<Self> {
        if !(0.0..=1.0).contains(&confidence) {
            return Err(Error::OutOfRange {
                what: "a confidence",
                value: confidence,
                expected: "0 to 1",
            });
        }
        Ok(Self { confidence, right })
    }
}

impl Item for Confidence {}

impl Examples for Confidence {
    fn random(rng: &mut Rng) -> Self {
        let confidence = match rng.below(8) {
            0 => 0.0,
            1 => 1.0,
            2 => rng.below(u64::from(BINS) + 1) as f64 / f64::from(BINS),
            _ => rng.unit(),
        };
        Self {
            confidence,
            right: rng.below(2) == 0,
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self {
            confidence: 1.0,
            right: true,
        }
    }
}

/// The squared error of the confidence.
#[derive(Debug)]
pub struct Brier;

impl Metric for Brier {
    type Item = Confidence;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "brier",
            version: 1,
            input: Input::Confidence,
            range: [0.0, 1.0],
            higher_is_better: false,
            description: "Mean squared difference between the confidence in an answer and 1 if it was right, else 0.",
        }
    }

    fn corpus(&self, _: &[Confidence], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &Confidence) -> Mean {
        let error = item.confidence - f64::from(u8::from(item.right));
        Mean::of(error * error)
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

/// Expected calibration error.
#[derive(Debug)]
pub struct Ece;

/// Items by bin.
pub type Bins = Keyed<Bin>;

/// Sums over the items of a bin.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    confidence: f64,
    right: u64,
    items: u64,
}

impl Stats for Bin {
    fn merge(&mut self, other: &Self) {
        self.confidence += other.confidence;
        self.right += other.right;
        self.items += other.items;
    }
}

impl Metric for Ece {
    type Item = Confidence;
    type Corpus = ();
    type Stats = Bins;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "ece",
            version: 1,
            input: Input::Confidence,
            range: [0.0, 1.0],
            higher_is_better: false,
            description: "Mean difference between confidence and share of right answers within 15 bins of equal width.",
        }
    }

    fn corpus(&self, _: &[Confidence], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &Confidence) -> Bins {
        let sums = Bin {
            confidence: item.confidence,
            right: u64::from(item.right),
            items: 1,
        };
        Bins::one(bin(item.confidence), sums)
    }

    fn value(&self, stats: &Bins) -> Option<f64> {
        let mut items = 0;
        let mut gaps = 0.0;
        for (_, bin) in stats.iter() {
            items += bin.items;
            // n_b/n · |right/n_b − confidence/n_b| is |right − confidence| / n.
            gaps += (bin.right as f64 - bin.confidence).abs();
        }
        (items > 0).then(|| gaps / items as f64)
    }
}

/// The bin of a confidence: the first whose upper end it does not pass.
fn bin(confidence: f64) -> u32 {
    (1..BINS)
        .find(|&end| confidence <= f64::from(end) / f64::from(BINS))
        .map_or(BINS - 1, |end| end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    fn items(pairs: &[(f64, bool)]) -> Vec<Confidence> {
        pairs
            .iter()
            .map(|&(confidence, right)| Confidence::new(confidence, right).unwrap())
            .collect()
    }

    fn ece(pairs: &[(f64, bool)]) -> f64 {
        let stats: Vec<Bins> = items(pairs).iter().map(|i| ECE.stats(&(), i)).collect();
        ECE.value(&merged(&stats)).unwrap()
    }

    #[test]
    fn bins_are_open_below_and_closed_above() {
        assert_eq!((bin(0.0), bin(1e-9), bin(1.0 / 15.0)), (0, 0, 0));
        assert_eq!((bin(1.0 / 15.0 + 1e-12), bin(2.0 / 15.0)), (1, 1));
        assert_eq!((bin(14.0 / 15.0), bin(0.934), bin(1.0)), (13, 14, 14));
    }

    #[test]
    fn errors_cancel_within_a_bin_and_not_across_bins() {
        // One bin: two of 0.9, one right: |1 - 1.8| / 2.
        assert!((ece(&[(0.9, true), (0.9, false)]) - 0.4).abs() < 1e-15);
        // Two bins: |0 - 0.1| and |1 - 0.8| over two items.
        assert!((ece(&[(0.1, false), (0.8, true)]) - 0.15).abs() < 1e-15);
        // 0.5 of 0.5 is calibrated.
        assert!(ece(&[(0.5, false), (0.5, true)]).abs() < 1e-15);
    }

    #[test]
    fn the_brier_score_is_the_mean_squared_error() {
        let stats: Vec<Mean> = items(&[(0.9, true), (0.6, false), (0.0, false)])
            .iter()
            .map(|item| BRIER.stats(&(), item))
            .collect();
        let value = BRIER.value(&merged(&stats)).unwrap();
        assert!((value - (0.01 + 0.36) / 3.0).abs() < 1e-15, "{value}");
    }

    #[test]
    fn confidences_are_probabilities() {
        for confidence in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(Confidence::new(confidence, true).is_err(), "{confidence}");
        }
    }
}
