//! Where the parts of a Frozen model lie.
//!
//! | part | in the model's own file | else |
//! | --- | --- | --- |
//! | image encoder | `encoder.`, MAGMA's `image_prefix.enc.` | the folder `vision`, below `visual.` or not |
//! | language model | `lm.`, ClipCap's `gpt.` | the folder `lm` |
//! | a single map | `mapper.`, `image_prefix.proj.`, LiMBeR's file of nothing but the map | |

use std::path::{Path, PathBuf};

use candle_core::Device;
use sightline_nn::{Precision, Weights};
use sightline_text::Gpt2Tokenizer;

use super::config::{Encoder, FrozenConfig};
use crate::folder;
use crate::objective::{Given, checkpoint};
use crate::{CheckpointFile, FileRole, ModelSpec, Result, TokenizerChoice};

/// The language model's own folder.
pub(super) const LANGUAGE: &str = "lm";
/// The image encoder's own folder.
const VISION: &str = "vision";

/// What may stand before the language model's names.
pub(super) const LANGUAGES: [&str; 2] = ["lm", "gpt"];
/// What may stand before the image encoder's names.
pub(super) const ENCODERS: [&str; 2] = ["encoder", "image_prefix.enc"];

/// The scopes of the parts.
pub(super) struct Parts {
    pub(super) root: Weights,
    pub(super) encoder: Weights,
    pub(super) language: Weights,
    /// Of a single map.
    pub(super) map: Weights,
}

impl Parts {
    /// The parts in `weights`. Where nothing fits it is the first place, so that its names are told as missing.
    pub(super) fn of(weights: &Weights) -> Self {
        let placed = |names: [&str; 2]| {
            let [first, other] = names.map(|name| weights.scope(name));
            if first.is_empty() && !other.is_empty() {
                other
            } else {
                first
            }
        };
        Self {
            encoder: placed(ENCODERS),
            language: placed(LANGUAGES),
            map: if weights.shape("weight").is_some() {
                weights.clone()
            } else {
                placed(["mapper", "image_prefix.proj"])
            },
            root: weights.clone(),
        }
    }
}

/// Parts that have folders of their own.
pub(super) struct Apart {
    vision: Option<Weights>,
    language: Option<Weights>,
}

impl Apart {
    /// Opens those of the folders in `folder` whose part `weights` lack; all of them without `weights`.
    pub(super) fn open(
        folder: &Path,
        config: &FrozenConfig,
        weights: Option<&Weights>,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let open = |name: &str, places: [&str; 2]| -> Result<Option<Weights>> {
            let path = folder.join(name);
            let is_held = |weights: &Weights| places.iter().any(|p| !weights.scope(p).is_empty());
            if weights.is_some_and(is_held) || !path.is_dir() {
                return Ok(None);
            }
            Ok(Some(
                Weights::open(&path, device)?.with_precision(precision)?,
            ))
        };
        let vision = match config.encoder {
            Encoder::Precomputed => None,
            Encoder::NfResnet | Encoder::ClipResnet => open(VISION, ENCODERS)?,
        };
        Ok(Self {
            vision,
            language: open(LANGUAGE, LANGUAGES)?,
        })
    }

    /// `parts` with these in the place of those that they lack.
    pub(super) fn within(&self, parts: Parts) -> Parts {
        Parts {
            encoder: match &self.vision {
                Some(vision) => tower(vision),
                None => parts.encoder,
            },
            language: self.language.clone().unwrap_or(parts.language),
            ..parts
        }
    }

    /// Problems with their tensors. What is left over of an image encoder's is the other tower of a CLIP.
    pub(super) fn finish(&self, folder: &Path) -> Result<()> {
        if let Some(vision) = &self.vision {
            vision.finish()?;
        }
        match &self.language {
            Some(language) => folder::finish(language, &folder.join(LANGUAGE)),
            None => Ok(()),
        }
    }
}

/// The image tower in a file of both towers, or of nothing else.
fn tower(vision: &Weights) -> Weights {
    let below = vision.scope("visual");
    if below.is_empty() {
        vision.clone()
    } else {
        below
    }
}

/// What training begins with: the folders of parts, and before them the model's own file.
pub(super) fn stored(folder: &Path, config: &FrozenConfig, device: &Device) -> Result<Vec<Given>> {
    let apart = Apart::open(folder, config, None, Precision::F32, device)?;
    let given = |place: &str, weights: Weights| Given {
        prefix: format!("{place}."),
        weights,
    };
    let vision = apart.vision.iter().map(|w| given(ENCODERS[0], tower(w)));
    let language = apart.language.into_iter();
    let mut all: Vec<Given> = vision
        .chain(language.map(|w| given(LANGUAGES[0], w)))
        .collect();
    all.extend(checkpoint(folder, device)?);
    Ok(all)
}

/// The folder of the tokenizer's files: the model's own, else the language model's.
pub(super) fn tokenizer_folder(folder: &Path) -> PathBuf {
    let own = folder.join(LANGUAGE);
    if Gpt2Tokenizer::files(folder).is_err() && Gpt2Tokenizer::files(&own).is_ok() {
        return own;
    }
    folder.to_owned()
}

/// The files that loading the model of `spec` reads.
pub(super) fn files(spec: &ModelSpec, folder: &Path) -> Result<Vec<CheckpointFile>> {
    let config = FrozenConfig::read(&folder.join(folder::CONFIG))?;
    let weights = Weights::open(folder, &Device::Cpu)?;
    let apart = Apart::open(
        folder,
        &config,
        Some(&weights),
        Precision::F32,
        &Device::Cpu,
    )?;
    let file = |path, role| CheckpointFile { path, role };
    let mut files = folder::files(
        &ModelSpec {
            tokenizer: TokenizerChoice::WordHash,
            ..spec.clone()
        },
        folder,
        Gpt2Tokenizer::files,
    )?;
    for (name, part) in [(VISION, &apart.vision), (LANGUAGE, &apart.language)] {
        if part.is_some() {
            let weights = Weights::files(&folder.join(name))?.into_iter();
            files.extend(weights.map(|path| file(path, FileRole::Weights)));
        }
    }
    if config.lm_config.is_none() {
        let path = folder.join(LANGUAGE).join(folder::CONFIG);
        files.push(file(path, FileRole::Config));
    }
    if spec.tokenizer == TokenizerChoice::Checkpoint {
        let tokenizer = Gpt2Tokenizer::files(&tokenizer_folder(folder))?.into_iter();
        files.extend(tokenizer.map(|path| file(path, FileRole::Tokenizer)));
    }
    Ok(files)
}
