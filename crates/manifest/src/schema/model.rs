//! Model manifests.
//!
//! ```toml
//! schema = 1
//! model = "clip-vit-b32"           # equals the file's name
//! family = "clip"
//! description = "OpenAI CLIP, ViT-B/32."
//! checkpoint = "checkpoints/clip"  # optional: below the data folder, or given on the command line
//! tokenizer = "checkpoint"         # optional: or "word-hash"
//! pixels = "exact"                 # optional: or "fast", whose deviation is in the record
//! ```

use serde::Deserialize;
use toml::Spanned;

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
}
