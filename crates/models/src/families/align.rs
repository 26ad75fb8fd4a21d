//! ALIGN: an `EfficientNet` and a BERT into one space (Jia et al. 2021, arXiv 2102.05918).
//!
//! Reads the Hugging Face layout as published: `config.json`, the weights, `preprocessor_config.json`, and
//! `tokenizer.json` or `vocab.txt`.
//!
//! The vector of an image is the mean over the positions of the vision tower's last map, without a projection; that of
//! a text the projection of its first position, without BERT's pooler. Both are divided by their length. The logit of
//! an image and a text is their dot product divided by a learned temperature (equation 1 of the paper).

pub mod config;
mod objective;

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sightline_core::ImageSpec;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_nn::tower::{BertEmbedding, BertEncoder, BertInput, EfficientNet, Pooling};
use sightline_nn::{Linear, Mask, Weights, unit_length};
use sightline_text::{BertTokenizer, PairTokenizer, WordHash};

pub use config::{AlignConfig, AlignVisionConfig};

pub(crate) use self::objective::TRAINABLE;

use crate::folder::{self, CONFIG, read_json};
use crate::loss;
use crate::{
    Capability, CheckpointFile, Embed, Error, Family, FileRole, Model, ModelSpec, Result,
    TokenizerChoice, VisualSpec,
};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "align",
    paper: "https://arxiv.org/abs/2102.05918",
    capabilities: &[Capability::Embed],
    needs_checkpoint: true,
    files,
    offers: |_| Ok(FAMILY.capabilities),
    input: |spec| {
        let folder = spec.folder(FAMILY.name)?;
        let config = AlignConfig::read(&folder.join(CONFIG))?;
        Ok(VisualSpec::Pixels(read_input(folder, &config)?))
    },
    load: |spec, device| Ok(Box::new(Align::load(spec, device)?)),
};

/// Share of the target that the loss spreads over all pairs of a batch.
const LABEL_SMOOTHING: f64 = 0.1;

const PREPROCESSOR: &str = "preprocessor_config.json";

/// An ALIGN model.
pub struct Align {
    vision: EfficientNet,
    pooling: Pooling,
    embedding: BertEmbedding,
    encoder: BertEncoder,
    text_projection: Linear,
    /// A scalar.
    temperature: Tensor,
    temperature_value: f32,
    context_length: usize,
    width: usize,
    tokenizer: Arc<dyn PairTokenizer>,
    input: VisualSpec,
    device: Device,
}

/// The files of a checkpoint that [`Align::load`] reads.
fn files(spec: &ModelSpec) -> Result<Vec<CheckpointFile>> {
    let folder = spec.folder(FAMILY.name)?;
    let mut files = folder::files(spec, folder, BertTokenizer::files)?;
    files.push(CheckpointFile {
        path: folder.join(PREPROCESSOR),
        role: FileRole::Preprocessor,
    });
    Ok(files)
}

impl Align {
    /// Loads the checkpoint of `spec`.
    pub fn load(spec: &ModelSpec, device: &Device) -> Result<Self> {
        let folder = spec.folder(FAMILY.name)?;
        let config = AlignConfig::read(&folder.join(CONFIG))?;
        let input = read_input(folder, &config)?;
        let tokenizer = read_tokenizer(folder, &config, spec.tokenizer)?;
        let weights = Weights::open(folder, device)?.with_precision(spec.precision)?;
        let model = Self::assemble(&config, &weights, tokenizer, input, device);
        // Problems with tensors first: they are the cause of whatever else went wrong.
        folder::finish(&weights, folder)?;
        model
    }

    fn assemble(
        config: &AlignConfig,
        weights: &Weights,
        tokenizer: Arc<dyn PairTokenizer>,
        input: ImageSpec,
        device: &Device,
    ) -> Result<Self> {
        let (bert, width) = (config.text.spec(), config.projection_dim);
        let text = weights.scope("text_model");
        let vision = weights.scope("vision_model");
        weights.disregard("text_model.pooler");
        let projection = weights.scope("text_projection");
        let temperature = weights.tensor_f32("temperature", &[])?;
        Ok(Self {
            vision: EfficientNet::load(&vision, &config.vision.spec())?,
            pooling: config.vision.pooling_type.into(),
            embedding: BertEmbedding::load(&text, &bert)?,
            encoder: BertEncoder::load(&text, &bert)?,
            text_projection: Linear::load(&projection, bert.width, width)?,
            temperature_value: temperature.to_scalar()?,
            temperature,
            context_length: bert.context_length,
            width,
            tokenizer,
            input: VisualSpec::Pixels(input),
            device: device.clone(),
        })
    }

    /// The vision tower.
    pub fn vision(&self) -> &EfficientNet {
        &self.vision
    }

    /// `pixels` `[B, 3, H, W]` from -1 to 1; returns `[B, D]`, not normalised.
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        Ok(self.pooling.forward(&self.vision.forward(pixels)?)?)
    }

    /// The embedded words `[B, T, width of the text tower]` of `input`, and what its blocks make of them under the
    /// mask of `padding`.
    pub fn text_states(
        &self,
        input: BertInput<'_>,
        padding: Option<&Mask>,
    ) -> Result<(Tensor, Tensor)> {
        let embedded = self.embedding.forward(input)?;
        let last = self.encoder.forward(embedded.clone(), padding)?;
        Ok((embedded, last))
    }

    /// `input` under the mask of `padding`; returns `[B, D]`, not normalised.
    pub fn text_features(&self, input: BertInput<'_>, padding: Option<&Mask>) -> Result<Tensor> {
        let (_, last) = self.text_states(input, padding)?;
        let first = last.narrow(1, 0, 1)?.squeeze(1)?;
        Ok(self.text_projection.forward(&first)?)
    }

    /// The contrastive loss of as many images as texts, which belong together in their order (equation 1 of the paper);
    /// the smoothing is that of its section 4.
    pub fn contrastive_loss(
        &self,
        pixels: &Tensor,
        texts: BertInput<'_>,
        padding: Option<&Mask>,
    ) -> Result<Tensor> {
        let images = unit_length(&self.image_features(pixels)?)?;
        let texts = unit_length(&self.text_features(texts, padding)?)?;
        let logits = images
            .matmul(&texts.t()?)?
            .broadcast_div(&self.temperature)?;
        loss::contrastive(&logits, LABEL_SMOOTHING)
    }

    /// The ids of texts, padded to the longest of them, and what is no padding.
    fn ids(&self, texts: &[&str]) -> Result<(Vec<Vec<u32>>, Mask)> {
        let encoded = texts
            .iter()
            .map(|text| self.tokenizer.encode(text, self.context_length))
            .collect::<Result<Vec<_>, _>>()?;
        let longest = encoded.iter().map(|text| text.len).max().unwrap_or(0);
        let pad = self.tokenizer.pad();
        let padded = encoded.into_iter().map(|text| text.padded(longest, pad));
        let (present, ids): (Vec<_>, Vec<_>) = padded.map(|text| (text.mask(), text.ids)).unzip();
        Ok((ids, Mask::padding(&present, &self.device)?))
    }
}

impl Model for Align {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

impl Embed for Align {
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
        let (ids, padding) = self.ids(texts)?;
        let features = self.text_features(BertInput::new(&ids), Some(&padding))?;
        Ok(unit_length(&features)?)
    }

    fn scale(&self) -> f32 {
        1.0 / self.temperature_value
    }
}

fn read_tokenizer(
    folder: &Path,
    config: &AlignConfig,
    choice: TokenizerChoice,
) -> Result<Arc<dyn PairTokenizer>> {
    let rows = config.text.vocab_size;
    let tokenizer: Arc<dyn PairTokenizer> = match choice {
        TokenizerChoice::Checkpoint => Arc::new(BertTokenizer::from_folder(folder)?),
        TokenizerChoice::WordHash => {
            let last = rows.saturating_sub(1) as u32;
            Arc::new(WordHash::new(rows, last.saturating_sub(1), last)?)
        }
    };
    folder::check_vocabulary(folder, tokenizer.vocabulary_size(), rows)?;
    Ok(tokenizer)
}

/// The file is not optional: which size an image has before its crop is written nowhere else.
fn read_input(folder: &Path, config: &AlignConfig) -> Result<ImageSpec> {
    let path = folder.join(PREPROCESSOR);
    let spec = from_hugging_face(&read_json(&path)?).map_err(|source| Error::ImageSpec {
        path: path.clone(),
        source,
    })?;
    folder::check_image_size(path, &spec, config.vision.image_size)?;
    Ok(spec)
}
