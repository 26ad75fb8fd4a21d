//! The transformer: a prefix is read both ways, what follows it is written from left to right (the paper's `PrefixLM`,
//! section 3.1).

use candle_core::Tensor;
use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::decoder::DecoderNames;
use sightline_nn::{
    Activation, AttentionSpec, BlockSpec, Decoder, DecoderCache, DecoderSpec, KeyValue, LayerNorm,
    Mask, NormPlace, Result, Stack, StackCache, Weights,
};

use super::config::{SimVlmConfig, Variant};
use super::image::{Grid, RelativeBias};

const ATTENTION: AttentionNames = AttentionNames {
    query: "q",
    key: "k",
    value: "v",
    out: "o",
};

const BLOCK: BlockNames = BlockNames {
    attention: "attn",
    attention_norm: "ln1",
    expand: "fc1",
    contract: "fc2",
    feed_forward_norm: "ln2",
};

/// Blocks with a relative bias each, if the model has them.
pub(super) struct BiasedStack {
    blocks: Stack,
    biases: Vec<RelativeBias>,
}

/// One stack or two.
pub(super) enum Body {
    Apart {
        encoder: Box<BiasedStack>,
        encoder_norm: LayerNorm,
        decoder: Box<Decoder>,
    },
    Joined {
        blocks: Box<BiasedStack>,
        norm: LayerNorm,
    },
}

/// What a body has read and written of each row.
#[derive(Clone)]
pub(super) enum Seen {
    Apart(Box<DecoderCache>),
    Joined(StackCache),
}

impl BiasedStack {
    fn load(
        weights: &Weights,
        depth: usize,
        config: &SimVlmConfig,
        side: usize,
    ) -> crate::Result<Self> {
        let bias = |i| {
            let weights = weights.scope(i).scope("attn");
            RelativeBias::load(&weights, config.n_heads, side)
        };
        let biased = if config.relative_2d { depth } else { 0 };
        Ok(Self {
            blocks: Stack::load(weights, depth, &block(config))?,
            biases: (0..biased).map(bias).collect::<crate::Result<_>>()?,
        })
    }

    /// A prefix `[B, T, width]`, whose first positions are the cells of `grid`, if there is one.
    /// `padding` hides what fills texts up.
    fn read(
        &self,
        x: Tensor,
        grid: Option<Grid>,
        padding: Option<&Mask>,
        cache: &mut StackCache,
    ) -> crate::Result<Tensor> {
        let len = x.dim(1)?;
        let bias = |(bias, grid): (&RelativeBias, Grid)| {
            let mask = bias.mask(grid, len - grid.0 * grid.1)?;
            Ok(match padding {
                Some(padding) => mask.plus(padding)?,
                None => mask,
            })
        };
        let biased = grid
            .into_iter()
            .flat_map(|grid| self.biases.iter().zip(std::iter::repeat(grid)));
        let masks = biased.map(bias).collect::<crate::Result<Vec<_>>>()?;
        let mask = |block: usize| masks.get(block).or(padding);
        Ok(self.blocks.advance(x, cache, mask)?)
    }
}

impl Body {
    pub(super) fn load(
        weights: &Weights,
        config: &SimVlmConfig,
        side: usize,
    ) -> crate::Result<Self> {
        let norm = |name| LayerNorm::load(&weights.scope(name), config.d_model, config.norm_eps);
        Ok(match config.variant {
            Variant::EncoderDecoder => {
                let encoder = weights.scope("encoder");
                Self::Apart {
                    encoder: Box::new(BiasedStack::load(&encoder, config.n_enc, config, side)?),
                    encoder_norm: norm("encoder_norm")?,
                    decoder: Box::new(Decoder::load(weights, &decoder(config))?),
                }
            }
            Variant::DecoderOnly => {
                let blocks = weights.scope("decoder");
                Self::Joined {
                    blocks: Box::new(BiasedStack::load(&blocks, config.n_dec, config, side)?),
                    norm: norm("decoder_norm")?,
                }
            }
        })
    }

    /// Reads prefixes `[B, T, width]`, T at least 1, whose first positions are the cells of `grid`, if there is one.
    /// `present` says what is no padding: `B` rows of T.
    pub(super) fn read(
        &self,
        prefix: Tensor,
        grid: Option<Grid>,
        present: Option<&[Vec<u8>]>,
    ) -> crate::Result<(Seen, Tensor)> {
        let padding = present.map(|present| Mask::padding(present, prefix.device()));
        let padding = padding.transpose()?;
        let padding = padding.as_ref();
        Ok(match self {
            Self::Apart {
                encoder,
                encoder_norm,
                decoder,
            } => {
                let states = encoder.read(prefix, grid, padding, &mut encoder.blocks.start())?;
                let memory = encoder_norm.forward(&states)?;
                (Seen::Apart(Box::new(decoder.start(&memory)?)), memory)
            }
            Self::Joined { blocks, .. } => {
                let mut cache = blocks.blocks.start();
                let states = blocks.read(prefix, grid, padding, &mut cache)?;
                (Seen::Joined(cache), states)
            }
        })
    }

    /// States behind the last norm `[B, T, width]` of embedded tokens `x` `[B, T, width]` behind prefixes that were
    /// read, each of which sees the prefix, the tokens before it and itself. `read` is what [`Self::read`] returned.
    ///
    /// Of row `b` nobody looks at what stands behind its first `lengths[b]` tokens. `present` is what [`Self::read`] was
    /// given.
    pub(super) fn write_all(
        &self,
        x: &Tensor,
        read: (Seen, Tensor),
        lengths: &[usize],
        present: Option<&[Vec<u8>]>,
    ) -> Result<Tensor> {
        let len = x.dim(1)?;
        let mask = |seen: usize| {
            let causal = Mask::causal_behind(seen, len, x.device())?;
            let before = present.filter(|_| seen > 0);
            if before.is_none() && lengths.iter().all(|&length| length >= len) {
                return Ok::<_, sightline_nn::Error>(causal);
            }
            let present = |(row, &length): (usize, &usize)| {
                let before = before.and_then(|before| before.get(row));
                let before = before.cloned().unwrap_or_else(|| vec![1; seen]);
                let there = (0..len).map(|key| u8::from(key < length));
                before.into_iter().chain(there).collect::<Vec<u8>>()
            };
            let present: Vec<Vec<u8>> = lengths.iter().enumerate().map(present).collect();
            causal.and(&Mask::padding(&present, x.device())?)
        };
        match (self, read) {
            (Self::Apart { decoder, .. }, (_, memory)) => {
                let padding = present.map(|present| Mask::padding(present, x.device()));
                let padding = padding.transpose()?;
                decoder.forward_masked(x, &memory, Some(&mask(0)?), padding.as_ref())
            }
            (Self::Joined { blocks, norm }, (Seen::Joined(mut cache), _)) => {
                let mask = mask(cache.len()?)?;
                let states = blocks
                    .blocks
                    .advance(x.clone(), &mut cache, |_| Some(&mask))?;
                norm.forward(&states)
            }
            (Self::Joined { .. }, (Seen::Apart(_), _)) => Err(foreign()),
        }
    }

    /// The state behind the last norm `[rows, 1, width]` of the embedded next token of each row, `x`
    /// `[rows, 1, width]`.
    pub(super) fn write(&self, x: &Tensor, seen: &mut Seen) -> Result<Tensor> {
        match (self, seen) {
            (Self::Apart { decoder, .. }, Seen::Apart(cache)) => decoder.step(x, cache),
            (Self::Joined { blocks, norm }, Seen::Joined(cache)) => {
                norm.forward(&blocks.blocks.advance(x.clone(), cache, |_| None)?)
            }
            _ => Err(foreign()),
        }
    }
}

impl Seen {
    pub(super) fn select(&mut self, parents: &[usize]) -> Result<()> {
        match self {
            Self::Apart(cache) => cache.select(parents),
            Self::Joined(cache) => cache.select(parents),
        }
    }
}

/// A cache of the other variant: no model makes both.
fn foreign() -> sightline_nn::Error {
    sightline_nn::Error::Shape {
        what: "the cache",
        found: Vec::new(),
        wanted: "that of the model's own variant".to_owned(),
    }
}

fn attention(config: &SimVlmConfig, key_value: KeyValue) -> AttentionSpec {
    AttentionSpec {
        width: config.d_model,
        heads: config.n_heads,
        head_dim: config.d_model / config.n_heads,
        key_value,
        names: ATTENTION,
    }
}

fn block(config: &SimVlmConfig) -> BlockSpec {
    BlockSpec {
        attention: attention(config, KeyValue::Own),
        hidden: config.d_ff,
        activation: Activation::Gelu,
        norm_place: NormPlace::Pre,
        norm_eps: config.norm_eps,
        names: BLOCK,
    }
}

fn decoder(config: &SimVlmConfig) -> DecoderSpec {
    let width = config.d_model;
    DecoderSpec {
        depth: config.n_dec,
        block: block(config),
        cross: attention(config, KeyValue::Other { width }),
        names: DecoderNames {
            layers: "decoder",
            cross: "cross",
            cross_norm: "ln_x",
            norm_after: Some("decoder_norm"),
        },
    }
}
