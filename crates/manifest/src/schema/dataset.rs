//! Dataset manifests.
//!
//! ```toml
//! schema = 1
//! dataset = "scenes-test"          # equals the file's name
//! description = "Synthetic scenes, test split."
//! format = "webdataset"            # of the shards
//! shards = "shards/test/*.tar"     # below the data folder; "./x": beside the manifest
//! regions = "regions/*.tsv"        # optional: files of region features, for models that take regions
//! class_field = "class_name"       # optional: metadata field with a sample's class
//! classes = "scenes/classes.txt"   # optional: one class name a line
//! templates = ["a picture of {}."] # optional: prompts for zero-shot classification
//! ids = "./scenes.ids.txt"         # optional: only these samples, one key a line
//! ```
//!
//! A dataset whose annotations are published as files names them instead of shards:
//!
//! ```toml
//! schema = 1
//! dataset = "vqa-v2-val"
//! description = "VQA 2.0, validation."
//! images = "coco/val2014/*.jpg"    # for models that take pixels; found by their names
//! regions = "coco/val2014/*.tsv"   # for models that take regions; one of the two
//! classes = "vqa/answers.txt"      # optional: what a classifier's labels are called
//!
//! [annotations]
//! form = "vqa"
//! # split = "test"                 # for forms that hold several
//!
//! [annotations.files]
//! questions = "vqa/v2_OpenEnded_mscoco_val2014_questions.json"
//! answers = "vqa/v2_mscoco_val2014_annotations.json"
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::Names;

/// A dataset as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dataset {
    /// [`SCHEMA`](super::SCHEMA), checked before the rest is read.
    #[serde(rename = "schema")]
    pub(crate) _schema: u32,
    /// Name, equal to the file's.
    #[serde(rename = "dataset")]
    pub(crate) name: Spanned<String>,
    /// What it is, for people.
    pub(crate) description: String,
    /// Shard format.
    pub(crate) format: Option<Spanned<String>>,
    /// Pattern of the shards' files.
    pub(crate) shards: Option<Spanned<String>>,
    /// Pattern of image files.
    pub(crate) images: Option<Spanned<String>>,
    /// Pattern of files of region features.
    pub(crate) regions: Option<Spanned<String>>,
    /// Published annotations, instead of shards.
    pub(crate) annotations: Option<Spanned<Annotations>>,
    /// Metadata field with a sample's class.
    pub(crate) class_field: Option<Spanned<String>>,
    /// File with one class name a line.
    pub(crate) classes: Option<Spanned<String>>,
    /// Prompts, each with one `{}`.
    pub(crate) templates: Option<Names>,
    /// File with one key a line.
    pub(crate) ids: Option<Spanned<String>>,
}

/// Annotation files as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Annotations {
    /// Annotation form.
    pub(crate) form: Spanned<String>,
    /// Which part of the files.
    pub(crate) split: Option<Spanned<String>>,
    /// Patterns of the files by what they are for.
    pub(crate) files: Spanned<BTreeMap<String, Spanned<String>>>,
}
