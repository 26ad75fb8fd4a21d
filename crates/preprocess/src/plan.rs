//! Which pixels of an image are read, and what becomes of them.

use sightline_core::image_spec::{CropRounding, Fit, ImageSpec, Reference, Size};
use sightline_imaging::crop::{Crop, Padding};
use sightline_imaging::resize::{Arithmetic, Part, PassOrder, ResizeSpec};
use sightline_imaging::sizes::shortest_edge;
use sightline_imaging::{Channels, Pixels, Window};

use crate::table::Placed;
use crate::{Mode, PrepareError};

/// How images of one size become pixels of the tensor.
pub(crate) struct Plan {
    /// The resize, with the window that the crop keeps.
    pub(crate) resize: ResizeSpec,
    /// The pixels of the decoded image that it reads.
    pub(crate) read: Window,
    /// Columns to the left of the window in the tensor, rows above it.
    place: (u32, u32),
}

impl Plan {
    /// For images of size `stored`, of which a decoder makes one pixel of `divisor` along each side.
    pub(crate) fn new(
        spec: &ImageSpec,
        mode: Mode,
        stored: Size,
        divisor: u32,
    ) -> Result<Self, PrepareError> {
        let (to, rounding) = resized(spec.fit, stored)?;
        let crop = Crop::new(to, spec.size, rounding, padding(spec.reference, rounding));
        let decoded = Size {
            width: stored.width.div_ceil(divisor),
            height: stored.height.div_ceil(divisor),
        };
        // The last decoded pixel of a side may stand for fewer stored ones.
        let side = |stored: u32| stored as f32 / divisor as f32;
        let resize = ResizeSpec {
            region: [0.0, 0.0, side(stored.width), side(stored.height)],
            window: crop.kept(),
            ..ResizeSpec::new(decoded, to, spec.filter, arithmetic(spec.reference, mode)?)
        };
        Ok(Self {
            read: resize.source()?,
            resize,
            place: crop.place(),
        })
    }

    /// Pixels of just the window that is read.
    pub(crate) fn part<'a>(&self, pixels: &'a Pixels) -> Part<'a> {
        Part {
            pixels,
            left: self.read.left,
            top: self.read.top,
        }
    }

    /// The resized pixels of the window in a tensor of size `within`.
    pub(crate) fn placed<'a>(
        &self,
        data: &'a [u8],
        channels: Channels,
        within: Size,
    ) -> Placed<'a> {
        Placed {
            data,
            channels,
            size: self.resize.window.size(),
            place: self.place,
            within,
        }
    }
}

/// The least size to which images are resized, if they are.
pub(crate) fn least_resized(fit: Fit) -> Option<Size> {
    match fit {
        Fit::ShortestEdge { edge, .. } => Some(Size {
            width: edge,
            height: edge,
        }),
        Fit::Squash { size, .. } => Some(size),
        _ => None,
    }
}

/// The size of a resized image, and how its crop is rounded.
fn resized(fit: Fit, from: Size) -> Result<(Size, CropRounding), PrepareError> {
    match fit {
        Fit::ShortestEdge { edge, crop } => Ok((shortest_edge(from, edge), crop)),
        Fit::Squash { size, crop } => Ok((size, crop)),
        Fit::CropOnly { crop } => Ok((from, crop)),
        _ => Err(PrepareError::Unsupported {
            what: "an unknown way of fitting",
        }),
    }
}

fn padding(reference: Reference, rounding: CropRounding) -> Padding {
    match (reference, rounding) {
        // Hugging Face's slow processors; see `sightline_imaging::crop`.
        (Reference::Pillow12 | Reference::Pillow13, CropRounding::Floor) => Padding::LargerBefore,
        _ => Padding::LargerAfter,
    }
}

fn arithmetic(reference: Reference, mode: Mode) -> Result<Arithmetic, PrepareError> {
    match (reference, mode) {
        (Reference::TorchvisionU8, _) | (_, Mode::Fast) => Ok(Arithmetic::TorchvisionU8),
        (Reference::Pillow12, _) => Ok(Arithmetic::Pillow(PassOrder::HorizontalFirst)),
        (Reference::Pillow13, _) => Ok(Arithmetic::Pillow(PassOrder::Adaptive)),
        _ => Err(PrepareError::Unsupported {
            what: "an unknown resize arithmetic",
        }),
    }
}
