//! What language models are trained for by themselves: the next token, and states that are unlike each other (`SimCTG`, Su
//! et al. 2022, arXiv 2202.06417), which MAGIC's search wants.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
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
    DocumentPart, Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily,
    TrainingBatch, TrainingExample, filled, found, options,
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
    /// So many captions are a document, with a line's end between them, as prompts with demonstrations are. Each of them
    /// is told to end, as one alone is.
    texts: NonZeroUsize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start: true,
            vectors: 0,
            texts: NonZeroUsize::MIN,
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

    /// What the model reads for `example`, and what it is told.
    fn row(&self, example: &TrainingExample, seed: Seed, deviation: f64) -> Result<Row> {
        let mut rng = example.seed(seed).child("vectors", 0).rng();
        let (spec, settings) = (&self.base.config.spec, &self.settings);
        let start = self.base.config.bos.filter(|_| settings.start);
        let most = spec.context.saturating_sub(settings.vectors).max(2);
        let mut row = Row::default();
        let texts: Vec<&str> = if example.document.is_empty() {
            let caption = example.captions.first();
            vec![caption.ok_or_else(|| example.lacks(NEXT_TOKEN, "a caption"))?]
        } else {
            let texts = example.document.iter().filter_map(|part| match part {
                DocumentPart::Text(text) => Some(text.as_str()),
                DocumentPart::Image(_) => None,
            });
            texts.collect()
        };
        for (number, text) in texts.into_iter().enumerate() {
            if number > 0 {
                row.read(&self.base.ids(BETWEEN)?);
            }
            let count = match settings.vectors {
                0 => 0,
                most => rng.below(most as u64 + 1),
            };
            for _ in 0..count {
                let value = |_| (rng.normal() * deviation) as f32;
                row.see((0..spec.embedding_width).map(value).collect());
            }
            let mut ids: Vec<u32> = start.filter(|_| number == 0).into_iter().collect();
            ids.extend(self.base.ids(text)?);
            ids.truncate(most.saturating_sub(1));
            row.learn(&ids, self.base.end);
        }
        row.truncate(spec.context);
        Ok(row)
    }
}

/// What stands between the texts of a document: the end of a demonstration in prompts.
const BETWEEN: &str = "\n";

/// What a model reads, place by place, and the token that it is told to write behind each.
#[derive(Debug, Default, PartialEq)]
struct Row {
    ids: Vec<u32>,
    /// Vectors in the places of tokens.
    vectors: BTreeMap<usize, Vec<f32>>,
    told: Vec<Option<u32>>,
}

impl Row {
    /// Tokens that nobody is told to write.
    fn read(&mut self, ids: &[u32]) {
        self.ids.extend(ids);
        self.told.resize(self.ids.len(), None);
    }

    fn see(&mut self, vector: Vec<f32>) {
        self.vectors.insert(self.ids.len(), vector);
        self.read(&[0]);
    }

    /// Tokens that are told one after the other, and then `end`.
    fn learn(&mut self, ids: &[u32], end: u32) {
        if let (Some(last), Some(first)) = (self.told.last_mut(), ids.first()) {
            *last = Some(*first);
        }
        self.ids.extend(ids);
        let next = ids.iter().skip(1).copied().chain([end]);
        self.told.extend(next.take(ids.len()).map(Some));
    }

    fn truncate(&mut self, most: usize) {
        self.ids.truncate(most);
        self.told.truncate(most);
        self.vectors.retain(|place, _| *place < most);
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

    fn images_of_document(&self) -> usize {
        self.settings.texts.get()
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
        let mut deviation = 0.0;
        if self.settings.vectors > 0 {
            let table = network.embed(&[(0..spec.vocabulary_size as u32).collect()])?;
            let square = table.detach().to_dtype(DType::F32)?.sqr()?.mean_all()?;
            deviation = f64::from(square.to_scalar::<f32>()?).sqrt();
        }
        let examples = batch.examples.iter();
        let rows = examples.map(|example| self.row(example, seed, deviation));
        let rows = rows.collect::<Result<Vec<Row>>>()?;

        let ids: Vec<Vec<u32>> = rows.iter().map(|row| row.ids.clone()).collect();
        let (ids, _) = filled(&ids, self.base.end);
        let mut embeds = network.embed(&ids)?;
        let (count, len, width) = embeds.dims3()?;
        if self.settings.vectors > 0 {
            let (mut seen, mut keep) = (Vec::new(), Vec::new());
            for row in &rows {
                for place in 0..len {
                    let vector = row.vectors.get(&place);
                    keep.push(f32::from(vector.is_none()));
                    match vector {
                        Some(vector) => seen.extend_from_slice(vector),
                        None => seen.resize(seen.len() + width, 0.0),
                    }
                }
            }
            let seen = Tensor::from_vec(seen, (count, len, width), &self.device)?;
            let keep = Tensor::from_vec(keep, (count, len, 1), &self.device)?;
            embeds = (embeds.broadcast_mul(&keep)? + seen)?;
        }
        let labels: Vec<Option<u32>> = rows
            .into_iter()
            .flat_map(|mut row| {
                row.told.resize(len, None);
                row.told
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_of_a_document_is_told_to_end() {
        let mut row = Row::default();
        row.see(vec![0.5]);
        row.see(vec![0.5]);
        row.learn(&[5, 6], 9);
        row.read(&[3]);
        row.learn(&[7], 9);
        assert_eq!(row.ids, [0, 0, 5, 6, 3, 7]);
        // The line's end is told as the end; what stands before a text, its first token.
        let told = [None, Some(5), Some(6), Some(9), Some(7), Some(9)];
        assert_eq!(row.told, told);
        assert_eq!(row.vectors.keys().copied().collect::<Vec<_>>(), [0, 1]);
        row.truncate(1);
        assert_eq!(
            (row.ids.len(), row.told.len(), row.vectors.len()),
            (1, 1, 1)
        );

        let mut empty = Row::default();
        empty.learn(&[], 9);
        assert_eq!(empty, Row::default());
    }
}
