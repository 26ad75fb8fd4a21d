//! What a metric is: sums first, value last.
//!
//! A metric says how one item becomes [`Stats`], sums that merge in any grouping, and how merged sums
//! become the value. Everything else follows from these two functions: the value of a corpus, of a part
//! of it, and of every resample of the bootstrap. [`DynMetric`] is that everything, for any metric.

use crate::bootstrap::{self, Bootstrap, Interval};
use crate::observations::{Input, Item, Observations};
use crate::{Error, Result};

/// Additive sums. `merge` must be associative up to rounding, and `default` must be its neutral
/// element.
pub trait Stats: Clone + Default + Send + Sync {
    /// Adds the sums of `other`.
    fn merge(&mut self, other: &Self);
}

/// A metric.
pub trait Metric: Send + Sync {
    /// What is counted.
    type Item: Item;
    /// What is summed.
    type Stats: Stats;

    /// Name, version, range and direction.
    fn info(&self) -> MetricInfo;

    /// The sums of one item.
    fn stats(&self, item: &Self::Item) -> Self::Stats;

    /// The value of merged sums; `None` for the sums of nothing.
    fn value(&self, stats: &Self::Stats) -> Option<f64>;

    /// Whether another tie rule would give `item` other sums.
    fn is_decided_by_ties(&self, item: &Self::Item) -> bool;
}

/// What is known about a metric without any item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricInfo {
    /// Kebab-case name, with `@` before a rank and `.` before a direction: `recall@5.image-to-text`.
    pub id: &'static str,
    /// Raised whenever the definition changes so that a score could.
    pub version: u32,
    /// What it is computed from.
    pub input: Input,
    /// Least and largest possible value.
    pub range: [f64; 2],
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The definition in a sentence.
    pub description: &'static str,
}

/// A metric's value and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The value; `None` when there was no item.
    pub value: Option<f64>,
    /// The interval, when one was asked for and is defined.
    pub interval: Option<Interval>,
    /// Items the value is computed from.
    pub items: u64,
    /// Items whose part in the value was decided by the tie rule.
    pub ties: u64,
}

/// A metric of any item type.
pub trait DynMetric: Send + Sync {
    /// Name, version, range and direction.
    fn info(&self) -> MetricInfo;

    /// The value over all items of [`MetricInfo::input`], with an interval if `bootstrap` asks for one.
    fn evaluate(
        &self,
        observations: &Observations,
        bootstrap: Option<&Bootstrap>,
    ) -> Result<Outcome>;

    /// The value from sums that were made in parts of at most `part` items and then merged: what a run
    /// split over machines computes.
    fn value_in_parts(&self, observations: &Observations, part: usize) -> Result<Option<f64>>;
}

impl<M: Metric> DynMetric for M {
    fn info(&self) -> MetricInfo {
        Metric::info(self)
    }

    fn evaluate(
        &self,
        observations: &Observations,
        bootstrap: Option<&Bootstrap>,
    ) -> Result<Outcome> {
        let items = observed(self, observations)?;
        let stats: Vec<M::Stats> = items.iter().map(|item| self.stats(item)).collect();
        let ties = items.iter().filter(|item| self.is_decided_by_ties(item));
        Ok(Outcome {
            value: self.value(&merged(&stats)),
            interval: bootstrap.and_then(|b| bootstrap::interval(&stats, |s| self.value(s), b)),
            items: items.len() as u64,
            ties: ties.count() as u64,
        })
    }

    fn value_in_parts(&self, observations: &Observations, part: usize) -> Result<Option<f64>> {
        let items = observed(self, observations)?;
        let parts: Vec<M::Stats> = items
            .chunks(part.max(1))
            .map(|items| {
                let stats: Vec<M::Stats> = items.iter().map(|item| self.stats(item)).collect();
                merged(&stats)
            })
            .collect();
        Ok(self.value(&merged(&parts)))
    }
}

fn observed<'a, M: Metric>(metric: &M, observations: &'a Observations) -> Result<&'a [M::Item]> {
    let info = Metric::info(metric);
    M::Item::observed(observations, info.input).ok_or(Error::NotObserved {
        metric: info.id,
        input: info.input,
    })
}

/// The merged sums of all of `stats`, in order.
pub fn merged<S: Stats>(stats: &[S]) -> S {
    stats.iter().fold(S::default(), |mut sum, one| {
        sum.merge(one);
        sum
    })
}

/// Sum and count: the sums of every metric that is a mean over items.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mean {
    /// Sum of the items' values.
    pub sum: f64,
    /// Number of items.
    pub count: u64,
}

impl Mean {
    /// The sums of one item of this value.
    pub fn of(value: f64) -> Self {
        Self {
            sum: value,
            count: 1,
        }
    }

    /// The mean; `None` of nothing.
    pub fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Stats for Mean {
    fn merge(&mut self, other: &Self) {
        self.sum += other.sum;
        self.count += other.count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{METRICS, Rank, registry};

    #[test]
    fn items_that_were_never_observed_are_an_error_and_no_items_are_no_value() {
        let mut observations = Observations::default();
        observations.set_ranks(Input::ImageToText, Vec::new());
        let recall = registry::metric("recall@1.image-to-text").unwrap();
        let outcome = recall.evaluate(&observations, None).unwrap();
        assert_eq!((outcome.value, outcome.items), (None, 0));

        let accuracy = registry::metric("accuracy@1").unwrap();
        let error = accuracy.evaluate(&observations, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metric `accuracy@1` needs class-rank items, and none were observed"
        );
    }

    #[test]
    fn ties_are_counted_where_they_decide() {
        let tied = Rank {
            above: 0,
            tied_before: 0,
            tied_after: 2,
        };
        let mut observations = Observations::default();
        observations.set_ranks(Input::ClassRank, vec![tied, Rank::default()]);
        let outcomes: Vec<u64> = METRICS
            .iter()
            .filter(|metric| metric.info().input == Input::ClassRank)
            .map(|metric| metric.evaluate(&observations, None).unwrap().ties)
            .collect();
        assert_eq!(outcomes, [1, 0], "accuracy@1 and accuracy@5");
    }
}
