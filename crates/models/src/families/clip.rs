//! CLIP: an image tower and a text tower into one space (Radford et al. 2021, arXiv 2103.00020).
//!
//! | layout | sizes | image preparation | vision tower |
//! | --- | --- | --- | --- |
//! | Hugging Face | `config.json` | `preprocessor_config.json`, CLIP's defaults when absent | transformer |
//! | `open_clip` | `open_clip_config.json` | the same file | transformer, modified residual network |
//! | OpenAI | shapes of the weights | OpenAI's, at the size of the tower | transformer, modified residual network |
//!
//! The names of the tensors tell the layouts apart; a folder that holds several is read in `open_clip`'s. The tokenizer is `tokenizer.json` or `vocab.json` with `merges.txt` in all of them.
//!
//! Both towers end in a projection; both results are divided by their length. The similarity of an image and a text
//! is their dot product, and its logit that times `exp(logit_scale)` (figure 3 of the paper).
//!
//! Texts of a batch are padded to the longest of them, not to the full context: the causal mask keeps what stands
//! behind the pooled position from having any influence.

pub mod config;
mod layout;
mod objective;
pub mod open_clip;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_core::{ImageSpec, Seed};
use sightline_nn::tower::{ModifiedResNet, TextTransformer, Vit};
use sightline_nn::{Linear, Mask, Precision, Weights, at_places, in_parts, unit_length};
use sightline_text::{ClipTokenizer, Tokenizer, WordHash};

pub use config::{ClipConfig, TextConfig, TextEnd, VisionConfig};
pub use open_clip::OpenClipConfig;

use self::layout::{ClipSpec, Layout, VisionSpec, text_scope};
pub(crate) use self::layout::{OPEN_CLIP_BLOCK, OPEN_CLIP_VISION};
pub(crate) use self::objective::TRAINABLE;
use crate::folder::{self, CONFIG, read_json};
use crate::loss;
use crate::{
    Capability, CheckpointFile, Embed, Error, Family, FileRole, Model, ModelSpec, Result,
    TokenizerChoice, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "clip",
    paper: "https://arxiv.org/abs/2103.00020",
    capabilities: &[Capability::Embed],
    needs_checkpoint: true,
    files,
    offers: |_| Ok(FAMILY.capabilities),
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let (_, clip) = open(folder, &Device::Cpu)?;
        Ok(VisualSpec::Pixels(read_input(folder, &clip)?))
    },
    load: |spec, device| Ok(Box::new(Clip::load(spec, device)?)),
};

const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

/// The most that cosines are multiplied by in training (section 2.5 of the paper).
const LARGEST_SCALE: f64 = 100.0;

/// Images that the transformer takes together.
const PART_IMAGES: usize = 8;

/// A CLIP model.
pub struct Clip {
    vision: VisionTower,
    text: TextTransformer,
    text_projection: Linear,
    /// `exp(logit_scale)`, a scalar.
    scale: Tensor,
    scale_value: f32,
    end: TextEnd,
    context_length: usize,
    width: usize,
    tokenizer: Arc<dyn Tokenizer>,
    input: VisualSpec,
    device: Device,
}

/// The image side of a CLIP.
pub enum VisionTower {
    /// A vision transformer, and the projection of its pooled vector into the common space.
    Transformer(Vit, Linear),
    /// A residual network, whose pooling attention projects as well.
    ResNet(ModifiedResNet),
}

/// The weights in `folder` and the sizes that belong to them; reads no tensor.
fn open(folder: &Path, device: &Device) -> Result<(Weights, ClipSpec)> {
    let weights = Weights::open(folder, device)?;
    let spec = match Layout::of(&weights) {
        Layout::HuggingFace => ClipSpec::from(&ClipConfig::read(&folder.join(CONFIG))?),
        Layout::OpenClip => {
            let path = folder.join(OPEN_CLIP_CONFIG);
            let config = if path.is_file() {
                OpenClipConfig::read(&path)?
            } else {
                OpenClipConfig::from_shapes(&weights, &path)?
            };
            ClipSpec::from(&config)
        }
    };
    Ok((weights, spec))
}

/// The files of a checkpoint that [`Clip::load`] reads.
fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let layout = Layout::of(&Weights::open(folder, &Device::Cpu)?);
    let (config, preprocessor) = match layout {
        Layout::HuggingFace => (CONFIG, Some(PREPROCESSOR)),
        Layout::OpenClip => (OPEN_CLIP_CONFIG, None),
    };
    let mut files = Vec::new();
    let path = folder.join(config);
    // OpenAI's weights have none.
    if layout == Layout::HuggingFace || path.is_file() {
        let role = FileRole::Config;
        files.push(CheckpointFile { path, role });
    }
    files.extend(folder::weights_and_tokenizer(
        spec,
        folder,
        ClipTokenizer::files,
    )?);
    let preprocessor = preprocessor.map(|name| folder.join(name));
    if let Some(path) = preprocessor.filter(|path| path.is_file()) {
        let role = FileRole::Preprocessor;
        files.push(CheckpointFile { path, role });
    }
    Ok(files)
}

/// The image tower alone of the checkpoint in `folder`, and its width, for families that look at its patches.
pub(crate) fn image_tower(
    folder: &Path,
    precision: Precision,
    device: &Device,
) -> Result<(Vit, usize)> {
    let (weights, clip) = open(folder, device)?;
    let weights = weights.with_precision(precision)?;
    let VisionSpec::Transformer(spec) = &clip.vision else {
        return Err(Error::Config {
            path: folder.join(OPEN_CLIP_CONFIG),
            field: "vision_cfg.layers".to_owned(),
            found: "a residual network".to_owned(),
            wanted: "a vision transformer".to_owned(),
        });
    };
    let name = match clip.layout {
        Layout::HuggingFace => "vision_model",
        Layout::OpenClip => "visual",
    };
    let tower = Vit::load(&weights.scope(name), spec);
    // What is left over is the other tower.
    weights.finish()?;
    Ok((tower?, spec.block.attention.width))
}

/// The files that [`image_tower`] and [`image_spec`] read.
pub(crate) fn image_tower_files(folder: &Path) -> Result<Vec<CheckpointFile>> {
    files(&ModelSpec {
        checkpoint: Some(folder.to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        seed: Seed(0),
        precision: Precision::F32,
    })
}

/// How images are prepared for a checkpoint of Hugging Face's layout whose configuration is the file `config`, when nothing
/// else is said.
pub(crate) fn usual_image_spec(config: &Path) -> Result<ImageSpec> {
    default_input(config, &ClipSpec::from(&ClipConfig::read(config)?))
}

/// How images are prepared for the checkpoint in `folder`.
pub(crate) fn image_spec(folder: &Path) -> Result<ImageSpec> {
    let (_, clip) = open(folder, &Device::Cpu)?;
    read_input(folder, &clip)
}

impl Clip {
    /// Loads the checkpoint of `spec`.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let (weights, clip) = open(folder, device)?;
        let weights = weights.with_precision(spec.precision)?;
        let input = read_input(folder, &clip)?;
        let tokenizer = read_tokenizer(folder, &clip, spec.tokenizer)?;
        let model = Self::assemble(&clip, &weights, tokenizer, input, device);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A checkpoint of Hugging Face's layout whose files lie elsewhere: `tokenizer` is the folder of the tokenizer's.
    /// Images are prepared as CLIP's are when nothing else is said.
    pub fn from_files(
        config: &Path,
        weights: &Path,
        tokenizer: &Path,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let clip = ClipSpec::from(&ClipConfig::read(config)?);
        let opened = Weights::open(weights, device)?.with_precision(precision)?;
        let input = default_input(tokenizer, &clip)?;
        let tokenizer = read_tokenizer(tokenizer, &clip, TokenizerChoice::Checkpoint)?;
        let model = Self::assemble(&clip, &opened, tokenizer, input, device);
        folder::finish(&opened, weights)?;
        model
    }

    /// A model of the given sizes with random weights and [`WordHash`] ids, for measuring speed. `config` MUST
    /// be one that [`ClipConfig::read`] accepts.
    pub fn random(
        config: &ClipConfig,
        seed: Seed,
        precision: Precision,
        device: &Device,
    ) -> Result<Self> {
        let folder = Path::new("");
        let clip = ClipSpec::from(config);
        let tokenizer = read_tokenizer(folder, &clip, TokenizerChoice::WordHash)?;
        let input = default_input(folder, &clip)?;
        let weights = Weights::random(seed, device).with_precision(precision)?;
        Self::assemble(&clip, &weights, tokenizer, input, device)
    }

    fn assemble(
        clip: &ClipSpec,
        weights: &Weights,
        tokenizer: Arc<dyn Tokenizer>,
        input: ImageSpec,
        device: &Device,
    ) -> Result<Self> {
        let (vision, text) = match clip.layout {
            Layout::HuggingFace => (weights.scope("vision_model"), weights.scope("text_model")),
            Layout::OpenClip => (weights.scope("visual"), text_scope(weights)),
        };
        let vision = match &clip.vision {
            VisionSpec::Transformer(vit) => VisionTower::Transformer(
                Vit::load(&vision, vit)?,
                visual_projection(clip, weights, vit.block.attention.width)?,
            ),
            VisionSpec::ResNet(net) => VisionTower::ResNet(ModifiedResNet::load(&vision, net)?),
        };
        let scale = scale(weights)?;
        Ok(Self {
            vision,
            text: TextTransformer::load(&text, &clip.text)?,
            text_projection: text_projection(clip, weights)?,
            scale_value: scale.to_scalar()?,
            scale,
            end: clip.end,
            context_length: clip.text.context_length,
            width: clip.width,
            tokenizer,
            input: VisualSpec::Pixels(input),
            device: device.clone(),
        })
    }

    /// The vision tower.
    pub fn vision(&self) -> &VisionTower {
        &self.vision
    }

    /// The text tower.
    pub fn text(&self) -> &TextTransformer {
        &self.text
    }

    /// Pooled vectors of the text tower `[B, its width]` into the common space `[B, E]`, not normalised.
    pub fn project_texts(&self, pooled: &Tensor) -> Result<Tensor> {
        Ok(self.text_projection.forward(pooled)?)
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns `[B, E]`, not normalised.
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(match &self.vision {
            VisionTower::Transformer(vit, projection) => in_parts(pixels, PART_IMAGES, |pixels| {
                projection.forward(&vit.pooled(pixels)?)
            })?,
            VisionTower::ResNet(net) => net.forward(pixels)?,
        })
    }

    /// `ids`: `B` rows of the same length; returns `[B, E]`, not normalised. A padding mask changes nothing when
    /// padding stands behind the end token.
    pub fn text_features(&self, ids: &[Vec<u32>], padding: Option<&Mask>) -> Result<Tensor> {
        self.project_texts(&self.text.forward_at(ids, padding, &self.ends(ids))?)
    }

    /// The vectors of `sequence` `[B, T, width]` at the end token of each text; `[B, width]`.
    pub fn pool_texts(&self, sequence: &Tensor, ids: &[Vec<u32>]) -> Result<Tensor> {
        Ok(at_places(sequence, &self.ends(ids))?)
    }

    /// The ids of texts, padded to the longest of them.
    fn ids(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let encoded = texts
            .iter()
            .map(|text| self.tokenizer.encode(text, self.context_length))
            .collect::<Result<Vec<_>, _>>()?;
        let longest = encoded.iter().map(|text| text.len).max().unwrap_or(0);
        let end = self.tokenizer.end();
        let padded = encoded.into_iter().map(|text| text.padded(longest, end));
        Ok(padded.map(|text| text.ids).collect())
    }

    /// The contrastive loss of as many images as texts, which belong together in their order (section 2.3 of the paper).
    pub fn contrastive_loss(
        &self,
        pixels: &Tensor,
        ids: &[Vec<u32>],
        padding: Option<&Mask>,
    ) -> Result<Tensor> {
        let images = unit_length(&self.image_features(pixels)?)?;
        let texts = unit_length(&self.text_features(ids, padding)?)?;
        // The published training keeps the scale from growing beyond 100.
        let scale = self.scale.minimum(LARGEST_SCALE)?;
        let logits = images.matmul(&texts.t()?)?.broadcast_mul(&scale)?;
        loss::contrastive(&logits, 0.0)
    }

    fn ends(&self, ids: &[Vec<u32>]) -> Vec<usize> {
        ids.iter().map(|ids| self.end.position(ids)).collect()
    }
}

impl Model for Clip {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

impl Embed for Clip {
    fn width(&self) -> usize {
        self.width
    }

    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(unit_length(&self.image_features(pixels)?)?)
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        if texts.is_empty() {
            return Ok(Tensor::zeros((0, self.width), DType::F32, &self.device)?);
        }
        Ok(unit_length(&self.text_features(&self.ids(texts)?, None)?)?)
    }

    fn scale(&self) -> f32 {
        self.scale_value
    }
}

/// `[W, E]` in `open_clip`'s layout, its transpose in Hugging Face's.
fn visual_projection(clip: &ClipSpec, weights: &Weights, from: usize) -> Result<Linear> {
    Ok(match clip.layout {
        Layout::HuggingFace => {
            Linear::load_without_bias(&weights.scope("visual_projection"), from, clip.width)?
        }
        Layout::OpenClip => {
            let matrix = weights.tensor("visual.proj", &[from, clip.width])?;
            Linear::new(&matrix.t()?, None)?
        }
    })
}

/// As [`visual_projection`]; in newer `open_clip` configurations it may be a linear layer, with or without bias.
fn text_projection(clip: &ClipSpec, weights: &Weights) -> Result<Linear> {
    let (name, from) = ("text_projection", clip.text.block.attention.width);
    Ok(match clip.layout {
        Layout::HuggingFace => Linear::load_without_bias(&weights.scope(name), from, clip.width)?,
        Layout::OpenClip => {
            let text = text_scope(weights);
            let linear = text.scope(name);
            if linear.is_empty() {
                let matrix = text.tensor(name, &[from, clip.width])?;
                Linear::new(&matrix.t()?, None)?
            } else if linear.shape("bias").is_some() {
                Linear::load(&linear, from, clip.width)?
            } else {
                Linear::load_without_bias(&linear, from, clip.width)?
            }
        }
    })
}

/// `exp(logit_scale)`, a scalar or, for some of `open_clip`'s training programs, a vector of one.
fn scale(weights: &Weights) -> Result<Tensor> {
    let name = "logit_scale";
    let shape: &[usize] = match weights.shape(name) {
        Some([1]) => &[1],
        _ => &[],
    };
    Ok(weights.tensor_f32(name, shape)?.exp()?.reshape(())?)
}

fn read_tokenizer(
    folder: &Path,
    clip: &ClipSpec,
    choice: TokenizerChoice,
) -> Result<Arc<dyn Tokenizer>> {
    let rows = clip.text.vocabulary_size;
    let tokenizer: Arc<dyn Tokenizer> = match choice {
        TokenizerChoice::Checkpoint => Arc::new(ClipTokenizer::from_folder(folder)?),
        TokenizerChoice::WordHash => {
            let (start, end) = clip.start_and_end;
            Arc::new(WordHash::new(rows, start, end)?)
        }
    };
    folder::check_vocabulary(folder, tokenizer.vocabulary_size(), rows)?;
    Ok(tokenizer)
}

fn read_input(folder: &Path, clip: &ClipSpec) -> Result<ImageSpec> {
    let path = folder.join(match clip.layout {
        Layout::HuggingFace => PREPROCESSOR,
        Layout::OpenClip => OPEN_CLIP_CONFIG,
    });
    if !path.is_file() {
        return default_input(folder, clip);
    }
    let value = read_json(&path)?;
    let spec = match clip.layout {
        Layout::HuggingFace => from_hugging_face(&value),
        Layout::OpenClip => from_open_clip(&value),
    };
    let spec = spec.map_err(|source| Error::ImageSpec {
        path: path.clone(),
        source,
    })?;
    folder::check_image_size(path, &spec, clip.image_size())?;
    Ok(spec)
}

/// What CLIP's image processor, or OpenAI's own program, does when nothing else is said, at the size of the vision
/// tower.
fn default_input(folder: &Path, clip: &ClipSpec) -> Result<ImageSpec> {
    let size = clip.image_size();
    let spec = match clip.layout {
        Layout::HuggingFace => from_hugging_face(&json!({
            "image_processor_type": "CLIPImageProcessor",
            "size": { "shortest_edge": size },
            "crop_size": { "height": size, "width": size },
        })),
        Layout::OpenClip => from_open_clip(&json!({ "preprocess_cfg": { "size": size } })),
    };
    spec.map_err(|source| Error::ImageSpec {
        path: folder.join(PREPROCESSOR),
        source,
    })
}
