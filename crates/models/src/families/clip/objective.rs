//! CLIP's objective: which text belongs to which image of the batch (section 2.3 of the paper).

use std::path::PathBuf;
use std::sync::Arc;

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::Weights;
use sightline_text::Tokenizer;

use super::layout::{ClipSpec, Layout};
use super::{
    Clip, ClipConfig, FAMILY, OPEN_CLIP_CONFIG, OpenClipConfig, open, read_input, read_tokenizer,
};
use crate::folder::CONFIG;
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    check_covered, checkpoint, is_statistic, options,
};
use crate::{Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[ObjectiveEntry {
        name: CONTRASTIVE,
        about: "which text of the batch belongs to which image",
        asks: false,
        open: |spec| Ok(Box::new(Contrastive::open(spec)?)),
    }],
};

const CONTRASTIVE: &str = "contrastive";

/// Settings of the objective.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Which tower stays as it is.
    frozen: Frozen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Frozen {
    #[default]
    None,
    /// As in locked-image tuning (`LiT`).
    Image,
    Text,
}

struct Contrastive {
    folder: PathBuf,
    settings: Settings,
    clip: ClipSpec,
    tokenizer: Arc<dyn Tokenizer>,
    image: ImageSpec,
    input: VisualSpec,
    device: Device,
}

impl Contrastive {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let settings = options(CONTRASTIVE, spec)?;
        let has_weights = Weights::files(folder).is_ok();
        let open_clip = folder.join(OPEN_CLIP_CONFIG);
        // Without weights the name of the configuration says whose layout it is.
        let clip = if has_weights {
            open(folder, spec.device)?.1
        } else if open_clip.is_file() {
            ClipSpec::from(&OpenClipConfig::read(&open_clip)?)
        } else {
            ClipSpec::from(&ClipConfig::read(&folder.join(CONFIG))?)
        };
        let image = read_input(folder, &clip)?;
        Ok(Self {
            tokenizer: read_tokenizer(folder, &clip, spec.model.tokenizer)?,
            input: VisualSpec::Pixels(image.clone()),
            folder: folder.to_owned(),
            device: spec.device.clone(),
            settings,
            clip,
            image,
        })
    }

    fn model(&self, weights: &Weights) -> Result<Clip> {
        let (tokenizer, image) = (Arc::clone(&self.tokenizer), self.image.clone());
        Clip::assemble(&self.clip, weights, tokenizer, image, &self.device)
    }

    /// Whether a tensor is of the image side.
    fn is_visual(&self, tensor: &str) -> bool {
        match self.clip.layout {
            Layout::HuggingFace => {
                tensor.starts_with("vision_model.") || tensor.starts_with("visual_projection.")
            }
            Layout::OpenClip => tensor.starts_with("visual."),
        }
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
        let ids = |text: &str| Ok(self.tokenizer.encode(text, usize::MAX)?.ids);
        check_covered(&self.folder, text, self.tokenizer.unknown_id(), ids)
    }

    fn least_examples(&self) -> usize {
        2
    }

    fn settings(&self) -> Value {
        json!(self.settings)
    }

    fn file(&self) -> &'static str {
        match self.clip.layout {
            Layout::HuggingFace => "model.safetensors",
            Layout::OpenClip => "open_clip_model.safetensors",
        }
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.model(weights).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        let is_frozen = match self.settings.frozen {
            Frozen::None => false,
            Frozen::Image => self.is_visual(tensor),
            Frozen::Text => !self.is_visual(tensor) && tensor != "logit_scale",
        };
        !is_frozen && !is_statistic(tensor)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.model(weights)?;
        let images = batch.one_image_each(CONTRASTIVE)?;
        let ids = model.ids(&batch.captions(CONTRASTIVE)?)?;
        let loss = model.contrastive_loss(images.pixels()?, &ids, None)?;
        Ok(Loss::of(CONTRASTIVE, loss, ids.len()))
    }
}
