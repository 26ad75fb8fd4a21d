//! Decoding: any supported file to RGB pixels, within limits and without trusting the file.

mod bmp;
mod gif;
mod jpeg;
mod png;
mod pnm;
mod scale;
mod tiff;
mod webp;

use std::fmt::Display;

use serde::{Deserialize, Serialize};
use sightline_core::image_spec::Size;
use sightline_core::{Hint, ImageFormat};

use crate::native::{Mode, Native};
use crate::orient::{upright, upright_size};
use crate::sniff::{Foreign, Sniffed, sniff};
use crate::{Channels, Limits, Pixels, Window};

pub use jpeg::{JPEG_DECODER, JpegDecoder, JpegKind, JpegOutline};
pub use scale::{Announced, Scale};

/// How a file becomes RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DecodeOptions {
    /// What is accepted at all.
    pub limits: Limits,
    /// Whether the EXIF orientation is applied.
    pub orient: bool,
    /// What becomes of transparency.
    pub alpha: Alpha,
    /// What becomes of 16-bit grey.
    pub deep: Deep,
    /// How small JPEG files are decoded; others keep their size.
    pub scale: Scale,
    /// Whether JPEG files at a smaller scale are decoded without the high frequencies of their blocks, of which little is
    /// left at that scale: sooner, and not quite the pixels of libjpeg.
    pub coarse: bool,
}

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alpha {
    /// The colour is kept as stored, also where it cannot be seen (Pillow's `convert("RGB")`).
    Drop,
    /// The image is composed over an opaque colour (Pillow's `alpha_composite`).
    Over([u8; 3]),
}

/// What becomes of 16-bit grey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deep {
    /// Values above 255 become 255 (Pillow), which turns nearly every photo white.
    Clip,
    /// The high byte is kept.
    HighByte,
}

impl DecodeOptions {
    /// What Pillow's `Image.open(file).convert("RGB")` gives: no orientation, alpha dropped, 16-bit
    /// grey clipped. Reference processors are made of this.
    pub fn pillow() -> Self {
        Self {
            limits: Limits::default(),
            orient: false,
            alpha: Alpha::Drop,
            deep: Deep::Clip,
            scale: Scale::Full,
            coarse: false,
        }
    }

    /// What a person sees: upright, composed over white, 16 bits scaled. For new datasets.
    pub fn sane() -> Self {
        Self {
            limits: Limits::default(),
            orient: true,
            alpha: Alpha::Over([255; 3]),
            deep: Deep::HighByte,
            scale: Scale::Full,
            coarse: false,
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same at another scale.
    #[must_use]
    pub fn with_scale(self, scale: Scale) -> Self {
        Self { scale, ..self }
    }
}

/// A decoded file.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// RGB pixels at the scale asked for, all or those of the window.
    pub pixels: Pixels,
    /// The file format, by its bytes.
    pub format: ImageFormat,
    /// The mode in which the file stores them.
    pub mode: Mode,
    /// Size of the whole image in the file, before orientation.
    pub stored: Size,
    /// EXIF orientation of the file, 1 to 8, whether or not it was applied.
    pub orientation: u8,
}

/// A file that was not decoded. [`Self::class`] is what status tables record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// No bytes at all.
    #[error("file is empty")]
    Empty,
    /// Neither an image that we decode nor one that we recognise.
    #[error("file is not an image{}", found.map(|f| format!(" but {}", f.name())).unwrap_or_default())]
    NotAnImage {
        /// What it seems to be instead.
        found: Option<Foreign>,
    },
    /// An image, but of a kind that is not decoded here.
    #[error("{what} images are not supported")]
    Unsupported {
        /// The format or the variant of a format.
        what: String,
    },
    /// The file is longer than the limit.
    #[error("file of {bytes} bytes, limit is {max}")]
    TooManyBytes {
        /// Length of the file.
        bytes: u64,
        /// [`Limits::max_bytes`].
        max: u64,
    },
    /// The header announces more pixels than the limit.
    #[error("image of {width}x{height} pixels, limit is {max} pixels")]
    TooManyPixels {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// [`Limits::max_pixels`].
        max: u64,
    },
    /// The header announces a side longer than the limit.
    #[error("image of {width}x{height} pixels, limit is {max} a side")]
    SideTooLong {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// [`Limits::max_side`].
        max: u32,
    },
    /// The file ends before the image does.
    #[error("`{}` file is truncated: {reason}", format.extension())]
    Truncated {
        /// The file format.
        format: ImageFormat,
        /// What is missing.
        reason: String,
    },
    /// The caller asked for pixels that the image does not have, or for none.
    #[error(
        "window of {}x{} pixels at {}, {} of an image of {}x{}",
        window.width, window.height, window.left, window.top, size.width, size.height
    )]
    WindowOutside {
        /// What was asked for.
        window: Window,
        /// Size of the image.
        size: Size,
    },
    /// The file breaks the rules of its format.
    #[error("`{}` file is malformed: {reason}", format.extension())]
    Malformed {
        /// The file format.
        format: ImageFormat,
        /// The decoder's words.
        reason: String,
    },
}

impl DecodeError {
    /// A stable name in kebab-case, for tables and counts.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAnImage { .. } => "not-an-image",
            Self::Unsupported { .. } => "unsupported-format",
            Self::TooManyBytes { .. } => "too-many-bytes",
            Self::TooManyPixels { .. } => "too-many-pixels",
            Self::SideTooLong { .. } => "side-too-long",
            Self::Truncated { .. } => "truncated",
            Self::WindowOutside { .. } => "window-outside",
            Self::Malformed { .. } => "malformed",
        }
    }
}

impl Hint for DecodeError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotAnImage {
                found: Some(Foreign::Html | Foreign::Json),
            } => vec![
                "The server answered with a page or a message instead of the image.".to_owned(),
            ],
            Self::Unsupported { .. } => {
                vec!["Formats that are decoded: jpg, png, webp, gif, bmp, tiff, ppm.".to_owned()]
            }
            Self::TooManyBytes { .. } | Self::TooManyPixels { .. } | Self::SideTooLong { .. } => {
                vec!["Raise the limit if the file can be trusted.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

/// Decodes `bytes` to RGB, the first frame of an animation.
///
/// The format is sniffed, the announced size is checked against the limits before any pixel memory is
/// allocated, and a truncated file is an error, never a grey rectangle.
pub fn decode_rgb(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    Decoder::default().decode_rgb(bytes, options)
}

/// Decodes the pixels of a window, which `choose` names when it is told the size that the whole image has: at full
/// scale and at the one that is decoded, upright if the options say so.
///
/// Pixels and errors are those of [`decode_rgb`], cropped. Of JPEG files only the blocks that the pixels depend
/// on are transformed; other files are decoded whole.
pub fn decode_rgb_window(
    bytes: &[u8],
    options: &DecodeOptions,
    choose: impl FnOnce(Announced) -> Window,
) -> Result<Decoded, DecodeError> {
    Decoder::default().decode_rgb_window(bytes, options, choose)
}

/// Decodes `bytes` in the mode of the file; not turned upright, the first frame of an animation.
pub fn decode_native(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    decode_as(image_format(bytes, limits)?, bytes, limits)
}

/// Decodes one file after another and keeps the memory that this takes.
///
/// Once the buffers are large enough, a JPEG file is decoded without an allocation if the pixels of an earlier
/// one were given back; other formats, inks and images that are turned upright take memory of their own.
///
/// ```
/// use sightline_imaging::{DecodeOptions, Decoder, EncodeSpec, Pixels, encode};
///
/// let pixels = Pixels::filled(8, 8, sightline_imaging::Channels::Rgb, &[9, 9, 9])?;
/// let file = encode(&pixels, &EncodeSpec::default())?;
/// let mut decoder = Decoder::default();
/// for _ in 0..3 {
///     let decoded = decoder.decode_rgb(&file, &DecodeOptions::pillow())?;
///     decoder.recycle(decoded.pixels);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Decoder {
    jpeg: jpeg::Scratch,
}

impl Decoder {
    /// [`decode_rgb`] with the memory of this decoder.
    pub fn decode_rgb(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
    ) -> Result<Decoded, DecodeError> {
        self.decode_rgb_window(bytes, options, |image| Window::whole(image.size()))
    }

    /// [`decode_rgb_window`] with the memory of this decoder.
    pub fn decode_rgb_window(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        choose: impl FnOnce(Announced) -> Window,
    ) -> Result<Decoded, DecodeError> {
        let mut choose = Some(choose);
        let mut choose = |image: Announced| {
            let size = image.size();
            let window = choose.take().map_or(Window::whole(size), |f| f(image));
            if window.is_inside(size) {
                Ok(window)
            } else {
                Err(DecodeError::WindowOutside { window, size })
            }
        };
        let format = image_format(bytes, &options.limits)?;
        if format == ImageFormat::Jpg {
            return self.decode_jpeg(bytes, options, &mut choose);
        }
        let native = decode_as(format, bytes, &options.limits)?;
        let (mode, stored) = (native.mode(), native.size());
        let orientation = native.orientation;
        let mut pixels = native.into_rgb(options.alpha, options.deep);
        if options.orient {
            pixels = upright(pixels, orientation);
        }
        Ok(Decoded {
            pixels: choose(Scale::Full.announce(pixels.size()))?.cut(pixels),
            format,
            mode,
            stored,
            orientation,
        })
    }

    /// Takes pixels whose memory the next file may use.
    pub fn recycle(&mut self, pixels: Pixels) {
        self.jpeg.recycle(pixels.into_data());
    }

    fn decode_jpeg(
        &mut self,
        bytes: &[u8],
        options: &DecodeOptions,
        choose: &mut dyn FnMut(Announced) -> Result<Window, DecodeError>,
    ) -> Result<Decoded, DecodeError> {
        let choose = &mut |stored: Announced, orientation| {
            let orientation = if options.orient { orientation } else { 1 };
            let image = Announced {
                full: upright_size(stored.full, orientation),
                ..stored
            };
            Ok(choose(image)?.before_turning(image.size(), orientation))
        };
        let request = jpeg::Request {
            limits: &options.limits,
            scale: options.scale,
            coarse: options.coarse,
            grey_as_rgb: true,
            choose,
        };
        let jpeg::Picture {
            native,
            mode,
            stored,
        } = jpeg::decode(bytes, request, &mut self.jpeg)?;
        let orientation = native.orientation;
        let mut pixels = native.into_rgb(options.alpha, options.deep);
        if options.orient {
            pixels = upright(pixels, orientation);
        }
        Ok(Decoded {
            pixels,
            format: ImageFormat::Jpg,
            mode,
            stored,
            orientation,
        })
    }
}

/// The buffers are nobody's business.
impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// The format of a file by its first bytes, if it is one that is decoded here and no larger than the limits allow.
pub fn image_format(bytes: &[u8], limits: &Limits) -> Result<ImageFormat, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    limits.check_bytes(bytes.len())?;
    match sniff(bytes) {
        Some(Sniffed::Image(format)) => Ok(format),
        Some(Sniffed::Foreign(found)) if found.is_image() => Err(DecodeError::Unsupported {
            what: found.name().to_owned(),
        }),
        Some(Sniffed::Foreign(found)) => Err(DecodeError::NotAnImage { found: Some(found) }),
        None => Err(DecodeError::NotAnImage { found: None }),
    }
}

fn decode_as(format: ImageFormat, bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    match format {
        ImageFormat::Jpg => {
            let request = jpeg::Request {
                limits,
                scale: Scale::Full,
                coarse: false,
                grey_as_rgb: false,
                choose: &mut |image, _| Ok(Window::whole(image.size())),
            };
            let picture = jpeg::decode(bytes, request, &mut jpeg::Scratch::default())?;
            Ok(picture.native)
        }
        ImageFormat::Png => png::decode(bytes, limits),
        ImageFormat::Webp => webp::decode(bytes, limits),
        ImageFormat::Gif => gif::decode(bytes, limits),
        ImageFormat::Bmp => bmp::decode(bytes, limits),
        ImageFormat::Tiff => tiff::decode(bytes, limits),
        ImageFormat::Pnm => pnm::decode(bytes, limits),
        other => Err(DecodeError::Unsupported {
            what: other.extension().to_owned(),
        }),
    }
}

pub(crate) fn malformed(format: ImageFormat, reason: impl Display) -> DecodeError {
    DecodeError::Malformed {
        format,
        reason: reason.to_string(),
    }
}

pub(crate) fn truncated(format: ImageFormat, reason: impl Display) -> DecodeError {
    DecodeError::Truncated {
        format,
        reason: reason.to_string(),
    }
}

/// An error that a decoder met while reading from memory: the end of the file, or something else.
pub(crate) fn reading(format: ImageFormat, error: &std::io::Error) -> DecodeError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        truncated(format, error)
    } else {
        malformed(format, error)
    }
}

/// Pixels that a decoder has filled.
pub(crate) fn filled(
    format: ImageFormat,
    (width, height): (u32, u32),
    channels: Channels,
    data: Vec<u8>,
) -> Result<Pixels, DecodeError> {
    Pixels::new(width, height, channels, data).map_err(|e| malformed(format, e))
}
