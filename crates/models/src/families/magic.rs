//! MAGIC: a language model writes, and CLIP says which of its candidates fits the image (Su et al. 2022, arXiv
//! 2205.02655). Nothing is trained on pairs: the language model has seen captions, CLIP images and texts.
//!
//! Each token is the candidate `v` with the largest `(1 - α) p(v) - α max cos(h_v, h_j) + β f(v)`
//! ([`contrastive`]), where `f` is the softmax over the candidates of `scale * cos(image, text so far with v)`
//! (equation 4). The text that CLIP sees is what the last 60 tokens decode to, without the start token, cut to CLIP's
//! context. A search runs for all its tokens, as the published program does; the text ends at the first end token.
//!
//! A folder holds `config.json` ([`MagicConfig`]) and the two models, each either in a folder of its own, `lm` and `clip`
//! as published, or as `lm_config.json`, `lm.safetensors`, `lm_tokenizer/` and `clip_config.json`, `clip.safetensors`,
//! `clip_tokenizer/`.

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sightline_nn::causal::{CausalNetwork, Next};
use sightline_nn::decode::{ContrastiveSpec, ContrastiveStep, Hypothesis, Judge, contrastive};
use sightline_nn::unit_length;
use sightline_text::Gpt2Tokenizer;

use super::clip::Clip;
use crate::folder::{CONFIG, check_vocabulary, read_json};
use crate::{Embed, Error, LanguageModel, ModelSpec, Result, TokenizerChoice};

/// The family's name in configurations.
const NAME: &str = "magic";

/// `config.json`. What is left out has the published value for COCO.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MagicConfig {
    /// `magic`.
    pub family: String,
    /// The token before every text.
    pub sos_id: u32,
    /// The token that ends a text.
    pub eos_id: u32,
    /// Padding, in training.
    pub pad_id: u32,
    /// The most tokens of a text that CLIP sees.
    #[serde(default = "sixty")]
    pub clip_text_max_tokens: usize,
    /// Whether spaces before punctuation are taken out of decoded texts, as in the published run.
    #[serde(default)]
    pub clean_up_tokenization_spaces: bool,
    /// ρ of the contrastive loss of training.
    #[serde(default = "half")]
    pub margin: f32,
}

fn sixty() -> usize {
    60
}

fn half() -> f32 {
    0.5
}

/// A language model beside a CLIP.
pub struct Magic {
    config: MagicConfig,
    language: LanguageModel,
    tokenizer: Gpt2Tokenizer,
    clip: Clip,
}

/// What a search found, and what it weighed for each token.
#[derive(Clone, Debug)]
pub struct Found {
    /// The tokens behind the start token, with the sum of their log-probabilities.
    pub hypothesis: Hypothesis,
    /// The text up to the first end token, runs of spaces as one.
    pub text: String,
    /// One for each token.
    pub steps: Vec<ContrastiveStep>,
    /// The texts that CLIP saw, for each token.
    pub texts: Vec<Vec<String>>,
}

impl Magic {
    /// The models in `folder`.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config: MagicConfig =
            serde_json::from_value(read_json(&path)?).map_err(|source| Error::Json {
                path: path.clone(),
                source,
            })?;
        let wrong = |field: &str, found: String, wanted: String| Error::Config {
            path: path.clone(),
            field: field.to_owned(),
            found,
            wanted,
        };
        if config.family != NAME {
            let wanted = format!("`{NAME}`");
            return Err(wrong("family", config.family.clone(), wanted));
        }
        let own = folder.join("lm");
        let (language, tokenizer) = if own.is_dir() {
            (LanguageModel::from_folder(&own, device)?, own)
        } else {
            let config = folder.join("lm_config.json");
            let weights = folder.join("lm.safetensors");
            let language = LanguageModel::open(&config, &weights, device)?;
            (language, folder.join("lm_tokenizer"))
        };
        let rows = language.config().spec.vocabulary_size;
        for (field, id) in [
            ("sos_id", config.sos_id),
            ("eos_id", config.eos_id),
            ("pad_id", config.pad_id),
        ] {
            if id as usize >= rows {
                let wanted = format!("below {rows}, the rows of the language model's token table");
                return Err(wrong(field, id.to_string(), wanted));
            }
        }
        if config.clip_text_max_tokens == 0 {
            let wanted = "1 or more".to_owned();
            return Err(wrong("clip_text_max_tokens", "0".to_owned(), wanted));
        }
        let vocabulary = tokenizer;
        let tokenizer = Gpt2Tokenizer::from_folder(&vocabulary)?;
        check_vocabulary(&vocabulary, tokenizer.vocabulary_size(), rows)?;
        Ok(Self {
            clip: load_clip(folder, device)?,
            config,
            language,
            tokenizer,
        })
    }

    /// What `config.json` says.
    pub fn config(&self) -> &MagicConfig {
        &self.config
    }

    /// The language model.
    pub fn language(&self) -> &LanguageModel {
        &self.language
    }

    /// The model of images and texts.
    pub fn clip(&self) -> &Clip {
        &self.clip
    }

    /// Writes behind `prompt`, ids that begin with the start token. `image` `[D]` is what CLIP makes of the image, of
    /// unit length; `None`: contrastive search, without an image.
    pub fn search(
        &self,
        prompt: &[u32],
        image: Option<&Tensor>,
        spec: &ContrastiveSpec,
    ) -> Result<Found> {
        let network = self.language.transformer();
        let total = prompt.len().saturating_add(spec.limit);
        self.language
            .check_context("a prompt with its text", total)?;
        let embeds = network.embed(&[prompt.to_vec()])?;
        let (mut reading, hidden) = CausalNetwork::read(network, Next::new(&embeds))?;
        let states = hidden.get(0)?;
        let last = states.narrow(0, prompt.len().saturating_sub(1), 1)?;
        let first = network.logits(&last)?;
        let image = image.map(Tensor::to_vec1::<f32>).transpose()?;
        let mut eye = image.map(|image| Eye {
            magic: self,
            prompt: prompt.get(1..).unwrap_or_default(),
            image,
            texts: Vec::new(),
        });
        let mut steps = Vec::new();
        let judge = eye.as_mut().map(|eye| eye as &mut dyn Judge);
        let hypothesis = contrastive(&mut reading, &first, &states, spec, judge, &mut |step| {
            steps.push(step);
        })?;
        let ids = [prompt.get(1..).unwrap_or_default(), &hypothesis.ids].concat();
        Ok(Found {
            text: self.text(&ids)?,
            hypothesis,
            steps,
            texts: eye.map(|eye| eye.texts).unwrap_or_default(),
        })
    }

    /// The text of `ids` up to the first end token, runs of white space as one space.
    pub fn text(&self, ids: &[u32]) -> Result<String> {
        let ended = ids.split(|id| *id == self.config.eos_id).next();
        let decoded = self.decode(ended.unwrap_or_default())?;
        Ok(decoded.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The text of `ids` with special tokens, cleaned up where the configuration says so.
    fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.tokenizer.decode_with_special(ids)?;
        Ok(if self.config.clean_up_tokenization_spaces {
            cleaned(text)
        } else {
            text
        })
    }
}

fn load_clip(folder: &Path, device: &Device) -> Result<Clip> {
    let own: PathBuf = folder.join("clip");
    if own.is_dir() {
        let spec = ModelSpec {
            checkpoint: Some(own),
            tokenizer: TokenizerChoice::Checkpoint,
            seed: sightline_core::Seed(0),
            precision: sightline_nn::Precision::F32,
        };
        return Clip::load(&spec, device);
    }
    Clip::from_files(
        &folder.join("clip_config.json"),
        &folder.join("clip.safetensors"),
        &folder.join("clip_tokenizer"),
        device,
    )
}

/// Spaces before punctuation and contractions, as transformers takes them out.
fn cleaned(text: String) -> String {
    const PAIRS: &[(&str, &str)] = &[
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    PAIRS
        .iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

/// CLIP, which looks at an image.
struct Eye<'a> {
    magic: &'a Magic,
    /// Without the start token.
    prompt: &'a [u32],
    image: Vec<f32>,
    texts: Vec<Vec<String>>,
}

impl Judge for Eye<'_> {
    fn judge(&mut self, continuations: &[Vec<u32>]) -> sightline_nn::Result<Vec<f32>> {
        self.look(continuations).map_err(|error| match error {
            Error::Nn(error) => error,
            error => candle_core::Error::wrap(error).into(),
        })
    }
}

impl Eye<'_> {
    /// f(v) for each candidate.
    fn look(&mut self, continuations: &[Vec<u32>]) -> Result<Vec<f32>> {
        let most = self.magic.config.clip_text_max_tokens;
        let seen = |ids: &Vec<u32>| {
            let ids = [self.prompt, ids].concat();
            self.magic.decode(&ids[ids.len().saturating_sub(most)..])
        };
        let texts = continuations.iter().map(seen).collect::<Result<Vec<_>>>()?;
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let embedded = self.magic.clip.embed_texts(&borrowed)?;
        let embedded = unit_length(&embedded)?.to_vec2::<f32>()?;
        self.texts.push(texts);
        let scale = self.magic.clip.scale();
        let logits: Vec<f32> = embedded
            .iter()
            .map(|text| {
                scale
                    * text
                        .iter()
                        .zip(&self.image)
                        .map(|(a, b)| a * b)
                        .sum::<f32>()
            })
            .collect();
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shares: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let total: f32 = shares.iter().sum();
        Ok(shares.into_iter().map(|share| share / total).collect())
    }
}

/// The two losses of training (SimCTG, Su et al. 2022, arXiv 2202.06417, equation 2): mean cross entropy of the next
/// tokens, and the mean over pairs of different positions of a text of `max(0, ρ - 1 + cos)`. `rows` are whole texts of
/// ids, padded to the same length; padding counts for neither.
pub fn losses(magic: &Magic, rows: &[Vec<u32>]) -> Result<(f32, f32)> {
    let (network, pad) = (magic.language.transformer(), magic.config.pad_id);
    let inputs: Vec<Vec<u32>> = rows
        .iter()
        .map(|row| row[..row.len().saturating_sub(1)].to_vec())
        .collect();
    let hidden = network.forward(&network.embed(&inputs)?, None)?;
    let (mut entropy, mut targets, mut contrast, mut pairs) = (0f64, 0u32, 0f64, 0u32);
    for (b, row) in rows.iter().enumerate() {
        let states = hidden.get(b)?;
        let logits = network.logits(&states)?.to_vec2::<f32>()?;
        for (logits, &target) in logits.iter().zip(row.iter().skip(1)) {
            if target != pad {
                let total: f64 = logits.iter().map(|v| f64::from(*v).exp()).sum();
                let own = logits.get(target as usize).copied().unwrap_or(f32::NAN);
                entropy += total.ln() - f64::from(own);
                targets += 1;
            }
        }
        let states = unit_length(&states)?;
        let cosines = states.matmul(&states.t()?)?.to_vec2::<f32>()?;
        let real = |i: usize| row.get(i).is_some_and(|&id| id != pad);
        for (i, cosines) in cosines.iter().enumerate().filter(|(i, _)| real(*i)) {
            for (j, cosine) in cosines.iter().enumerate() {
                if i != j && real(j) {
                    contrast += f64::from((magic.config.margin - 1.0 + cosine).max(0.0));
                    pairs += 1;
                }
            }
        }
    }
    let mean = |sum: f64, count: u32| (sum / f64::from(count)) as f32;
    Ok((mean(entropy, targets), mean(contrast, pairs)))
}
