//! What a task observed: the items metrics are computed from.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::conformance::Examples;
use crate::{Rank, Resources};

/// What a metric is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Input {
    /// For each question, the answer a model gave and those that people gave.
    Answer,
    /// For each image, the caption a model wrote and those that people wrote.
    Caption,
    /// For each image, the rank of its true class among all classes.
    ClassRank,
    /// For each answer of a model, how sure it was and whether it was right.
    Confidence,
    /// For each image, its annotated objects and those a model found, under COCO's protocol.
    Detection,
    /// For each question, whether the answer is the right one.
    Exact,
    /// For each image, its annotated objects and those a model found, under LVIS's protocol.
    FederatedDetection,
    /// For each phrase, the boxes it refers to and those a model gave, best first.
    Grounding,
    /// For each image, the rank of the best of its captions among all captions.
    ImageToText,
    /// For each image, its true class and the one a model chose.
    Label,
    /// For each text, its log-likelihood under a model.
    Likelihood,
    /// For each image, a score and a label for every class.
    MultiLabel,
    /// For each caption a model wrote, the objects it mentions and those in the image.
    ObjectMentions,
    /// For each phrase, the boxes it refers to and the point a model gave.
    Pointing,
    /// For each question of VCR, whether the answer and the rationale were right.
    RationaleChoice,
    /// For each sentence of NLVR2, which of its image pairs were judged right.
    SentencePairs,
    /// For each image, how similar its embedding and those of its texts are.
    Similarity,
    /// For each question, the soft target of the answer a classifier chose.
    SoftAnswer,
    /// For each caption, the rank of its image among all images.
    TextToImage,
    /// For each text, how well its token embeddings match those of its references.
    TokenMatch,
    /// For each image, the scene-graph tuples of the candidate and of the references.
    Tuples,
    /// For each question, whether a model said yes and whether yes is right.
    YesNo,
}

impl Input {
    /// The name in messages and in the derivation of seeds.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Caption => "caption",
            Self::ClassRank => "class-rank",
            Self::Confidence => "confidence",
            Self::Detection => "detection",
            Self::Exact => "exact",
            Self::FederatedDetection => "federated-detection",
            Self::Grounding => "grounding",
            Self::ImageToText => "image-to-text",
            Self::Label => "label",
            Self::Likelihood => "likelihood",
            Self::MultiLabel => "multi-label",
            Self::ObjectMentions => "object-mentions",
            Self::Pointing => "pointing",
            Self::RationaleChoice => "rationale-choice",
            Self::SentencePairs => "sentence-pairs",
            Self::Similarity => "similarity",
            Self::SoftAnswer => "soft-answer",
            Self::TextToImage => "text-to-image",
            Self::TokenMatch => "token-match",
            Self::Tuples => "tuples",
            Self::YesNo => "yes-no",
        }
    }
}

/// One thing a metric counts. Every kind of item brings examples, so that the conformance kit can run
/// over every metric.
pub trait Item: Examples + Clone + Send + Sync + 'static {}

impl Item for Rank {}

/// Sums of every item of one family of metrics, whatever their type.
type Sums = Arc<dyn Any + Send + Sync>;

/// The items of each [`Input`] that a task observed, in the order of the dataset. An observed input may
/// have no items; an input that was never set is an error for the metrics that need it.
///
/// The sums of items are kept once computed ([`crate::Metric::family`]): value, interval, values of
/// items and comparisons all start from them.
#[derive(Default)]
pub struct Observations {
    items: BTreeMap<Input, Box<dyn Any + Send + Sync>>,
    resources: Resources,
    sums: Mutex<BTreeMap<&'static str, Sums>>,
}

impl Observations {
    /// Sets the items of `input`, in the order of the dataset.
    pub fn set<I: Item>(&mut self, input: Input, items: Vec<I>) {
        self.items.insert(input, Box::new(items));
        self.forget_sums();
    }

    /// The items of `input`, if items of this type were observed.
    pub fn items<I: Item>(&self, input: Input) -> Option<&[I]> {
        let items = self.items.get(&input)?.downcast_ref::<Vec<I>>()?;
        Some(items)
    }

    /// Sets what metrics need beside items.
    pub fn set_resources(&mut self, resources: Resources) {
        self.resources = resources;
        self.forget_sums();
    }

    /// What metrics need beside items.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The sums kept for `family`, if they are of this type.
    pub(crate) fn kept<S: Send + Sync + 'static>(
        &self,
        family: &'static str,
    ) -> Option<Arc<Vec<S>>> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.get(family)?.clone().downcast().ok()
    }

    /// Keeps the sums of `family`.
    pub(crate) fn keep<S: Send + Sync + 'static>(&self, family: &'static str, sums: Arc<Vec<S>>) {
        let mut kept = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(family, sums);
    }

    fn forget_sums(&mut self) {
        self.sums
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

impl fmt::Debug for Observations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observations")
            .field("inputs", &self.items.keys())
            .field("resources", &self.resources)
            .finish_non_exhaustive()
    }
}
