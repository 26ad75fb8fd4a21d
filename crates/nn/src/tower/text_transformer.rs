//! A causal text transformer with learned positions, in CLIP's form: a norm behind the blocks.

use candle_core::Tensor;

use crate::block::Stack;
use crate::{BlockSpec, Embedding, LayerNorm, Mask, Result, Weights};

/// What a text transformer looks like.
#[derive(Clone, Debug)]
pub struct TextTransformerSpec {
    /// Rows of the token table.
    pub vocabulary_size: usize,
    /// Rows of the position table: the longest sequence.
    pub context_length: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Every block; its attention gives the tower's width.
    pub block: BlockSpec,
    /// Names in the checkpoint.
    pub names: TextNames,
}

/// Names of the tower's parts.
#[derive(Clone, Copy, Debug)]
pub struct TextNames {
    /// The token table.
    pub tokens: &'static str,
    /// The position table `[context_length, width]`.
    pub positions: &'static str,
    /// What stands before the blocks' numbers.
    pub blocks: &'static str,
    /// The norm behind the blocks.
    pub norm_after: &'static str,
}

/// A causal text transformer.
#[derive(Clone, Debug)]
pub struct TextTransformer {
    tokens: Embedding,
    positions: Embedding,
    blocks: Stack,
    norm_after: LayerNorm,
}

impl TextTransformer {
    /// Reads the tower's tensors.
    pub fn load(weights: &Weights, spec: &TextTransformerSpec) -> Result<Self> {
        let names = &spec.names;
        let width = spec.block.attention.width;
        let tokens = weights.scope(names.tokens);
        let positions = weights.tensor(names.positions, &[spec.context_length, width])?;
        Ok(Self {
            tokens: Embedding::load(&tokens, spec.vocabulary_size, width)?,
            positions: Embedding::from_table(positions)?,
            blocks: Stack::load(&weights.scope(names.blocks), spec.depth, &spec.block)?,
            norm_after: LayerNorm::load(
                &weights.scope(names.norm_after),
                width,
                spec.block.norm_eps,
            )?,
        })
    }

    /// `ids`: `B` rows of the same length `T`; `padding` hides positions in addition to the causal mask.
    /// Returns the sequence after the last norm `[B, T, width]`.
    pub fn forward(&self, ids: &[Vec<u32>], padding: Option<&Mask>) -> Result<Tensor> {
        self.run(ids, padding, &mut |_| {})
    }

    /// As [`Self::forward`], with the sum of the embeddings and the state after each block.
    pub fn forward_with_hidden(
        &self,
        ids: &[Vec<u32>],
        padding: Option<&Mask>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let mut states = Vec::new();
        let last = self.run(ids, padding, &mut |state| states.push(state.clone()))?;
        Ok((last, states))
    }

    /// As [`Self::forward`], but only the state at a place of each text, `places` `[B]`; returns `[B, width]`. Of the
    /// last block nothing else is computed.
    pub fn forward_at(
        &self,
        ids: &[Vec<u32>],
        padding: Option<&Mask>,
        places: &[usize],
    ) -> Result<Tensor> {
        let (embedded, mask) = self.embed(ids, padding)?;
        let states = self.blocks.forward_at(embedded, Some(&mask), places)?;
        self.norm_after.forward(&states)
    }

    fn run(
        &self,
        ids: &[Vec<u32>],
        padding: Option<&Mask>,
        hidden: &mut dyn FnMut(&Tensor),
    ) -> Result<Tensor> {
        let (embedded, mask) = self.embed(ids, padding)?;
        let last = self.blocks.forward(embedded, Some(&mask), hidden)?;
        self.norm_after.forward(&last)
    }

    /// Words at their positions, and who may look at whom.
    fn embed(&self, ids: &[Vec<u32>], padding: Option<&Mask>) -> Result<(Tensor, Mask)> {
        let tokens = self.tokens.forward(ids)?;
        let len = tokens.dim(1)?;
        let embedded = tokens.broadcast_add(&self.positions.first(len)?)?;
        let causal = Mask::causal(len, tokens.device())?;
        let mask = match padding {
            Some(padding) => causal.and(padding)?,
            None => causal,
        };
        Ok((embedded, mask))
    }
}
