//! `ViLD`'s objective: softmax over the classes with boxes, and vectors like the teacher's (sections 3.2 and 3.3 of the
//! paper).

use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Seed};
use sightline_nn::Weights;

use super::config::{Mode, REGION_SIDE};
use super::head::{Heads, box_target};
use super::loss::{Novel, distillation, training_logits};
use super::{FAMILY, VildConfig, embed, features, prompts};
use crate::detect::{Class, Vocabulary};
use crate::encoder::encoder;
use crate::loss::cross_entropy;
use crate::objective::{
    Given, Loss, Need, Objective, ObjectiveEntry, ObjectiveSpec, TrainableFamily, TrainingBatch,
    checkpoint, options,
};
use crate::{Error, Result, VisualSpec};

/// The registry's entry.
pub(crate) static TRAINABLE: TrainableFamily = TrainableFamily {
    family: FAMILY.name,
    objectives: &[ObjectiveEntry {
        name: DISTILLATION,
        about: "classes with boxes, and vectors like those of CLIP's image encoder",
        asks: false,
        open: |spec| Ok(Box::new(Distillation::open(spec)?)),
    }],
};

const DISTILLATION: &str = "distillation";

/// Settings of the objective.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Names of the classes with boxes.
    base: Vec<String>,
    /// Names of classes that are asked for later; their regions teach the image head alone.
    #[serde(default)]
    novel: Vec<String>,
    /// What becomes of them in the softmax.
    #[serde(default)]
    novel_logits: Novel,
    /// How much the distance to the teacher counts.
    #[serde(default = "half")]
    distillation_weight: f64,
}

fn half() -> f64 {
    0.5
}

struct Distillation {
    folder: PathBuf,
    settings: Settings,
    config: VildConfig,
    vocabulary: Vocabulary,
    input: VisualSpec,
    device: Device,
}

impl Distillation {
    fn open(spec: &ObjectiveSpec<'_>) -> Result<Self> {
        let folder = spec.model.folder(FAMILY.name)?;
        let settings: Settings = options(DISTILLATION, spec)?;
        let config = VildConfig::read(folder)?;
        if config.mode == Mode::Crops {
            return Err(Error::Objective {
                objective: DISTILLATION,
                folder: folder.to_owned(),
                why: "its `mode` is `crops`, in which nothing is trained".to_owned(),
            });
        }
        let (family, of_clip) = encoder(spec.model, config.encoders(folder)?, FAMILY.name)?;
        let class = |is_base| move |name: &'_ String| (name.clone(), is_base);
        let named = settings.base.iter().map(class(true));
        let named: Vec<(String, bool)> = named
            .chain(settings.novel.iter().map(class(false)))
            .collect();
        let classes: Vec<Class<'_>> = named
            .iter()
            .map(|(name, is_base)| Class {
                names: vec![name.as_str()],
                is_base: *is_base,
            })
            .collect();
        let compute = || {
            let clip = (family.load)(&of_clip, spec.device)?;
            Ok(prompts::vocabulary(embed(clip.as_ref())?, &classes)?.embeddings)
        };
        let embeddings = match spec.keep {
            Some(keep) => {
                let mut hasher = Hasher::new();
                for file in (family.files)(&of_clip)? {
                    hasher.update(digest_of(&file.path)?.as_bytes());
                }
                hasher.update(json!([prompts::TEMPLATES, named]).to_string().as_bytes());
                keep.tensor("classes", hasher.finish(), &compute)?
            }
            None => compute()?,
        };
        let width = embeddings.dim(1)?;
        if width != config.clip_dim {
            let found = format!("{}, that of `{}` is {width}", config.clip_dim, family.name);
            return Err(VildConfig::wrong(folder, "clip_dim", &found));
        }
        let is_base = classes.iter().map(|class| class.is_base).collect();
        Ok(Self {
            vocabulary: Vocabulary {
                embeddings,
                is_base,
            },
            input: features(&config),
            folder: folder.to_owned(),
            device: spec.device.clone(),
            settings,
            config,
        })
    }

    /// The number of a class's logit, 0 for the background; `None` for regions that no box tells about.
    fn label(&self, class: Option<&String>) -> Option<u32> {
        match class {
            None => Some(0),
            Some(class) => {
                let at = self.settings.base.iter().position(|name| name == class);
                at.map(|at| at as u32 + 1)
            }
        }
    }
}

/// Of the bytes of the file at `path`.
fn digest_of(path: &Path) -> Result<Digest> {
    let read = || Ok(Digest::of_reader(File::open(path)?)?.0);
    read().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

impl Objective for Distillation {
    fn name(&self) -> &'static str {
        DISTILLATION
    }

    fn needs(&self) -> &[Need] {
        &[Need::Regions, Need::Classes, Need::Teacher]
    }

    fn input(&self) -> Option<&VisualSpec> {
        Some(&self.input)
    }

    /// The texts are the names of classes, which the teacher has read.
    fn check_text(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn teacher_width(&self) -> Option<usize> {
        Some(self.config.clip_dim)
    }

    fn names(&self) -> Option<Vec<String>> {
        let Settings { base, novel, .. } = &self.settings;
        Some([base.as_slice(), novel].concat())
    }

    fn takes_dropout(&self) -> bool {
        false
    }

    fn settings(&self) -> Value {
        json!(self.settings)
    }

    fn stored(&self, device: &Device) -> Result<Vec<Given>> {
        checkpoint(&self.folder, device)
    }

    fn build(&self, weights: &Weights) -> Result<()> {
        Heads::load(weights, &self.config).map(drop)
    }

    fn loss(&self, weights: &Weights, batch: &TrainingBatch, _: Seed) -> Result<Loss> {
        let heads = Heads::load(weights, &self.config)?;
        let images = batch.one_image_each(DISTILLATION)?;
        let (features, _) = images.regions()?;
        let (_, most, width) = features.dims3()?;
        let teacher = batch.teacher.as_ref().ok_or(Error::Visual {
            wanted: "a teacher's vectors of regions",
            found: "none",
        })?;
        let (mut rows, mut own) = (Vec::new(), Vec::new());
        let (mut labels, mut boxes) = (Vec::new(), Vec::new());
        for (number, example) in batch.examples.iter().enumerate() {
            if example.regions.len() > most {
                return Err(Error::Count {
                    what: "features of regions",
                    found: most,
                    wanted: example.regions.len(),
                });
            }
            let image = example.images.first().copied().unwrap_or_default();
            for (place, region) in example.regions.iter().enumerate() {
                boxes.extend(
                    region
                        .object
                        .map(|object| (rows.len() as u32, box_target(region.edges, object))),
                );
                rows.push((number * most + place) as u32);
                own.push((image * most + place) as u32);
                labels.push(self.label(region.class.as_ref()));
            }
        }
        let count = rows.len();
        if count == 0 {
            return Err(batch.examples.first().map_or(
                Error::Visual {
                    wanted: "examples",
                    found: "none",
                },
                |example| example.lacks(DISTILLATION, "a region"),
            ));
        }
        let of = |tensor: &Tensor, rows: Vec<u32>| -> Result<Tensor> {
            let rows = Tensor::from_vec(rows, count, tensor.device())?;
            Ok(tensor.flatten_to(1)?.index_select(&rows, 0)?)
        };
        let regions = of(&features.to_dtype(DType::F32)?, rows)?;
        let teacher = of(teacher, own)?;
        if width != self.config.feature_width() {
            return Err(Error::FeatureWidth {
                found: width,
                wanted: self.config.feature_width(),
            });
        }
        let shape = (count, self.config.channels, REGION_SIDE, REGION_SIDE);
        let outputs = heads.forward(&regions.reshape(shape)?, &self.vocabulary.embeddings)?;
        let Vocabulary { is_base, .. } = &self.vocabulary;
        let logits = training_logits(&outputs.text_logits, is_base, self.settings.novel_logits)?;
        let (text, _) = cross_entropy(&logits, &labels)?;
        let image = distillation(&outputs.image.embedding, &teacher)?;
        let mut total = (&text + (&image * self.settings.distillation_weight)?)?;
        let mut terms = vec![("text", text), ("image", image)];
        if !boxes.is_empty() {
            let (rows, targets): (Vec<u32>, Vec<[f32; 4]>) = boxes.into_iter().unzip();
            let there = rows.len();
            let rows = Tensor::from_vec(rows, there, &self.device)?;
            let targets = Tensor::from_vec(targets.concat(), (there, 4), &self.device)?;
            let found = heads.corrections(&outputs.text)?.index_select(&rows, 0)?;
            let boxes = huber(&(found - targets)?)?;
            total = (total + &boxes)?;
            terms.push(("boxes", boxes));
        }
        Ok(Loss {
            total,
            terms,
            predictions: count,
        })
    }
}

/// The mean over rows of the sum of `x² / 2` up to 1 and `|x| - 1/2` beyond.
fn huber(apart: &Tensor) -> Result<Tensor> {
    let size = apart.abs()?;
    let small = size.minimum(1f64)?;
    let each = (&small * (size - (&small * 0.5)?)?)?;
    Ok(each.sum(1)?.mean_all()?)
}
