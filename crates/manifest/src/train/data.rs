//! What a training run learns from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sightline_core::Seed;
use toml::Spanned;

use super::CaptionForm;
use crate::check::Checker;
use crate::error::Fault;
use crate::plan::Place;
use crate::rules;
use crate::schema::{WrittenData, WrittenScenes};
use crate::span::SourceFile;

/// Which of a sample's captions a step sees.
const CAPTIONS: [&str; 2] = ["random", "first"];

/// What is learned from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedData {
    /// Where samples are from.
    pub source: PlannedSource,
    /// Whether a step sees one of a sample's captions at random, or the first.
    pub random_captions: bool,
    /// A column of metadata instead of the captions.
    pub caption_column: Option<String>,
    /// Texts made of columns instead of the captions; of several, one is drawn for each example.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caption_forms: Vec<CaptionForm>,
    /// Files of regions with features, and of objects: of samples to learn from.
    #[serde(default)]
    pub train: PlannedRegions,
    /// The same of samples to measure on.
    #[serde(default)]
    pub validation: PlannedRegions,
    /// Runs of shards read side by side.
    pub lanes: u32,
    /// Shards of a lane whose samples are shuffled together.
    pub window: u32,
}

/// Where samples are from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedSource {
    /// Shards.
    Shards {
        /// To learn from.
        train: Place,
        /// To measure on.
        validation: Option<Place>,
        /// Their format, where it is said.
        format: Option<String>,
    },
    /// Scenes that are drawn when the run begins.
    Scenes {
        /// To learn from.
        train: u32,
        /// To measure on.
        val: u32,
        /// Pixels of a side.
        size: u32,
        /// Most objects.
        max_objects: u32,
        /// What they are drawn from.
        seed: Seed,
    },
}

/// Files about the regions of samples in shards, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlannedRegions {
    /// Boxes with features: a file, a folder or a pattern.
    pub regions: Option<Place>,
    /// Boxes with classes, in the form of COCO's instances.
    pub objects: Option<Place>,
}

impl Checker<'_> {
    pub(super) fn data(
        &mut self,
        file: &Arc<SourceFile>,
        written: &Spanned<WrittenData>,
    ) -> Option<PlannedData> {
        let (span, written) = (written.span(), written.get_ref());
        let captions = match &written.captions {
            Some(name) => self.known(
                "choice of captions",
                file,
                name,
                &CAPTIONS.map(str::to_owned),
            )?,
            None => CAPTIONS[0].to_owned(),
        };
        let forms = self.caption_forms(file, written);
        let formats = self.catalog.formats.clone();
        let format = match &written.format {
            Some(format) => Some(self.known("shard format", file, format, &formats)?),
            None => None,
        };
        let source = match (&written.scenes, &written.train) {
            (Some(scenes), None) => {
                for (field, other) in [
                    ("validation", &written.validation),
                    ("format", &written.format),
                    ("train_regions", &written.train_regions),
                    ("train_objects", &written.train_objects),
                    ("validation_regions", &written.validation_regions),
                    ("validation_objects", &written.validation_objects),
                ] {
                    if let Some(other) = other {
                        let with = "scenes that are drawn".to_owned();
                        self.tell_at(file, other.span(), Fault::MeaninglessWith { field, with });
                    }
                }
                self.scenes(file, scenes.get_ref())?
            }
            (None, Some(train)) => {
                let validation = match &written.validation {
                    Some(path) => Some(self.path_of(file, path)?),
                    None => None,
                };
                PlannedSource::Shards {
                    train: self.path_of(file, train)?,
                    validation,
                    format,
                }
            }
            (Some(scenes), Some(_)) => {
                let fault = Fault::MeaninglessWith {
                    field: "scenes",
                    with: "shards: `train` names some".to_owned(),
                };
                self.tell_at(file, scenes.span(), fault);
                return None;
            }
            (None, None) => {
                let field = "train".to_owned();
                self.tell_at(file, span, Fault::MissingField { field });
                return None;
            }
        };
        let train = self.regions(
            file,
            ("train_objects", "`train_regions`"),
            written.train_regions.as_ref(),
            written.train_objects.as_ref(),
        );
        let validation = self.regions(
            file,
            ("validation_objects", "`validation_regions`"),
            written.validation_regions.as_ref(),
            written.validation_objects.as_ref(),
        );
        if let (None, None, Some(regions)) = (
            &written.scenes,
            &written.validation,
            &written.validation_regions,
        ) {
            let (field, with) = ("validation_regions", "no `validation`".to_owned());
            self.tell_at(file, regions.span(), Fault::MeaninglessWith { field, with });
        }
        let mut small = |field, written: &Option<Spanned<u32>>, default| match written {
            None => Some(default),
            Some(number) => {
                let checked = rules::range(field, *number.get_ref(), &(1..=65_536));
                self.keep(file, number.span(), checked)
            }
        };
        let lanes = small("lanes", &written.lanes, 8);
        let window = small("window", &written.window, 4);
        Some(PlannedData {
            source,
            random_captions: captions == CAPTIONS[0],
            caption_column: written
                .caption_column
                .as_ref()
                .map(|column| column.get_ref().clone()),
            caption_forms: forms?,
            train: train?,
            validation: validation?,
            lanes: lanes?,
            window: window?,
        })
    }

    /// Forms of captions, each of which can be read.
    fn caption_forms(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenData,
    ) -> Option<Vec<CaptionForm>> {
        let Some(all) = &written.caption_forms else {
            return Some(Vec::new());
        };
        if written.caption_column.is_some() {
            let (field, with) = ("caption_forms", "`caption_column`".to_owned());
            self.tell_at(file, all.span(), Fault::MeaninglessWith { field, with });
        }
        let read: Vec<Option<CaptionForm>> = all
            .get_ref()
            .iter()
            .map(|form| {
                let checked = CaptionForm::try_from(form.get_ref().clone());
                self.keep(file, form.span(), checked)
            })
            .collect();
        read.into_iter().collect()
    }

    /// Files about regions; objects are told by which regions show them.
    fn regions(
        &mut self,
        file: &Arc<SourceFile>,
        (field, lacking): (&'static str, &str),
        regions: Option<&Spanned<String>>,
        objects: Option<&Spanned<String>>,
    ) -> Option<PlannedRegions> {
        if let (None, Some(objects)) = (regions, objects) {
            let with = format!("no {lacking}");
            self.tell_at(file, objects.span(), Fault::MeaninglessWith { field, with });
        }
        let mut place = |written: Option<&Spanned<String>>| match written {
            None => Some(None),
            Some(path) => self.path_of(file, path).map(Some),
        };
        Some(PlannedRegions {
            regions: place(regions)?,
            objects: place(objects)?,
        })
    }

    fn scenes(&mut self, file: &Arc<SourceFile>, written: &WrittenScenes) -> Option<PlannedSource> {
        let mut number = |field, written: Option<&Spanned<u32>>, allowed, default| match written {
            None => Some(default),
            Some(number) => {
                let checked = rules::range(field, *number.get_ref(), &allowed);
                self.keep(file, number.span(), checked)
            }
        };
        let train = number("train", Some(&written.train), 1..=200_000, 0);
        let val = number("val", written.val.as_ref(), 0..=200_000, 0);
        let size = number("size", written.size.as_ref(), 32..=512, 64);
        let max_objects = number("max_objects", written.max_objects.as_ref(), 1..=4, 4);
        Some(PlannedSource::Scenes {
            train: train?,
            val: val?,
            size: size?,
            max_objects: max_objects?,
            seed: Seed(written.seed.unwrap_or(17)),
        })
    }
}
