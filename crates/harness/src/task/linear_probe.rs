//! Linear probes: a classifier on a model's features, trained on another split (`train`), tested on this one.
//!
//! `linear-probe` is logistic regression with a chosen L2 strength ([`crate::probe::logistic`]), as CLIP reports it;
//! `linear-probe-sgd` follows VirTex's recipe for `ImageNet` ([`crate::probe::sgd`]), on features that are taken once.
//! Features are as the model gives them, of any length. A prediction is a ranking of the classes by their logits.

use std::sync::atomic::Ordering;

use sightline_core::Seed;
use sightline_models::{Capability, Way};

use super::ranking::{self, Ranks};
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Work};
use crate::example::{Content, Truth};
use crate::forward::{Featurer, Forward, NOT_FINITE};
use crate::predictions::Outcome;
use crate::probe::{Linear, logistic, sgd};
use crate::training::{Learned, Training};
use crate::{Error, Result};

/// `linear-probe`.
pub(crate) static LBFGS: LinearProbe = LinearProbe {
    kind: "linear-probe",
    learn: |learned, classes, seed, tick| {
        let Learned {
            features,
            labels,
            keys,
        } = learned;
        let chosen = logistic::fit_with_choice(features, labels, classes, keys, seed, tick)?;
        tracing::info!(
            c = chosen.c,
            validation_accuracy = chosen.validation_accuracy,
            "strength of the penalty chosen"
        );
        Some(chosen.fitted)
    },
};

/// `linear-probe-sgd`.
pub(crate) static SGD: LinearProbe = LinearProbe {
    kind: "linear-probe-sgd",
    learn: |learned, classes, seed, tick| {
        let recipe = sgd::Recipe::default();
        sgd::fit(
            &learned.features,
            &learned.labels,
            classes,
            &recipe,
            seed,
            tick,
        )
    },
};

/// Learns so many classes; `None` when told to stop.
type Learn = fn(&Learned<u32>, usize, Seed, &logistic::Tick<'_>) -> Option<Linear>;

/// A linear probe.
pub(crate) struct LinearProbe {
    kind: &'static str,
    learn: Learn,
}

impl Task for LinearProbe {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Features]
    }

    fn forms(&self) -> &'static [&'static str] {
        ranking::FORMS
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
        ranking::METRICS
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        ranking::MORE_METRICS
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
        let label = |example: &crate::Example| ranking::class_of(&example.content).ok();
        let learned = training.learn(self, &featurer, label)?;
        let seed = setting.seed.child("probe", 0);
        let tick = || !forward.stop.load(Ordering::Relaxed);
        let linear = (self.learn)(&learned, setting.classes.len(), seed, &tick);
        Ok(Box::new(Probe {
            featurer,
            linear: linear.ok_or(Error::Stopped)?,
        }))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        Box::new(Ranks::new(truth))
    }
}

/// What a task learns from, which a plan has for a kind that needs it, with the same classes.
pub(super) fn training<'a>(setting: &Setting<'a>) -> Result<&'a Training<'a>> {
    let training = setting.training.ok_or_else(|| Error::Unplanned {
        task: setting.task.name.clone(),
        kind: "dataset",
        name: "train".to_owned(),
    })?;
    if training.dataset.classes.names != setting.classes {
        return Err(Error::TrainingClasses {
            train: training.dataset.name.clone(),
            test: setting.task.dataset.clone(),
        });
    }
    Ok(training)
}

struct Probe<'m> {
    featurer: Featurer<'m>,
    linear: Linear,
}

impl Predictor for Probe<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let features = self.featurer.images(&works)?;
        let scores = features.iter().map(|row| {
            let scores = self.linear.scores(row);
            if scores.iter().all(|score| score.is_finite()) {
                Ok(scores)
            } else {
                Err(Outcome::Failed(NOT_FINITE.to_owned()))
            }
        });
        scores.map(ranking::outcome).collect()
    }
}
