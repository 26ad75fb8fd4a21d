//! Mean reciprocal rank: the mean over queries of one over the place of the first right answer,
//! counted from 1. Equal scores are ordered by index, lower first, or the right answer first where the id
//! ends in `.optimistic`.

use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Input, Rank, Resources, Result, TiePolicy};

/// `mrr.image-to-text`.
pub static IMAGE_TO_TEXT: ReciprocalRank = ReciprocalRank {
    input: Input::ImageToText,
    policy: TiePolicy::ByIndex,
    id: "mrr.image-to-text",
    description: "Mean over images of one over the place of their best caption.",
};

/// `mrr.image-to-text.optimistic`.
pub static IMAGE_TO_TEXT_OPTIMISTIC: ReciprocalRank = ReciprocalRank {
    input: Input::ImageToText,
    policy: TiePolicy::Optimistic,
    id: "mrr.image-to-text.optimistic",
    description: "Mean over images of one over the place of their best caption; right answers come first among equals.",
};

/// `mrr.text-to-image`.
pub static TEXT_TO_IMAGE: ReciprocalRank = ReciprocalRank {
    input: Input::TextToImage,
    policy: TiePolicy::ByIndex,
    id: "mrr.text-to-image",
    description: "Mean over captions of one over the place of their image.",
};

/// `mrr.text-to-image.optimistic`.
pub static TEXT_TO_IMAGE_OPTIMISTIC: ReciprocalRank = ReciprocalRank {
    input: Input::TextToImage,
    policy: TiePolicy::Optimistic,
    id: "mrr.text-to-image.optimistic",
    description: "Mean over captions of one over the place of their image; right answers come first among equals.",
};

/// Mean reciprocal rank in one direction.
#[derive(Debug)]
pub struct ReciprocalRank {
    input: Input,
    policy: TiePolicy,
    id: &'static str,
    description: &'static str,
}

impl Metric for ReciprocalRank {
    type Item = Rank;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: self.input,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[Rank], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), rank: &Rank) -> Mean {
        Mean::of(1.0 / (f64::from(rank.place(self.policy)) + 1.0))
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }

    fn is_decided_by_ties(&self, rank: &Rank) -> bool {
        rank.is_tied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_place_counts_half() {
        let rank = Rank {
            above: 0,
            tied_before: 1,
            tied_after: 0,
        };
        let stats = IMAGE_TO_TEXT.stats(&(), &rank);
        assert_eq!(IMAGE_TO_TEXT.value(&stats), Some(0.5));
        assert!(IMAGE_TO_TEXT.is_decided_by_ties(&rank));
    }
}
