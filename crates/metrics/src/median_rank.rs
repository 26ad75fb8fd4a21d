//! Median rank: the place, counted from 1, that half of the queries reach. Equal scores are ordered
//! by index, lower first; between two middle places the median is their mean.
//!
//! The sums are a histogram of places, since a median cannot be merged from medians.

use std::collections::BTreeMap;

use crate::metric::{Metric, MetricInfo, Stats};
use crate::{Input, Rank, TiePolicy};

/// `median-rank.image-to-text`.
pub static IMAGE_TO_TEXT: MedianRank = MedianRank {
    input: Input::ImageToText,
    id: "median-rank.image-to-text",
    description: "Median over images of the place of their best caption.",
};

/// `median-rank.text-to-image`.
pub static TEXT_TO_IMAGE: MedianRank = MedianRank {
    input: Input::TextToImage,
    id: "median-rank.text-to-image",
    description: "Median over captions of the place of their image.",
};

/// Median rank in one direction.
#[derive(Debug)]
pub struct MedianRank {
    input: Input,
    id: &'static str,
    description: &'static str,
}

/// How many items have each place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u32, u64>);

impl Histogram {
    /// The place of item number `index` when items are sorted by place.
    fn nth(&self, index: u64) -> Option<u32> {
        let mut seen = 0;
        self.0.iter().find_map(|(&place, &count)| {
            seen += count;
            (index < seen).then_some(place)
        })
    }
}

impl Stats for Histogram {
    fn merge(&mut self, other: &Self) {
        for (&place, &count) in &other.0 {
            *self.0.entry(place).or_default() += count;
        }
    }
}

impl Metric for MedianRank {
    type Item = Rank;
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

    fn stats(&self, rank: &Rank) -> Histogram {
        Histogram(BTreeMap::from([(rank.place(TiePolicy::ByIndex), 1)]))
    }

    fn value(&self, stats: &Histogram) -> Option<f64> {
        let count: u64 = stats.0.values().sum();
        let low = stats.nth(count.checked_sub(1)? / 2)?;
        let high = stats.nth(count / 2)?;
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
                IMAGE_TO_TEXT.stats(&Rank {
                    above,
                    ..Rank::default()
                })
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
