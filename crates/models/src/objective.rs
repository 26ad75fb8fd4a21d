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
//! use sightline_core::{Digest, Seed};
//! use sightline_models::ModelSpec;
//! use sightline_models::objective::{self, ObjectiveSpec, TrainingBatch, start};
//! use sightline_nn::Weights;
//!
//! let model = ModelSpec { checkpoint: Some("tiny-clip".into()), ..ModelSpec::without_checkpoint(Seed(0)) };
//! let entry = objective::find("clip", "contrastive")?;
//! let spec = ObjectiveSpec { model: &model, options: &json!({}), device: &Device::Cpu, reward: None, keep: None };
//! let objective = (entry.open)(&spec)?;
//! let mut tensors = start(objective.as_ref(), Vec::new(), Seed(17), &Device::Cpu)?.tensors;
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

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sightline_core::registry::UnknownName;
use sightline_core::{Digest, Seed};
use sightline_nn::Weights;

use crate::families::{
    align, clip, flamingo, frozen, magic, simvlm, vild, virtex, visualbert, visualgpt,
};
use crate::{Error, ModelSpec, Result, Visual, VisualSpec, language};

/// Families that can be trained, sorted by name; `language` is a language model alone, in the folder that another family
/// takes it from.
pub static TRAINABLE: &[&TrainableFamily] = &[
    &align::TRAINABLE,
    &clip::TRAINABLE,
    &flamingo::TRAINABLE,
    &frozen::TRAINABLE,
    &language::TRAINABLE,
    &magic::TRAINABLE,
    &simvlm::TRAINABLE,
    &vild::TRAINABLE,
    &virtex::TRAINABLE,
    &visualbert::TRAINABLE,
    &visualgpt::TRAINABLE,
];

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
    /// Whether examples are asked something: a vocabulary that is made of what they say then has the words of questions too.
    pub asks: bool,
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
    /// What keeps tensors that take long to compute; without it they are computed each time that the objective is opened.
    pub keep: Option<&'a dyn Keep>,
}

/// Keeps what is computed once before the first step, for runs that go on.
pub trait Keep {
    /// The tensor called `name`, f32, that was made of what has the digest `from`: the one that was kept, or what `compute` gives.
    fn tensor(
        &self,
        name: &'static str,
        from: Digest,
        compute: &dyn Fn() -> Result<Tensor>,
    ) -> Result<Tensor>;
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
    /// Those of the object that it shows, if they are known better.
    pub object: Option<[f32; 4]>,
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

    /// Fails if the vocabulary does not cover `text`. What is longer than the model's context is cut, as in the published
    /// programs.
    fn check_text(&self, text: &str) -> Result<()>;

    /// What answers or classes of regions MUST be among; `None` where any name is good, or none is read.
    fn names(&self) -> Option<Vec<String>> {
        None
    }

    /// Values of a teacher's vector, for objectives that [need](Need::Teacher) one.
    fn teacher_width(&self) -> Option<usize> {
        None
    }

    /// How many examples, each of an image and a caption, one after the other make a document.
    fn images_of_document(&self) -> usize {
        1
    }

    /// How many images an example has; data have one a sample.
    fn images_of_example(&self) -> usize {
        1
    }

    /// The fewest examples that say something together: 2 where they are told from each other.
    fn least_examples(&self) -> usize {
        1
    }

    /// The term of the loss that says how good the model is, the larger the better, where the loss itself does not.
    fn judged_by(&self) -> Option<&'static str> {
        None
    }

    /// Whether blocks leave out elements where a run asks for that.
    fn takes_dropout(&self) -> bool {
        true
    }

    /// Every setting with its value, for the record.
    fn settings(&self) -> Value;

    /// The file in the model's folder that holds the trained tensors under the names that [`Self::build`] asks for, so
    /// that the family's own `load` reads what was trained.
    fn file(&self) -> &'static str {
        "model.safetensors"
    }

    /// The tensors in the folder, perhaps of several checkpoints; none if there are only a configuration and a vocabulary.
    fn stored(&self, device: &Device) -> Result<Vec<Given>>;

    /// Asks `weights` for every tensor of the model, and builds it.
    fn build(&self, weights: &Weights) -> Result<()>;

    /// Whether the tensor of that name is trained. Statistics of batch norms never are.
    fn is_trained(&self, tensor: &str) -> bool {
        !is_statistic(tensor)
    }

    /// The share of elements that blocks leave out in the published training ([`Weights::with_dropout`]); a run decides
    /// whether it does so too.
    fn published_dropout(&self) -> f64 {
        0.0
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

/// What training begins with.
pub struct Start {
    /// Every tensor of the model.
    pub tensors: Tensors,
    /// The names of those that no checkpoint held, or not with all their rows.
    pub fresh: BTreeSet<String>,
}

/// The tensors that training begins with: of `given` what the model asks for, the last one first, then those of the
/// folder's checkpoint, else an initialisation that depends on `seed` and the tensor's name only. A tensor with fewer rows
/// than the model's (a vocabulary before tokens were added) is continued by the initialisation.
pub fn start(
    objective: &dyn Objective,
    given: Vec<Given>,
    seed: Seed,
    device: &Device,
) -> Result<Start> {
    let sources = objective.stored(device)?.into_iter().chain(given);
    let sources = sources.map(|given| (given.prefix, given.weights));
    let weights = Weights::initial(seed, sources.collect(), device);
    let built = objective.build(&weights);
    // Problems with tensors first: they are the cause of whatever else went wrong.
    weights.finish()?;
    built?;
    Ok(Start {
        tensors: weights.begun(),
        fresh: weights.fresh(),
    })
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

impl TrainingBatch {
    /// The image of each example, of which each has one: the rows of [`Self::visual`] in the order of the examples.
    pub(crate) fn one_image_each(&self, objective: &'static str) -> Result<Visual> {
        let image = |example: &TrainingExample| match example.images[..] {
            [image] => Ok(image as u32),
            _ => Err(example.lacks(objective, "one image")),
        };
        let images = self
            .examples
            .iter()
            .map(image)
            .collect::<Result<Vec<_>>>()?;
        self.images(&images)
    }

    /// These rows of [`Self::visual`].
    pub(crate) fn images(&self, rows: &[u32]) -> Result<Visual> {
        let visual = self.visual.as_ref().ok_or(Error::Visual {
            wanted: "images",
            found: "none",
        })?;
        let count = visual.batch()?;
        if let Some(&row) = rows.iter().find(|&&row| row as usize >= count) {
            return Err(Error::Count {
                what: "images",
                found: count,
                wanted: row as usize + 1,
            });
        }
        if (0..count as u32).eq(rows.iter().copied()) {
            return Ok(visual.clone());
        }
        visual.select(rows)
    }

    /// The first caption of each example.
    pub(crate) fn captions(&self, objective: &'static str) -> Result<Vec<&str>> {
        let mut all = Vec::with_capacity(self.examples.len());
        for example in &self.examples {
            match example.captions.first() {
                Some(caption) => all.push(caption.as_str()),
                None => return Err(example.lacks(objective, "a caption")),
            }
        }
        Ok(all)
    }
}

impl TrainingExample {
    /// The error of an example without something.
    pub(crate) fn lacks(&self, objective: &'static str, wanted: &'static str) -> Error {
        Error::Example {
            objective,
            wanted,
            example: self.id.clone(),
        }
    }

    /// The seed of random choices about it.
    pub(crate) fn seed(&self, step: Seed) -> Seed {
        step.child(&self.id, 0)
    }
}

/// The checkpoint in `folder`, if there is one.
pub(crate) fn checkpoint(folder: &Path, device: &Device) -> Result<Vec<Given>> {
    found(Weights::open(folder, device))
}

/// `opened` for [`Objective::stored`]; nothing where there are no weights.
pub(crate) fn found(opened: sightline_nn::Result<Weights>) -> Result<Vec<Given>> {
    match opened {
        Ok(weights) => Ok(vec![Given {
            prefix: String::new(),
            weights,
        }]),
        Err(sightline_nn::Error::NoWeights { .. }) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Fails if `ids` of `text` has the id `unknown`, with the first word that it stands for.
pub(crate) fn check_covered(
    folder: &Path,
    text: &str,
    unknown: Option<u32>,
    ids: impl Fn(&str) -> Result<Vec<u32>>,
) -> Result<()> {
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let is_covered = |text: &str| Ok::<_, Error>(!ids(text)?.contains(&unknown));
    if is_covered(text)? {
        return Ok(());
    }
    let mut lacking = text;
    for word in text.split_whitespace() {
        if !is_covered(word)? {
            lacking = word;
            break;
        }
    }
    Err(Error::NotCovered {
        folder: folder.to_owned(),
        word: lacking.to_owned(),
        text: text.to_owned(),
    })
}

/// Rows of ids filled up with `fill` to the length of the longest, and which of them were there.
pub(crate) fn filled(rows: &[Vec<u32>], fill: u32) -> (Vec<Vec<u32>>, Vec<Vec<u8>>) {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let row = |row: &Vec<u32>| {
        let (mut ids, mut present) = (row.clone(), vec![1; row.len()]);
        ids.resize(longest, fill);
        present.resize(longest, 0);
        (ids, present)
    };
    rows.iter().map(row).unzip()
}

/// `[B, labels]`: how much each of `labels` counts as an answer of each example, which MUST be positive for one at least.
pub(crate) fn shares(
    objective: &'static str,
    batch: &TrainingBatch,
    labels: &[String],
    device: &Device,
) -> Result<Tensor> {
    let mut all = vec![0f32; batch.examples.len() * labels.len()];
    for (example, row) in batch
        .examples
        .iter()
        .zip(all.chunks_exact_mut(labels.len().max(1)))
    {
        for (answer, share) in &example.answers {
            if let Some(label) = labels.iter().position(|label| label == answer) {
                row[label] = *share;
            }
        }
        if row.iter().all(|&share| share <= 0.0) {
            return Err(example.lacks(objective, "an answer among the labels of the model"));
        }
    }
    let shape = (batch.examples.len(), labels.len());
    Ok(Tensor::from_vec(all, shape, device)?)
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
