//! Hallucination in captions: objects that a caption mentions and the image does not show (CHAIR, Rohrbach et al. 2018).
//! What is in an image is what people annotated there or mention in their captions. A prediction is that of
//! [`super::caption`].

use std::sync::Arc;

use serde_json::Value;
use sightline_metrics::chair::{ObjectMentions, ObjectNames};
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::caption::{Captioning, Written};
use super::{Ask, Observer, Predictor, Setting, Task, Verdict};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;

/// Hallucination in captions.
pub(crate) struct Hallucination;

impl Task for Hallucination {
    fn kind(&self) -> &'static str {
        "hallucination"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Generate]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["chair"]
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "prompt"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["chair-i", "chair-s"]
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
        Captioning.predictor(forward, way, setting)
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Mentions(Vec::new()))
    }
}

struct Mentions(Vec<ObjectMentions>);

impl Observer for Mentions {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let written: Written = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Objects { names, present } = &truth.content else {
            return Ok(Verdict::Skipped("no objects"));
        };
        let names: &Arc<ObjectNames> = names;
        let mentioned = names.mentions(&written.caption).into_iter();
        self.0.push(ObjectMentions {
            mentioned: mentioned.map(Box::from).collect(),
            present: present.clone(),
        });
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ObjectMentions, self.0);
        Ok(observations)
    }
}
