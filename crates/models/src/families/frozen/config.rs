//! `config.json` of a Frozen model, this project's: none was published.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::image_spec::open_clip::from_open_clip;
use sightline_core::image_spec::timm::from_timm;
use sightline_nn::causal::{AdapterNames, AdapterSpec};
use sightline_nn::tower::ModifiedResNetSpec;

use super::FAMILY;
use crate::check::{Check, limit};
use crate::folder::{CONFIG, read_json};
use crate::language::LanguageConfig;
use crate::{Error, Result, VisualSpec};

/// The part of an image before the crop, in timm's published preparation of `nf_resnet50`.
const CROP: f64 = 0.94;

/// Stages of CLIP's residual networks.
const CLIP_STAGES: usize = 4;

/// By how much those make the sides of an image smaller.
const CLIP_STRIDE: usize = 32;

/// What a model looks like.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FrozenConfig {
    /// `frozen`.
    pub family: String,
    /// What looks at images.
    pub encoder: Encoder,
    /// What makes vectors for the language model.
    pub mapper: Mapper,
    /// n: vectors of an image.
    pub prefix_tokens: usize,
    /// `config.json` of the language model, where it has no folder of its own.
    #[serde(default)]
    pub lm_config: Option<Value>,
    /// Height and width of an image, of a residual network.
    #[serde(default)]
    pub image_size: usize,
    /// Channels behind the first convolution of an NF-ResNet, or behind the stem of a CLIP's network.
    #[serde(default)]
    pub stem: usize,
    /// Blocks of each stage, of a residual network.
    #[serde(default)]
    pub depths: Vec<usize>,
    /// Channels behind each stage, of an NF-ResNet; a CLIP's network has 4, 8, 16 and 32 times those of its stem.
    #[serde(default)]
    pub channels: Vec<usize>,
    /// Width of features that another program made.
    #[serde(default)]
    pub feature_dim: usize,
    /// Vectors that a mapping transformer makes of the feature and puts before its own; `prefix_tokens` when absent.
    #[serde(default)]
    pub clip_length: Option<usize>,
    /// Layers of a mapping transformer.
    #[serde(default = "eight")]
    pub mapper_layers: usize,
    /// Heads of each.
    #[serde(default = "eight")]
    pub mapper_heads: usize,
    /// What was added to the language model, as MAGMA's configurations say it.
    #[serde(default)]
    pub adapter_config: Option<AdapterConfig>,
    /// What the model gets to see of images.
    #[serde(default)]
    pub sight: Sight,
}

/// What looks at images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// timm's `nf_resnet50`, in any size.
    NfResnet,
    /// CLIP's residual network in any size, up to its last map: `RN50x16` of MAGMA and LiMBeR.
    ClipResnet,
    /// Another program, whose features are given.
    Precomputed,
}

/// What makes vectors for the language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapper {
    /// The pooled feature to all vectors by one map (Frozen).
    Linear,
    /// Each cell of the last map to a vector (LiMBeR).
    GridLinear,
    /// The same with a norm behind it (MAGMA).
    GridLinearNorm,
    /// The pooled feature by two maps with tanh between (ClipCap).
    Mlp,
    /// The pooled feature by a transformer, which looks at it from constant vectors (ClipCap).
    Transformer,
}

/// MAGMA's `adapter_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// Behind the feed-forward layer of each layer.
    pub mlp: MlpAdapter,
}

/// An adapter behind a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpAdapter {
    /// How it stands to that layer.
    pub adapter_type: AdapterType,
    /// Its width is that of the language model divided by this.
    #[serde(default = "four")]
    pub downsample_factor: usize,
}

/// How an adapter stands to a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdapterType {
    /// Behind it.
    Normal,
}

/// What the model gets to see of images, for the paper's ablations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// The image.
    #[default]
    Seen,
    /// Zeros in its place: `train_blind`, `vqa_blind`.
    Blind,
}

fn four() -> usize {
    4
}

fn eight() -> usize {
    8
}

impl Mapper {
    /// As configurations call it.
    fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::GridLinear => "grid_linear",
            Self::GridLinearNorm => "grid_linear_norm",
            Self::Mlp => "mlp",
            Self::Transformer => "transformer",
        }
    }

    /// Whether it makes a vector of each cell, not of the pooled feature.
    pub(super) fn is_of_cells(self) -> bool {
        matches!(self, Self::GridLinear | Self::GridLinearNorm)
    }
}

impl FrozenConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let check = Check::new(path);
        let config: Self =
            serde_json::from_value(read_json(path)?).map_err(|source| check.json(source))?;
        config.check(check)?;
        Ok(config)
    }

    /// The language model of the configuration in `folder`, with the adapters that were added: `lm_config`, else
    /// `lm/config.json`.
    pub(super) fn language(&self, folder: &Path) -> Result<LanguageConfig> {
        let path = folder.join(CONFIG);
        let mut language = match &self.lm_config {
            Some(config) => LanguageConfig::parse(&path, config.clone())?,
            None => LanguageConfig::read(&folder.join(super::layout::LANGUAGE).join(CONFIG))?,
        };
        if let Some(AdapterConfig { mlp }) = self.adapter_config {
            let check = Check::new(&path);
            if language.kind != "gptj" {
                let check = check.part("lm_config");
                let wanted = "`gptj`, which `adapter_config` is for";
                return Err(check.wrong("model_type", &language.kind, wanted));
            }
            let (factor, width) = (mlp.downsample_factor, language.spec.width);
            check
                .part("adapter_config.mlp")
                .range("downsample_factor", factor, 1, width)?;
            language.spec.adapter = Some(AdapterSpec {
                hidden: width / factor,
                names: AdapterNames::MAGMA,
            });
        }
        if self.mapper == Mapper::Transformer {
            let (heads, width) = (self.mapper_heads, language.spec.embedding_width);
            if !width.is_multiple_of(heads) {
                let wanted = format!("a divisor of the language model's width, {width}");
                return Err(Check::new(&path).wrong("mapper_heads", &heads, wanted));
            }
        }
        Ok(language)
    }

    /// The network of a CLIP; what belongs to its pooling is not there.
    pub(super) fn clip_resnet(&self) -> ModifiedResNetSpec {
        let mut layers = [0; CLIP_STAGES];
        for (layer, &depth) in layers.iter_mut().zip(&self.depths) {
            *layer = depth;
        }
        ModifiedResNetSpec {
            image_size: self.image_size,
            width: self.stem,
            layers,
            heads: 1,
            output: 0,
        }
    }

    /// Pixels in timm's published preparation of `nf_resnet50`, of any size, or in CLIP's; features of another program as a
    /// region. The configuration is that of the file at `path`.
    pub(super) fn input(&self, path: &Path) -> Result<VisualSpec> {
        let side = self.image_size;
        let spec = match self.encoder {
            Encoder::Precomputed => {
                return Ok(VisualSpec::Regions {
                    width: self.feature_dim,
                    regions: 1,
                });
            }
            Encoder::NfResnet => from_timm(&json!({
                "input_size": [3, side, side], "interpolation": "bicubic", "crop_pct": CROP,
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            })),
            Encoder::ClipResnet => from_open_clip(&json!({ "preprocess_cfg": { "size": side } })),
        };
        let spec = spec.map_err(|source| Error::ImageSpec {
            path: path.to_owned(),
            source,
        })?;
        Ok(VisualSpec::Pixels(spec))
    }

    pub(super) fn check(&self, check: Check<'_>) -> Result<()> {
        if self.family != FAMILY.name {
            let wanted = format!("`{}`", FAMILY.name);
            return Err(check.wrong("family", &self.family, wanted));
        }
        check.range("prefix_tokens", self.prefix_tokens, 1, limit::CONTEXT)?;
        match self.encoder {
            Encoder::NfResnet => self.check_nf_resnet(check)?,
            Encoder::ClipResnet => self.check_clip_resnet(check)?,
            Encoder::Precomputed => {
                check.range("feature_dim", self.feature_dim, 1, limit::WIDTH)?;
                if self.mapper.is_of_cells() {
                    let wanted =
                        "`linear`, `mlp` or `transformer`, for features that are one vector";
                    return Err(check.wrong("mapper", &self.mapper.name(), wanted));
                }
            }
        }
        if self.mapper == Mapper::Transformer {
            let length = self.clip_length.unwrap_or(self.prefix_tokens);
            check.range("clip_length", length, 1, limit::CONTEXT)?;
            check.range("mapper_layers", self.mapper_layers, 1, limit::DEPTH)?;
            check.range("mapper_heads", self.mapper_heads, 1, limit::WIDTH)?;
        }
        Ok(())
    }

    fn check_nf_resnet(&self, check: Check<'_>) -> Result<()> {
        check.range("image_size", self.image_size, 1, limit::IMAGE)?;
        check.range("stem", self.stem, 1, limit::WIDTH)?;
        check.range("depths", self.depths.len(), 1, limit::DEPTH)?;
        if self.channels.len() != self.depths.len() {
            let wanted = format!("{} numbers, as `depths`", self.depths.len());
            return Err(check.wrong("channels", &self.channels.len(), wanted));
        }
        for &depth in &self.depths {
            check.range("depths", depth, 1, limit::DEPTH)?;
        }
        for &channels in &self.channels {
            check.range("channels", channels, 4, limit::WIDTH)?;
        }
        Ok(())
    }

    fn check_clip_resnet(&self, check: Check<'_>) -> Result<()> {
        let side = self.image_size;
        check.range("image_size", side, CLIP_STRIDE, limit::IMAGE)?;
        if !side.is_multiple_of(CLIP_STRIDE) {
            let wanted = format!("a multiple of {CLIP_STRIDE}");
            return Err(check.wrong("image_size", &side, wanted));
        }
        check.range("stem", self.stem, 2, limit::WIDTH / 32)?;
        if !self.stem.is_multiple_of(2) {
            return Err(check.wrong("stem", &self.stem, "an even number"));
        }
        if self.depths.len() != CLIP_STAGES {
            let wanted = format!("{CLIP_STAGES} numbers");
            return Err(check.wrong("depths", &self.depths.len(), wanted));
        }
        for &depth in &self.depths {
            check.range("depths", depth, 1, limit::DEPTH)?;
        }
        if !self.mapper.is_of_cells() {
            let wanted = "`grid_linear` or `grid_linear_norm`, for the cells of a CLIP's network";
            return Err(check.wrong("mapper", &self.mapper.name(), wanted));
        }
        let cells = (side / CLIP_STRIDE).pow(2);
        if self.prefix_tokens != cells {
            let wanted = format!("{cells}, the cells of an image of {side} pixels");
            return Err(check.wrong("prefix_tokens", &self.prefix_tokens, wanted));
        }
        Ok(())
    }
}
