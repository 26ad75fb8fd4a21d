//! What can go wrong between observations and a score.

use sightline_core::Hint;

use crate::Input;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a score could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A metric asks for items that were not observed.
    #[error("metric `{metric}` needs {input} items, and none were observed", input = input.name())]
    NotObserved {
        /// Id of the metric.
        metric: &'static str,
        /// What it is computed from.
        input: Input,
    },
    /// Rows that do not fill a matrix.
    #[error("{len} values do not make {rows} rows of {width}")]
    Shape {
        /// Values given.
        len: usize,
        /// Rows.
        rows: usize,
        /// Values in a row.
        width: usize,
    },
    /// Images and texts of different spaces.
    #[error("image embeddings are {images} wide and text embeddings {texts}")]
    Width {
        /// Width of the image embeddings.
        images: usize,
        /// Width of the text embeddings.
        texts: usize,
    },
    /// A text that belongs to no image.
    #[error("text {text} belongs to image {image}, there are {images}")]
    Owner {
        /// Index of the text.
        text: usize,
        /// Index of the image it names.
        image: u32,
        /// Number of images.
        images: usize,
    },
}

impl Hint for Error {}
