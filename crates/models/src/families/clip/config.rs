//! `config.json` of a CLIP checkpoint in the Hugging Face layout.
//!
//! Keys and defaults are those of `CLIPConfig` (transformers 4). A published file may hold `text_config_dict` and
//! `vision_config_dict`, left over from an older version: where present they replace `text_config` and
//! `vision_config`, their own absent keys taking the defaults.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use sightline_nn::Activation;

use crate::Result;
use crate::check::{Check, TowerSizes, limit};
use crate::folder::read_json;

/// Sizes of both towers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct ClipConfig {
    /// The text tower.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Width of the common space.
    pub projection_dim: usize,
}

/// Sizes of the text tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads per block.
    pub num_attention_heads: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
    /// First id of every text; `null` counts as absent.
    pub bos_token_id: Option<u32>,
    /// Last id of every text; `null` counts as absent. The value 2 is a relic: see [`TextConfig::end`].
    pub eos_token_id: Option<u32>,
}

/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Heads per block.
    pub num_attention_heads: usize,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Height and width of a patch in pixels.
    pub patch_size: usize,
    /// Colour channels; 3.
    pub num_channels: usize,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to variances.
    pub layer_norm_eps: f64,
}

/// Which position of a text is its pooled vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEnd {
    /// The first one with the largest id: the end token was the last of the vocabulary. Hugging Face keeps this
    /// rule for configurations whose `eos_token_id` is 2, which nearly all published ones have by mistake.
    LargestId,
    /// The first one with this id; position 0 when there is none.
    Id(u32),
}

impl TextEnd {
    /// The pooled position of a text's ids.
    pub fn position(self, ids: &[u32]) -> usize {
        let wanted = match self {
            Self::LargestId => ids.iter().copied().max(),
            Self::Id(id) => Some(id),
        };
        ids.iter().position(|&id| Some(id) == wanted).unwrap_or(0)
    }
}

impl Default for ClipConfig {
    /// ViT-B/32.
    fn default() -> Self {
        Self {
            text: TextConfig::default(),
            vision: VisionConfig::default(),
            projection_dim: 512,
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            bos_token_id: Some(49_406),
            eos_token_id: Some(49_407),
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            image_size: 224,
            patch_size: 32,
            num_channels: 3,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

impl TextConfig {
    /// The rule by which a text is pooled.
    pub fn end(&self) -> TextEnd {
        match self.eos_token_id.unwrap_or(49_407) {
            2 => TextEnd::LargestId,
            id => TextEnd::Id(id),
        }
    }

    /// Start and end ids for a tokenizer that has no vocabulary: where the end is told by its size, the two
    /// last ids, as in the published vocabulary.
    pub(super) fn start_and_end(&self) -> (u32, u32) {
        match self.end() {
            TextEnd::Id(end) => (self.bos_token_id.unwrap_or(49_406), end),
            TextEnd::LargestId => {
                let last = self.vocab_size.saturating_sub(1) as u32;
                (last.saturating_sub(1), last)
            }
        }
    }
}

impl ClipConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let check = Check::new(path);
        if !value.is_object() {
            return Err(check.wrong("", &value, "an object"));
        }
        let model_type = &value["model_type"];
        if !matches!(model_type.as_str(), None | Some("clip")) {
            let wanted = "`clip`, a model with both towers";
            return Err(check.wrong("model_type", model_type, wanted));
        }
        let json = |source| check.json(source);
        let part = |name: &str| {
            let replacement = &value[format!("{name}_dict")];
            let chosen = if replacement.is_null() {
                &value[name]
            } else {
                replacement
            };
            match chosen {
                Value::Null => Value::Object(serde_json::Map::new()),
                chosen => chosen.clone(),
            }
        };
        let mut config = Self {
            text: serde_json::from_value(part("text_config")).map_err(json)?,
            vision: serde_json::from_value(part("vision_config")).map_err(json)?,
            ..Self::default()
        };
        if !value["projection_dim"].is_null() {
            let projection_dim = value["projection_dim"].clone();
            config.projection_dim = serde_json::from_value(projection_dim).map_err(json)?;
        }
        config.check(check)?;
        Ok(config)
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        let (text, vision) = (&self.text, &self.vision);
        let of_text = check.part("text_config");
        let of_vision = check.part("vision_config");
        of_text.tower(TowerSizes {
            hidden_size: text.hidden_size,
            intermediate_size: text.intermediate_size,
            num_hidden_layers: text.num_hidden_layers,
            num_attention_heads: text.num_attention_heads,
            layer_norm_eps: text.layer_norm_eps,
        })?;
        of_vision.tower(TowerSizes {
            hidden_size: vision.hidden_size,
            intermediate_size: vision.intermediate_size,
            num_hidden_layers: vision.num_hidden_layers,
            num_attention_heads: vision.num_attention_heads,
            layer_norm_eps: vision.layer_norm_eps,
        })?;
        let context = text.max_position_embeddings;
        let (image, patch) = (vision.image_size, vision.patch_size);
        check.range("projection_dim", self.projection_dim, 1, limit::WIDTH)?;
        of_text.range("vocab_size", text.vocab_size, 3, limit::VOCABULARY)?;
        of_text.range("max_position_embeddings", context, 2, limit::CONTEXT)?;
        of_vision.range("image_size", image, 1, limit::IMAGE)?;
        of_vision.range("patch_size", patch, 1, image)?;
        of_vision.range("num_channels", vision.num_channels, 3, 3)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<ClipConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, value.to_string()).unwrap();
        ClipConfig::read(&path)
    }

    fn message(value: &Value) -> String {
        let error = read(value).unwrap_err();
        let text = error.to_string();
        let (_, after) = text.split_once("config.json`").unwrap();
        match std::error::Error::source(&error) {
            Some(source) => format!("{after}: {source}"),
            None => after.to_owned(),
        }
    }

    #[test]
    fn absent_keys_are_those_of_vit_b_32() {
        assert_eq!(read(&json!({})).unwrap(), ClipConfig::default());
        let nulls =
            json!({ "text_config": null, "vision_config_dict": null, "projection_dim": null });
        assert_eq!(read(&nulls).unwrap(), ClipConfig::default());
    }

    #[test]
    fn old_dictionaries_replace_the_newer_ones() {
        let config = read(&json!({
            "text_config": { "hidden_size": 640, "num_hidden_layers": 5 },
            "text_config_dict": { "hidden_size": 768, "hidden_act": "gelu" },
            "vision_config": { "hidden_size": 1024, "num_attention_heads": 16 },
            "vision_config_dict": null,
            "projection_dim": 768,
        }))
        .unwrap();
        let text = &config.text;
        assert_eq!((text.hidden_size, text.num_hidden_layers), (768, 12));
        assert_eq!(text.hidden_act, Activation::Gelu);
        assert_eq!(
            (config.vision.hidden_size, config.projection_dim),
            (1024, 768)
        );
    }

    #[test]
    fn the_end_of_a_text_follows_the_published_rules() {
        let end = |text: Value| read(&json!({ "text_config": text })).unwrap().text.end();
        assert_eq!(end(json!({})), TextEnd::Id(49_407));
        assert_eq!(end(json!({ "eos_token_id": null })), TextEnd::Id(49_407));
        assert_eq!(end(json!({ "eos_token_id": 2 })), TextEnd::LargestId);
        assert_eq!(end(json!({ "eos_token_id": 7 })), TextEnd::Id(7));
        let ids = [5, 9, 7, 9, 7];
        assert_eq!(TextEnd::LargestId.position(&ids), 1);
        assert_eq!(TextEnd::Id(7).position(&ids), 2);
        assert_eq!(TextEnd::Id(8).position(&ids), 0);
    }

    #[test]
    fn values_outside_what_can_be_are_named() {
        for (value, expected) in [
            (json!([]), ": `` is [], expected an object"),
            (
                json!({ "model_type": "siglip" }),
                ": `model_type` is \"siglip\", expected `clip`, a model with both towers",
            ),
            (
                json!({ "text_config": { "num_hidden_layers": 1_000_000_000_000u64 } }),
                ": `text_config.num_hidden_layers` is 1000000000000, expected 1 to 1024",
            ),
            (
                json!({ "vision_config": { "num_attention_heads": 7 } }),
                ": `vision_config.num_attention_heads` is 7, expected a divisor of `hidden_size`, 768",
            ),
            (
                json!({ "vision_config": { "patch_size": 0 } }),
                ": `vision_config.patch_size` is 0, expected 1 to 224",
            ),
            (
                json!({ "text_config": { "layer_norm_eps": -1.0 } }),
                ": `text_config.layer_norm_eps` is -1, expected a number between 0 and 1",
            ),
            (
                json!({ "vision_config": { "hidden_act": "gelu_fast" } }),
                " is not a configuration that can be read: unknown variant `gelu_fast`, expected \
                 one of `quick_gelu`, `gelu`, `gelu_new`, `gelu_pytorch_tanh`, `gelu_tanh`, `relu`, `silu`, `swish`, `sigmoid`",
            ),
            (
                json!({ "text_config": { "hidden_size": -3 } }),
                " is not a configuration that can be read: invalid value: integer `-3`, expected \
                 usize",
            ),
        ] {
            assert_eq!(message(&value), expected);
        }
    }
}
