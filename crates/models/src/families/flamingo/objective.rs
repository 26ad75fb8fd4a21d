//! Flamingo's objectives: captions, or images and texts in the order of documents (section 3.2 of the paper), in the form
//! of its open reproduction.
//!
//! The image tower and the language model stay as they are; resampler, gated layers and the table of tokens learn, to which
//! two marks were added. A part that has a file of its own in the model's folder is read from there and is no tensor of the
//! training; any other stands below `vision_encoder.` or `lang_encoder.` among them.

use std::cell::RefCell;
use std::num::NonZeroUsize;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::{ImageSpec, Seed};
use sightline_nn::causal::HeadName;
use sightline_nn::tower::Vit;
use sightline_nn::{Precision, Weights};

use super::layout::{Layout, vit};
use super::{Asked, FAMILY, Flamingo, FlamingoConfig, Kept, Marks, Tokenizing, Tokens};
use crate::folder::CONFIG;
use crate::language::LanguageConfig;
use crate::objective::{
    DocumentPart, Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily,
    TrainingBatch, TrainingExample, filled, is_statistic, options,
};
use crate::{LanguageModel, Result, Visual, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[
        ObjectiveEntry {
            name: INTERLEAVED,
            about: "texts behind the images of documents, and captions",
            asks: false,
            open: |spec| Ok(Box::new(Interleaved::open(INTERLEAVED, spec)?)),
        },
        ObjectiveEntry {
            name: CAPTIONING,
            about: "captions",
            asks: false,
            open: |spec| Ok(Box::new(Interleaved::open(CAPTIONING, spec)?)),
        },
    ],
};

const INTERLEAVED: &str = "interleaved";
const CAPTIONING: &str = "captioning";

/// Settings of both objectives.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// How much captions count beside documents, as in the released recipe.
    caption_weight: f64,
    /// So many images with their captions, one behind the other, are a document; 1: captions alone.
    images: NonZeroUsize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            caption_weight: 0.2,
            images: NonZeroUsize::MIN,
        }
    }
}

struct Interleaved {
    name: &'static str,
    settings: Settings,
    layout: Layout,
    config: FlamingoConfig,
    language: LanguageConfig,
    tokenizer: Tokenizing,
    image: ImageSpec,
    input: VisualSpec,
    /// Rows of the table of tokens, the added ones among them.
    rows: usize,
    /// What lies in files of its own.
    own: Kept,
    /// What stays as it is among the tensors of the training, prepared once, and a tensor that it was made of.
    kept: RefCell<Option<(Tensor, Kept)>>,
    device: Device,
}

impl Interleaved {
    fn open(name: &'static str, spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let config = FlamingoConfig::read(&folder.join(CONFIG))?;
        let layout = Layout::beginning(folder);
        let language = layout.language_config(&config)?;
        let device = spec.device;
        let own = Kept {
            vision: layout.own_vision(&config, Precision::F32, device)?,
            language: match layout.language_weights(Precision::F32, device)? {
                Some(own) => Some(LanguageModel::load(language.clone(), &own)?),
                None => None,
            },
        };
        let image = layout.input(&config)?;
        let mut objective = Self {
            name,
            settings: options(name, spec)?,
            tokenizer: layout.tokenizer(spec.model.tokenizer)?,
            input: VisualSpec::Pixels(image.clone()),
            rows: Marks::added(config.pad_id) + language.spec.vocabulary_size,
            own,
            kept: RefCell::default(),
            device: device.clone(),
            layout,
            config,
            language,
            image,
        };
        let table = format!("lang_encoder.{}", objective.table());
        for given in objective.stored(device)? {
            // A checkpoint of this model says how many rows its table has.
            if given.prefix.is_empty()
                && let Some(&[rows, _]) = given.weights.shape(&table)
            {
                objective.rows = rows;
            }
        }
        Ok(objective)
    }

    /// The table of tokens, below `lang_encoder`.
    fn table(&self) -> String {
        let prefix = self.language.prefixes.first().copied().unwrap_or_default();
        format!("{prefix}.{}.weight", self.language.spec.names.tokens)
    }

    fn assemble(&self, weights: &Weights, kept: Kept) -> Result<Flamingo> {
        let (tokenizer, image) = (self.tokenizer.clone(), self.image.clone());
        let parts = Kept {
            vision: Some(match kept.vision {
                Some(vision) => vision,
                None => vit(&weights.scope("vision_encoder"), &self.config)?,
            }),
            language: kept.language,
        };
        Flamingo::assemble(
            self.config.clone(),
            self.language.clone(),
            weights,
            parts,
            Some(self.rows),
            tokenizer,
            image,
            &self.device,
        )
    }

    /// The language model among the tensors of the training, without a gradient.
    fn language_of(&self, weights: &Weights) -> Result<LanguageModel> {
        let mut language = self.language.clone();
        language.spec.vocabulary_size = self.rows;
        LanguageModel::load(language, &weights.scope("lang_encoder").detached())
    }

    fn model(&self, weights: &Weights) -> Result<Flamingo> {
        // Any tensor of the language model that stays as it is.
        let body = self.language.body(&weights.scope("lang_encoder"));
        let names = &self.language.spec.names;
        let layer = body
            .scope(names.layers)
            .scope(0)
            .scope(names.attention_norm);
        let mark = match &self.own.language {
            Some(_) => None,
            None => Some(layer.tensor("weight", &[self.language.spec.width])?),
        };
        let mut kept = self.kept.borrow_mut();
        if let Some((of, kept)) = kept.as_ref()
            && mark.as_ref().is_none_or(|mark| of.id() == mark.id())
        {
            return self.assemble(weights, kept.clone());
        }
        let vision: Vit = match &self.own.vision {
            Some(vision) => vision.clone(),
            None => vit(&weights.scope("vision_encoder").detached(), &self.config)?,
        };
        let language = match &self.own.language {
            Some(language) => language.clone(),
            None => self.language_of(weights)?,
        };
        let parts = Kept {
            vision: Some(vision),
            language: Some(language),
        };
        let mark = match mark {
            Some(mark) => mark,
            None => Tensor::new(0f32, &self.device)?,
        };
        *kept = Some((mark, parts.clone()));
        self.assemble(weights, parts)
    }

    /// The ids of an example with the end mark behind each text, cut to the context, and the rows of its images that are
    /// left.
    fn document(&self, model: &Flamingo, example: &TrainingExample) -> Result<(Asked, bool)> {
        let mut asked = Asked {
            ids: self.config.bos_id.into_iter().collect(),
            images: Vec::new(),
            template: None,
        };
        let is_document = self.name == INTERLEAVED && !example.document.is_empty();
        let caption = || -> Result<Vec<DocumentPart>> {
            let image = example.images.first();
            let image = *image.ok_or_else(|| example.lacks(self.name, "an image"))?;
            let caption = example.captions.first();
            let caption = caption.ok_or_else(|| example.lacks(self.name, "a caption"))?;
            Ok(vec![
                DocumentPart::Image(image),
                DocumentPart::Text(caption.clone()),
            ])
        };
        let parts = if is_document {
            example.document.clone()
        } else {
            caption()?
        };
        for part in &parts {
            match part {
                DocumentPart::Image(row) => {
                    asked.images.push(*row);
                    asked.ids.push(model.marks().image);
                }
                DocumentPart::Text(text) => {
                    asked.ids.extend(model.ids(text)?);
                    asked.ids.push(model.marks().end);
                }
            }
        }
        asked.ids.truncate(self.language.spec.context);
        let marks = asked.ids.iter().filter(|&&id| id == model.marks().image);
        asked.images.truncate(marks.count());
        Ok((asked, is_document))
    }
}

impl Objective for Interleaved {
    fn name(&self) -> &'static str {
        self.name
    }

    fn needs(&self) -> &[Need] {
        &[Need::Pixels, Need::Caption]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.input)
    }

    /// Pieces of bytes write every text.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn images_of_document(&self) -> usize {
        if self.name == INTERLEAVED {
            self.settings.images.get()
        } else {
            1
        }
    }

    fn takes_dropout(&self) -> bool {
        false
    }

    fn settings(&self) -> Value {
        if self.name == INTERLEAVED {
            json!(self.settings)
        } else {
            json!({})
        }
    }

    fn file(&self) -> &'static str {
        "flamingo.safetensors"
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        let mut all = Vec::new();
        if let Some(own) = self.layout.language_weights(Precision::F32, device)? {
            let body = self.language.body(&own);
            let prefix = self.language.prefixes.first().copied().unwrap_or_default();
            all.push(Given {
                prefix: "lang_encoder.".to_owned(),
                weights: own,
            });
            all.push(Given {
                prefix: format!("lang_encoder.{prefix}."),
                weights: body,
            });
        }
        if self.layout.checkpoint.is_file() {
            all.push(Given {
                prefix: String::new(),
                weights: self.layout.checkpoint_weights(Precision::F32, device)?,
            });
        }
        Ok(all)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        self.assemble(weights, self.own.clone()).map(drop)
    }

    fn is_trained(&self, tensor: &str) -> bool {
        if is_statistic(tensor) {
            return false;
        }
        let Some(inside) = tensor.strip_prefix("lang_encoder.") else {
            return tensor.starts_with("perceiver.");
        };
        let is_head = match self.language.spec.names.head {
            HeadName::Own { name, .. } => inside.starts_with(name),
            HeadName::Tied => false,
        };
        is_head || inside == self.table() || inside.contains(".gated_cross_attn_layer.")
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let model = self.model(weights)?;
        let visual = batch.images(&all_rows(batch)?)?;
        let (mut documents, mut captions) = (Vec::new(), Vec::new());
        for example in &batch.examples {
            let (asked, is_document) = self.document(&model, example)?;
            if is_document {
                documents.push(asked);
            } else {
                captions.push(asked);
            }
        }
        let weight = if self.name == INTERLEAVED && !documents.is_empty() {
            self.settings.caption_weight
        } else {
            1.0
        };
        let mut terms = Vec::new();
        let (mut total, mut predictions) = (Tensor::new(0f32, &self.device)?, 0);
        for (name, asked, weight) in [
            (INTERLEAVED, documents, 1.0),
            (CAPTIONING, captions, weight),
        ] {
            if asked.is_empty() {
                continue;
            }
            let (latents, images) = model.latents(visual.pixels()?, &asked)?;
            let rows: Vec<Vec<u32>> = asked.into_iter().map(|asked| asked.ids).collect();
            let (ids, present) = filled(&rows, model.marks().pad);
            let tokens = Tokens {
                ids: &ids,
                images: &images,
                latents: &latents,
            };
            let (loss, count) = model.text_loss(tokens, &present, name == INTERLEAVED)?;
            total = (total + (&loss * weight)?)?;
            terms.push((name, loss));
            predictions += count;
        }
        Ok(Loss {
            total,
            terms,
            predictions,
        })
    }
}

/// Every row of the batch's images.
fn all_rows(batch: &TrainingBatch) -> Result<Vec<u32>> {
    let count = batch.visual.as_ref().map_or(Ok(0), Visual::batch)?;
    Ok((0..count as u32).collect())
}
