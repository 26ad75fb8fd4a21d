//! Bootstrap intervals over per-item sums: percentile, basic and `BCa`.
//!
//! Items are drawn with replacement, their sums merged, the value taken; the spread of many such
//! values is the interval. Resample `b` draws from `seed.child("resample", b)`, so that an interval
//! depends on the seed and the items in their order, never on threads. Percentiles interpolate
//! linearly, as in NumPy; `BCa` is that of `scipy.stats.bootstrap`.
//!
//! Items are resampled, not the data they were made from: a rank is one query's rank among the
//! candidates that were there.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sightline_core::Seed;
use sightline_core::statistics::{normal_cdf, normal_quantile};

use crate::metric::{Stats, merged};

/// What interval to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Resamples to draw.
    pub resamples: u32,
    /// Share of the resampled values between the ends, for example 0.95.
    pub confidence: f64,
    /// How the ends are taken.
    pub method: Method,
    /// From which every draw derives.
    pub seed: Seed,
}

/// How the ends are taken from the resampled values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The quantiles themselves. Never leaves the range of the metric.
    Percentile,
    /// The quantiles mirrored at the value.
    Basic,
    /// Bias-corrected and accelerated (Efron 1987). Not defined when all items are equal.
    Bca,
}

impl Method {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Percentile => "percentile",
            Self::Basic => "basic",
            Self::Bca => "bca",
        }
    }
}

/// Lower and upper end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The interval of `value` over items whose sums are `stats`; `None` for fewer than two, whose resamples
/// are all the same, without resamples, or when the method is not defined for them.
pub fn interval<S: Stats>(
    stats: &[S],
    value: impl Fn(&S) -> Option<f64> + Sync,
    settings: &Bootstrap,
) -> Option<Interval> {
    if stats.len() < 2 {
        return None;
    }
    let resampled = resample(stats, &value, settings.resamples, settings.seed);
    interval_from(
        stats,
        value,
        resampled,
        settings.confidence,
        settings.method,
    )
}

/// The standard error of `value`, by leaving out each item in turn (jackknife); of a mean it is the
/// deviation of the items over the root of their number. Above `groups` items, groups of neighbours are
/// left out instead of single ones. `None` for fewer than two items, or where a part has no value.
pub fn standard_error<S: Stats>(
    stats: &[S],
    value: impl Fn(&S) -> Option<f64>,
    groups: usize,
) -> Option<f64> {
    let values = leave_one_out(&grouped(stats, groups), value)?;
    if values.len() < 2 {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    Some(((n - 1.0) / n * squares).sqrt())
}

/// The merged sums of at most `groups` runs of neighbours of about equal length.
fn grouped<S: Stats>(stats: &[S], groups: usize) -> Vec<S> {
    if stats.len() <= groups {
        return stats.to_vec();
    }
    let groups = groups.max(1);
    (0..groups)
        .map(|group| {
            let at = |group: usize| group * stats.len() / groups;
            merged(&stats[at(group)..at(group + 1)])
        })
        .collect()
}

/// The interval from values that were resampled already, for example by [`resample_at`].
pub fn interval_from<S: Stats>(
    stats: &[S],
    value: impl Fn(&S) -> Option<f64>,
    mut resampled: Vec<f64>,
    confidence: f64,
    method: Method,
) -> Option<Interval> {
    let point = value(&merged(stats))?;
    resampled.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let between = |low: f64, high: f64| {
        Some(Interval {
            low: quantile(&resampled, low)?,
            high: quantile(&resampled, high)?,
        })
    };
    match method {
        Method::Percentile => between(tail, 1.0 - tail),
        Method::Basic => between(tail, 1.0 - tail).map(|ends| Interval {
            low: 2.0 * point - ends.high,
            high: 2.0 * point - ends.low,
        }),
        Method::Bca => {
            let bias = normal_quantile(share_below(&resampled, point));
            let acceleration = acceleration(&leave_one_out(stats, value)?);
            let adjusted = |tail: f64| {
                let z = bias + normal_quantile(tail);
                normal_cdf(bias + z / (1.0 - acceleration * z))
            };
            between(adjusted(tail), adjusted(1.0 - tail))
        }
    }
}

/// Values of `resamples` random resamples, in the order of their number.
pub fn resample<S: Stats>(
    stats: &[S],
    value: impl Fn(&S) -> Option<f64> + Sync,
    resamples: u32,
    seed: Seed,
) -> Vec<f64> {
    let n = stats.len() as u64;
    (0..u64::from(resamples))
        .into_par_iter()
        .filter_map(|number| {
            let mut rng = seed.child("resample", number).rng();
            let mut sum = S::default();
            for _ in 0..n {
                sum.merge(&stats[rng.below(n) as usize]);
            }
            value(&sum)
        })
        .collect()
}

/// Values of the resamples that `indices` name, in order; indices without an item are passed over.
pub fn resample_at<S: Stats>(
    stats: &[S],
    value: impl Fn(&S) -> Option<f64>,
    indices: &[Vec<usize>],
) -> Vec<f64> {
    indices
        .iter()
        .filter_map(|resample| {
            let mut sum = S::default();
            for one in resample.iter().filter_map(|&index| stats.get(index)) {
                sum.merge(one);
            }
            value(&sum)
        })
        .collect()
}

/// The quantile `q` of sorted values, interpolated linearly between order statistics; `None` of
/// nothing or for a `q` outside 0 to 1.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let last = sorted.len().checked_sub(1)?;
    let position = q * last as f64;
    let low = (position.floor() as usize).min(last);
    let high = (low + 1).min(last);
    let share = position - low as f64;
    Some(sorted[low] + (sorted[high] - sorted[low]) * share)
}

/// The share of values below `point`, those equal to it counted half.
fn share_below(sorted: &[f64], point: f64) -> f64 {
    let below = sorted.partition_point(|&value| value < point);
    let not_above = sorted.partition_point(|&value| value <= point);
    (below + not_above) as f64 / (2 * sorted.len()) as f64
}

/// The value without each item in turn, from sums merged from both ends.
fn leave_one_out<S: Stats>(stats: &[S], value: impl Fn(&S) -> Option<f64>) -> Option<Vec<f64>> {
    let mut after = vec![S::default(); stats.len() + 1];
    for i in (0..stats.len()).rev() {
        let mut sum = stats[i].clone();
        sum.merge(&after[i + 1]);
        after[i] = sum;
    }
    let mut before = S::default();
    stats
        .iter()
        .zip(&after[1..])
        .map(|(one, rest)| {
            let mut sum = before.clone();
            sum.merge(rest);
            before.merge(one);
            value(&sum)
        })
        .collect()
}

/// A sixth of the skewness of the jackknife's values.
fn acceleration(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviations = || values.iter().map(|value| (n - 1.0) * (mean - value));
    let cubes = deviations().map(|u| u * u * u).sum::<f64>() / n.powi(3);
    let squares = deviations().map(|u| u * u).sum::<f64>() / n.powi(2);
    cubes / (6.0 * squares.powf(1.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Mean;

    fn settings(method: Method) -> Bootstrap {
        Bootstrap {
            resamples: 2000,
            confidence: 0.95,
            method,
            seed: Seed(17),
        }
    }

    fn means(values: &[f64]) -> Vec<Mean> {
        values.iter().map(|&value| Mean::of(value)).collect()
    }

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&sorted, 0.0), Some(1.0));
        assert_eq!(quantile(&sorted, 0.5), Some(3.0));
        assert_eq!(quantile(&sorted, 1.0), Some(8.0));
        assert_eq!(quantile(&sorted, f64::NAN), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
        let stats = means(&values);
        let run = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| resample(&stats, Mean::value, 300, Seed(3)))
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn equal_items_have_an_interval_of_no_width_but_no_bca() {
        let stats = means(&[0.25; 20]);
        let ends = interval(&stats, Mean::value, &settings(Method::Percentile)).unwrap();
        assert_eq!((ends.low, ends.high), (0.25, 0.25));
        let ends = interval(&stats, Mean::value, &settings(Method::Basic)).unwrap();
        assert_eq!((ends.low, ends.high), (0.25, 0.25));
        assert_eq!(interval(&stats, Mean::value, &settings(Method::Bca)), None);
        for few in [&[][..], &stats[..1]] {
            let none = interval(few, Mean::value, &settings(Method::Percentile));
            assert_eq!(none, None);
        }
    }

    #[test]
    fn an_interval_of_95_percent_misses_about_one_mean_in_twenty() {
        let mut missed = 0;
        for round in 0..400u64 {
            let mut rng = Seed(5).child("round", round).rng();
            let values: Vec<f64> = (0..60).map(|_| rng.normal()).collect();
            let settings = Bootstrap {
                resamples: 300,
                ..settings(Method::Percentile)
            };
            let ends = interval(&means(&values), Mean::value, &settings).unwrap();
            missed += u32::from(!(ends.low..=ends.high).contains(&0.0));
        }
        assert!((10..=40).contains(&missed), "{missed} of 400");
    }
}
