//! What the COCO and LVIS values share: one table of all images, from which each takes its own number.

use std::marker::PhantomData;
use std::sync::Arc;

use rayon::prelude::*;

use super::Frequency;
use super::matching::{EVERY_IOU, ImageEvaluation};
use super::table::{AreaRange, Depth, DetectionTable};
use crate::metric::{Metric, MetricInfo};
use crate::selection::{self, Indexed, Selection, Shared};
use crate::{Input, Item, Resources, Result};

/// The thresholds that a precision is the mean over.
pub(super) const AT_ALL: u16 = EVERY_IOU;
/// 0.50.
pub(super) const AT_50: u16 = 1;
/// 0.75.
pub(super) const AT_75: u16 = 1 << 5;

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::detection::DetectionItem {}
    impl Sealed for crate::detection::FederatedItem {}
}

/// One image under one of the two protocols.
#[expect(
    private_bounds,
    reason = "how images are found again and matched is no promise"
)]
pub trait BoxItem: Item + Protocol + sealed::Sealed {}

impl<I: Item + Protocol + sealed::Sealed> BoxItem for I {}

/// How a protocol reads an image.
pub(crate) trait Protocol: Shared + Send + Sync {
    /// Where its images are observed.
    const INPUT: Input;
    /// Under which its sums are kept.
    const FAMILY: &'static str;

    /// Which detections are right and wrong.
    fn evaluate(&self) -> ImageEvaluation;

    /// Whether all of `images` can be evaluated together.
    fn agree(_images: &[Self]) -> Result<()> {
        Ok(())
    }
}

/// Evaluates `images`, on all threads, and sorts what was found.
pub(super) fn table<I: Protocol>(images: &[I]) -> DetectionTable {
    let evaluate = |image: &I| Arc::new(image.evaluate());
    DetectionTable::new(images.par_iter().map(evaluate).collect())
}

/// A value of the images of one protocol.
#[derive(Debug)]
pub struct BoxMetric<I> {
    pub(super) id: &'static str,
    pub(super) description: &'static str,
    pub(super) quantity: Quantity,
    pub(super) images: PhantomData<fn(&I)>,
}

/// What is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Quantity {
    /// Mean average precision at these thresholds, over categories of this frequency.
    Precision(AreaRange, u16, Option<Frequency>),
    /// Mean recall over all thresholds.
    Recall(AreaRange, Depth),
}

impl<I: BoxItem> Metric for BoxMetric<I> {
    type Item = I;
    type Corpus = Indexed<I, DetectionTable>;
    type Stats = Selection<DetectionTable>;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: I::INPUT,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        I::FAMILY
    }

    fn corpus(&self, items: &[I], _: &Resources) -> Result<Self::Corpus> {
        I::agree(items)?;
        Ok(Indexed::new(items, table))
    }

    fn stats(&self, corpus: &Self::Corpus, item: &I) -> Self::Stats {
        corpus.select(item, table)
    }

    fn value(&self, stats: &Self::Stats) -> Option<f64> {
        stats.of_table(|table, chosen| match self.quantity {
            Quantity::Precision(area, ious, frequency) => {
                table.mean_average_precision(chosen, area, ious, frequency)
            }
            Quantity::Recall(area, depth) => table.mean_recall(chosen, area, depth),
        })?
    }

    fn jackknife_groups(&self) -> usize {
        selection::JACKKNIFE_GROUPS
    }
}
