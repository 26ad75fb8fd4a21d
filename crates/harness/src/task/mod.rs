//! Kinds of task: what they need of a model, what they write as predictions, how these become ranks.
//!
//! To add a kind, write `task/<name>.rs`, add its `mod` line and its line in [`TASKS`].

use serde_json::Value;
use sightline_core::Sample;
use sightline_core::registry::UnknownName;
use sightline_metrics::Observations;
use sightline_models::Capability;

use crate::error::LineProblem;
use crate::forward::Forward;
use crate::predictions::Outcome;
use crate::truth::{SampleTruth, Truth};
use crate::{Error, Result};

mod retrieval;
mod zero_shot;

/// Every kind of task, sorted by kind.
pub(crate) static TASKS: &[&dyn Task] = &[&retrieval::Retrieval, &zero_shot::ZeroShot];

/// A kind of task. Predictions are made sample by sample and never see the annotations; scores are made
/// from predictions and annotations and never see the model.
pub(crate) trait Task: Sync {
    /// Kebab-case name, unique among [`TASKS`].
    fn kind(&self) -> &'static str;

    /// What a model must be able to do.
    fn needs(&self) -> Capability;

    /// Whether images are compared with the dataset's classes.
    fn needs_classes(&self) -> bool;

    /// Ids of the metrics that [`Self::observer`] observes for, in their default order.
    fn metrics(&self) -> &'static [&'static str];

    /// The texts that a sample with an image puts before the model, or why the task skips it.
    fn texts(&self, sample: &Sample) -> Result<Vec<String>, &'static str>;

    /// Does once what is the same for every sample.
    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>>;

    /// Turns predictions of this kind back into what they say about samples.
    fn observer(&self, truth: &Truth) -> Box<dyn Observer>;
}

/// What a task was planned with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// Names of the dataset's classes.
    pub(crate) classes: &'a [String],
    /// Prompts with a place for a class name.
    pub(crate) templates: &'a [String],
}

/// What a sample puts before the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    /// Prepared pixels.
    pub(crate) pixels: Vec<f32>,
    /// [`Task::texts`].
    pub(crate) texts: Vec<String>,
}

/// Predicts.
pub(crate) trait Predictor {
    /// One outcome for each of `works`, each a function of its own work alone.
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>>;
}

/// Collects predictions in the order of the dataset.
pub(crate) trait Observer {
    /// Takes the prediction of one sample.
    fn add(&mut self, prediction: Value, truth: &SampleTruth) -> Result<Verdict, LineProblem>;

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
            for id in task.metrics() {
                let metric = registry::metric(id).unwrap();
                let outcome = metric.evaluate(&observations, None).unwrap();
                assert_eq!((outcome.value, outcome.items), (None, 0), "{id}");
            }
        }
    }
}
