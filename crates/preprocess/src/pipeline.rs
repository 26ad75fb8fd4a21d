//! The steps of one image: decode, resize, crop, values.

use sightline_core::image_spec::{CropRounding, Fit, ImageSpec, Reference, Rescale, Size};
use sightline_imaging::crop::{Padding, centre_crop};
use sightline_imaging::resize::{PassOrder, resize_pillow, resize_torchvision_u8};
use sightline_imaging::sizes::shortest_edge;
use sightline_imaging::{DecodeOptions, Limits, Pixels, decode_rgb};

use crate::{PrepareError, Table};

/// Longest side of a tensor.
const MAX_SIDE: u32 = 16_384;

/// Turns encoded images into the values that a model is fed.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    spec: ImageSpec,
    options: DecodeOptions,
    table: Table,
}

impl Preprocessor {
    /// A preprocessor that decodes like Pillow's `convert("RGB")` (no orientation, alpha dropped) within
    /// `limits`.
    pub fn new(spec: ImageSpec, limits: Limits) -> Result<Self, PrepareError> {
        for size in [spec.size, resized_size(spec.fit).unwrap_or(spec.size)] {
            if !(1..=MAX_SIDE).contains(&size.width) || !(1..=MAX_SIDE).contains(&size.height) {
                return Err(PrepareError::TensorSize {
                    size,
                    max: MAX_SIDE,
                });
            }
        }
        if !matches!(
            spec.rescale,
            Rescale::Factor { .. }
                | Rescale::FactorTop { .. }
                | Rescale::Single { .. }
                | Rescale::Fused { .. }
                | Rescale::Divide255
                | Rescale::None
        ) {
            return Err(PrepareError::Unsupported {
                what: "an unknown way of rescaling",
            });
        }
        Ok(Self {
            options: DecodeOptions::pillow().with_limits(limits),
            table: Table::new(&spec),
            spec,
        })
    }

    /// The specification.
    pub fn spec(&self) -> &ImageSpec {
        &self.spec
    }

    /// Values of one image: `3 * height * width` of them, channel by channel.
    pub fn len(&self) -> usize {
        3 * self.spec.size.width as usize * self.spec.size.height as usize
    }

    /// Never: a tensor has pixels.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The values of an encoded image, `[3, height, width]`, row-major.
    pub fn prepare(&self, bytes: &[u8]) -> Result<Vec<f32>, PrepareError> {
        self.prepare_pixels(&decode_rgb(bytes, &self.options)?.pixels)
    }

    /// The values of decoded pixels, `[3, height, width]`, row-major.
    pub fn prepare_pixels(&self, pixels: &Pixels) -> Result<Vec<f32>, PrepareError> {
        Ok(self.table.apply(&self.fit(pixels)?))
    }

    /// The pixels that the values are computed from: resized and cropped to the tensor's size.
    pub fn fit(&self, pixels: &Pixels) -> Result<Pixels, PrepareError> {
        let (size, rounding) = match self.spec.fit {
            Fit::ShortestEdge { edge, crop } => (shortest_edge(pixels.size(), edge), crop),
            Fit::Squash { size, crop } => (size, crop),
            Fit::CropOnly { crop } => (pixels.size(), crop),
            _ => {
                return Err(PrepareError::Unsupported {
                    what: "an unknown way of fitting",
                });
            }
        };
        let resized = self.resize(pixels, size)?;
        if resized.size() == self.spec.size {
            return Ok(resized);
        }
        let padding = match (self.spec.reference, rounding) {
            // Hugging Face's slow processors; see `sightline_imaging::crop`.
            (Reference::Pillow12 | Reference::Pillow13, CropRounding::Floor) => {
                Padding::LargerBefore
            }
            _ => Padding::LargerAfter,
        };
        Ok(centre_crop(&resized, self.spec.size, rounding, padding)?)
    }

    fn resize(&self, pixels: &Pixels, size: Size) -> Result<Pixels, PrepareError> {
        let filter = self.spec.filter;
        let pillow = |order| resize_pillow(pixels, size, filter, order, None);
        Ok(match self.spec.reference {
            Reference::Pillow12 => pillow(PassOrder::HorizontalFirst)?,
            Reference::Pillow13 => pillow(PassOrder::Adaptive)?,
            Reference::TorchvisionU8 => resize_torchvision_u8(pixels, size, filter)?,
            _ => {
                return Err(PrepareError::Unsupported {
                    what: "an unknown resize arithmetic",
                });
            }
        })
    }
}

fn resized_size(fit: Fit) -> Option<Size> {
    match fit {
        Fit::ShortestEdge { edge, .. } => Some(Size {
            width: edge,
            height: edge,
        }),
        Fit::Squash { size, .. } => Some(size),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::image_spec::Filter;
    use sightline_imaging::Channels;

    use super::*;

    fn spec(fit: Fit, width: u32, height: u32) -> ImageSpec {
        ImageSpec {
            size: Size { width, height },
            fit,
            filter: Filter::Bilinear,
            reference: Reference::Pillow13,
            rescale: Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    #[test]
    fn values_are_channel_by_channel() {
        let crop = CropRounding::Floor;
        let preprocessor =
            Preprocessor::new(spec(Fit::CropOnly { crop }, 2, 1), Limits::default()).unwrap();
        let data = vec![9, 9, 9, 1, 2, 3, 4, 5, 6, 9, 9, 9];
        let pixels = Pixels::new(4, 1, Channels::Rgb, data).unwrap();
        let values = preprocessor.prepare_pixels(&pixels).unwrap();
        assert_eq!(values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(values.len(), preprocessor.len());
        let grey = Pixels::new(2, 1, Channels::Grey, vec![7, 8]).unwrap();
        let values = preprocessor.prepare_pixels(&grey).unwrap();
        assert_eq!(values, [7.0, 8.0, 7.0, 8.0, 7.0, 8.0]);
    }

    #[test]
    fn extreme_shapes_are_errors_of_the_image_not_of_memory() {
        let crop = CropRounding::Floor;
        let fit = Fit::ShortestEdge { edge: 224, crop };
        let preprocessor = Preprocessor::new(spec(fit, 224, 224), Limits::default()).unwrap();
        let line = Pixels::filled(60_000, 1, Channels::Rgb, &[1, 2, 3]).unwrap();
        assert_eq!(
            preprocessor.prepare_pixels(&line).unwrap_err().class(),
            "resize"
        );
        for (width, height) in [(0, 224), (224, 1 << 20)] {
            let error = Preprocessor::new(spec(fit, width, height), Limits::default());
            assert_eq!(error.unwrap_err().class(), "tensor-size");
        }
    }
}
