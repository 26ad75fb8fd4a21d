//! A language model as decoding sees it.

use candle_core::{D, Tensor};

#[cfg(feature = "cuda")]
use super::replay::Replay;
use super::{CausalCache, CausalTransformer, Next};
use crate::Result;
use crate::decode::{Network, StateNetwork};

/// A language model behind prompts that it has read.
///
/// On a GPU its steps are recorded and replayed where they can be: see `replay.rs`.
#[derive(Debug)]
pub struct CausalNetwork<'a> {
    model: &'a CausalTransformer,
    /// What was seen, up to where `replay` goes on.
    cache: CausalCache,
    #[cfg(feature = "cuda")]
    replay: Option<Replay>,
    /// Whether a step was made: what writes one token alone is not worth a recording.
    #[cfg(feature = "cuda")]
    has_stepped: bool,
}

impl<'a> CausalNetwork<'a> {
    /// `cache` is what `model` has seen of the prompts.
    pub fn new(model: &'a CausalTransformer, cache: CausalCache) -> Self {
        Self {
            model,
            cache,
            #[cfg(feature = "cuda")]
            replay: None,
            #[cfg(feature = "cuda")]
            has_stepped: false,
        }
    }

    /// Reads prompts, padded on the left. Returns the network and the states behind the last norm `[B, T, embedding
    /// width]`.
    pub fn read(model: &'a CausalTransformer, prompts: Next<'_>) -> Result<(Self, Tensor)> {
        let mut cache = model.start(prompts.embeds.dim(0)?);
        let hidden = model.advance(prompts, &mut cache)?;
        Ok((Self::new(model, cache), hidden))
    }

    /// The model.
    pub fn model(&self) -> &'a CausalTransformer {
        self.model
    }

    /// What the model has seen of the prompts, before the first step.
    pub fn cache(&self) -> &CausalCache {
        &self.cache
    }

    /// Continues each row by its token. Returns the states behind the last norm `[rows, embedding width]`.
    fn step_plainly(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        let embeds = self.model.embed(&ids)?;
        let hidden = self.model.advance(Next::new(&embeds), &mut self.cache)?;
        Ok(hidden.squeeze(1)?)
    }

    /// Continues each row by its token, by what was recorded; none where a step cannot be.
    #[cfg(feature = "cuda")]
    fn step_replayed(&mut self, tokens: &[u32]) -> Result<Option<&Replay>> {
        if !std::mem::replace(&mut self.has_stepped, true) {
            return Ok(None);
        }
        if self.replay.is_none() {
            self.replay = Replay::behind(self.model, &self.cache)?;
        }
        let Some(replay) = &mut self.replay else {
            return Ok(None);
        };
        self.model.check_tokens(tokens, &self.cache)?;
        replay.step(self.model, tokens)?;
        self.cache.take_in(None, 1);
        Ok(Some(replay))
    }
}

/// What was recorded for this network serves the model's next one.
#[cfg(feature = "cuda")]
impl Drop for CausalNetwork<'_> {
    fn drop(&mut self) {
        if let Some(replay) = self.replay.take() {
            self.model.replays.keep(replay);
        }
    }
}

impl Network for CausalNetwork<'_> {
    fn step(&mut self, tokens: &[u32]) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(replay) = self.step_replayed(tokens)? {
            return replay.logits();
        }
        let hidden = self.step_plainly(tokens)?;
        self.model.logits(&hidden)
    }

    fn select(&mut self, parents: &[usize]) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let Some(mut replay) = self.replay.take() {
            if replay.select(parents)? {
                self.replay = Some(replay);
                return self.cache.select_present(parents);
            }
            // It has no room for so many.
            replay.give_to(&mut self.cache)?;
            self.model.replays.keep(replay);
        }
        self.cache.select(parents)
    }
}

impl StateNetwork for CausalNetwork<'_> {
    fn step_with_states(&mut self, tokens: &[u32]) -> Result<(Tensor, Tensor)> {
        #[cfg(feature = "cuda")]
        if let Some(replay) = self.step_replayed(tokens)? {
            return Ok((replay.logits()?.copy()?, replay.states()?));
        }
        let hidden = self.step_plainly(tokens)?;
        Ok((self.model.logits(&hidden)?, hidden))
    }
}

/// The natural logarithm of the probability of each token of each of `continuations` of one prompt. `cache` is what
/// `model` has seen of it, one row, and `last` `[V]` the logits behind it; the prompt is not read again.
pub fn continuation_log_probabilities(
    model: &CausalTransformer,
    cache: &CausalCache,
    last: &Tensor,
    continuations: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>> {
    continuation_log_probabilities_by(model, last, continuations, |ids| {
        let mut cache = cache.clone();
        cache.select(&vec![0; ids.len()])?;
        model.advance(Next::new(&model.embed(ids)?), &mut cache)
    })
}

/// As [`continuation_log_probabilities`], for models that look at more than their tokens: `read` reads rows of ids of one
/// length behind the prompt and returns the states behind the last norm `[rows, T, embedding width]`.
pub fn continuation_log_probabilities_by(
    model: &CausalTransformer,
    last: &Tensor,
    continuations: &[Vec<u32>],
    read: impl FnOnce(&[Vec<u32>]) -> Result<Tensor>,
) -> Result<Vec<Vec<f32>>> {
    let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
    let first = log_softmax(&last.unsqueeze(0)?)?.to_vec2::<f32>()?;
    let rest = if longest > 1 {
        // Padding behind a row is seen by no token of it.
        let padded = |row: &Vec<u32>| {
            let mut row = row.clone();
            row.resize(longest, 0);
            row.truncate(longest - 1);
            row
        };
        let ids: Vec<Vec<u32>> = continuations.iter().map(padded).collect();
        Some(read(&ids)?)
    } else {
        None
    };
    let mut all = Vec::with_capacity(continuations.len());
    // One row at a time: the logits of a batch are large.
    for (b, ids) in continuations.iter().enumerate() {
        let mut rows = first.clone();
        if let (Some(rest), true) = (&rest, ids.len() > 1) {
            let hidden = rest.get(b)?.narrow(0, 0, ids.len() - 1)?;
            rows.extend(log_softmax(&model.logits(&hidden)?)?.to_vec2::<f32>()?);
        }
        let value = |(&id, row): (&u32, &Vec<f32>)| {
            let value = row.get(id as usize).copied();
            value.ok_or(crate::Error::TokenId {
                id,
                vocabulary_size: row.len(),
            })
        };
        all.push(ids.iter().zip(&rows).map(value).collect::<Result<_>>()?);
    }
    Ok(all)
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let total = logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?;
    Ok(logits.broadcast_sub(&total)?)
}
