//! A language model: a transformer in which each token looks at those before it and says what comes next.
//!
//! One configurable form for the open models: GPT-2, OPT, GPT-J, GPT-NeoX (Pythia) and MPT differ in where norms stand,
//! whether the halves of a block run side by side, how positions are told, and how the checkpoint stores its
//! projections; a [`CausalSpec`] says so. Vectors may stand where token embeddings stand, so that images are prompts,
//! and a [`CausalCache`] keeps what was seen, so that a token more costs one position.
//!
//! ```
//! use candle_core::Device;
//! use sightline_core::Seed;
//! use sightline_nn::{CausalTransformer, Weights, causal};
//!
//! let weights = Weights::random(Seed(1), &Device::Cpu);
//! let model = CausalTransformer::load(&weights, &weights, &causal::example())?;
//! let ids = [vec![3, 1, 4, 1, 5]];
//! let hidden = model.forward(&model.embed(&ids)?, None)?;
//! assert_eq!(model.logits(&hidden)?.dims(), [1, 5, 11]);
//! # Ok::<(), sightline_nn::Error>(())
//! ```

mod load;
mod network;
#[cfg(feature = "cuda")]
mod replay;
mod rotary;
mod spec;

use candle_core::{DType, Tensor};

use crate::attention::KeysValues;
use crate::block::Block;
use crate::{Attention, Embedding, Error, LayerNorm, Linear, Mask, Result, Weights};

pub use network::{
    CausalNetwork, continuation_log_probabilities, continuation_log_probabilities_by,
};
pub use spec::{
    AdapterNames, AdapterSpec, Arrangement, CausalNames, CausalSpec, HeadName, Pairing, Positions,
    Projections,
};

/// A language model.
#[derive(Clone, Debug)]
pub struct CausalTransformer {
    spec: CausalSpec,
    tokens: Embedding,
    /// Of learned positions.
    positions: Option<Embedding>,
    /// From the width of embeddings to that of the layers, and back.
    project: Option<(Linear, Linear)>,
    layers: Vec<Block>,
    norm_after: Option<LayerNorm>,
    head: Linear,
    /// Of ALiBi, one for each head.
    slopes: Option<Vec<f32>>,
    #[cfg(feature = "cuda")]
    replays: replay::Replays,
}

/// What a language model has seen of `B` sequences.
#[derive(Clone, Debug)]
pub struct CausalCache {
    /// Per layer; `None` before anything was seen.
    seen: Vec<Option<KeysValues>>,
    /// 1 for what is there and 0 for padding, for each sequence.
    present: Vec<Vec<u8>>,
}

/// What is read next: see [`CausalTransformer::advance`].
#[derive(Clone, Copy, Debug)]
pub struct Next<'a> {
    /// `[B, T, embedding width]`.
    pub embeds: &'a Tensor,
    /// `B` rows of `T`: 1 for what is there and 0 for padding; `None`: everything is there.
    pub present: Option<&'a [Vec<u8>]>,
    /// `B` rows of `T` positions; `None`: counted from 0, padding left out.
    pub positions: Option<&'a [Vec<u32>]>,
}

impl<'a> Next<'a> {
    /// Everything is there.
    pub fn new(embeds: &'a Tensor) -> Self {
        Self {
            embeds,
            present: None,
            positions: None,
        }
    }
}

impl CausalTransformer {
    /// The model's form.
    pub fn spec(&self) -> &CausalSpec {
        &self.spec
    }

    /// The same network with the token vectors `tokens` `[rows, embedding width]`, as after tokens were added. `head` makes
    /// as many logits; `None`: it is the token table, which a model whose head is one of its own refuses.
    pub fn with_tokens(&self, tokens: Tensor, head: Option<Linear>) -> Result<Self> {
        let (rows, width) = tokens.dims2()?;
        let wanted = self.spec.embedding_width;
        let is_tied = self.spec.names.head == HeadName::Tied;
        let fits = |head: &Linear| head.sizes() == (wanted, rows);
        if width != wanted || head.as_ref().map_or(!is_tied, |head| !fits(head)) {
            let what = if is_tied {
                ""
            } else {
                ", and a head of as many rows"
            };
            return Err(Error::Shape {
                what: "the table of tokens",
                found: vec![rows, width],
                wanted: format!("[rows, {wanted}]{what}"),
            });
        }
        Ok(Self {
            head: match head {
                Some(head) => head,
                None => Linear::new(&tokens, None)?,
            },
            tokens: Embedding::from_table(tokens)?,
            spec: CausalSpec {
                vocabulary_size: rows,
                ..self.spec.clone()
            },
            // What was recorded reads the old table.
            #[cfg(feature = "cuda")]
            replays: replay::Replays::default(),
            ..self.clone()
        })
    }

    /// The same network with the adapters in `body`, which is where [`Self::load`] read the parts: for steps of a training in
    /// which nothing else of it changes. A network that has none stays as it is.
    pub fn with_adapters(&self, body: &Weights) -> Result<Self> {
        let layers = body.scope(self.spec.names.layers);
        let adapted = |(i, layer): (usize, &Block)| {
            let adapter = load::adapter(&layers.scope(i), &self.spec)?;
            let layer = layer.clone();
            Ok(Block { adapter, ..layer })
        };
        Ok(Self {
            layers: self
                .layers
                .iter()
                .enumerate()
                .map(adapted)
                .collect::<Result<_>>()?,
            // What was recorded reads the old ones.
            #[cfg(feature = "cuda")]
            replays: replay::Replays::default(),
            ..self.clone()
        })
    }

    /// The vectors of `ids`, rows of the same length; `[B, T, embedding width]`.
    pub fn embed(&self, ids: &[Vec<u32>]) -> Result<Tensor> {
        self.tokens.forward(ids)
    }

    /// An empty cache for `batch` sequences.
    pub fn start(&self, batch: usize) -> CausalCache {
        CausalCache {
            seen: vec![None; self.layers.len()],
            present: vec![Vec::new(); batch],
        }
    }

    /// Whole sequences `embeds` `[B, T, embedding width]`; `present` as in [`Next`]. Returns the states behind the last
    /// norm `[B, T, embedding width]`.
    pub fn forward(&self, embeds: &Tensor, present: Option<&[Vec<u8>]>) -> Result<Tensor> {
        let next = Next {
            present,
            ..Next::new(embeds)
        };
        self.advance(next, &mut self.start(embeds.dim(0)?))
    }

    /// Reads on behind what `cache` has seen, and adds to it. Returns the states behind the last norm `[B, T, embedding
    /// width]`; those of padding mean nothing.
    pub fn advance(&self, next: Next<'_>, cache: &mut CausalCache) -> Result<Tensor> {
        self.advance_through(next, cache, &mut |_, x| Ok(x))
    }

    /// As [`Self::advance`]; the states before each layer `[B, T, width]` become what `before` makes of its number and
    /// them.
    pub fn advance_through(
        &self,
        next: Next<'_>,
        cache: &mut CausalCache,
        before: &mut dyn FnMut(usize, Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let spec = &self.spec;
        let (batch, len) = self.check(next, cache)?;
        let past = cache.len();
        let positions = match next.positions {
            Some(positions) => positions.to_vec(),
            None => cache.count(next.present, len),
        };
        cache.take_in(next.present, len);
        let embeds = next.embeds.to_dtype(self.tokens.table().dtype())?;
        let mut x = match &self.project {
            Some((into, _)) => into.forward(&embeds)?,
            None => embeds,
        };
        if let (Some(table), Positions::Learned { offset, .. }) = (&self.positions, spec.positions)
        {
            let shifted = |row: &Vec<u32>| row.iter().map(|p| p + offset as u32).collect();
            let rows: Vec<Vec<u32>> = positions.iter().map(shifted).collect();
            x = (x + table.rows("position", &rows)?)?;
        }
        let turn = match spec.positions {
            Positions::Rotary {
                dims,
                base,
                pairing,
            } => {
                let head_dim = spec.width / spec.heads;
                Some(rotary::Turn::new(
                    &positions,
                    dims,
                    base,
                    pairing,
                    head_dim,
                    x.device(),
                )?)
            }
            _ => None,
        };
        let turn = turn.as_ref().map(|turn| |x: &Tensor| turn.forward(x));
        let turn = turn
            .as_ref()
            .map(|turn| turn as &dyn Fn(&Tensor) -> Result<Tensor>);
        let is_plain = cache.present.iter().flatten().all(|&there| there != 0);
        let mask = if len == 1 && is_plain && self.slopes.is_none() {
            None
        } else if is_plain {
            // The same for every sequence.
            let row = vec![vec![1; past + len]];
            Some(Mask::continued(
                &row,
                len,
                self.slopes.as_deref(),
                x.device(),
            )?)
        } else {
            Some(Mask::continued(
                &cache.present,
                len,
                self.slopes.as_deref(),
                x.device(),
            )?)
        };
        debug_assert_eq!(cache.present.len(), batch);
        for (i, (block, seen)) in self.layers.iter().zip(&mut cache.seen).enumerate() {
            x = before(i, x)?;
            let look = |attention: &Attention, x: &Tensor| {
                let (y, all) = attention.look_on_turned(x, seen.as_ref(), turn, mask.as_ref())?;
                *seen = Some(all);
                Ok(y)
            };
            x = match spec.arrangement {
                Arrangement::Parallel => block.beside(&x, look)?,
                Arrangement::Pre | Arrangement::Post => block.feed(&block.attend(&x, look)?)?,
            };
        }
        if let Some(norm) = &self.norm_after {
            x = norm.forward(&x)?;
        }
        match &self.project {
            Some((_, out)) => out.forward(&x),
            None => Ok(x),
        }
    }

    /// Logits of the next tokens `[.., V]` of states behind the last norm `[.., embedding width]`, as `f32`.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(hidden)?.to_dtype(DType::F32)?)
    }

    /// Whether `tokens` are a token of the model's for each row of `cache`, and there is a position for them.
    #[cfg(feature = "cuda")]
    fn check_tokens(&self, tokens: &[u32], cache: &CausalCache) -> Result<()> {
        let (rows, vocabulary_size) = (cache.rows(), self.spec.vocabulary_size);
        if tokens.len() != rows {
            return Err(Error::Shape {
                what: "the tokens of a step",
                found: vec![tokens.len()],
                wanted: format!("[{rows}]"),
            });
        }
        if let Some(&id) = tokens.iter().find(|&&id| id as usize >= vocabulary_size) {
            return Err(Error::TokenId {
                id,
                vocabulary_size,
            });
        }
        self.check_length(cache.len() + 1)
    }

    /// Whether there are so many positions.
    fn check_length(&self, len: usize) -> Result<()> {
        let limit = self.spec.context;
        if len > limit {
            return Err(Error::Length { len, limit });
        }
        Ok(())
    }

    /// `B` and `T` of what is read next, which has to fit to the model and to what was seen.
    fn check(&self, next: Next<'_>, cache: &CausalCache) -> Result<(usize, usize)> {
        let (batch, len, width) = next.embeds.dims3()?;
        let rows = cache.present.len();
        if batch != rows || width != self.spec.embedding_width || len == 0 {
            return Err(Error::Shape {
                what: "what a language model reads",
                found: vec![batch, len, width],
                wanted: format!("[{rows}, 1 or more, {}]", self.spec.embedding_width),
            });
        }
        self.check_length(cache.len() + len)?;
        let lengths = |rows: Vec<usize>, what| {
            if rows.len() == batch && rows.iter().all(|&found| found == len) {
                return Ok(());
            }
            Err(Error::Shape {
                what,
                found: rows,
                wanted: format!("{batch} rows of {len}"),
            })
        };
        if let Some(present) = next.present {
            lengths(present.iter().map(Vec::len).collect(), "the padding mask")?;
        }
        if let Some(positions) = next.positions {
            lengths(positions.iter().map(Vec::len).collect(), "the positions")?;
        }
        Ok((batch, len))
    }
}

impl CausalCache {
    /// Positions seen, padding included.
    pub fn len(&self) -> usize {
        self.present.first().map_or(0, Vec::len)
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of sequences.
    pub fn rows(&self) -> usize {
        self.present.len()
    }

    /// The sequences become those that `parents` names, each as often as it is named.
    pub fn select(&mut self, parents: &[usize]) -> Result<()> {
        self.select_present(parents)?;
        for seen in self.seen.iter_mut().flatten() {
            *seen = seen.select(parents)?;
        }
        Ok(())
    }

    /// As [`Self::select`], for sequences whose keys and values are elsewhere.
    fn select_present(&mut self, parents: &[usize]) -> Result<()> {
        let rows = parents.iter().map(|&parent| {
            self.present.get(parent).cloned().ok_or(Error::Index {
                what: "row of the cache",
                index: parent as u32,
                rows: self.present.len(),
            })
        });
        self.present = rows.collect::<Result<Vec<_>>>()?;
        Ok(())
    }

    /// Positions of `len` more tokens: as many as there are tokens before, padding left out, which gets the next one's.
    fn count(&self, present: Option<&[Vec<u8>]>, len: usize) -> Vec<Vec<u32>> {
        let there = |&there: &u8| u32::from(there != 0);
        let row = |(b, seen): (usize, &Vec<u8>)| {
            let mut next: u32 = seen.iter().map(there).sum();
            let place = |t: usize| {
                let position = next;
                next += present.map_or(1, |present| there(&present[b][t]));
                position
            };
            (0..len).map(place).collect()
        };
        self.present.iter().enumerate().map(row).collect()
    }

    fn take_in(&mut self, present: Option<&[Vec<u8>]>, len: usize) {
        for (b, seen) in self.present.iter_mut().enumerate() {
            match present {
                Some(present) => seen.extend(&present[b]),
                None => seen.extend(std::iter::repeat_n(1, len)),
            }
        }
    }
}

/// Prompts `[T, width]` of any lengths as one batch `[B, T, width]`, zeros in front of the shorter ones, and which vectors
/// are there, for [`Next::present`]; `None` where all are.
pub fn padded_left(prompts: &[Tensor]) -> Result<(Tensor, Option<Vec<Vec<u8>>>)> {
    let lengths = prompts.iter().map(|prompt| prompt.dim(0));
    let lengths = lengths.collect::<candle_core::Result<Vec<_>>>()?;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let filled = prompts.iter().zip(&lengths);
    let filled = filled.map(|(prompt, len)| prompt.pad_with_zeros(0, longest - len, 0));
    let batch = Tensor::stack(&filled.collect::<candle_core::Result<Vec<_>>>()?, 0)?;
    let present = |len: &usize| [vec![0; longest - len], vec![1; *len]].concat();
    let is_even = lengths.iter().all(|&len| len == longest);
    let present = (!is_even).then(|| lengths.iter().map(present).collect());
    Ok((batch, present))
}

/// The form of a model that is small enough for examples: two layers, width 8, eleven tokens.
pub fn example() -> CausalSpec {
    CausalSpec {
        width: 8,
        embedding_width: 8,
        vocabulary_size: 11,
        context: 32,
        depth: 2,
        heads: 2,
        hidden: 16,
        activation: crate::Activation::GeluTanh,
        norm_eps: 1e-5,
        arrangement: Arrangement::Pre,
        positions: Positions::Learned {
            rows: 32,
            offset: 0,
        },
        attention_bias: true,
        feed_forward_bias: true,
        norm_bias: true,
        is_transposed: true,
        adapter: None,
        names: CausalNames::GPT2,
    }
}

#[cfg(test)]
mod tests;
