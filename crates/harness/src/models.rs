//! Planned models on this machine: their files, and loading them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use sightline_core::registry::UnknownName;
use sightline_core::{Digest, PixelDeviation};
use sightline_manifest::{
    Lock, LockedAdapter, LockedInput, Plan, PlannedModel, PlannedTask, Roots,
};
use sightline_models::{
    Capability, Family, FileRole, Model, ModelSpec, Precision, TokenizerChoice, VisualSpec, Way,
    family,
};
use sightline_preprocess::{Limits, Mode, PrepareError, Preprocessor};

use crate::dataset::{Dataset, Read, path_of, unchanged};
use crate::pixels::{CardOptions, PixelPreparer, pixel_type};
use crate::task::Task;
use crate::visuals::Preparer;
use crate::{Error, Result};

/// The choices of tokenizer, as manifests name them.
pub(crate) const TOKENIZERS: [(&str, TokenizerChoice); 2] = [
    ("checkpoint", TokenizerChoice::Checkpoint),
    ("word-hash", TokenizerChoice::WordHash),
];

/// A file of a checkpoint, as a lock names it.
pub(crate) struct ModelFile {
    /// Path below the checkpoint's folder, with `/` between its parts.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) role: &'static str,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// A loaded model and what prepares its images.
pub(crate) struct Loaded {
    pub(crate) model: Box<dyn Model>,
    pub(crate) preparer: Preparer,
}

/// A model of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Planned<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) roots: &'a Roots,
    pub(crate) name: &'a str,
    pub(crate) model: &'a PlannedModel,
}

impl<'a> Planned<'a> {
    /// The model called `name`, which `task` runs.
    pub(crate) fn find(
        plan: &'a Plan,
        roots: &'a Roots,
        name: &'a str,
        task: &str,
    ) -> Result<Self> {
        let model = plan.models.get(name).ok_or_else(|| Error::Unplanned {
            task: task.to_owned(),
            kind: "model",
            name: name.to_owned(),
        })?;
        Ok(Self {
            plan,
            roots,
            name,
            model,
        })
    }

    /// How a lock names it.
    pub(crate) fn owner(&self) -> String {
        format!("model:{}", self.name)
    }

    /// Whether it is a floor to compare with, and no trained model.
    pub(crate) fn is_baseline(&self) -> Result<bool> {
        Ok(self.model.outside.is_none() && !self.family()?.needs_checkpoint)
    }

    /// Its family.
    pub(crate) fn family(&self) -> Result<&'static Family> {
        family(&self.model.family).map_err(|source| Error::UnknownName { source })
    }

    /// Every file that loading it reads.
    pub(crate) fn files(&self) -> Result<Vec<ModelFile>> {
        if let Some(outside) = &self.model.outside {
            return self.outside_files(outside);
        }
        let spec = self.spec()?;
        let found = (self.family()?.files)(&spec).map_err(|source| self.load_error(source))?;
        let folder = spec.checkpoint.unwrap_or_default();
        Ok(found
            .into_iter()
            .map(|file| ModelFile {
                name: relative(&file.path, &folder),
                role: role(file.role),
                path: file.path,
            })
            .collect())
    }

    /// How it does what the task `name` of the kind `kind` needs; an error if it cannot, though models of its family
    /// can. What models outside the program offer, `adapters` say.
    pub(crate) fn way(
        &self,
        kind: &dyn Task,
        name: &str,
        adapters: &[LockedAdapter],
    ) -> Result<Way> {
        let offers = if self.model.outside.is_some() {
            self.locked_offers(adapters)?
        } else {
            self.own_offers()?.to_vec()
        };
        Way::to(kind.needs(), &offers).ok_or_else(|| {
            let needs: Vec<&str> = kind.needs().iter().map(|need| need.name()).collect();
            Error::Capability {
                model: self.name.to_owned(),
                capability: needs.join("` or `"),
                task: name.to_owned(),
            }
        })
    }

    /// What a model within the program offers, by its files.
    fn own_offers(&self) -> Result<&'static [Capability]> {
        let offers = (self.family()?.offers)(&self.spec()?);
        offers.map_err(|source| self.load_error(source))
    }

    /// What it takes as visual input.
    pub(crate) fn visual_input(&self) -> Result<VisualSpec> {
        if self.model.outside.is_some() {
            return Ok(VisualSpec::Encoded);
        }
        (self.family()?.input)(&self.spec()?).map_err(|source| self.load_error(source))
    }

    /// How its images are prepared; `None` for a model of regions, which are taken as they are.
    pub(crate) fn input(&self) -> Result<Option<LockedInput>> {
        let Preparer::Pixels(preparer) = self.preparer(&self.visual_input()?, None)? else {
            return Ok(None);
        };
        let preprocessor = preparer.preprocessor();
        Ok(Some(LockedInput {
            owner: self.owner(),
            image_spec: Digest::of_json(preprocessor.spec())?,
            pixels: preprocessor
                .fingerprint()
                .map_err(|source| self.preprocess_error(source))?,
        }))
    }

    /// What prepares its images; the card `on`, where that is one.
    fn preparer(
        &self,
        input: &VisualSpec,
        on: Option<(&Device, &CardOptions)>,
    ) -> Result<Preparer> {
        match input {
            VisualSpec::Pixels(spec) => {
                let preprocessor = Preprocessor::new(spec.clone(), Limits::default())
                    .map_err(|source| self.preprocess_error(source))?;
                let mut preparer = PixelPreparer::new(preprocessor.with_mode(self.mode()));
                if let Some((device, options)) = on {
                    let dtype = pixel_type(self.family()?, precision(self.model)?, device);
                    preparer = preparer
                        .on_card(device, dtype, options)
                        .map_err(|source| Error::card(self.name, source))?;
                }
                Ok(Preparer::Pixels(Box::new(preparer)))
            }
            VisualSpec::Regions { width, regions } => Ok(Preparer::Regions {
                width: *width,
                most: *regions,
            }),
            VisualSpec::Encoded => Ok(Preparer::Encoded),
            _ => Err(Error::Input {
                model: self.name.to_owned(),
            }),
        }
    }

    /// How exact its pixels are. A plan has no other names than those of the modes.
    pub(crate) fn mode(&self) -> Mode {
        let of = |mode: &Mode| mode.name() == self.model.pixels;
        Mode::ALL.into_iter().find(of).unwrap_or_default()
    }

    /// How far the pixels of a task's first images are from those of the reference processor; `None` where
    /// they are the same. `on` is the card that prepares them.
    pub(crate) fn deviation(
        &self,
        lock: &Lock,
        task: &PlannedTask,
        on: Option<(&Device, &CardOptions)>,
    ) -> Result<Option<PixelDeviation>> {
        let on = on.filter(|(_, options)| options.other_decoder().is_some());
        if self.mode() == Mode::Exact && on.is_none() {
            return Ok(None);
        }
        let input = self.visual_input()?;
        let Preparer::Pixels(preparer) = self.preparer(&input, on)? else {
            return Ok(None);
        };
        let dataset = Dataset::open(self.plan, lock, self.roots, task)?;
        let library = dataset.library(&input)?;
        let mut images: Vec<bytes::Bytes> = Vec::new();
        for read in dataset.examples(task.limit) {
            let Read { example, image } = read?;
            if let Some(image) = image {
                images.push(image);
            } else {
                let named = example.images.iter().map(|name| library.bytes(name));
                images.extend(named.flatten().map(Into::into));
            }
            if images.len() >= Preprocessor::COMPARED {
                images.truncate(Preprocessor::COMPARED);
                break;
            }
        }
        preparer
            .deviation(&images)
            .map_err(|source| Error::card(self.name, source))
    }

    fn preprocess_error(&self, source: PrepareError) -> Error {
        Error::Preprocess {
            model: self.name.to_owned(),
            source,
        }
    }

    /// Loads it from the files of `lock`. Where `device` is a card, that prepares its images as `card` says.
    pub(crate) fn load(
        &self,
        lock: &Lock,
        device: &Device,
        card: Option<&CardOptions>,
    ) -> Result<Loaded> {
        if let Some(outside) = &self.model.outside {
            let adapter = self.adapter(outside)?;
            if !lock.adapters.contains(&self.locked_adapter(&adapter)?) {
                return Err(Error::OtherAdapter {
                    model: self.name.to_owned(),
                });
            }
            return Ok(Loaded {
                model: adapter.into_model(),
                preparer: Preparer::Encoded,
            });
        }
        let spec = self.spec()?;
        let owner = self.owner();
        for file in lock.files.iter().filter(|file| file.owner == owner) {
            if let Some(folder) = &spec.checkpoint {
                unchanged(&folder.join(&file.name), file)?;
            }
        }
        let load = self.family()?.load;
        let model = load(&spec, device).map_err(|source| self.load_error(source))?;
        let on = card.map(|options| (device, options));
        let preparer = self.preparer(model.input(), on)?;
        Ok(Loaded { model, preparer })
    }

    fn spec(&self) -> Result<ModelSpec> {
        let family = self.family()?;
        let checkpoint = match &self.model.checkpoint {
            Some(place) => Some(path_of(self.roots, place)?),
            None => None,
        };
        if family.needs_checkpoint && checkpoint.is_none() {
            return Err(Error::NoCheckpoint {
                model: self.name.to_owned(),
                family: family.name.to_owned(),
            });
        }
        let tokenizer = &self.model.tokenizer;
        let choice = TOKENIZERS.iter().find(|(name, _)| name == tokenizer);
        let (_, tokenizer) = choice.ok_or_else(|| {
            let known = TOKENIZERS.iter().map(|(name, _)| *name);
            Error::UnknownName {
                source: UnknownName::among("tokenizer", tokenizer, known),
            }
        })?;
        Ok(ModelSpec {
            checkpoint,
            tokenizer: *tokenizer,
            seed: self.plan.seed.child(self.name, 0),
            precision: precision(self.model)?,
        })
    }

    fn load_error(&self, source: sightline_models::Error) -> Error {
        Error::Load {
            model: self.name.to_owned(),
            source: Box::new(source),
        }
    }
}

/// What the model called `name` in `plan` offers by itself. One outside the program is started and asked.
pub fn offers(plan: &Plan, roots: &Roots, name: &str) -> Result<Vec<Capability>> {
    let planned = Planned::find(plan, roots, name, "")?;
    match &planned.model.outside {
        Some(outside) => Ok(planned.adapter(outside)?.offers()),
        None => Ok(planned.own_offers()?.to_vec()),
    }
}

/// In what a planned model keeps its weights.
pub fn precision(model: &PlannedModel) -> Result<Precision> {
    let Some(weights) = &model.weights else {
        return Ok(Precision::F32);
    };
    let found = Precision::ALL.into_iter().find(|it| it.name() == weights);
    found.ok_or_else(|| Error::UnknownName {
        source: UnknownName::among("weights", weights, Precision::ALL.map(Precision::name)),
    })
}

/// `path` below `folder`, with `/` between its parts.
fn relative(path: &Path, folder: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    let parts = below
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

fn role(role: FileRole) -> &'static str {
    match role {
        FileRole::Config => "config",
        FileRole::Weights => "weights",
        FileRole::Tokenizer => "tokenizer",
        FileRole::Preprocessor => "preprocessor",
        _ => "other",
    }
}
