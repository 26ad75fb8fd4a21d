//! Captioning: a model writes a caption, which is compared with those that people wrote.
//!
//! All captions of an image are references, as in the COCO caption evaluation. An image without any is captioned and
//! not scored. A prediction holds the caption and how the decoding ranks it:
//!
//! ```json
//! {"caption":"a dog on a bench","score":-7.5,"tokens":7}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_manifest::SHARDS;
use sightline_metrics::{CaptionItem, Input, Observations};
use sightline_models::{Capability, Generated, Way};

use super::decoding::Writer;
use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Forward, NOT_FINITE};
use crate::predictions::Outcome;

/// Forms whose examples have captions.
pub(super) const FORMS: &[&str] = &[SHARDS, "coco-captions", "karpathy"];
/// Metrics of captions.
pub(super) const METRICS: &[&str] = &["cider-d", "bleu-1", "bleu-2", "bleu-3", "bleu-4", "rouge-l"];
/// Metrics of captions that a suite has to ask for.
pub(super) const MORE_METRICS: &[&str] = &[
    "meteor",
    "cider",
    "rouge-score-1",
    "rouge-score-2",
    "rouge-score-l",
    "rouge-score-lsum",
    "sacrebleu-bleu",
    "sacrebleu-chrf",
    "sacrebleu-chrf++",
    "sacrebleu-ter",
    "meteor-lite",
    "caption-exact",
    "words-in-place",
];

/// Captioning.
pub(crate) struct Captioning;

impl Task for Captioning {
    fn kind(&self) -> &'static str {
        "caption"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Generate]
    }

    fn forms(&self) -> &'static [&'static str] {
        FORMS
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "prompt"]
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
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        Ok(Box::new(Captioner(Writer::new(forward, setting)?)))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Captions::default())
    }
}

struct Captioner<'m>(Writer<'m>);

impl Predictor for Captioner<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let told = |written: Generated| {
            if !written.score.is_finite() {
                return Ok(Err(Outcome::Failed(NOT_FINITE.to_owned())));
            }
            Ok(Ok(Outcome::Predicted(serde_json::to_value(Written {
                caption: written.text,
                score: f64::from(written.score),
                tokens: written.tokens.len(),
            })?)))
        };
        self.0.write_each(&works, |_| "", told)
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) caption: String,
    pub(super) score: f64,
    pub(super) tokens: usize,
}

/// Captions with their references.
#[derive(Default)]
pub(super) struct Captions(Vec<(String, Vec<String>)>);

impl Observer for Captions {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let written: Written = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Sample { captions, .. } = &truth.content else {
            return Ok(Verdict::Skipped("no caption"));
        };
        if captions.is_empty() {
            return Ok(Verdict::Skipped("no caption"));
        }
        self.0.push((written.caption, captions.clone()));
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::Caption, CaptionItem::all(self.0));
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::Class;
    use crate::example::tests::example;

    fn truth(captions: &[&str]) -> Example {
        let captions = captions.iter().map(|&caption| caption.to_owned()).collect();
        let class = Class::Missing;
        example("a", Content::Sample { class, captions })
    }

    #[test]
    fn captions_are_scored_against_every_reference() {
        let mut observer = Captioning.observer(&Truth::default());
        let written = |caption: &str| json!({"caption": caption, "score": -1.5, "tokens": 3});
        let references = ["a cat", "a dog sits there"];
        assert_eq!(
            observer
                .add(written("a dog sits"), &truth(&references))
                .unwrap(),
            Verdict::Scored
        );
        assert_eq!(
            observer.add(written("a cow"), &truth(&[])).unwrap(),
            Verdict::Skipped("no caption")
        );
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value.unwrap()
        };
        // Three of three words; the closest length of a reference is 2 (of 2 and 4, the shorter of equally near ones).
        assert!((value("bleu-1") - 1.0).abs() < 1e-6);
        // Longest common subsequence 3, recall 3/4, precision 1, beta 1.2.
        let rouge = (1.0 + 1.44) * 0.75 / (0.75 + 1.44);
        assert!(
            (value("rouge-l") - rouge).abs() < 1e-9,
            "{}",
            value("rouge-l")
        );
    }

    #[test]
    fn a_prediction_that_no_model_made_is_refused() {
        let mut observer = Captioning.observer(&Truth::default());
        for line in [json!({"caption": 3}), json!("a dog"), json!({"score": 1.0})] {
            assert!(
                observer.add(line.clone(), &truth(&["a"])).is_err(),
                "{line}"
            );
        }
    }
}
