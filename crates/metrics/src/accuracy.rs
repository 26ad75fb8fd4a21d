//! Top-k accuracy: the share of images whose true class is among the `k` best-scored classes.
//!
//! Equal scores are ordered by class index, lower first ([`TiePolicy::ByIndex`]).

use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Input, Rank, Resources, Result, TiePolicy};

/// `accuracy@1`: the best-scored class is the true one.
pub static AT_1: Accuracy = Accuracy {
    k: 1,
    id: "accuracy@1",
    description: "Share of images whose best-scored class is the true one.",
};

/// `accuracy@5`: the true class is among the five best.
pub static AT_5: Accuracy = Accuracy {
    k: 5,
    id: "accuracy@5",
    description: "Share of images whose true class is among the five best-scored ones.",
};

/// Top-k accuracy.
#[derive(Debug)]
pub struct Accuracy {
    k: u32,
    id: &'static str,
    description: &'static str,
}

impl Metric for Accuracy {
    type Item = Rank;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::ClassRank,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[Rank], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), rank: &Rank) -> Mean {
        Mean::of(f64::from(u8::from(rank.place(TiePolicy::ByIndex) < self.k)))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }

    fn is_decided_by_ties(&self, rank: &Rank) -> bool {
        rank.is_decided_by_ties_within(self.k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn counts_ranks_below_k_with_ties_by_index() {
        let ranks = [
            Rank::default(),
            Rank {
                above: 4,
                ..Rank::default()
            },
            Rank {
                above: 4,
                tied_before: 1,
                tied_after: 0,
            },
            Rank {
                above: 0,
                tied_before: 0,
                tied_after: 9,
            },
        ];
        let value = |metric: &Accuracy| {
            let stats: Vec<Mean> = ranks.iter().map(|rank| metric.stats(&(), rank)).collect();
            metric.value(&merged(&stats))
        };
        assert_eq!(value(&AT_1), Some(0.5));
        assert_eq!(value(&AT_5), Some(0.75));
    }
}
