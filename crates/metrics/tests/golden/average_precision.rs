//! Average precision of classes, over the area and at eleven points.

use serde::Deserialize;
use sightline_metrics::average_precision::{LabelledScores, Presence, Take, per_class};
use sightline_metrics::{Input, Observations, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, Header, close};

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    header: Header,
    cases: Vec<AveragePrecisionCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AveragePrecisionCase {
    /// One row for each image, one column for each class; 1 positive, 0 negative, -1 ignored.
    labels: Vec<Vec<i8>>,
    scores: Vec<Vec<f64>>,
    /// `null` for a class without a positive label.
    average_precision: Vec<Option<f64>>,
    eleven_points: Vec<Option<f64>>,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let file: File = folder.json(file)?;
    report.case(
        "average-precision",
        "header",
        file.header.names_its_origin(),
    );
    for (number, case) in file.cases.iter().enumerate() {
        let result = average_precision_case(case);
        report.case("average-precision", &number.to_string(), result);
    }
    Ok(())
}

fn average_precision_case(case: &AveragePrecisionCase) -> Result<(), String> {
    if case.labels.len() != case.scores.len() {
        return Err("not as many rows of labels as of scores".to_owned());
    }
    let items = case
        .labels
        .iter()
        .zip(&case.scores)
        .map(|(labels, scores)| {
            let labels = labels.iter().map(|label| match label {
                1 => Ok(Presence::Positive),
                0 => Ok(Presence::Negative),
                -1 => Ok(Presence::Ignored),
                other => Err(format!("unknown label {other}")),
            });
            LabelledScores::new(scores.clone(), labels.collect::<Result<_, _>>()?)
                .map_err(|e| e.to_string())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut observations = Observations::default();
    observations.set(Input::MultiLabel, items.clone());
    for (id, take, expected) in [
        ("map", Take::Area, &case.average_precision),
        ("voc07-map-11", Take::ElevenPoints, &case.eleven_points),
    ] {
        let found = per_class(&items, take).map_err(|e| e.to_string())?;
        if found.len() != expected.len() {
            return Err(format!(
                "{} classes instead of {}",
                found.len(),
                expected.len()
            ));
        }
        for (class, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            match expected {
                Some(expected) => close(found, expected, TOLERANCE),
                None if found.is_none() => Ok(()),
                None => Err(format!("{found:?} instead of none")),
            }
            .map_err(|e| format!("{id} of class {class}: {e}"))?;
        }
        let known: Vec<f64> = expected.iter().flatten().copied().collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        let metric = registry::metric(id).map_err(|e| e.to_string())?;
        let outcome = metric.evaluate(&observations, None);
        let value = outcome.map_err(|e| e.to_string())?.value;
        close(value, mean, TOLERANCE).map_err(|e| format!("{id}: {e}"))?;
    }
    Ok(())
}
