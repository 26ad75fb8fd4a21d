//! Visual question answering, by a classifier over a fixed list of answers or by writing an answer (Antol et al. 2015,
//! Goyal et al. 2017).
//!
//! A classifier's answer is its best label, never `<unk>`; labels without names take those of the dataset's list of
//! classes, the vocabulary of answers in the order of the model's outputs. A model that writes is given the question in
//! a prompt; its answer is the first line of what it wrote. A prediction holds the label or what was written, and of a
//! classifier the best labels:
//!
//! ```json
//! {"answer":"2","labels":[["2",7.5],["3",6.25]]}
//! ```
//!
//! `vqa-classifier` is the soft target of the answer as it is; the other metrics normalise answers as each says.

use serde_json::Value;
use sightline_metrics::vqa::{AnswerItem, SoftAnswer, soft_target};
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::answer::{Answer, Answerer};
use super::label::Wanted;
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;

/// Any answer but the one that stands for those that are not in the list.
const WANTED: Wanted = Wanted {
    labels: &[],
    images: 1,
    never: &["<unk>"],
};

/// Visual question answering.
pub(crate) struct Vqa;

impl Task for Vqa {
    fn kind(&self) -> &'static str {
        "vqa"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Classify, Capability::Answer]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["vqa"]
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Labels
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "prompt"]
    }

    fn prompt(&self) -> &'static str {
        "Question: {} Short answer:"
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["vqa-official"]
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        &["okvqa-stemmed", "vqa-classifier", "vqa-evalai"]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        match content {
            Content::Question { question, .. } => Ok(Ask::text(question)),
            _ => Err("no question"),
        }
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        way: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        Ok(Box::new(Answerer::new(forward, way, setting, WANTED)?))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Answers::default())
    }
}

/// What was written up to the first line end that has something before it.
fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default().trim()
}

/// Answers of the model and of people.
#[derive(Default)]
pub(super) struct Answers {
    answers: Vec<AnswerItem>,
    soft: Vec<SoftAnswer>,
}

impl Observer for Answers {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Answer { answer, labels } =
            serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        // A label is an answer as it is.
        let answer = if labels.is_empty() {
            first_line(&answer)
        } else {
            &answer
        };
        let Content::Question { answers, .. } = &truth.content else {
            return Ok(Verdict::Skipped("no answers of people"));
        };
        let same = answers.iter().filter(|theirs| *theirs == answer).count();
        let Some(target) = soft_target(same, answers.len()) else {
            return Ok(Verdict::Skipped("no answers of people"));
        };
        let soft = SoftAnswer::new(target).map_err(|error| LineProblem::Value {
            what: "the soft target",
            found: error.to_string(),
            expected: "0 to 1".to_owned(),
        })?;
        self.answers.push(AnswerItem::new(answer, answers));
        self.soft.push(soft);
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::Answer, self.answers);
        observations.set(Input::SoftAnswer, self.soft);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;

    fn truth(answers: &[(&str, usize)]) -> Example {
        let answers = answers
            .iter()
            .flat_map(|(answer, times)| vec![(*answer).to_owned(); *times])
            .collect();
        let question = "How many?".to_owned();
        example("1", Content::Question { question, answers })
    }

    #[test]
    fn answers_are_worth_what_people_said() {
        let mut observer = Vqa.observer(&Truth::default());
        let mut add =
            |answer: &str, truth: &Example| observer.add(json!({"answer": answer}), truth).unwrap();
        // Two of ten: 0.6. "Two" is "2" once it is normalised, which the classifier's targets are not.
        assert_eq!(add("two", &truth(&[("2", 2), ("3", 8)])), Verdict::Scored);
        assert_eq!(add("3", &truth(&[("2", 2), ("3", 8)])), Verdict::Scored);
        assert_eq!(add("4", &truth(&[("2", 10)])), Verdict::Scored);
        assert_eq!(
            add("2", &truth(&[])),
            Verdict::Skipped("no answers of people")
        );
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value.unwrap()
        };
        assert!((value("vqa-official") - 1.6 / 3.0).abs() < 1e-9);
        assert!((value("vqa-classifier") - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_written_answer_ends_with_its_line() {
        assert_eq!(first_line("\n two dogs \nQuestion: why"), "two dogs");
        assert_eq!(first_line(""), "");
    }

    #[test]
    fn a_prediction_that_no_model_made_is_refused() {
        let mut observer = Vqa.observer(&Truth::default());
        for line in [json!({"answer": 3}), json!({"labels": []}), json!("2")] {
            assert!(
                observer.add(line.clone(), &truth(&[("2", 10)])).is_err(),
                "{line}"
            );
        }
    }
}
