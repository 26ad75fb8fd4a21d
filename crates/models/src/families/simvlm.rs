//! `SimVLM`: one transformer that reads an image and a prefix of a text both ways and writes the rest (Wang et al. 2021,
//! arXiv 2108.10904).
//!
//! There are no published weights. The architecture is the paper's; what it leaves open is this project's choice
//! ([`config`] and `docs/models/simvlm.md` say which is which), and so are the names of tensors:
//!
//! | names | part |
//! | --- | --- |
//! | `stem.*` (torchvision's), `patch_proj`, or `patch_conv` | pixels to cells |
//! | `pos_image`, `pos_text`, `embed` | positions and tokens |
//! | `encoder.N.{ln1, attn.{q, k, v, o}, attn.rel_bias, ln2, fc1, fc2}`, `encoder_norm` | the prefix |
//! | `decoder.N.{ln1, attn, ln_x, cross, ln2, fc1, fc2}`, `decoder_norm` | the rest; without `cross` and with `rel_bias` in a `decoder_only` model |
//! | `lm_head.weight` if it is not tied, `answer_head` | outputs |
//!
//! A prompt is at most one image and texts, in any order: the image's cells always stand before the text. It is the
//! prefix; a text such as `A picture of` makes a captioner of a model that was only pretrained. Answers of a head are
//! read at the last token of the question, which the *decoder* reads behind the image (section 4.1).

mod body;
pub mod config;
pub mod image;
mod objective;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_core::image_spec::{CropRounding, Filter, Fit, Reference, Rescale, Size};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::decode::{self, Hypothesis, LengthBeam, Network, Search};
use sightline_nn::{Embedding, Linear, Weights, at_places};
use sightline_text::{PairTokenizer, SentencePiece, WordHash};

pub use config::{DecoderPositions, PrefixPolicy, SimVlmConfig, StemKind, Variant};
pub use image::{Cells, Grid, ImageCells, RelativeBias};

pub(crate) use self::objective::TRAINABLE;

use self::body::{Body, Seen};
use crate::folder::{self, CONFIG};
use crate::generate::{self, Strategies};
use crate::loss::{self, told};
use crate::objective::filled;
use crate::score::log_probabilities_of;
use crate::{
    Capability, Classify, Decoding, Error, Family, Generate, Generated, Model, ModelSpec, Prompt,
    Result, Score, Segment, Strategy, TokenizerChoice, Visual, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "simvlm",
    paper: "https://arxiv.org/abs/2108.10904",
    capabilities: &[
        Capability::Classify,
        Capability::Generate,
        Capability::Score,
        Capability::Answer,
    ],
    needs_checkpoint: true,
    files: |spec| {
        let tokenizer = |folder: &Path| Ok(vec![SentencePiece::file(folder)?]);
        folder::files(spec, spec.folder(FAMILY.name)?, tokenizer)
    },
    offers: |spec| {
        let config = SimVlmConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        let all = FAMILY.capabilities;
        Ok(if config.n_answers.is_some() {
            all
        } else {
            &all[1..]
        })
    },
    input: |spec| {
        let config = SimVlmConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(VisualSpec::Pixels(input(&config)))
    },
    load: |spec, device| Ok(Box::new(SimVlm::load(spec, device)?)),
};

/// The most tokens that are written if nobody says how many: those of a caption.
const MOST_TOKENS: usize = 32;

/// A `SimVLM` model.
pub struct SimVlm {
    config: SimVlmConfig,
    cells: ImageCells,
    words: Embedding,
    positions: Embedding,
    body: Body,
    output: Linear,
    /// The head, and names of its labels.
    answers: Option<(Linear, Vec<String>)>,
    /// `None`: ids are hashes of words, and are written as numbers.
    pieces: Option<Arc<SentencePiece>>,
    input: VisualSpec,
    device: Device,
}

/// Prefixes that are read together: all with an image or all without, their texts of one length.
#[derive(Clone, Copy)]
pub struct Prefix<'a> {
    /// The cells of an image for each row.
    pub cells: Option<&'a Cells>,
    /// The ids of a text for each row, all of the same length, which may be 0 beside an image.
    pub ids: &'a [Vec<u32>],
}

/// Texts that are being written.
struct Writing<'m> {
    model: &'m SimVlm,
    seen: Seen,
    position: usize,
}

impl SimVlm {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) texts are hashes of words, and
    /// what is written are ids.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = SimVlmConfig::read(&folder.join(CONFIG))?;
        let pieces = read_pieces(folder, &config, spec.tokenizer)?;
        let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
        let model = Self::assemble(config, &weights, pieces, device);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A model of the given form with random weights, which writes ids, for measuring speed. `config` MUST be one
    /// that [`SimVlmConfig::read`] accepts.
    pub fn random(config: SimVlmConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::assemble(config, &Weights::random(seed, device), None, device)
    }

    fn assemble(
        config: SimVlmConfig,
        weights: &Weights,
        pieces: Option<Arc<SentencePiece>>,
        device: &Device,
    ) -> Result<Self> {
        let width = config.d_model;
        let words = Embedding::load(&weights.scope("embed"), config.vocab_size, width)?;
        let head = weights.scope("lm_head");
        let output = if config.tie_embeddings {
            head.disregard("weight");
            Linear::new(words.table(), None)?
        } else {
            Linear::load_without_bias(&head, width, config.vocab_size)?
        };
        let answer = |labels: Vec<String>| -> Result<_> {
            let input = config.answer_images * width;
            let head = Linear::load(&weights.scope("answer_head"), input, labels.len())?;
            Ok((head, labels))
        };
        let side = image::trained_side(weights, &config);
        Ok(Self {
            cells: ImageCells::load(weights, &config)?,
            positions: Embedding::load(&weights.scope("pos_text"), config.max_text_len, width)?,
            body: Body::load(weights, &config, side)?,
            answers: config.labels().map(answer).transpose()?,
            output,
            words,
            pieces,
            input: VisualSpec::Pixels(input(&config)),
            device: device.clone(),
            config,
        })
    }

    /// The model's form.
    pub fn config(&self) -> &SimVlmConfig {
        &self.config
    }

    /// The cells of `pixels` `[B, 3, H, W]`, normalised, of any size of at least one cell.
    pub fn cells(&self, pixels: &Tensor) -> Result<Cells> {
        self.cells.forward(pixels)
    }

    /// Logits of what comes next, `[B, T, V]`, at each of the `T` tokens of `ids` `[B, T]` behind prefixes.
    pub fn logits(&self, prefix: Prefix<'_>, ids: &[Vec<u32>]) -> Result<Tensor> {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        self.logits_of_filled(prefix, ids, &lengths)
    }

    /// As [`Self::logits`], of rows that are filled up behind their first `lengths[b]` tokens. Nobody looks at what
    /// fills them up, which has logits of its own that mean nothing.
    pub fn logits_of_filled(
        &self,
        prefix: Prefix<'_>,
        ids: &[Vec<u32>],
        lengths: &[usize],
    ) -> Result<Tensor> {
        let hidden = self.hidden(prefix, ids, lengths)?;
        Ok(self.output.forward(&hidden)?.to_dtype(DType::F32)?)
    }

    /// The states `[B, T, width]` that [`Self::logits_of_filled`] are made of.
    pub fn hidden(
        &self,
        prefix: Prefix<'_>,
        ids: &[Vec<u32>],
        lengths: &[usize],
    ) -> Result<Tensor> {
        let start = self.start(prefix);
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        self.check_context(start + longest)?;
        let read = self.read(prefix)?;
        let embedded = self.embed(ids, start)?;
        Ok(self.body.write_all(&embedded, read, lengths, None)?)
    }

    /// The states `[B, T, width]` behind prefixes of any lengths, at what [`Self::shifted`] makes of `targets`, and these
    /// rows. `cells` are of an image for each row.
    fn hidden_of_texts(
        &self,
        cells: Option<&Cells>,
        prefixes: &[Vec<u32>],
        targets: &[Vec<u32>],
    ) -> Result<(Tensor, Vec<Vec<u32>>)> {
        let lengths: Vec<usize> = targets.iter().map(Vec::len).collect();
        let shifted = self.shifted(targets);
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let of_prefix = prefixes.iter().map(Vec::len).max().unwrap_or(0);
        self.check_context(of_prefix + longest)?;
        let (filled, present) = filled(prefixes, self.config.pad_id);
        let text = (of_prefix > 0)
            .then(|| self.embed(&filled, 0))
            .transpose()?;
        let sequence = join(cells, text, prefixes.len())?;
        let grid = cells.map(|cells| cells.grid);
        let before = grid.map_or(0, |(rows, columns)| rows * columns);
        let is_even = present.iter().flatten().all(|&there| there != 0);
        let present: Option<Vec<Vec<u8>>> = (!is_even).then(|| {
            let row = |row: &Vec<u8>| [vec![1; before], row.clone()].concat();
            present.iter().map(row).collect()
        });
        let present = present.as_deref();
        let read = self.body.read(sequence, grid, present)?;

        let words = self.words.forward(&shifted)?;
        let positions = |row: &Vec<u32>| {
            let start = match self.config.decoder_positions {
                DecoderPositions::Continue => row.len(),
                DecoderPositions::Zero => 0,
            };
            (start as u32..).take(longest).collect()
        };
        let positions: Vec<Vec<u32>> = prefixes.iter().map(positions).collect();
        let embedded = (words + self.positions.rows("position", &positions)?)?;
        let hidden = self.body.write_all(&embedded, read, &lengths, present)?;
        Ok((hidden, shifted))
    }

    /// The loss of `PrefixLM` (equation 2 of the paper), the mean cross entropy of the tokens of `targets` behind their
    /// prefixes, and of how many. `cells` are of an image for each row.
    pub fn prefix_loss(
        &self,
        cells: Option<&Cells>,
        prefixes: &[Vec<u32>],
        targets: &[Vec<u32>],
    ) -> Result<(Tensor, usize)> {
        let (hidden, shifted) = self.hidden_of_texts(cells, prefixes, targets)?;
        let labels = targets.iter().zip(&shifted).flat_map(|(target, row)| {
            let told = target.iter().copied().map(Some);
            told.chain(std::iter::repeat(None)).take(row.len())
        });
        let labels: Vec<Option<u32>> = labels.collect();
        let states = hidden.flatten_to(1)?;
        let (states, labels) = told(&states, &labels)?;
        loss::cross_entropy(&self.output.forward(&states)?, &labels)
    }

    /// Writes behind each row of the prefixes by a search each; returns what they found, the best first.
    pub fn search<S: Search>(
        &self,
        prefix: Prefix<'_>,
        searches: Vec<S>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let (seen, _) = self.read(prefix)?;
        let mut writing = Writing {
            model: self,
            seen,
            position: self.start(prefix),
        };
        let first = writing.step(&vec![self.config.bos_id; prefix.ids.len()])?;
        Ok(decode::run(&mut writing, &first, searches)?)
    }

    /// The beam search of Hugging Face's programs with sums divided by `length ^ length_penalty`.
    pub fn beam(&self, width: usize, max_tokens: usize, length_penalty: f64) -> LengthBeam {
        LengthBeam::new(width, &[self.config.eos_id], max_tokens).length_penalty(length_penalty)
    }

    /// The logarithm of the probability of each token of each row of `ids` behind prefixes.
    pub fn log_probabilities(&self, prefix: Prefix<'_>, ids: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let logits = self.logits(prefix, &self.shifted(ids))?;
        let of_row = |(b, row): (usize, &Vec<u32>)| {
            Ok(log_probabilities_of(&logits.get(b)?.to_vec2()?, row))
        };
        ids.iter().enumerate().map(of_row).collect()
    }

    /// What the decoder reads of texts that it is to write: the start token and all tokens but the last, filled up.
    pub fn shifted(&self, ids: &[Vec<u32>]) -> Vec<Vec<u32>> {
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        let row = |row: &Vec<u32>| {
            let before = row.split_last().map_or(&[][..], |(_, before)| before);
            let mut shifted = vec![self.config.bos_id];
            shifted.extend(before);
            shifted.resize(longest, self.config.pad_id);
            shifted
        };
        ids.iter().map(row).collect()
    }

    /// Logits `[B, labels]` of the answer head for a question about each of `B` images, or pairs of images;
    /// `images` has the cells of the first ones, then of the second ones. Questions MUST NOT be empty.
    pub fn answer_logits(&self, images: &[Cells], questions: &[Vec<u32>]) -> Result<Tensor> {
        let Some((head, _)) = &self.answers else {
            return Err(Error::Head {
                capability: Capability::Classify.name(),
            });
        };
        let longest = questions.iter().map(Vec::len).max().unwrap_or(0);
        let filled = |row: &Vec<u32>| {
            let mut row = row.clone();
            row.resize(longest, self.config.pad_id);
            row
        };
        let rows: Vec<Vec<u32>> = questions.iter().map(filled).collect();
        let last = |row: &Vec<u32>| row.len().saturating_sub(1);
        let places: Vec<usize> = questions.iter().map(last).collect();
        let no_text = vec![Vec::new(); rows.len()];
        let lengths: Vec<usize> = questions.iter().map(Vec::len).collect();
        let mut read = Vec::new();
        for cells in images {
            let prefix = Prefix {
                cells: Some(cells),
                ids: &no_text,
            };
            read.push(at_places(&self.hidden(prefix, &rows, &lengths)?, &places)?);
        }
        let logits = head.forward(&Tensor::cat(&read, 1)?)?;
        Ok(logits.to_dtype(DType::F32)?)
    }

    /// Position of the first token behind a prefix.
    fn start(&self, prefix: Prefix<'_>) -> usize {
        match self.config.decoder_positions {
            DecoderPositions::Continue => prefix.ids.first().map_or(0, Vec::len),
            DecoderPositions::Zero => 0,
        }
    }

    /// `ids` `[B, T]`, the first one at position `start`, as vectors `[B, T, width]`.
    fn embed(&self, ids: &[Vec<u32>], start: usize) -> sightline_nn::Result<Tensor> {
        let words = self.words.forward(ids)?;
        let len = words.dim(1)?;
        let positions = self.positions.first(start + len)?.narrow(0, start, len)?;
        Ok(words.broadcast_add(&positions)?)
    }

    fn read(&self, prefix: Prefix<'_>) -> Result<(Seen, Tensor)> {
        let has_text = prefix.ids.first().is_some_and(|row| !row.is_empty());
        let text = has_text.then(|| self.embed(prefix.ids, 0)).transpose()?;
        let sequence = join(prefix.cells, text, prefix.ids.len())?;
        let grid = prefix.cells.map(|cells| cells.grid);
        self.body.read(sequence, grid, None)
    }

    fn check_context(&self, tokens: usize) -> Result<()> {
        let limit = self.config.max_text_len;
        if tokens > limit {
            return Err(Error::Context {
                what: "the prompt with what is to be written",
                tokens,
                limit,
            });
        }
        Ok(())
    }

    /// The ids of a text, without start and end. Without a vocabulary they are hashes of words.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(pieces) = &self.pieces {
            return Ok(pieces.encode(text));
        }
        let config = &self.config;
        let hash = WordHash::new(config.vocab_size, config.bos_id, config.eos_id)?;
        Ok(hash.pieces(text)?)
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        let end = self.config.eos_id;
        let ids: Vec<u32> = ids.iter().copied().filter(|&id| id != end).collect();
        match &self.pieces {
            Some(pieces) => Ok(pieces.decode(&ids)?),
            None => Ok(generate::numbers(&ids)),
        }
    }

    /// The image of a prompt and the ids of its texts.
    fn prompt(&self, prompt: &Prompt<'_>, images: usize) -> Result<(Option<u32>, Vec<u32>)> {
        let (mut image, mut texts) = (None, Vec::new());
        for segment in prompt.segments {
            match *segment {
                Segment::Image(number) if image.is_none() && number < images => {
                    image = Some(number as u32);
                }
                Segment::Image(_) => return Err(empty_prompt()),
                Segment::Text(text) => texts.push(text),
            }
        }
        let ids = self.ids(&texts.join(" "))?;
        if image.is_none() && ids.is_empty() {
            return Err(empty_prompt());
        }
        Ok((image, ids))
    }
}

/// Cells and behind them texts, as one sequence for each of `rows`.
fn join(cells: Option<&Cells>, text: Option<Tensor>, rows: usize) -> Result<Tensor> {
    let sequence = match (cells, text) {
        (Some(cells), Some(text)) => Tensor::cat(&[&cells.tokens, &text], 1)?,
        (Some(cells), None) => cells.tokens.clone(),
        (None, Some(text)) => text,
        (None, None) => return Err(empty_prompt()),
    };
    let found = sequence.dim(0)?;
    if found != rows {
        return Err(Error::Count {
            what: "images",
            found,
            wanted: rows,
        });
    }
    Ok(sequence)
}

/// `None` if ids are hashes of words.
fn read_pieces(
    folder: &Path,
    config: &SimVlmConfig,
    choice: TokenizerChoice,
) -> Result<Option<Arc<SentencePiece>>> {
    if choice != TokenizerChoice::Checkpoint {
        return Ok(None);
    }
    let pieces = SentencePiece::from_file(&SentencePiece::file(folder)?)?;
    folder::check_vocabulary(folder, pieces.vocabulary_size(), config.vocab_size)?;
    Ok(Some(Arc::new(pieces)))
}

fn empty_prompt() -> Error {
    Error::Prompt {
        wanted: "at most one of the images and texts, and one of both at least",
    }
}

impl Network for Writing<'_> {
    fn step(&mut self, tokens: &[u32]) -> sightline_nn::Result<Tensor> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        let embedded = self.model.embed(&ids, self.position)?;
        self.position += 1;
        let state = self.model.body.write(&embedded, &mut self.seen)?;
        self.model.output.forward(&state.squeeze(1)?)
    }

    fn select(&mut self, parents: &[usize]) -> sightline_nn::Result<()> {
        self.seen.select(parents)
    }
}

impl Model for SimVlm {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn classify(&self) -> Option<&dyn Classify> {
        self.answers.is_some().then_some(self)
    }

    fn generate(&self) -> Option<&dyn Generate> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Classify for SimVlm {
    fn labels(&self) -> &[String] {
        self.answers.as_ref().map_or(&[], |(_, labels)| labels)
    }

    fn images(&self) -> usize {
        self.config.answer_images
    }

    /// A text longer than the context is cut; of one without a token the start token is read.
    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor> {
        let (found, wanted) = (images.len(), self.images());
        if found != wanted {
            return Err(Error::Count {
                what: "images to a text",
                found,
                wanted,
            });
        }
        let question = |text: &&str| {
            let mut ids = self.ids(text)?;
            ids.truncate(self.config.max_text_len);
            if ids.is_empty() {
                ids.push(self.config.bos_id);
            }
            Ok(ids)
        };
        let questions = texts.iter().map(question).collect::<Result<Vec<_>>>()?;
        if questions.is_empty() {
            let shape = (0, self.labels().len());
            return Ok(Tensor::zeros(shape, DType::F32, &self.device)?);
        }
        let cells = |images: &Visual| self.cells(images.pixels()?);
        let cells = images.iter().map(cells).collect::<Result<Vec<_>>>()?;
        self.answer_logits(&cells, &questions)
    }
}

impl Score for SimVlm {
    /// The image alone is the prefix.
    fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let (pixels, count) = (images.pixels()?, images.batch()?);
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        if count != texts.len() {
            return Err(Error::Count {
                what: "texts",
                found: texts.len(),
                wanted: count,
            });
        }
        let ended = |text: &&str| {
            let mut ids = self.ids(text)?;
            ids.push(self.config.eos_id);
            ids.truncate(self.config.max_text_len);
            Ok(ids)
        };
        let ids = texts.iter().map(ended).collect::<Result<Vec<_>>>()?;
        let cells = self.cells(pixels)?;
        let prefix = Prefix {
            cells: Some(&cells),
            ids: &vec![Vec::new(); ids.len()],
        };
        self.log_probabilities(prefix, &ids)
    }
}

impl Generate for SimVlm {
    /// The paper does not say how it decodes; greedy search is this project's choice.
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Greedy,
            max_tokens: None,
        }
    }

    /// A prompt and the tokens that may follow it MUST fit into the context.
    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let (pixels, count) = (images.pixels()?, images.batch()?);
        let read = prompts
            .iter()
            .map(|prompt| self.prompt(prompt, count))
            .collect::<Result<Vec<_>>>()?;
        let strategies = Strategies::new(decoding, self.config.eos_id)?;
        let mut limits = Vec::new();
        for (_, ids) in &read {
            let before = match self.config.decoder_positions {
                DecoderPositions::Continue => ids.len(),
                DecoderPositions::Zero => 0,
            };
            let room = self.config.max_text_len.saturating_sub(before);
            let wanted = decoding.max_tokens.unwrap_or(MOST_TOKENS.min(room)).max(1);
            self.check_context(ids.len().max(before + wanted))?;
            limits.push(wanted);
        }
        if read.is_empty() {
            return Ok(Vec::new());
        }

        let needs_images = read.iter().any(|(image, _)| image.is_some());
        let cells = needs_images.then(|| self.cells(pixels)).transpose()?;
        let mut written: Vec<Option<Generated>> = vec![None; read.len()];
        let form = |number: usize| (read[number].0.is_some(), read[number].1.len());
        let mut order: Vec<usize> = (0..read.len()).collect();
        order.sort_by_key(|&number| form(number));
        // Prompts of one form are read together, so that nothing has to be filled up.
        for group in order.chunk_by(|&a, &b| form(a) == form(b)) {
            let ids: Vec<Vec<u32>> = group.iter().map(|&i| read[i].1.clone()).collect();
            let images: Vec<u32> = group.iter().filter_map(|&i| read[i].0).collect();
            let cells = cells.as_ref().filter(|_| !images.is_empty());
            let cells = cells.map(|cells| cells.select(&images)).transpose()?;
            let prefix = Prefix {
                cells: cells.as_ref(),
                ids: &ids,
            };
            let each = group
                .iter()
                .map(|&i| (limits[i], prompts[i].seed))
                .collect();
            let found = strategies.run(
                each,
                |width, limit| self.beam(width, limit, 1.0),
                |searches| self.search(prefix, searches),
            )?;
            for (&number, best) in group.iter().zip(found) {
                written[number] = Some(Generated {
                    text: self.text(&best.ids)?,
                    tokens: best.ids,
                    score: best.score,
                });
            }
        }
        // Every prompt is in one of the groups.
        Ok(written.into_iter().flatten().collect())
    }
}

/// This project's choice: the short side to the image's size by Pillow's bicubic filter, the centre, values from -1 to 1.
fn input(config: &SimVlmConfig) -> ImageSpec {
    let edge = config.image_size as u32;
    let fit = Fit::ShortestEdge {
        edge,
        crop: CropRounding::Floor,
    };
    ImageSpec {
        upright: true,
        rescale: Rescale::Factor {
            factor: 1.0 / 255.0,
            offset: false,
        },
        mean: [0.5; 3],
        std: [0.5; 3],
        ..ImageSpec::new(
            Size::square(edge),
            fit,
            Filter::Bicubic,
            Reference::Pillow13,
        )
    }
}
