//! Which pixels of an image are read, and what becomes of them.

use sightline_core::image_spec::{CropRounding, Fit, ImageSpec, Padding, Reference, Size};
use sightline_imaging::crop::Crop;
use sightline_imaging::reshape::smallest_max_size;
use sightline_imaging::resize::{Arithmetic, Part, PassOrder, ResizeSpec};
use sightline_imaging::sizes::{keep_ratio, shortest_edge};
use sightline_imaging::{Announced, Channels, Pixels, Window};

use crate::table::Placed;
use crate::{Mode, PrepareError};

/// How images of one size become pixels of the tensor.
pub(crate) struct Plan {
    /// The resize, with the window that the crop keeps.
    pub(crate) resize: ResizeSpec,
    /// The pixels of the decoded image that it reads.
    pub(crate) read: Window,
    /// Columns to the left of the window in the tensor, rows above it.
    pub(crate) place: (u32, u32),
}

impl Plan {
    /// What is resized and cropped follows from the size at full scale, so that the scale moves no pixel.
    pub(crate) fn new(
        spec: &ImageSpec,
        mode: Mode,
        image: Announced,
    ) -> Result<Self, PrepareError> {
        let (to, rounding) = resized(spec.fit, image.full)?;
        check_padding(spec, to)?;
        let crop = Crop::new(to, spec.size, rounding, spec.padding);
        // The last decoded pixel of a side may stand for fewer of the image.
        let side = |full: u32| full as f32 / image.divisor as f32;
        let resize = ResizeSpec {
            region: [0.0, 0.0, side(image.full.width), side(image.full.height)],
            window: crop.kept(),
            ..ResizeSpec::new(
                image.size(),
                to,
                spec.filter,
                arithmetic(spec.reference, mode)?,
            )
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

    /// The resized pixels of the window in the tensor of `spec`.
    pub(crate) fn placed<'a>(
        &self,
        data: &'a [u8],
        channels: Channels,
        spec: &ImageSpec,
    ) -> Placed<'a> {
        Placed {
            data,
            channels,
            size: self.resize.window.size(),
            place: self.place,
            within: spec.size,
            fill: spec.fill,
        }
    }
}

/// An image that is at least this large is not smaller than its resized form; `None` where nothing is resized.
pub(crate) fn least_resized(fit: Fit) -> Option<Size> {
    match fit {
        Fit::ShortestEdge { edge, .. } | Fit::SmallestMaxSize { edge, .. } => {
            Some(Size::square(edge))
        }
        Fit::Squash { size, .. } | Fit::Cover { size, .. } | Fit::Contain { size, .. } => {
            Some(size)
        }
        _ => None,
    }
}

/// The size of a resized image, and how its crop is rounded.
pub(crate) fn resized(fit: Fit, from: Size) -> Result<(Size, CropRounding), PrepareError> {
    Ok(match fit {
        Fit::ShortestEdge { edge, crop } => (shortest_edge(from, edge), crop),
        Fit::SmallestMaxSize { edge, crop } => (smallest_max_size(from, edge), crop),
        Fit::Squash { size, crop } => (size, crop),
        Fit::Cover { size, crop } => (keep_ratio(from, size, false), crop),
        Fit::Contain { size, crop } => (keep_ratio(from, size, true), crop),
        Fit::CropOnly { crop } => (from, crop),
        _ => {
            return Err(PrepareError::Unsupported {
                what: "an unknown way of fitting",
            });
        }
    })
}

/// Refuses an image that would have to be padded if the specification does not pad.
pub(crate) fn check_padding(spec: &ImageSpec, image: Size) -> Result<(), PrepareError> {
    let crop = spec.size;
    let is_smaller = image.width < crop.width || image.height < crop.height;
    if is_smaller && spec.padding == Padding::Refuse {
        return Err(PrepareError::CropLarger { image, crop });
    }
    Ok(())
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
