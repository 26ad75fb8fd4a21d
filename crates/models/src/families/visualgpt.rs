//! `VisualGPT`: GPT-2 that looks at the regions of an image (Chen et al. 2021, arXiv 2102.10407).
//!
//! Reads checkpoints under the names of its program, as safetensors or as the training file (a pickle with
//! `state_dict`); tensors that the program keeps and never uses are passed over. `config.json` is this project's
//! ([`config`]). The tokenizer is GPT-2's, `vocab.json` and `merges.txt`. There are no public trained weights.
//!
//! Three things are of the published program and look like mistakes: one norm stands in front of three inputs; regions
//! that fill an image up are looked at ([`RegionPadding::Published`]), so that captions depend on
//! [`VisualGptConfig::max_detections`]; and captions lose a word that stands twice in a row. Its beam search adds
//! log-probabilities without regard to length, and a hypothesis that has ended competes on with its sum, which is what
//! [`NodeBeam`] does when each hypothesis proposes as many continuations as there are hypotheses.
//!
//! [`NodeBeam`]: sightline_nn::decode::NodeBeam

pub mod config;
mod decoder;
mod encoder;
mod objective;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_nn::decode::{self, Hypothesis, Network, NodeBeam, Search};
use sightline_text::{Gpt2Tokenizer, PairTokenizer, WordHash};

pub use config::{RegionPadding, VisualGptConfig};
pub use decoder::{CaptionDecoder, Captions};
pub use encoder::{Memory, RegionEncoder};

pub(crate) use self::objective::TRAINABLE;

use crate::folder::{self, CONFIG};
use crate::generate::{self, Strategies};
use crate::loss;
use crate::score::log_probabilities_of;
use crate::{
    Capability, Decoding, Error, Family, Generate, Generated, Model, ModelSpec, Prompt, Result,
    Score, Segment, Strategy, TokenizerChoice, Visual, VisualSpec,
};

/// Layers of the encoder, each of which captions look at.
pub const LEVELS: usize = 3;

/// What captions lose before they become tokens: the marks of the published program (pycocoevalcap's list).
const MARKS: &[&str] = &[
    "''", "'", "``", "`", "-lrb-", "-rrb-", "-lcb-", "-rcb-", ".", "?", "!", ",", ":", "-", "--",
    "...", ";",
];

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "visualgpt",
    paper: "https://arxiv.org/abs/2102.10407",
    capabilities: &[Capability::Generate, Capability::Score],
    needs_checkpoint: true,
    files: |spec| folder::files(spec, spec.folder(FAMILY.name)?, Gpt2Tokenizer::files),
    offers: |spec| {
        VisualGptConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(FAMILY.capabilities)
    },
    input: |spec| {
        let config = VisualGptConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(input(&config))
    },
    load: |spec, device| Ok(Box::new(VisualGpt::load(spec, device)?)),
};

/// A `VisualGPT` model.
pub struct VisualGpt {
    config: VisualGptConfig,
    encoder: RegionEncoder,
    decoder: CaptionDecoder,
    /// `None`: ids are hashes of words, and are written as numbers.
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    input: VisualSpec,
}

impl VisualGpt {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) captions are hashes of words, and
    /// what is written are ids.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = VisualGptConfig::read(&folder.join(CONFIG))?;
        let tokenizer = read_tokenizer(folder, &config, spec.tokenizer)?;
        let weights = open(folder, device)?.with_precision(spec.precision)?;
        let model = Self::assemble(config, &weights, tokenizer);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A model of the given form with random weights, which writes ids, for measuring speed. `config` MUST be one
    /// that [`VisualGptConfig::read`] accepts.
    pub fn random(config: VisualGptConfig, seed: Seed, device: &Device) -> Result<Self> {
        Self::assemble(config, &Weights::random(seed, device), None)
    }

    fn assemble(
        config: VisualGptConfig,
        weights: &Weights,
        tokenizer: Option<Arc<Gpt2Tokenizer>>,
    ) -> Result<Self> {
        let decoder = weights.scope("decoder").scope("transformer");
        Ok(Self {
            encoder: RegionEncoder::load(&weights.scope("encoder"), &config)?,
            decoder: CaptionDecoder::load(&decoder, &config)?,
            tokenizer,
            input: input(&config),
            config,
        })
    }

    /// The model's form.
    pub fn config(&self) -> &VisualGptConfig {
        &self.config
    }

    /// The image's side: exactly the regions `[B, R, feature_dim]` that are given, none filled up.
    pub fn encoder(&self) -> &RegionEncoder {
        &self.encoder
    }

    /// Logits of what comes next `[B, L, V]` at each of the `L` tokens of `ids`, the start token first, about the
    /// images of `memory`.
    pub fn logits(&self, memory: &Memory, ids: &[Vec<u32>]) -> Result<Tensor> {
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0);
        self.check_context(longest)?;
        let logits = self.decoder.start(memory)?.advance(ids)?;
        Ok(logits.to_dtype(DType::F32)?)
    }

    /// The loss of training (section 3.4 of the paper), the mean cross entropy of what stands behind the start token in
    /// each of `ids`, `B` rows of one length, padding left out, and of how many tokens.
    pub fn caption_loss(&self, memory: &Memory, ids: &[Vec<u32>]) -> Result<(Tensor, usize)> {
        let logits = self.logits(memory, ids)?;
        let seen = logits.narrow(1, 0, logits.dim(1)?.saturating_sub(1))?;
        let padding = self.config.pad_id;
        let next = ids.iter().flat_map(|row| row.iter().skip(1));
        let labels: Vec<Option<u32>> = next.map(|&id| (id != padding).then_some(id)).collect();
        loss::cross_entropy(&seen.contiguous()?, &labels)
    }

    /// Writes about each image of `memory` by a search each; returns what they found, the best first.
    pub fn search<S: Search>(
        &self,
        memory: &Memory,
        searches: Vec<S>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let mut captions = self.decoder.start(memory)?;
        let first = captions.step(&vec![self.config.bos_id; searches.len()])?;
        Ok(decode::run(&mut captions, &first, searches)?)
    }

    /// The published beam search of `width` hypotheses and `max_tokens` steps.
    ///
    /// One difference: the published program gives every token but the first of an ended hypothesis -999, and so would
    /// prefer them to sums below -999, which take dozens of impossible tokens.
    pub fn beam(&self, width: usize, max_tokens: usize) -> NodeBeam {
        NodeBeam::new(width, width, self.config.eos_id, max_tokens)
    }

    fn check_context(&self, tokens: usize) -> Result<()> {
        let limit = self.config.n_positions;
        if tokens > limit {
            return Err(Error::Context {
                what: "the prompt with what is to be written",
                tokens,
                limit,
            });
        }
        Ok(())
    }

    /// The regions of a batch in the published form: as many for every image, zeros behind those that are there.
    fn memory(&self, images: &Visual) -> Result<Memory> {
        let (features, present) = images.regions()?;
        let (batch, found, width) = features.dims3()?;
        let wanted = self.config.feature_dim;
        if width != wanted {
            return Err(Error::FeatureWidth {
                found: width,
                wanted,
            });
        }
        let most = self.config.max_detections;
        let kept = found.min(most);
        if kept == 0 {
            let zeros = Tensor::zeros((batch, most, width), DType::F32, features.device())?;
            return self.encoder.forward(&zeros);
        }
        let features = features.to_dtype(DType::F32)?.narrow(1, 0, kept)?;
        let present = present.to_dtype(DType::F32)?.narrow(1, 0, kept)?;
        let features = features.broadcast_mul(&present.unsqueeze(2)?)?;
        let filled = features.pad_with_zeros(1, 0, most - kept)?;
        self.encoder.forward(&filled.contiguous()?)
    }

    /// The ids of a caption without start and end, in the form that the published program trains on: lower case, no
    /// marks. Without a vocabulary they are hashes of words.
    fn ids(&self, caption: &str) -> Result<Vec<u32>> {
        if let Some(tokenizer) = &self.tokenizer {
            return Ok(tokenizer.encode(&normalised(caption))?);
        }
        let config = &self.config;
        let hash = WordHash::new(config.vocab_size, config.bos_id, config.eos_id)?;
        Ok(hash.pieces(caption)?)
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        let end = self.config.eos_id;
        let ids: Vec<u32> = ids.iter().copied().filter(|&id| id != end).collect();
        let text = match &self.tokenizer {
            Some(tokenizer) => tokenizer.decode(&ids)?,
            None => generate::numbers(&ids),
        };
        let mut words: Vec<&str> = text.split_whitespace().collect();
        words.dedup();
        Ok(words.join(" "))
    }
}

/// The checkpoint's tensors, without those that the published program keeps and never uses.
fn open(folder: &Path, device: &Device) -> Result<Weights> {
    let renamed = |name: &str| {
        let is_unused = name.ends_with(".attn.bias")
            || name.ends_with(".attn.masked_bias")
            || name.ends_with("enc_dec_attn.bias")
            || name.ends_with("enc_dec_attn.masked_bias")
            || name.contains(".enc_dec_attn.c_attn.")
            || name.contains(".attention.c_attn_")
            || name.contains("running_")
            || name.contains("lm_head");
        (!is_unused).then(|| name.to_owned())
    };
    Ok(Weights::open_renamed(folder, device, renamed)?)
}

/// `None` if ids are hashes of words.
fn read_tokenizer(
    folder: &Path,
    config: &VisualGptConfig,
    choice: TokenizerChoice,
) -> Result<Option<Arc<Gpt2Tokenizer>>> {
    if choice != TokenizerChoice::Checkpoint {
        return Ok(None);
    }
    let tokenizer = Gpt2Tokenizer::from_folder(folder)?;
    folder::check_vocabulary(folder, tokenizer.vocabulary_size(), config.vocab_size)?;
    Ok(Some(Arc::new(tokenizer)))
}

/// Lower case, without the words that are marks and without marks at the ends of words.
fn normalised(caption: &str) -> String {
    let lower = caption.to_lowercase();
    let words = lower.split_whitespace().map(|word| {
        let is_mark = |c: char| ".?!,:;\"`".contains(c);
        word.trim_matches(is_mark)
    });
    let words: Vec<&str> = words
        .filter(|word| !word.is_empty() && !MARKS.contains(word))
        .collect();
    words.join(" ")
}

fn input(config: &VisualGptConfig) -> VisualSpec {
    VisualSpec::Regions {
        width: config.feature_dim,
        regions: config.max_detections,
    }
}

impl Model for VisualGpt {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn generate(&self) -> Option<&dyn Generate> {
        Some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

impl Score for VisualGpt {
    fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let count = images.batch()?;
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
            ids.truncate(self.config.n_positions);
            Ok(ids)
        };
        let targets = texts.iter().map(ended).collect::<Result<Vec<Vec<u32>>>>()?;
        let longest = targets.iter().map(Vec::len).max().unwrap_or(0);
        let before = |ids: &Vec<u32>| {
            let mut row = vec![self.config.bos_id];
            row.extend(&ids[..ids.len() - 1]);
            // Behind a caption anything may stand: no token sees what comes later.
            row.resize(longest, self.config.eos_id);
            row
        };
        let rows: Vec<Vec<u32>> = targets.iter().map(before).collect();
        let memory = self.memory(images)?;
        let logits = self.logits(&memory, &rows)?;
        let of_row = |(b, ids): (usize, &Vec<u32>)| {
            Ok(log_probabilities_of(&logits.get(b)?.to_vec2()?, ids))
        };
        targets.iter().enumerate().map(of_row).collect()
    }
}

impl Generate for VisualGpt {
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Beam {
                width: self.config.beam_size,
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
        let count = images.batch()?;
        let named = prompts
            .iter()
            .map(|prompt| match prompt.segments {
                [Segment::Image(sample)] if *sample < count => Ok(*sample as u32),
                _ => Err(Error::Prompt {
                    wanted: "one of the images and no text",
                }),
            })
            .collect::<Result<Vec<u32>>>()?;
        let strategies = Strategies::new(decoding, self.config.eos_id)?;
        let usual = self.config.max_len.min(self.config.n_positions);
        let limit = decoding.max_tokens.unwrap_or(usual).max(1);
        self.check_context(limit)?;
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let memory = self.memory(images)?.select(&named)?;
        let each = prompts.iter().map(|prompt| (limit, prompt.seed)).collect();
        let found = strategies.run(
            each,
            |width, limit| self.beam(width, limit),
            |searches| self.search(&memory, searches),
        )?;
        let generated = |best: Hypothesis| {
            Ok(Generated {
                text: self.text(&best.ids)?,
                tokens: best.ids,
                score: best.score,
            })
        };
        found.into_iter().map(generated).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_lose_case_and_marks() {
        let found = normalised("A man's dog, on a -- \"red\" mat .");
        assert_eq!(found, "a man's dog on a red mat");
    }
}
