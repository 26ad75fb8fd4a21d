//! Intervals from given indices and from our own.

use std::collections::BTreeMap;

use serde::Deserialize;
use sightline_core::Seed;
use sightline_metrics::Interval;
use sightline_metrics::bootstrap::{self, Method, interval_from, resample_at};
use sightline_metrics::metric::{Mean, merged};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};

/// Resamples behind the `statistical` intervals of the area's README.
const STATISTICAL_RESAMPLES: u32 = 19_999;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BootstrapCase {
    name: String,
    values: Vec<f64>,
    mean: f64,
    se: f64,
    #[serde(default)]
    indices: Vec<Vec<usize>>,
    distribution_mean: Option<f64>,
    /// By method and confidence: `percentile:0.95`. Computed from `indices`.
    #[serde(default)]
    exact: BTreeMap<String, [f64; 2]>,
    /// By method, 95 %, from 19,999 resamples of the reference's own.
    statistical: BTreeMap<String, [f64; 2]>,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<BootstrapCase> = folder.json(file)?;
    for case in &cases {
        report.case("bootstrap", &case.name, bootstrap_case(case));
    }
    Ok(())
}

fn bootstrap_case(case: &BootstrapCase) -> Result<(), String> {
    let stats: Vec<Mean> = case.values.iter().map(|&value| Mean::of(value)).collect();
    close(Mean::value(&merged(&stats)), case.mean, 1e-9).map_err(|e| format!("mean: {e}"))?;
    close(
        bootstrap::standard_error(&stats, Mean::value, usize::MAX),
        case.se,
        1e-9,
    )
    .map_err(|e| format!("se: {e}"))?;

    let resampled = resample_at(&stats, Mean::value, &case.indices);
    if let Some(expected) = case.distribution_mean {
        let mean = resampled.iter().sum::<f64>() / resampled.len() as f64;
        close(Some(mean), expected, 1e-9).map_err(|e| format!("distribution_mean: {e}"))?;
    }
    for (key, expected) in &case.exact {
        let (name, confidence) = key.split_once(':').ok_or("no confidence in a key")?;
        let confidence = confidence.parse().map_err(|_| format!("`{key}`"))?;
        let method = method(name)?;
        let ends = interval_from(&stats, Mean::value, resampled.clone(), confidence, method);
        let differences = differences(ends, *expected).map_err(|e| format!("{key}: {e}"))?;
        if differences
            .into_iter()
            .any(|difference| difference.is_nan() || difference > 1e-9)
        {
            return Err(format!("{key}: {ends:?} instead of {expected:?}"));
        }
    }
    let resampled = bootstrap::resample(&stats, Mean::value, STATISTICAL_RESAMPLES, Seed(17));
    for (key, &expected) in &case.statistical {
        let method = method(key)?;
        let ends = |confidence| {
            interval_from(&stats, Mean::value, resampled.clone(), confidence, method)
                .ok_or_else(|| format!("{key}: no interval"))
        };
        let found = ends(0.95)?;
        let share = if method == Method::Bca { 0.05 } else { 0.03 };
        let allowed = share * (expected[1] - expected[0]);
        let near = differences(Some(found), expected)?.map(|difference| difference <= allowed);
        // Both sides drew their own resamples. Where items have few distinct values an end can only
        // jump, by more than that share of the width, when the draws put the 2.5 % mark on one side of a
        // jump or the other. So an end also agrees if its tail share does: four standard errors of
        // the difference of two shares counted in this many draws.
        let tail = 0.025f64;
        let slack = 4.0 * (2.0 * tail * (1.0 - tail) / f64::from(STATISTICAL_RESAMPLES)).sqrt();
        let inner = ends(1.0 - 2.0 * (tail + slack))?;
        let outer = ends(1.0 - 2.0 * (tail - slack))?;
        let within = |low: f64, end: f64, high: f64| low - 1e-9 <= end && end <= high + 1e-9;
        let jumped = [
            within(outer.low, expected[0], inner.low),
            within(inner.high, expected[1], outer.high),
        ];
        if (0..2).any(|end| !near[end] && !jumped[end]) {
            return Err(format!(
                "{key}: {found:?} instead of {expected:?}, allowed is {allowed:.6}"
            ));
        }
    }
    Ok(())
}

fn method(name: &str) -> Result<Method, String> {
    match name {
        "percentile" => Ok(Method::Percentile),
        "basic" => Ok(Method::Basic),
        "BCa" => Ok(Method::Bca),
        other => Err(format!("unknown method `{other}`")),
    }
}

fn differences(actual: Option<Interval>, expected: [f64; 2]) -> Result<[f64; 2], String> {
    let actual = actual.ok_or("no interval")?;
    Ok([
        (actual.low - expected[0]).abs(),
        (actual.high - expected[1]).abs(),
    ])
}
