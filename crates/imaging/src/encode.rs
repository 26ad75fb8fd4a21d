//! Writing images: JPEG, PNG and WebP. Equal pixels give equal bytes on every machine; that is why the JPEG encoder's vector
//! code is left out, whose results depend on the processor. Colour JPEG has loops of its own for its pixels, with the same bytes.
//!
//! Lossy WebP is written by libwebp, with the settings that OpenCV gives it, and the quality means the same as there.

#[expect(
    clippy::inline_always,
    reason = "only what is inlined into a dispatched function is compiled for its instruction set"
)]
mod scan;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ChromaSubsamplingMethod, ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};
use sightline_core::{Hint, ImageFormat};

use crate::{Channels, Pixels};

/// A quality that means without loss, where a format can be either.
pub const LOSSLESS: u8 = 101;
/// Strongest compression of PNG.
const STRONGEST: u8 = 9;

/// How an image is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeSpec {
    /// The file format.
    pub format: ImageFormat,
    /// Of JPEG the quality, 1 to 100. Of WebP too, and more is without loss. Of PNG the compression, 0 (none) to 9 (most), and
    /// more is a fast one.
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

    /// A `format` without loss.
    pub fn lossless(format: ImageFormat) -> Self {
        Self {
            format,
            quality: LOSSLESS,
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
    #[error("{} quality {quality} is out of range, allowed are 1 to {}", name(*format), if *format == ImageFormat::Jpg { 100 } else { LOSSLESS })]
    Quality {
        /// The format.
        format: ImageFormat,
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
/// PNG, or WebP.
pub fn encode(pixels: &Pixels, spec: &EncodeSpec) -> Result<Vec<u8>, EncodeError> {
    encode_with_profile(pixels, spec, None)
}

/// [`encode`] with a colour profile in the file, which has to be that of the pixels.
pub fn encode_with_profile(
    pixels: &Pixels,
    spec: &EncodeSpec,
    profile: Option<&[u8]>,
) -> Result<Vec<u8>, EncodeError> {
    match spec.format {
        ImageFormat::Jpg => jpeg(pixels, spec.quality, profile),
        ImageFormat::Png => png(pixels, spec.quality, profile),
        ImageFormat::Webp if spec.quality >= LOSSLESS => webp(pixels, profile),
        ImageFormat::Webp => lossy_webp(pixels, spec.quality, profile),
        format => Err(EncodeError::Format { format }),
    }
}

/// What people call a format.
fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpg => "JPEG",
        ImageFormat::Webp => "WebP",
        format => format.extension(),
    }
}

fn jpeg(pixels: &Pixels, quality: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, EncodeError> {
    if !(1..=100).contains(&quality) {
        return Err(EncodeError::Quality {
            format: ImageFormat::Jpg,
            quality,
        });
    }
    let colour = match pixels.channels() {
        Channels::Grey => ColorType::Luma,
        Channels::Rgb => ColorType::Rgb,
        Channels::GreyAlpha | Channels::Rgba => return Err(EncodeError::Alpha),
    };
    let (width, height) = sides(pixels, ImageFormat::Jpg, u16::MAX.into())?;
    // A quarter of a byte a pixel is a usual size at high quality; the vector grows when it is not.
    let usual = pixels.data().len() / 12 + 1024;
    if colour == ColorType::Luma {
        return jpeg_of_crate(
            pixels.data(),
            (width as u16, height as u16, colour),
            quality,
            profile,
            usual,
        );
    }
    // The head is the crate's, of a file of one pixel; see `scan` for the rest.
    let small = jpeg_of_crate(&[0; 3], (1, 1, colour), quality, profile, usual)?;
    let unreadable = || failed(ImageFormat::Jpg, &"the head of the file is not as expected");
    let head = scan::head_of(small, width as u16, height as u16).ok_or_else(unreadable)?;
    let tables = scan::Tables::of_head(&head).ok_or_else(unreadable)?;
    Ok(scan::add_scan(head, &tables, pixels.data(), width as usize))
}

/// What `jpeg-encoder` makes of samples of some width, height and colour.
fn jpeg_of_crate(
    samples: &[u8],
    (width, height, colour): (u16, u16, ColorType),
    quality: u8,
    profile: Option<&[u8]>,
    usual: usize,
) -> Result<Vec<u8>, EncodeError> {
    let mut file = Vec::with_capacity(usual);
    let mut encoder = Encoder::new(&mut file, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.set_chroma_subsampling_method(ChromaSubsamplingMethod::Average);
    if let Some(profile) = profile {
        encoder
            .add_icc_profile(profile)
            .map_err(|e| failed(ImageFormat::Jpg, &e))?;
    }
    encoder
        .encode(samples, width, height, colour)
        .map_err(|e| failed(ImageFormat::Jpg, &e))?;
    Ok(file)
}

fn failed(format: ImageFormat, error: &dyn std::fmt::Display) -> EncodeError {
    EncodeError::Encoder {
        format,
        reason: error.to_string(),
    }
}

fn png(pixels: &Pixels, level: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = sides(pixels, ImageFormat::Png, i32::MAX as u32)?;
    let compression = match level {
        0 => CompressionType::Uncompressed,
        1..=STRONGEST => CompressionType::Level(level),
        _ => CompressionType::default(),
    };
    let mut file = Vec::new();
    let mut encoder = PngEncoder::new_with_quality(&mut file, compression, FilterType::default());
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile.to_vec())
            .map_err(|e| failed(ImageFormat::Png, &e))?;
    }
    encoder
        .write_image(pixels.data(), width, height, colour_type(pixels.channels()))
        .map_err(|e| failed(ImageFormat::Png, &e))?;
    Ok(file)
}

fn webp(pixels: &Pixels, profile: Option<&[u8]>) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = sides(pixels, ImageFormat::Webp, 1 << 14)?;
    let mut file = Vec::new();
    let mut encoder = WebPEncoder::new_lossless(&mut file);
    if let Some(profile) = profile {
        encoder
            .set_icc_profile(profile.to_vec())
            .map_err(|e| failed(ImageFormat::Webp, &e))?;
    }
    encoder
        .write_image(pixels.data(), width, height, colour_type(pixels.channels()))
        .map_err(|e| failed(ImageFormat::Webp, &e))?;
    Ok(file)
}

fn lossy_webp(
    pixels: &Pixels,
    quality: u8,
    profile: Option<&[u8]>,
) -> Result<Vec<u8>, EncodeError> {
    const FORMAT: ImageFormat = ImageFormat::Webp;
    if quality == 0 {
        return Err(EncodeError::Quality {
            format: FORMAT,
            quality,
        });
    }
    // A side of VP8 has 14 bits, one less than the lossless kind can say.
    let (width, height) = sides(pixels, FORMAT, (1 << 14) - 1)?;
    let data;
    let (data, layout): (&[u8], _) = match pixels.channels() {
        Channels::Rgb => (pixels.data(), webp::PixelLayout::Rgb),
        Channels::Rgba => (pixels.data(), webp::PixelLayout::Rgba),
        Channels::Grey => {
            data = pixels
                .data()
                .iter()
                .flat_map(|&level| [level; 3])
                .collect::<Vec<_>>();
            (&data, webp::PixelLayout::Rgb)
        }
        Channels::GreyAlpha => {
            let pairs = pixels.data().chunks_exact(2);
            data = pairs
                .flat_map(|pair| [pair[0], pair[0], pair[0], pair[1]])
                .collect::<Vec<_>>();
            (&data, webp::PixelLayout::Rgba)
        }
    };
    let encoder = webp::Encoder::new(data, layout, width, height);
    let file = encoder
        .encode_simple(false, f32::from(quality))
        .map_err(|e| failed(FORMAT, &format!("{e:?}")))?;
    Ok(match profile {
        Some(profile) => with_profile(
            &file,
            profile,
            (width, height),
            pixels.channels().has_alpha(),
        ),
        None => file.to_vec(),
    })
}

/// A WebP file of one plain chunk in the extended layout, with a profile before the picture.
fn with_profile(file: &[u8], profile: &[u8], (width, height): (u32, u32), alpha: bool) -> Vec<u8> {
    const HAS_PROFILE: u32 = 1 << 5;
    const HAS_ALPHA: u32 = 1 << 4;
    let chunk = |name: &[u8; 4], data: &[u8]| {
        let padding = &[0][..data.len() % 2];
        [name, &(data.len() as u32).to_le_bytes()[..], data, padding].concat()
    };
    // With alpha the file is in the extended layout already: its header is left out and made anew.
    let pictures = match file.get(12..16) {
        Some(b"VP8X") => &file[30..],
        _ => &file[12..],
    };
    let flags = HAS_PROFILE | if alpha { HAS_ALPHA } else { 0 };
    let side = |side: u32| (side - 1).to_le_bytes();
    let header = [
        &flags.to_le_bytes()[..],
        &side(width)[..3],
        &side(height)[..3],
    ]
    .concat();
    let body = [
        b"WEBP".to_vec(),
        chunk(b"VP8X", &header),
        chunk(b"ICCP", profile),
        pictures.to_vec(),
    ]
    .concat();
    chunk(b"RIFF", &body)
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
    fn png_takes_less_room_with_more_compression_and_loses_nothing() {
        let data = (0..200 * 200 * 3u64)
            .map(|i| (i * i / 977 % 97) as u8)
            .collect();
        let pixels = Pixels::new(200, 200, Channels::Rgb, data).unwrap();
        let file = |quality| {
            let format = ImageFormat::Png;
            encode(&pixels, &EncodeSpec { format, quality }).unwrap()
        };
        let (none, some, most) = (file(0), file(1), file(9));
        assert!(none.len() > 120_000 && some.len() < none.len() && most.len() <= some.len());
        assert_eq!(file(10), file(95));
        for file in [none, some, most] {
            let native = decode_native(&file, &Limits::default()).unwrap();
            assert_eq!(native.raster, crate::native::Raster::Direct(pixels.clone()));
        }
    }

    #[test]
    fn lossy_files_are_near_the_original() {
        for (channels, format) in [
            (Channels::Grey, ImageFormat::Jpg),
            (Channels::Rgb, ImageFormat::Jpg),
            (Channels::Rgb, ImageFormat::Webp),
        ] {
            let pixels = picture(channels);
            let file = encode(
                &pixels,
                &EncodeSpec {
                    format,
                    quality: 95,
                },
            )
            .unwrap();
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
            assert!(mean < 4.0, "{format:?} {channels:?}: {mean}");
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
        fn colour_files_are_those_of_the_crate(
            w in 1u32..70, h in 1u32..70, quality in 1u8..=100, seed in any::<u64>(), step in 1u32..64,
        ) {
            let mut rng = sightline_core::Seed(seed).rng();
            // From noise to smooth pictures.
            let data: Vec<u8> = (0..w * h * 3)
                .map(|i| (i / 3 % w * 5 + i / (3 * w) * 3 + rng.bits() as u32 % step) as u8)
                .collect();
            let size = (w as u16, h as u16, ColorType::Rgb);
            let expected = jpeg_of_crate(&data, size, quality, None, 0).unwrap();
            let pixels = Pixels::new(w, h, Channels::Rgb, data).unwrap();
            prop_assert_eq!(encode(&pixels, &EncodeSpec::jpeg(quality)).unwrap(), expected);
        }

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
