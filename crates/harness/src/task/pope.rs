//! POPE: whether a model says that objects are in an image when they are (Li et al. 2023).
//!
//! A classifier is asked for the better of its labels `yes` and `no`; what a writing model wrote is read as the authors'
//! script reads it ([`says_yes`]). A prediction holds the answer, and of a classifier both labels:
//!
//! ```json
//! {"answer":"no","labels":[["no",0.5],["yes",-0.25]]}
//! ```

use serde_json::Value;
use sightline_metrics::pope::{YesNo, says_yes};
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::answer::{Answer, Answerer};
use super::label::Wanted;
use super::nlvr2::statement;
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict};
use crate::Result;
use crate::annotations::pope::LABELS;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;

const WANTED: Wanted = Wanted {
    labels: &LABELS,
    images: 1,
    never: &[],
};

/// POPE.
pub(crate) struct Pope;

impl Task for Pope {
    fn kind(&self) -> &'static str {
        "pope"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Classify, Capability::Answer]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["pope"]
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Labels
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "prompt"]
    }

    fn prompt(&self) -> &'static str {
        "{}"
    }

    fn metrics(&self) -> &'static [&'static str] {
        &[
            "pope-accuracy",
            "pope-f1",
            "pope-precision",
            "pope-recall",
            "pope-yes-ratio",
        ]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        statement(content)
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

#[derive(Default)]
struct Answers(Vec<YesNo>);

impl Observer for Answers {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Answer { answer, labels } =
            serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Statement {
            label: Some(label), ..
        } = &truth.content
        else {
            return Ok(Verdict::Skipped("no label"));
        };
        // A label is what it says, whatever its case; what was written is read by the authors' rule.
        let said_yes = if labels.is_empty() {
            says_yes(&answer)
        } else {
            answer.eq_ignore_ascii_case("yes")
        };
        self.0.push(YesNo {
            said_yes,
            is_there: label == "yes",
        });
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::YesNo, self.0);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;

    #[test]
    fn labels_and_sentences_say_yes_or_no() {
        let mut observer = Pope.observer(&Truth::default());
        let truth = |label: &str| {
            let content = Content::Statement {
                text: "Is there a dog in the image?".to_owned(),
                label: Some(label.to_owned()),
                group: None,
            };
            example("1", content)
        };
        for (said, right) in [
            (
                json!({"answer": "No", "labels": [["No", 1.0], ["yes", 0.0]]}),
                "no",
            ),
            (json!({"answer": "NO"}), "no"), // The script's rule takes it for yes.
            (json!({"answer": "Yes, there is."}), "yes"),
            (json!({"answer": "There is no dog."}), "yes"),
        ] {
            assert_eq!(observer.add(said, &truth(right)).unwrap(), Verdict::Scored);
        }
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value
        };
        assert_eq!(value("pope-accuracy"), Some(0.5));
        assert_eq!(value("pope-precision"), Some(0.5));
        assert_eq!(value("pope-recall"), Some(0.5));
        assert_eq!(value("pope-yes-ratio"), Some(0.5));
    }
}
