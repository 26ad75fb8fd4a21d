//! `SimVLM`'s objectives: `PrefixLM` (section 3.1 of the paper), and answers of a head (section 4.1).

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;
use sightline_text::SentencePiece;

use super::{FAMILY, PrefixPolicy, SimVlm, SimVlmConfig, input, read_pieces};
use crate::folder::CONFIG;
use crate::loss::divergence;
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    TrainingExample, check_covered, checkpoint, is_statistic, options, shares,
};
use crate::{Error, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[
        ObjectiveEntry {
            name: PREFIX_LM,
            about: "the rest of a caption behind the image and a prefix of random length",
            asks: false,
            open: |spec| Ok(Box::new(PrefixLm(Base::open(PREFIX_LM, spec)?))),
        },
        ObjectiveEntry {
            name: ANSWERS,
            about: "answers to questions by the answer head",
            asks: true,
            open: |spec| Ok(Box::new(Answers::open(spec)?)),
        },
    ],
};

const PREFIX_LM: &str = "prefix-lm";
const ANSWERS: &str = "answers";

/// Settings of both objectives.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// How long prefixes are; the configuration's policy when absent.
    prefix: Option<PrefixPolicy>,
    /// Whether everything but the answer head stays as it is.
    head_only: bool,
}

struct Base {
    folder: PathBuf,
    settings: Settings,
    config: SimVlmConfig,
    pieces: Option<Arc<SentencePiece>>,
    input: VisualSpec,
    device: Device,
}

impl Base {
    fn open(name: &'static str, spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let settings = options(name, spec)?;
        let config = SimVlmConfig::read(&folder.join(CONFIG))?;
        Ok(Self {
            pieces: read_pieces(folder, &config, spec.model.tokenizer)?,
            input: VisualSpec::Pixels(input(&config)),
            folder: folder.to_owned(),
            device: spec.device.clone(),
            settings,
            config,
        })
    }

    fn model(&self, weights: &Weights) -> Result<SimVlm> {
        SimVlm::assemble(
            self.config.clone(),
            weights,
            self.pieces.clone(),
            &self.device,
        )
    }

    fn check_text(&self, text: &str) -> Result<()> {
        let Some(pieces) = &self.pieces else {
            return Ok(());
        };
        let ids = |text: &str| Ok(pieces.encode(text));
        check_covered(&self.folder, text, Some(pieces.unknown()), ids)
    }
}

struct PrefixLm(Base);

impl PrefixLm {
    /// The prefix of a caption, and what is predicted behind it, the end included.
    fn parts(
        &self,
        model: &SimVlm,
        example: &TrainingExample,
        caption: &str,
        has_image: bool,
        seed: Seed,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let config = &self.0.config;
        let mut prefix = model.ids(caption)?;
        prefix.truncate(config.max_text_len.saturating_sub(1));
        prefix.push(config.eos_id);
        let policy = self.0.settings.prefix.unwrap_or(config.prefix);
        let unit = example.seed(seed).child("prefix", 0).rng().unit();
        let target = prefix.split_off(policy.length(prefix.len(), has_image, unit));
        Ok((prefix, target))
    }
}

impl Objective for PrefixLm {
    fn name(&self) -> &'static str {
        PREFIX_LM
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.0.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        self.0.check_text(text)
    }

    fn settings(&self) -> Value {
        json!({ "prefix": self.0.settings.prefix.unwrap_or(self.0.config.prefix) })
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.0.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.0.model(weights).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        !is_statistic(tensor) && !tensor.starts_with("answer_head.")
    }

    /// Examples without an image are documents, whose prefix is their beginning.
    fn loss(&self, weights: &Weights, batch: &TrainingBatch, seed: Seed) -> Result<Loss> {
        let model = self.0.model(weights)?;
        let captions = batch.captions(PREFIX_LM)?;
        let (mut seen, mut blind) = (Vec::new(), Vec::new());
        let mut images = Vec::new();
        for (example, caption) in batch.examples.iter().zip(captions) {
            let image = example.images.first();
            let parts = self.parts(&model, example, caption, image.is_some(), seed)?;
            match image {
                Some(&image) => {
                    images.push(image as u32);
                    seen.push(parts);
                }
                None => blind.push(parts),
            }
        }
        let (mut sum, mut count) = (Tensor::new(0f32, &self.0.device)?, 0);
        for (parts, has_image) in [(seen, true), (blind, false)] {
            if parts.is_empty() {
                continue;
            }
            let (prefixes, targets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            let cells = if has_image {
                Some(model.cells(batch.images(&images)?.pixels()?)?)
            } else {
                None
            };
            let (loss, tokens) = model.prefix_loss(cells.as_ref(), &prefixes, &targets)?;
            sum = (sum + (loss * tokens as f64)?)?;
            count += tokens;
        }
        let loss = (sum / count.max(1) as f64)?;
        Ok(Loss::of(PREFIX_LM, loss, count))
    }
}

struct Answers {
    base: Base,
    labels: Vec<String>,
}

impl Answers {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let base = Base::open(ANSWERS, spec)?;
        let labels = base.config.labels().ok_or_else(|| Error::Objective {
            objective: ANSWERS,
            folder: base.folder.clone(),
            why: "`n_answers` is absent from its configuration, so that it has no answer head"
                .to_owned(),
        })?;
        Ok(Self { base, labels })
    }
}

impl Objective for Answers {
    fn name(&self) -> &'static str {
        ANSWERS
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Question]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.base.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        self.base.check_text(text)
    }

    fn names(&self) -> Option<Vec<String>> {
        Some(self.labels.clone())
    }

    fn settings(&self) -> Value {
        json!({ "head_only": self.base.settings.head_only })
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.base.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.base.model(weights).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        let is_head = tensor.starts_with("answer_head.");
        let is_other = !is_statistic(tensor) && tensor != "lm_head.weight";
        is_head || (is_other && !self.base.settings.head_only)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.base.model(weights)?;
        let places = self.base.config.answer_images;
        let mut images = vec![Vec::new(); places];
        let mut questions = Vec::new();
        for example in &batch.examples {
            if example.images.len() != places {
                return Err(example.lacks(ANSWERS, "as many images as the head looks at"));
            }
            for (rows, &image) in images.iter_mut().zip(&example.images) {
                rows.push(image as u32);
            }
            let question = example.question.as_deref();
            let question = question.ok_or_else(|| example.lacks(ANSWERS, "a question"))?;
            let mut ids = model.ids(question)?;
            ids.truncate(self.base.config.max_text_len);
            if ids.is_empty() {
                return Err(example.lacks(ANSWERS, "a question with a word"));
            }
            questions.push(ids);
        }
        let cells = images
            .iter()
            .map(|rows| model.cells(batch.images(rows)?.pixels()?));
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let logits = model.answer_logits(&cells, &questions)?;
        let labels = shares(ANSWERS, batch, &self.labels, logits.device())?;
        let loss = divergence(&logits, &labels)?;
        Ok(Loss::of(ANSWERS, loss, questions.len()))
    }
}
