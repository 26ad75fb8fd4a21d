//! The image's side: regions look at each other in three layers, and the caption's side sees the states of all of them.

use candle_core::{D, DType, Tensor};
use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::{
    Activation, AttentionSpec, BlockSpec, KeyValue, LayerNorm, Linear, Mask, NormPlace, Stack,
    Weights,
};

use super::LEVELS;
use super::config::{RegionPadding, VisualGptConfig};
use crate::{Error, Result};

/// Embedding of regions, and blocks.
pub struct RegionEncoder {
    embed: Linear,
    norm: LayerNorm,
    blocks: Stack,
    padding: RegionPadding,
    feature_dim: usize,
}

/// The regions of a batch as captions look at them.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Behind each layer `[B, R, width]`.
    pub levels: Vec<Tensor>,
    /// `[B, R]`, 0 for regions that nobody looks at.
    pub present: Tensor,
}

impl Memory {
    /// The images of these numbers.
    pub fn select(&self, images: &[u32]) -> Result<Self> {
        let images = Tensor::new(images, self.present.device())?;
        let select = |tensor: &Tensor| tensor.index_select(&images, 0);
        Ok(Self {
            levels: self
                .levels
                .iter()
                .map(select)
                .collect::<candle_core::Result<_>>()?,
            present: select(&self.present)?,
        })
    }
}

impl RegionEncoder {
    pub(super) fn load(weights: &Weights, config: &VisualGptConfig) -> Result<Self> {
        let width = config.d_model;
        let spec = BlockSpec {
            attention: AttentionSpec {
                width,
                heads: config.n_heads,
                head_dim: width / config.n_heads,
                key_value: KeyValue::Own,
                names: AttentionNames {
                    query: "fc_q",
                    key: "fc_k",
                    value: "fc_v",
                    out: "fc_o",
                },
            },
            hidden: config.enc_ff,
            activation: Activation::Relu,
            norm_place: NormPlace::Post,
            norm_eps: config.norm_eps,
            names: BlockNames {
                attention: "mhatt.attention",
                attention_norm: "mhatt.layer_norm",
                expand: "pwff.fc1",
                contract: "pwff.fc2",
                feed_forward_norm: "pwff.layer_norm",
            },
        };
        Ok(Self {
            embed: Linear::load(&weights.scope("fc"), config.feature_dim, width)?,
            norm: LayerNorm::load(&weights.scope("layer_norm"), width, config.norm_eps)?,
            blocks: Stack::load(&weights.scope("layers"), LEVELS, &spec)?,
            padding: config.padding,
            feature_dim: config.feature_dim,
        })
    }

    /// `features` `[B, R, feature_dim]`, zeros for what fills an image up.
    pub fn forward(&self, features: &Tensor) -> Result<Memory> {
        let (_, _, found) = features.dims3()?;
        let wanted = self.feature_dim;
        if found != wanted {
            return Err(Error::FeatureWidth { found, wanted });
        }
        let embedded = self
            .embed
            .forward_activated(features, Activation::GeluTanh)?;
        let embedded = self.norm.forward(&embedded)?;
        let present = match self.padding {
            RegionPadding::Published => embedded.sum(D::Minus1)?.ne(0f32)?,
            RegionPadding::Features => features.abs()?.max(D::Minus1)?.ne(0f32)?,
        };
        let present = present.to_dtype(DType::F32)?;
        let mask = Mask::present(&present)?;
        let mut levels = Vec::new();
        self.blocks.forward(embedded, Some(&mask), &mut |state| {
            levels.push(state.clone());
        })?;
        // The first state is the embedding itself.
        levels.remove(0);
        Ok(Memory { levels, present })
    }
}
