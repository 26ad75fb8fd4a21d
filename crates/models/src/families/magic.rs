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

mod objective;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::Deserialize;
use sightline_nn::causal::{CausalNetwork, Next, padded_left};
use sightline_nn::decode::{
    self, ContrastiveSpec, ContrastiveStep, Hypothesis, Judge, LengthBeam, contrastive,
};
use sightline_nn::{Weights, unit_length};
use sightline_text::{ClipTokenizer, Gpt2Tokenizer};

pub(crate) use self::objective::TRAINABLE;
use super::clip::{self, Clip};
use crate::check::{Check, limit};
use crate::folder::{CONFIG, check_vocabulary, read_json};
use crate::generate::{Room, Strategies};
use crate::{
    Capability, CheckpointFile, Decoding, Embed, Error, Family, FileRole, Generate, Generated,
    LanguageModel, Model, ModelSpec, Prompt, Result, Segment, Strategy, TokenizerChoice, Visual,
    VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "magic",
    paper: "https://arxiv.org/abs/2205.02655",
    capabilities: &[Capability::Embed, Capability::Generate, Capability::Answer],
    needs_checkpoint: true,
    files: |spec| files(spec.folder(FAMILY.name)?),
    offers: |spec| {
        MagicConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(FAMILY.capabilities)
    },
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let own = folder.join("clip");
        let spec = if own.is_dir() {
            clip::image_spec(&own)?
        } else {
            clip::usual_image_spec(&folder.join("clip_config.json"))?
        };
        Ok(VisualSpec::Pixels(spec))
    },
    load: |spec, device| Ok(Box::new(Magic::load(spec, device)?)),
};

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
    /// k of the search: how many of the most likely tokens are weighed.
    #[serde(default = "forty_five")]
    pub k: usize,
    /// α of the search: how much it counts that a token is unlike those before it.
    #[serde(default = "tenth")]
    pub alpha: f32,
    /// β of the search: how much the image counts.
    #[serde(default = "two")]
    pub beta: f32,
    /// Tokens of a text with its prompt, the start token included.
    #[serde(default = "sixteen")]
    pub decoding_len: usize,
}

fn forty_five() -> usize {
    45
}

fn tenth() -> f32 {
    0.1
}

fn two() -> f32 {
    2.0
}

fn sixteen() -> usize {
    16
}

fn sixty() -> usize {
    60
}

fn half() -> f32 {
    0.5
}

/// The most candidates of a step, each of which CLIP reads a text for.
const MOST_CANDIDATES: usize = 1 << 12;

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

impl MagicConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let check = Check::new(path);
        let config: Self =
            serde_json::from_value(read_json(path)?).map_err(|source| check.json(source))?;
        if config.family != FAMILY.name {
            let wanted = format!("`{}`", FAMILY.name);
            return Err(check.wrong("family", &config.family, wanted));
        }
        let texts = config.clip_text_max_tokens;
        check.range("clip_text_max_tokens", texts, 1, limit::CONTEXT)?;
        check.range("k", config.k, 1, MOST_CANDIDATES)?;
        check.range("decoding_len", config.decoding_len, 2, limit::CONTEXT)?;
        if !(0.0..=1.0).contains(&config.alpha) {
            return Err(check.wrong("alpha", &config.alpha, "0 to 1"));
        }
        if !(config.beta >= 0.0 && config.beta.is_finite()) {
            return Err(check.wrong("beta", &config.beta, "a number from 0 on"));
        }
        Ok(config)
    }
}

/// The files that [`Magic::load`] reads from `folder`. Both tokenizers are needed, whatever a manifest chooses: texts pass
/// from one model to the other.
fn files(folder: &Path) -> Result<Vec<CheckpointFile>> {
    let file = |path, role| CheckpointFile { path, role };
    let all = |paths: Vec<PathBuf>, role| {
        let paths = paths.into_iter();
        paths.map(move |path| file(path, role)).collect::<Vec<_>>()
    };
    let mut files = vec![file(folder.join(CONFIG), FileRole::Config)];
    let language = folder.join("lm");
    let tokenizer = if language.is_dir() {
        files.push(file(language.join(CONFIG), FileRole::Config));
        files.extend(all(Weights::files(&language)?, FileRole::Weights));
        language
    } else {
        files.push(file(folder.join("lm_config.json"), FileRole::Config));
        files.push(file(folder.join("lm.safetensors"), FileRole::Weights));
        folder.join("lm_tokenizer")
    };
    files.extend(all(Gpt2Tokenizer::files(&tokenizer)?, FileRole::Tokenizer));
    let own = folder.join("clip");
    if own.is_dir() {
        files.extend(clip::image_tower_files(&own)?);
        files.extend(all(ClipTokenizer::files(&own)?, FileRole::Tokenizer));
    } else {
        let tokenizer = folder.join("clip_tokenizer");
        files.push(file(folder.join("clip_config.json"), FileRole::Config));
        files.push(file(folder.join("clip.safetensors"), FileRole::Weights));
        files.extend(all(ClipTokenizer::files(&tokenizer)?, FileRole::Tokenizer));
    }
    Ok(files)
}

/// Where the language model is.
struct LanguageFiles {
    config: PathBuf,
    weights: PathBuf,
    vocabulary: PathBuf,
    /// The file of its weights if they are written anew, counted from the folder.
    file: &'static str,
}

impl LanguageFiles {
    fn of(folder: &Path) -> Self {
        let own = folder.join("lm");
        if own.is_dir() {
            return Self {
                config: own.join(CONFIG),
                weights: own.clone(),
                vocabulary: own,
                file: "lm/model.safetensors",
            };
        }
        Self {
            config: folder.join("lm_config.json"),
            weights: folder.join("lm.safetensors"),
            vocabulary: folder.join("lm_tokenizer"),
            file: "lm.safetensors",
        }
    }
}

impl Magic {
    /// The models in the folder of `spec`. Both tokenizers are read, whichever it chooses.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let path = folder.join(CONFIG);
        let config = MagicConfig::read(&path)?;
        let check = Check::new(&path);
        let LanguageFiles {
            config: settings,
            weights,
            vocabulary,
            ..
        } = LanguageFiles::of(folder);
        let language = LanguageModel::open_in(&settings, &weights, spec.precision, device)?;
        let rows = language.config().spec.vocabulary_size;
        for (field, id) in [
            ("sos_id", config.sos_id),
            ("eos_id", config.eos_id),
            ("pad_id", config.pad_id),
        ] {
            if id as usize >= rows {
                let wanted = format!("below {rows}, the rows of the language model's token table");
                return Err(check.wrong(field, &id, wanted));
            }
        }
        let tokenizer = Gpt2Tokenizer::from_folder(&vocabulary)?;
        check_vocabulary(&vocabulary, tokenizer.vocabulary_size(), rows)?;
        Ok(Self {
            clip: load_clip(folder, spec, device)?,
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

fn load_clip(folder: &Path, spec: &ModelSpec, device: &Device) -> Result<Clip> {
    let own: PathBuf = folder.join("clip");
    if own.is_dir() {
        let spec = ModelSpec {
            checkpoint: Some(own),
            tokenizer: TokenizerChoice::Checkpoint,
            ..spec.clone()
        };
        return Clip::load(&spec, device);
    }
    Clip::from_files(
        &folder.join("clip_config.json"),
        &folder.join("clip.safetensors"),
        &folder.join("clip_tokenizer"),
        spec.precision,
        device,
    )
}

impl Model for Magic {
    fn input(&self) -> &VisualSpec {
        self.clip.input()
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(&self.clip)
    }

    fn generate(&self) -> Option<&dyn Generate> {
        Some(self)
    }
}

/// A prompt: its image, and its tokens with the start token.
type Asked = (Option<u32>, Vec<u32>);

impl Magic {
    fn prompt(&self, prompt: &Prompt<'_>, images: usize) -> Result<Asked> {
        let wanted = "at most one of the images, and texts";
        let mut asked = (None, vec![self.config.sos_id]);
        for segment in prompt.segments {
            match *segment {
                Segment::Image(number) if asked.0.is_none() && number < images => {
                    asked.0 = Some(number as u32);
                }
                Segment::Image(_) => return Err(Error::Prompt { wanted }),
                Segment::Text(text) => asked.1.extend(self.tokenizer.encode(text)?),
            }
        }
        Ok(asked)
    }

    /// What [`Self::search`] writes, up to its end.
    fn searched(
        &self,
        (_, ids): &Asked,
        image: Option<&Tensor>,
        spec: &ContrastiveSpec,
    ) -> Result<Generated> {
        let found = self.search(ids, image, spec)?;
        let mut tokens = found.hypothesis.ids;
        let end = tokens.iter().position(|id| *id == self.config.eos_id);
        tokens.truncate(end.map_or(tokens.len(), |end| end + 1));
        let probability = |(token, step): (&u32, &ContrastiveStep)| {
            let mut candidates = step.candidates.iter().zip(&step.confidence);
            let own = candidates.find(|(candidate, _)| *candidate == token);
            own.map_or(0.0, |(_, confidence)| confidence.ln())
        };
        Ok(Generated {
            score: tokens.iter().zip(&found.steps).map(probability).sum(),
            text: self.text(&tokens)?,
            tokens,
        })
    }
}

impl Generate for Magic {
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Contrastive {
                candidates: self.config.k,
                penalty: self.config.alpha,
                judgement: self.config.beta,
            },
            max_tokens: None,
        }
    }

    /// Without an image the search is contrastive. Every other way to decode asks the language model alone, which knows
    /// nothing of the image: the baselines of the paper.
    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let (pixels, count) = (images.pixels()?, images.batch()?);
        let asked = prompts
            .iter()
            .map(|prompt| self.prompt(prompt, count))
            .collect::<Result<Vec<_>>>()?;
        let lengths: Vec<usize> = asked.iter().map(|(_, ids)| ids.len()).collect();
        // As many as the published program writes, but one at least.
        let usual = |len: usize| self.config.decoding_len.saturating_sub(len).max(1);
        let room = Room::new(&self.language, &lengths, decoding, usual)?;
        if let Strategy::Contrastive {
            candidates,
            penalty,
            judgement,
        } = decoding.strategy
        {
            if !(1..=MOST_CANDIDATES).contains(&candidates) || !(0.0..=1.0).contains(&penalty) {
                return Err(Error::Decoding {
                    field: "strategy",
                    found: format!("{:?}", decoding.strategy),
                    wanted: format!("1 to {MOST_CANDIDATES} candidates, a penalty of 0 to 1"),
                });
            }
            let spec = |&limit: &usize| ContrastiveSpec {
                candidates,
                penalty,
                judgement,
                // The published search goes on behind the end, which changes nothing before it.
                ends: vec![self.config.eos_id],
                limit,
            };
            let specs: Vec<ContrastiveSpec> = room.limits.iter().map(spec).collect();
            let named: Vec<u32> = asked.iter().filter_map(|(image, _)| *image).collect();
            let mut vectors = Vec::new();
            if !named.is_empty() {
                let index = Tensor::from_slice(&named, named.len(), pixels.device())?;
                let embedded = self.clip.embed_images(&pixels.index_select(&index, 0)?)?;
                for row in 0..named.len() {
                    vectors.push(embedded.get(row)?);
                }
            }
            let mut vectors = vectors.iter();
            let search = |(asked, spec): (&Asked, &ContrastiveSpec)| {
                let image = asked.0.and_then(|_| vectors.next());
                self.searched(asked, image, spec)
            };
            return asked.iter().zip(&specs).map(search).collect();
        }

        let strategies = Strategies::new(decoding, self.config.eos_id)?;
        let network = self.language.transformer();
        let mut written = Vec::new();
        for group in room.groups {
            let each = group
                .clone()
                .map(|i| (room.limits[i], prompts[i].seed))
                .collect();
            let found = strategies.run(
                each,
                |width, limit| LengthBeam::new(width, &[self.config.eos_id], limit),
                |searches| {
                    let embed = |(_, ids): &Asked| {
                        Ok(network.embed(std::slice::from_ref(ids))?.squeeze(0)?)
                    };
                    let rows = asked[group].iter().map(embed).collect::<Result<Vec<_>>>()?;
                    let (embeds, present) = padded_left(&rows)?;
                    let next = Next {
                        present: present.as_deref(),
                        ..Next::new(&embeds)
                    };
                    let (mut reading, hidden) = CausalNetwork::read(network, next)?;
                    let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.squeeze(1)?;
                    let first = network.logits(&last)?;
                    Ok(decode::run(&mut reading, &first, searches)?)
                },
            )?;
            for best in found {
                written.push(Generated {
                    text: self.text(&best.ids)?,
                    tokens: best.ids,
                    score: best.score,
                });
            }
        }
        Ok(written)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_before_punctuation_go_as_in_the_published_run() {
        let text = "two dogs , a cat ' s and it 's ok .".to_owned();
        assert_eq!(cleaned(text), "two dogs, a cat's and it's ok.");
    }
}
