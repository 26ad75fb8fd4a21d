//! Where the parts of a Flamingo model lie in its folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Device;
use serde_json::json;
use sightline_core::ImageSpec;
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_nn::attention::AttentionNames;
use sightline_nn::tower::{Vit, VitSpec};
use sightline_nn::{AttentionSpec, BlockSpec, KeyValue, NormPlace, Precision, Weights};
use sightline_text::Gpt2Tokenizer;

use super::{FlamingoConfig, Tokenizing};
use crate::check::Check;
use crate::families::clip;
use crate::folder::{self, CONFIG};
use crate::language::LanguageConfig;
use crate::{CheckpointFile, Error, FileRole, ModelSpec, Result, TokenizerChoice};

/// The parts that Flamingo trained, in the order in which they are looked for.
const CHECKPOINTS: [&str; 3] = ["flamingo.safetensors", "checkpoint.pt", "model.safetensors"];

/// A folder whose files were found.
pub(super) struct Layout {
    folder: PathBuf,
    /// Resampler, gated layers and tables of tokens, perhaps everything.
    pub(super) checkpoint: PathBuf,
}

impl Layout {
    /// As [`Self::of`], of a folder that need not have a checkpoint yet.
    pub(super) fn beginning(folder: &Path) -> Self {
        let paths = CHECKPOINTS.map(|name| folder.join(name));
        let [first, ..] = &paths;
        let found = paths.iter().find(|path| path.is_file());
        Self {
            checkpoint: found.unwrap_or(first).clone(),
            folder: folder.to_owned(),
        }
    }

    pub(super) fn of(folder: &Path) -> Result<Self> {
        let paths = CHECKPOINTS.map(|name| folder.join(name));
        let checkpoint = paths.into_iter().find(|path| path.is_file());
        Ok(Self {
            checkpoint: checkpoint.ok_or_else(|| Error::NoConfig {
                folder: folder.to_owned(),
                wanted: "neither `flamingo.safetensors` nor `checkpoint.pt` nor `model.safetensors`",
            })?,
            folder: folder.to_owned(),
        })
    }

    /// The language model's own file or folder.
    fn language(&self) -> Option<PathBuf> {
        let own = self.folder.join("lm");
        let file = self.folder.join("lm.safetensors");
        if own.is_dir() {
            return Some(own);
        }
        file.is_file().then_some(file)
    }

    /// The image tower's own file or folder.
    fn vision(&self) -> Option<PathBuf> {
        let own = self.folder.join("vision");
        let file = self.folder.join("vision.safetensors");
        if own.is_dir() {
            return Some(own);
        }
        file.is_file().then_some(file)
    }

    /// The language model's configuration: in the model's own, else in its folder.
    pub(super) fn language_config(&self, config: &FlamingoConfig) -> Result<LanguageConfig> {
        match &config.lm_config {
            Some(value) => LanguageConfig::parse(&self.folder.join(CONFIG), value.clone()),
            None => LanguageConfig::read(&self.folder.join("lm").join(CONFIG)),
        }
    }

    /// The folder of the tokenizer's files: the language model's, else the model's own.
    fn tokenizer_folder(&self) -> PathBuf {
        let own = self.folder.join("lm");
        if Gpt2Tokenizer::files(&own).is_ok() {
            return own;
        }
        self.folder.clone()
    }

    pub(super) fn tokenizer(&self, choice: TokenizerChoice) -> Result<Tokenizing> {
        Ok(match choice {
            TokenizerChoice::Checkpoint => {
                let tokenizer = Gpt2Tokenizer::from_folder(&self.tokenizer_folder())?;
                Some(Arc::new(tokenizer))
            }
            TokenizerChoice::WordHash => None,
        })
    }

    /// The language model's own weights; `None` where they stand in the checkpoint.
    pub(super) fn language_weights(
        &self,
        precision: Precision,
        device: &Device,
    ) -> Result<Option<Weights>> {
        let open = |path: PathBuf| Weights::open(&path, device)?.with_precision(precision);
        Ok(self.language().map(open).transpose()?)
    }

    /// The checkpoint's tensors, each once: a whole state has the gated layers and the plain ones a second time, and those
    /// inside a layer below `decoder_layer`.
    pub(super) fn checkpoint_weights(
        &self,
        precision: Precision,
        device: &Device,
    ) -> Result<Weights> {
        let renamed = |name: &str| {
            let is_copy = name.starts_with("lang_encoder.old_decoder_blocks.")
                || name.starts_with("lang_encoder.gated_cross_attn_layers.");
            (!is_copy).then(|| name.replace(".decoder_layer.", "."))
        };
        let weights = Weights::open_renamed(&self.checkpoint, device, renamed)?;
        Ok(weights.with_precision(precision)?)
    }

    /// The image tower, from its own file or folder, else from the checkpoint's `weights`.
    pub(super) fn load_vision(
        &self,
        config: &FlamingoConfig,
        weights: &Weights,
        device: &Device,
    ) -> Result<Vit> {
        match self.own_vision(config, weights.precision(), device)? {
            Some(vision) => Ok(vision),
            None => vit(&weights.scope("vision_encoder"), config),
        }
    }

    /// The image tower of its own file or folder, if it has one.
    pub(super) fn own_vision(
        &self,
        config: &FlamingoConfig,
        precision: Precision,
        device: &Device,
    ) -> Result<Option<Vit>> {
        let Some(path) = self.vision() else {
            return Ok(None);
        };
        if path.is_dir() {
            let (tower, width) = clip::image_tower(&path, precision, device)?;
            if width != config.vision_width {
                let path = self.folder.join(CONFIG);
                let wanted = format!("{width}, as in the image tower of `vision`");
                let check = Check::new(&path);
                return Err(check.wrong("vision_width", &config.vision_width, wanted));
            }
            return Ok(Some(tower));
        }
        let own = Weights::open(&path, device)?.with_precision(precision)?;
        let below = own.scope("visual");
        let tower = vit(if below.is_empty() { &own } else { &below }, config);
        folder::finish(&own, &path)?;
        tower.map(Some)
    }

    /// How images are prepared: as the tower's own folder says, else as for OpenAI's.
    pub(super) fn input(&self, config: &FlamingoConfig) -> Result<ImageSpec> {
        if let Some(path) = self.vision().filter(|path| path.is_dir()) {
            let spec = clip::image_spec(&path)?;
            folder::check_image_size(path, &spec, config.image_size)?;
            return Ok(spec);
        }
        usual_input(config, &self.folder.join(CONFIG))
    }

    pub(super) fn files(&self, spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
        let file = |path, role| CheckpointFile { path, role };
        let mut files = vec![file(self.folder.join(CONFIG), FileRole::Config)];
        let own = Weights::files(&self.checkpoint)?;
        files.extend(own.into_iter().map(|path| file(path, FileRole::Weights)));
        if let Some(path) = self.vision() {
            if path.is_dir() {
                files.extend(clip::image_tower_files(&path)?);
            } else {
                files.push(file(path, FileRole::Weights));
            }
        }
        if let Some(path) = self.language() {
            let config = path.join(CONFIG);
            if config.is_file() {
                files.push(file(config, FileRole::Config));
            }
            let weights = Weights::files(&path)?.into_iter();
            files.extend(weights.map(|path| file(path, FileRole::Weights)));
        }
        if spec.tokenizer == TokenizerChoice::Checkpoint {
            let tokenizer = Gpt2Tokenizer::files(&self.tokenizer_folder())?;
            files.extend(
                tokenizer
                    .into_iter()
                    .map(|path| file(path, FileRole::Tokenizer)),
            );
        }
        Ok(files)
    }
}

/// What `open_clip` does with images for OpenAI's towers; `path` is that of the configuration.
pub(super) fn usual_input(config: &FlamingoConfig, path: &Path) -> Result<ImageSpec> {
    let spec = from_open_clip(&json!({ "preprocess_cfg": { "size": config.image_size } }));
    spec.map_err(|source| Error::ImageSpec {
        path: path.to_owned(),
        source,
    })
}

/// The tower of `config` under `open_clip`'s names, without `visual.`.
pub(super) fn vit(weights: &Weights, config: &FlamingoConfig) -> Result<Vit> {
    // The projection into the common space, which nobody asks.
    weights.disregard("proj");
    let width = config.vision_width;
    let spec = VitSpec {
        image_size: config.image_size,
        patch_size: config.patch_size,
        depth: config.vision_layers,
        block: BlockSpec {
            attention: AttentionSpec {
                width,
                heads: config.vision_heads,
                head_dim: width / config.vision_heads.max(1),
                key_value: KeyValue::Own,
                names: AttentionNames::PACKED,
            },
            hidden: 4 * width,
            activation: config.vision_activation,
            norm_place: NormPlace::Pre,
            norm_eps: 1e-5,
            names: clip::OPEN_CLIP_BLOCK,
        },
        names: clip::OPEN_CLIP_VISION,
    };
    Ok(Vit::load(weights, &spec)?)
}
