//! Whether two models differ on the same items, and how small a difference could be seen.
//!
//! Items are paired: what one model finds hard, the other mostly does too, so that the difference of two
//! scores is surer than either score. Two tests are made, because each has its critics:
//!
//! | test | question |
//! | --- | --- |
//! | paired bootstrap (Efron; Koehn 2004) | if other items had been drawn, how often would the sign of the difference change? |
//! | approximate randomisation (Noreen 1989) | if both models were one, how often would chance give a difference as large? |
//!
//! p-values are two-sided and never 0: `(1 + hits) / (1 + draws)`. Resamples of few items vary too little, so
//! that the bootstrap finds differences that are not there: of normal ones 1 in 6 at 5 items, 1 in 10 at 10
//! and 1 in 14 at 20, where it should be 1 in 20. Below [`FEWEST_ITEMS`] it gives no p-value; randomisation is
//! exact for any number. When several pairs are tested together,
//! correct them with [`sightline_core::statistics::holm`].

use rayon::prelude::*;
use sightline_core::Seed;
use sightline_core::statistics::normal_quantile;

use crate::bootstrap::{Bootstrap, Interval, quantile, standard_error};
use crate::metric::{Stats, merged};

/// Chance of a false positive that [`minimum_detectable_difference`] allows.
pub const LEVEL: f64 = 0.05;
/// Chance with which a difference of that size is found.
pub const POWER: f64 = 0.8;

/// Fewest pairs of items for which the bootstrap gives a p-value.
pub const FEWEST_ITEMS: usize = 20;

/// How two models compare on the same items: the second minus the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Value of the first; `None` when there was no item.
    pub a: Option<f64>,
    /// Value of the second.
    pub b: Option<f64>,
    /// The second minus the first.
    pub difference: Option<f64>,
    /// Interval of the difference, items resampled in pairs; of two pairs or more.
    pub interval: Option<Interval>,
    /// Standard error of the difference, when resamples were asked for.
    pub standard_error: Option<f64>,
    /// p-value of the paired bootstrap, from [`FEWEST_ITEMS`] pairs on.
    pub p_bootstrap: Option<f64>,
    /// p-value of approximate randomisation.
    pub p_randomisation: Option<f64>,
    /// The smallest difference that this many items would show.
    pub detectable: Option<f64>,
    /// Pairs of items.
    pub items: u64,
}

/// Compares the values of `a` and `b`, the sums of as many items in the same order.
pub fn compare<S: Stats>(
    a: &[S],
    b: &[S],
    value: impl Fn(&S) -> Option<f64> + Sync,
    groups: usize,
    settings: &Bootstrap,
) -> Comparison {
    let pairs: Vec<Pair<S>> = a
        .iter()
        .zip(b)
        .map(|(a, b)| Pair(a.clone(), b.clone()))
        .collect();
    let difference = |pair: &Pair<S>| Some(value(&pair.1)? - value(&pair.0)?);
    let observed = difference(&merged(&pairs));
    let error = (settings.resamples > 0)
        .then(|| standard_error(&pairs, difference, groups))
        .flatten();

    let mut resampled: Vec<f64> = draws(settings, "resample", |rng| {
        let mut sum: Pair<S> = Pair::default();
        for _ in 0..pairs.len() {
            sum.merge(&pairs[rng.below(pairs.len() as u64) as usize]);
        }
        difference(&sum)
    });
    let swapped = draws(settings, "swap", |rng| {
        let mut sum: Pair<S> = Pair::default();
        let mut coins = 0;
        for (at, Pair(a, b)) in pairs.iter().enumerate() {
            if at % 64 == 0 {
                coins = rng.bits();
            }
            let (first, second) = if coins & 1 == 1 { (b, a) } else { (a, b) };
            coins >>= 1;
            sum.0.merge(first);
            sum.1.merge(second);
        }
        difference(&sum)
    });

    resampled.sort_unstable_by(f64::total_cmp);
    let tail = (1.0 - settings.confidence) / 2.0;
    Comparison {
        a: value(&merged(a)),
        b: value(&merged(b)),
        difference: observed,
        interval: quantile(&resampled, tail)
            .zip(quantile(&resampled, 1.0 - tail))
            .filter(|_| pairs.len() > 1)
            .map(|(low, high)| Interval { low, high }),
        standard_error: error,
        p_bootstrap: p_of_sign(&resampled).filter(|_| pairs.len() >= FEWEST_ITEMS),
        p_randomisation: observed.and_then(|observed| p_of_size(&swapped, observed)),
        detectable: error.map(|error| minimum_detectable_difference(error, 1.0)),
        items: pairs.len() as u64,
    }
}

/// The smallest true difference that a test at level [`LEVEL`] finds with chance [`POWER`], for a
/// difference whose standard error is `standard_error`, if there were `items` times as many items.
///
/// For two models of about equal standard error e on different items, the standard error of the
/// difference is √2·e; on the same items it is that of [`Comparison::standard_error`].
///
/// ```
/// use sightline_metrics::comparison::minimum_detectable_difference;
/// assert!((minimum_detectable_difference(0.01, 1.0) - 0.0280).abs() < 1e-4);
/// assert!((minimum_detectable_difference(0.01, 4.0) - 0.0140).abs() < 1e-4);
/// ```
pub fn minimum_detectable_difference(standard_error: f64, items: f64) -> f64 {
    let width = normal_quantile(1.0 - LEVEL / 2.0) + normal_quantile(POWER);
    width * standard_error / items.sqrt()
}

/// How many times as many items are needed to find a difference of `difference`.
pub fn items_for(standard_error: f64, difference: f64) -> f64 {
    (minimum_detectable_difference(standard_error, 1.0) / difference).powi(2)
}

/// The sums of one item for both models.
#[derive(Clone, Debug, Default)]
struct Pair<S>(S, S);

impl<S: Stats> Stats for Pair<S> {
    fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
        self.1.merge(&other.1);
    }
}

fn draws(
    settings: &Bootstrap,
    name: &str,
    draw: impl Fn(&mut sightline_core::seed::Rng) -> Option<f64> + Sync,
) -> Vec<f64> {
    let seed: Seed = settings.seed;
    (0..u64::from(settings.resamples))
        .into_par_iter()
        .filter_map(|number| draw(&mut seed.child(name, number).rng()))
        .collect()
}

/// Twice the share of the rarer sign; a difference of nothing counts for both.
fn p_of_sign(resampled: &[f64]) -> Option<f64> {
    let share = |hits: usize| (1 + hits) as f64 / (1 + resampled.len()) as f64;
    let not_above = resampled.iter().filter(|d| **d <= 0.0).count();
    let not_below = resampled.iter().filter(|d| **d >= 0.0).count();
    (!resampled.is_empty()).then(|| (2.0 * share(not_above.min(not_below))).min(1.0))
}

/// The share of differences at least as large as the one observed.
fn p_of_size(swapped: &[f64], observed: f64) -> Option<f64> {
    // Sums added in another order must not make an equal difference smaller.
    let least = observed.abs() * (1.0 - 1e-12);
    let hits = swapped.iter().filter(|d| d.abs() >= least).count();
    (!swapped.is_empty()).then(|| (1 + hits) as f64 / (1 + swapped.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Method;
    use crate::metric::Mean;

    fn settings() -> Bootstrap {
        Bootstrap {
            resamples: 2000,
            confidence: 0.95,
            method: Method::Percentile,
            seed: Seed(17),
        }
    }

    fn means(values: impl IntoIterator<Item = f64>) -> Vec<Mean> {
        values.into_iter().map(Mean::of).collect()
    }

    fn noise(name: &str, n: u64) -> Vec<f64> {
        let mut rng = Seed(3).child(name, 0).rng();
        (0..n).map(|_| rng.normal()).collect()
    }

    #[test]
    fn a_small_difference_on_the_same_items_is_found_and_no_difference_is_not() {
        let hardness = noise("hardness", 400);
        let jitter = noise("jitter", 400);
        let a = means(hardness.iter().copied());
        let better = means(
            hardness
                .iter()
                .zip(&jitter)
                .map(|(h, j)| h + 0.05 + 0.2 * j),
        );
        let same = means(
            hardness
                .iter()
                .zip(&jitter)
                .map(|(h, j)| h + 0.2 * j - 0.2 * jitter.iter().sum::<f64>() / 400.0),
        );

        let found = compare(&a, &better, Mean::value, usize::MAX, &settings());
        assert!(
            found.p_bootstrap < Some(0.01) && found.p_randomisation < Some(0.01),
            "{found:?}"
        );
        assert!(found.interval.unwrap().low > 0.0);
        let error = found.standard_error.unwrap();
        assert!((error - 0.2 / 20.0).abs() < 0.001, "{error}");

        let none = compare(&a, &same, Mean::value, usize::MAX, &settings());
        assert!(
            none.p_bootstrap > Some(0.5) && none.p_randomisation > Some(0.5),
            "{none:?}"
        );
    }

    #[test]
    fn a_model_compared_with_itself_does_not_differ() {
        let a = means(noise("a", 50));
        let same = compare(&a, &a, Mean::value, usize::MAX, &settings());
        assert_eq!(same.difference, Some(0.0));
        assert_eq!(
            (same.p_bootstrap, same.p_randomisation),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(same.standard_error, Some(0.0));
    }

    #[test]
    fn false_positives_are_as_rare_as_the_level_says() {
        let settings = Bootstrap {
            resamples: 199,
            ..settings()
        };
        let mut found = [0, 0];
        for round in 0..400 {
            let mut rng = Seed(5).child("round", round).rng();
            let mut draw = || means((0..40).map(|_| rng.normal()).collect::<Vec<_>>());
            let comparison = compare(&draw(), &draw(), Mean::value, usize::MAX, &settings);
            found[0] += u32::from(comparison.p_bootstrap <= Some(0.05));
            found[1] += u32::from(comparison.p_randomisation <= Some(0.05));
        }
        assert!(
            found.iter().all(|n| (6..=40).contains(n)),
            "{found:?} of 400"
        );
    }

    #[test]
    fn few_items_have_no_p_of_the_bootstrap_and_no_resamples_no_spread() {
        let one_sided = |n: usize| (means(vec![0.0; n]), means(vec![1.0; n]));
        let (a, b) = one_sided(FEWEST_ITEMS - 1);
        let few = compare(&a, &b, Mean::value, usize::MAX, &settings());
        assert_eq!(few.p_bootstrap, None);
        assert!(few.p_randomisation < Some(0.01) && few.interval.is_some());
        let (a, b) = one_sided(1);
        let one = compare(&a, &b, Mean::value, usize::MAX, &settings());
        assert_eq!(
            (one.p_bootstrap, one.interval, one.p_randomisation),
            (None, None, Some(1.0)),
            "one image shows nothing"
        );
        let (a, b) = one_sided(FEWEST_ITEMS);
        let enough = compare(&a, &b, Mean::value, usize::MAX, &settings());
        assert!(enough.p_bootstrap < Some(0.01));

        let none = Bootstrap {
            resamples: 0,
            ..settings()
        };
        let plain = compare(&a, &b, Mean::value, usize::MAX, &none);
        assert_eq!((plain.a, plain.difference), (Some(0.0), Some(1.0)));
        assert_eq!(
            (plain.interval, plain.standard_error, plain.p_randomisation),
            (None, None, None)
        );
    }

    #[test]
    fn nothing_is_compared_without_items() {
        let none = compare::<Mean>(&[], &[], Mean::value, usize::MAX, &settings());
        assert_eq!(
            (none.difference, none.p_bootstrap, none.interval),
            (None, None, None)
        );
    }

    #[test]
    fn power_follows_the_number_of_items() {
        assert!((items_for(0.01, 0.028) - 1.0).abs() < 0.01);
        assert!((items_for(0.01, 0.014) - 4.0).abs() < 0.02);
    }
}
