//! CLIP: an image tower and a text tower into one space (Radford et al. 2021, arXiv 2103.00020).
//!
//! Reads the Hugging Face layout as published: `config.json`, the weights, `preprocessor_config.json` (CLIP's
//! defaults when absent), `tokenizer.json` or `vocab.json` with `merges.txt`. Vision transformers only.
//!
//! Both towers end in a projection without bias; both results are divided by their length. The similarity of an
//! image and a text is their dot product, and its logit that times `exp(logit_scale)` (figure 3 of the paper).
//!
//! Texts of a batch are padded to the longest of them, not to the full context: the causal mask keeps what stands
//! behind the pooled position from having any influence.

pub mod config;

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::json;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_core::{ImageSpec, Seed};
use sightline_nn::attention::AttentionNames;
use sightline_nn::block::BlockNames;
use sightline_nn::tower::{
    TextNames, TextTransformer, TextTransformerSpec, Vit, VitNames, VitSpec,
};
use sightline_nn::{
    Activation, AttentionSpec, BlockSpec, KeyValue, Linear, Mask, NormPlace, Weights, unit_length,
};
use sightline_text::{ClipTokenizer, Tokenizer, WordHash};

pub use config::{ClipConfig, TextConfig, TextEnd, VisionConfig};

use crate::folder::read_json;
use crate::{
    Capability, CheckpointFile, Embed, Error, Family, FileRole, Model, ModelSpec, Result,
    TokenizerChoice, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "clip",
    paper: "https://arxiv.org/abs/2103.00020",
    capabilities: &[Capability::Embed],
    needs_checkpoint: true,
    files,
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = ClipConfig::read(&folder.join(CONFIG))?;
        Ok(VisualSpec::Pixels(read_input(folder, &config)?))
    },
    load: |spec, device| Ok(Box::new(Clip::load(spec, device)?)),
};

const CONFIG: &str = "config.json";
const PREPROCESSOR: &str = "preprocessor_config.json";

const BLOCK: BlockNames = BlockNames {
    attention: "self_attn",
    attention_norm: "layer_norm1",
    expand: "mlp.fc1",
    contract: "mlp.fc2",
    feed_forward_norm: "layer_norm2",
};

const ATTENTION: AttentionNames = AttentionNames {
    query: "q_proj",
    key: "k_proj",
    value: "v_proj",
    out: "out_proj",
};

const VISION: VitNames = VitNames {
    class: "embeddings.class_embedding",
    patch: "embeddings.patch_embedding.weight",
    positions: "embeddings.position_embedding.weight",
    // Spelled like this in every published file.
    norm_before: "pre_layrnorm",
    blocks: "encoder.layers",
    norm_after: "post_layernorm",
};

const TEXT: TextNames = TextNames {
    tokens: "embeddings.token_embedding",
    positions: "embeddings.position_embedding",
    blocks: "encoder.layers",
    norm_after: "final_layer_norm",
};

/// A CLIP model.
pub struct Clip {
    vision: Vit,
    text: TextTransformer,
    visual_projection: Linear,
    text_projection: Linear,
    scale: f32,
    end: TextEnd,
    context_length: usize,
    width: usize,
    tokenizer: Box<dyn Tokenizer>,
    input: VisualSpec,
    device: Device,
}

/// The files of a checkpoint that [`Clip::load`] reads.
fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let mut files = vec![(folder.join(CONFIG), FileRole::Config)];
    let weights = Weights::files(folder)?;
    files.extend(weights.into_iter().map(|path| (path, FileRole::Weights)));
    if spec.tokenizer == TokenizerChoice::Checkpoint {
        let tokenizer = ClipTokenizer::files(folder)?;
        files.extend(
            tokenizer
                .into_iter()
                .map(|path| (path, FileRole::Tokenizer)),
        );
    }
    let preprocessor = folder.join(PREPROCESSOR);
    if preprocessor.is_file() {
        files.push((preprocessor, FileRole::Preprocessor));
    }
    let file = |(path, role)| CheckpointFile { path, role };
    Ok(files.into_iter().map(file).collect())
}

impl Clip {
    /// Loads the checkpoint of `spec`.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = ClipConfig::read(&folder.join(CONFIG))?;
        let input = read_input(folder, &config)?;
        let tokenizer = read_tokenizer(folder, &config, spec.tokenizer)?;
        let weights = Weights::open(folder, device)?;
        let model = Self::assemble(&config, &weights, tokenizer, input, device);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        let unused = weights.finish()?;
        if !unused.is_empty() {
            tracing::warn!(
                folder = %folder.display(),
                count = unused.len(),
                first = unused[0],
                "checkpoint holds tensors that the model does not use"
            );
        }
        model
    }

    /// A model of the given sizes with random weights and [`WordHash`] ids, for measuring speed. `config` MUST
    /// be one that [`ClipConfig::read`] accepts.
    pub fn random(config: &ClipConfig, seed: Seed, device: &Device) -> Result<Self> {
        let folder = Path::new("");
        let tokenizer = read_tokenizer(folder, config, TokenizerChoice::WordHash)?;
        let input = default_input(folder, config)?;
        let weights = Weights::random(seed, device);
        Self::assemble(config, &weights, tokenizer, input, device)
    }

    fn assemble(
        config: &ClipConfig,
        weights: &Weights,
        tokenizer: Box<dyn Tokenizer>,
        input: ImageSpec,
        device: &Device,
    ) -> Result<Self> {
        let (text, vision, width) = (&config.text, &config.vision, config.projection_dim);
        let vision_block = block(
            vision.hidden_size,
            vision.num_attention_heads,
            vision.intermediate_size,
            (vision.hidden_act, vision.layer_norm_eps),
        );
        let text_block = block(
            text.hidden_size,
            text.num_attention_heads,
            text.intermediate_size,
            (text.hidden_act, text.layer_norm_eps),
        );
        let vit = VitSpec {
            image_size: vision.image_size,
            patch_size: vision.patch_size,
            depth: vision.num_hidden_layers,
            block: vision_block,
            names: VISION,
        };
        let transformer = TextTransformerSpec {
            vocabulary_size: text.vocab_size,
            context_length: text.max_position_embeddings,
            depth: text.num_hidden_layers,
            block: text_block,
            names: TEXT,
        };
        let projection = |name, from| Linear::load_without_bias(&weights.scope(name), from, width);
        Ok(Self {
            vision: Vit::load(&weights.scope("vision_model"), &vit)?,
            text: TextTransformer::load(&weights.scope("text_model"), &transformer)?,
            visual_projection: projection("visual_projection", vision.hidden_size)?,
            text_projection: projection("text_projection", text.hidden_size)?,
            scale: weights.tensor("logit_scale", &[])?.exp()?.to_scalar()?,
            end: text.end(),
            context_length: text.max_position_embeddings,
            width,
            tokenizer,
            input: VisualSpec::Pixels(input),
            device: device.clone(),
        })
    }

    /// The vision tower.
    pub fn vision(&self) -> &Vit {
        &self.vision
    }

    /// The text tower.
    pub fn text(&self) -> &TextTransformer {
        &self.text
    }

    /// Pooled vectors of the vision tower `[B, its width]` into the common space `[B, E]`, not normalised.
    pub fn project_images(&self, pooled: &Tensor) -> Result<Tensor> {
        Ok(self.visual_projection.forward(pooled)?)
    }

    /// Pooled vectors of the text tower `[B, its width]` into the common space `[B, E]`, not normalised.
    pub fn project_texts(&self, pooled: &Tensor) -> Result<Tensor> {
        Ok(self.text_projection.forward(pooled)?)
    }

    /// `pixels` `[B, 3, H, W]`, normalised; returns `[B, E]`, not normalised.
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        let sequence = self.vision.forward(pixels)?;
        self.project_images(&self.vision.pool(&sequence)?)
    }

    /// `ids`: `B` rows of the same length; returns `[B, E]`, not normalised. A padding mask changes nothing when
    /// padding stands behind the end token.
    pub fn text_features(&self, ids: &[Vec<u32>], padding: Option<&Mask>) -> Result<Tensor> {
        let sequence = self.text.forward(ids, padding)?;
        self.project_texts(&self.pool_texts(&sequence, ids)?)
    }

    /// The vectors of `sequence` `[B, T, width]` at the end token of each text; `[B, width]`.
    pub fn pool_texts(&self, sequence: &Tensor, ids: &[Vec<u32>]) -> Result<Tensor> {
        let (batch, len, _) = sequence.dims3()?;
        let rows: Vec<u32> = ids
            .iter()
            .enumerate()
            .map(|(row, ids)| (row * len + self.end.position(ids)) as u32)
            .collect();
        let rows = Tensor::from_vec(rows, batch, sequence.device())?;
        Ok(sequence.flatten(0, 1)?.index_select(&rows, 0)?)
    }
}

impl Model for Clip {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

impl Embed for Clip {
    fn width(&self) -> usize {
        self.width
    }

    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(unit_length(&self.image_features(pixels)?)?)
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        if texts.is_empty() {
            return Ok(Tensor::zeros((0, self.width), DType::F32, &self.device)?);
        }
        let encoded = texts
            .iter()
            .map(|text| self.tokenizer.encode(text, self.context_length))
            .collect::<Result<Vec<_>, _>>()?;
        let longest = encoded.iter().map(|text| text.len).max().unwrap_or(0);
        let end = self.tokenizer.end();
        let padded = encoded
            .into_iter()
            .map(|text| text.padded(longest, end).ids);
        let ids: Vec<Vec<u32>> = padded.collect();
        Ok(unit_length(&self.text_features(&ids, None)?)?)
    }

    fn scale(&self) -> f32 {
        self.scale
    }
}

fn block(
    width: usize,
    heads: usize,
    hidden: usize,
    (activation, norm_eps): (Activation, f64),
) -> BlockSpec {
    BlockSpec {
        attention: AttentionSpec {
            width,
            heads,
            head_dim: width / heads,
            key_value: KeyValue::Own,
            names: ATTENTION,
        },
        hidden,
        activation,
        norm_place: NormPlace::Pre,
        norm_eps,
        names: BLOCK,
    }
}

fn read_tokenizer(
    folder: &Path,
    config: &ClipConfig,
    choice: TokenizerChoice,
) -> Result<Box<dyn Tokenizer>> {
    let rows = config.text.vocab_size;
    let tokenizer: Box<dyn Tokenizer> = match choice {
        TokenizerChoice::Checkpoint => Box::new(ClipTokenizer::from_folder(folder)?),
        TokenizerChoice::WordHash => {
            let (start, end) = config.text.start_and_end();
            Box::new(WordHash::new(rows, start, end)?)
        }
    };
    if tokenizer.vocabulary_size() > rows {
        return Err(Error::Vocabulary {
            folder: folder.to_owned(),
            tokenizer: tokenizer.vocabulary_size(),
            model: rows,
        });
    }
    Ok(tokenizer)
}

fn read_input(folder: &Path, config: &ClipConfig) -> Result<ImageSpec> {
    let path = folder.join(PREPROCESSOR);
    if !path.is_file() {
        return default_input(folder, config);
    }
    let spec = from_hugging_face(&read_json(&path)?).map_err(|source| Error::ImageSpec {
        path: path.clone(),
        source,
    })?;
    let image_size = config.vision.image_size;
    let (width, height) = (spec.size.width, spec.size.height);
    if (width as usize, height as usize) != (image_size, image_size) {
        return Err(Error::ImageSize {
            path,
            width,
            height,
            image_size,
        });
    }
    Ok(spec)
}

/// What CLIP's image processor does when nothing else is said, at the size of the vision tower.
fn default_input(folder: &Path, config: &ClipConfig) -> Result<ImageSpec> {
    let size = config.vision.image_size;
    let defaults = json!({
        "image_processor_type": "CLIPImageProcessor",
        "size": { "shortest_edge": size },
        "crop_size": { "height": size, "width": size },
    });
    from_hugging_face(&defaults).map_err(|source| Error::ImageSpec {
        path: folder.join(PREPROCESSOR),
        source,
    })
}
