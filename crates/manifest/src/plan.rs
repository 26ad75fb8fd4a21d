//! A plan: a suite with every name found and every default filled in.
//!
//! A plan is plain data, holds no path of the machine that made it, and two plans are equal if and
//! only if their digests are. Files are named by [`Place`]: where a path starts from, and the path as
//! written; [`Roots`] says where that is on this machine.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Seed};

use crate::outside::PlannedOutside;

/// Version of the plan's layout.
pub const SCHEMA: u32 = 1;

/// A suite, resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// What the suite is for, as written.
    pub description: String,
    /// From which every random choice of a run derives.
    pub seed: Seed,
    /// How intervals are made.
    pub bootstrap: Bootstrap,
    /// Every dataset that a task uses, by name.
    pub datasets: BTreeMap<String, PlannedDataset>,
    /// Every model that a task uses, by name.
    pub models: BTreeMap<String, PlannedModel>,
    /// Tasks in the order of the suite.
    pub tasks: Vec<PlannedTask>,
    /// What is shown side by side. That is no part of what is asked, and so of no digest: another title makes no record
    /// outdated.
    #[serde(skip)]
    pub comparisons: Vec<PlannedComparison>,
}

impl Plan {
    /// The digest of the plan's canonical JSON.
    pub fn digest(&self) -> serde_json::Result<Digest> {
        Digest::of_json(self)
    }

    /// The digest of what `task` asks of any model: kind, how the dataset is read, prompts, limit and
    /// seed. Outcomes with equal protocols over equal dataset files can be ranked together; which
    /// models and metrics a plan lists, its batch sizes and its other tasks have no part in it.
    pub fn protocol(&self, task: &PlannedTask) -> serde_json::Result<Digest> {
        let dataset = self.datasets.get(&task.dataset);
        let mut asked = serde_json::json!({
            "kind": task.kind,
            "dataset": task.dataset,
            "format": dataset.map(|d| &d.format),
            "class_field": dataset.map(|d| &d.class_field),
            "templates": task.templates,
            "limit": task.limit,
            "seed": self.seed,
        });
        // What older plans could not say has no entry where it is not said: their protocols stay what they were.
        let annotations = dataset.and_then(|dataset| dataset.annotations.as_ref());
        for (key, value) in [
            (
                "annotations",
                annotations.map(|a| serde_json::json!([a.form, a.split])),
            ),
            (
                "decode",
                task.decode.as_ref().map(serde_json::to_value).transpose()?,
            ),
            ("prompt", task.prompt.clone().map(Into::into)),
            ("train", task.train.clone().map(Into::into)),
            ("repeats", task.repeats.map(Into::into)),
            ("likelihood", task.likelihood.clone().map(Into::into)),
            (
                "demonstrations",
                (task.demonstrations.as_ref())
                    .map(serde_json::to_value)
                    .transpose()?,
            ),
        ] {
            if let Some(value) = value {
                asked[key] = value;
            }
        }
        Digest::of_json(&asked)
    }
}

/// Settings of the bootstrap intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Resamples drawn.
    pub resamples: u32,
    /// Share of the resampled values between the ends of the interval, for example 0.95.
    pub confidence: f64,
}

/// A dataset with its defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedDataset {
    /// What it is, as written.
    pub description: String,
    /// Name of the shard format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Pattern of the shards' files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<Place>,
    /// Pattern of image files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Place>,
    /// Pattern of files of region features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Place>,
    /// Published annotations, instead of shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<PlannedAnnotations>,
    /// Metadata field with a sample's class: an index into `classes`, or a name from it.
    pub class_field: Option<String>,
    /// File with one class name a line.
    pub classes: Option<Place>,
    /// Prompts for zero-shot classification, each with one `{}` for the class name.
    pub templates: Vec<String>,
    /// File with one key a line: only these samples are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Place>,
}

/// Annotation files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedAnnotations {
    /// Name of the annotation form.
    pub form: String,
    /// Which part of the files.
    pub split: Option<String>,
    /// Patterns of the files by what they are for.
    pub files: BTreeMap<String, Place>,
}

/// A model with its defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedModel {
    /// What it is, as written.
    pub description: String,
    /// Name of the family.
    pub family: String,
    /// Folder of the checkpoint; `None` for families that read none.
    pub checkpoint: Option<Place>,
    /// Name of the tokenizer choice: `checkpoint` or `word-hash`.
    pub tokenizer: String,
    /// How exact its pixels are: `exact` or `fast`.
    pub pixels: String,
    /// In what its weights are kept, if they are rounded: `bf16`, `f16` or `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Where it is, if that is outside this program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<PlannedOutside>,
}

/// A task with its defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedTask {
    /// Unique within the suite.
    pub name: String,
    /// Name of the task kind.
    pub kind: String,
    /// Name of the dataset.
    pub dataset: String,
    /// Names of the models, in the order of the suite.
    pub models: Vec<String>,
    /// Metric ids, in the order of the suite.
    pub metrics: Vec<String>,
    /// Prompts for zero-shot classification; empty for other kinds.
    pub templates: Vec<String>,
    /// How texts are written; `None` for the way of each family's published program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode: Option<PlannedDecode>,
    /// What stands before the model beside images; `None` for the kind's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Name of the dataset that the task learns from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// What stands before each question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<PlannedDemonstrations>,
    /// How often the examples of an episode are shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u32>,
    /// How the likelihood of a candidate is taken; `None` for the kind's own way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<String>,
    /// Samples in a batch. Scores do not depend on it.
    pub batch_size: usize,
    /// Only the first so many samples, in shard order.
    pub limit: Option<u64>,
}

impl PlannedTask {
    /// Names of the datasets that it reads beside its own.
    pub fn other_datasets(&self) -> impl Iterator<Item = &String> {
        let demonstrations = self.demonstrations.iter();
        (self.train.iter()).chain(demonstrations.map(|shown| &shown.dataset))
    }

    /// Name of the model by whose embeddings demonstrations are chosen.
    pub fn chooser(&self) -> Option<&String> {
        self.demonstrations.as_ref()?.by.as_ref()
    }
}

/// Outcomes that stand side by side in a figure. Its rows are of the suite, whether or not the plan has them.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedComparison {
    /// Unique within the suite.
    pub name: String,
    /// What it shows, in a sentence.
    pub title: String,
    /// Metric id, which every row's task computes.
    pub metric: String,
    /// At least two.
    pub rows: Vec<PlannedRow>,
    /// The value of guessing, in the unit of the metric.
    pub chance: Option<f64>,
    /// The row whose value is drawn as a line; not there with `chance`.
    pub floor: Option<PlannedRow>,
}

/// A model at a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// Name of the model.
    pub model: String,
    /// Name of the task.
    pub task: String,
    /// What it is called in the figure.
    pub label: String,
}

/// Demonstrations before each question: functions of the question's key and of seeds alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDemonstrations {
    /// Name of the dataset that they are from.
    pub dataset: String,
    /// How many.
    pub shots: u32,
    /// How many are shown as texts alone, of no shots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<u32>,
    /// `random`, or `nearest`: the likest last.
    pub choice: String,
    /// Name of the model whose embeddings say what is near; there exactly for `nearest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Among how many samples of the dataset, drawn from the seed; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<u32>,
}

/// How texts are written. `width` is there exactly for `beam`, `p` exactly for `nucleus`, and `candidates`, `penalty` and
/// `judgement` exactly for `contrastive`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedDecode {
    /// `greedy`, `beam`, `nucleus` or `contrastive`.
    pub strategy: String,
    /// Hypotheses of a beam, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Probability of a nucleus, above 0 and at most 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
    /// How many of the most likely tokens are weighed, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u32>,
    /// How much it counts that a token is unlike those before it, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// How much the image counts, 0 for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judgement: Option<f64>,
    /// Most tokens of a text, at least 1; `None` for as many as the family's published program writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// A path and where it starts from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "root", content = "path", rename_all = "kebab-case")]
pub enum Place {
    /// Below the data folder of the run.
    Data(String),
    /// Below the folder of the manifests.
    Manifests(String),
    /// A repository on Hugging Face's hub, `hf:OWNER/NAME@REVISION`.
    Hub(String),
    /// The folder given for the model of this name on the command line.
    Given(String),
}

/// Where [`Place`]s are on this machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roots {
    /// The data folder.
    pub data: PathBuf,
    /// The folder that holds `datasets/`, `models/` and `suites/`.
    pub manifests: PathBuf,
    /// Checkpoint folders: those given for models by the model's name, those from the hub by their name there.
    pub checkpoints: BTreeMap<String, PathBuf>,
    /// Models whose checkpoint is from the hub, and where it is there: `hf:OWNER/NAME@COMMIT`.
    pub sources: BTreeMap<String, String>,
    /// Variables of the environment, of which models outside this program get those that they may have.
    pub variables: Variables,
    /// Folder for what programs outside this one write to their standard error; `None` for nowhere.
    pub logs: Option<PathBuf>,
}

/// Variables of the environment. Some hold keys: their values are never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, OsString>);

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Roots {
    /// The path of `place` on this machine; `None` when it names a checkpoint that was not given.
    pub fn path(&self, place: &Place) -> Option<PathBuf> {
        Some(match place {
            Place::Data(path) => self.data.join(path),
            Place::Manifests(path) => self.manifests.join(path),
            Place::Given(name) | Place::Hub(name) => self.checkpoints.get(name)?.clone(),
        })
    }
}
