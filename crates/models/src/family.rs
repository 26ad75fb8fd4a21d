//! A family of models, and what a manifest says about one of them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use sightline_core::Seed;
use sightline_nn::Precision;

use crate::{Capability, Error, Model, Result, VisualSpec};

/// A family: models that differ only in size and weights.
#[derive(Debug)]
pub struct Family {
    /// Its name in manifests.
    pub name: &'static str,
    /// Where it is described.
    pub paper: &'static str,
    /// What its models can do; what one of them can, [`Self::offers`] says.
    pub capabilities: &'static [Capability],
    /// Whether a model cannot be loaded without a checkpoint.
    pub needs_checkpoint: bool,
    /// Every file that [`Self::load`] would read, so that a lock can digest them; reads indexes only.
    pub files: fn(&ModelSpec) -> Result<Vec<CheckpointFile>>,
    /// Which of the capabilities a model has; reads its configuration, and no weights.
    pub offers: fn(&ModelSpec) -> Result<&'static [Capability]>,
    /// What [`Model::input`] of the loaded model would be; reads no weights.
    pub input: fn(&ModelSpec) -> Result<VisualSpec>,
    /// Loads a model.
    pub load: fn(&ModelSpec, &Device) -> Result<Box<dyn Model>>,
}

/// A model as a plan describes it: a family's name chooses the code, this the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Folder of the checkpoint; `None` for families that have no weights.
    pub checkpoint: Option<PathBuf>,
    /// Where ids for texts come from.
    #[serde(default)]
    pub tokenizer: TokenizerChoice,
    /// For families whose answers are random.
    pub seed: Seed,
    /// In what linear maps keep their weights.
    #[serde(default, skip_serializing_if = "Precision::is_f32")]
    pub precision: Precision,
}

/// Where ids for texts come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TokenizerChoice {
    /// From the tokenizer files in the checkpoint's folder.
    #[default]
    Checkpoint,
    /// From hashes of words, for checkpoints without a vocabulary such as random weights: the ids carry no
    /// meaning.
    WordHash,
}

/// A file that a model is loaded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is for.
    pub role: FileRole,
}

/// What a checkpoint's file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileRole {
    /// The model's sizes.
    Config,
    /// Tensors, or the index of the files that hold them.
    Weights,
    /// Vocabulary and merges.
    Tokenizer,
    /// How images are prepared.
    Preprocessor,
}

impl ModelSpec {
    /// A model of a family that has no weights.
    pub fn without_checkpoint(seed: Seed) -> Self {
        Self {
            checkpoint: None,
            tokenizer: TokenizerChoice::Checkpoint,
            seed,
            precision: Precision::F32,
        }
    }

    /// The checkpoint's folder, which `family` needs.
    pub(crate) fn folder(&self, family: &'static str) -> Result<&Path> {
        self.checkpoint
            .as_deref()
            .ok_or(Error::NoCheckpoint { family })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_keeps_its_form_in_plans() {
        let spec = ModelSpec {
            checkpoint: Some("clip".into()),
            tokenizer: TokenizerChoice::WordHash,
            seed: Seed(17),
            precision: Precision::F32,
        };
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(
            json,
            r#"{"checkpoint":"clip","tokenizer":"word-hash","seed":17}"#
        );
        assert_eq!(serde_json::from_str::<ModelSpec>(&json).unwrap(), spec);
        let compact = ModelSpec {
            precision: Precision::Int8,
            ..spec
        };
        let json = serde_json::to_string(&compact).unwrap();
        assert!(json.ends_with(r#","precision":"int8"}"#), "{json}");
        assert_eq!(serde_json::from_str::<ModelSpec>(&json).unwrap(), compact);
    }
}
