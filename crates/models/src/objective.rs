//! What a family is trained for.
//!
//! A model is a function of its tensors: an [`Objective`] builds it from [`Weights`] in every step, so that nothing which
//! was derived of a weight (a transpose, joined projections, a packed matrix) can be older than the weight. Where the
//! tensors come from says what happens to them:
//!
//! | [`Weights`] | for |
//! | --- | --- |
//! | [`Weights::initial`] over a checkpoint | the tensors that training begins with: [`start`] |
//! | [`Weights::of_tensors`], those that are trained as [`Var`](candle_core::Var)s | a step |
//! | [`Weights::of_tensors`], all as plain tensors | the loss on samples that are held out, on the fast path |
//!
//! ```no_run
//! use candle_core::{Device, Var};
//! use serde_json::json;
//! use sightline_core::Seed;
//! use sightline_models::ModelSpec;
//! use sightline_models::objective::{self, ObjectiveSpec, TrainingBatch, start};
//! use sightline_nn::Weights;
//!
//! let model = ModelSpec { checkpoint: Some("tiny-clip".into()), ..ModelSpec::without_checkpoint(Seed(0)) };
//! let entry = objective::find("clip", "contrastive")?;
//! let spec = ObjectiveSpec { model: &model, options: &json!({}), device: &Device::Cpu, reward: None };
//! let objective = (entry.open)(&spec)?;
//! let mut tensors = start(objective.as_ref(), Vec::new(), Seed(17), &Device::Cpu)?;
//! for (name, tensor) in &mut tensors {
//!     if objective.is_trained(name) {
//!         *tensor = Var::from_tensor(tensor)?.into_inner();
//!     }
//! }
//! # let batch = TrainingBatch::default();
//! let loss = objective.loss(&Weights::of_tensors(tensors, &Device::Cpu), &batch, Seed(18))?;
//! let gradients = loss.total.backward()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use sightline_nn::Weights;

use crate::{Error, ModelSpec, Result, Visual, VisualSpec};

/// Families that can be trained, sorted by name; `language` is a language model alone, in the folder that another family
/// takes it from.
pub static TRAINABLE: &[&TrainableFamily] = &[];

/// A family and what its models are trained for.
#[derive(Debug)]
pub struct TrainableFamily {
    /// The family.
    pub family: &'static str,
    /// Its objectives; the first is the one that its paper is known for.
    pub objectives: &'static [ObjectiveEntry],
}

/// One of a family's objectives.
#[derive(Debug)]
pub struct ObjectiveEntry {
    /// The name in manifests.
    pub name: &'static str,
    /// In a few words, for tables.
    pub about: &'static str,
    /// Reads the configuration and the tokenizer, and no weights.
    pub open: fn(&ObjectiveSpec<'_>) -> Result<Box<dyn Objective>>,
}

/// What an objective is opened with.
#[derive(Clone, Copy)]
pub struct ObjectiveSpec<'a> {
    /// The folder with the model's configuration and tokenizer; weights need not be there.
    pub model: &'a ModelSpec,
    /// The objective's own settings, an object; what is left out has the value of the paper.
    pub options: &'a Value,
    /// Where losses are computed.
    pub device: &'a Device,
    /// What judges captions that are written in training, for the objectives that [need it](Need::Reward).
    pub reward: Option<&'a Arc<dyn Reward>>,
}

/// How good captions are.
pub trait Reward: Send + Sync {
    /// A number for each of `candidates`, of which the n-th is about the image that `references[n]` describe; more is
    /// better.
    fn score(&self, candidates: &[String], references: &[&[String]]) -> Result<Vec<f64>>;
}

/// What an objective needs of every example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// An image, as pixels: [`TrainingBatch::visual`] is [`Visual::Pixels`].
    Pixels,
    /// Regions with their features: [`Visual::Regions`].
    Regions,
    /// At least one caption.
    Caption,
    /// A question, and answers to it with their shares.
    Question,
    /// A label among those of the model.
    Label,
    /// What each region shows: [`RegionTarget::class`].
    Classes,
    /// A teacher's vector of each region: [`TrainingBatch::teacher`].
    Teacher,
    /// A judge of captions: [`ObjectiveSpec::reward`]; of the run, not of an example.
    Reward,
}

/// A sample as training sees it. Random choices about it depend on the step's seed and [`Self::id`] only, never on its
/// place in the batch.
#[derive(Clone, Debug, Default)]
pub struct TrainingExample {
    /// Its key.
    pub id: String,
    /// Which rows of [`TrainingBatch::visual`] are its images, in their order.
    pub images: Vec<usize>,
    /// Captions as written. An objective that takes one takes the first if the caller does not choose.
    pub captions: Vec<String>,
    /// Images and texts in the order of a document, for objectives of interleaved text; empty: the caption behind the
    /// image.
    pub document: Vec<DocumentPart>,
    /// A question about the image.
    pub question: Option<String>,
    /// Answers, each with its share or score from 0 to 1.
    pub answers: Vec<(String, f32)>,
    /// The label's name.
    pub label: Option<String>,
    /// Its regions, in the order of the rows of features.
    pub regions: Vec<RegionTarget>,
}

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentPart {
    /// A row of [`TrainingBatch::visual`].
    Image(usize),
    /// A text.
    Text(String),
}

/// What is known of a region.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionTarget {
    /// The class's name; `None`: no object.
    pub class: Option<String>,
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
}

/// The examples of a step.
#[derive(Clone, Debug, Default)]
pub struct TrainingBatch {
    /// Images of all examples as [`Objective::input`] wants them.
    pub visual: Option<Visual>,
    /// `[B, R, D]`, for each row of [`Self::visual`] and each of its regions a teacher's vector of the crop, of any length.
    pub teacher: Option<Tensor>,
    /// At least one.
    pub examples: Vec<TrainingExample>,
}

/// The value of an objective.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised: a scalar, f32.
    pub total: Tensor,
    /// What it is the (weighted) sum of, each a scalar, before its weight; at least one.
    pub terms: Vec<(&'static str, Tensor)>,
    /// Over how many predictions (tokens, pairs, regions) the mean is, so that means of parts can be put together.
    pub predictions: usize,
}

impl Loss {
    /// A loss of one term.
    pub fn of(name: &'static str, total: Tensor, predictions: usize) -> Self {
        Self {
            terms: vec![(name, total.clone())],
            total,
            predictions,
        }
    }
}

/// What a model is trained for.
pub trait Objective: Send {
    /// Its name in manifests.
    fn name(&self) -> &'static str;

    /// What every example needs, so that shards without it are refused before the first step.
    fn needs(&self) -> &[Need];

    /// How images are prepared; `None` for objectives of text alone.
    fn input(&self) -> Option<&VisualSpec>;

    /// Fails if the vocabulary does not cover `text`, or the text does not fit into the model's context.
    fn check_text(&self, text: &str) -> Result<()>;

    /// Every setting with its value, for the record.
    fn settings(&self) -> Value;

    /// The file in the model's folder that holds the trained tensors under the names that [`Self::build`] asks for, so
    /// that the family's own `load` reads what was trained.
    fn file(&self) -> &'static str {
        "model.safetensors"
    }

    /// The tensors of the folder's checkpoint under the names that [`Self::build`] asks for; `None` if it has none.
    fn stored(&self, device: &Device) -> Result<Option<Weights>>;

    /// Asks `weights` for every tensor of the model, and builds it.
    fn build(&self, weights: &Weights) -> Result<()>;

    /// Whether the tensor of that name is trained. Statistics of batch norms never are.
    fn is_trained(&self, tensor: &str) -> bool {
        !is_statistic(tensor)
    }

    /// The loss of the model of `weights` on `batch`. The same seed makes the same random choices.
    fn loss(&self, weights: &Weights, batch: &TrainingBatch, seed: Seed) -> Result<Loss>;
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Tensors to begin with, of another run or checkpoint: `lm.` and a language model's folder give Frozen its language model.
pub struct Given {
    /// What stands before their names in the model.
    pub prefix: String,
    /// The tensors.
    pub weights: Weights,
}

/// The tensors that training begins with: of `given` what the model asks for, the last one first, then those of the
/// folder's checkpoint, else an initialisation that depends on `seed` and the tensor's name only. A tensor with fewer rows
/// than the model's (a vocabulary before tokens were added) is continued by the initialisation.
pub fn start(
    objective: &dyn Objective,
    given: Vec<Given>,
    seed: Seed,
    device: &Device,
) -> Result<Tensors> {
    let mut sources = Vec::new();
    if let Some(stored) = objective.stored(device)? {
        sources.push((String::new(), stored));
    }
    let given = given.into_iter();
    sources.extend(given.map(|given| (given.prefix, given.weights)));
    let weights = Weights::initial(seed, sources, device);
    objective.build(&weights)?;
    weights.finish()?;
    Ok(weights.begun())
}

/// The objective called `name` of `family`, or the nearest names.
pub fn find(family: &str, name: &str) -> Result<&'static ObjectiveEntry, UnknownName> {
    let families = || TRAINABLE.iter().map(|entry| entry.family);
    let entry = TRAINABLE.iter().find(|entry| entry.family == family);
    let entry = entry
        .ok_or_else(|| UnknownName::among("family that can be trained", family, families()))?;
    let found = entry.objectives.iter().find(|entry| entry.name == name);
    found.ok_or_else(|| {
        let names = entry.objectives.iter().map(|entry| entry.name);
        UnknownName::among("objective of this family", name, names)
    })
}

/// Whether a tensor is a batch norm's mean or variance: measured, not learned.
pub(crate) fn is_statistic(tensor: &str) -> bool {
    tensor.ends_with(".running_mean") || tensor.ends_with(".running_var")
}

/// The settings of the objective called `name`.
pub(crate) fn options<T: DeserializeOwned>(
    name: &'static str,
    spec: &ObjectiveSpec<'_>,
) -> Result<T> {
    T::deserialize(spec.options).map_err(|source| Error::Options {
        objective: name,
        source,
    })
}

impl fmt::Debug for ObjectiveSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectiveSpec")
            .field("model", self.model)
            .field("options", self.options)
            .finish_non_exhaustive()
    }
}
