//! What a metric is: sums first, value last.
//!
//! A metric says how one item becomes [`Stats`], sums that merge in any grouping, and how merged sums
//! become the value. Everything else follows from these two functions: the value of a corpus, of a part
//! of it, and of every resample of the bootstrap. [`DynMetric`] is that everything, for any metric.

use std::sync::Arc;

use rayon::prelude::*;

use sightline_core::seed::Rng;

use crate::bootstrap::{self, Bootstrap, Interval};
use crate::comparison::{self, Comparison};
use crate::conformance::{Example, Examples};
use crate::observations::{Input, Item, Observations};
use crate::{Error, Resources, Result};

/// Additive sums. `merge` must be associative up to rounding, and `default` must be its neutral
/// element.
pub trait Stats: Clone + Default + Send + Sync + 'static {
    /// Adds the sums of `other`.
    fn merge(&mut self, other: &Self);
}

/// A metric.
pub trait Metric: Send + Sync {
    /// What is counted.
    type Item: Item;
    /// What is built once from all items, for example document frequencies; `()` for most metrics.
    type Corpus: Send + Sync;
    /// What is summed.
    type Stats: Stats;

    /// Name, version, range and direction.
    fn info(&self) -> MetricInfo;

    /// Metrics of one family make the same sums of the same items and differ in the value they take of
    /// them; the sums are then computed once. The name of the metric itself unless it says otherwise.
    fn family(&self) -> &'static str {
        self.info().id
    }

    /// What [`Metric::stats`] needs to know of all items and of the tables in `resources`.
    fn corpus(&self, items: &[Self::Item], resources: &Resources) -> Result<Self::Corpus>;

    /// The sums of one item.
    fn stats(&self, corpus: &Self::Corpus, item: &Self::Item) -> Self::Stats;

    /// The value of merged sums; `None` for the sums of nothing.
    fn value(&self, stats: &Self::Stats) -> Option<f64>;

    /// The value of one item alone, where it is another function of its sums than the value of a
    /// corpus: sacrebleu scores a sentence with the n-gram orders it is long enough for. `None` where
    /// the item has no value.
    fn item_value(&self, stats: &Self::Stats) -> Option<f64> {
        self.value(stats)
    }

    /// How far from the better end of its range the value of perfect items may stay: nowhere, unless
    /// the definition only approaches that end.
    fn shortfall(&self) -> f64 {
        0.0
    }

    /// Whether an item of these sums is in the value of a corpus: not where the metric is not defined for
    /// the item. Two models are compared on the items that count for both.
    fn is_counted(&self, _stats: &Self::Stats) -> bool {
        true
    }

    /// What the value depends on, as the published program writes it; of the settings alone without
    /// items.
    fn signature(&self, _items: Option<&[Self::Item]>) -> Option<String> {
        None
    }

    /// Whether another tie rule would give `item` other sums.
    fn is_decided_by_ties(&self, _item: &Self::Item) -> bool {
        false
    }

    /// Into how many groups items are put at most for the standard error, which takes a value without
    /// each group in turn. Fewer where merging sums or taking their value is slow.
    fn jackknife_groups(&self) -> usize {
        usize::MAX
    }
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
    /// The standard error, when an interval was asked for and there are two items at least.
    pub standard_error: Option<f64>,
    /// Items the value is computed from.
    pub items: u64,
    /// Items whose part in the value was decided by the tie rule.
    pub ties: u64,
    /// Items that have no value of their own.
    pub undefined: u64,
}

/// A metric of any item type.
pub trait DynMetric: Send + Sync {
    /// Name, version, range and direction.
    fn info(&self) -> MetricInfo;

    /// How far from the better end of its range the value of perfect items may stay.
    fn shortfall(&self) -> f64;

    /// What the value over these items depends on, as the published program writes it, if it does; of the
    /// settings alone without items.
    fn signature(&self, observations: Option<&Observations>) -> Option<String>;

    /// The value over all items of [`MetricInfo::input`], with an interval if `bootstrap` asks for one.
    fn evaluate(
        &self,
        observations: &Observations,
        bootstrap: Option<&Bootstrap>,
    ) -> Result<Outcome>;

    /// Whether the values over two lists of the same items differ: what two models said. An item for which
    /// the metric is not defined on one side is left out on both.
    fn compare(
        &self,
        a: &Observations,
        b: &Observations,
        settings: &Bootstrap,
    ) -> Result<Comparison>;

    /// The value of each item alone, in the order of the items; `None` where one item has none.
    fn per_item(&self, observations: &Observations) -> Result<Vec<Option<f64>>>;

    /// The value from sums that were made in parts of at most `part` items and then merged: what a run
    /// split over machines computes.
    fn value_in_parts(&self, observations: &Observations, part: usize) -> Result<Option<f64>>;

    /// `n` examples of the items this metric counts.
    fn examples(&self, n: usize, example: Example, rng: &mut Rng) -> Observations;

    /// The items with these indices, in this order; an index without an item is passed over.
    fn picked(&self, observations: &Observations, indices: &[usize]) -> Result<Observations>;

    /// The same items with every reference there twice; `None` where items have no references.
    fn with_references_twice(&self, observations: &Observations) -> Result<Option<Observations>>;
}

impl<M: Metric> DynMetric for M {
    fn info(&self) -> MetricInfo {
        Metric::info(self)
    }

    fn shortfall(&self) -> f64 {
        Metric::shortfall(self)
    }

    fn signature(&self, observations: Option<&Observations>) -> Option<String> {
        let input = Metric::info(self).input;
        Metric::signature(self, observations.and_then(|all| all.items(input)))
    }

    fn evaluate(
        &self,
        observations: &Observations,
        bootstrap: Option<&Bootstrap>,
    ) -> Result<Outcome> {
        let items = observed(self, observations)?;
        let sums = sums(self, observations)?;
        let ties = items.iter().filter(|item| self.is_decided_by_ties(item));
        let undefined = sums.iter().filter(|one| self.item_value(one).is_none());
        Ok(Outcome {
            value: number(self, self.value(&merged(&sums)))?,
            interval: bootstrap.and_then(|b| bootstrap::interval(&sums, |s| self.value(s), b)),
            standard_error: bootstrap.and_then(|_| {
                bootstrap::standard_error(&sums, |s| self.value(s), self.jackknife_groups())
            }),
            items: items.len() as u64,
            ties: ties.count() as u64,
            undefined: undefined.count() as u64,
        })
    }

    fn compare(
        &self,
        a: &Observations,
        b: &Observations,
        settings: &Bootstrap,
    ) -> Result<Comparison> {
        let (a, b) = (sums(self, a)?, sums(self, b)?);
        if a.len() != b.len() {
            return Err(Error::Unpaired {
                metric: Metric::info(self).id,
                items: [a.len(), b.len()],
            });
        }
        let pairs = a.iter().zip(b.iter());
        let (a, b): (Vec<M::Stats>, Vec<M::Stats>) = pairs
            .filter(|(a, b)| self.is_counted(a) && self.is_counted(b))
            .map(|(a, b)| (a.clone(), b.clone()))
            .unzip();
        let groups = self.jackknife_groups();
        Ok(comparison::compare(
            &a,
            &b,
            |s| self.value(s),
            groups,
            settings,
        ))
    }

    fn per_item(&self, observations: &Observations) -> Result<Vec<Option<f64>>> {
        let sums = sums(self, observations)?;
        sums.iter()
            .map(|one| number(self, self.item_value(one)))
            .collect()
    }

    fn value_in_parts(&self, observations: &Observations, part: usize) -> Result<Option<f64>> {
        let sums = sums(self, observations)?;
        let parts: Vec<M::Stats> = sums.chunks(part.max(1)).map(merged).collect();
        number(self, self.value(&merged(&parts)))
    }

    fn examples(&self, n: usize, example: Example, rng: &mut Rng) -> Observations {
        let items: Vec<M::Item> = (0..n)
            .filter_map(|_| match example {
                Example::Random => Some(M::Item::random(rng)),
                Example::Perfect => Some(M::Item::perfect(rng)),
                Example::Empty => M::Item::empty(),
            })
            .collect();
        let mut observations = Observations::default();
        observations.set(Metric::info(self).input, items);
        observations
    }

    fn picked(&self, observations: &Observations, indices: &[usize]) -> Result<Observations> {
        let items = observed(self, observations)?;
        let items: Vec<M::Item> = indices
            .iter()
            .filter_map(|&index| items.get(index).cloned())
            .collect();
        let mut picked = Observations::default();
        picked.set(Metric::info(self).input, items);
        picked.set_resources(observations.resources().clone());
        Ok(picked)
    }

    fn with_references_twice(&self, observations: &Observations) -> Result<Option<Observations>> {
        let items = observed(self, observations)?.iter();
        let items: Option<Vec<M::Item>> = items.map(M::Item::with_references_twice).collect();
        Ok(items.map(|items| {
            let mut twice = Observations::default();
            twice.set(Metric::info(self).input, items);
            twice.set_resources(observations.resources().clone());
            twice
        }))
    }
}

fn observed<'a, M: Metric>(metric: &M, observations: &'a Observations) -> Result<&'a [M::Item]> {
    let info = Metric::info(metric);
    observations.items(info.input).ok_or(Error::NotObserved {
        metric: info.id,
        input: info.input,
    })
}

/// The sums of every item, in order; those of the family if they were computed before.
pub(crate) fn sums<M: Metric>(
    metric: &M,
    observations: &Observations,
) -> Result<Arc<Vec<M::Stats>>> {
    let family = metric.family();
    if let Some(kept) = observations.kept(family) {
        return Ok(kept);
    }
    let items = observed(metric, observations)?;
    let corpus = metric.corpus(items, observations.resources())?;
    let sums: Vec<M::Stats> = items
        .par_iter()
        .map(|item| metric.stats(&corpus, item))
        .collect();
    let sums = Arc::new(sums);
    observations.keep(family, Arc::clone(&sums));
    Ok(sums)
}

/// A value that is not a number is an error, never a score.
fn number<M: Metric>(metric: &M, value: Option<f64>) -> Result<Option<f64>> {
    match value {
        Some(value) if value.is_nan() => Err(Error::NotANumber {
            metric: Metric::info(metric).id,
        }),
        other => Ok(other),
    }
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
        observations.set::<Rank>(Input::ImageToText, Vec::new());
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
        observations.set(Input::ClassRank, vec![tied, Rank::default()]);
        let outcomes: Vec<u64> = METRICS
            .iter()
            .filter(|metric| metric.info().input == Input::ClassRank)
            .map(|metric| metric.evaluate(&observations, None).unwrap().ties)
            .collect();
        assert_eq!(outcomes, [1, 0], "accuracy@1 and accuracy@5");
    }
}
