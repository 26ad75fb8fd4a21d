//! VirTex: a convolutional network learned from captions, and the transformer that wrote them (Desai and Johnson
//! 2021, arXiv 2006.06666).
//!
//! Reads checkpoints as VirTex's programs write them: one `.pth` file with the weights, alone or beside the state of
//! the training, or the same tensors as safetensors; [`config`] says where the model's form is read, and the folder's
//! only `*.model` file holds the vocabulary. Bicaptioning and captioning models write captions; masked language models
//! only fill in words.
//!
//! A caption is written from left to right by the forward decoder, for which the weights of the backward one need
//! not be read. Decoding is that of VirTex's programs ([`NodeBeam`] with two continuations of each hypothesis; no
//! token follows itself; scores are sums), and so is an oddity of theirs: behind the first token the decoder sees the
//! caption *without* its start token, the first word at the start's position. Nucleus sampling keeps the start.
//!
//! [`NodeBeam`]: sightline_nn::decode::NodeBeam

pub mod config;
mod objective;
mod textual;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_core::image_spec::{
    Colour, CropRounding, Filter, Fit, Padding, Reference, Rescale, Size,
};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::Weights;
use sightline_nn::decode::{self, Hypothesis, NodeBeam, Sampling, SamplingSpec, Search};
use sightline_nn::tower::ResNet;
use sightline_text::{Tokenizer, VirTexTokenizer, WordHash};

pub use config::{DecoderConfig, Objective, TextualConfig, VirTexConfig};
pub use textual::TextualHead;

pub(crate) use self::objective::TRAINABLE;

use crate::folder;
use crate::loss::{self, told};
use crate::score::log_probabilities_of;
use crate::{
    Capability, CheckpointFile, Decoding, Error, Family, Features, FileRole, Generate, Generated,
    Model, ModelSpec, Prompt, Result, Score, Segment, Strategy, TokenizerChoice, Visual,
    VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "virtex",
    paper: "https://arxiv.org/abs/2006.06666",
    capabilities: &[
        Capability::Features,
        Capability::Generate,
        Capability::Score,
    ],
    needs_checkpoint: true,
    files,
    offers: |spec| {
        let config = VirTexConfig::read(spec.folder(FAMILY.name)?)?;
        let writes = config.objective.writes_captions();
        Ok(if writes {
            FAMILY.capabilities
        } else {
            &[Capability::Features]
        })
    },
    input: |spec| {
        let config = VirTexConfig::read(spec.folder(FAMILY.name)?)?;
        Ok(VisualSpec::Pixels(input(config.image_size)))
    },
    load: |spec, device| Ok(Box::new(VirTex::load(spec, Parts::Captions, device)?)),
};

/// Where the network's weights begin.
const VISUAL: &str = "visual.cnn";

/// Continuations that a hypothesis proposes in VirTex's beam search.
const PER_NODE: usize = 2;

/// The widest beam; VirTex's is 5.
const WIDEST: usize = 1 << 10;

/// Which way a caption is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From its first word on.
    Forward,
    /// From its last word on.
    Backward,
}

/// Which parts of a model are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// What writing captions needs.
    Captions,
    /// The backward decoder of a bicaptioning model as well.
    All,
}

/// What the decoder sees of a caption's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing, once the first word is there: VirTex's beam search.
    Dropped,
    /// Its token, before every word.
    Kept,
}

/// A VirTex model.
pub struct VirTex {
    config: VirTexConfig,
    visual: ResNet,
    textual: TextualHead,
    /// `None`: ids are written as numbers.
    tokenizer: Option<Arc<VirTexTokenizer>>,
    input: VisualSpec,
}

/// The files of a checkpoint that [`VirTex::load`] reads.
fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let mut files: Vec<(PathBuf, FileRole)> = Vec::new();
    let mut add =
        |paths: Vec<PathBuf>, role| files.extend(paths.into_iter().map(|path| (path, role)));
    add(VirTexConfig::files(folder)?, FileRole::Config);
    add(Weights::files(folder)?, FileRole::Weights);
    if spec.tokenizer == TokenizerChoice::Checkpoint {
        add(vec![VirTexTokenizer::file(folder)?], FileRole::Tokenizer);
    }
    let file = |(path, role)| CheckpointFile { path, role };
    Ok(files.into_iter().map(file).collect())
}

impl VirTex {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) captions are ids, written as
    /// numbers.
    pub fn load(spec: &ModelSpec, parts: Parts, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = VirTexConfig::read(folder)?;
        let tokenizer = read_tokenizer(folder, &config, spec.tokenizer)?;
        let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
        let model = Self::assemble(config, &weights, parts, tokenizer);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A model of the given form with random weights, which writes ids, for measuring speed. `config` MUST be one
    /// that [`VirTexConfig::read`] accepts.
    pub fn random(config: VirTexConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::assemble(
            config,
            &Weights::random(seed, device),
            Parts::Captions,
            None,
        )
    }

    fn assemble(
        config: VirTexConfig,
        weights: &Weights,
        parts: Parts,
        tokenizer: Option<Arc<VirTexTokenizer>>,
    ) -> Result<Self> {
        Ok(Self {
            visual: ResNet::load(&weights.scope(VISUAL), &config.visual)?,
            textual: TextualHead::load(weights, &config, parts == Parts::All)?,
            tokenizer,
            input: VisualSpec::Pixels(input(config.image_size)),
            config,
        })
    }

    /// The model's form.
    pub fn config(&self) -> &VirTexConfig {
        &self.config
    }

    /// The image's side: `[B, 3, H, W]`, normalised, to the last stage's map `[B, C, h, w]`.
    pub fn visual(&self) -> &ResNet {
        &self.visual
    }

    /// The caption's side.
    pub fn textual(&self) -> &TextualHead {
        &self.textual
    }

    /// Writes a caption about each of the `B` images of `memory`, what [`TextualHead::project`] made of their grids
    /// (`[B, S, width]`), by a search each; returns what they found, the best first.
    pub fn search<S: Search>(
        &self,
        memory: &Tensor,
        searches: Vec<S>,
        start: Start,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let mut captions = self.textual.captions(memory)?;
        let starts = vec![self.config.sos_index; memory.dim(0)?];
        let first = decode::Network::step(&mut captions, &starts)?;
        if start == Start::Dropped {
            captions.forget_tokens();
        }
        Ok(decode::run(&mut captions, &first, searches)?)
    }

    /// VirTex's beam search for a caption of at most `max_tokens` tokens.
    pub fn beam(&self, width: usize, per_node: usize, max_tokens: usize) -> NodeBeam {
        NodeBeam::new(width, per_node, self.config.eos_index, max_tokens).forbid_repeats()
    }

    /// What searches that look for the likeliest caption see of its start.
    fn beam_start(&self) -> Start {
        if self.config.keep_start {
            Start::Kept
        } else {
            Start::Dropped
        }
    }

    /// VirTex's nucleus sampling.
    fn nucleus(&self, p: f32, max_tokens: usize, seed: Seed) -> Sampling {
        let spec = SamplingSpec {
            ends: vec![self.config.eos_index],
            forbids_repeats: true,
            ..SamplingSpec::nucleus(p, max_tokens)
        };
        Sampling::new(spec, seed)
    }

    /// The most tokens that `decoding` allows; more than there are positions cannot be.
    fn max_tokens(&self, decoding: &Decoding) -> Result<usize> {
        let wanted = decoding
            .max_tokens
            .unwrap_or(self.config.max_decoding_steps);
        let most = self.config.max_caption_length;
        if (1..=most).contains(&wanted) {
            return Ok(wanted);
        }
        Err(Error::Decoding {
            field: "max_tokens",
            found: wanted.to_string(),
            wanted: format!("1 to {most}"),
        })
    }

    /// The logarithm of the probability of each token behind the first of each row of `ids`, as in training: the start
    /// token stands before the caption, at the first position. Row `b` is about image `b` of `memory` `[B, S, width]`.
    pub fn log_probabilities(&self, memory: &Tensor, ids: &[Vec<u32>]) -> Result<Vec<Vec<f32>>> {
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padded = |row: &Vec<u32>| {
            let mut row = row.clone();
            row.resize(longest, self.config.unk_index);
            row
        };
        let rows: Vec<Vec<u32>> = ids.iter().map(padded).collect();
        let hidden = self
            .textual
            .hidden(Direction::Forward, &rows, &lengths, memory)?;
        let hidden = hidden.ok_or(Error::Head {
            capability: Capability::Score.name(),
        })?;
        let mut all = Vec::with_capacity(ids.len());
        // One caption at a time: the logits of a batch are large.
        for (b, row) in ids.iter().enumerate() {
            let logits = self.textual.logits(&hidden.get(b)?)?;
            let logits = logits.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            all.push(log_probabilities_of(
                &logits,
                row.get(1..).unwrap_or_default(),
            ));
        }
        Ok(all)
    }

    /// The loss of one direction (section 3 of the paper), the mean cross entropy of the next tokens of `ids`, `B` rows of
    /// one length of which the first `lengths[b]` count, about the images of `memory`, and of how many; what no piece stands
    /// for is left out. `None` if the model has no decoder of that direction.
    pub fn caption_loss(
        &self,
        direction: Direction,
        memory: &Tensor,
        ids: &[Vec<u32>],
        lengths: &[usize],
    ) -> Result<Option<(Tensor, usize)>> {
        let unknown = self.config.unk_index;
        let labels = ids.iter().flat_map(|row| {
            let next = row.iter().skip(1).map(|&id| (id != unknown).then_some(id));
            next.chain([None])
        });
        let labels: Vec<Option<u32>> = labels.collect();
        self.loss_at(direction, memory, (ids, lengths), &labels)
    }

    /// The loss of a masked language model, the mean cross entropy at those of `labels` that are not padding, and of how
    /// many. `None` if the model has no decoder.
    pub fn masked_loss(
        &self,
        memory: &Tensor,
        ids: &[Vec<u32>],
        lengths: &[usize],
        labels: &[Vec<u32>],
    ) -> Result<Option<(Tensor, usize)>> {
        let unknown = self.config.unk_index;
        let labels = labels.iter().flatten();
        let labels: Vec<Option<u32>> = labels.map(|&id| (id != unknown).then_some(id)).collect();
        self.loss_at(Direction::Forward, memory, (ids, lengths), &labels)
    }

    fn loss_at(
        &self,
        direction: Direction,
        memory: &Tensor,
        (ids, lengths): (&[Vec<u32>], &[usize]),
        labels: &[Option<u32>],
    ) -> Result<Option<(Tensor, usize)>> {
        let hidden = self.textual.hidden(direction, ids, lengths, memory)?;
        let Some(hidden) = hidden else {
            return Ok(None);
        };
        let (hidden, labels) = told(&hidden.flatten_to(1)?, labels)?;
        loss::cross_entropy(&self.textual.logits(&hidden)?, &labels).map(Some)
    }

    /// Start, text, end, cut to the longest caption. Without a vocabulary ids are hashes of words.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        let (config, most) = (&self.config, self.config.max_caption_length);
        if let Some(tokenizer) = &self.tokenizer {
            return Ok(tokenizer.encode(text, most));
        }
        let hash = WordHash::new(config.vocab_size, config.sos_index, config.eos_index)?;
        Ok(hash.encode(text, most)?.ids)
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        let Some(tokenizer) = &self.tokenizer else {
            let words = ids.iter().filter(|&&id| id != self.config.eos_index);
            let words: Vec<String> = words.map(u32::to_string).collect();
            return Ok(words.join(" "));
        };
        Ok(tokenizer.decode(ids)?)
    }
}

impl Model for VirTex {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn features(&self) -> Option<&dyn Features> {
        Some(self)
    }

    fn generate(&self) -> Option<&dyn Generate> {
        let writes = self.config.objective.writes_captions();
        writes.then_some(self as &dyn Generate)
    }

    fn score(&self) -> Option<&dyn Score> {
        let writes = self.config.objective.writes_captions();
        writes.then_some(self as &dyn Score)
    }
}

/// The mean over the cells of the last stage's map, as the paper's probes take it (section 4.1).
impl Features for VirTex {
    fn width(&self) -> usize {
        self.config.visual.channels().last().copied().unwrap_or(0)
    }

    fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        let map = self.visual.forward(pixels)?.to_dtype(DType::F32)?;
        Ok(map.flatten_from(2)?.mean(2)?)
    }
}

impl Score for VirTex {
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
        let ids = texts
            .iter()
            .map(|text| self.ids(text))
            .collect::<Result<Vec<_>>>()?;
        let memory = self.textual.project(&self.visual.forward(pixels)?)?;
        self.log_probabilities(&memory, &ids)
    }
}

impl Generate for VirTex {
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: match self.config.decoder {
                DecoderConfig::Beam { width } => Strategy::Beam { width },
                DecoderConfig::Nucleus { p } => Strategy::Nucleus { p },
            },
            max_tokens: None,
        }
    }

    fn reads_text(&self) -> bool {
        false
    }

    /// A prompt is one image and nothing else.
    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let max_tokens = self.max_tokens(decoding)?;
        let (pixels, count) = (images.pixels()?, images.batch()?);
        let samples = prompts
            .iter()
            .map(|prompt| match prompt.segments {
                [Segment::Image(sample)] if *sample < count => Ok(*sample as u32),
                _ => Err(Error::Prompt {
                    wanted: "one of the images and no text",
                }),
            })
            .collect::<Result<Vec<u32>>>()?;
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let samples = Tensor::new(samples, pixels.device())?;
        let memory = self.textual.project(&self.visual.forward(pixels)?)?;
        let memory = memory.index_select(&samples, 0)?;

        let beam = |width: usize, per_node: usize| {
            let searches = vec![self.beam(width, per_node, max_tokens); prompts.len()];
            self.search(&memory, searches, self.beam_start())
        };
        let found = match decoding.strategy {
            Strategy::Greedy => beam(1, 1)?,
            Strategy::Beam { width } if (1..=WIDEST).contains(&width) => beam(width, PER_NODE)?,
            Strategy::Nucleus { p } if p > 0.0 && p <= 1.0 => {
                let seeds = prompts.iter().map(|prompt| prompt.seed);
                let searches = seeds
                    .map(|seed| self.nucleus(p, max_tokens, seed))
                    .collect();
                self.search(&memory, searches, Start::Kept)?
            }
            strategy => {
                return Err(Error::Decoding {
                    field: "strategy",
                    found: format!("{strategy:?}"),
                    wanted: format!("a width of 1 to {WIDEST}, or a nucleus above 0 and at most 1"),
                });
            }
        };
        let generated = |mut found: Vec<Hypothesis>| {
            // Every search finds something: it starts from an empty caption.
            let best = found.swap_remove(0);
            Ok(Generated {
                text: self.text(&best.ids)?,
                tokens: best.ids,
                score: best.score,
            })
        };
        found.into_iter().map(generated).collect()
    }
}

/// `None` if ids are hashes of words.
fn read_tokenizer(
    folder: &Path,
    config: &VirTexConfig,
    choice: TokenizerChoice,
) -> Result<Option<Arc<VirTexTokenizer>>> {
    if choice != TokenizerChoice::Checkpoint {
        return Ok(None);
    }
    let tokenizer = VirTexTokenizer::from_folder(folder)?;
    folder::check_vocabulary(folder, tokenizer.vocabulary_size(), config.vocab_size)?;
    Ok(Some(Arc::new(tokenizer)))
}

/// What VirTex's programs do with a picture: OpenCV's reading, albumentations' `SmallestMaxSize(256)`,
/// `CenterCrop(224)` and `Normalize`, in which the side of a smaller picture grows as well; in the same proportion for images of
/// another `size`.
fn input(size: usize) -> ImageSpec {
    let fit = Fit::SmallestMaxSize {
        edge: (size * 8).div_ceil(7) as u32,
        crop: CropRounding::Floor,
    };
    ImageSpec {
        colour: Colour::OpenCv,
        upright: true,
        padding: Padding::Refuse,
        rescale: Rescale::Fused {
            factor: 1.0 / 255.0,
        },
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        ..ImageSpec::new(
            Size::square(size as u32),
            fit,
            Filter::Bilinear,
            Reference::OpenCv,
        )
    }
}

/// Writes the convolutional network of the checkpoint in `folder` to the safetensors file `to`, under torchvision's
/// names and in 32 bits, so that any program that knows torchvision can probe it. There is no classifier (`fc`).
pub fn export_backbone(folder: &Path, to: &Path) -> Result<()> {
    let weights = Weights::open(folder, &Device::Cpu)?;
    Ok(weights.scope(VISUAL).export(to)?)
}
