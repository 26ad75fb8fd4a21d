//! ALIGN's objective: which text belongs to which image of the batch (equation 1 of the paper).

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::Weights;
use sightline_nn::tower::BertInput;
use sightline_text::PairTokenizer;

use super::{Align, AlignConfig, FAMILY, read_input, read_tokenizer};
use crate::folder::CONFIG;
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    check_covered, checkpoint, options,
};
use crate::{Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[ObjectiveEntry {
        name: CONTRASTIVE,
        about: "which text of the batch belongs to which image, with smoothed labels",
        asks: false,
        open: |spec| Ok(Box::new(Contrastive::open(spec)?)),
    }],
};

const CONTRASTIVE: &str = "contrastive";

/// There are no settings.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {}

struct Contrastive {
    folder: PathBuf,
    settings: Settings,
    config: AlignConfig,
    tokenizer: Arc<dyn PairTokenizer>,
    image: ImageSpec,
    input: VisualSpec,
    device: Device,
}

impl Contrastive {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let settings = options(CONTRASTIVE, spec)?;
        let config = AlignConfig::read(&folder.join(CONFIG))?;
        let image = read_input(folder, &config)?;
        Ok(Self {
            tokenizer: read_tokenizer(folder, &config, spec.model.tokenizer)?,
            input: VisualSpec::Pixels(image.clone()),
            folder: folder.to_owned(),
            device: spec.device.clone(),
            settings,
            config,
            image,
        })
    }

    fn model(&self, weights: &Weights) -> Result<Align> {
        let (tokenizer, image) = (Arc::clone(&self.tokenizer), self.image.clone());
        Align::assemble(&self.config, weights, tokenizer, image, &self.device)
    }
}

impl Objective for Contrastive {
    fn name(&self) -> &'static str {
        CONTRASTIVE
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.input)
    }

    fn check_text(&self, text: &str) -> Result<()> {
        let ids = |text: &str| Ok(self.tokenizer.pieces(text)?);
        check_covered(&self.folder, text, self.tokenizer.unknown_id(), ids)
    }

    fn least_examples(&self) -> usize {
        2
    }

    fn settings(&self) -> Value {
        json!(self.settings)
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.model(weights).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.model(weights)?;
        let images = batch.one_image_each(CONTRASTIVE)?;
        let (ids, padding) = model.ids(&batch.captions(CONTRASTIVE)?)?;
        let texts = BertInput::new(&ids);
        let loss = model.contrastive_loss(images.pixels()?, texts, Some(&padding))?;
        Ok(Loss::of(CONTRASTIVE, loss, ids.len()))
    }
}
