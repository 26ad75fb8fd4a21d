//! What can go wrong between a file and a tensor.

use sightline_core::Hint;
use sightline_core::image_spec::{ImageSpecError, Size};
use sightline_imaging::resize::ResizeError;
use sightline_imaging::{DecodeError, PixelsError};

/// An image that did not become pixels of a batch, or a specification that no image can satisfy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The file could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The image cannot be brought to the size asked for.
    #[error("cannot resize")]
    Resize(#[from] ResizeError),
    /// Pixels of no size.
    #[error("cannot crop")]
    Pixels(#[from] PixelsError),
    /// The specification does not pad.
    #[error("the resized image of {width}x{height} pixels is smaller than the crop of {}x{}", crop.width, crop.height, width = image.width, height = image.height)]
    CropLarger {
        /// The image after the resize.
        image: Size,
        /// The crop.
        crop: Size,
    },
    /// A specification that no image can satisfy.
    #[error(transparent)]
    Spec(#[from] Box<ImageSpecError>),
    /// A step that this build does not know.
    #[error("image specification asks for {what}, which is not supported")]
    Unsupported {
        /// The step.
        what: &'static str,
    },
    /// Room for another number of values than an image has.
    #[error("room for {len} values, expected {expected}")]
    Room {
        /// Values that there is room for.
        len: usize,
        /// Three times the pixels of the tensor.
        expected: usize,
    },
    /// Rows of a batch that are not of this preprocessor.
    #[error("row {index} of the batch has {len} values, expected {expected}")]
    Row {
        /// Position in the batch.
        index: usize,
        /// Its length.
        len: usize,
        /// Three times the pixels of the tensor.
        expected: usize,
    },
    /// The tensor could not be made on its device.
    #[error("cannot make the batch")]
    Tensor(#[from] candle_core::Error),
}

impl PrepareError {
    /// A stable name in kebab-case, for tables and counts.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Decode(e) => e.class(),
            Self::Resize(_) => "resize",
            Self::Pixels(_) | Self::Spec(_) | Self::CropLarger { .. } => "tensor-size",
            Self::Unsupported { .. } => "unsupported-step",
            Self::Room { .. } | Self::Row { .. } => "batch-row",
            Self::Tensor(_) => "tensor",
        }
    }
}

impl Hint for PrepareError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Decode(e) => e.hints(),
            _ => Vec::new(),
        }
    }
}
