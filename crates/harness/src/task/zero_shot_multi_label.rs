//! Zero-shot classification of images that show several classes (VOC 2007 in the CLIP paper, table 11): the score of a
//! class is the cosine of the image with the class's prompts, as in [`super::zero_shot`]; what is scored is the ranking of
//! the images for each class. A prediction holds all cosines, as in [`super::svm_probe`].

use sightline_models::{Capability, Way};

use super::svm_probe::{self, Labelled};
use super::zero_shot::ByPrompts;
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Work};
use crate::Result;
use crate::example::{Content, Truth};
use crate::forward::Forward;
use crate::predictions::Outcome;

/// Zero-shot classification with several labels.
pub(crate) struct ZeroShotMultiLabel;

impl Task for ZeroShotMultiLabel {
    fn kind(&self) -> &'static str {
        "zero-shot-multi-label"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Embed]
    }

    fn forms(&self) -> &'static [&'static str] {
        svm_probe::FORMS
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Needed
    }

    fn options(&self) -> &'static [&'static str] {
        &["templates"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        svm_probe::METRICS
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        svm_probe::MORE_METRICS
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
        Ok(Box::new(Classifier(ByPrompts::new(forward, setting)?)))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        Box::new(Labelled::new(truth))
    }
}

struct Classifier<'m>(ByPrompts<'m>);

impl Predictor for Classifier<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let scores = self.0.scores(&works)?.into_iter();
        scores.map(svm_probe::outcome).collect()
    }
}
