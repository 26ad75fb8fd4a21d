//! A transformer decoder that looks at another sequence (Vaswani et al. 2017, figure 1, right side).
//!
//! Between the two halves of a [`Block`] stands a second attention, from the tokens to a *memory*: the grid of an
//! image, or the states of an encoder. [`Decoder::forward`] runs whole sequences; [`Decoder::step`] continues them,
//! and a [`DecoderCache`] keeps the keys and values of what was seen, so that a step costs one position.

use candle_core::Tensor;

use crate::attention::KeysValues;
use crate::{
    Attention, AttentionSpec, Block, BlockSpec, Error, LayerNorm, Mask, NormPlace, Result, Weights,
    dropped,
};

/// What a decoder looks like. All layers share one form.
#[derive(Clone, Debug)]
pub struct DecoderSpec {
    /// Number of layers.
    pub depth: usize,
    /// Self-attention and feed-forward layer of each; also says where all norms stand.
    pub block: BlockSpec,
    /// The attention to the memory.
    pub cross: AttentionSpec,
    /// Names in the checkpoint.
    pub names: DecoderNames,
}

/// Names of a decoder's parts besides those of its blocks.
#[derive(Clone, Copy, Debug)]
pub struct DecoderNames {
    /// What stands before the layers' numbers.
    pub layers: &'static str,
    /// What stands before the names of the attention to the memory.
    pub cross: &'static str,
    /// Its norm.
    pub cross_norm: &'static str,
    /// A norm behind the last layer; usual where norms stand before.
    pub norm_after: Option<&'static str>,
}

/// A decoder.
#[derive(Clone, Debug)]
pub struct Decoder {
    layers: Vec<Layer>,
    norm_after: Option<LayerNorm>,
}

/// What a decoder has seen: the memory of each item and the tokens of each row. An item is what has a memory of its
/// own, such as an image; its rows are the hypotheses about it.
#[derive(Clone, Debug)]
pub struct DecoderCache {
    /// Per layer, a sequence for each item.
    memory: Vec<KeysValues>,
    /// Per layer, a sequence for each row, all of the same length; `None` before the first token.
    tokens: Vec<Option<KeysValues>>,
    /// Number of rows of each item; they stand side by side.
    rows: Vec<usize>,
}

impl Decoder {
    /// Reads the decoder's tensors.
    pub fn load(weights: &Weights, spec: &DecoderSpec) -> Result<Self> {
        let layers = weights.scope(spec.names.layers);
        let layer = |i| Layer::load(&layers.scope(i), spec);
        let (width, eps) = (spec.block.attention.width, spec.block.norm_eps);
        let norm = |name| LayerNorm::load(&weights.scope(name), width, eps);
        Ok(Self {
            layers: (0..spec.depth).map(layer).collect::<Result<_>>()?,
            norm_after: spec.names.norm_after.map(norm).transpose()?,
        })
    }

    /// `x` `[B, T, width]`, embedded tokens, beside `memory` `[B, S, its width]`; `mask` says which tokens see which.
    /// Returns the states behind the last layer and the last norm `[B, T, width]`.
    pub fn forward(&self, x: &Tensor, memory: &Tensor, mask: Option<&Mask>) -> Result<Tensor> {
        self.forward_masked(x, memory, mask, None)
    }

    /// As [`Self::forward`], for memories of different lengths: `seen` `[B, 1, 1, S]` says what is no padding.
    pub fn forward_masked(
        &self,
        x: &Tensor,
        memory: &Tensor,
        mask: Option<&Mask>,
        seen: Option<&Mask>,
    ) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in &self.layers {
            let memory = layer.cross.keys_values(memory)?;
            let own = |attention: &Attention, x: &Tensor| attention.forward(x, None, mask);
            let cross = |x: &Tensor| layer.cross.look_at(x, &memory, seen);
            x = layer.forward(&x, own, cross)?;
        }
        self.finish(x)
    }

    /// An empty cache beside `memory` `[B, S, its width]`: `B` items of one row each.
    pub fn start(&self, memory: &Tensor) -> Result<DecoderCache> {
        let items = memory.dim(0)?;
        let of_layer = |layer: &Layer| layer.cross.keys_values(memory);
        Ok(DecoderCache {
            memory: self.layers.iter().map(of_layer).collect::<Result<_>>()?,
            tokens: vec![None; self.layers.len()],
            rows: vec![1; items],
        })
    }

    /// `x` `[rows, 1, width]`, the embedded next token of each row of `cache`, which takes it in. Returns its state
    /// behind the last layer and the last norm `[rows, 1, width]`.
    pub fn step(&self, x: &Tensor, cache: &mut DecoderCache) -> Result<Tensor> {
        let (rows, len, width) = x.dims3()?;
        if rows != cache.rows() || len != 1 {
            return Err(Error::Shape {
                what: "the batch of next tokens",
                found: vec![rows, len, width],
                wanted: format!("[{}, 1, {width}]", cache.rows()),
            });
        }
        let mut x = x.clone();
        let caches = cache.tokens.iter_mut().zip(&cache.memory);
        for (layer, (tokens, memory)) in self.layers.iter().zip(caches) {
            let own = |attention: &Attention, x: &Tensor| {
                let (y, seen) = attention.look_on(x, tokens.as_ref(), None)?;
                *tokens = Some(seen);
                Ok(y)
            };
            let cross = |x: &Tensor| layer.look_at_memory(x, memory, &cache.rows);
            x = layer.forward(&x, own, cross)?;
        }
        self.finish(x)
    }

    fn finish(&self, x: Tensor) -> Result<Tensor> {
        match &self.norm_after {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }
}

impl DecoderCache {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.iter().sum()
    }

    /// Tokens seen.
    pub fn len(&self) -> Result<usize> {
        let first = self.tokens.first().and_then(Option::as_ref);
        first.map_or(Ok(0), KeysValues::len)
    }

    /// Whether no token was seen.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Forgets all tokens, but not the memory.
    pub fn forget_tokens(&mut self) {
        self.tokens.fill(None);
    }

    /// The rows become those that `parents` names, in this order, each as often as it is named; an item none of
    /// whose rows is named is forgotten. Rows of one item MUST stay side by side.
    pub fn select(&mut self, parents: &[usize]) -> Result<()> {
        let items = self.rows.iter().enumerate();
        let item_of_row: Vec<usize> = items
            .flat_map(|(item, &rows)| std::iter::repeat_n(item, rows))
            .collect();
        let item = |&row: &usize| {
            item_of_row.get(row).copied().ok_or_else(|| Error::Shape {
                what: "a row of the cache",
                found: vec![row],
                wanted: format!("a number below {}", item_of_row.len()),
            })
        };
        let of_parents: Vec<usize> = parents.iter().map(item).collect::<Result<_>>()?;
        let runs = || of_parents.chunk_by(|a, b| a == b);
        let kept: Vec<usize> = runs().map(|run| run[0]).collect();
        // Most steps only change the order within the items, whose memories then stay where they are.
        if !kept.iter().copied().eq(0..self.rows.len()) {
            for memory in &mut self.memory {
                *memory = memory.select(&kept)?;
            }
        }
        for seen in self.tokens.iter_mut().flatten() {
            *seen = seen.select(parents)?;
        }
        self.rows = runs().map(<[usize]>::len).collect();
        Ok(())
    }
}

/// A block with the attention to the memory between its halves.
#[derive(Clone, Debug)]
struct Layer {
    block: Block,
    cross: Attention,
    cross_norm: LayerNorm,
    norm_place: NormPlace,
}

impl Layer {
    fn load(weights: &Weights, spec: &DecoderSpec) -> Result<Self> {
        let (names, block) = (&spec.names, &spec.block);
        Ok(Self {
            block: Block::load(weights, block)?,
            cross: Attention::load(&weights.scope(names.cross), &spec.cross)?,
            cross_norm: LayerNorm::load(
                &weights.scope(names.cross_norm),
                block.attention.width,
                block.norm_eps,
            )?,
            norm_place: block.norm_place,
        })
    }

    /// `x` `[rows, T, width]`; `own` is the attention to the tokens, `cross` that to the memory.
    fn forward(
        &self,
        x: &Tensor,
        own: impl FnOnce(&Attention, &Tensor) -> Result<Tensor>,
        cross: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let x = self.block.attend(x, own)?;
        let cross = |x: &Tensor| dropped(self.block.dropout.as_ref(), cross(x)?, 2);
        let x = self.norm_place.residual(&self.cross_norm, &x, cross)?;
        self.block.feed(&x)
    }

    /// `memory` has a sequence for each item, and `rows` says how many rows each has. All tokens of all rows of an item
    /// are queries to the same memory, so that they look at it at once.
    fn look_at_memory(&self, x: &Tensor, memory: &KeysValues, rows: &[usize]) -> Result<Tensor> {
        let (all, len, width) = x.dims3()?;
        let most = rows.iter().copied().max().unwrap_or(0);
        let grouped = (rows.len(), most * len, width);
        if rows.iter().all(|&rows| rows == most) {
            let looked = self.cross.look_at(&x.reshape(grouped)?, memory, None)?;
            return Ok(looked.reshape((all, len, width))?);
        }
        // Items with fewer rows are filled up with their last one, whose results are left out again.
        let (mut filled, mut back, mut first) = (Vec::new(), Vec::new(), 0u32);
        for (item, &rows) in (0u32..).zip(rows) {
            let (rows, most) = (rows as u32, most as u32);
            filled.extend((0..most).map(|row| first + row.min(rows.saturating_sub(1))));
            back.extend((0..rows).map(|row| item * most + row));
            first += rows;
        }
        let index = |rows: Vec<u32>| Tensor::new(rows, x.device());
        let queries = x.index_select(&index(filled)?, 0)?.reshape(grouped)?;
        let looked = self.cross.look_at(&queries, memory, None)?;
        let looked = looked.reshape((rows.len() * most, len, width))?;
        Ok(looked.index_select(&index(back)?, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use sightline_core::Seed;

    use super::*;
    use crate::attention::AttentionNames;
    use crate::block::BlockNames;
    use crate::{Activation, KeyValue};

    fn spec(norm_place: NormPlace) -> DecoderSpec {
        let attention = AttentionSpec {
            width: 8,
            heads: 2,
            head_dim: 4,
            key_value: KeyValue::Own,
            names: AttentionNames::PACKED,
        };
        DecoderSpec {
            depth: 2,
            cross: AttentionSpec {
                key_value: KeyValue::Other { width: 8 },
                ..attention.clone()
            },
            block: BlockSpec {
                attention,
                hidden: 12,
                activation: Activation::Gelu,
                norm_place,
                norm_eps: 1e-5,
                names: BlockNames {
                    attention: "self_attn",
                    attention_norm: "norm1",
                    expand: "linear1",
                    contract: "linear2",
                    feed_forward_norm: "norm3",
                },
            },
            names: DecoderNames {
                layers: "layers",
                cross: "multihead_attn",
                cross_norm: "norm2",
                norm_after: (norm_place == NormPlace::Pre).then_some("norm"),
            },
        }
    }

    fn random(shape: (usize, usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn distance(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap();
        difference.max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn steps_with_a_cache_give_what_whole_sequences_give() {
        for norm_place in [NormPlace::Pre, NormPlace::Post] {
            let weights = Weights::random(Seed(5), &Device::Cpu);
            let decoder = Decoder::load(&weights, &spec(norm_place)).unwrap();
            let (x, memory) = (random((3, 4, 8)), random((3, 5, 8)));
            let causal = Mask::causal(4, &Device::Cpu).unwrap();
            let whole = decoder.forward(&x, &memory, Some(&causal)).unwrap();
            let mut cache = decoder.start(&memory).unwrap();
            for t in 0..4 {
                assert_eq!(cache.len().unwrap(), t);
                let state = decoder.step(&x.narrow(1, t, 1).unwrap(), &mut cache);
                let expected = whole.narrow(1, t, 1).unwrap();
                assert!(
                    distance(&state.unwrap(), &expected) < 1e-5,
                    "{norm_place:?} {t}"
                );
            }
        }
    }

    #[test]
    fn rows_can_be_chosen_among_and_tokens_forgotten() {
        let weights = Weights::random(Seed(6), &Device::Cpu);
        let decoder = Decoder::load(&weights, &spec(NormPlace::Post)).unwrap();
        let (x, memory) = (random((3, 3, 8)), random((3, 5, 8)));
        let rows = |x: &Tensor, rows: &[u32]| {
            let index = Tensor::new(rows, &Device::Cpu).unwrap();
            x.contiguous().unwrap().index_select(&index, 0).unwrap()
        };
        // Two rows for each of two items, then the rows of one item differ in number, then one row is left.
        let choices: [(&[usize], &[u32]); 3] = [
            (&[0, 0, 2, 2], &[0, 0, 2, 2]),
            (&[1, 2, 3], &[0, 2, 2]),
            (&[2], &[2]),
        ];
        let mut cache = decoder.start(&memory).unwrap();
        decoder
            .step(&x.narrow(1, 0, 1).unwrap(), &mut cache)
            .unwrap();
        for (parents, items) in choices {
            cache.select(parents).unwrap();
            let next = rows(&x.narrow(1, 1, 1).unwrap(), items);
            let state = decoder.step(&next, &mut cache.clone()).unwrap();

            let sequence = rows(&x.narrow(1, 0, 2).unwrap(), items);
            let causal = Mask::causal(2, &Device::Cpu).unwrap();
            let whole = decoder.forward(&sequence, &rows(&memory, items), Some(&causal));
            let expected = whole.unwrap().narrow(1, 1, 1).unwrap();
            assert!(distance(&state, &expected) < 1e-5, "{parents:?}");
        }

        cache.forget_tokens();
        let first = rows(&x.narrow(1, 2, 1).unwrap(), &[2]);
        let state = decoder.step(&first, &mut cache).unwrap();
        let alone = decoder.forward(&first, &rows(&memory, &[2]), None).unwrap();
        assert!(distance(&state, &alone) < 1e-5);
        assert!(cache.select(&[1]).is_err());
        assert!(decoder.step(&random((2, 1, 8)), &mut cache).is_err());
    }
}
