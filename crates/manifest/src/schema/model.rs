//! Model manifests.
//!
//! ```toml
//! schema = 1
//! model = "clip-vit-b32"           # equals the file's name
//! family = "clip"
//! description = "OpenAI CLIP, ViT-B/32."
//! checkpoint = "checkpoints/clip"  # optional: below the data folder, `hf:OWNER/NAME@REVISION`, or given on the command line
//! tokenizer = "checkpoint"         # optional: or "word-hash"
//! pixels = "exact"                 # optional: or "fast", whose deviation is in the record
//! weights = "f32"                  # optional: or "bf16", "f16", "int8": what is rounded is said in the record
//!
//! # [process], [endpoint]          # of models outside the program, see docs/adapters.md
//!
//! [published]                      # optional: for people, no part of a plan
//! source = "hf:openai/clip-vit-base-patch32" # or the `https://` address of a page
//! files = ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"]
//! licence = "MIT"
//! note = "The repository's card names none; this is that of github.com/openai/CLIP." # optional
//! parameters_millions = 151.3
//! run_with = "random-weights"      # or "published-weights": what this program's code has been run with
//!
//! [[paper_target]]                 # any number: what others report of it
//! task = "zero-shot"
//! dataset = "ImageNet val"
//! metric = "accuracy"
//! value = 63.2
//! source = "Radford et al. 2021, table 10"
//! verified = false                 # whether somebody looked it up there; without that it is never printed
//! # Optional: what here measures the same. Records then hold the value, in hundredths as papers print shares, and the
//! # board the difference. `shots` is for kinds with demonstrations.
//! compare = { kind = "zero-shot", dataset = "imagenet-val", metric = "accuracy@1" }
//! ```

use serde::Deserialize;
use toml::Spanned;

use super::Names;
use crate::outside::{WrittenEndpoint, WrittenProcess};

/// A model as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// [`SCHEMA`](super::SCHEMA), checked before the rest is read.
    #[serde(rename = "schema")]
    pub(crate) _schema: u32,
    /// Name, equal to the file's.
    #[serde(rename = "model")]
    pub(crate) name: Spanned<String>,
    /// Family.
    pub(crate) family: Spanned<String>,
    /// What it is, for people.
    pub(crate) description: String,
    /// Folder of the checkpoint.
    pub(crate) checkpoint: Option<Spanned<String>>,
    /// Tokenizer choice.
    pub(crate) tokenizer: Option<Spanned<String>>,
    /// How exact its pixels are.
    pub(crate) pixels: Option<Spanned<String>>,
    /// In what its weights are kept.
    pub(crate) weights: Option<Spanned<String>>,
    /// The program that holds it.
    pub(crate) process: Option<Spanned<WrittenProcess>>,
    /// The server that holds it.
    pub(crate) endpoint: Option<Spanned<WrittenEndpoint>>,
    /// How it was published.
    pub(crate) published: Option<WrittenPublished>,
    /// What others report of it.
    #[serde(default)]
    pub(crate) paper_target: Vec<WrittenTarget>,
}

/// How a model was published, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenPublished {
    /// Where.
    pub(crate) source: Spanned<String>,
    /// What of it is needed.
    pub(crate) files: Names,
    /// Under which licence.
    pub(crate) licence: Spanned<String>,
    /// What else there is to know.
    pub(crate) note: Option<String>,
    /// Size.
    pub(crate) parameters_millions: Spanned<f64>,
    /// With which weights the code has been run.
    pub(crate) run_with: Spanned<String>,
}

/// What others report of a model, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTarget {
    /// What was done.
    pub(crate) task: Spanned<String>,
    /// On what.
    pub(crate) dataset: Spanned<String>,
    /// What was measured.
    pub(crate) metric: Spanned<String>,
    /// The value.
    pub(crate) value: Spanned<f64>,
    /// Where it is printed.
    pub(crate) source: Spanned<String>,
    /// Whether it was looked up there.
    pub(crate) verified: bool,
    /// What here measures the same.
    pub(crate) compare: Option<WrittenCompared>,
}

/// What here measures what a paper did, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenCompared {
    /// Kind of task.
    pub(crate) kind: Spanned<String>,
    /// Dataset manifest.
    pub(crate) dataset: Spanned<String>,
    /// Metric id.
    pub(crate) metric: Spanned<String>,
    /// Demonstrations.
    pub(crate) shots: Option<u32>,
}
