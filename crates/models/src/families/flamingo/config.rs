//! `config.json` of a Flamingo model, this project's: `OpenFlamingo`'s checkpoints have none.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sightline_nn::attention::AttentionNames;
use sightline_nn::{Activation, AttentionSpec, KeyValue};

use super::FAMILY;
use crate::Result;
use crate::check::{Check, limit};
use crate::folder::read_json;

/// What a model looks like. What is left out is as in the releases, whose image tower is OpenAI's `ViT-L/14`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FlamingoConfig {
    /// `flamingo`.
    pub family: String,
    /// N: every N-th layer of the language model, counted from 1, looks at images first.
    #[serde(default = "one")]
    pub cross_attn_every_n_layers: usize,
    /// What makes a fixed number of vectors of an image.
    #[serde(default)]
    pub perceiver: PerceiverConfig,
    /// What looks at them.
    #[serde(default)]
    pub gated: GatedConfig,
    /// Height and width of an image in pixels.
    #[serde(default = "default_image_size")]
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    #[serde(default = "default_patch_size")]
    pub patch_size: usize,
    /// Width of the image tower.
    #[serde(default = "default_vision_width")]
    pub vision_width: usize,
    /// Its layers.
    #[serde(default = "default_vision_layers")]
    pub vision_layers: usize,
    /// Heads of each.
    #[serde(default = "default_vision_heads")]
    pub vision_heads: usize,
    /// Activation of its feed-forward layers.
    #[serde(default = "quick_gelu")]
    pub vision_activation: Activation,
    /// `config.json` of the language model, where it has no folder of its own.
    #[serde(default)]
    pub lm_config: Option<Value>,
    /// The language model's own padding; without one the checkpoint has a token for it behind the two others.
    #[serde(default)]
    pub pad_id: Option<u32>,
    /// The token before every prompt, of language models that have one (OPT).
    #[serde(default)]
    pub bos_id: Option<u32>,
}

/// The perceiver resampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PerceiverConfig {
    /// Layers.
    pub depth: usize,
    /// Width of a head.
    pub dim_head: usize,
    /// Heads.
    pub heads: usize,
    /// Width inside the feed-forward layers as a multiple of the width.
    pub ff_mult: usize,
    /// Vectors of an image.
    pub num_latents: usize,
}

impl Default for PerceiverConfig {
    fn default() -> Self {
        Self {
            depth: 6,
            dim_head: 64,
            heads: 8,
            ff_mult: 4,
            num_latents: 64,
        }
    }
}

/// The gated layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GatedConfig {
    /// Width of a head.
    pub dim_head: usize,
    /// Heads.
    pub heads: usize,
    /// Width inside the feed-forward layers as a multiple of the width.
    pub ff_mult: usize,
}

impl Default for GatedConfig {
    fn default() -> Self {
        Self {
            dim_head: 64,
            heads: 8,
            ff_mult: 4,
        }
    }
}

fn one() -> usize {
    1
}

fn default_image_size() -> usize {
    224
}

fn default_patch_size() -> usize {
    14
}

fn default_vision_width() -> usize {
    1024
}

fn default_vision_layers() -> usize {
    24
}

fn default_vision_heads() -> usize {
    16
}

fn quick_gelu() -> Activation {
    Activation::QuickGelu
}

impl FlamingoConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let check = Check::new(path);
        let config: Self = serde_json::from_value(read_json(path)?).map_err(|e| check.json(e))?;
        config.check(check)?;
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        if self.family != FAMILY.name {
            let wanted = format!("`{}`", FAMILY.name);
            return Err(check.wrong("family", &self.family, wanted));
        }
        let every = self.cross_attn_every_n_layers;
        check.range("cross_attn_every_n_layers", every, 1, limit::DEPTH)?;
        let sizes = [
            ("image_size", self.image_size, limit::IMAGE),
            ("patch_size", self.patch_size, self.image_size),
            ("vision_width", self.vision_width, limit::WIDTH),
            ("vision_layers", self.vision_layers, limit::DEPTH),
            ("vision_heads", self.vision_heads, self.vision_width),
        ];
        for (field, value, most) in sizes {
            check.range(field, value, 1, most)?;
        }
        if !self.vision_width.is_multiple_of(self.vision_heads) {
            let wanted = format!("a divisor of `vision_width`, {}", self.vision_width);
            return Err(check.wrong("vision_heads", &self.vision_heads, wanted));
        }
        let (part, perceiver) = (check.part("perceiver"), self.perceiver);
        part.range("depth", perceiver.depth, 1, limit::DEPTH)?;
        part.range("num_latents", perceiver.num_latents, 1, limit::CONTEXT)?;
        let gated = self.gated;
        for (part, heads, dim_head, ff_mult) in [
            (part, perceiver.heads, perceiver.dim_head, perceiver.ff_mult),
            (
                check.part("gated"),
                gated.heads,
                gated.dim_head,
                gated.ff_mult,
            ),
        ] {
            part.range("heads", heads, 1, limit::DEPTH)?;
            part.range("dim_head", dim_head, 1, limit::WIDTH)?;
            part.range("ff_mult", ff_mult, 1, limit::DEPTH)?;
        }
        Ok(())
    }
}

/// Attention of queries `[.., width]` at another sequence of `source` values each.
pub(super) fn attention(
    width: usize,
    source: usize,
    heads: usize,
    head_dim: usize,
) -> AttentionSpec {
    AttentionSpec {
        width,
        heads,
        head_dim,
        key_value: KeyValue::Other { width: source },
        names: AttentionNames {
            query: "to_q",
            key: "to_kv",
            value: "to_kv",
            out: "to_out",
        },
    }
}
