//! Frozen: images become vectors that a language model reads like words (Tsimpoukelli et al. 2021, arXiv 2106.13884),
//! and its open relatives: ClipCap's mappers of a pooled vector (Mokady et al. 2021, arXiv 2111.09734), LiMBeR's linear map
//! of every cell of a grid (Merullo et al. 2022, arXiv 2209.15162), MAGMA's with a norm behind it and adapters in the
//! language model (Eichenberg et al. 2021, arXiv 2112.05253).
//!
//! No weights of the paper are public. `config.json` ([`FrozenConfig`]) names the parts; `encoder.*` has timm's names
//! for `nf_resnet50`, or OpenAI's for CLIP's residual networks, `mapper.*` is ours, `clip_project.*` is ClipCap's,
//! `image_prefix.*` MAGMA's, `lm.*` holds the published names of the language model; `layout.rs` tells where else they are
//! found. A prompt is any row of images and texts.

mod config;
mod layout;
mod mapper;
mod objective;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_nn::Weights;
use sightline_nn::causal::{CausalNetwork, Next, continuation_log_probabilities, padded_left};
use sightline_nn::decode::{self, LengthBeam};
use sightline_nn::tower::{ModifiedResNetTrunk, NfResNet, NfResNetSpec};
use sightline_text::{Gpt2Tokenizer, PairTokenizer, WordHash};

pub use self::config::{
    AdapterConfig, AdapterType, Encoder, FrozenConfig, Mapper, MlpAdapter, Sight,
};
use self::layout::{Apart, Parts};
use self::mapper::Maps;
pub(crate) use self::objective::TRAINABLE;
use crate::check::Check;
use crate::folder::{self, CONFIG};
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
    files: |spec| layout::files(spec, spec.folder(FAMILY.name)?),
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
    tower: Option<Tower>,
    maps: Maps,
    language: LanguageModel,
    /// The token that ends a text.
    end: u32,
    /// `None`: ids are hashes of words, and are written as numbers.
    tokenizer: Option<Arc<Gpt2Tokenizer>>,
    input: VisualSpec,
}

/// What looks at images.
enum Tower {
    NfResNet(NfResNet),
    ClipResNet(ModifiedResNetTrunk),
}

impl Tower {
    /// `pixels` `[B, 3, H, W]`, normalised; returns the cells of the last map, row by row, `[B, h * w, C]`.
    fn cells(&self, pixels: &Tensor) -> Result<Tensor> {
        let map = match self {
            Self::NfResNet(net) => net.forward(pixels)?,
            Self::ClipResNet(net) => net.forward(pixels)?,
        };
        Ok(map.flatten_from(2)?.transpose(1, 2)?)
    }
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
        let language = config.language(folder)?;
        let tokenizer = match spec.tokenizer {
            TokenizerChoice::Checkpoint => {
                let folder = layout::tokenizer_folder(folder);
                Some(Arc::new(Gpt2Tokenizer::from_folder(&folder)?))
            }
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

impl Frozen {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) texts are hashes of words, and what
    /// is written are ids.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let form = Form::read(spec)?;
        let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
        // Of MAGMA, whose program holds a part of the language model under several names.
        weights.disregard("word_embedding");
        weights.disregard("transformer");
        let (config, precision) = (&form.config, spec.precision);
        let apart = Apart::open(folder, config, Some(&weights), precision, device)?;
        let model = Self::assemble(&form, &apart.within(Parts::of(&weights)), None);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        apart.finish(folder)?;
        model
    }

    /// A language model that is there already is taken as it is.
    fn assemble(form: &Form, parts: &Parts, language: Option<LanguageModel>) -> Result<Self> {
        let config = form.config.clone();
        let (tower, features) = match config.encoder {
            Encoder::NfResnet => {
                let spec = NfResNetSpec {
                    stem: config.stem,
                    depths: config.depths.clone(),
                    channels: config.channels.clone(),
                };
                let net = NfResNet::load(&parts.encoder, &spec)?;
                let features = config.channels.last().copied().unwrap_or(0);
                (Some(Tower::NfResNet(net)), features)
            }
            Encoder::ClipResnet => {
                // The pooling, which nobody asks.
                parts.encoder.disregard("attnpool");
                let spec = config.clip_resnet();
                let net = ModifiedResNetTrunk::load(&parts.encoder, &spec)?;
                (Some(Tower::ClipResNet(net)), spec.channels())
            }
            Encoder::Precomputed => (None, config.feature_dim),
        };
        let width = form.language.spec.embedding_width;
        Ok(Self {
            end: form.language.eos.first().copied().unwrap_or(0),
            maps: Maps::load(&parts.root, &parts.map, &config, (features, width))?,
            language: match language {
                Some(language) => language,
                None => LanguageModel::load(form.language.clone(), &parts.language)?,
            },
            tokenizer: form.tokenizer.clone(),
            input: form.input.clone(),
            config,
            tower,
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
        let (wanted, name) = match &self.tower {
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
        let features = match &self.tower {
            None => images,
            Some(tower) => {
                let cells = tower.cells(&images)?;
                if self.config.mapper.is_of_cells() {
                    cells.contiguous()?
                } else {
                    cells.mean(1)?
                }
            }
        };
        let x = self.maps.forward(&features)?;
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
        if self.tower.is_some() {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};
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
        config.check(Check::new(Path::new("c"))).unwrap();
        let language = config.language(Path::new("c")).unwrap();
        let weights = Weights::random(Seed(2), &Device::Cpu);
        let form = Form {
            input: config.input(Path::new("c")).unwrap(),
            tokenizer: None,
            config,
            language,
        };
        Frozen::assemble(&form, &Parts::of(&weights), None).unwrap()
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
            let found = told(config.check(Check::new(Path::new("c"))));
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
        refused("mapper", json!("grid_linear_norm"), "is grid_linear_norm");
        let refused_clip = |field: &str, value: Value, wanted: &str| {
            let mut config = config("clip_resnet", "grid_linear");
            config["depths"] = json!([1, 1, 1, 1]);
            config[field] = value;
            let config: FrozenConfig = serde_json::from_value(config).unwrap();
            let found = told(config.check(Check::new(Path::new("c"))));
            assert!(found.ends_with(wanted), "{found}");
        };
        refused_clip("image_size", json!(65), "expected a multiple of 32");
        refused_clip("stem", json!(5), "`stem` is 5, expected an even number");
        refused_clip("depths", json!([1]), "`depths` is 1, expected 4 numbers");
        refused_clip(
            "prefix_tokens",
            json!(5),
            "`prefix_tokens` is 5, expected 4, the cells of an image of 64 pixels",
        );
        refused_clip(
            "mapper",
            json!("transformer"),
            "`mapper` is transformer, expected `grid_linear` or `grid_linear_norm`, for the cells of a CLIP's network",
        );
        let mut config = config("nf_resnet", "linear");
        config["channels"] = json!([8]);
        let config: FrozenConfig = serde_json::from_value(config).unwrap();
        let found = told(config.check(Check::new(Path::new("c"))));
        assert!(
            found.ends_with("expected 2 numbers, as `depths`"),
            "{found}"
        );
    }
}
