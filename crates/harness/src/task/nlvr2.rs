//! NLVR2: whether a statement about two images is true (Suhr et al. 2019).
//!
//! A model's two labels are false and true, in this order where they have no names. Judgements of one sentence are
//! scored together: accuracy over all of them, consistency over sentences of which every judgement is right. One that
//! failed is in neither. A prediction holds both labels, best first:
//!
//! ```json
//! {"labels":[["True",0.5],["False",-0.25]]}
//! ```

use std::collections::HashMap;

use serde_json::Value;
use sightline_metrics::pairs::SentencePairs;
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::label::{Labelled, Labeller, Wanted};
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::annotations::nlvr2::LABELS;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;
use crate::predictions::Outcome;

const WANTED: Wanted = Wanted {
    labels: &LABELS,
    images: 2,
    never: &[],
};

/// NLVR2.
pub(crate) struct Nlvr2;

impl Task for Nlvr2 {
    fn kind(&self) -> &'static str {
        "nlvr2"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Classify]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["nlvr2"]
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Labels
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["nlvr2-accuracy", "nlvr2-consistency"]
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
        Ok(Box::new(Judge(Labeller::new(
            forward, way, setting, WANTED,
        )?)))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Sentences::default())
    }
}

/// The statement that an example puts before the model.
pub(super) fn statement(content: &Content) -> Result<Ask, &'static str> {
    match content {
        Content::Statement { text, .. } => Ok(Ask::text(text)),
        _ => Err("no statement"),
    }
}

/// Labels statements.
pub(super) struct Judge<'m>(pub(super) Labeller<'m>);

impl Predictor for Judge<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        self.0.forward().each(&works, |work| {
            Ok(match self.0.label(work, work.ask.first())? {
                Ok(labelled) => Ok(Outcome::Predicted(serde_json::to_value(labelled)?)),
                Err(outcome) => Err(outcome),
            })
        })
    }
}

/// The labels of a prediction, which must be `known`.
pub(super) fn labelled(prediction: Value, known: &[&str]) -> Result<Labelled, LineProblem> {
    let labelled: Labelled = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
    labelled.check(known)?;
    Ok(labelled)
}

/// Judgements by sentence, in the order of each sentence's first.
#[derive(Default)]
struct Sentences {
    places: HashMap<String, usize>,
    right: Vec<Vec<bool>>,
}

impl Observer for Sentences {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let labelled = labelled(prediction, &LABELS)?;
        let Content::Statement {
            label: Some(label),
            group,
            ..
        } = &truth.content
        else {
            return Ok(Verdict::Skipped("no label"));
        };
        let sentence = group.clone().unwrap_or_else(|| truth.key.to_string());
        let next = self.right.len();
        let place = *self.places.entry(sentence).or_insert(next);
        if place == next {
            self.right.push(Vec::new());
        }
        self.right[place].push(labelled.first()?.eq_ignore_ascii_case(label));
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        let sentences = self.right.iter().map(|right| SentencePairs::new(right));
        observations.set(Input::SentencePairs, sentences.collect());
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;

    fn truth(label: Option<&str>, group: &str) -> Example {
        let content = Content::Statement {
            text: "Both are red.".to_owned(),
            label: label.map(str::to_owned),
            group: Some(group.to_owned()),
        };
        example("a", content)
    }

    #[test]
    fn a_sentence_is_consistent_when_all_of_its_pairs_are_right() {
        let mut observer = Nlvr2.observer(&Truth::default());
        let says = |label: &str, other: &str| json!({"labels": [[label, 1.0], [other, 0.0]]});
        for (said, truth, verdict) in [
            (
                says("True", "False"),
                truth(Some("True"), "one"),
                Verdict::Scored,
            ),
            (
                says("False", "True"),
                truth(Some("True"), "two"),
                Verdict::Scored,
            ),
            (
                says("false", "true"),
                truth(Some("False"), "one"),
                Verdict::Scored,
            ),
            (
                says("True", "False"),
                truth(Some("True"), "two"),
                Verdict::Scored,
            ),
            (
                says("True", "False"),
                truth(None, "three"),
                Verdict::Skipped("no label"),
            ),
        ] {
            assert_eq!(observer.add(said, &truth).unwrap(), verdict);
        }
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value
        };
        assert_eq!(value("nlvr2-accuracy"), Some(0.75));
        assert_eq!(value("nlvr2-consistency"), Some(0.5));
    }

    #[test]
    fn a_prediction_that_no_model_made_is_refused() {
        let mut observer = Nlvr2.observer(&Truth::default());
        for line in [
            json!({"labels": [["True", 1.0]]}),
            json!({"labels": [["True", 1.0], ["True", 0.5]]}),
            json!({"labels": [["yes", 1.0], ["no", 0.5]]}),
            json!({}),
        ] {
            assert!(
                observer
                    .add(line.clone(), &truth(Some("True"), "a"))
                    .is_err(),
                "{line}"
            );
        }
    }
}
