//! rouge-score with and without its stemmer, against the first reference and against all.

use serde::Deserialize;
use sightline_metrics::rouge_score::{Score, Scores, Words, score};
use sightline_metrics::{CaptionItem, Input, Observations, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};

const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    hyp: String,
    refs: Vec<String>,
    plain: Expected,
    plain_multi: Expected,
    stem: Expected,
    stem_multi: Expected,
}

/// Precision, recall and F1 of each measure.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    rouge1: [f64; 3],
    rouge2: [f64; 3],
    #[serde(rename = "rougeL")]
    rouge_l: [f64; 3],
    #[serde(rename = "rougeLsum")]
    rouge_lsum: [f64; 3],
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<Case> = folder.json_lines(file)?;
    for (number, case) in cases.iter().enumerate() {
        report.case(file, &number.to_string(), check(case));
    }
    Ok(())
}

fn check(case: &Case) -> Result<(), String> {
    let first = case.refs.get(..1).ok_or("no references")?;
    for (field, references, words, expected) in [
        ("plain", first, Words::AsWritten, &case.plain),
        (
            "plain_multi",
            &case.refs,
            Words::AsWritten,
            &case.plain_multi,
        ),
        ("stem", first, Words::Stemmed, &case.stem),
        ("stem_multi", &case.refs, Words::Stemmed, &case.stem_multi),
    ] {
        let scores = score(&case.hyp, references, words).ok_or("no scores")?;
        equal(&scores, expected).map_err(|e| format!("{field}: {e}"))?;
        let item = CaptionItem::new(&case.hyp, references);
        registered(item, words, expected).map_err(|e| format!("{field}: {e}"))?;
    }
    Ok(())
}

fn equal(scores: &Scores, expected: &Expected) -> Result<(), String> {
    for (
        name,
        Score {
            precision,
            recall,
            f1,
        },
        expected,
    ) in [
        ("rouge1", scores.one, expected.rouge1),
        ("rouge2", scores.two, expected.rouge2),
        ("rougeL", scores.l, expected.rouge_l),
        ("rougeLsum", scores.lsum, expected.rouge_lsum),
    ] {
        for (actual, expected) in [precision, recall, f1].into_iter().zip(expected) {
            close(Some(actual), expected, TOLERANCE).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    Ok(())
}

/// The registered metrics have F1 as their value.
fn registered(item: CaptionItem, words: Words, expected: &Expected) -> Result<(), String> {
    let mut observations = Observations::default();
    observations.set(Input::Caption, vec![item]);
    let stem = match words {
        Words::AsWritten => "",
        Words::Stemmed => "-stem",
    };
    for (measure, expected) in [
        ("1", expected.rouge1),
        ("2", expected.rouge2),
        ("l", expected.rouge_l),
        ("lsum", expected.rouge_lsum),
    ] {
        let id = format!("rouge-score-{measure}{stem}");
        let metric = registry::metric(&id).map_err(|e| e.to_string())?;
        let outcome = metric
            .evaluate(&observations, None)
            .map_err(|e| e.to_string())?;
        close(outcome.value, expected[2], TOLERANCE).map_err(|e| format!("{id}: {e}"))?;
    }
    Ok(())
}
