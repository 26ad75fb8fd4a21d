//! Dataset manifests.
//!
//! ```toml
//! schema = 1
//! dataset = "scenes-test"          # equals the file's name
//! description = "Synthetic scenes, test split."
//! format = "webdataset"
//! shards = "shards/test/*.tar"     # below the data folder; "./x": beside the manifest
//! class_field = "class_name"       # optional: metadata field with a sample's class
//! classes = "scenes/classes.txt"   # optional: one class name a line
//! templates = ["a picture of {}."] # optional: prompts for zero-shot classification
//! ```

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
    pub(crate) format: Spanned<String>,
    /// Pattern of the shards' files.
    pub(crate) shards: Spanned<String>,
    /// Metadata field with a sample's class.
    pub(crate) class_field: Option<Spanned<String>>,
    /// File with one class name a line.
    pub(crate) classes: Option<Spanned<String>>,
    /// Prompts, each with one `{}`.
    pub(crate) templates: Option<Names>,
}
