//! The scores beside those of the baseline.

use sightline_core::statistics::holm;
use sightline_metrics::comparison::minimum_detectable_difference;
use sightline_metrics::{Bootstrap, Comparison, DynMetric, Error, Observations};

use super::output::Compared;

/// Tests each metric, and corrects the p-values of all that were tested.
pub(super) fn compare(
    metrics: &[&'static dyn DynMetric],
    baseline: &Observations,
    observations: &Observations,
    settings: &Bootstrap,
    more_images: f64,
) -> Result<Vec<Compared>, Error> {
    let comparisons = metrics
        .iter()
        .map(|metric| metric.compare(baseline, observations, settings))
        .collect::<Result<Vec<Comparison>, Error>>()?;
    let bootstrap = corrected(&comparisons, |one| one.p_bootstrap);
    let randomisation = corrected(&comparisons, |one| one.p_randomisation);
    let corrected = bootstrap.into_iter().zip(randomisation);
    let compared = |(one, (bootstrap, randomisation)): (&Comparison, _)| Compared {
        images: one.items,
        value: one.b,
        baseline: one.a,
        difference: one.difference,
        interval: one.interval.map(|ends| [ends.low, ends.high]),
        standard_error: one.standard_error,
        detectable: one
            .standard_error
            .map(|error| minimum_detectable_difference(error, more_images)),
        p_bootstrap: one.p_bootstrap,
        p_bootstrap_corrected: bootstrap,
        p_randomisation: one.p_randomisation,
        p_randomisation_corrected: randomisation,
    };
    Ok(comparisons.iter().zip(corrected).map(compared).collect())
}

/// The p-values that there are, corrected for their number.
fn corrected(comparisons: &[Comparison], p: fn(&Comparison) -> Option<f64>) -> Vec<Option<f64>> {
    let tested: Vec<f64> = comparisons.iter().filter_map(p).collect();
    let mut corrected = holm(&tested).into_iter();
    let one = |comparison| p(comparison).and_then(|_| corrected.next());
    comparisons.iter().map(one).collect()
}
