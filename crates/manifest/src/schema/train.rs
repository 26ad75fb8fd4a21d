//! Training manifests.
//!
//! ```toml
//! schema = 1
//! train = "simvlm-tiny"            # equals the file's name
//! family = "simvlm"
//! description = "SimVLM in miniature, on drawn scenes."
//! seed = 17
//!
//! [model]
//! config = { d_model = 64 }        # the family's config.json, or a folder that holds it
//! preprocessor = { size = 32 }     # optional: the family's preprocessor_config.json
//! tokenizer = "words"              # optional: made of the captions; or a folder; else what is in the config's folder
//! # start = "out/train/lm/best"    # optional: a checkpoint whose tensors of the same name are where it begins
//!
//! [[model.take]]                   # optional, any number: tensors of other checkpoints, under other names
//! from = "out/train/lm/best"
//! tensors = ["*"]
//! into = "lm."
//!
//! [model.parts]                    # optional: whole checkpoints that the model's folder holds, by their folder in it
//! vision = "out/train/clip/best"
//!
//! [model.teacher]                  # for objectives that learn another model's vectors of regions
//! family = "clip"
//! checkpoint = "out/train/clip/best"
//!
//! [data]
//! train = "shards/train/*.tar"     # shards of any format; or `scenes` instead of both
//! validation = "shards/val/*.tar"  # optional
//! # scenes = { train = 4000, val = 400, size = 32, max_objects = 2, seed = 17 }
//! # captions = "first"             # optional: "random" (one of a sample's captions, the default) or "first"
//! # caption_column = "title"       # optional: a column of metadata instead of the captions (of scenes: "description")
//! # caption_forms = ["{title}. {alt}"]   # optional: texts made of columns; of several, one is drawn for each example
//! # train_regions = "r.tsv"        # for models on regions: boxes and features by the samples' keys, in any form of region features
//! # train_objects = "i.json"       # boxes and classes, in the form of COCO's instances
//! # validation_regions, validation_objects
//! # lanes, window                  # optional: how shards are shuffled
//!
//! [[stage]]
//! objective = "prefix-lm"
//! # options = { … }                # optional: those of the objective
//! steps = 1200                     # or `epochs`
//! batch = 64
//! # accumulate = 1                 # optional: parts that a batch is cut into
//! # trained = ["*"]                # optional: patterns of the tensors that are trained, of those that the objective trains
//! # dropout = 0.1                 # optional: the share of elements that blocks leave out
//!
//! [stage.optimiser]
//! lr = 2e-3
//! # betas, eps, weight_decay, clip_grad_norm, schedule, warmup_steps, ema
//! # group = [{ tensors = ["*.bias"], weight_decay = 0.0 }]
//!
//! [evaluation]                     # optional
//! every = 200
//! batches = 8
//! patience = 5
//!
//! [checkpoint]                     # optional
//! every = 200
//! weights = "f16"
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::Names;

/// A training run as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Train {
    /// [`SCHEMA`](super::SCHEMA), checked before the rest is read.
    #[serde(rename = "schema")]
    pub(crate) _schema: u32,
    /// Name, equal to the file's.
    #[serde(rename = "train")]
    pub(crate) name: Spanned<String>,
    /// Family.
    pub(crate) family: Spanned<String>,
    /// What it is for, for people.
    pub(crate) description: String,
    /// From which every random choice derives.
    pub(crate) seed: u64,
    /// What is trained.
    pub(crate) model: WrittenTrainModel,
    /// On what.
    pub(crate) data: Spanned<WrittenData>,
    /// With what aim and how.
    #[serde(default)]
    pub(crate) stage: Vec<Spanned<WrittenStage>>,
    /// When it is measured on held-out samples.
    #[serde(default)]
    pub(crate) evaluation: WrittenEvaluation,
    /// When it is kept.
    #[serde(default)]
    pub(crate) checkpoint: WrittenCheckpoint,
}

/// What is trained, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTrainModel {
    /// A folder, or the content of `config.json`.
    pub(crate) config: Spanned<Value>,
    /// The content of `preprocessor_config.json`.
    pub(crate) preprocessor: Option<Spanned<Value>>,
    /// `words`, or a folder.
    pub(crate) tokenizer: Option<Spanned<String>>,
    /// A checkpoint.
    pub(crate) start: Option<Spanned<String>>,
    /// Tensors of other checkpoints.
    #[serde(default)]
    pub(crate) take: Vec<WrittenTake>,
    /// Whole checkpoints by the name of their folder.
    #[serde(default)]
    pub(crate) parts: BTreeMap<String, Spanned<String>>,
    /// Whose vectors are learned.
    pub(crate) teacher: Option<WrittenTeacher>,
}

/// A teacher, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTeacher {
    /// Its family.
    pub(crate) family: String,
    /// Its folder.
    pub(crate) checkpoint: Spanned<String>,
}

/// Tensors of another checkpoint, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenTake {
    /// The checkpoint.
    pub(crate) from: Spanned<String>,
    /// Patterns of names in it.
    pub(crate) tensors: Option<Names>,
    /// What is put before the names.
    pub(crate) into: Option<String>,
}

/// What is learned from, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenData {
    /// Shards to learn from.
    pub(crate) train: Option<Spanned<String>>,
    /// Shards to measure on.
    pub(crate) validation: Option<Spanned<String>>,
    /// Scenes that are drawn.
    pub(crate) scenes: Option<Spanned<WrittenScenes>>,
    /// Format of shards whose names do not say it.
    pub(crate) format: Option<Spanned<String>>,
    /// Which of a sample's captions.
    pub(crate) captions: Option<Spanned<String>>,
    /// A column instead of the captions.
    pub(crate) caption_column: Option<Spanned<String>>,
    /// Texts made of columns.
    pub(crate) caption_forms: Option<Spanned<Vec<Spanned<String>>>>,
    /// Regions of the samples to learn from.
    pub(crate) train_regions: Option<Spanned<String>>,
    /// Their objects.
    pub(crate) train_objects: Option<Spanned<String>>,
    /// Regions of the samples to measure on.
    pub(crate) validation_regions: Option<Spanned<String>>,
    /// Their objects.
    pub(crate) validation_objects: Option<Spanned<String>>,
    /// Runs of shards read side by side.
    pub(crate) lanes: Option<Spanned<u32>>,
    /// Shards of a lane whose samples are shuffled together.
    pub(crate) window: Option<Spanned<u32>>,
}

/// Scenes, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenScenes {
    /// To learn from.
    pub(crate) train: Spanned<u32>,
    /// To measure on.
    pub(crate) val: Option<Spanned<u32>>,
    /// Pixels of a side.
    pub(crate) size: Option<Spanned<u32>>,
    /// Most objects.
    pub(crate) max_objects: Option<Spanned<u32>>,
    /// What they are drawn from.
    pub(crate) seed: Option<u64>,
}

/// A stage, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenStage {
    /// The objective.
    pub(crate) objective: Spanned<String>,
    /// Its options.
    pub(crate) options: Option<Spanned<Value>>,
    /// How many steps.
    pub(crate) steps: Option<Spanned<u64>>,
    /// How many times over the data.
    pub(crate) epochs: Option<Spanned<u64>>,
    /// Samples of a step.
    pub(crate) batch: Spanned<u64>,
    /// Parts of a batch.
    pub(crate) accumulate: Option<Spanned<u64>>,
    /// Patterns of what is trained.
    pub(crate) trained: Option<Names>,
    /// What blocks leave out.
    pub(crate) dropout: Option<Spanned<f64>>,
    /// How weights move.
    pub(crate) optimiser: WrittenOptimiser,
}

/// `AdamW`, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenOptimiser {
    /// Largest learning rate.
    pub(crate) lr: Spanned<f64>,
    /// Decays of the moments.
    pub(crate) betas: Option<Spanned<[f64; 2]>>,
    /// Added to the denominator.
    pub(crate) eps: Option<Spanned<f64>>,
    /// Decoupled decay.
    pub(crate) weight_decay: Option<Spanned<f64>>,
    /// Longest gradient.
    pub(crate) clip_grad_norm: Option<Spanned<f64>>,
    /// How the rate changes.
    pub(crate) schedule: Option<Spanned<String>>,
    /// Steps to the largest rate.
    pub(crate) warmup_steps: Option<Spanned<u64>>,
    /// Decay of the moving average of the weights.
    pub(crate) ema: Option<Spanned<f64>>,
    /// Tensors with settings of their own; the first that matches counts.
    #[serde(default)]
    pub(crate) group: Vec<WrittenGroup>,
}

/// A group, as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenGroup {
    /// Patterns of names.
    pub(crate) tensors: Names,
    /// Its learning rate.
    pub(crate) lr: Option<Spanned<f64>>,
    /// Its decay.
    pub(crate) weight_decay: Option<Spanned<f64>>,
    /// Whether it stays as it is.
    #[serde(default)]
    pub(crate) frozen: bool,
}

/// When it is measured, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenEvaluation {
    /// Steps between two measurements.
    pub(crate) every: Option<Spanned<u64>>,
    /// Batches of one.
    pub(crate) batches: Option<Spanned<u64>>,
    /// Measurements without a new best before it ends.
    pub(crate) patience: Option<Spanned<u64>>,
}

/// When it is kept, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenCheckpoint {
    /// Steps between two.
    pub(crate) every: Option<Spanned<u64>>,
    /// Type of the weights.
    pub(crate) weights: Option<Spanned<String>>,
}
