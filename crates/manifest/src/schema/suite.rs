//! Suite manifests.
//!
//! ```toml
//! schema = 1
//! suite = "quickstart"             # equals the file's name
//! description = "Synthetic scenes, in a minute."
//! seed = 17
//! models = ["constant", "random"]  # for every task that lists none itself
//!
//! [bootstrap]                      # optional
//! resamples = 1000
//! confidence = 0.95
//!
//! [[task]]
//! kind = "zero-shot"
//! dataset = "scenes-test"
//! name = "zero-shot-scenes-test"   # optional: "<kind>-<dataset>"
//! metrics = ["accuracy@1"]         # optional: all of the kind
//! batch_size = 32                  # optional; scores do not depend on it
//! # models, templates, limit       # optional
//!
//! [[task]]
//! kind = "caption"
//! dataset = "coco-karpathy-test"
//! decode = { strategy = "beam", width = 5, max_tokens = 20 } # optional: the family's own
//! # prompt = "A photo of"          # optional, for tasks that put a text before the model
//!
//! [[task]]
//! kind = "linear-probe"
//! dataset = "scenes-test"
//! train = "scenes-val"             # the dataset that the task learns from
//!
//! [[task]]
//! kind = "few-shot-vqa"
//! dataset = "scenes-questions-test"
//! demonstrations = { dataset = "scenes-questions-val", shots = 4, choice = "random" }
//! # choice = "nearest", by = "clip": the likest images by that model's embeddings; pool = 2048: among so many
//! # shots = 0, texts = 2: the texts of two demonstrations without their images
//!
//! [[task]]
//! kind = "episodes"
//! dataset = "open-ended-mini-imagenet-2-way-1-shot"
//! repeats = 1                      # optional: how often the examples are shown again
//!
//! [[comparison]]                   # any number: a point that the suite makes, as a figure
//! name = "floors"
//! title = "Whoever sees nothing is no better than one who guesses."
//! metric = "accuracy@1"
//! rows = [
//!     { model = "constant", task = "zero-shot-scenes-test", label = "sees nothing" },
//!     { model = "random", task = "zero-shot-scenes-test", label = "guesses" },
//! ]
//! chance = 0.02                    # optional: a line at this value; or
//! # floor = { model = "random", task = "zero-shot-scenes-test", label = "a guess" } # at that of this row
//! ```

use serde::Deserialize;
use toml::Spanned;

use super::Names;

/// A suite as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Suite {
    /// [`SCHEMA`](super::SCHEMA), checked before the rest is read.
    #[serde(rename = "schema")]
    pub(crate) _schema: u32,
    /// Name, equal to the file's.
    #[serde(rename = "suite")]
    pub(crate) name: Spanned<String>,
    /// What it is for, for people.
    pub(crate) description: String,
    /// From which every random choice derives.
    pub(crate) seed: u64,
    /// Models of every task that lists none itself.
    pub(crate) models: Option<Names>,
    /// How intervals are made.
    #[serde(default)]
    pub(crate) bootstrap: Bootstrap,
    /// The tasks.
    #[serde(default)]
    pub(crate) task: Vec<Spanned<Task>>,
    /// What is shown side by side.
    #[serde(default)]
    pub(crate) comparison: Vec<Spanned<Comparison>>,
}

/// Settings of the intervals, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bootstrap {
    /// Resamples drawn.
    pub(crate) resamples: Option<Spanned<u32>>,
    /// Share of the resampled values inside the interval.
    pub(crate) confidence: Option<Spanned<f64>>,
}

/// A task as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Task {
    /// Unique within the suite.
    pub(crate) name: Option<Spanned<String>>,
    /// Task kind.
    pub(crate) kind: Spanned<String>,
    /// Name of the dataset.
    pub(crate) dataset: Spanned<String>,
    /// Names of models.
    pub(crate) models: Option<Names>,
    /// Metric ids.
    pub(crate) metrics: Option<Names>,
    /// Prompts, instead of the dataset's.
    pub(crate) templates: Option<Names>,
    /// How texts are written.
    pub(crate) decode: Option<Spanned<Decode>>,
    /// What stands before the model beside images.
    pub(crate) prompt: Option<Spanned<String>>,
    /// Name of the dataset that the task learns from.
    pub(crate) train: Option<Spanned<String>>,
    /// What stands before each question.
    pub(crate) demonstrations: Option<Spanned<Demonstrations>>,
    /// How often the examples of an episode are shown again.
    pub(crate) repeats: Option<Spanned<u32>>,
    /// How the likelihood of a candidate is taken.
    pub(crate) likelihood: Option<Spanned<String>>,
    /// Samples in a batch.
    pub(crate) batch_size: Option<Spanned<u64>>,
    /// Only the first so many samples.
    pub(crate) limit: Option<Spanned<u64>>,
}

/// What stands before each question, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Demonstrations {
    /// Name of the dataset that they are from.
    pub(crate) dataset: Spanned<String>,
    /// How many.
    pub(crate) shots: Spanned<u32>,
    /// How many are shown as texts alone, of no shots.
    pub(crate) texts: Option<Spanned<u32>>,
    /// `random` or `nearest`.
    pub(crate) choice: Option<Spanned<String>>,
    /// Name of the model whose embeddings say what is near.
    pub(crate) by: Option<Spanned<String>>,
    /// Among how many samples of the dataset.
    pub(crate) pool: Option<Spanned<u32>>,
}

/// Outcomes that stand side by side in a figure, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comparison {
    /// Unique within the suite.
    pub(crate) name: Spanned<String>,
    /// What it shows, in a sentence.
    pub(crate) title: Spanned<String>,
    /// Metric id.
    pub(crate) metric: Spanned<String>,
    /// What is compared.
    pub(crate) rows: Spanned<Vec<Spanned<ComparisonRow>>>,
    /// The value of guessing, drawn as a line.
    pub(crate) chance: Option<Spanned<f64>>,
    /// The row whose value is drawn as a line.
    pub(crate) floor: Option<Spanned<ComparisonRow>>,
}

/// A model at a task, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ComparisonRow {
    /// Name of the model.
    pub(crate) model: Spanned<String>,
    /// Name of the task.
    pub(crate) task: Spanned<String>,
    /// What it is called in the figure.
    pub(crate) label: Spanned<String>,
}

/// How texts are written, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decode {
    /// `greedy`, `beam`, `nucleus` or `contrastive`.
    pub(crate) strategy: Spanned<String>,
    /// Hypotheses of a beam.
    pub(crate) width: Option<Spanned<u32>>,
    /// Probability of a nucleus.
    pub(crate) p: Option<Spanned<f64>>,
    /// Candidates of a contrastive search.
    pub(crate) candidates: Option<Spanned<u32>>,
    /// How much it counts there that a token is unlike those before it.
    pub(crate) penalty: Option<Spanned<f64>>,
    /// How much the image counts there.
    pub(crate) judgement: Option<Spanned<f64>>,
    /// Most tokens of a text.
    pub(crate) max_tokens: Option<Spanned<u32>>,
}
