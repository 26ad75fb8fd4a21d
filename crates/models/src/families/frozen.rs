//! Frozen: images become vectors that a language model reads like words (Tsimpoukelli et al. 2021, arXiv 2106.13884),
//! and its open relatives: ClipCap's mapper of a pooled vector (Mokady et al. 2021, arXiv 2111.09734), LiMBeR's linear map
//! of every cell of a grid (Merullo et al. 2022, arXiv 2209.15162).
//!
//! No weights of the paper are public. `config.json` ([`FrozenConfig`]) names the parts; `encoder.*` has timm's names
//! for `nf_resnet50`, `mapper.*` is ours, `clip_project.model.*` is ClipCap's, `lm.*` holds the published names of the
//! language model. A prompt is any row of images and texts.

mod objective;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::image_spec::timm::from_timm;
use sightline_nn::causal::{CausalNetwork, Next, continuation_log_probabilities, padded_left};
use sightline_nn::decode::{self, LengthBeam};
use sightline_nn::tower::{NfResNet, NfResNetSpec};
use sightline_nn::{Linear, Weights};
use sightline_text::{Gpt2Tokenizer, PairTokenizer, WordHash};

pub(crate) use self::objective::TRAINABLE;
use crate::check::{Check, limit};
use crate::folder::{self, CONFIG, read_json};
use crate::generate::{self, Room, Strategies};
use crate::language::LanguageConfig;
use crate::loss::{self, told};
use crate::objective::filled;
use crate::score::log_probabilities_of;
use crate::{
    Capability, Decoding, Error, Family, Generate, Generated, LanguageModel, Model, ModelSpec,
    Prompt, Result, Score, Segment, Strategy, TokenizerChoice, Visual, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "frozen",
    paper: "https://arxiv.org/abs/2106.13884",
    capabilities: &[Capability::Generate, Capability::Score, Capability::Answer],
    needs_checkpoint: true,
    files: |spec| folder::files(spec, spec.folder(FAMILY.name)?, Gpt2Tokenizer::files),
    offers: |spec| {
        FrozenConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(FAMILY.capabilities)
    },
    input: |spec| {
        let path = spec.folder(FAMILY.name)?.join(CONFIG);
        FrozenConfig::read(&path)?.input(&path)
    },
    load: |spec, device| Ok(Box::new(Frozen::load(spec, device)?)),
};

/// The most tokens that are written if nobody says how many: those of a caption.
const MOST_TOKENS: usize = 32;

/// The part of an image before the crop, in timm's published preparation of `nf_resnet50`.
const CROP: f64 = 0.94;

/// `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct FrozenConfig {
    /// `frozen`.
    pub family: String,
    /// What looks at images.
    pub encoder: Encoder,
    /// What makes vectors for the language model.
    pub mapper: Mapper,
    /// n: vectors of an image.
    pub prefix_tokens: usize,
    /// `config.json` of the language model.
    pub lm_config: Value,
    /// Height and width of an image, of an NF-ResNet.
    #[serde(default)]
    pub image_size: usize,
    /// Channels behind the first convolution, of an NF-ResNet.
    #[serde(default)]
    pub stem: usize,
    /// Blocks of each stage, of an NF-ResNet.
    #[serde(default)]
    pub depths: Vec<usize>,
    /// Channels behind each stage, of an NF-ResNet.
    #[serde(default)]
    pub channels: Vec<usize>,
    /// Width of features that another program made.
    #[serde(default)]
    pub feature_dim: usize,
    /// What the model gets to see of images.
    #[serde(default)]
    pub sight: Sight,
}

/// What looks at images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoder {
    /// timm's `nf_resnet50`, in any size.
    NfResnet,
    /// Another program, whose features are given.
    Precomputed,
}

/// What makes vectors for the language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mapper {
    /// The pooled feature to all vectors by one map (Frozen).
    Linear,
    /// Each cell of the last map to a vector (LiMBeR).
    GridLinear,
    /// The pooled feature by two maps with tanh between (ClipCap).
    Mlp,
}

/// What the model gets to see of images, for the paper's ablations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// The image.
    #[default]
    Seen,
    /// Zeros in its place: `train_blind`, `vqa_blind`.
    Blind,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Vectors `[n, width]` that stand for an image, of [`Frozen::visual_prefix`].
    Image(&'a Tensor),
    /// Token ids.
    Text(&'a [u32]),
}

impl<'a> Part<'a> {
    /// The image, if there is one, else the text.
    pub(crate) fn of(image: Option<&'a Tensor>, ids: &'a [u32]) -> Self {
        image.map_or(Self::Text(ids), Self::Image)
    }
}

/// A Frozen model.
pub struct Frozen {
    config: FrozenConfig,
    encoder: Option<NfResNet>,
    maps: Vec<Linear>,
    language: LanguageModel,
    /// The token that ends a text.
    end: u32,
    /// `None`: ids are hashes of words, and are written as numbers.
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    input: VisualSpec,
}

/// What a folder says of a model besides its weights.
#[derive(Clone)]
struct Form {
    config: FrozenConfig,
    language: LanguageConfig,
    /// `None`: ids are hashes of words.
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    input: VisualSpec,
}

impl Form {
    fn read(spec: &ModelSpec) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let path = folder.join(CONFIG);
        let config = FrozenConfig::read(&path)?;
        let language = LanguageConfig::parse(&path, config.lm_config.clone())?;
        let tokenizer = match spec.tokenizer {
            TokenizerChoice::Checkpoint => Some(Arc::new(Gpt2Tokenizer::from_folder(folder)?)),
            TokenizerChoice::WordHash => None,
        };
        let rows = language.spec.vocabulary_size;
        if let Some(tokenizer) = &tokenizer {
            folder::check_vocabulary(folder, tokenizer.vocabulary_size(), rows)?;
        }
        if language.eos.first().is_none_or(|&id| id as usize >= rows) {
            let found = language
                .eos
                .first()
                .map_or("absent".to_owned(), u32::to_string);
            let wanted = format!("a token below {rows}, which ends a text");
            let check = Check::new(&path).part("lm_config");
            return Err(check.wrong("eos_token_id", &found, wanted));
        }
        Ok(Self {
            input: config.input(&path)?,
            config,
            language,
            tokenizer,
        })
    }
}

impl FrozenConfig {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let check = Check::new(path);
        let config: Self =
            serde_json::from_value(read_json(path)?).map_err(|source| check.json(source))?;
        check_config(check, &config)?;
        Ok(config)
    }

    /// Pixels in timm's published preparation of `nf_resnet50`, of any size; features of another program as a region. The
    /// configuration is that of the file at `path`.
    fn input(&self, path: &Path) -> Result<VisualSpec> {
        if self.encoder == Encoder::Precomputed {
            return Ok(VisualSpec::Regions {
                width: self.feature_dim,
                regions: 1,
            });
        }
        let side = self.image_size;
        let spec = from_timm(&json!({
            "input_size": [3, side, side], "interpolation": "bicubic", "crop_pct": CROP,
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }));
        let spec = spec.map_err(|source| Error::ImageSpec {
            path: path.to_owned(),
            source,
        })?;
        Ok(VisualSpec::Pixels(spec))
    }
}

impl Frozen {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) texts are hashes of words, and what
    /// is written are ids.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let form = Form::read(spec)?;
        let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
        let model = Self::assemble(&form, &weights, None);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    /// A language model that is there already is taken as it is.
    fn assemble(form: &Form, weights: &Weights, language: Option<LanguageModel>) -> Result<Self> {
        let (config, spec) = (form.config.clone(), &form.language.spec);
        let (encoder, features) = match config.encoder {
            Encoder::NfResnet => {
                let spec = NfResNetSpec {
                    stem: config.stem,
                    depths: config.depths.clone(),
                    channels: config.channels.clone(),
                };
                let net = NfResNet::load(&weights.scope("encoder"), &spec)?;
                (Some(net), config.channels.last().copied().unwrap_or(0))
            }
            Encoder::Precomputed => (None, config.feature_dim),
        };
        let width = spec.embedding_width;
        let all = config.prefix_tokens * width;
        let maps = match config.mapper {
            Mapper::Linear => vec![Linear::load(&weights.scope("mapper"), features, all)?],
            Mapper::GridLinear => vec![Linear::load(&weights.scope("mapper"), features, width)?],
            Mapper::Mlp => {
                let maps = weights.scope("clip_project.model");
                // ClipCap's middle has half the width of its output.
                vec![
                    Linear::load(&maps.scope(0), features, all / 2)?,
                    Linear::load(&maps.scope(2), all / 2, all)?,
                ]
            }
        };
        Ok(Self {
            end: form.language.eos.first().copied().unwrap_or(0),
            language: match language {
                Some(language) => language,
                None => LanguageModel::load(form.language.clone(), &weights.scope("lm"))?,
            },
            tokenizer: form.tokenizer.clone(),
            input: form.input.clone(),
            config,
            encoder,
            maps,
        })
    }

    /// What `config.json` says.
    pub fn config(&self) -> &FrozenConfig {
        &self.config
    }

    /// The language model.
    pub fn language(&self) -> &LanguageModel {
        &self.language
    }

    /// The vectors that stand for images: `images` is pixels `[B, 3, H, W]`, normalised, or features `[B, D]` where the
    /// encoder is another program. Returns `[B, n, width]`.
    pub fn visual_prefix(&self, images: &Tensor, sight: Sight) -> Result<Tensor> {
        let side = self.config.image_size;
        let (wanted, name) = match &self.encoder {
            Some(_) => (vec![3, side, side], "pixels"),
            None => (vec![self.config.feature_dim], "features"),
        };
        if images.dims().get(1..) != Some(wanted.as_slice()) {
            return Err(sightline_nn::Error::Shape {
                what: "the batch of images",
                found: images.dims().to_vec(),
                wanted: format!("{name} [B, {}]", shown(&wanted)),
            }
            .into());
        }
        let images = match sight {
            Sight::Seen => images.clone(),
            Sight::Blind => images.zeros_like()?,
        };
        let features = match &self.encoder {
            None => images,
            Some(net) => {
                // `[B, cells, C]`.
                let cells = net.forward(&images)?.flatten_from(2)?.transpose(1, 2)?;
                match self.config.mapper {
                    Mapper::GridLinear => cells.contiguous()?,
                    Mapper::Linear | Mapper::Mlp => cells.mean(1)?,
                }
            }
        };
        let mut x = features;
        for (i, map) in self.maps.iter().enumerate() {
            x = map.forward(&if i == 0 { x } else { x.tanh()? })?;
        }
        let width = self.language.config().spec.embedding_width;
        let shape = (x.dim(0)?, self.config.prefix_tokens, width);
        if x.elem_count() != shape.0 * shape.1 * shape.2 {
            return Err(sightline_nn::Error::Shape {
                what: "the grid of an image",
                found: x.dims().to_vec(),
                wanted: format!("`prefix_tokens`, {}, cells", shape.1),
            }
            .into());
        }
        Ok(x.reshape(shape)?)
    }

    /// The vectors of a prompt `[T, width]`. One that is empty, or longer than the context together with `room` more tokens,
    /// is refused.
    pub fn prompt(&self, parts: &[Part<'_>], room: usize) -> Result<Tensor> {
        let network = self.language.transformer();
        let mut vectors = Vec::new();
        for part in parts {
            let vector = match part {
                Part::Image(prefix) => (*prefix).clone(),
                Part::Text([]) => continue,
                Part::Text(ids) => network.embed(&[ids.to_vec()])?.squeeze(0)?,
            };
            // The encoder and the token table may be of different types.
            vectors.push(vector.to_dtype(DType::F32)?);
        }
        if vectors.is_empty() {
            return Err(empty_prompt());
        }
        let prompt = Tensor::cat(&vectors, 0)?;
        let len = prompt.dim(0)?;
        let what = "a prompt with what is written behind it";
        self.language
            .check_context(what, len.saturating_add(room))?;
        Ok(prompt)
    }

    /// Reads prompts of [`Self::prompt`], at least one; returns them as decoding sees them, and the logits behind them
    /// `[B, V]`.
    pub fn read(&self, prompts: &[Tensor]) -> Result<(CausalNetwork<'_>, Tensor)> {
        let network = self.language.transformer();
        let (embeds, present) = padded_left(prompts)?;
        let next = Next {
            present: present.as_deref(),
            ..Next::new(&embeds)
        };
        let (reading, hidden) = CausalNetwork::read(network, next)?;
        let last = hidden.narrow(1, hidden.dim(1)? - 1, 1)?.squeeze(1)?;
        Ok((reading, network.logits(&last)?))
    }

    /// The natural logarithm of the probability of each token of each of `continuations` behind a prompt of
    /// [`Self::prompt`], which is read once.
    pub fn continuations(
        &self,
        prompt: &Tensor,
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>> {
        let (reading, last) = self.read(std::slice::from_ref(prompt))?;
        let network = self.language.transformer();
        let last = last.get(0)?;
        let (cache, rows) = (reading.cache(), continuations);
        Ok(continuation_log_probabilities(network, cache, &last, rows)?)
    }

    /// Logits `[B, L, V]` that predict each of `ids`, `B` rows of `L`, behind the prefix of an image each `[B, n, width]`.
    /// `present` says what is no padding, which is passed over and takes a position.
    pub fn caption_logits(
        &self,
        prefix: &Tensor,
        ids: &[Vec<u32>],
        present: &[Vec<u8>],
    ) -> Result<Tensor> {
        let (hidden, first) = self.caption_states(prefix, ids, present)?;
        let hidden = hidden.narrow(1, first, hidden.dim(1)? - 1 - first)?;
        Ok(self.language.transformer().logits(&hidden.contiguous()?)?)
    }

    /// The states `[B, n + L, width]` of images and captions, and the place of the state that predicts a caption's first
    /// token.
    fn caption_states(
        &self,
        prefix: &Tensor,
        ids: &[Vec<u32>],
        present: &[Vec<u8>],
    ) -> Result<(Tensor, usize)> {
        let network = self.language.transformer();
        let tokens = prefix.dim(1)?;
        let words = network.embed(ids)?.to_dtype(DType::F32)?;
        let embeds = Tensor::cat(&[&prefix.to_dtype(DType::F32)?, &words], 1)?;
        let len = embeds.dim(1)?;
        self.language
            .check_context("an image with its caption", len)?;
        let present: Vec<Vec<u8>> = present
            .iter()
            .map(|row| [vec![1; tokens], row.clone()].concat())
            .collect();
        let positions = vec![(0..len as u32).collect(); ids.len()];
        let next = Next {
            embeds: &embeds,
            present: Some(&present),
            positions: Some(&positions),
        };
        let hidden = network.advance(next, &mut network.start(ids.len()))?;
        Ok((hidden, tokens - 1))
    }

    /// The loss of training (equation 2 of the paper), the mean cross entropy of the tokens of `ids` behind the prefix of
    /// an image each, padding left out, and of how many.
    pub fn caption_loss(
        &self,
        prefix: &Tensor,
        ids: &[Vec<u32>],
        present: &[Vec<u8>],
    ) -> Result<(Tensor, usize)> {
        let (hidden, first) = self.caption_states(prefix, ids, present)?;
        let len = ids.first().map_or(0, Vec::len);
        let hidden = hidden.narrow(1, first, len)?.contiguous()?.flatten_to(1)?;
        let there = present.iter().flatten();
        let labels = ids.iter().flatten().zip(there);
        let labels: Vec<Option<u32>> = labels
            .map(|(&id, &there)| (there != 0).then_some(id))
            .collect();
        let (hidden, labels) = told(&hidden, &labels)?;
        loss::cross_entropy(&self.language.transformer().logits(&hidden)?, &labels)
    }

    /// The beam search of Hugging Face's programs with sums divided by `length ^ length_penalty`.
    pub fn beam(&self, width: usize, max_tokens: usize, length_penalty: f64) -> LengthBeam {
        LengthBeam::new(width, &[self.end], max_tokens).length_penalty(length_penalty)
    }

    /// The token that ends a text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The ids of a text. Without a vocabulary they are hashes of words.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        if let Some(tokenizer) = &self.tokenizer {
            return Ok(tokenizer.encode(text)?);
        }
        let rows = self.language.config().spec.vocabulary_size;
        let start = u32::from(self.end == 0);
        Ok(WordHash::new(rows, start, self.end)?.pieces(text)?)
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().copied().filter(|&id| id != self.end).collect();
        match &self.tokenizer {
            Some(tokenizer) => Ok(tokenizer.decode(&ids)?.trim().to_owned()),
            None => Ok(generate::numbers(&ids)),
        }
    }

    /// The vectors that stand for each of `images`, `[B, n, width]`. An image without a region is seen as zeros.
    fn prefixes(&self, images: &Visual) -> Result<Tensor> {
        self.prefixes_in(images, self.config.sight)
    }

    fn prefixes_in(&self, images: &Visual, sight: Sight) -> Result<Tensor> {
        if self.encoder.is_some() {
            return self.visual_prefix(images.pixels()?, sight);
        }
        let (features, present) = images.regions()?;
        let (batch, regions, found) = features.dims3()?;
        let wanted = self.config.feature_dim;
        if found != wanted {
            return Err(Error::FeatureWidth { found, wanted });
        }
        let features = if regions == 0 {
            Tensor::zeros((batch, wanted), DType::F32, features.device())?
        } else {
            let present = present.narrow(1, 0, 1)?.to_dtype(DType::F32)?;
            let first = features.narrow(1, 0, 1)?.squeeze(1)?.to_dtype(DType::F32)?;
            first.broadcast_mul(&present)?
        };
        self.visual_prefix(&features, sight)
    }

    /// The parts of a prompt, texts as ids.
    fn parts<'p>(
        &self,
        prompt: &Prompt<'p>,
        images: usize,
    ) -> Result<Vec<(Segment<'p>, Vec<u32>)>> {
        let part = |segment: &Segment<'p>| match *segment {
            Segment::Image(number) if number < images => Ok((*segment, Vec::new())),
            Segment::Image(_) => Err(empty_prompt()),
            Segment::Text(text) => Ok((*segment, self.ids(text)?)),
        };
        prompt.segments.iter().map(part).collect()
    }
}

fn empty_prompt() -> Error {
    Error::Prompt {
        wanted: "images that were given with it and texts, at least one of them",
    }
}

impl Model for Frozen {
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

impl Score for Frozen {
    /// The text stands directly behind the image.
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
        let context = self.language.config().spec.context;
        let room = context.saturating_sub(self.config.prefix_tokens).max(1);
        let ended = |text: &&str| {
            let mut ids = self.ids(text)?;
            ids.push(self.end);
            ids.truncate(room);
            Ok(ids)
        };
        let texts = texts.iter().map(ended).collect::<Result<Vec<Vec<u32>>>>()?;
        let (rows, present) = filled(&texts, self.end);
        let logits = self.caption_logits(&self.prefixes(images)?, &rows, &present)?;
        let of_row = |(row, ids): (usize, &Vec<u32>)| {
            Ok(log_probabilities_of(&logits.get(row)?.to_vec2()?, ids))
        };
        texts.iter().enumerate().map(of_row).collect()
    }
}

impl Generate for Frozen {
    /// The paper does not say how it decodes; greedy search is this project's choice.
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Greedy,
            max_tokens: None,
        }
    }

    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let count = images.batch()?;
        let parts = prompts
            .iter()
            .map(|prompt| self.parts(prompt, count))
            .collect::<Result<Vec<_>>>()?;
        let strategies = Strategies::new(decoding, self.end)?;
        let len = |(segment, ids): &(Segment<'_>, Vec<u32>)| match segment {
            Segment::Image(_) => self.config.prefix_tokens,
            Segment::Text(_) => ids.len(),
        };
        let lengths: Vec<usize> = parts
            .iter()
            .map(|parts| parts.iter().map(len).sum())
            .collect();
        if lengths.contains(&0) {
            return Err(empty_prompt());
        }
        let room = Room::new(&self.language, &lengths, decoding, |_| MOST_TOKENS)?;
        let mut written = Vec::new();
        if prompts.is_empty() {
            return Ok(written);
        }
        let prefixes = self.prefixes(images)?;
        for group in room.groups {
            let mut read = Vec::new();
            for parts in &parts[group.clone()] {
                let image = |(segment, _): &(Segment<'_>, Vec<u32>)| match segment {
                    Segment::Image(number) => prefixes.get(*number).map(Some),
                    Segment::Text(_) => Ok(None),
                };
                let images = parts.iter().map(image);
                let images = images.collect::<candle_core::Result<Vec<_>>>()?;
                let both = parts.iter().zip(&images);
                let parts: Vec<Part<'_>> = both
                    .map(|((_, ids), image)| Part::of(image.as_ref(), ids))
                    .collect();
                read.push(self.prompt(&parts, 1)?);
            }
            let each = group.map(|i| (room.limits[i], prompts[i].seed)).collect();
            let found = strategies.run(
                each,
                |width, limit| self.beam(width, limit, 1.0),
                |searches| {
                    let (mut network, first) = self.read(&read)?;
                    Ok(decode::run(&mut network, &first, searches)?)
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

fn shown(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    dims.join(", ")
}

fn check_config(check: Check<'_>, config: &FrozenConfig) -> Result<()> {
    if config.family != FAMILY.name {
        let wanted = format!("`{}`", FAMILY.name);
        return Err(check.wrong("family", &config.family, wanted));
    }
    check.range("prefix_tokens", config.prefix_tokens, 1, limit::CONTEXT)?;
    match config.encoder {
        Encoder::NfResnet => {
            check.range("image_size", config.image_size, 1, limit::IMAGE)?;
            check.range("stem", config.stem, 1, limit::WIDTH)?;
            check.range("depths", config.depths.len(), 1, limit::DEPTH)?;
            if config.channels.len() != config.depths.len() {
                let wanted = format!("{} numbers, as `depths`", config.depths.len());
                return Err(check.wrong("channels", &config.channels.len(), wanted));
            }
            for &depth in &config.depths {
                check.range("depths", depth, 1, limit::DEPTH)?;
            }
            for &channels in &config.channels {
                check.range("channels", channels, 4, limit::WIDTH)?;
            }
        }
        Encoder::Precomputed => {
            check.range("feature_dim", config.feature_dim, 1, limit::WIDTH)?;
            if config.mapper == Mapper::GridLinear {
                let wanted = "`linear` or `mlp`, for features that are one vector";
                return Err(check.wrong("mapper", &"grid_linear", wanted));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;

    fn config(encoder: &str, mapper: &str) -> Value {
        json!({
            "family": "frozen", "encoder": encoder, "mapper": mapper, "prefix_tokens": 4,
            "image_size": 64, "stem": 4, "depths": [1, 1], "channels": [8, 12], "feature_dim": 5,
            "lm_config": {
                "model_type": "gpt2", "vocab_size": 7, "n_positions": 12, "n_embd": 4, "n_layer": 1,
                "n_head": 2,
            },
        })
    }

    fn model(encoder: &str, mapper: &str) -> Frozen {
        let config: FrozenConfig = serde_json::from_value(config(encoder, mapper)).unwrap();
        check_config(Check::new(Path::new("c")), &config).unwrap();
        let language = LanguageConfig::parse(Path::new("c"), config.lm_config.clone()).unwrap();
        let weights = Weights::random(Seed(2), &Device::Cpu);
        let form = Form {
            input: config.input(Path::new("c")).unwrap(),
            tokenizer: None,
            config,
            language,
        };
        Frozen::assemble(&form, &weights, None).unwrap()
    }

    fn ones(shape: &[usize]) -> Tensor {
        Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
    }

    fn told<T>(result: Result<T>) -> String {
        result.map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn images_and_texts_come_in_any_order() {
        let model = model("precomputed", "mlp");
        let prefix = model.visual_prefix(&ones(&[2, 5]), Sight::Seen).unwrap();
        assert_eq!(prefix.dims(), [2, 4, 4]);
        let first = prefix.get(0).unwrap();
        let image = Part::Image(&first);
        let prompt = model.prompt(&[Part::Text(&[1, 2]), image, Part::Text(&[3])], 5);
        assert_eq!(prompt.unwrap().dims(), [7, 4]);
    }

    #[test]
    fn a_blind_model_sees_every_image_alike() {
        for (encoder, shape) in [("precomputed", vec![5]), ("nf_resnet", vec![3, 64, 64])] {
            let model = model(encoder, "linear");
            let images = |value: f64| {
                let shape = [&[1], shape.as_slice()].concat();
                (ones(&shape) * value).unwrap()
            };
            let see = |value, sight| {
                let prefix = model.visual_prefix(&images(value), sight).unwrap();
                prefix.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_ne!(see(1.0, Sight::Seen), see(3.0, Sight::Seen));
            assert_eq!(see(1.0, Sight::Blind), see(3.0, Sight::Blind));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_sides() {
        let model = model("precomputed", "mlp");
        let found = told(model.visual_prefix(&ones(&[2, 6]), Sight::Seen));
        assert_eq!(
            found,
            "the batch of images has the shape [2, 6], needed is features [B, 5]"
        );
        let long = [1; 10];
        let found = told(model.prompt(&[Part::Text(&long)], 3));
        let wanted = "has 13 tokens, the model's context is 12";
        assert!(found.ends_with(wanted), "{found}");
        assert!(told(model.prompt(&[], 0)).contains("at least one"));
        assert!(told(model.prompt(&[Part::Text(&[7])], 0)).contains("vocabulary of 7"));
        let grid = self::model("nf_resnet", "grid_linear");
        // 64 pixels make 16 x 16 cells behind the stem, 8 x 8 behind the second stage.
        let found = told(grid.visual_prefix(&ones(&[1, 3, 64, 64]), Sight::Seen));
        assert!(found.contains("`prefix_tokens`, 4, cells"), "{found}");
    }

    #[test]
    fn configurations_that_cannot_be_are_refused() {
        let refused = |field: &str, value: Value, wanted: &str| {
            let mut config = config("precomputed", "mlp");
            config[field] = value;
            let config: FrozenConfig = serde_json::from_value(config).unwrap();
            let found = told(check_config(Check::new(Path::new("c")), &config));
            assert!(found.contains(wanted), "{found}");
        };
        refused(
            "family",
            json!("clip"),
            "`family` is clip, expected `frozen`",
        );
        refused("prefix_tokens", json!(0), "`prefix_tokens` is 0");
        refused("feature_dim", json!(0), "`feature_dim` is 0");
        refused(
            "mapper",
            json!("grid_linear"),
            "features that are one vector",
        );
        let mut config = config("nf_resnet", "linear");
        config["channels"] = json!([8]);
        let config: FrozenConfig = serde_json::from_value(config).unwrap();
        let found = told(check_config(Check::new(Path::new("c")), &config));
        assert!(
            found.ends_with("expected 2 numbers, as `depths`"),
            "{found}"
        );
    }
}
