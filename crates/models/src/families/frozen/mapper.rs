//! What makes vectors for the language model.

use candle_core::Tensor;
use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::{
    Activation, AttentionSpec, BlockSpec, Dropout, KeyValue, LayerNorm, Linear, NormPlace, Result,
    Stack, Weights, dropped,
};

use super::config::{FrozenConfig, Mapper};

/// Added to the variance in every norm: PyTorch's.
const NORM_EPS: f64 = 1e-5;

/// A mapper with its tensors.
pub(super) enum Maps {
    /// One map: of the pooled feature to all vectors, or of each cell to its vector.
    Linear(Linear),
    /// The same with a norm behind it; in training some elements are left out before.
    Norm(Linear, LayerNorm, Option<Dropout>),
    /// Two maps with tanh between.
    Mlp(Linear, Linear),
    Transformer(MappingTransformer),
}

/// ClipCap's mapping network (arXiv 2111.09734, section 3.2): a map makes several vectors of the feature, constant ones
/// stand behind them, and what a transformer without a mask makes of those is the prefix.
pub(super) struct MappingTransformer {
    linear: Linear,
    /// `[n, width]`.
    constants: Tensor,
    layers: Stack,
    /// Vectors that are made of the feature.
    length: usize,
}

impl Maps {
    /// `root` holds the names of publications, `own` those of a single map; `features` values are a feature's, `width` a
    /// vector's.
    pub(super) fn load(
        root: &Weights,
        own: &Weights,
        config: &FrozenConfig,
        (features, width): (usize, usize),
    ) -> Result<Self> {
        let all = config.prefix_tokens * width;
        Ok(match config.mapper {
            Mapper::Linear => Self::Linear(Linear::load(own, features, all)?),
            Mapper::GridLinear => Self::Linear(Linear::load(own, features, width)?),
            Mapper::GridLinearNorm => {
                let prefix = root.scope("image_prefix");
                Self::Norm(
                    Linear::load(&prefix.scope("proj"), features, width)?,
                    LayerNorm::load(&prefix.scope("ln"), width, NORM_EPS)?,
                    prefix.dropout(),
                )
            }
            Mapper::Mlp => {
                let maps = root.scope("clip_project").scope("model");
                // ClipCap's middle has half the width of its output.
                Self::Mlp(
                    Linear::load(&maps.scope(0), features, all / 2)?,
                    Linear::load(&maps.scope(2), all / 2, all)?,
                )
            }
            Mapper::Transformer => Self::Transformer(MappingTransformer::load(
                &root.scope("clip_project"),
                config,
                (features, width),
            )?),
        })
    }

    /// `features` `[B, D]`, or cells `[B, n, D]`; returns as many values as there are in `[B, n, width]`, in this order.
    pub(super) fn forward(&self, features: &Tensor) -> Result<Tensor> {
        match self {
            Self::Linear(map) => map.forward(features),
            Self::Norm(map, norm, dropout) => {
                let mapped = dropped(dropout.as_ref(), map.forward(features)?, 0)?;
                norm.forward(&mapped)
            }
            Self::Mlp(first, second) => second.forward(&first.forward(features)?.tanh()?),
            Self::Transformer(transformer) => transformer.forward(features),
        }
    }
}

impl MappingTransformer {
    /// Reads `linear`, `prefix_const` and `transformer.layers`.
    fn load(
        weights: &Weights,
        config: &FrozenConfig,
        (features, width): (usize, usize),
    ) -> Result<Self> {
        let (tokens, heads) = (config.prefix_tokens, config.mapper_heads);
        let length = config.clip_length.unwrap_or(tokens);
        let block = BlockSpec {
            attention: AttentionSpec {
                width,
                heads,
                head_dim: width / heads.max(1),
                key_value: KeyValue::Own,
                names: AttentionNames {
                    query: "to_queries",
                    key: "to_keys_values",
                    value: "to_keys_values",
                    out: "project",
                },
            },
            hidden: 2 * width,
            activation: Activation::Relu,
            norm_place: NormPlace::Pre,
            norm_eps: NORM_EPS,
            names: BlockNames {
                attention: "attn",
                attention_norm: "norm1",
                expand: "mlp.fc1",
                contract: "mlp.fc2",
                feed_forward_norm: "norm2",
            },
        };
        let layers = weights.scope("transformer").scope("layers");
        Ok(Self {
            linear: Linear::load(&weights.scope("linear"), features, length * width)?,
            constants: weights.tensor("prefix_const", &[tokens, width])?,
            layers: Stack::load(&layers, config.mapper_layers, &block)?,
            length,
        })
    }

    /// `features` `[B, D]`; returns `[B, n, width]`.
    fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let batch = features.dim(0)?;
        let (tokens, width) = self.constants.dims2()?;
        let made = self.linear.forward(features)?;
        let made = made.reshape((batch, self.length, width))?;
        let constants = self.constants.broadcast_as((batch, tokens, width))?;
        let sequence = Tensor::cat(&[&made, &constants.contiguous()?], 1)?;
        let seen = self.layers.forward(sequence, None, &mut |_| {})?;
        Ok(seen.narrow(1, self.length, tokens)?.contiguous()?)
    }
}
