//! Flamingo: a frozen language model that looks at images between its layers (Alayrac et al. 2022, arXiv 2204.14198), in
//! the form of its open reproduction (`OpenFlamingo`, Awadalla et al. 2023, arXiv 2308.01390).
//!
//! A folder holds `config.json` ([`config`]), a tokenizer of GPT-2's kind, and three parts, as they are published:
//!
//! | part | where |
//! | --- | --- |
//! | resampler, gated layers, tables of tokens | `flamingo.safetensors`, `checkpoint.pt` or `model.safetensors` |
//! | image tower | `vision.safetensors` (`open_clip`'s names), the folder `vision` (any CLIP), or `vision_encoder.*` of the first |
//! | language model | `lm.safetensors` with `lm_config`, the folder `lm` as published, or `lang_encoder.*` of the first |
//!
//! A prompt is any row of images and texts, each image before the text about it. Three things are of the published program:
//! patches of the image tower are taken before its last norm; a token looks at the last image before it and at no other
//! ([`Flamingo::logits`]); what is written ends with `<|endofchunk|>`. One is not: marks of images that the model itself writes
//! stand for no image, where the published program then looks at the first image of the prompt.

pub mod config;
mod layers;
mod layout;
mod objective;
pub mod prompts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::causal::{CausalCache, Next, continuation_log_probabilities_by};
use sightline_nn::decode::{self, Hypothesis, LengthBeam, Network, Search};
use sightline_nn::tower::Vit;
use sightline_nn::{CausalTransformer, KeysValues, Linear, Weights, in_parts};
use sightline_text::{Gpt2Tokenizer, PairTokenizer, WordHash};

pub use config::FlamingoConfig;
pub use layers::Resampler;

pub(crate) use self::objective::TRAINABLE;

use self::layers::{GatedLayer, Seen, visible};
use self::layout::Layout;
use self::prompts::{END_OF_CHUNK, IMAGE, Template};
use crate::check::Check;
use crate::folder::{self, CONFIG};
use crate::generate::{self, Room, Strategies};
use crate::language::LanguageConfig;
use crate::loss::{self, told};
use crate::score::log_probabilities_of;
use crate::{
    Capability, Decoding, Error, Family, Generate, Generated, LanguageModel, Model, ModelSpec,
    Prompt, Result, Score, Segment, Strategy, Visual, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "flamingo",
    paper: "https://arxiv.org/abs/2204.14198",
    capabilities: &[Capability::Generate, Capability::Score, Capability::Answer],
    needs_checkpoint: true,
    files: |spec| Layout::of(spec.folder(FAMILY.name)?)?.files(spec),
    offers: |spec| {
        FlamingoConfig::read(&spec.folder(FAMILY.name)?.join(CONFIG))?;
        Ok(FAMILY.capabilities)
    },
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = FlamingoConfig::read(&folder.join(CONFIG))?;
        Ok(VisualSpec::Pixels(Layout::of(folder)?.input(&config)?))
    },
    load: |spec, device| Ok(Box::new(Flamingo::load(spec, device)?)),
};

/// The most tokens that are written if nobody says how many: those of a caption in the published evaluation.
const MOST_TOKENS: usize = 20;

/// Images that the tower takes together.
const PART_IMAGES: usize = 8;

/// A Flamingo model.
pub struct Flamingo {
    config: FlamingoConfig,
    vision: Vit,
    resampler: Resampler,
    /// What each layer of the language model does first, if anything.
    gated: Vec<Option<GatedLayer>>,
    language: LanguageModel,
    marks: Marks,
    /// `None`: ids are hashes of words, and are written as numbers.
    tokenizer: Tokenizing,
    input: VisualSpec,
    device: Device,
}

/// `None`: ids are hashes of words.
type Tokenizing = Option<Arc<Gpt2Tokenizer>>;

/// Parts that Flamingo did not train, where they are there before the rest.
#[derive(Clone, Default)]
struct Kept {
    vision: Option<Vit>,
    /// With its own table of tokens, for which the checkpoint's stands in.
    language: Option<LanguageModel>,
}

/// Tokens that are no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// `<|endofchunk|>`, which ends a text.
    pub end: u32,
    /// `<image>`, which stands for an image.
    pub image: u32,
    /// What fills texts up.
    pub pad: u32,
}

/// Prompts in tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// A row for each prompt, of any lengths.
    pub ids: &'a [Vec<u32>],
    /// For each prompt the rows of `latents` that its marks of images stand for, in their order.
    pub images: &'a [Vec<u32>],
    /// `[N, latents, width]`, of [`Flamingo::resample`].
    pub latents: &'a Tensor,
}

/// Prompts that were read, and what is written behind them.
pub struct Reading<'m> {
    model: &'m Flamingo,
    cache: CausalCache,
    /// For each gated layer the last image of each prompt; `None` where no prompt has one.
    looked_at: Vec<Option<KeysValues>>,
    /// 0 for prompts without an image, `[B, 1, 1]`.
    has_image: Tensor,
}

impl Flamingo {
    /// Loads the checkpoint of `spec`. Without a vocabulary (the tokenizer `word-hash`) texts are hashes of words, and what
    /// is written are ids.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = FlamingoConfig::read(&folder.join(CONFIG))?;
        let layout = Layout::of(folder)?;
        let language = layout.language_config(&config)?;
        let tokenizer = layout.tokenizer(spec.tokenizer)?;
        let input = layout.input(&config)?;
        let weights = layout.checkpoint_weights(spec.precision, device)?;
        let own = layout.language_weights(spec.precision, device)?;
        let load = || {
            let own = own.as_ref();
            let kept = Kept {
                vision: Some(layout.load_vision(&config, &weights, device)?),
                language: own
                    .map(|own| LanguageModel::load(language.clone(), own))
                    .transpose()?,
            };
            Self::assemble(
                config.clone(),
                language.clone(),
                &weights,
                kept,
                None,
                tokenizer,
                input,
                device,
            )
        };
        let model = load();
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, &layout.checkpoint)?;
        if let Some(own) = &own {
            folder::finish(own, folder)?;
        }
        let model = model?;
        model.check_marks(folder)?;
        Ok(model)
    }

    /// A model of the given form with random weights, which writes ids, for measuring speed. `config` MUST be one that
    /// [`FlamingoConfig::read`] accepts, and `path` is what errors name.
    pub fn random(
        config: FlamingoConfig,
        path: &Path,
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        let weights = Weights::random(seed, device);
        let language = config.lm_config.clone().unwrap_or_default();
        let language = LanguageConfig::parse(path, language)?;
        let kept = Kept {
            vision: Some(layout::vit(&weights.scope("vision_encoder"), &config)?),
            language: None,
        };
        let input = layout::usual_input(&config, path)?;
        Self::assemble(config, language, &weights, kept, None, None, input, device)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a model, which are put together in one place"
    )]
    fn assemble(
        config: FlamingoConfig,
        language: LanguageConfig,
        weights: &Weights,
        kept: Kept,
        rows: Option<usize>,
        tokenizer: Tokenizing,
        input: ImageSpec,
        device: &Device,
    ) -> Result<Self> {
        let inside = weights.scope("lang_encoder");
        let body = language.body(&inside);
        let names = language.spec.names;
        let (width, depth) = (language.spec.width, language.spec.depth);
        let table = format!("{}.weight", names.tokens);
        let found = body.shape(&table).and_then(|shape| shape.first().copied());
        // Random weights have no shapes.
        let rows = rows.or(found);
        let rows = rows.unwrap_or(language.spec.vocabulary_size + 2);
        let marks = Marks::of(rows, config.pad_id);
        let resampler = Resampler::load(&weights.scope("perceiver"), &config)?;
        let layers = body.scope(names.layers);
        let layer = |i: usize| {
            let looks = (i + 1).is_multiple_of(config.cross_attn_every_n_layers);
            let weights = layers.scope(i).scope("gated_cross_attn_layer");
            looks
                .then(|| GatedLayer::load(&weights, width, &config))
                .transpose()
        };
        let gated = (0..depth).map(layer).collect::<sightline_nn::Result<_>>()?;
        let language = match kept.language {
            None => {
                let mut language = language;
                language.spec.vocabulary_size = rows;
                LanguageModel::load(language, &inside)?
            }
            Some(kept) => {
                let embedding = language.spec.embedding_width;
                let tokens = body.tensor(&table, &[rows, embedding])?;
                let head = head(&inside, &language, rows)?;
                kept.with_tokens(tokens, head)?
            }
        };
        Ok(Self {
            vision: match kept.vision {
                Some(vision) => vision,
                None => layout::vit(&weights.scope("vision_encoder"), &config)?,
            },
            resampler,
            gated,
            language,
            marks,
            tokenizer,
            input: VisualSpec::Pixels(input),
            device: device.clone(),
            config,
        })
    }

    /// The tokenizer has to be that of the language model before tokens were added to it, or after.
    fn check_marks(&self, folder: &Path) -> Result<()> {
        let rows = self.language.config().spec.vocabulary_size;
        let path = folder.join(CONFIG);
        let check = Check::new(&path);
        let bos = self.config.bos_id.unwrap_or(0);
        for (field, id) in [("pad_id", self.marks.pad), ("bos_id", bos)] {
            if id as usize >= rows {
                let wanted = format!("below {rows}, the rows of the checkpoint's token table");
                return Err(check.wrong(field, &id, wanted));
            }
        }
        let Some(tokenizer) = &self.tokenizer else {
            return Ok(());
        };
        for (piece, id) in [(END_OF_CHUNK, self.marks.end), (IMAGE, self.marks.image)] {
            if let Some(found) = tokenizer.id(piece).filter(|found| *found != id) {
                let wanted = format!("{id}, by the {rows} rows of the checkpoint's token table");
                return Err(check.wrong(piece, &found, wanted));
            }
        }
        let limit = match tokenizer.id(END_OF_CHUNK) {
            Some(_) => rows,
            None => self.marks.end as usize,
        };
        folder::check_vocabulary(folder, tokenizer.vocabulary_size(), limit)
    }

    /// The model's form.
    pub fn config(&self) -> &FlamingoConfig {
        &self.config
    }

    /// Its tokens that are no words.
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// The language model, with the tokens that were added.
    pub fn language(&self) -> &LanguageModel {
        &self.language
    }

    fn network(&self) -> &CausalTransformer {
        self.language.transformer()
    }

    /// `pixels` `[N, 3, H, W]`, normalised; returns the patches behind the tower's last layer `[N, v, width]`, without the
    /// class vector and before the last norm, as the weights were trained.
    pub fn image_tokens(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(in_parts(pixels, PART_IMAGES, |pixels| {
            let all = self.vision.forward(pixels)?;
            let patches = all.dim(1)? - 1;
            Ok(all.narrow(1, 1, patches)?.contiguous()?)
        })?)
    }

    /// `tokens` `[N, F, v, width]` of images of `F` frames, which is 1 for pictures; the n-th is at `places[n]` among the
    /// images of its prompt. Returns `[N, latents, width]`.
    pub fn resample(&self, tokens: &Tensor, places: &[usize]) -> Result<Tensor> {
        Ok(self.resampler.forward(tokens, places)?)
    }

    /// Reads `prompts`, of which there MUST be one. Returns what is written behind them and the states of the last norm
    /// `[B, T, embedding width]`, those of shorter prompts behind ones that mean nothing.
    pub fn read(&self, prompts: Tokens<'_>) -> Result<(Reading<'_>, Tensor)> {
        let longest = prompts.ids.iter().map(Vec::len).max().unwrap_or(0);
        let fill = |ids: &Vec<u32>| longest - ids.len();
        let filled = |ids: &Vec<u32>| [vec![self.marks.pad; fill(ids)], ids.clone()].concat();
        let present = |ids: &Vec<u32>| [vec![0; fill(ids)], vec![1; ids.len()]].concat();
        let rows: Vec<Vec<u32>> = prompts.ids.iter().map(filled).collect();
        let present: Vec<Vec<u8>> = prompts.ids.iter().map(present).collect();
        let tokens = Tokens {
            ids: &rows,
            ..prompts
        };
        let is_even = present.iter().flatten().all(|&there| there != 0);
        self.read_filled(tokens, (!is_even).then_some(&present))
    }

    /// Logits `[B, T, V]` of what comes behind each token of `prompts`, rows of one length of which `present` says what is
    /// no padding.
    pub fn logits(&self, prompts: Tokens<'_>, present: &[Vec<u8>]) -> Result<Tensor> {
        let (_, hidden) = self.read_filled(prompts, Some(present))?;
        Ok(self.network().logits(&hidden)?)
    }

    /// The loss of training, the mean cross entropy of the tokens that [`labels`] names behind those before them, and of how
    /// many. `prompts` are rows of one length, of which `present` says what is no padding.
    pub fn text_loss(
        &self,
        prompts: Tokens<'_>,
        present: &[Vec<u8>],
        interleaved: bool,
    ) -> Result<(Tensor, usize)> {
        let next = prompts.ids.iter().flat_map(|ids| {
            let labels = labels(self.marks, ids, interleaved).into_iter();
            labels.skip(1).chain([None])
        });
        let next: Vec<Option<u32>> = next.collect();
        let (_, hidden) = self.read_filled(prompts, Some(present))?;
        let (states, next) = told(&hidden.flatten_to(1)?, &next)?;
        loss::cross_entropy(&self.network().logits(&states)?, &next)
    }

    fn read_filled(
        &self,
        prompts: Tokens<'_>,
        present: Option<&[Vec<u8>]>,
    ) -> Result<(Reading<'_>, Tensor)> {
        let Tokens {
            ids,
            images,
            latents,
        } = prompts;
        let len = ids.first().map_or(0, Vec::len);
        self.check_context(len)?;
        if ids.len() != images.len() || len == 0 {
            return Err(empty_prompt());
        }
        for (ids, images) in ids.iter().zip(images) {
            let marks = ids.iter().filter(|&&id| id == self.marks.image).count();
            if marks != images.len() {
                return Err(Error::Count {
                    what: "images of a prompt",
                    found: images.len(),
                    wanted: marks,
                });
            }
        }
        let (_, vectors, width) = latents.dims3()?;
        let most = images.iter().map(Vec::len).max().unwrap_or(0);
        let has_any = most > 0;
        let select = |rows: Vec<u32>, each: usize| -> Result<Tensor> {
            let index = Tensor::from_vec(rows, ids.len() * each, latents.device())?;
            let chosen = latents.index_select(&index, 0)?;
            Ok(chosen.reshape((ids.len(), each * vectors, width))?)
        };
        // What fills a row up no token looks at.
        let filled = images.iter().flat_map(|images| {
            let filling = std::iter::repeat_n(0, most - images.len());
            images.iter().copied().chain(filling)
        });
        let all = has_any
            .then(|| select(filled.collect(), most))
            .transpose()?;
        let last = images.iter().map(|row| row.last().copied().unwrap_or(0));
        let last = has_any.then(|| select(last.collect(), 1)).transpose()?;
        let (mask, has_image) = visible(ids, self.marks.image, most, vectors, latents.device())?;

        let network = self.network();
        let embeds = network.embed(ids)?;
        let next = Next {
            present,
            ..Next::new(&embeds)
        };
        let mut cache = network.start(ids.len());
        let mut looked_at = Vec::new();
        let hidden = network.advance_through(next, &mut cache, &mut |i, x| {
            let Some(layer) = &self.gated[i] else {
                return Ok(x);
            };
            let media = all.as_ref().map(|all| layer.media(all)).transpose()?;
            let last = last.as_ref().map(|last| layer.media(last)).transpose()?;
            looked_at.push(last);
            let seen = media.as_ref().map(|media| Seen {
                media,
                mask: Some(&mask),
                has_image: Some(&has_image),
            });
            layer.forward(&x, seen)
        })?;
        let has_image: Vec<f32> = images
            .iter()
            .map(|row| if row.is_empty() { 0.0 } else { 1.0 })
            .collect();
        let reading = Reading {
            model: self,
            cache,
            looked_at,
            has_image: Tensor::from_vec(has_image, (ids.len(), 1, 1), latents.device())?,
        };
        Ok((reading, hidden))
    }

    /// Writes behind each of `prompts` by a search each; returns what they found, the best first.
    pub fn search<S: Search>(
        &self,
        prompts: Tokens<'_>,
        searches: Vec<S>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let (mut reading, hidden) = self.read(prompts)?;
        let first = self.network().logits(&behind(&hidden)?)?;
        Ok(decode::run(&mut reading, &first, searches)?)
    }

    /// The published beam search, whose scores are sums divided by `length ^ length_penalty`.
    pub fn beam(&self, width: usize, max_tokens: usize, length_penalty: f64) -> LengthBeam {
        LengthBeam::new(width, &[self.marks.end], max_tokens).length_penalty(length_penalty)
    }

    /// The natural logarithm of the probability of each token of each of `continuations` behind one prompt, which is read
    /// once.
    pub fn continuations(
        &self,
        prompt: Tokens<'_>,
        continuations: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>> {
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        let len = prompt.ids.iter().map(Vec::len).max().unwrap_or(0);
        self.check_context(len.saturating_add(longest))?;
        let (mut reading, hidden) = self.read(prompt)?;
        let last = self.network().logits(&behind(&hidden)?)?.get(0)?;
        let found =
            continuation_log_probabilities_by(self.network(), &last, continuations, move |ids| {
                reading.select(&vec![0; ids.len()])?;
                reading.advance(ids)
            });
        Ok(found?)
    }

    fn check_context(&self, tokens: usize) -> Result<()> {
        let what = "the prompt with what is to be written";
        self.language.check_context(what, tokens)
    }

    /// The ids of a text, in which `<|endofchunk|>` may stand. Without a vocabulary they are hashes of words.
    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        if text.contains(IMAGE) {
            return Err(Error::Prompt {
                wanted: "images and texts, and no text holds `<image>`",
            });
        }
        let rows = self.language.config().spec.vocabulary_size;
        let mut ids = Vec::new();
        for (number, part) in text.split(END_OF_CHUNK).enumerate() {
            if number > 0 {
                ids.push(self.marks.end);
            }
            if let Some(tokenizer) = &self.tokenizer {
                ids.extend(tokenizer.encode(part)?);
            } else {
                let hash = WordHash::new(rows, self.marks.image, self.marks.end)?;
                ids.extend(hash.pieces(part)?);
            }
        }
        Ok(ids)
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        let Marks { end, image, pad } = self.marks;
        let is_word = |id: &u32| ![end, image].contains(id) && (*id != pad || pad < end);
        let ids: Vec<u32> = ids.iter().copied().filter(is_word).collect();
        match &self.tokenizer {
            Some(tokenizer) => Ok(tokenizer.decode(&ids)?),
            None => Ok(generate::numbers(&ids)),
        }
    }

    /// The images of a prompt, its ids and the template that it is of.
    fn prompt(&self, prompt: &Prompt<'_>, images: usize) -> Result<Asked> {
        let captions = Template::named("caption").map_or("", |template| &template.query);
        let mut segments = prompt.segments.to_vec();
        // An image alone is to be captioned, which the published evaluation asks for in words.
        if matches!(segments[..], [Segment::Image(_)]) {
            segments.push(Segment::Text(captions));
        }
        let mut asked = Asked {
            ids: self.config.bos_id.into_iter().collect(),
            images: Vec::new(),
            template: None,
        };
        for segment in segments {
            match segment {
                Segment::Image(number) if number < images => {
                    asked.images.push(number);
                    asked.ids.push(self.marks.image);
                }
                Segment::Image(_) => return Err(empty_prompt()),
                Segment::Text(text) => {
                    asked.template = Template::of_prompt(text);
                    asked.ids.extend(self.ids(text)?);
                }
            }
        }
        if asked.ids.is_empty() {
            return Err(empty_prompt());
        }
        Ok(asked)
    }

    /// Latents of the images that `prompts` name, each made once, and their rows.
    fn latents(&self, pixels: &Tensor, prompts: &[Asked]) -> Result<(Tensor, Vec<Vec<u32>>)> {
        // (image, place), and its row.
        let mut rows: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        let depends = self.resampler.depends_on_place();
        let key = |(place, &image): (usize, &usize)| (image, if depends { place } else { 0 });
        let keys = |asked: &Asked| asked.images.iter().enumerate().map(key).collect::<Vec<_>>();
        for key in prompts.iter().flat_map(keys) {
            rows.entry(key).or_insert(0);
        }
        for (row, number) in rows.values_mut().zip(0..) {
            *row = number;
        }
        let named: Vec<Vec<u32>> = prompts
            .iter()
            .map(|asked| keys(asked).iter().map(|key| rows[key]).collect())
            .collect();
        if rows.is_empty() {
            let shape = (
                0,
                self.config.perceiver.num_latents,
                self.config.vision_width,
            );
            return Ok((Tensor::zeros(shape, DType::F32, &self.device)?, named));
        }
        let mut images: Vec<usize> = rows.keys().map(|&(image, _)| image).collect();
        images.dedup();
        let select = |tensor: &Tensor, rows: Vec<u32>| -> Result<Tensor> {
            let count = rows.len();
            let index = Tensor::from_vec(rows, count, tensor.device())?;
            Ok(tensor.index_select(&index, 0)?)
        };
        let numbers = images.iter().map(|&image| image as u32).collect();
        let tokens = self.image_tokens(&select(pixels, numbers)?)?;
        let of_key = |&(image, _): &(usize, usize)| images.partition_point(|&i| i < image) as u32;
        let tokens = select(&tokens, rows.keys().map(of_key).collect())?;
        let places: Vec<usize> = rows.keys().map(|&(_, place)| place).collect();
        Ok((self.resample(&tokens.unsqueeze(1)?, &places)?, named))
    }
}

/// A prompt in tokens.
struct Asked {
    ids: Vec<u32>,
    /// Numbers of the images given with the prompts.
    images: Vec<usize>,
    template: Option<&'static Template>,
}

impl Marks {
    /// Rows that are added to a table of tokens.
    fn added(pad: Option<u32>) -> usize {
        if pad.is_some() { 2 } else { 3 }
    }

    /// Those of a table of `rows`: the two marks were added last, and padding behind them if there was none.
    fn of(rows: usize, pad: Option<u32>) -> Self {
        let end = rows.saturating_sub(Self::added(pad)) as u32;
        Self {
            end,
            image: end + 1,
            pad: pad.unwrap_or(end + 2),
        }
    }
}

/// The head of a language model whose head is no copy of its tokens.
fn head(
    weights: &Weights,
    language: &LanguageConfig,
    rows: usize,
) -> sightline_nn::Result<Option<Linear>> {
    use sightline_nn::causal::HeadName;
    let width = language.spec.embedding_width;
    match language.spec.names.head {
        HeadName::Tied => {
            // Some files hold the tied copy as well.
            weights.disregard("lm_head");
            Ok(None)
        }
        HeadName::Own { name, has_bias } => {
            let scope = weights.scope(name);
            let load = if has_bias {
                Linear::load
            } else {
                Linear::load_without_bias
            };
            load(&scope, width, rows).map(Some)
        }
    }
}

/// The states of the last tokens `[B, width]`.
fn behind(hidden: &Tensor) -> Result<Tensor> {
    let last = hidden.dim(1)?.saturating_sub(1);
    Ok(hidden.narrow(1, last, 1)?.squeeze(1)?)
}

fn empty_prompt() -> Error {
    Error::Prompt {
        wanted: "images that were given with it and texts, at least one of them",
    }
}

impl Reading<'_> {
    /// Reads on: `ids` has a row of the same length for each prompt. Returns `[B, T, embedding width]`.
    fn advance(&mut self, ids: &[Vec<u32>]) -> sightline_nn::Result<Tensor> {
        let Self {
            model,
            cache,
            looked_at,
            has_image,
        } = self;
        let network = model.network();
        let mut media = looked_at.iter();
        let embeds = network.embed(ids)?;
        network.advance_through(Next::new(&embeds), cache, &mut |i, x| {
            let Some(layer) = &model.gated[i] else {
                return Ok(x);
            };
            // Every token looks at the last image of its prompt.
            let seen = media.next().and_then(Option::as_ref).map(|media| Seen {
                media,
                mask: None,
                has_image: Some(has_image),
            });
            layer.forward(&x, seen)
        })
    }
}

impl Network for Reading<'_> {
    fn step(&mut self, tokens: &[u32]) -> sightline_nn::Result<Tensor> {
        let ids: Vec<Vec<u32>> = tokens.iter().map(|&token| vec![token]).collect();
        let hidden = self.advance(&ids)?.squeeze(1)?;
        self.model.network().logits(&hidden)
    }

    fn select(&mut self, parents: &[usize]) -> sightline_nn::Result<()> {
        self.cache.select(parents)?;
        for media in self.looked_at.iter_mut().flatten() {
            *media = media.select(parents)?;
        }
        let index: Vec<u32> = parents.iter().map(|&row| row as u32).collect();
        let index = Tensor::from_vec(index, parents.len(), self.has_image.device())?;
        self.has_image = self.has_image.index_select(&index, 0)?;
        Ok(())
    }
}

impl Model for Flamingo {
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

impl Score for Flamingo {
    /// The text stands directly behind the image and ends with `<|endofchunk|>`, as in training.
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
        let bos = self.config.bos_id;
        let room = self.language.config().spec.context - usize::from(bos.is_some());
        let ended = |text: &&str| {
            let mut ids = self.ids(text)?;
            ids.push(self.marks.end);
            ids.truncate(room);
            Ok(ids)
        };
        let texts = texts.iter().map(ended).collect::<Result<Vec<Vec<u32>>>>()?;
        let asked = |(number, text): (usize, &Vec<u32>)| {
            let before = text.split_last().map_or(&[][..], |(_, before)| before);
            let start = bos.into_iter().chain([self.marks.image]);
            Asked {
                ids: start.chain(before.iter().copied()).collect(),
                images: vec![number],
                template: None,
            }
        };
        let asked: Vec<Asked> = texts.iter().enumerate().map(asked).collect();
        let (latents, images) = self.latents(pixels, &asked)?;
        let ids: Vec<Vec<u32>> = asked.into_iter().map(|asked| asked.ids).collect();
        let (_, hidden) = self.read(Tokens {
            ids: &ids,
            images: &images,
            latents: &latents,
        })?;
        let longest = hidden.dim(1)?;
        // One row at a time: the logits of a batch are large.
        let of_row = |(row, text): (usize, &Vec<u32>)| {
            let states = hidden.get(row)?;
            let states = states.narrow(0, longest - text.len(), text.len())?;
            let logits = self.network().logits(&states)?.to_vec2()?;
            Ok(log_probabilities_of(&logits, text))
        };
        texts.iter().enumerate().map(of_row).collect()
    }
}

impl Generate for Flamingo {
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Beam { width: 3 },
            max_tokens: None,
        }
    }

    fn end_of_shot(&self) -> &'static str {
        "<|endofchunk|>\n"
    }

    /// An image alone is captioned behind the prompt of the published evaluation, `Output:`. What is written behind prompts
    /// that end as those of the evaluation do is cut as it cuts it ([`prompts`]).
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
        let strategies = Strategies::new(decoding, self.marks.end)?;
        let lengths: Vec<usize> = asked.iter().map(|asked| asked.ids.len()).collect();
        let room = Room::new(&self.language, &lengths, decoding, |_| MOST_TOKENS)?;
        let (latents, rows) = self.latents(pixels, &asked)?;
        let mut written = Vec::new();
        for group in room.groups {
            let ids = asked[group.clone()].iter().map(|asked| asked.ids.clone());
            let ids: Vec<Vec<u32>> = ids.collect();
            let tokens = Tokens {
                ids: &ids,
                images: &rows[group.clone()],
                latents: &latents,
            };
            let each = group.clone().map(|i| (room.limits[i], prompts[i].seed));
            let found = strategies.run(
                each.collect(),
                |width, limit| self.beam(width, limit, 0.0),
                |searches| self.search(tokens, searches),
            )?;
            for (asked, best) in asked[group].iter().zip(found) {
                let text = self.text(&best.ids)?;
                written.push(Generated {
                    text: match asked.template {
                        Some(template) => template.cut(&text),
                        None => text.trim().to_owned(),
                    },
                    tokens: best.ids,
                    score: best.score,
                });
            }
        }
        Ok(written)
    }
}

/// The labels of the next tokens in training: `None` for tokens that are not learned. `ids` are one text; with `interleaved`
/// a text before the first image, and one between `<|endofchunk|>` and the next image, is not learned either.
pub fn labels(marks: Marks, ids: &[u32], interleaved: bool) -> Vec<Option<u32>> {
    let mut is_told = !interleaved;
    let label = |&id: &u32| {
        if id == marks.image {
            is_told = true;
            return None;
        }
        let label = (is_told && id != marks.pad).then_some(id);
        if id == marks.end && interleaved {
            is_told = false;
        }
        label
    };
    ids.iter().map(label).collect()
}
