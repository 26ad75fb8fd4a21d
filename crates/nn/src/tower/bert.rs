//! BERT (Devlin et al. 2019): an embedding of three tables, blocks with the norm behind, a pooler.
//!
//! The parts stand alone because families come between them: ALIGN takes position 0 without the pooler,
//! `VisualBERT` puts image regions behind the embedded words before the blocks see them. Names in the checkpoint are
//! those that Hugging Face gives to every model of this kind, so that no spec repeats them; each part is loaded from
//! the scope of the whole model.

use candle_core::Tensor;

use crate::attention::AttentionNames;
use crate::block::{BlockNames, Stack};
use crate::{
    Activation, AttentionSpec, BlockSpec, Embedding, Error, KeyValue, LayerNorm, Linear, Mask,
    NormPlace, Result, Weights,
};

const EMBEDDINGS: &str = "embeddings";

const BLOCK: BlockNames = BlockNames {
    attention: "attention",
    attention_norm: "attention.output.LayerNorm",
    expand: "intermediate.dense",
    contract: "output.dense",
    feed_forward_norm: "output.LayerNorm",
};

const ATTENTION: AttentionNames = AttentionNames {
    query: "self.query",
    key: "self.key",
    value: "self.value",
    out: "output.dense",
};

/// Sizes of a BERT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BertSpec {
    /// Rows of the word table.
    pub vocabulary_size: usize,
    /// Rows of the position table: the longest sequence.
    pub context_length: usize,
    /// Rows of the type table.
    pub token_types: usize,
    /// Width of the hidden states; a multiple of `heads`.
    pub width: usize,
    /// Heads of each block.
    pub heads: usize,
    /// Width inside the feed-forward layers.
    pub hidden: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// Added to the variance in the norms.
    pub norm_eps: f64,
}

/// What the embedding reads, `B` rows of the same length `T` each.
#[derive(Clone, Copy, Debug)]
pub struct BertInput<'a> {
    /// Ids of words.
    pub ids: &'a [Vec<u32>],
    /// Types, which tell a first from a second text; 0 everywhere when absent.
    pub types: Option<&'a [Vec<u32>]>,
    /// Positions; `0..T` when absent.
    pub positions: Option<&'a [Vec<u32>]>,
}

impl<'a> BertInput<'a> {
    /// `ids` of type 0 at the positions `0..T`.
    pub fn new(ids: &'a [Vec<u32>]) -> Self {
        Self {
            ids,
            types: None,
            positions: None,
        }
    }
}

/// `norm(word + type + position)`.
#[derive(Clone, Debug)]
pub struct BertEmbedding {
    words: Embedding,
    types: Embedding,
    positions: Embedding,
    norm: LayerNorm,
}

impl BertEmbedding {
    /// Reads `embeddings.*` of a model.
    pub fn load(weights: &Weights, spec: &BertSpec) -> Result<Self> {
        let weights = weights.scope(EMBEDDINGS);
        let table = |name, rows| Embedding::load(&weights.scope(name), rows, spec.width);
        Ok(Self {
            words: table("word_embeddings", spec.vocabulary_size)?,
            types: table("token_type_embeddings", spec.token_types)?,
            positions: table("position_embeddings", spec.context_length)?,
            norm: LayerNorm::load(&weights.scope("LayerNorm"), spec.width, spec.norm_eps)?,
        })
    }

    /// The embedded words `[B, T, width]`, as the blocks take them.
    pub fn forward(&self, input: BertInput<'_>) -> Result<Tensor> {
        self.norm.forward(&self.sum(input)?)
    }

    /// The same before the norm, for families that put more behind the words.
    pub fn sum(&self, input: BertInput<'_>) -> Result<Tensor> {
        let words = self.words.forward(input.ids)?;
        let typed = match input.types {
            None => words.broadcast_add(&self.types.first(1)?)?,
            Some(types) => {
                same_rows("the rows of token types", types, input.ids)?;
                (words + self.types.rows("token type", types)?)?
            }
        };
        Ok(match input.positions {
            None => typed.broadcast_add(&self.positions.first(typed.dim(1)?)?)?,
            Some(positions) => {
                same_rows("the rows of positions", positions, input.ids)?;
                (typed + self.positions.rows("position", positions)?)?
            }
        })
    }

    /// The norm behind the sum.
    pub fn norm(&self) -> &LayerNorm {
        &self.norm
    }

    /// The word table, with which output layers may be tied.
    pub fn words(&self) -> &Embedding {
        &self.words
    }

    /// The position table.
    pub fn positions(&self) -> &Embedding {
        &self.positions
    }
}

/// The blocks.
#[derive(Clone, Debug)]
pub struct BertEncoder(Stack);

impl BertEncoder {
    /// Reads `encoder.layer.*` of a model.
    pub fn load(weights: &Weights, spec: &BertSpec) -> Result<Self> {
        let block = BlockSpec {
            attention: AttentionSpec {
                width: spec.width,
                heads: spec.heads,
                head_dim: spec.width / spec.heads.max(1),
                key_value: KeyValue::Own,
                names: ATTENTION,
            },
            hidden: spec.hidden,
            activation: spec.activation,
            norm_place: NormPlace::Post,
            norm_eps: spec.norm_eps,
            names: BLOCK,
        };
        let layers = weights.scope("encoder.layer");
        Ok(Self(Stack::load(&layers, spec.depth, &block)?))
    }

    /// `embedded` `[B, S, width]`, words or anything else of their width, under a mask of keys or of pairs; returns
    /// the same shape.
    pub fn forward(&self, embedded: Tensor, mask: Option<&Mask>) -> Result<Tensor> {
        self.0.forward(embedded, mask, &mut |_| {})
    }

    /// As [`Self::forward`], but only the state at a place of each sequence, `places` `[B]`; returns `[B, width]`. Of
    /// the last block nothing else is computed.
    pub fn forward_at(
        &self,
        embedded: Tensor,
        mask: Option<&Mask>,
        places: &[usize],
    ) -> Result<Tensor> {
        self.0.forward_at(embedded, mask, places)
    }

    /// As [`Self::forward`], with `embedded` and the state after each block.
    pub fn forward_with_hidden(
        &self,
        embedded: Tensor,
        mask: Option<&Mask>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let mut states = Vec::new();
        let last = self
            .0
            .forward(embedded, mask, &mut |state| states.push(state.clone()))?;
        Ok((last, states))
    }
}

/// `tanh(dense(h[0]))`.
#[derive(Clone, Debug)]
pub struct BertPooler {
    dense: Linear,
}

impl BertPooler {
    /// Reads `pooler.dense.*` of a model.
    pub fn load(weights: &Weights, spec: &BertSpec) -> Result<Self> {
        let dense = weights.scope("pooler.dense");
        Ok(Self {
            dense: Linear::load(&dense, spec.width, spec.width)?,
        })
    }

    /// One vector for each `sequence` `[B, S, width]`; `[B, width]`.
    pub fn forward(&self, sequence: &Tensor) -> Result<Tensor> {
        let first = sequence.narrow(1, 0, 1)?.squeeze(1)?;
        Ok(self.dense.forward(&first)?.tanh()?)
    }
}

fn same_rows(what: &'static str, rows: &[Vec<u32>], ids: &[Vec<u32>]) -> Result<()> {
    let lengths = |rows: &[Vec<u32>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
    if rows.len() == ids.len() && rows.iter().zip(ids).all(|(a, b)| a.len() == b.len()) {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        found: lengths(rows),
        wanted: format!("{:?}, the lengths of the rows of ids", lengths(ids)),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;

    const SPEC: BertSpec = BertSpec {
        vocabulary_size: 11,
        context_length: 7,
        token_types: 2,
        width: 8,
        heads: 2,
        hidden: 12,
        depth: 2,
        activation: Activation::Gelu,
        norm_eps: 1e-12,
    };

    fn weights() -> Weights {
        Weights::random(Seed(8), &Device::Cpu)
    }

    /// The same numbers in every run, others for another `phase`.
    fn wave(shape: &[usize], phase: f64) -> Tensor {
        let count: usize = shape.iter().product();
        let angles = Tensor::arange(0f32, count as f32, &Device::Cpu).unwrap();
        let wave = ((angles * 0.7).unwrap() + phase).unwrap().sin().unwrap();
        wave.reshape(shape).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn absent_types_and_positions_are_the_first_ones() {
        let embedding = BertEmbedding::load(&weights(), &SPEC).unwrap();
        let ids = [vec![3, 1, 4], vec![1, 5, 9]];
        let plain = embedding.forward(BertInput::new(&ids)).unwrap();
        let types = vec![vec![0; 3]; 2];
        let positions = vec![vec![0, 1, 2]; 2];
        let embed = |types: &[Vec<u32>], positions: &[Vec<u32>]| {
            let input = BertInput {
                ids: &ids,
                types: Some(types),
                positions: Some(positions),
            };
            embedding.forward(input).unwrap()
        };
        let spelt = embed(&types, &positions);
        assert!(distance(&plain, &spelt) < 1e-6);
        for (types, positions) in [
            (vec![vec![1; 3]; 2], positions.clone()),
            (types.clone(), vec![vec![4, 5, 6]; 2]),
        ] {
            let other = embed(&types, &positions);
            assert!(distance(&plain, &other) > 1e-3);
        }
    }

    #[test]
    fn what_has_no_row_is_named() {
        let embedding = BertEmbedding::load(&weights(), &SPEC).unwrap();
        let ids = [vec![3, 1, 4]];
        let told = |types: Option<&[Vec<u32>]>, positions: Option<&[Vec<u32>]>| {
            let input = BertInput {
                ids: &ids,
                types,
                positions,
            };
            embedding.sum(input).unwrap_err().to_string()
        };
        assert_eq!(
            told(Some(&[vec![0, 2, 0]]), None),
            "token type 2 is outside the table of 2 rows"
        );
        assert_eq!(
            told(None, Some(&[vec![0, 1, 7]])),
            "position 7 is outside the table of 7 rows"
        );
        assert_eq!(
            told(Some(&[vec![0, 1]]), None),
            "the rows of token types has the shape [2], needed is [3], the lengths of the rows of ids"
        );
        let long = [vec![1; 8]];
        let error = embedding.sum(BertInput::new(&long)).unwrap_err();
        assert_eq!(error.to_string(), "sequence of 8 tokens, the limit is 7");
    }

    #[test]
    fn what_is_masked_has_no_influence_and_every_state_is_shown() {
        let encoder = BertEncoder::load(&weights(), &SPEC).unwrap();
        let x = wave(&[2, 5, 8], 0.0);
        let others = wave(&[2, 2, 8], 1.0);
        let other = Tensor::cat(&[&x.narrow(1, 0, 3).unwrap(), &others], 1).unwrap();
        let mask = Mask::padding(&vec![vec![1, 1, 1, 0, 0]; 2], &Device::Cpu).unwrap();
        let seen = |x: &Tensor, mask| {
            let y = encoder.forward(x.clone(), mask).unwrap();
            y.narrow(1, 0, 3).unwrap()
        };
        assert!(distance(&seen(&x, Some(&mask)), &seen(&other, Some(&mask))) < 1e-7);
        let places = [2, 0];
        let early = encoder.forward_at(x.clone(), Some(&mask), &places).unwrap();
        let whole = encoder.forward(x.clone(), Some(&mask)).unwrap();
        let whole = crate::at_places(&whole, &places).unwrap();
        assert!(distance(&early, &whole) < 1e-5);
        // Random weights are small, and so is what one position gives to another.
        assert!(distance(&seen(&x, None), &seen(&other, None)) > 1e-6);

        let (last, states) = encoder.forward_with_hidden(x.clone(), None).unwrap();
        assert_eq!(states.len(), 3);
        assert!(distance(&states[0], &x) < 1e-9 && distance(&states[2], &last) < 1e-9);
    }

    #[test]
    fn the_pooler_reads_the_first_position() {
        let pooler = BertPooler::load(&weights(), &SPEC).unwrap();
        let x = wave(&[2, 5, 8], 0.0);
        let pooled = pooler.forward(&x).unwrap();
        assert_eq!(pooled.dims(), [2, 8]);
        let short = pooler.forward(&x.narrow(1, 0, 1).unwrap()).unwrap();
        assert!(distance(&pooled, &short) < 1e-6);
        let largest = pooled.abs().unwrap().max_all().unwrap();
        assert!(largest.to_scalar::<f32>().unwrap() < 1.0);
    }
}
