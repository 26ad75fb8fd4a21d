//! Recall at k for image-text retrieval: the share of queries with a right answer among the first `k`.
//!
//! From image to text a query is an image and any of its captions is right; from text to image a
//! query is a caption and only its own image is right. Candidates are all captions or all images of
//! the split. Equal scores are ordered by index, lower first ([`TiePolicy::ByIndex`]): counting only
//! strictly better ones would call a model perfect that scores everything the same. Tools that do so are
//! matched by the ids that end in `.optimistic` ([`TiePolicy::Optimistic`]).

use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Input, Rank, Resources, Result, TiePolicy};

/// `recall@1.image-to-text`.
pub static AT_1_IMAGE_TO_TEXT: Recall = Recall {
    k: 1,
    input: Input::ImageToText,
    policy: TiePolicy::ByIndex,
    id: "recall@1.image-to-text",
    description: "Share of images for which the best-scored caption is one of their own.",
};

/// `recall@1.image-to-text.optimistic`.
pub static AT_1_IMAGE_TO_TEXT_OPTIMISTIC: Recall = Recall {
    k: 1,
    input: Input::ImageToText,
    policy: TiePolicy::Optimistic,
    id: "recall@1.image-to-text.optimistic",
    description: "Share of images for which the best-scored caption is one of their own; right answers come first among equals.",
};

/// `recall@5.image-to-text`.
pub static AT_5_IMAGE_TO_TEXT: Recall = Recall {
    k: 5,
    input: Input::ImageToText,
    policy: TiePolicy::ByIndex,
    id: "recall@5.image-to-text",
    description: "Share of images with one of their own captions among the five best-scored.",
};

/// `recall@5.image-to-text.optimistic`.
pub static AT_5_IMAGE_TO_TEXT_OPTIMISTIC: Recall = Recall {
    k: 5,
    input: Input::ImageToText,
    policy: TiePolicy::Optimistic,
    id: "recall@5.image-to-text.optimistic",
    description: "Share of images with one of their own captions among the five best-scored; right answers come first among equals.",
};

/// `recall@10.image-to-text`.
pub static AT_10_IMAGE_TO_TEXT: Recall = Recall {
    k: 10,
    input: Input::ImageToText,
    policy: TiePolicy::ByIndex,
    id: "recall@10.image-to-text",
    description: "Share of images with one of their own captions among the ten best-scored.",
};

/// `recall@10.image-to-text.optimistic`.
pub static AT_10_IMAGE_TO_TEXT_OPTIMISTIC: Recall = Recall {
    k: 10,
    input: Input::ImageToText,
    policy: TiePolicy::Optimistic,
    id: "recall@10.image-to-text.optimistic",
    description: "Share of images with one of their own captions among the ten best-scored; right answers come first among equals.",
};

/// `recall@1.text-to-image`.
pub static AT_1_TEXT_TO_IMAGE: Recall = Recall {
    k: 1,
    input: Input::TextToImage,
    policy: TiePolicy::ByIndex,
    id: "recall@1.text-to-image",
    description: "Share of captions whose best-scored image is their own.",
};

/// `recall@1.text-to-image.optimistic`.
pub static AT_1_TEXT_TO_IMAGE_OPTIMISTIC: Recall = Recall {
    k: 1,
    input: Input::TextToImage,
    policy: TiePolicy::Optimistic,
    id: "recall@1.text-to-image.optimistic",
    description: "Share of captions whose best-scored image is their own; right answers come first among equals.",
};

/// `recall@5.text-to-image`.
pub static AT_5_TEXT_TO_IMAGE: Recall = Recall {
    k: 5,
    input: Input::TextToImage,
    policy: TiePolicy::ByIndex,
    id: "recall@5.text-to-image",
    description: "Share of captions whose own image is among the five best-scored.",
};

/// `recall@5.text-to-image.optimistic`.
pub static AT_5_TEXT_TO_IMAGE_OPTIMISTIC: Recall = Recall {
    k: 5,
    input: Input::TextToImage,
    policy: TiePolicy::Optimistic,
    id: "recall@5.text-to-image.optimistic",
    description: "Share of captions whose own image is among the five best-scored; right answers come first among equals.",
};

/// `recall@10.text-to-image`.
pub static AT_10_TEXT_TO_IMAGE: Recall = Recall {
    k: 10,
    input: Input::TextToImage,
    policy: TiePolicy::ByIndex,
    id: "recall@10.text-to-image",
    description: "Share of captions whose own image is among the ten best-scored.",
};

/// `recall@10.text-to-image.optimistic`.
pub static AT_10_TEXT_TO_IMAGE_OPTIMISTIC: Recall = Recall {
    k: 10,
    input: Input::TextToImage,
    policy: TiePolicy::Optimistic,
    id: "recall@10.text-to-image.optimistic",
    description: "Share of captions whose own image is among the ten best-scored; right answers come first among equals.",
};

/// Recall at k in one direction.
#[derive(Debug)]
pub struct Recall {
    k: u32,
    input: Input,
    policy: TiePolicy,
    id: &'static str,
    description: &'static str,
}

impl Metric for Recall {
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
        Mean::of(f64::from(u8::from(rank.place(self.policy) < self.k)))
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

    /// Rows are images, columns captions; caption `i` belongs to image `i`.
    #[test]
    fn four_by_four_example_agrees_with_counting_by_hand() {
        let scores = [
            [0.9, 0.1, 0.2, 0.3], // own caption first
            [0.8, 0.7, 0.1, 0.2], // second
            [0.4, 0.4, 0.4, 0.1], // third by index, tied with two before
            [0.9, 0.8, 0.7, 0.1], // last
        ];
        let recall = |metric: &Recall| {
            let stats: Vec<Mean> = scores
                .iter()
                .enumerate()
                .map(|(i, row)| metric.stats(&(), &Rank::of(row, &[i]).unwrap()))
                .collect();
            metric.value(&merged(&stats))
        };
        assert_eq!(recall(&AT_1_IMAGE_TO_TEXT), Some(0.25));
        assert_eq!(recall(&AT_5_IMAGE_TO_TEXT), Some(1.0));
    }
}
