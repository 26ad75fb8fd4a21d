//! What every registered metric must do; a test loops over the registry.
//!
//! ```
//! for metric in sightline_metrics::METRICS {
//!     sightline_metrics::conformance::check(*metric)?;
//! }
//! # Ok::<(), sightline_metrics::conformance::Violation>(())
//! ```

use sightline_core::Seed;
use sightline_core::seed::Rng;

use crate::bootstrap::{Bootstrap, Method};
use crate::metric::DynMetric;
use crate::{Error, Input, Observations, Rank};

/// Sums may be added in another order: values may then differ by this much of themselves.
const ROUNDING: f64 = 1e-12;

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

/// Checks that `metric` has no value for no items, stays in its range (and its interval, too), does
/// not depend on the order of items or on how sums are merged, and reaches the better end of its
/// range for perfect items.
pub fn check(metric: &dyn DynMetric) -> Result<(), Violation> {
    let info = metric.info();
    let violation = |rule: &'static str, detail: String| Violation {
        metric: info.id,
        rule,
        detail,
    };
    let failed = |error: Error| violation("evaluates", error.to_string());
    let settings = Bootstrap {
        resamples: 200,
        confidence: 0.95,
        method: Method::Percentile,
        seed: Seed(17),
    };

    let nothing = metric
        .evaluate(&observations(&[]), Some(&settings))
        .map_err(failed)?;
    if nothing.value.is_some() || nothing.interval.is_some() || nothing.items != 0 {
        return Err(violation("no items, no value", format!("{nothing:?}")));
    }

    let [low, high] = info.range;
    let perfect = metric
        .evaluate(&observations(&[Rank::default(); 3]), None)
        .map_err(failed)?;
    let best = if info.higher_is_better { high } else { low };
    if perfect.value != Some(best) {
        return Err(violation(
            "perfect items reach the better end",
            format!("{:?} instead of {best}", perfect.value),
        ));
    }

    for (round, n) in [1, 2, 7, 100].into_iter().enumerate() {
        let mut rng = Seed(17).child("conformance", round as u64).rng();
        let mut items: Vec<Rank> = (0..n).map(|_| random_rank(&mut rng)).collect();
        let outcome = metric
            .evaluate(&observations(&items), Some(&settings))
            .map_err(failed)?;
        let value = outcome
            .value
            .ok_or_else(|| violation("items have a value", format!("{n} items, no value")))?;
        let interval = outcome
            .interval
            .ok_or_else(|| violation("items have an interval", format!("{n} items")))?;
        for value in [value, interval.low, interval.high] {
            if !(low..=high).contains(&value) {
                return Err(violation("in range", format!("{value} of {n} items")));
            }
        }
        let close = |other: Option<f64>| {
            other.is_some_and(|other| (other - value).abs() <= ROUNDING * value.abs())
        };
        for part in [1, 3, n] {
            let merged = metric
                .value_in_parts(&observations(&items), part)
                .map_err(failed)?;
            if !close(merged) {
                return Err(violation(
                    "merging in parts keeps the value",
                    format!("{merged:?} instead of {value} in parts of {part} of {n} items"),
                ));
            }
        }
        rng.shuffle(&mut items);
        let shuffled = metric
            .evaluate(&observations(&items), None)
            .map_err(failed)?;
        if !close(shuffled.value) {
            return Err(violation(
                "the order of items does not matter",
                format!("{:?} instead of {value} of {n} items", shuffled.value),
            ));
        }
    }
    Ok(())
}

/// The same items for every input.
fn observations(ranks: &[Rank]) -> Observations {
    let mut observations = Observations::default();
    for input in Input::ALL {
        observations.set_ranks(input, ranks.to_vec());
    }
    observations
}

fn random_rank(rng: &mut Rng) -> Rank {
    let mut below = |n| u32::try_from(rng.below(n)).unwrap_or(0);
    Rank {
        above: below(12),
        tied_before: below(3),
        tied_after: below(3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{Mean, Metric, MetricInfo};
    use crate::{METRICS, registry};

    #[test]
    fn every_registered_metric_conforms() {
        for metric in METRICS {
            check(*metric).unwrap();
        }
    }

    /// Breaks one rule each, to see that the kit notices.
    struct Broken(&'static str);

    impl Metric for Broken {
        type Item = Rank;
        type Stats = Mean;

        fn info(&self) -> MetricInfo {
            let good = registry::metric("accuracy@1").unwrap().info();
            MetricInfo {
                higher_is_better: self.0 != "direction",
                ..good
            }
        }

        fn stats(&self, rank: &Rank) -> Mean {
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
                _ => stats.value(),
            }
        }

        fn is_decided_by_ties(&self, _: &Rank) -> bool {
            false
        }
    }

    #[test]
    fn a_metric_that_breaks_a_rule_is_named_with_it() {
        let rule = |what| check(&Broken(what)).unwrap_err().rule;
        assert_eq!(rule("empty"), "no items, no value");
        assert_eq!(rule("silent"), "perfect items reach the better end");
        assert_eq!(rule("direction"), "perfect items reach the better end");
        assert_eq!(rule("range"), "in range");
        assert!(check(&Broken("nothing")).is_ok());
    }
}
