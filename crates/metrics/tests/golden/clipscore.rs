//! CLIPScore and RefCLIPScore of recorded embeddings.

use serde::Deserialize;
use sightline_metrics::clip_score::{
    Similarities, clip_score, ref_clip_score, ref_clip_score_code,
};
use sightline_metrics::{Input, Observations, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};

/// Per item and corpus.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClipScores {
    /// What cosines were multiplied with.
    w: f64,
    rows: Vec<Row>,
    mean_clipscore: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    image: Vec<f64>,
    text: Vec<f64>,
    refs: Vec<Vec<f64>>,
    clipscore: Number,
    ref_text_max: Number,
    refclipscore_official_code: Number,
    refclipscore_paper: Number,
}

/// A number, or `"nan"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Value(f64),
    Name(String),
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let scores: ClipScores = folder.json(file)?;
    report.case(
        "clipscore",
        "w",
        close(Some(clip_score(1.0)), scores.w, 0.0),
    );
    let mut items = Vec::new();
    for (number, row) in scores.rows.iter().enumerate() {
        let item = Similarities::new(&row.image, &row.text, &row.refs).map_err(|e| e.to_string());
        let outcome = item.and_then(|item| {
            items.push(item);
            row.check(item)
        });
        report.case("clipscore", &number.to_string(), outcome);
    }
    let mean = value("clipscore", items)?;
    let mean = close(mean, scores.mean_clipscore, TOLERANCE);
    report.case("clipscore", "mean_clipscore", mean);
    Ok(())
}

impl Row {
    fn check(&self, item: Similarities) -> Result<(), String> {
        let reference = item.reference().ok_or("a row without references")?;
        let named = |name: &'static str| move |e| format!("{name}: {e}");
        equal(reference, &self.ref_text_max).map_err(named("ref_text_max"))?;

        let raw = clip_score(item.image());
        equal(raw, &self.clipscore).map_err(named("clipscore"))?;
        let raw = ref_clip_score(item.image(), reference);
        equal(raw, &self.refclipscore_paper).map_err(named("refclipscore_paper"))?;
        let raw = ref_clip_score_code(item.image(), reference);
        equal(raw, &self.refclipscore_official_code)
            .map_err(named("refclipscore_official_code"))?;

        for (id, expected) in [
            ("clipscore", &self.clipscore),
            ("refclipscore", &self.refclipscore_paper),
            ("refclipscore-code", &self.refclipscore_official_code),
        ] {
            match (value(id, vec![item]), expected.read()?) {
                (Ok(value), expected) if !expected.is_nan() => {
                    close(value, expected, TOLERANCE).map_err(named(id))?;
                }
                (Err(_), expected) if expected.is_nan() => {}
                (value, expected) => {
                    return Err(format!("{id}: {value:?} instead of {expected}"));
                }
            }
        }
        Ok(())
    }
}

/// What the registered metric makes of `items`.
fn value(id: &str, items: Vec<Similarities>) -> Result<Option<f64>, String> {
    let mut observations = Observations::default();
    observations.set(Input::Similarity, items);
    let metric = registry::metric(id).map_err(|e| e.to_string())?;
    let outcome = metric
        .evaluate(&observations, None)
        .map_err(|e| e.to_string())?;
    Ok(outcome.value)
}

impl Number {
    fn read(&self) -> Result<f64, String> {
        match self {
            Self::Value(value) => Ok(*value),
            Self::Name(name) if name == "nan" => Ok(f64::NAN),
            Self::Name(name) => Err(format!("`{name}` is not a number")),
        }
    }
}

/// Whether two numbers are close, or both none.
fn equal(actual: f64, expected: &Number) -> Result<(), String> {
    match expected.read()? {
        expected if expected.is_nan() && actual.is_nan() => Ok(()),
        expected => close(Some(actual), expected, TOLERANCE),
    }
}
