//! What every registered metric must do; a test loops over the registry.
//!
//! ```
//! use sightline_metrics::{METRICS, conformance};
//!
//! let resources = conformance::resources();
//! for metric in METRICS {
//!     conformance::check(*metric, &resources)?;
//! }
//! # Ok::<(), conformance::Violation>(())
//! ```

use std::sync::Arc;

use sightline_core::Seed;
use sightline_core::seed::Rng;

use crate::bootstrap::{Bootstrap, Method};
use crate::metric::DynMetric;
use crate::{Error, Observations, Rank, Resources, meteor};

/// Sums may be added in another order: values may then differ by this much of themselves.
const ROUNDING: f64 = 1e-12;
/// How far a value may pass the ends of its range, and a perfect one stay below: smoothing constants of
/// reference programs leave 1e-9, rounding less.
const SLACK: f64 = 1e-7;
/// So many random items have a value, whatever the metric.
const MANY: usize = 60;

/// Examples of one kind of item, for this kit.
pub trait Examples: Sized {
    /// Anything a metric may meet, bad items included.
    fn random(rng: &mut Rng) -> Self;

    /// An item that no metric can fault.
    fn perfect(rng: &mut Rng) -> Self;

    /// An item in which the model said nothing, where that can be.
    fn empty() -> Option<Self> {
        None
    }

    /// The same item with every reference there twice, where there are several: that says nothing new.
    fn with_references_twice(&self) -> Option<Self> {
        None
    }
}

impl Examples for Rank {
    fn random(rng: &mut Rng) -> Self {
        let mut below = |n| u32::try_from(rng.below(n)).unwrap_or(0);
        Self {
            above: below(12),
            tied_before: below(3),
            tied_after: below(3),
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self::default()
    }
}

/// Small tables, enough for every metric that asks for some.
pub fn resources() -> Resources {
    Resources {
        meteor: Some(Arc::new(meteor::Tables::sample())),
        document_frequencies: None,
    }
}

/// A rule that a metric breaks.
#[derive(Debug, thiserror::Error)]
#[error("metric `{metric}`: {rule}: {detail}")]
pub struct Violation {
    /// Id of the metric.
    pub metric: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
}

/// Checks that `metric` has no value for no items, stays in its range (and so do its interval and the
/// values of its items), does not depend on the order of items or on how sums are merged, survives
/// items in which the model said nothing, and reaches the better end of its range for perfect items.
/// Only items that have no value alone may have none together.
pub fn check(metric: &dyn DynMetric, resources: &Resources) -> Result<(), Violation> {
    let kit = Kit { metric, resources };
    kit.nothing()?;
    kit.perfection()?;
    kit.silence()?;
    for (round, n) in [1, 2, 7, MANY].into_iter().enumerate() {
        let mut rng = Seed(17).child("conformance", round as u64).rng();
        kit.random(n, &mut rng)?;
    }
    Ok(())
}

struct Kit<'a> {
    metric: &'a dyn DynMetric,
    resources: &'a Resources,
}

impl Kit<'_> {
    fn violation(&self, rule: &'static str, detail: String) -> Violation {
        Violation {
            metric: self.metric.info().id,
            rule,
            detail,
        }
    }

    fn failed(&self, error: &Error) -> Violation {
        self.violation("evaluates", error.to_string())
    }

    fn examples(&self, n: usize, example: Example, rng: &mut Rng) -> Observations {
        let mut observations = self.metric.examples(n, example, rng);
        observations.set_resources(self.resources.clone());
        observations
    }

    fn nothing(&self) -> Result<(), Violation> {
        let nothing = self.examples(0, Example::Random, &mut Seed(17).rng());
        let outcome = self
            .metric
            .evaluate(&nothing, Some(&settings()))
            .map_err(|e| self.failed(&e))?;
        if outcome.value.is_some() || outcome.interval.is_some() || outcome.items != 0 {
            return Err(self.violation("no items, no value", format!("{outcome:?}")));
        }
        Ok(())
    }

    fn perfection(&self) -> Result<(), Violation> {
        let info = self.metric.info();
        let perfect = self.examples(3, Example::Perfect, &mut Seed(17).rng());
        let outcome = self
            .metric
            .evaluate(&perfect, None)
            .map_err(|e| self.failed(&e))?;
        let best = info.range[usize::from(info.higher_is_better)];
        let allowed = SLACK * best.abs().max(1.0) + self.metric.shortfall();
        if !outcome
            .value
            .is_some_and(|value| (value - best).abs() <= allowed)
        {
            return Err(self.violation(
                "perfect items reach the better end",
                format!("{:?} instead of {best}", outcome.value),
            ));
        }
        Ok(())
    }

    /// Items in which nothing was said, alone and among others.
    fn silence(&self) -> Result<(), Violation> {
        let silent = self.examples(2, Example::Empty, &mut Seed(17).rng());
        for value in self
            .metric
            .per_item(&silent)
            .map_err(|e| self.failed(&e))?
            .into_iter()
            .flatten()
        {
            self.in_range(value)?;
        }
        Ok(())
    }

    fn in_range(&self, value: f64) -> Result<(), Violation> {
        let [low, high] = self.metric.info().range;
        let slack = |end: f64| {
            if end.is_finite() {
                SLACK * end.abs().max(1.0)
            } else {
                0.0
            }
        };
        if (low - slack(low)..=high + slack(high)).contains(&value) {
            Ok(())
        } else {
            Err(self.violation("in range", format!("{value} is outside {low} to {high}")))
        }
    }

    fn random(&self, n: usize, rng: &mut Rng) -> Result<(), Violation> {
        let observations = self.examples(n, Example::Random, rng);
        let failed = |error: Error| self.failed(&error);
        let outcome = self
            .metric
            .evaluate(&observations, Some(&settings()))
            .map_err(failed)?;
        let items = self.metric.per_item(&observations).map_err(failed)?;
        if items.len() != n {
            let detail = format!("{} values of {n} items", items.len());
            return Err(self.violation("every item has a place", detail));
        }
        // A share of nothing has no value, for example the precision of one answer `no`. That may happen
        // to a few items, and only where none of them has a value alone.
        if outcome.value.is_none() && n < MANY && items.iter().all(Option::is_none) {
            return Ok(());
        }
        let value = outcome
            .value
            .ok_or_else(|| self.violation("items have a value", format!("{n} items")))?;
        if outcome.interval.is_some() != (n > 1) {
            return Err(self.violation(
                "two items or more have an interval",
                format!("{:?} of {n} items", outcome.interval),
            ));
        }
        let ends = outcome
            .interval
            .map(|interval| [interval.low, interval.high]);
        for value in [value]
            .into_iter()
            .chain(ends.into_iter().flatten())
            .chain(items.into_iter().flatten())
        {
            self.in_range(value)?;
        }

        let close = |other: Option<f64>| {
            other.is_some_and(|other| (other - value).abs() <= ROUNDING * value.abs())
        };
        for part in [1, 3, n] {
            let merged = self
                .metric
                .value_in_parts(&observations, part)
                .map_err(failed)?;
            if !close(merged) {
                return Err(self.violation(
                    "merging in parts keeps the value",
                    format!("{merged:?} instead of {value} in parts of {part} of {n} items"),
                ));
            }
        }

        let mut order: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut order);
        let shuffled = self.metric.picked(&observations, &order).map_err(failed)?;
        let shuffled = self.metric.evaluate(&shuffled, None).map_err(failed)?;
        if !close(shuffled.value) {
            return Err(self.violation(
                "the order of items does not matter",
                format!("{:?} instead of {value} of {n} items", shuffled.value),
            ));
        }

        let repeated = self.metric.with_references_twice(&observations);
        if let Some(repeated) = repeated.map_err(failed)? {
            let repeated = self.metric.evaluate(&repeated, None).map_err(failed)?;
            if !close(repeated.value) {
                return Err(self.violation(
                    "a reference that is there twice says nothing new",
                    format!("{:?} instead of {value} of {n} items", repeated.value),
                ));
            }
        }

        let twice: Vec<usize> = (0..n).chain(0..n).collect();
        let twice = self.metric.picked(&observations, &twice).map_err(failed)?;
        let twice = self.metric.evaluate(&twice, None).map_err(failed)?;
        let value = twice
            .value
            .ok_or_else(|| self.violation("items have a value", format!("{n} items twice")))?;
        self.in_range(value)
    }
}

/// Which [`Examples`] to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// [`Examples::random`].
    Random,
    /// [`Examples::perfect`].
    Perfect,
    /// [`Examples::empty`]; none at all where the kind of item has none.
    Empty,
}

fn settings() -> Bootstrap {
    Bootstrap {
        resamples: 100,
        confidence: 0.95,
        method: Method::Percentile,
        seed: Seed(17),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Mean, Metric, MetricInfo};
    use crate::{METRICS, Result, registry};

    #[test]
    fn every_registered_metric_conforms() {
        let resources = resources();
        for metric in METRICS {
            check(*metric, &resources).unwrap();
        }
    }

    /// Breaks one rule each, to see that the kit notices.
    struct Broken(&'static str);

    impl Metric for Broken {
        type Item = Rank;
        type Corpus = ();
        type Stats = Mean;

        fn info(&self) -> MetricInfo {
            let good = registry::metric("accuracy@1").unwrap().info();
            MetricInfo {
                higher_is_better: self.0 != "direction",
                ..good
            }
        }

        fn corpus(&self, _: &[Rank], _: &Resources) -> Result<()> {
            Ok(())
        }

        fn stats(&self, (): &(), rank: &Rank) -> Mean {
            let hit = f64::from(u8::from(rank.above == 0));
            Mean::of(if self.0 == "range" && hit == 0.0 {
                -1.0
            } else {
                hit
            })
        }

        fn value(&self, stats: &Mean) -> Option<f64> {
            match self.0 {
                "empty" => Some(stats.value().unwrap_or(0.0)),
                "silent" => None,
                "picky" if stats.count > 1 && stats.sum < stats.count as f64 => None,
                "nan" => Some(f64::NAN),
                _ => stats.value(),
            }
        }
    }

    #[test]
    fn a_metric_that_breaks_a_rule_is_named_with_it() {
        let resources = Resources::default();
        let rule = |what| check(&Broken(what), &resources).unwrap_err().rule;
        assert_eq!(rule("empty"), "no items, no value");
        assert_eq!(rule("silent"), "perfect items reach the better end");
        assert_eq!(rule("direction"), "perfect items reach the better end");
        assert_eq!(rule("range"), "in range");
        assert_eq!(rule("nan"), "evaluates");
        assert_eq!(rule("picky"), "items have a value");
        assert!(check(&Broken("nothing"), &resources).is_ok());
    }
}
