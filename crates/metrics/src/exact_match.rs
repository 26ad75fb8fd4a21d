//! Exact match: the share of answers that are the right one.
//!
//! Whether two texts are the same is the task's to say, before an item is made.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Input, Item, Resources, Result};

/// `exact-match`.
pub static EXACT_MATCH: ExactMatch = ExactMatch;

/// Whether an answer is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exactness(pub bool);

impl Item for Exactness {}

impl Examples for Exactness {
    fn random(rng: &mut Rng) -> Self {
        Self(rng.below(2) == 0)
    }

    fn perfect(_: &mut Rng) -> Self {
        Self(true)
    }

    fn empty() -> Option<Self> {
        Some(Self(false))
    }
}

/// Exact match.
#[derive(Debug)]
pub struct ExactMatch;

impl Metric for ExactMatch {
    type Item = Exactness;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "exact-match",
            version: 1,
            input: Input::Exact,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Share of answers that are the right one.",
        }
    }

    fn corpus(&self, _: &[Exactness], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &Exactness) -> Mean {
        Mean::of(f64::from(u8::from(item.0)))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}
