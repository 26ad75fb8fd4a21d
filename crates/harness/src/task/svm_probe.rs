//! The VOC07 probe: a linear SVM of each class on a model's features of unit length ([`crate::probe::svm`]), trained on
//! another split (`train`). A prediction holds the decision value of each class:
//!
//! ```json
//! {"scores":[-0.75,1.25]}
//! ```
//!
//! "Difficult" images are left out of a class's average precision.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::average_precision::LabelledScores;
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::linear_probe::training;
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Featurer, Forward, NOT_FINITE};
use crate::predictions::Outcome;
use crate::probe::{Linear, svm, unit_length};
use crate::{Error, Result};

/// The VOC07 probe.
pub(crate) struct SvmProbe;

/// Forms whose examples say of each class whether it is there.
pub(super) const FORMS: &[&str] = &["voc07"];
/// Metrics of several labels.
pub(super) const METRICS: &[&str] = &["map"];
/// Metrics of several labels that a suite has to ask for.
pub(super) const MORE_METRICS: &[&str] = &["voc07-map-11"];

impl Task for SvmProbe {
    fn kind(&self) -> &'static str {
        "svm-probe"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Features]
    }

    fn forms(&self) -> &'static [&'static str] {
        FORMS
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Needed
    }

    fn options(&self) -> &'static [&'static str] {
        &["train"]
    }

    fn needs_options(&self) -> &'static [&'static str] {
        &["train"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        METRICS
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        MORE_METRICS
    }

    fn ask(&self, _: &Content) -> Result<Ask, &'static str> {
        Ok(Ask::default())
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        way: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let training = training(setting)?;
        let featurer = forward.featurer(way)?;
        let learned = training.learn(self, &featurer, |example| match &example.content {
            Content::Labels(labels) => Some(labels.clone()),
            _ => None,
        })?;
        let features = learned.features.unit_length();
        let tick = || !forward.stop.load(Ordering::Relaxed);
        let chosen = svm::fit_all(&features, &learned.labels, &tick).ok_or(Error::Stopped)?;
        for (class, chosen) in setting.classes.iter().zip(&chosen) {
            let (cost, average_precision) = (chosen.cost, chosen.average_precision);
            tracing::info!(class, cost, average_precision, "cost chosen");
        }
        Ok(Box::new(Machines {
            featurer,
            of_classes: chosen.into_iter().map(|chosen| chosen.fitted).collect(),
        }))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        Box::new(Labelled::new(truth))
    }
}

struct Machines<'m> {
    featurer: Featurer<'m>,
    of_classes: Vec<Linear>,
}

impl Predictor for Machines<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let features = self.featurer.images(&works)?;
        let of_image = |mut row: Vec<f32>| {
            unit_length(&mut row);
            let scores = self.of_classes.iter().flat_map(|class| class.scores(&row));
            outcome(Ok(scores.collect()))
        };
        features.into_iter().map(of_image).collect()
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Scores {
    scores: Vec<f64>,
}

/// The prediction that scores of the classes are.
pub(super) fn outcome(scores: Result<Vec<f64>, Outcome>) -> Result<Outcome> {
    Ok(match scores {
        Ok(scores) if scores.iter().all(|score| score.is_finite()) => {
            Outcome::Predicted(serde_json::to_value(Scores { scores })?)
        }
        Ok(_) => Outcome::Failed(NOT_FINITE.to_owned()),
        Err(outcome) => outcome,
    })
}

/// Scores of images with their labels.
pub(super) struct Labelled {
    classes: usize,
    items: Vec<LabelledScores>,
}

impl Labelled {
    pub(super) fn new(truth: &Truth) -> Self {
        Self {
            classes: truth.classes,
            items: Vec::new(),
        }
    }
}

impl Observer for Labelled {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Scores { scores } = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let value = |found: String| LineProblem::Value {
            what: "`scores`",
            found,
            expected: format!("a number for each of {} classes", self.classes),
        };
        if scores.len() != self.classes {
            return Err(value(format!("{} numbers", scores.len())));
        }
        let Content::Labels(labels) = &truth.content else {
            return Ok(Verdict::Skipped("no labels"));
        };
        let item = LabelledScores::new(scores, labels.clone());
        self.items
            .push(item.map_err(|error| value(error.to_string()))?);
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::MultiLabel, self.items);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::average_precision::Presence;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;

    #[test]
    fn difficult_images_are_left_out_and_other_predictions_refused() {
        let truth = Truth {
            examples: Vec::new(),
            classes: 2,
        };
        let mut observer = Labelled::new(&truth);
        let labels = |labels: [Presence; 2]| example("a", Content::Labels(labels.to_vec()));
        let (yes, no, difficult) = (Presence::Positive, Presence::Negative, Presence::Ignored);
        for (scores, of) in [
            (json!([0.9, 0.1]), labels([difficult, no])),
            (json!([0.5, 0.2]), labels([yes, no])),
            (json!([0.1, 0.9]), labels([no, yes])),
        ] {
            let verdict = observer.add(json!({ "scores": scores }), &of).unwrap();
            assert_eq!(verdict, Verdict::Scored);
        }
        assert!(
            observer
                .add(json!({"scores": [1.0]}), &labels([yes, no]))
                .is_err()
        );
        assert!(
            observer
                .add(json!({"scores": ["a", 1]}), &labels([yes, no]))
                .is_err()
        );
        let observations = Box::new(observer).finish().unwrap();
        let map = registry::metric("map").unwrap();
        assert_eq!(map.evaluate(&observations, None).unwrap().value, Some(1.0));
    }
}
