//! Writing images: JPEG, PNG and lossless WebP. Equal pixels give equal bytes on every machine; that is
//! why the JPEG encoder's vector code is left out, whose results depend on the processor.

use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};
use sightline_core::{Hint, ImageFormat};

use crate::{Channels, Pixels};

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeSpec {
    /// The file format.
    pub format: ImageFormat,
    /// JPEG quality, 1 to 100; the other formats are written without loss and ignore it.
    pub quality: u8,
}

impl EncodeSpec {
    /// JPEG with `quality` of 1 to 100.
    pub fn jpeg(quality: u8) -> Self {
        Self {
            format: ImageFormat::Jpg,
            quality,
        }
    }

    /// A lossless `format`.
    pub fn lossless(format: ImageFormat) -> Self {
        Self {
            format,
            quality: 100,
        }
    }
}

impl Default for EncodeSpec {
    /// JPEG of quality 95.
    fn default() -> Self {
        Self::jpeg(95)
    }
}

/// An image that was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A format that is read but not written here.
    #[error("writing `{}` images is not supported", format.extension())]
    Format {
        /// The format asked for.
        format: ImageFormat,
    },
    /// A quality out of range.
    #[error("JPEG quality {quality} is out of range, allowed are 1 to 100")]
    Quality {
        /// The quality asked for.
        quality: u8,
    },
    /// A side longer than the format can say.
    #[error("image of {width}x{height} pixels, `{}` files hold at most {max} a side", format.extension())]
    SideTooLong {
        /// The format asked for.
        format: ImageFormat,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Longest side of the format.
        max: u32,
    },
    /// JPEG cannot hold transparency.
    #[error("JPEG cannot hold an alpha channel")]
    Alpha,
    /// The encoder failed for another reason.
    #[error("cannot encode `{}`: {reason}", format.extension())]
    Encoder {
        /// The format asked for.
        format: ImageFormat,
        /// The encoder's words.
        reason: String,
    },
}

impl Hint for EncodeError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::Format { .. } => vec!["Formats that can be written: jpg, png, webp.".to_owned()],
            Self::Alpha => {
                vec!["Use png or webp, or compose the image over a background first.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// Writes `pixels` as a file: baseline JPEG with halved chroma (4:2:0) and standard Huffman tables,
/// PNG, or lossless WebP.
pub fn encode(pixels: &Pixels, spec: &EncodeSpec) -> Result<Vec<u8>, EncodeError> {
    match spec.format {
        ImageFormat::Jpg => jpeg(pixels, spec.quality),
        ImageFormat::Png => png(pixels),
        ImageFormat::Webp => webp(pixels),
        format => Err(EncodeError::Format { format }),
    }
}

fn jpeg(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, EncodeError> {
    if !(1..=100).contains(&quality) {
        return Err(EncodeError::Quality { quality });
    }
    let colour = match pixels.channels() {
        Channels::Grey => ColorType::Luma,
        Channels::Rgb => ColorType::Rgb,
        Channels::GreyAlpha | Channels::Rgba => return Err(EncodeError::Alpha),
    };
    let (width, height) = sides(pixels, ImageFormat::Jpg, u16::MAX.into())?;
    // A quarter of a byte a pixel is a usual size at high quality; the vector grows when it is not.
    let mut file = Vec::with_capacity(pixels.data().len() / 12 + 1024);
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    encoder
        .encode(pixels.data(), width as u16, height as u16, colour)
        .map_err(|e| EncodeError::Encoder {
            format: ImageFormat::Jpg,
            reason: e.to_string(),
        })?;
    Ok(file)
}

fn png(pixels: &Pixels) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = sides(pixels, ImageFormat::Png, i32::MAX as u32)?;
    let mut file = Vec::new();
    image::codecs::png::PngEncoder::new(&mut file)
        .write_image(pixels.data(), width, height, colour_type(pixels.channels()))
        .map_err(|e| EncodeError::Encoder {
            format: ImageFormat::Png,
            reason: e.to_string(),
        })?;
    Ok(file)
}

fn webp(pixels: &Pixels) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = sides(pixels, ImageFormat::Webp, 1 << 14)?;
    let mut file = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut file)
        .write_image(pixels.data(), width, height, colour_type(pixels.channels()))
        .map_err(|e| EncodeError::Encoder {
            format: ImageFormat::Webp,
            reason: e.to_string(),
        })?;
    Ok(file)
}

fn sides(pixels: &Pixels, format: ImageFormat, max: u32) -> Result<(u32, u32), EncodeError> {
    let (width, height) = (pixels.width(), pixels.height());
    if width.max(height) > max {
        return Err(EncodeError::SideTooLong {
            format,
            width,
            height,
            max,
        });
    }
    Ok((width, height))
}

fn colour_type(channels: Channels) -> ExtendedColorType {
    match channels {
        Channels::Grey => ExtendedColorType::L8,
        Channels::GreyAlpha => ExtendedColorType::La8,
        Channels::Rgb => ExtendedColorType::Rgb8,
        Channels::Rgba => ExtendedColorType::Rgba8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sightline_core::Digest;

    use super::*;
    use crate::{DecodeOptions, Limits, decode_native, decode_rgb};

    /// A smooth picture with an edge.
    fn picture(channels: Channels) -> Pixels {
        let (width, height) = (37, 29);
        let data = (0..width * height)
            .flat_map(|i| {
                let (x, y) = (i % width, i / width);
                [x * 6, y * 8, if x > 20 { 250 } else { 30 }, 255 - x * 5]
                    .into_iter()
                    .take(channels.count())
            })
            .map(|v| v as u8)
            .collect();
        Pixels::new(width, height, channels, data).unwrap()
    }

    #[test]
    fn bytes_never_change() {
        let pixels = picture(Channels::Rgb);
        let digest = |spec: EncodeSpec| Digest::of(&encode(&pixels, &spec).unwrap()).short();
        let digests = [
            digest(EncodeSpec::default()),
            digest(EncodeSpec::jpeg(75)),
            digest(EncodeSpec::lossless(ImageFormat::Png)),
            digest(EncodeSpec::lossless(ImageFormat::Webp)),
        ];
        assert_eq!(
            digests,
            [
                "a4323a361fe1",
                "b3a094e2ea13",
                "30cf1bdb8b28",
                "956727b23e92"
            ]
        );
    }

    #[test]
    fn jpeg_is_near_the_original() {
        for channels in [Channels::Grey, Channels::Rgb] {
            let pixels = picture(channels);
            let file = encode(&pixels, &EncodeSpec::jpeg(95)).unwrap();
            let native = decode_native(&file, &Limits::default()).unwrap();
            let crate::native::Raster::Direct(decoded) = native.raster else {
                panic!("{:?}", native.raster);
            };
            let sum: u32 = decoded
                .data()
                .iter()
                .zip(pixels.data())
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            let mean = f64::from(sum) / pixels.data().len() as f64;
            // Halving the chroma blurs the edge.
            assert!(mean < 4.0, "{channels:?}: {mean}");
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused() {
        let message =
            |pixels: &Pixels, spec: EncodeSpec| encode(pixels, &spec).unwrap_err().to_string();
        let alpha = picture(Channels::Rgba);
        assert_eq!(
            message(&alpha, EncodeSpec::default()),
            "JPEG cannot hold an alpha channel"
        );
        let grey = picture(Channels::Grey);
        assert_eq!(
            message(&grey, EncodeSpec::jpeg(0)),
            "JPEG quality 0 is out of range, allowed are 1 to 100"
        );
        assert_eq!(
            message(&grey, EncodeSpec::lossless(ImageFormat::Gif)),
            "writing `gif` images is not supported"
        );
        let long = Pixels::filled(16_385, 1, Channels::Grey, &[1]).unwrap();
        assert_eq!(
            message(&long, EncodeSpec::lossless(ImageFormat::Webp)),
            "image of 16385x1 pixels, `webp` files hold at most 16384 a side"
        );
    }

    proptest! {
        #[test]
        fn lossless_formats_lose_nothing(
            w in 1u32..20, h in 1u32..20, channels in 0usize..4, seed in any::<u64>(), webp: bool,
        ) {
            let channels = [Channels::Grey, Channels::GreyAlpha, Channels::Rgb, Channels::Rgba][channels];
            let mut rng = sightline_core::Seed(seed).rng();
            let data = (0..w as usize * h as usize * channels.count()).map(|_| rng.bits() as u8).collect();
            let pixels = Pixels::new(w, h, channels, data).unwrap();
            let format = if webp { ImageFormat::Webp } else { ImageFormat::Png };
            let file = encode(&pixels, &EncodeSpec::lossless(format)).unwrap();
            let native = decode_native(&file, &Limits::default()).unwrap();
            prop_assert_eq!(native.format, format);
            let expected = crate::Native { raster: crate::native::Raster::Direct(pixels), ..native.clone() };
            prop_assert_eq!(
                native.into_rgba(crate::Deep::Clip),
                expected.into_rgba(crate::Deep::Clip)
            );
            prop_assert!(decode_rgb(&file, &DecodeOptions::sane()).is_ok());
        }
    }
}
