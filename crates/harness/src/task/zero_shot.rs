//! Zero-shot classification: an image goes to the class whose prompts lie nearest (Radford et al. 2021,
//! section 3.1.4).
//!
//! The vector of a class is the mean of the unit-length embeddings of its prompts, one for each template,
//! scaled to unit length again; the score of a class is the cosine with the image.
//!
//! | kind | images | a prediction |
//! | --- | --- | --- |
//! | `zero-shot` | of one class each | a [`ranking`] of the classes |
//! | `zero-shot-multi-label` | of several (VOC 2007 in the CLIP paper, table 11) | all cosines, as in [`svm_probe`]; what is scored is the ranking of the images for each class |

use sightline_metrics::similarity::dot;
use sightline_models::{Capability, Way};

use super::ranking::{self, Ranks};
use super::svm_probe::{self, Labelled};
use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Work};
use crate::Result;
use crate::example::{Content, Truth};
use crate::forward::{Embedder, Forward, NOT_FINITE};
use crate::predictions::Outcome;

/// The place of the class name in a template.
const MARK: &str = "{}";

/// `zero-shot`.
pub(crate) static ONE_CLASS: ZeroShot = ZeroShot {
    kind: "zero-shot",
    forms: ranking::FORMS,
    metrics: ranking::METRICS,
    more_metrics: ranking::MORE_METRICS,
    outcome: ranking::outcome,
    observer: |truth| Box::new(Ranks::new(truth)),
};

/// `zero-shot-multi-label`.
pub(crate) static SEVERAL_CLASSES: ZeroShot = ZeroShot {
    kind: "zero-shot-multi-label",
    forms: svm_probe::FORMS,
    metrics: svm_probe::METRICS,
    more_metrics: svm_probe::MORE_METRICS,
    outcome: svm_probe::outcome,
    observer: |truth| Box::new(Labelled::new(truth)),
};

/// The prediction that scores of the classes are, or why there are none.
type OutcomeOf = fn(Result<Vec<f64>, Outcome>) -> Result<Outcome>;

/// Zero-shot classification of images of one class or of several.
pub(crate) struct ZeroShot {
    kind: &'static str,
    forms: &'static [&'static str],
    metrics: &'static [&'static str],
    more_metrics: &'static [&'static str],
    outcome: OutcomeOf,
    observer: fn(&Truth) -> Box<dyn Observer>,
}

impl Task for ZeroShot {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Embed]
    }

    fn forms(&self) -> &'static [&'static str] {
        self.forms
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Needed
    }

    fn options(&self) -> &'static [&'static str] {
        &["templates"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        self.metrics
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        self.more_metrics
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
        Ok(Box::new(Classifier {
            by_prompts: ByPrompts::new(forward, setting)?,
            outcome: self.outcome,
        }))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        (self.observer)(truth)
    }
}

/// The mean of unit-length vectors, at unit length; summed in `f64` in the order of the templates.
fn class_vector(prompts: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f64; prompts.first().map_or(0, Vec::len)];
    for prompt in prompts {
        let norm = norm(prompt.iter().map(|&v| f64::from(v)));
        for (sum, &v) in sum.iter_mut().zip(prompt) {
            *sum += f64::from(v) / norm;
        }
    }
    let norm = norm(sum.iter().copied());
    sum.iter().map(|v| (v / norm) as f32).collect()
}

/// Length of a vector; 1 for one of no length, which stays as it is.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    let square: f64 = values.map(|v| v * v).sum();
    if square > 0.0 { square.sqrt() } else { 1.0 }
}

/// Images beside classes that are described by prompts.
struct ByPrompts<'m> {
    embedder: Embedder<'m>,
    classes: Vec<Vec<f32>>,
}

impl<'m> ByPrompts<'m> {
    fn new(forward: Forward<'m>, setting: &Setting<'_>) -> Result<Self> {
        let embedder = forward.embedder()?;
        let prompts = setting.classes.iter().flat_map(|class| {
            let templates = setting.templates.iter();
            templates.map(move |template| template.replace(MARK, class))
        });
        let prompts: Vec<String> = prompts.collect();
        let classes = embedder
            .prompts(&prompts)?
            .chunks(setting.templates.len().max(1))
            .map(class_vector)
            .collect();
        Ok(Self { embedder, classes })
    }

    /// The cosine of each image with each class, or why there is none.
    fn scores(&self, works: &[Work]) -> Result<Vec<Result<Vec<f64>, Outcome>>> {
        let images = self.embedder.images(works)?;
        let of_image = |image: &Vec<f32>| {
            let classes = self.classes.iter();
            let scores: Vec<f64> = classes.map(|class| f64::from(dot(image, class))).collect();
            if scores.iter().all(|score| score.is_finite()) {
                Ok(scores)
            } else {
                Err(Outcome::Failed(NOT_FINITE.to_owned()))
            }
        };
        Ok(images.iter().map(of_image).collect())
    }
}

struct Classifier<'m> {
    by_prompts: ByPrompts<'m>,
    outcome: OutcomeOf,
}

impl Predictor for Classifier<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let scores = self.by_prompts.scores(&works)?.into_iter();
        scores.map(self.outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_vector_is_the_unit_mean_of_unit_prompts() {
        let vector = class_vector(&[vec![2.0, 0.0], vec![0.0, 0.5]]);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(vector, [half, half]);
        assert_eq!(class_vector(&[vec![1.0, 0.0], vec![-1.0, 0.0]]), [0.0, 0.0]);
    }
}
