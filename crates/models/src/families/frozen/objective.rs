//! Frozen's objective: captions behind the vectors of an image, through a language model that stays as it is (equation 2
//! of the paper).

use std::cell::RefCell;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;

use super::layout::{self, ENCODERS, LANGUAGES, Parts};
use super::{Encoder, FAMILY, Form, Frozen, Mapper, Sight};
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    filled, is_statistic, options,
};
use crate::{LanguageModel, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[ObjectiveEntry {
        name: CAPTIONING,
        about: "captions through a language model that stays as it is",
        asks: false,
        open: |spec| Ok(Box::new(Captioning::open(spec)?)),
    }],
};

const CAPTIONING: &str = "captioning";

/// The share of a prefix that MAGMA leaves out before its norm.
const MAGMA_DROPOUT: f64 = 0.1;

/// Settings of the objective: the paper's ablations.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What becomes of the language model; its adapters are trained in any case.
    language: Language,
    /// What becomes of the image encoder.
    encoder: Eyes,
    /// What the model sees in training; the configuration's when absent.
    sight: Option<Sight>,
}

/// What becomes of the language model. `scratch` of the paper is `finetuned` without weights to begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Language {
    #[default]
    Frozen,
    Finetuned,
}

/// What becomes of the image encoder: Frozen and MAGMA train it, LiMBeR does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Eyes {
    #[default]
    Trained,
    Frozen,
}

struct Captioning {
    folder: PathBuf,
    settings: Settings,
    form: Form,
    /// The language model once it was prepared, and the token table that it was made of.
    language: RefCell<Option<(Tensor, LanguageModel)>>,
}

impl Captioning {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        Ok(Self {
            folder: spec.model.folder(FAMILY.name)?.to_owned(),
            settings: options(CAPTIONING, spec)?,
            form: Form::read(spec.model)?,
            language: RefCell::default(),
        })
    }

    fn model(&self, weights: &Weights) -> Result<Frozen> {
        let parts = Parts::of(weights);
        let language = self.kept(&parts.language)?;
        Frozen::assemble(&self.form, &parts, language)
    }

    /// A frozen language model, whose tensors are `own`, is prepared once; what is prepared depends on nothing that changes
    /// but for its adapters, which are read anew. `None` where it is trained.
    fn kept(&self, own: &Weights) -> Result<Option<LanguageModel>> {
        if self.settings.language == Language::Finetuned {
            return Ok(None);
        }
        let spec = &self.form.language.spec;
        let tokens = self.form.language.body(own).scope(spec.names.tokens);
        let table = tokens.tensor("weight", &[spec.vocabulary_size, spec.embedding_width])?;
        let mut kept = self.language.borrow_mut();
        if let Some((of, language)) = kept.as_ref()
            && of.id() == table.id()
        {
            return language.clone().with_adapters(own).map(Some);
        }
        let language = LanguageModel::load(self.form.language.clone(), &own.detached())?;
        *kept = Some((table, language.clone()));
        language.with_adapters(own).map(Some)
    }

    fn is_of_adapter(&self, tensor: &str) -> bool {
        self.form.language.spec.adapter.is_some_and(|adapter| {
            let places = [adapter.names.down, adapter.names.up];
            let is_in = |place: &str| tensor.contains(&format!(".{place}."));
            places.into_iter().any(is_in)
        })
    }

    fn sight(&self) -> Sight {
        self.settings.sight.unwrap_or(self.form.config.sight)
    }
}

impl Objective for Captioning {
    fn name(&self) -> &'static str {
        CAPTIONING
    }

    fn needs(&self) -> &[Need] {
        match self.form.config.encoder {
            Encoder::NfResnet | Encoder::ClipResnet => &[Need::Pixels, Need::Caption],
            Encoder::Precomputed => &[Need::Regions, Need::Caption],
        }
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.form.input)
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn takes_dropout(&self) -> bool {
        false
    }

    fn settings(&self) -> Value {
        let Settings {
            language, encoder, ..
        } = self.settings;
        json!({ "language": language, "encoder": encoder, "sight": self.sight() })
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        layout::stored(&self.folder, &self.form.config, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        Frozen::assemble(&self.form, &Parts::of(weights), None).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        let is_below = |places: [&str; 2]| {
            let rests = places.map(|place| tensor.strip_prefix(place));
            rests
                .into_iter()
                .flatten()
                .any(|rest| rest.starts_with('.'))
        };
        let is_kept = if is_below(LANGUAGES) {
            self.settings.language == Language::Frozen && !self.is_of_adapter(tensor)
        } else {
            self.settings.encoder == Eyes::Frozen && is_below(ENCODERS)
        };
        !is_kept && !is_statistic(tensor)
    }

    fn published_dropout(&self) -> f64 {
        match self.form.config.mapper {
            Mapper::GridLinearNorm => MAGMA_DROPOUT,
            Mapper::Linear | Mapper::GridLinear | Mapper::Mlp | Mapper::Transformer => 0.0,
        }
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.model(weights)?;
        let images = batch.one_image_each(CAPTIONING)?;
        let prefix = model.prefixes_in(&images, self.sight())?;
        let context = model.language.config().spec.context;
        let room = context.saturating_sub(model.config.prefix_tokens).max(1);
        let ended = |caption: &str| {
            let mut ids = model.ids(caption)?;
            ids.push(model.end);
            ids.truncate(room);
            Ok(ids)
        };
        let captions = batch.captions(CAPTIONING)?.into_iter();
        let rows = captions.map(ended).collect::<Result<Vec<Vec<u32>>>>()?;
        let (ids, present) = filled(&rows, model.end);
        let (loss, tokens) = model.caption_loss(&prefix, &ids, &present)?;
        Ok(Loss::of(CAPTIONING, loss, tokens))
    }
}
