//! Images that are resized whole: in the file's own mode, or in OpenCV's arithmetic.

use sightline_core::image_spec::{Colour, Filter, ImageSpec, Reference};
use sightline_imaging::crop::centre_crop;
use sightline_imaging::orient::upright;
use sightline_imaging::resize::opencv::{Interpolation, resize_opencv};
use sightline_imaging::resize::{PassOrder, resize_pillow, resize_torchvision_u8};
use sightline_imaging::{Native, Pixels, decode_native, decode_rgb};

use crate::plan::{check_padding, resized};
use crate::table::Placed;
use crate::workspace::Stopwatch;
use crate::{Element, PrepareError, Preprocessor, Workspace};

impl Preprocessor {
    /// The pixels that the values of an encoded image are computed from.
    pub fn fit_bytes(&self, bytes: &[u8]) -> Result<Pixels, PrepareError> {
        match self.spec().colour {
            Colour::PillowLast => self.fit_native(decode_native(bytes, &self.options.limits)?),
            Colour::OpenCv => self.fit_whole(&self.decode_opencv(bytes)?),
            _ => self.fit(&decode_rgb(bytes, &self.options)?.pixels),
        }
    }

    pub(crate) fn prepare_whole<T: Element>(
        &self,
        bytes: &[u8],
        workspace: &mut Workspace,
        out: &mut [T],
    ) -> Result<(), PrepareError> {
        let mut stopwatch = Stopwatch::start();
        let timings = &mut workspace.timings;
        let fitted = if self.spec().colour == Colour::PillowLast {
            let native = decode_native(bytes, &self.options.limits);
            stopwatch.lap(&mut timings.decode);
            self.fit_native(native?)
        } else {
            let pixels = match self.spec().colour {
                Colour::OpenCv => self.decode_opencv(bytes),
                _ => decode_rgb(bytes, &self.options)
                    .map(|decoded| decoded.pixels)
                    .map_err(PrepareError::from),
            };
            stopwatch.lap(&mut timings.decode);
            self.fit_whole(&pixels?)
        };
        stopwatch.lap(&mut timings.resize);
        self.finish_whole(&fitted?, workspace, out);
        Ok(())
    }

    /// From pixels of the tensor's size to its values.
    pub(crate) fn finish_whole<T: Element>(
        &self,
        pixels: &Pixels,
        workspace: &mut Workspace,
        out: &mut [T],
    ) {
        let mut stopwatch = Stopwatch::start();
        let spec = self.spec();
        let placed = Placed {
            data: pixels.data(),
            channels: pixels.channels(),
            size: pixels.size(),
            place: (0, 0),
            within: spec.size,
            fill: spec.fill,
        };
        T::table(self.tables()).apply_into(placed, spec.layout, out);
        stopwatch.lap(&mut workspace.timings.normalise);
        workspace.timings.images += 1;
    }

    fn decode_opencv(&self, bytes: &[u8]) -> Result<Pixels, PrepareError> {
        let native = decode_native(bytes, &self.options.limits)?;
        let orientation = native.orientation;
        let pixels = native.into_opencv_rgb();
        Ok(if self.spec().upright {
            upright(pixels, orientation)
        } else {
            pixels
        })
    }

    /// Resized and cropped to the tensor's size.
    pub(crate) fn fit_whole(&self, pixels: &Pixels) -> Result<Pixels, PrepareError> {
        let ImageSpec {
            size: crop,
            fit,
            filter,
            reference,
            padding,
            fill,
            ..
        } = *self.spec();
        let (size, rounding) = resized(fit, pixels.size())?;
        let pillow = |order| resize_pillow(pixels, size, filter, order, None);
        let resized = match reference {
            Reference::OpenCv => resize_opencv(pixels, size, interpolation(filter)?)?,
            Reference::TorchvisionU8 => resize_torchvision_u8(pixels, size, filter)?,
            Reference::Pillow12 => pillow(PassOrder::HorizontalFirst)?,
            Reference::Pillow13 => pillow(PassOrder::Adaptive)?,
            _ => {
                return Err(PrepareError::Unsupported {
                    what: "an unknown resize arithmetic",
                });
            }
        };
        check_padding(self.spec(), size)?;
        Ok(centre_crop(&resized, crop, rounding, padding, fill)?)
    }

    /// The same in the file's own mode, which is converted to RGB at the end.
    fn fit_native(&self, native: Native) -> Result<Pixels, PrepareError> {
        let ImageSpec {
            size: crop,
            fit,
            filter,
            reference,
            padding,
            ..
        } = *self.spec();
        let (size, rounding) = resized(fit, native.size())?;
        let order = match reference {
            Reference::Pillow12 => PassOrder::HorizontalFirst,
            Reference::Pillow13 => PassOrder::Adaptive,
            _ => {
                return Err(PrepareError::Unsupported {
                    what: "a resize in the file's own mode that is not Pillow's",
                });
            }
        };
        check_padding(self.spec(), size)?;
        let resized = native.resized(size, filter, order)?;
        let cropped = resized.cropped(crop, rounding, padding)?;
        Ok(cropped.into_rgb(self.options.alpha, self.options.deep))
    }
}

/// OpenCV's name for a filter.
fn interpolation(filter: Filter) -> Result<Interpolation, PrepareError> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_core::ImageFormat;
    use sightline_core::image_spec::open_clip::from_open_clip;
    use sightline_core::image_spec::{Layout, Rescale};
    use sightline_imaging::{Channels, EncodeSpec, Limits, encode};

    use super::*;

    /// Of grey and of RGB files only what the crop needs is decoded, and the pixels are those of the whole in the file's own
    /// mode.
    #[test]
    fn converting_first_changes_no_pixel_of_a_jpeg_file() {
        let config = json!({ "preprocess_cfg": { "size": 48 } });
        let spec = ImageSpec {
            rescale: Rescale::None,
            mean: [0.0; 3],
            std: [1.0; 3],
            ..from_open_clip(&config).unwrap()
        };
        assert_eq!(spec.colour, Colour::PillowLast);
        let preprocessor = Preprocessor::new(spec, Limits::default()).unwrap();
        for (channels, width, height) in [
            (Channels::Rgb, 301, 203),
            (Channels::Grey, 203, 301),
            (Channels::Rgb, 40, 90),
        ] {
            let data = (0..width * height * channels.count() as u32)
                .map(|i| (i % 977 * i / 97) as u8)
                .collect();
            let pixels = Pixels::new(width, height, channels, data).unwrap();
            let file = encode(&pixels, &EncodeSpec::default()).unwrap();
            assert_eq!(
                sightline_imaging::sniff(&file),
                Some(sightline_imaging::Sniffed::Image(ImageFormat::Jpg))
            );
            let fitted = preprocessor.fit_bytes(&file).unwrap();
            let values = preprocessor
                .clone()
                .with_layout(Layout::Nhwc)
                .prepare(&file)
                .unwrap();
            let levels: Vec<u8> = values.iter().map(|&value| value as u8).collect();
            assert!(levels == fitted.data(), "{channels:?}");
        }
    }
}
