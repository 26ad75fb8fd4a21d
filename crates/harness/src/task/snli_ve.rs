//! Visual entailment: whether an image makes a hypothesis true, false or neither (Xie et al. 2019).
//!
//! Labels without names are contradiction, neutral, entailment in this order; a checkpoint with another order names its
//! labels, or the dataset's list of classes does. A prediction holds the labels, best first:
//!
//! ```json
//! {"labels":[["entailment",0.5],["neutral",0.25],["contradiction",-1.0]]}
//! ```

use serde_json::Value;
use sightline_metrics::{Input, Observations, Rank};
use sightline_models::{Capability, Way};

use super::label::{Labeller, Wanted};
use super::nlvr2::{Judge, labelled, statement};
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict};
use crate::Result;
use crate::annotations::snli_ve::LABELS;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;

const WANTED: Wanted = Wanted {
    labels: &LABELS,
    images: 1,
    never: &[],
};

/// Visual entailment.
pub(crate) struct SnliVe;

impl Task for SnliVe {
    fn kind(&self) -> &'static str {
        "snli-ve"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Classify]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["snli-ve"]
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Labels
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["accuracy@1"]
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
        Box::new(Ranks::default())
    }
}

/// Ranks of the right labels; equal scores are in the order of [`LABELS`].
#[derive(Default)]
struct Ranks(Vec<Rank>);

impl Observer for Ranks {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let labelled = labelled(prediction, &LABELS)?;
        let Content::Statement {
            label: Some(label), ..
        } = &truth.content
        else {
            return Ok(Verdict::Skipped("no label"));
        };
        let score = |known: &&str| {
            let mut labels = labelled.labels.iter();
            let found = labels.find(|(label, _)| label.eq_ignore_ascii_case(known));
            found.map_or(f64::NEG_INFINITY, |(_, score)| *score)
        };
        let scores: Vec<f64> = LABELS.iter().map(score).collect();
        let right = LABELS
            .iter()
            .position(|known| known.eq_ignore_ascii_case(label));
        let Some(rank) = right.and_then(|right| Rank::of(&scores, &[right])) else {
            return Ok(Verdict::Skipped("no label"));
        };
        self.0.push(rank);
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ClassRank, self.0);
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
    fn the_best_of_three_labels_is_right_or_wrong() {
        let mut observer = SnliVe.observer(&Truth::default());
        let truth = |label: Option<&str>| {
            let content = Content::Statement {
                text: "A man sleeps.".to_owned(),
                label: label.map(str::to_owned),
                group: None,
            };
            example("a", content)
        };
        let said =
            json!({"labels": [["neutral", 0.5], ["entailment", 0.5], ["contradiction", -1.0]]});
        let mut add = |label| observer.add(said.clone(), &truth(label)).unwrap();
        assert_eq!(add(Some("neutral")), Verdict::Scored);
        assert_eq!(add(Some("entailment")), Verdict::Scored);
        assert_eq!(add(Some("contradiction")), Verdict::Scored);
        assert_eq!(add(None), Verdict::Skipped("no label"));
        let observations = observer.finish().unwrap();
        let accuracy = registry::metric("accuracy@1").unwrap();
        let outcome = accuracy.evaluate(&observations, None).unwrap();
        assert_eq!((outcome.value, outcome.ties), (Some(1.0 / 3.0), 2));
    }
}
