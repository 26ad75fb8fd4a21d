//! Frozen's objective: captions behind the vectors of an image, through a language model that stays as it is (equation 2
//! of the paper).

use std::cell::RefCell;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::Seed;
use sightline_nn::Weights;

use super::{Encoder, FAMILY, Form, Frozen, Sight};
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    checkpoint, filled, is_statistic, options,
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

/// Where the language model's tensors begin.
const LANGUAGE: &str = "lm.";

/// Settings of the objective: the paper's ablations.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What becomes of the language model.
    language: Language,
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
        Frozen::assemble(&self.form, weights, self.kept(weights)?)
    }

    /// A frozen language model is prepared once; what is prepared depends on nothing that changes. `None` where it is
    /// trained.
    fn kept(&self, weights: &Weights) -> Result<Option<LanguageModel>> {
        if self.settings.language == Language::Finetuned {
            return Ok(None);
        }
        let (spec, own) = (&self.form.language.spec, weights.scope("lm"));
        let tokens = self.form.language.body(&own).scope(spec.names.tokens);
        let table = tokens.tensor("weight", &[spec.vocabulary_size, spec.embedding_width])?;
        let mut kept = self.language.borrow_mut();
        if let Some((of, language)) = kept.as_ref()
            && of.id() == table.id()
        {
            return Ok(Some(language.clone()));
        }
        let language = LanguageModel::load(self.form.language.clone(), &own.detached())?;
        *kept = Some((table, language.clone()));
        Ok(Some(language))
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
            Encoder::NfResnet => &[Need::Pixels, Need::Caption],
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

    fn settings(&self) -> Value {
        json!({ "language": self.settings.language, "sight": self.sight() })
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        Frozen::assemble(&self.form, weights, None).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        let is_kept = self.settings.language == Language::Frozen && tensor.starts_with(LANGUAGE);
        !is_kept && !is_statistic(tensor)
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
