//! `config.json` of an ALIGN checkpoint. Keys and defaults are those of `AlignConfig` (transformers 4).

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use sightline_nn::tower::{EfficientNetSpec, MbConvSpec, Pooling};
use sightline_nn::{Activation, Padding};

use crate::check::{Check, limit};
use crate::folder::read_json;
use crate::{BertConfig, Result};

/// Largest filter, far above any published one.
const KERNEL_LIMIT: usize = 31;

/// Channels behind the stem before the width coefficient.
const STEM: usize = 32;

/// Sizes of both towers.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignConfig {
    /// The text tower.
    pub text: BertConfig,
    /// The vision tower.
    pub vision: AlignVisionConfig,
    /// Width of the common space.
    pub projection_dim: usize,
}

/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct AlignVisionConfig {
    /// Colour channels; 3.
    pub num_channels: usize,
    /// Height and width of an image in pixels.
    pub image_size: usize,
    /// Factor of channels.
    pub width_coefficient: f64,
    /// Factor of blocks.
    pub depth_coefficient: f64,
    /// What channels are a multiple of.
    pub depth_divisor: usize,
    /// Height and width of each stage's filters.
    pub kernel_sizes: Vec<usize>,
    /// Channels before each stage.
    pub in_channels: Vec<usize>,
    /// Channels behind each stage.
    pub out_channels: Vec<usize>,
    /// Numbers of blocks, counted over all stages from 0, whose filters are padded alike on all sides.
    pub depthwise_padding: Vec<usize>,
    /// Stride of each stage's first block.
    pub strides: Vec<usize>,
    /// Blocks of each stage.
    pub num_block_repeats: Vec<usize>,
    /// Factor of channels inside each stage's blocks.
    pub expand_ratios: Vec<usize>,
    /// Width inside squeeze and excitation as a share of a block's input.
    pub squeeze_expansion_ratio: f64,
    /// Activation of every layer.
    pub hidden_act: Activation,
    /// How the last map becomes a vector.
    pub pooling_type: PoolingType,
    /// Added to variances.
    pub batch_norm_eps: f64,
}

/// How the last map becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolingType {
    /// The mean over all positions.
    Mean,
    /// Their maximum.
    Max,
}

impl From<PoolingType> for Pooling {
    fn from(kind: PoolingType) -> Self {
        match kind {
            PoolingType::Mean => Self::Mean,
            PoolingType::Max => Self::Max,
        }
    }
}

impl Default for AlignVisionConfig {
    /// EfficientNet-B7 for larger images than ALIGN's.
    fn default() -> Self {
        Self {
            num_channels: 3,
            image_size: 600,
            width_coefficient: 2.0,
            depth_coefficient: 3.1,
            depth_divisor: 8,
            kernel_sizes: vec![3, 3, 5, 3, 5, 5, 3],
            in_channels: vec![32, 16, 24, 40, 80, 112, 192],
            out_channels: vec![16, 24, 40, 80, 112, 192, 320],
            depthwise_padding: Vec::new(),
            strides: vec![1, 2, 2, 2, 1, 2, 1],
            num_block_repeats: vec![1, 2, 2, 3, 3, 4, 1],
            expand_ratios: vec![1, 6, 6, 6, 6, 6, 6],
            squeeze_expansion_ratio: 0.25,
            hidden_act: Activation::Silu,
            pooling_type: PoolingType::Mean,
            batch_norm_eps: 1e-3,
        }
    }
}

impl AlignConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let value = read_json(path)?;
        let check = Check::new(path);
        if !value.is_object() {
            return Err(check.wrong("", &value, "an object"));
        }
        let model_type = &value["model_type"];
        if !matches!(model_type.as_str(), None | Some("align")) {
            let wanted = "`align`, a model with both towers";
            return Err(check.wrong("model_type", model_type, wanted));
        }
        let part = |name: &str| match &value[name] {
            Value::Null => Value::Object(Map::new()),
            part => part.clone(),
        };
        let text = BertConfig::from_value(&part("text_config"), check.part("text_config"))?;
        let vision = AlignVisionConfig::deserialize(part("vision_config"))
            .map_err(|source| check.json(source))?;
        let projection_dim = match &value["projection_dim"] {
            Value::Null => 640,
            given => usize::deserialize(given).map_err(|source| check.json(source))?,
        };
        vision.check(check.part("vision_config"))?;
        check.range("projection_dim", projection_dim, 1, limit::WIDTH)?;
        if vision.width() != projection_dim {
            let wanted = format!(
                "{}, what the vision tower's last stage has: there is no projection behind it",
                vision.width()
            );
            return Err(check.wrong("projection_dim", &projection_dim, wanted));
        }
        Ok(Self {
            text,
            vision,
            projection_dim,
        })
    }
}

impl AlignVisionConfig {
    /// Width of an image's vector.
    fn width(&self) -> usize {
        self.out_channels
            .last()
            .map_or(0, |&channels| self.channels(channels))
    }

    /// The tower of these sizes.
    pub fn spec(&self) -> EfficientNetSpec {
        let mut blocks = Vec::new();
        for stage in 0..self.in_channels.len() {
            let output = self.channels(self.out_channels[stage]);
            let kernel = self.kernel_sizes[stage];
            let half = kernel / 2;
            for i in 0..self.repeats(self.num_block_repeats[stage]) {
                let is_first = i == 0;
                let input = if is_first {
                    self.channels(self.in_channels[stage])
                } else {
                    output
                };
                let stride = if is_first { self.strides[stage] } else { 1 };
                let is_even = stride == 1 || self.depthwise_padding.contains(&blocks.len());
                blocks.push(MbConvSpec {
                    input,
                    expanded: input * self.expand_ratios[stage],
                    output,
                    kernel,
                    stride,
                    padding: Padding {
                        before: if is_even { half } else { half - 1 },
                        after: half,
                    },
                    squeezed: ((input as f64 * self.squeeze_expansion_ratio) as usize).max(1),
                    is_residual: !is_first,
                });
            }
        }
        EfficientNetSpec {
            stem: self.channels(STEM),
            blocks,
            activation: self.hidden_act,
            norm_eps: self.batch_norm_eps,
        }
    }

    /// The multiple of the divisor that is nearest to `count` times the coefficient, but never more than a tenth below
    /// it (`round_filters`).
    fn channels(&self, count: usize) -> usize {
        let wanted = count as f64 * self.width_coefficient;
        let divisor = self.depth_divisor.max(1);
        let nearest = (wanted + divisor as f64 / 2.0) as usize / divisor * divisor;
        let nearest = nearest.max(divisor);
        if (nearest as f64) < 0.9 * wanted {
            nearest.saturating_add(divisor)
        } else {
            nearest
        }
    }

    /// Blocks of a stage (`round_repeats`).
    fn repeats(&self, count: usize) -> usize {
        (self.depth_coefficient * count as f64).ceil() as usize
    }

    fn check(&self, check: Check<'_>) -> Result<()> {
        check.range("num_channels", self.num_channels, 3, 3)?;
        check.range("image_size", self.image_size, 2, limit::IMAGE)?;
        check.range("depth_divisor", self.depth_divisor, 1, limit::WIDTH)?;
        for (field, value) in [
            ("width_coefficient", self.width_coefficient),
            ("depth_coefficient", self.depth_coefficient),
            ("squeeze_expansion_ratio", self.squeeze_expansion_ratio),
        ] {
            if !(value > 0.0 && value <= limit::DEPTH as f64) {
                let wanted = format!("a number above 0, to {}", limit::DEPTH);
                return Err(check.wrong(field, &value, wanted));
            }
        }
        let eps = self.batch_norm_eps;
        if !(eps > 0.0 && eps < 1.0) {
            return Err(check.wrong("batch_norm_eps", &eps, "a number between 0 and 1"));
        }

        let stages = self.in_channels.len();
        check.range("in_channels", stages, 1, limit::DEPTH)?;
        for (field, list, limits) in [
            ("in_channels", &self.in_channels, 1..=limit::WIDTH),
            ("out_channels", &self.out_channels, 1..=limit::WIDTH),
            ("kernel_sizes", &self.kernel_sizes, 3..=KERNEL_LIMIT),
            ("strides", &self.strides, 1..=2),
            (
                "num_block_repeats",
                &self.num_block_repeats,
                1..=limit::DEPTH,
            ),
            ("expand_ratios", &self.expand_ratios, 1..=limit::DEPTH),
        ] {
            let found = || format!("{list:?}");
            if list.len() != stages {
                let wanted = format!("{stages} numbers, one for each stage");
                return Err(check.wrong(field, &found(), wanted));
            }
            if !list.iter().all(|value| limits.contains(value)) {
                let wanted = format!("numbers of {} to {}", limits.start(), limits.end());
                return Err(check.wrong(field, &found(), wanted));
            }
        }
        if self.kernel_sizes.iter().any(|kernel| kernel % 2 == 0) {
            let found = format!("{:?}", self.kernel_sizes);
            return Err(check.wrong("kernel_sizes", &found, "odd numbers"));
        }
        let blocks = self.num_block_repeats.iter().map(|&n| self.repeats(n));
        check.range("depth_coefficient", blocks.sum(), 1, limit::DEPTH)?;
        for &channels in self.in_channels.iter().chain(&self.out_channels) {
            let channels = self.channels(channels);
            check.range("width_coefficient", channels, 1, limit::WIDTH)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<AlignConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs::write(&path, value.to_string()).unwrap();
        AlignConfig::read(&path)
    }

    #[test]
    fn absent_keys_are_those_of_efficientnet_b7() {
        let config = read(&json!({})).unwrap();
        assert_eq!(config.projection_dim, 640);
        assert_eq!(config.text, BertConfig::default());
        let spec = config.vision.spec();
        assert_eq!((spec.stem, spec.blocks.len()), (64, 55));
        let first = spec.blocks[0];
        assert_eq!((first.input, first.expanded, first.output), (64, 64, 32));
        assert_eq!((first.squeezed, first.is_residual), (16, false));
        let strided = spec.blocks[4];
        assert_eq!((strided.input, strided.expanded), (32, 192));
        assert_eq!(
            strided.padding,
            Padding {
                before: 0,
                after: 1
            }
        );
        let last = spec.blocks[54];
        assert_eq!((last.output, last.is_residual), (640, true));
        assert_eq!(last.padding, Padding::even(1));
    }

    #[test]
    fn blocks_that_are_listed_are_padded_alike() {
        let config = read(&json!({ "vision_config": { "depthwise_padding": [4, 5] } })).unwrap();
        let spec = config.vision.spec();
        assert_eq!(spec.blocks[4].padding, Padding::even(1));
        assert_eq!(
            spec.blocks[11].padding,
            Padding {
                before: 1,
                after: 2
            }
        );
    }

    #[test]
    fn values_outside_what_can_be_are_named() {
        let vision = |value: Value| json!({ "vision_config": value });
        for (value, expected) in [
            (
                json!({ "model_type": "clip" }),
                "`model_type` is \"clip\", expected `align`, a model with both towers",
            ),
            (
                json!({ "projection_dim": 512 }),
                "`projection_dim` is 512, expected 640, what the vision tower's last stage has: \
                 there is no projection behind it",
            ),
            (
                vision(json!({ "strides": [1, 2, 2, 2, 1, 3, 1] })),
                "`vision_config.strides` is [1, 2, 2, 2, 1, 3, 1], expected numbers of 1 to 2",
            ),
            (
                vision(json!({ "kernel_sizes": [3, 3] })),
                "`vision_config.kernel_sizes` is [3, 3], expected 7 numbers, one for each stage",
            ),
            (
                vision(json!({ "in_channels": [] })),
                "`vision_config.in_channels` is 0, expected 1 to 1024",
            ),
            (
                vision(json!({ "depth_coefficient": 1000.0 })),
                "`vision_config.depth_coefficient` is 16000, expected 1 to 1024",
            ),
            (
                json!({ "text_config": { "num_attention_heads": 7 } }),
                "`text_config.num_attention_heads` is 7, expected a divisor of `hidden_size`, 768",
            ),
        ] {
            let error = read(&value).unwrap_err().to_string();
            let (_, told) = error.split_once(": ").unwrap();
            assert_eq!(told, expected);
        }
        assert!(read(&vision(json!({ "hidden_act": "swish" }))).is_ok());
        assert!(read(&vision(json!({ "pooling_type": "sum" }))).is_err());
    }
}
