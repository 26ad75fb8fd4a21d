//! Kinds of task: what they need of a model, what they write as predictions, how these become ranks.
//!
//! | kind | a model can | examples | predicts |
//! | --- | --- | --- | --- |
//! | `caption` | generate | images with captions | a caption |
//! | `detection`, `detection-lvis` | detect | images with boxes | objects |
//! | `episodes` | answer | images with their names, and another image | a name |
//! | `few-shot-caption`, `few-shot-vqa` | answer | those of `caption` and `vqa`, behind demonstrations | a caption, an answer |
//! | `grounding` | ground | captions whose phrases have boxes | for each phrase the regions, best first |
//! | `hallucination` | generate | images with objects | a caption |
//! | `linear-probe`, `linear-probe-sgd` | features | images of classes, and such to learn from | the best classes |
//! | `matching` | match | a caption and foils | the odds of each text |
//! | `multiple-choice` | score | a question with candidates | how likely each is |
//! | `nlvr2` | classify | a statement and two images | true or false |
//! | `pope` | classify, answer | questions about objects | yes or no |
//! | `retrieval` | embed | images with captions | embeddings |
//! | `snli-ve` | classify | a hypothesis and an image | entailment, neutral or contradiction |
//! | `svm-probe` | features | images of several classes, and such to learn from | a score of each class |
//! | `vcr` | choose | a question with answers and rationales | one of each |
//! | `vqa` | classify, answer | questions | an answer |
//! | `zero-shot` | embed | images of classes | the best classes |
//! | `zero-shot-multi-label` | embed | images of several classes | a score of each class |
//!
//! To add a kind, write `task/<name>.rs`, add its `mod` line and its line in [`TASKS`].

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;
use sightline_core::registry::UnknownName;
use sightline_core::{SampleKey, Seed};
use sightline_manifest::PlannedTask;
use sightline_metrics::Observations;
use sightline_models::{Capability, Decoding, Way};

use crate::error::LineProblem;
use crate::example::{Choice, Content, Example, Truth};
use crate::forward::Forward;
use crate::predictions::Outcome;
use crate::training::Training;
use crate::visuals::Prepared;
use crate::{Error, Result};

mod answer;
mod caption;
pub(crate) mod decoding;
mod detection;
mod episodes;
mod exact;
mod few_shot;
mod grounding;
mod hallucination;
mod label;
mod linear_probe;
mod matching;
mod multiple_choice;
mod nlvr2;
mod pope;
mod ranking;
mod retrieval;
mod snli_ve;
mod svm_probe;
mod vcr;
mod vqa;
mod zero_shot;

/// Every kind of task, sorted by kind.
pub(crate) static TASKS: &[&dyn Task] = &[
    &caption::Captioning,
    &detection::COCO,
    &detection::LVIS,
    &episodes::Episodes,
    &few_shot::CAPTION,
    &few_shot::VQA,
    &grounding::Grounding,
    &hallucination::Hallucination,
    &linear_probe::LBFGS,
    &linear_probe::SGD,
    &matching::Matching,
    &multiple_choice::MultipleChoice,
    &nlvr2::Nlvr2,
    &pope::Pope,
    &retrieval::Retrieval,
    &snli_ve::SnliVe,
    &svm_probe::SvmProbe,
    &vcr::Vcr,
    &vqa::Vqa,
    &zero_shot::ONE_CLASS,
    &zero_shot::SEVERAL_CLASSES,
];

/// A kind of task. Predictions are made sample by sample and never see the annotations; scores are made
/// from predictions and annotations and never see the model.
pub(crate) trait Task: Sync {
    /// Kebab-case name, unique among [`TASKS`].
    fn kind(&self) -> &'static str;

    /// What a model must be able to do one of, the best first. Each may follow from something else by a rule.
    fn needs(&self) -> &'static [Capability];

    /// Annotation forms whose examples it asks about, `shards` for samples of shards.
    fn forms(&self) -> &'static [&'static str];

    /// What it does with the dataset's list of classes.
    fn classes(&self) -> ClassUse {
        ClassUse::No
    }

    /// Whether its predictor looks at the files of images itself, where a model takes pixels.
    fn takes_files(&self) -> bool {
        false
    }

    /// Fields of a task in a suite that mean something for it.
    fn options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Fields of a task that it cannot do without.
    fn needs_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// The text and the answer of an example that is shown as a demonstration; `None` for what cannot be one.
    fn demonstration(&self, _: &Content) -> Option<Shot> {
        None
    }

    /// What stands before the model beside images unless a suite says otherwise.
    fn prompt(&self) -> &'static str {
        ""
    }

    /// Ids of the metrics that [`Self::observer`] observes for, in their default order.
    fn metrics(&self) -> &'static [&'static str];

    /// Ids of further metrics that it observes for, which a suite has to ask for.
    fn more_metrics(&self) -> &'static [&'static str] {
        &[]
    }

    /// What an example puts before the model beside its images, nothing of what is right; or why the task skips it.
    fn ask(&self, content: &Content) -> Result<Ask, &'static str>;

    /// Does once what is the same for every example. The model goes the `way` that was found for it.
    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        way: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>>;

    /// Turns predictions of this kind back into what they say about examples.
    fn observer(&self, truth: &Truth) -> Box<dyn Observer>;
}

/// What a task does with the dataset's list of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClassUse {
    /// Nothing.
    No,
    /// They are what a classifier's labels are called, where they are given.
    Labels,
    /// It cannot do without them, and samples say their own.
    Needed,
}

/// What a task was planned with.
#[derive(Clone)]
pub(crate) struct Setting<'a> {
    /// Names of the dataset's classes.
    pub(crate) classes: &'a [String],
    /// Prompts with a place for a class name.
    pub(crate) templates: &'a [String],
    /// How texts are written; `None` for a model that is not asked to write.
    pub(crate) decoding: Option<Decoding>,
    /// What stands before the model beside images.
    pub(crate) prompt: String,
    /// From which random choices are drawn, by example.
    pub(crate) seed: Seed,
    /// What the task learns from.
    pub(crate) training: Option<&'a Training<'a>>,
    /// Further options of the task.
    pub(crate) task: &'a PlannedTask,
}

/// What an example puts before the model beside its images.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ask {
    /// Captions, a question, a statement.
    pub(crate) texts: Vec<String>,
    /// Bytes of the phrases of the one text.
    pub(crate) phrases: Vec<Range<usize>>,
    /// Questions with candidates.
    pub(crate) choices: Vec<Choice>,
    /// Of each class whether a detector has seen boxes of it.
    pub(crate) is_seen: Vec<bool>,
    /// What stands before the text, the first first. Those with an image have the first images of the example, in their
    /// order; its own is the last.
    pub(crate) shots: Vec<Shot>,
}

/// A demonstration: a text about an image, and what was to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shot {
    /// A question, where the task has one.
    pub(crate) text: String,
    /// What is to be written.
    pub(crate) answer: String,
}

impl Ask {
    /// One text.
    pub(crate) fn text(text: &str) -> Self {
        Self {
            texts: vec![text.to_owned()],
            ..Self::default()
        }
    }

    /// The one text, or the first.
    pub(crate) fn first(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }
}

/// What an example puts before the model.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// Its key, from which random choices are drawn.
    pub(crate) key: SampleKey,
    /// Its images, in order.
    pub(crate) images: Vec<Prepared>,
    /// The files of its images instead, for a task that takes these.
    pub(crate) files: Vec<Bytes>,
    /// [`Task::ask`].
    pub(crate) ask: Ask,
}

/// Predicts.
pub(crate) trait Predictor {
    /// One outcome for each of `works`, each a function of its own work alone.
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>>;
}

/// Collects predictions in the order of the dataset.
pub(crate) trait Observer {
    /// Takes the prediction of one example.
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem>;

    /// What metrics are computed from.
    fn finish(self: Box<Self>) -> Result<Observations>;
}

/// Whether a prediction takes part in the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does.
    Scored,
    /// There is nothing to compare it with.
    Skipped(&'static str),
}

/// The kind of task called `kind`.
pub(crate) fn task(kind: &str) -> Result<&'static dyn Task> {
    let found = TASKS.iter().find(|task| task.kind() == kind);
    found.copied().ok_or_else(|| Error::UnknownName {
        source: UnknownName::among("task kind", kind, TASKS.iter().map(|task| task.kind())),
    })
}

#[cfg(test)]
mod tests {
    use sightline_metrics::registry;

    use super::*;

    #[test]
    fn kinds_are_sorted_and_observe_what_their_metrics_need() {
        assert!(TASKS.is_sorted_by(|a, b| a.kind() < b.kind()));
        for task in TASKS {
            let observer = task.observer(&Truth::default());
            let observations = observer.finish().unwrap();
            for id in task.metrics().iter().chain(task.more_metrics()) {
                let metric = registry::metric(id).unwrap();
                if *id == "meteor" {
                    continue; // Needs its tables, however few items there are.
                }
                let outcome = metric.evaluate(&observations, None).unwrap();
                assert_eq!((outcome.value, outcome.items), (None, 0), "{id}");
            }
        }
    }
}
