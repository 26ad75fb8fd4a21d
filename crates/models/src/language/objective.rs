//! What language models are trained for by themselves: the next token, and states that are unlike each other (`SimCTG`, Su
//! et al. 2022, arXiv 2202.06417), which MAGIC's search wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::{CausalTransformer, Weights, unit_length};
use sightline_text::{Gpt2Tokenizer, PairTokenizer, WordHash};

use super::{LanguageConfig, LanguageModel};
use crate::check::Check;
use crate::folder::{CONFIG, check_vocabulary};
use crate::loss::{cross_entropy, told};
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    TrainingExample, filled, found, options,
};
use crate::{Result, TokenizerChoice, VisualSpec};

/// The registry's entry of language models alone.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: "language",
    objectives: &[
        ObjectiveEntry {
            name: NEXT_TOKEN,
            about: "the next token of captions, perhaps behind random vectors",
            asks: false,
            open: |spec| Ok(Box::new(NextToken::open(spec)?)),
        },
        ObjectiveEntry {
            name: TOKEN_CONTRASTIVE,
            about: "the next token, and states that are unlike each other",
            asks: false,
            open: |spec| Ok(Box::new(TokenContrastive::of_folder(spec)?)),
        },
    ],
};

const NEXT_TOKEN: &str = "next-token";
pub(crate) const TOKEN_CONTRASTIVE: &str = "token-contrastive";

/// The mean cross entropy of the next tokens of whole texts `rows`, `B` rows of one length, and of how many; and the mean
/// over pairs of different positions of a text of `max(0, margin - 1 + cos)` of their states (equation 2 of `SimCTG`).
/// `padding` counts for neither.
pub fn token_contrastive(
    network: &CausalTransformer,
    rows: &[Vec<u32>],
    padding: u32,
    margin: f32,
) -> Result<((Tensor, usize), Tensor)> {
    let inputs: Vec<&[u32]> = rows
        .iter()
        .map(|row| &row[..row.len().saturating_sub(1)])
        .collect();
    // What fills rows up stands behind them, where nobody looks; it need not be a token.
    let read = |row: &&[u32]| {
        row.iter()
            .map(|&id| if id == padding { 0 } else { id })
            .collect()
    };
    let read: Vec<Vec<u32>> = inputs.iter().map(read).collect();
    let hidden = network.forward(&network.embed(&read)?, None)?;
    let next = rows.iter().flat_map(|row| row.iter().skip(1));
    let labels: Vec<Option<u32>> = next.map(|&id| (id != padding).then_some(id)).collect();
    let (states, labels) = told(&hidden.flatten_to(1)?, &labels)?;
    let likelihood = cross_entropy(&network.logits(&states)?, &labels)?;

    let (batch, len, _) = hidden.dims3()?;
    let is_there = |id: u32| id != padding;
    let pairs = inputs.iter().flat_map(|row| {
        let pair = move |i: usize, j: usize| i != j && is_there(row[i]) && is_there(row[j]);
        (0..len).flat_map(move |i| (0..len).map(move |j| f32::from(pair(i, j))))
    });
    let pairs: Vec<f32> = pairs.collect();
    let count: f32 = pairs.iter().sum();
    let pairs = Tensor::from_vec(pairs, (batch, len, len), hidden.device())?;
    let states = unit_length(&hidden)?;
    let cosines = states.matmul(&states.transpose(1, 2)?.contiguous()?)?;
    let near = (cosines + f64::from(margin - 1.0))?.relu()?;
    let contrast = ((near * pairs)?.sum_all()? / f64::from(count))?;
    Ok((likelihood, contrast))
}

/// A language model's folder, or files.
struct Base {
    config: LanguageConfig,
    /// `None`: ids are hashes of words.
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    weights: PathBuf,
    /// What stands behind a text.
    end: u32,
}

impl Base {
    fn open(
        config: &Path,
        weights: &Path,
        vocabulary: &Path,
        choice: TokenizerChoice,
    ) -> Result<Self> {
        let read = LanguageConfig::read(config)?;
        let rows = read.spec.vocabulary_size;
        let tokenizer = match choice {
            TokenizerChoice::Checkpoint => {
                let tokenizer = Gpt2Tokenizer::from_folder(vocabulary)?;
                check_vocabulary(vocabulary, tokenizer.vocabulary_size(), rows)?;
                Some(Arc::new(tokenizer))
            }
            TokenizerChoice::WordHash => None,
        };
        let end = read.eos.first().copied();
        let check = Check::new(config);
        let end = end.ok_or_else(|| check.wrong("eos_token_id", &"absent", "a token"))?;
        check.range("eos_token_id", end as usize, 0, rows.saturating_sub(1))?;
        Ok(Self {
            config: read,
            tokenizer,
            weights: weights.to_owned(),
            end,
        })
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(tokenizer) = &self.tokenizer {
            return Ok(tokenizer.encode(text)?);
        }
        let rows = self.config.spec.vocabulary_size;
        let start = u32::from(self.end == 0);
        Ok(WordHash::new(rows, start, self.end)?.pieces(text)?)
    }

    /// The captions with the token `start` before and `end` behind them, cut to `most` tokens.
    fn framed(
        &self,
        captions: Vec<&str>,
        start: Option<u32>,
        end: u32,
        most: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let framed = |caption: &str| {
            let mut ids: Vec<u32> = start.into_iter().collect();
            ids.extend(self.ids(caption)?);
            ids.truncate(most.saturating_sub(1));
            ids.push(end);
            Ok(ids)
        };
        captions.into_iter().map(framed).collect()
    }

    fn model(&self, weights: &Weights) -> Result<LanguageModel> {
        LanguageModel::load(self.config.clone(), weights)
    }

    /// A file or a folder, perhaps one that is not there yet.
    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        if !self.weights.exists() {
            return Ok(Vec::new());
        }
        found(Weights::open(&self.weights, device))
    }
}

/// Settings of [`NextToken`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Whether the model's start token stands before a text, if it has one.
    start: bool,
    /// The most random vectors that stand before a text; how many is drawn for each. A model that images are put before
    /// later then has seen that something may stand there.
    vectors: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: true,
            vectors: 0,
        }
    }
}

struct NextToken {
    base: Base,
    settings: Settings,
    device: Device,
}

impl NextToken {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder("language")?;
        let choice = spec.model.tokenizer;
        Ok(Self {
            base: Base::open(&folder.join(CONFIG), folder, folder, choice)?,
            settings: options(NEXT_TOKEN, spec)?,
            device: spec.device.clone(),
        })
    }

    /// Vectors that stand before the text of `example`, as large as those of tokens are on average: `deviation`.
    fn vectors(&self, example: &TrainingExample, seed: Seed, deviation: f64) -> Vec<Vec<f32>> {
        let mut rng = example.seed(seed).child("vectors", 0).rng();
        let count = rng.below(self.settings.vectors as u64 + 1);
        let width = self.base.config.spec.embedding_width;
        let mut vector = || {
            (0..width)
                .map(|_| (rng.normal() * deviation) as f32)
                .collect()
        };
        (0..count).map(|_| vector()).collect()
    }
}

impl Objective for NextToken {
    fn name(&self) -> &'static str {
        NEXT_TOKEN
    }

    fn needs(&self) -> &[Need] {
        &[Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        None
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn settings(&self) -> Value {
        json!(self.settings)
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.base.stored(device)
    }

    /// That of GPT-2.
    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.base.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, seed: Seed) -> Result<Loss> {
        let model = self.base.model(weights)?;
        let (network, spec) = (model.transformer(), &self.base.config.spec);
        let start = self.base.config.bos.filter(|_| self.settings.start);
        let most = spec.context.saturating_sub(self.settings.vectors).max(2);
        let captions = batch.captions(NEXT_TOKEN)?;
        let rows = self.base.framed(captions, start, self.base.end, most)?;

        let mut before = vec![Vec::new(); rows.len()];
        if self.settings.vectors > 0 {
            let table = network.embed(&[(0..spec.vocabulary_size as u32).collect()])?;
            let square = table.detach().to_dtype(DType::F32)?.sqr()?.mean_all()?;
            let deviation = f64::from(square.to_scalar::<f32>()?).sqrt();
            for (example, before) in batch.examples.iter().zip(&mut before) {
                *before = self.vectors(example, seed, deviation);
            }
        }
        let shifted: Vec<Vec<u32>> = rows
            .iter()
            .zip(&before)
            .map(|(ids, before)| [&vec![0; before.len()][..], ids].concat())
            .collect();
        let (ids, present) = filled(&shifted, self.base.end);
        let mut embeds = network.embed(&ids)?;
        let (count, len, width) = embeds.dims3()?;
        if self.settings.vectors > 0 {
            let (mut noise, mut keep) = (Vec::new(), Vec::new());
            for before in &before {
                noise.extend(before.iter().flatten().copied());
                noise.resize(noise.len() + (len - before.len()) * width, 0.0);
                keep.extend((0..len).map(|t| f32::from(t >= before.len())));
            }
            let noise = Tensor::from_vec(noise, (count, len, width), &self.device)?;
            let keep = Tensor::from_vec(keep, (count, len, 1), &self.device)?;
            embeds = (embeds.broadcast_mul(&keep)? + noise)?;
        }
        let labels = ids.iter().zip(&present).zip(&before);
        let labels: Vec<Option<u32>> = labels
            .flat_map(|((ids, present), before)| {
                let first = before.len();
                let next = move |t: usize| {
                    let is_told = t >= first && present.get(t) == Some(&1);
                    is_told.then(|| ids[t])
                };
                (1..=len).map(next)
            })
            .collect();
        // Nobody looks at what fills rows up: it stands behind them.
        let hidden = network.forward(&embeds, None)?;
        let (states, labels) = told(&hidden.flatten_to(1)?, &labels)?;
        let (loss, tokens) = cross_entropy(&network.logits(&states)?, &labels)?;
        Ok(Loss::of(NEXT_TOKEN, loss, tokens))
    }
}

/// [`token_contrastive`] of captions.
pub(crate) struct TokenContrastive {
    base: Base,
    marks: Marks,
    margin: f32,
    file: &'static str,
}

/// Tokens that are no words.
pub(crate) struct Marks {
    pub(crate) start: Option<u32>,
    pub(crate) end: u32,
    pub(crate) pad: u32,
}

/// Where a language model is that is part of another model.
pub(crate) struct Place<'a> {
    pub(crate) config: &'a Path,
    pub(crate) weights: &'a Path,
    pub(crate) vocabulary: &'a Path,
    /// The file of its tensors, counted from the other model's folder.
    pub(crate) file: &'static str,
}

/// Settings of [`TokenContrastive`] for a model alone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContrastiveSettings {
    /// How unlike states are to be: 1 less their largest cosine.
    margin: f32,
    /// What fills texts up; a token that stands in no text. The end token when absent, whose second one in a row then counts
    /// for nothing.
    pad: Option<u32>,
}

impl Default for ContrastiveSettings {
    fn default() -> Self {
        Self {
            margin: 0.5,
            pad: None,
        }
    }
}

impl TokenContrastive {
    fn of_folder(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder("language")?;
        let choice = spec.model.tokenizer;
        let base = Base::open(&folder.join(CONFIG), folder, folder, choice)?;
        let settings: ContrastiveSettings = options(TOKEN_CONTRASTIVE, spec)?;
        let rows = base.config.spec.vocabulary_size;
        // A number that no token has: rows are filled up behind their ends only, so that any id does.
        let pad = settings.pad.unwrap_or(rows as u32);
        Ok(Self {
            marks: Marks {
                start: base.config.bos,
                end: base.end,
                pad,
            },
            margin: settings.margin,
            file: "model.safetensors",
            base,
        })
    }

    /// Of the language model of another model.
    pub(crate) fn inside(place: &Place<'_>, marks: Marks, margin: f32) -> Result<Self> {
        // The texts that pass from one model to the other need both vocabularies.
        let choice = TokenizerChoice::Checkpoint;
        let Place {
            config,
            weights,
            vocabulary,
            file,
        } = *place;
        Ok(Self {
            base: Base::open(config, weights, vocabulary, choice)?,
            marks,
            margin,
            file,
        })
    }
}

impl Objective for TokenContrastive {
    fn name(&self) -> &'static str {
        TOKEN_CONTRASTIVE
    }

    fn needs(&self) -> &[Need] {
        &[Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        None
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn settings(&self) -> Value {
        json!({ "margin": self.margin })
    }

    fn file(&self) -> &'static str {
        self.file
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        self.base.stored(device)
    }

    /// That of GPT-2.
    fn published_dropout(&self) -> f64 {
        0.1
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.base.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.base.model(weights)?;
        let (Marks { start, end, pad }, spec) = (&self.marks, &self.base.config.spec);
        let captions = batch.captions(TOKEN_CONTRASTIVE)?;
        let rows = self.base.framed(captions, *start, *end, spec.context)?;
        let (ids, _) = filled(&rows, *pad);
        let ((likelihood, tokens), contrast) =
            token_contrastive(model.transformer(), &ids, *pad, self.margin)?;
        Ok(Loss {
            total: (&likelihood + &contrast)?,
            terms: vec![("likelihood", likelihood), ("contrast", contrast)],
            predictions: tokens,
        })
    }
}
