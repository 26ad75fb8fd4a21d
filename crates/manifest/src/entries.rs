//! Datasets and models: from what is written to what is planned.

use std::collections::BTreeSet;
use std::path::Path;

use sightline_core::registry::UnknownName;

use crate::catalog::Catalog;
use crate::check::Checker;
use crate::error::{Error, Fault, Where};
use crate::folder::Kind;
use crate::plan::{Place, PlannedDataset, PlannedModel};
use crate::rules;
use crate::schema::{Dataset, Model};

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
        let format = self.known("shard format", file, &written.format, formats);
        let folder = Kind::Dataset.folder();
        let shards = rules::place(written.shards.get_ref(), folder);
        let shards = self.keep(file, written.shards.span(), shards);
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
        Some(PlannedDataset {
            description: written.description,
            format: format?,
            shards: shards?,
            class_field,
            classes,
            templates,
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
        let checkpoint = written.checkpoint.as_ref().and_then(|path| {
            let place = rules::checkpoint(path.get_ref(), Kind::Model.folder());
            self.keep(file, path.span(), place)
        });

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
        })
    }
}
