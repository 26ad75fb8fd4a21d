//! What stands on the encoder (sections 3.2 and 4 of the paper).

use candle_core::{D, DType, Tensor};
use sightline_nn::tower::{BertPooler, BertSpec};
use sightline_nn::{Activation, LayerNorm, Linear, Weights, at_places};

use super::config::HeadKind;
use crate::Result;

/// The head of a model.
#[derive(Clone, Debug)]
pub enum Head {
    /// The pooler alone.
    Bare(BertPooler),
    /// Masked words, and whether texts belong to the image.
    Pretraining(PretrainingHead),
    /// Answers to questions.
    QuestionAnswering(AnswerHead),
    /// Whether a statement about two images is true.
    VisualReasoning(PooledHead),
    /// How well an answer fits a question: one logit.
    MultipleChoice(PooledHead),
    /// Regions of phrases.
    RegionToPhrase(PhraseHead),
}

/// Where a head is read from.
pub(super) struct Source<'a> {
    /// The scope of the encoder.
    pub(super) body: &'a Weights,
    /// Everything.
    pub(super) all: &'a Weights,
    /// The encoder's sizes.
    pub(super) spec: BertSpec,
    /// The word table `[vocabulary, width]`, when the output layer is tied to it.
    pub(super) tied: Option<Tensor>,
    /// Number of labels.
    pub(super) labels: usize,
}

impl Head {
    /// Reads the head of the given kind.
    pub(super) fn load(kind: HeadKind, source: &Source<'_>) -> Result<Self> {
        let (body, spec) = (source.body, &source.spec);
        let cls = source.all.scope("cls");
        Ok(match kind {
            HeadKind::Bare => Self::Bare(BertPooler::load(body, spec)?),
            HeadKind::Pretraining => Self::Pretraining(PretrainingHead::load(source)?),
            HeadKind::QuestionAnswering => {
                body.disregard("pooler");
                Self::QuestionAnswering(AnswerHead {
                    answers: Linear::load(&cls, spec.width, source.labels)?,
                })
            }
            HeadKind::VisualReasoning => {
                Self::VisualReasoning(PooledHead::load(source, &cls, source.labels)?)
            }
            HeadKind::MultipleChoice => Self::MultipleChoice(PooledHead::load(source, &cls, 1)?),
            HeadKind::RegionToPhrase => {
                // Hugging Face's class holds the parts of pre-training as well, and a value projection: none of them
                // has a part in the result.
                body.disregard("pooler");
                source.all.disregard("cls");
                let attention = source.all.scope("attention");
                attention.disregard("value");
                Self::RegionToPhrase(PhraseHead::load(&attention, spec)?)
            }
        })
    }
}

/// The two tasks of pre-training.
#[derive(Clone, Debug)]
pub struct PretrainingHead {
    pooler: BertPooler,
    transform: Linear,
    activation: Activation,
    norm: LayerNorm,
    decoder: Linear,
    relationship: Linear,
}

impl PretrainingHead {
    fn load(source: &Source<'_>) -> Result<Self> {
        let (cls, spec) = (source.all.scope("cls"), &source.spec);
        let words = cls.scope("predictions");
        let transform = words.scope("transform");
        // Files of recent programs leave out what is tied; others hold it under both names.
        let decoder = words.scope("decoder");
        let kernel = match &source.tied {
            Some(table) => {
                words.disregard("decoder");
                table.clone()
            }
            None => decoder.tensor("weight", &[spec.vocabulary_size, spec.width])?,
        };
        let bias = if words.shape("bias").is_none() && decoder.shape("bias").is_some() {
            &decoder
        } else {
            words.disregard("decoder");
            &words
        };
        let bias = bias.tensor("bias", &[spec.vocabulary_size])?;
        Ok(Self {
            pooler: BertPooler::load(source.body, spec)?,
            transform: Linear::load(&transform.scope("dense"), spec.width, spec.width)?,
            activation: spec.activation,
            norm: LayerNorm::load(&transform.scope("LayerNorm"), spec.width, spec.norm_eps)?,
            decoder: Linear::new(&kernel, Some(bias))?,
            relationship: Linear::load(&cls.scope("seq_relationship"), spec.width, 2)?,
        })
    }

    /// Logits of every word at every position of `sequence` `[B, S, width]`; `[B, S, vocabulary]`.
    pub fn predictions(&self, sequence: &Tensor) -> Result<Tensor> {
        let changed = self
            .transform
            .forward_activated(sequence, self.activation)?;
        as_f32(&self.decoder.forward(&self.norm.forward(&changed)?)?)
    }

    /// Logits of whether the texts belong to the image: `[B, 2]`, the first for yes.
    pub fn relationship(&self, sequence: &Tensor) -> Result<Tensor> {
        let pooled = self.pooler.forward(sequence)?;
        as_f32(&self.relationship.forward(&pooled)?)
    }
}

/// A linear map of the state at the masked word before the end of the text.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    answers: Linear,
}

impl AnswerHead {
    /// `sequence` `[B, S, width]`, whose texts have `lens` words, marks included: at least 2. Returns `[B, labels]`.
    pub fn forward(&self, sequence: &Tensor, lens: &[usize]) -> Result<Tensor> {
        let places = Self::places(lens, sequence.dim(1)?)?;
        self.answers(&at_places(sequence, &places)?)
    }

    /// Where the masked words of texts of `lens` words are in sequences of `len` positions.
    pub fn places(lens: &[usize], len: usize) -> Result<Vec<usize>> {
        if lens.iter().any(|words| !(2..=len).contains(words)) {
            return Err(sightline_nn::Error::Shape {
                what: "the list of text lengths",
                found: lens.to_vec(),
                wanted: format!("{} numbers from 2 to {len}", lens.len()),
            }
            .into());
        }
        Ok(lens.iter().map(|words| words - 2).collect())
    }

    /// As [`Self::forward`], of the states `[B, width]` at those places.
    pub fn answers(&self, states: &Tensor) -> Result<Tensor> {
        as_f32(&self.answers.forward(states)?)
    }
}

/// A linear map of the pooled vector.
#[derive(Clone, Debug)]
pub struct PooledHead {
    pooler: BertPooler,
    labels: Linear,
}

impl PooledHead {
    fn load(source: &Source<'_>, cls: &Weights, labels: usize) -> Result<Self> {
        Ok(Self {
            pooler: BertPooler::load(source.body, &source.spec)?,
            labels: Linear::load(cls, source.spec.width, labels)?,
        })
    }

    /// `sequence` `[B, S, width]`; returns `[B, labels]`.
    pub fn forward(&self, sequence: &Tensor) -> Result<Tensor> {
        as_f32(&self.labels.forward(&self.pooler.forward(sequence)?)?)
    }
}

/// Attention of words to regions, of which only the scores are used, so that it is no [`sightline_nn::Attention`].
#[derive(Clone, Debug)]
pub struct PhraseHead {
    query: Linear,
    key: Linear,
    width: usize,
}

impl PhraseHead {
    fn load(attention: &Weights, spec: &BertSpec) -> Result<Self> {
        // One head, as wide as one of the encoder's.
        let width = spec.width / spec.heads.max(1);
        let part = |name| Linear::load(&attention.scope(name), spec.width, width);
        Ok(Self {
            query: part("query")?,
            key: part("key")?,
            width,
        })
    }

    /// `q · k / sqrt(width)` of the words at `positions`, `B` rows of `P`, and the regions, which begin at position
    /// `words` of `sequence` `[B, S, width]`. `present` `[B, R]` is 0 for padding, whose scores are near the most
    /// negative float. Returns `[B, P, R]`.
    pub fn scores(
        &self,
        sequence: &Tensor,
        words: usize,
        positions: &[Vec<u32>],
        present: &Tensor,
    ) -> Result<Tensor> {
        let (batch, len, _) = sequence.dims3()?;
        let phrases = positions.first().map_or(0, Vec::len);
        let is_inside = |row: &Vec<u32>| {
            row.len() == phrases && row.iter().all(|&position| (position as usize) < len)
        };
        let regions = len.saturating_sub(words);
        if positions.len() != batch
            || !positions.iter().all(is_inside)
            || present.dims() != [batch, regions]
        {
            return Err(sightline_nn::Error::Shape {
                what: "the list of phrases' positions",
                found: positions.iter().map(Vec::len).collect(),
                wanted: format!(
                    "{batch} equally long rows of numbers below {len}, beside a mask [{batch}, {regions}]"
                ),
            }
            .into());
        }
        let mut rows = Vec::with_capacity(batch * phrases);
        for (row, positions) in positions.iter().enumerate() {
            let first = (row * len) as u32;
            rows.extend(positions.iter().map(|position| first + position));
        }
        let rows = Tensor::from_vec(rows, batch * phrases, sequence.device())?;
        let chosen = sequence.flatten(0, 1)?.index_select(&rows, 0)?;
        let queries = self.query.forward(&chosen)?.reshape((batch, phrases, ()))?;
        let keys = self
            .key
            .forward(&sequence.narrow(1, words, regions)?.contiguous()?)?;
        let scores = queries.matmul(&keys.t()?)?;
        let scaled = (scores.to_dtype(DType::F32)? / (self.width as f64).sqrt())?;
        let mask = ((present - 1.0)? * f64::from(f32::MAX))?.unsqueeze(D::Minus2)?;
        Ok(scaled.broadcast_add(&mask)?)
    }

    /// [`Self::scores`] `[B, P, R]` as shares that sum to 1 over the regions `present` `[B, R]`; 0 for padding, and
    /// everywhere in an image without regions.
    pub fn shares(scores: &Tensor, present: &Tensor) -> Result<Tensor> {
        let largest = scores.max_keepdim(D::Minus1)?;
        let powers = scores.broadcast_sub(&largest)?.exp()?;
        let shares = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
        Ok(shares.broadcast_mul(&present.unsqueeze(D::Minus2)?)?)
    }
}

/// Logits, whatever the type of the model's tensors.
fn as_f32(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.to_dtype(DType::F32)?)
}
