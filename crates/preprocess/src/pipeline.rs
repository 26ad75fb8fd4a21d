//! The steps of one image: decode, resize, crop, values.

use sightline_core::image_spec::{
    Colour, CropRounding, Filter, Fit, ImageSpec, Padding, Reference, Rescale, Size,
};
use sightline_imaging::crop::centre_crop;
use sightline_imaging::orient::upright;
use sightline_imaging::reshape::smallest_max_size;
use sightline_imaging::resize::opencv::{Interpolation, resize_opencv};
use sightline_imaging::resize::{PassOrder, resize_pillow, resize_torchvision_u8};
use sightline_imaging::sizes::{keep_ratio, shortest_edge};
use sightline_imaging::{DecodeOptions, Limits, Native, Pixels, decode_native, decode_rgb};

use crate::{PrepareError, Table};

/// Turns encoded images into the values that a model is fed.
#[derive(Clone, Debug)]
pub struct Preprocessor {
    spec: ImageSpec,
    options: DecodeOptions,
    table: Table,
}

impl Preprocessor {
    /// A preprocessor that decodes within `limits`.
    pub fn new(spec: ImageSpec, limits: Limits) -> Result<Self, PrepareError> {
        spec.check().map_err(Box::new)?;
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
            options: options(&spec)?.with_limits(limits),
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
        Ok(self.table.apply(&self.fit_bytes(bytes)?))
    }

    /// The values of decoded pixels, `[3, height, width]`, row-major.
    pub fn prepare_pixels(&self, pixels: &Pixels) -> Result<Vec<f32>, PrepareError> {
        Ok(self.table.apply(&self.fit(pixels)?))
    }

    /// The pixels that the values of an encoded image are computed from.
    pub fn fit_bytes(&self, bytes: &[u8]) -> Result<Pixels, PrepareError> {
        if self.spec.colour == Colour::PillowLast {
            return self.fit_native(decode_native(bytes, &self.options.limits)?);
        }
        self.fit(&self.decode(bytes)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Pixels, PrepareError> {
        if self.spec.colour != Colour::OpenCv {
            return Ok(decode_rgb(bytes, &self.options)?.pixels);
        }
        let native = decode_native(bytes, &self.options.limits)?;
        let orientation = native.orientation;
        let pixels = native.into_opencv_rgb();
        Ok(if self.spec.upright {
            upright(pixels, orientation)
        } else {
            pixels
        })
    }

    /// The pixels that the values are computed from: resized and cropped to the tensor's size.
    pub fn fit(&self, pixels: &Pixels) -> Result<Pixels, PrepareError> {
        let (size, rounding) = resized_size(self.spec.fit, pixels.size())?;
        let resized = self.resize(pixels, size)?;
        if resized.size() == self.spec.size {
            return Ok(resized);
        }
        self.check_padding(size)?;
        let ImageSpec {
            size,
            padding,
            fill,
            ..
        } = self.spec;
        Ok(centre_crop(&resized, size, rounding, padding, fill)?)
    }

    /// The same in the file's own mode, which is converted to RGB at the end.
    fn fit_native(&self, native: Native) -> Result<Pixels, PrepareError> {
        let ImageSpec {
            size: crop,
            filter,
            padding,
            ..
        } = self.spec;
        let (size, rounding) = resized_size(self.spec.fit, native.size())?;
        let order = match self.spec.reference {
            Reference::Pillow12 => PassOrder::HorizontalFirst,
            _ => PassOrder::Adaptive,
        };
        let resized = native.resized(size, filter, order)?;
        let cropped = resized.cropped(crop, rounding, padding)?;
        Ok(cropped.into_rgb(self.options.alpha, self.options.deep))
    }

    fn check_padding(&self, image: Size) -> Result<(), PrepareError> {
        let crop = self.spec.size;
        let is_smaller = image.width < crop.width || image.height < crop.height;
        if is_smaller && self.spec.padding == Padding::Refuse {
            return Err(PrepareError::CropLarger { image, crop });
        }
        Ok(())
    }

    fn resize(&self, pixels: &Pixels, size: Size) -> Result<Pixels, PrepareError> {
        let filter = self.spec.filter;
        let pillow = |order| resize_pillow(pixels, size, filter, order, None);
        Ok(match self.spec.reference {
            Reference::Pillow12 => pillow(PassOrder::HorizontalFirst)?,
            Reference::Pillow13 => pillow(PassOrder::Adaptive)?,
            Reference::TorchvisionU8 => resize_torchvision_u8(pixels, size, filter)?,
            Reference::OpenCv => resize_opencv(pixels, size, opencv_interpolation(filter)?)?,
            _ => {
                return Err(PrepareError::Unsupported {
                    what: "an unknown resize arithmetic",
                });
            }
        })
    }
}

/// How a file becomes RGB.
fn options(spec: &ImageSpec) -> Result<DecodeOptions, PrepareError> {
    let options = match spec.colour {
        Colour::Pillow | Colour::PillowLast | Colour::OpenCv => DecodeOptions::pillow(),
        Colour::Sane => DecodeOptions::sane(),
        _ => {
            return Err(PrepareError::Unsupported {
                what: "an unknown way of conversion to RGB",
            });
        }
    };
    if spec.colour == Colour::PillowLast && spec.upright {
        return Err(PrepareError::Unsupported {
            what: "an upright image that is converted last",
        });
    }
    Ok(DecodeOptions {
        orient: spec.upright,
        ..options
    })
}

/// OpenCV's name for a filter.
fn opencv_interpolation(filter: Filter) -> Result<Interpolation, PrepareError> {
    Ok(match filter {
        Filter::Nearest => Interpolation::Nearest,
        Filter::Box => Interpolation::Area,
        Filter::Bilinear => Interpolation::Linear,
        Filter::Bicubic => Interpolation::Cubic,
        Filter::Lanczos => Interpolation::Lanczos4,
        Filter::Hamming => {
            return Err(PrepareError::Unsupported {
                what: "a Hamming filter of OpenCV",
            });
        }
    })
}

/// The size after the resize of an image of size `from`, and how the crop after it is rounded.
fn resized_size(fit: Fit, from: Size) -> Result<(Size, CropRounding), PrepareError> {
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

#[cfg(test)]
mod tests {
    use sightline_imaging::Channels;

    use super::*;

    fn spec(fit: Fit, width: u32, height: u32) -> ImageSpec {
        let size = Size { width, height };
        ImageSpec::new(size, fit, Filter::Bilinear, Reference::Pillow13)
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
