//! Median rank: the place, counted from 1, that half of the queries reach. Equal scores are ordered
//! by index, lower first, or the right answer first where the id ends in `.optimistic`; between two middle
//! places the median is their mean.
//!
//! The sums are a histogram of places, since a median cannot be merged from medians.

use crate::keyed::Keyed;
use crate::metric::{Metric, MetricInfo};
use crate::{Input, Rank, Resources, Result, TiePolicy};

/// `median-rank.image-to-text`.
pub static IMAGE_TO_TEXT: MedianRank = MedianRank {
    input: Input::ImageToText,
    policy: TiePolicy::ByIndex,
    id: "median-rank.image-to-text",
    description: "Median over images of the place of their best caption.",
};

/// `median-rank.image-to-text.optimistic`.
pub static IMAGE_TO_TEXT_OPTIMISTIC: MedianRank = MedianRank {
    input: Input::ImageToText,
    policy: TiePolicy::Optimistic,
    id: "median-rank.image-to-text.optimistic",
    description: "Median over images of the place of their best caption; right answers come first among equals.",
};

/// `median-rank.text-to-image`.
pub static TEXT_TO_IMAGE: MedianRank = MedianRank {
    input: Input::TextToImage,
    policy: TiePolicy::ByIndex,
    id: "median-rank.text-to-image",
    description: "Median over captions of the place of their image.",
};

/// `median-rank.text-to-image.optimistic`.
pub static TEXT_TO_IMAGE_OPTIMISTIC: MedianRank = MedianRank {
    input: Input::TextToImage,
    policy: TiePolicy::Optimistic,
    id: "median-rank.text-to-image.optimistic",
    description: "Median over captions of the place of their image; right answers come first among equals.",
};

/// Median rank in one direction.
#[derive(Debug)]
pub struct MedianRank {
    input: Input,
    policy: TiePolicy,
    id: &'static str,
    description: &'static str,
}

/// How many items have each place.
pub type Histogram = Keyed<u64>;

/// The place of item number `index` when items are sorted by place.
fn nth(places: &Histogram, index: u64) -> Option<u32> {
    let mut seen = 0;
    places.iter().find_map(|(place, &count)| {
        seen += count;
        (index < seen).then_some(place)
    })
}

impl Metric for MedianRank {
    type Item = Rank;
    type Corpus = ();
    type Stats = Histogram;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: self.input,
            range: [1.0, f64::from(u32::MAX) + 1.0],
            higher_is_better: false,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[Rank], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), rank: &Rank) -> Histogram {
        Histogram::one(rank.place(self.policy), 1)
    }

    fn value(&self, stats: &Histogram) -> Option<f64> {
        let count: u64 = stats.iter().map(|(_, count)| count).sum();
        let low = nth(stats, count.checked_sub(1)? / 2)?;
        let high = nth(stats, count / 2)?;
        Some(f64::midpoint(f64::from(low), f64::from(high)) + 1.0)
    }

    fn is_decided_by_ties(&self, rank: &Rank) -> bool {
        rank.is_tied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    fn median(places: &[u32]) -> Option<f64> {
        let stats: Vec<Histogram> = places
            .iter()
            .map(|&above| {
                IMAGE_TO_TEXT.stats(
                    &(),
                    &Rank {
                        above,
                        ..Rank::default()
                    },
                )
            })
            .collect();
        IMAGE_TO_TEXT.value(&merged(&stats))
    }

    #[test]
    fn odd_even_and_no_items() {
        assert_eq!(median(&[4, 0, 2]), Some(3.0));
        assert_eq!(median(&[4, 0, 2, 1]), Some(2.5));
        assert_eq!(median(&[7]), Some(8.0));
        assert_eq!(median(&[]), None);
    }
}
