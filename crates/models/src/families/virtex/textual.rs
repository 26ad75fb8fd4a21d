//! The caption's side of VirTex (section 3 of the paper): a transformer decoder over the image's grid.

use candle_core::Tensor;
use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::decode::Network;
use sightline_nn::decoder::DecoderNames;
use sightline_nn::{
    Activation, AttentionSpec, BlockSpec, Decoder, DecoderCache, DecoderSpec, Embedding, KeyValue,
    LayerNorm, Linear, Mask, NormPlace, Weights,
};

use super::config::{TextualConfig, VirTexConfig};
use super::{Direction, Objective};
use crate::Result;

/// Where the weights of each direction begin; what both share is stored twice, with the same values.
const FORWARD: &str = "textual";
const BACKWARD: &str = "backward_textual";

/// Added to variances behind the embedding.
const EMBEDDING_EPS: f64 = 1e-8;

/// Added to variances in the layers: PyTorch's default.
const LAYER_EPS: f64 = 1e-5;

const BLOCK: BlockNames = BlockNames {
    attention: "self_attn",
    attention_norm: "norm1",
    expand: "linear1",
    contract: "linear2",
    feed_forward_norm: "norm3",
};

/// Projection of the grid, embedding, one decoder for each direction, and the output that is tied to the words.
pub struct TextualHead {
    visual_projection: Linear,
    words: Embedding,
    positions: Embedding,
    norm: LayerNorm,
    forward: Decoder,
    backward: Option<Decoder>,
    output: Linear,
    padding: u32,
    is_causal: bool,
}

/// What a model has written about some images so far.
pub(super) struct Captions<'a> {
    head: &'a TextualHead,
    cache: DecoderCache,
}

impl TextualHead {
    /// Reads the head of `config`; the second decoder of a bicaptioning model only `with_backward`.
    pub(super) fn load(
        weights: &Weights,
        config: &VirTexConfig,
        with_backward: bool,
    ) -> Result<Self> {
        let (text, width) = (&config.textual, config.textual.hidden_size);
        let channels = config.visual.channels().last().copied().unwrap_or_default();
        let spec = decoder_spec(text);
        let forward = weights.scope(FORWARD);
        let backward = weights.scope(BACKWARD);

        let embedding = forward.scope("embedding");
        let words = Embedding::load(&embedding.scope("words"), config.vocab_size, width)?;
        let output = forward.scope("output");
        let bias = output.tensor("bias", &[config.vocab_size])?;
        // Tied: the output's weight is the word table, whether a file holds it a second time or not.
        forward.disregard("output");
        for shared in ["visual_projection", "embedding", "output"] {
            backward.disregard(shared);
        }
        let has_backward = config.objective == Objective::Bicaptioning;
        if has_backward && !with_backward {
            backward.disregard("transformer");
        }
        let decoder = |weights: &Weights| Decoder::load(&weights.scope("transformer"), &spec);
        Ok(Self {
            visual_projection: Linear::load(&forward.scope("visual_projection"), channels, width)?,
            output: Linear::new(words.table(), Some(bias))?,
            words,
            positions: Embedding::load(
                &embedding.scope("positions"),
                config.max_caption_length,
                width,
            )?,
            norm: LayerNorm::load(&embedding.scope("layer_norm"), width, EMBEDDING_EPS)?,
            forward: decoder(&forward)?,
            backward: (has_backward && with_backward)
                .then(|| decoder(&backward))
                .transpose()?,
            padding: config.unk_index,
            is_causal: config.objective != Objective::MaskedLm,
        })
    }

    /// The grid `[B, C, h, w]` as what captions look at: `[B, h * w, width]`, row by row. It has no positions.
    pub fn project(&self, grid: &Tensor) -> Result<Tensor> {
        let cells = grid.flatten_from(2)?.transpose(1, 2)?;
        Ok(self.visual_projection.forward(&cells)?)
    }

    /// Embedded tokens `[B, T, width]` of `B` rows of ids of the same length, the first one at position `start`.
    /// Padding, which is what no piece stands for as well, is zeros.
    pub fn embed(&self, ids: &[Vec<u32>], start: usize) -> sightline_nn::Result<Tensor> {
        let words = self.words.forward(ids)?;
        let (batch, len, _) = words.dims3()?;
        let positions = self.positions.first(start + len)?.narrow(0, start, len)?;
        let embedded = self.norm.forward(&words.broadcast_add(&positions)?)?;
        if ids.iter().flatten().all(|&id| id != self.padding) {
            return Ok(embedded);
        }
        let kept = ids
            .iter()
            .flatten()
            .map(|&id| f32::from(id != self.padding));
        let kept = Tensor::from_iter(kept, embedded.device())?.reshape((batch, len, 1))?;
        Ok(embedded.broadcast_mul(&kept.to_dtype(embedded.dtype())?)?)
    }

    /// States behind the last layer `[B, T, width]` of whole captions, or of reversed ones in the backward direction.
    /// Nobody looks at what stands behind the first `lengths[b]` tokens of a row; `None` for a model that was not
    /// loaded with that direction.
    pub fn hidden(
        &self,
        direction: Direction,
        ids: &[Vec<u32>],
        lengths: &[usize],
        memory: &Tensor,
    ) -> Result<Option<Tensor>> {
        let decoder = match direction {
            Direction::Forward => Some(&self.forward),
            Direction::Backward => self.backward.as_ref(),
        };
        let Some(decoder) = decoder else {
            return Ok(None);
        };
        let embedded = self.embed(ids, 0)?;
        let len = embedded.dim(1)?;
        let present = |&length: &usize| (0..len).map(|t| u8::from(t < length)).collect();
        let present: Vec<Vec<u8>> = lengths.iter().map(present).collect();
        let padding = Mask::padding(&present, embedded.device())?;
        let mask = if self.is_causal {
            Mask::causal(len, embedded.device())?.and(&padding)?
        } else {
            padding
        };
        Ok(Some(decoder.forward(&embedded, memory, Some(&mask))?))
    }

    /// Logits of every word `[.., V]` for states `[.., width]`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.output.forward(hidden)?)
    }

    /// Empty captions about each image of `memory` `[B, S, width]`.
    pub(super) fn captions(&self, memory: &Tensor) -> Result<Captions<'_>> {
        Ok(Captions {
            head: self,
            cache: self.forward.start(memory)?,
        })
    }
}

impl Captions<'_> {
    /// Forgets the tokens, so that the next one stands at position 0 again and sees none before it.
    pub(super) fn forget_tokens(&mut self) {
        self.cache.forget_tokens();
    }
}

impl Network for Captions<'_> {
    fn step(&mut self, tokens: &[u32]) -> sightline_nn::Result<Tensor> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        let embedded = self.head.embed(&ids, self.cache.len()?)?;
        let hidden = self.head.forward.step(&embedded, &mut self.cache)?;
        self.head.output.forward(&hidden.squeeze(1)?)
    }

    fn select(&mut self, parents: &[usize]) -> sightline_nn::Result<()> {
        self.cache.select(parents)
    }
}

fn decoder_spec(text: &TextualConfig) -> DecoderSpec {
    let width = text.hidden_size;
    let attention = |key_value| AttentionSpec {
        width,
        heads: text.attention_heads,
        head_dim: width / text.attention_heads,
        key_value,
        names: AttentionNames::PACKED,
    };
    DecoderSpec {
        depth: text.num_layers,
        block: BlockSpec {
            attention: attention(KeyValue::Own),
            hidden: text.feedforward_size,
            activation: Activation::Gelu,
            norm_place: text.norm_place,
            norm_eps: LAYER_EPS,
            names: BLOCK,
        },
        cross: attention(KeyValue::Other { width }),
        names: DecoderNames {
            layers: "layers",
            cross: "multihead_attn",
            cross_norm: "norm2",
            norm_after: (text.norm_place == NormPlace::Pre).then_some("norm"),
        },
    }
}
