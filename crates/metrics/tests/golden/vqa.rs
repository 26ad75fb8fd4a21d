//! VQA accuracy, and the answers as they are compared.

use serde::Deserialize;
use sightline_metrics::vqa::{self, AnswerItem};
use sightline_metrics::{Input, Observations, registry};
use sightline_testkit::golden::Report;
use sightline_text::answer;

use crate::files::{Folder, close};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vqa {
    /// The mean over questions.
    overall: f64,
    /// The same as the script prints it.
    overall_percent_rounded_2: f64,
    questions: Vec<Question>,
    /// Texts with what normalising makes of them.
    normalise: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(rename = "question_id")]
    id: u64,
    /// Groups of the script's report; the data have one of each.
    #[serde(rename = "question_type")]
    kind: String,
    answer_type: String,
    answers: Vec<String>,
    prediction: String,
    /// Normalised, whether the script would do so for this question or not.
    prediction_norm: String,
    answers_norm: Vec<String>,
    accuracy: f64,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let vqa: Vqa = folder.json(file)?;
    for (number, (text, expected)) in vqa.normalise.iter().enumerate() {
        report.case(
            "vqa",
            &format!("normalise {number}"),
            normalised(text, expected),
        );
    }

    let items = vqa
        .questions
        .iter()
        .map(|question| AnswerItem::new(&question.prediction, &question.answers))
        .collect();
    let mut observations = Observations::default();
    observations.set::<AnswerItem>(Input::Answer, items);
    let metric = registry::metric("vqa-official").map_err(|e| e.to_string())?;
    let values = metric.per_item(&observations).map_err(|e| e.to_string())?;
    for (question, value) in vqa.questions.iter().zip(values) {
        let name = format!("question {}", question.id);
        report.case("vqa", &name, self::question(question, value));
    }

    let outcome = metric
        .evaluate(&observations, None)
        .map_err(|e| e.to_string())?;
    report.case("vqa", "overall", close(outcome.value, vqa.overall, 1e-9));
    // The decimals of a float are rounded to the nearest here as in Python.
    let percent = outcome
        .value
        .and_then(|value| format!("{:.2}", 100.0 * value).parse().ok());
    let rounded = close(percent, vqa.overall_percent_rounded_2, 0.0);
    report.case("vqa", "overall_percent_rounded_2", rounded);
    Ok(())
}

fn question(question: &Question, value: Option<f64>) -> Result<(), String> {
    normalised(&question.prediction, &question.prediction_norm)?;
    if question.answers.len() != question.answers_norm.len() {
        return Err("not every answer has its normalised form".to_owned());
    }
    for (answer, expected) in question.answers.iter().zip(&question.answers_norm) {
        normalised(answer, expected)?;
    }
    let item = AnswerItem::new(&question.prediction, &question.answers);
    let cleaned: Vec<String> = item.references.iter().map(|a| answer::clean(a)).collect();
    let agreed = cleaned.iter().all(|answer| *answer == cleaned[0]);
    let compared = vqa::OFFICIAL.prepare(&item);
    let expected = if agreed {
        (answer::clean(&question.prediction), cleaned)
    } else {
        (
            question.prediction_norm.clone(),
            question.answers_norm.clone(),
        )
    };
    if (compared.candidate, compared.references) != expected {
        return Err(format!("compared is not {expected:?}"));
    }
    if question.kind.is_empty() || question.answer_type.is_empty() {
        return Err("a question without a type".to_owned());
    }
    close(value, question.accuracy, 1e-9)
}

fn normalised(text: &str, expected: &str) -> Result<(), String> {
    let actual = answer::normalize(&answer::clean(text));
    if actual == expected {
        Ok(())
    } else {
        Err(format!(
            "`{text}` became `{actual}` instead of `{expected}`"
        ))
    }
}
