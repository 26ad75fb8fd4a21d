//! The images of a dataset as each model takes them: pixels of files, or region features.
//!
//! Annotation files name an image in one way and files of images and of region features in others, so both sides are brought to one name
//! ([`sightline_preprocess::image_names`]) before they are compared; two files with one name are refused.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use candle_core::Device;
use sightline_core::Decoded;
use sightline_models::{Visual, VisualSpec};
use sightline_preprocess::image_names::{ImageNames, SameName};
use sightline_preprocess::regions::{self, RegionLimits, Regions, Source};

use crate::pixels::{PixelPreparer, Pixels};
use crate::predictions::Outcome;
use crate::{Error, Result};

/// Longest image file in bytes; decoders have limits of their own.
const MAX_IMAGE_BYTES: u64 = 256 << 20;

/// One image as a model takes it.
#[derive(Clone, Debug)]
pub(crate) enum Prepared {
    /// Prepared pixels.
    Pixels(Pixels),
    /// Regions with their features.
    Regions(Regions),
    /// The file as it is.
    Encoded(Bytes),
}

/// What makes images of what a model takes.
pub(crate) enum Preparer {
    /// Decodes and prepares image files.
    Pixels(Box<PixelPreparer>),
    /// Takes regions as they are.
    Regions {
        /// Values of a feature.
        width: usize,
        /// The most regions of an image.
        most: usize,
    },
    /// Takes image files as they are.
    Encoded,
}

impl Preparer {
    /// The same images as one batch of a model's input, as many regions as the image with the most has.
    pub(crate) fn stack(
        &self,
        images: &[&Prepared],
        device: &Device,
    ) -> Result<Visual, StackError> {
        match self {
            Self::Pixels(preparer) => {
                let pixels = images.iter().filter_map(|image| match image {
                    Prepared::Pixels(pixels) => Some(pixels),
                    _ => None,
                });
                Ok(Visual::Pixels(preparer.stack(pixels, device)?))
            }
            Self::Regions { width, most } => {
                let images: Vec<Regions> = images
                    .iter()
                    .filter_map(|image| match image {
                        Prepared::Regions(regions) => Some(regions.clone()),
                        _ => None,
                    })
                    .collect();
                let batch = regions::stack(&images, *width, *most, device)?;
                Ok(Visual::Regions {
                    features: batch.visual_embeds,
                    present: batch.visual_attention_mask,
                })
            }
            Self::Encoded => {
                let files = images.iter().filter_map(|image| match image {
                    Prepared::Encoded(file) => Some(file.clone()),
                    _ => None,
                });
                Ok(Visual::Encoded(files.collect()))
            }
        }
    }

    /// By whom image files were decoded since this was asked last, where a card prepares them.
    pub(crate) fn take_decoded(&self) -> Option<Decoded> {
        match self {
            Self::Pixels(preparer) => preparer.take_decoded(),
            Self::Regions { .. } | Self::Encoded => None,
        }
    }
}

/// Why images make no batch.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StackError {
    /// Pixels.
    #[error(transparent)]
    Pixels(#[from] sightline_preprocess::PrepareError),
    /// Regions.
    #[error(transparent)]
    Regions(#[from] sightline_preprocess::regions::RegionsError),
}

/// The images of a dataset in the form that a model takes.
pub(crate) enum Library {
    /// In the dataset's shards.
    Shards,
    /// Files, each an image.
    Files(ImageNames, Vec<PathBuf>),
    /// Files of region features.
    Regions(ImageNames, Box<dyn Source>),
}

impl Library {
    /// The image files `paths` of `dataset`.
    pub(crate) fn files(dataset: &str, paths: Vec<PathBuf>) -> Result<Self> {
        let names: Vec<String> = paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let index = index(dataset, names.iter().map(String::as_str))?;
        Ok(Self::Files(index, paths))
    }

    /// The files `paths` of region features of `dataset`.
    pub(crate) fn regions(dataset: &str, paths: &[PathBuf]) -> Result<Self> {
        let source = regions::open(paths, None, &RegionLimits::default()).map_err(|source| {
            Error::Regions {
                dataset: dataset.to_owned(),
                source: Box::new(source),
            }
        })?;
        let index = index(dataset, source.ids().iter())?;
        Ok(Self::Regions(index, source))
    }

    /// Where the image file called `name` is.
    pub(crate) fn path(&self, name: &str) -> Option<&Path> {
        match self {
            Self::Files(index, paths) => Some(&paths[index.find(name)?]),
            Self::Shards | Self::Regions(..) => None,
        }
    }

    /// The bytes of the image file called `name`.
    pub(crate) fn bytes(&self, name: &str) -> Result<Vec<u8>, Outcome> {
        let Self::Files(index, paths) = self else {
            return Err(failed("no image"));
        };
        let at = index
            .find(name)
            .ok_or_else(|| failed("the image is not among the dataset's files"))?;
        let path = &paths[at];
        let read = fs::metadata(path).and_then(|meta| {
            if meta.len() > MAX_IMAGE_BYTES {
                return Ok(None);
            }
            fs::read(path).map(Some)
        });
        match read {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(failed("image: too long")),
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "image cannot be read");
                Err(failed("image: cannot be read"))
            }
        }
    }

    /// The regions of the image called `name`, which must have features of `width` values.
    pub(crate) fn regions_of(
        &self,
        dataset: &str,
        model: &str,
        name: &str,
        width: usize,
    ) -> Result<Result<Regions, Outcome>> {
        let Self::Regions(index, source) = self else {
            return Ok(Err(failed("no regions")));
        };
        let Some(at) = index.find(name) else {
            return Ok(Err(failed("no regions of the image")));
        };
        match source.read(at) {
            Ok(regions) if regions.is_empty() || regions.width() == width => Ok(Ok(regions)),
            // Not what is wrong with one image: the files are of another detector.
            Ok(regions) => Err(Error::RegionWidth {
                dataset: dataset.to_owned(),
                model: model.to_owned(),
                found: regions.width(),
                expected: width,
            }),
            Err(error) => {
                tracing::debug!(%error, "regions cannot be read");
                Ok(Err(failed("regions: cannot be read")))
            }
        }
    }
}

fn index<'n>(dataset: &str, names: impl IntoIterator<Item = &'n str>) -> Result<ImageNames> {
    ImageNames::new(names).map_err(|SameName { image }| Error::ImageTwice {
        dataset: dataset.to_owned(),
        image,
    })
}

fn failed(why: &str) -> Outcome {
    Outcome::Failed(why.to_owned())
}

/// Whether a dataset of these files can be shown to a model.
pub(crate) fn field_for(input: &VisualSpec) -> &'static str {
    match input {
        VisualSpec::Regions { .. } => "regions",
        _ => "images",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_files_of_one_name_are_refused_and_named() {
        let paths = ["a/139.jpg", "b/COCO_val2014_000000000139.jpg"].map(PathBuf::from);
        let Err(error) = Library::files("coco", paths.to_vec()) else {
            panic!("two files of one name were taken");
        };
        let text = error.to_string();
        assert!(text.contains("b/COCO_val2014_000000000139.jpg"), "{text}");
    }
}
