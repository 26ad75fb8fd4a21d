//! Datasets and models: from what is written to what is planned.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sightline_core::registry::UnknownName;
use toml::Spanned;

use crate::catalog::Catalog;
use crate::check::Checker;
use crate::error::{Error, Fault, Where};
use crate::folder::Kind;
use crate::plan::{Place, PlannedAnnotations, PlannedDataset, PlannedModel};
use crate::rules;
use crate::schema::{Annotations, Dataset, Model};
use crate::span::SourceFile;

/// Prompt of a dataset with classes that says none itself: that of the CLIP paper (section 3.1.4).
const DEFAULT_TEMPLATE: &str = "a photo of a {}.";
/// Tokenizer of a family that reads a checkpoint.
const DEFAULT_TOKENIZER: &str = "checkpoint";
/// Tokenizer of a family that reads none; it needs no files either.
const DEFAULT_TOKENIZER_WITHOUT_CHECKPOINT: &str = "word-hash";

/// Reads and checks the dataset manifest `name` below the manifests `folder`.
pub fn load_dataset(folder: &Path, name: &str, catalog: &Catalog) -> Result<PlannedDataset, Error> {
    let mut checker = Checker::new(folder.to_owned(), catalog);
    let dataset = checker.dataset(name, &Where::Nowhere);
    checker.finish(dataset)
}

/// Reads and checks the model manifest `name` below the manifests `folder`; `given` names the models
/// whose checkpoint folder comes from the command line.
pub fn load_model(
    folder: &Path,
    name: &str,
    catalog: &Catalog,
    given: &BTreeSet<String>,
) -> Result<PlannedModel, Error> {
    let mut checker = Checker::new(folder.to_owned(), catalog);
    let model = checker.model(name, &Where::Nowhere, given);
    checker.finish(model)
}

impl Checker<'_> {
    /// The dataset called `name`, which is referred to from `from`.
    pub(crate) fn dataset(&mut self, name: &str, from: &Where) -> Option<PlannedDataset> {
        let (file, written) = self.find::<Dataset>(Kind::Dataset, name, from)?;
        let file = &file;
        self.own_name(Kind::Dataset, file, &written.name);
        let formats = &self.catalog.formats;
        let format = written
            .format
            .as_ref()
            .map(|format| self.known("shard format", file, format, formats));
        let folder = Kind::Dataset.folder();
        let mut place = |written: &Option<Spanned<String>>| {
            let written = written.as_ref()?;
            let place = rules::place(written.get_ref(), folder);
            Some(self.keep(file, written.span(), place))
        };
        let shards = place(&written.shards);
        let images = place(&written.images);
        let regions = place(&written.regions);
        let annotations = written
            .annotations
            .as_ref()
            .map(|annotations| self.annotations(file, annotations.get_ref()));
        self.source(file, &written);
        // No part of a plan, but what is wrong with it is told.
        self.dataset_published(file, &written.publication());
        let class_field = written.class_field.map(|field| {
            if field.get_ref().is_empty() {
                let field_name = "class_field";
                self.tell_at(file, field.span(), Fault::Empty { field: field_name });
            }
            field.into_inner()
        });
        let classes = written.classes.and_then(|path| {
            let place = rules::place(path.get_ref(), folder);
            self.keep(file, path.span(), place)
        });
        let templates = match &written.templates {
            Some(list) => self.templates(file, list),
            None if classes.is_some() => vec![DEFAULT_TEMPLATE.to_owned()],
            None => Vec::new(),
        };
        let ids = written.ids.as_ref().map(|path| {
            let place = rules::place(path.get_ref(), folder);
            self.keep(file, path.span(), place)
        });
        Some(PlannedDataset {
            description: written.description,
            format: whole(format)?,
            shards: whole(shards)?,
            images: whole(images)?,
            regions: whole(regions)?,
            annotations: whole(annotations)?,
            class_field,
            classes,
            templates,
            ids: whole(ids)?,
        })
    }

    /// Checks that a dataset has one source of samples, and images.
    fn source(&mut self, file: &Arc<SourceFile>, written: &Dataset) {
        let missing = |field: &str| Fault::MissingField {
            field: field.to_owned(),
        };
        let reason = |reason| Fault::Source {
            dataset: written.name.get_ref().clone(),
            reason,
        };
        let has_visuals = written.images.is_some() || written.regions.is_some();
        let fault = match (&written.annotations, &written.format, &written.shards) {
            (Some(_), None, None) if has_visuals => return,
            (Some(_), None, None) => reason("has neither `images` nor `regions`"),
            (Some(_), ..) => reason("has both shards and `annotations`"),
            (None, Some(_), Some(_)) if written.images.is_some() => {
                reason("has both shards and `images`")
            }
            (None, Some(_), Some(_)) => return,
            (None, None, None) => reason("has neither `shards` nor `annotations`"),
            (None, None, _) => missing("format"),
            (None, _, None) => missing("shards"),
        };
        self.tell_at(file, written.name.span(), fault);
    }

    fn annotations(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Annotations,
    ) -> Option<PlannedAnnotations> {
        let catalog = self.catalog;
        let known: Vec<String> = catalog.forms.iter().map(|form| form.name.clone()).collect();
        let form = self.known("annotation form", file, &written.form, &known)?;
        let info = catalog.form(&form)?;
        let with = || format!("the form `{form}`");
        match &written.split {
            Some(split) if !info.has_splits => {
                let fault = Fault::MeaninglessWith {
                    field: "split",
                    with: with(),
                };
                self.tell_at(file, split.span(), fault);
            }
            None if info.has_splits => {
                let fault = Fault::MissingWith {
                    field: "split",
                    with: with(),
                };
                self.tell_at(file, written.form.span(), fault);
            }
            _ => {}
        }
        let mut files = BTreeMap::new();
        let mut is_whole = true;
        for (name, path) in written.files.get_ref() {
            if !info.files.iter().any(|file| file.name == *name) {
                let known = info.files.iter().map(|file| file.name.as_str());
                let error = UnknownName::among("annotation file", name, known);
                self.tell_at(file, path.span(), Fault::UnknownName { error });
            }
            let place = rules::place(path.get_ref(), Kind::Dataset.folder());
            match self.keep(file, path.span(), place) {
                Some(place) => {
                    files.insert(name.clone(), place);
                }
                None => is_whole = false,
            }
        }
        for needed in info.files.iter().filter(|file| file.is_required) {
            if !written.files.get_ref().contains_key(&needed.name) {
                let fault = Fault::NoFile {
                    form: form.clone(),
                    file: needed.name.clone(),
                };
                self.tell_at(file, written.files.span(), fault);
            }
        }
        is_whole.then(|| PlannedAnnotations {
            split: written.split.as_ref().map(|split| split.get_ref().clone()),
            form: form.clone(),
            files,
        })
    }

    /// The model called `name`, which is referred to from `from`.
    pub(crate) fn model(
        &mut self,
        name: &str,
        from: &Where,
        given: &BTreeSet<String>,
    ) -> Option<PlannedModel> {
        let (file, written) = self.find::<Model>(Kind::Model, name, from)?;
        let file = &file;
        self.own_name(Kind::Model, file, &written.name);
        let tokenizers = &self.catalog.tokenizers;
        let tokenizer = written
            .tokenizer
            .as_ref()
            .and_then(|tokenizer| self.known("tokenizer", file, tokenizer, tokenizers));
        let known = &self.catalog.pixels;
        let pixels = match &written.pixels {
            Some(pixels) => self.known("pixels", file, pixels, known),
            None => known.first().cloned(),
        };
        let known = &self.catalog.weights;
        let weights = (written.weights.as_ref())
            .and_then(|weights| self.known("weights", file, weights, known))
            // Not rounding is the default, and nothing that a plan need say.
            .filter(|weights| known.first() != Some(weights));
        let checkpoint = written.checkpoint.as_ref().and_then(|path| {
            let place = rules::checkpoint(path.get_ref(), Kind::Model.folder());
            self.keep(file, path.span(), place)
        });

        let outside = self.outside(file, &written);

        // No part of a plan, but what is wrong with it is told.
        self.published(file, &written);

        let family_name = written.family.get_ref();
        let catalog = self.catalog;
        let Some(family) = catalog.family(family_name) else {
            let known = catalog.families.iter().map(|family| family.name.as_str());
            let error = UnknownName::among("family", family_name, known);
            self.tell_at(file, written.family.span(), Fault::UnknownName { error });
            return None;
        };
        let unused = || Fault::UnusedCheckpoint {
            model: name.to_owned(),
            family: family.name.clone(),
        };
        let is_given = given.contains(name);
        if !family.needs_checkpoint {
            if let Some(path) = &written.checkpoint {
                self.tell_at(file, path.span(), unused());
            }
            if is_given {
                self.tell(unused(), Where::Flag("--checkpoint"));
            }
        } else if written.checkpoint.is_none() && !is_given {
            let fault = Fault::NoCheckpoint {
                model: name.to_owned(),
                family: family.name.clone(),
            };
            self.tell_at(file, written.name.span(), fault);
        }
        let default = if family.needs_checkpoint {
            DEFAULT_TOKENIZER
        } else {
            DEFAULT_TOKENIZER_WITHOUT_CHECKPOINT
        };
        Some(PlannedModel {
            description: written.description,
            family: family.name.clone(),
            checkpoint: if is_given {
                Some(Place::Given(name.to_owned()))
            } else {
                checkpoint
            },
            tokenizer: tokenizer.unwrap_or_else(|| default.to_owned()),
            pixels: pixels.unwrap_or_default(),
            weights,
            outside,
        })
    }
}

/// What was not written, or what is right of what was; `None` where something was and is wrong.
#[expect(
    clippy::option_option,
    reason = "written or not, and right or not, are two questions"
)]
fn whole<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(right) => right.map(Some),
    }
}
