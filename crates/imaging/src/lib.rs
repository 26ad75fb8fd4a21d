//! Sniff, decode, orient, resize, crop, encode and hash images and read their EXIF, with limits on every input.
//!
//! The pixel arithmetic of the reference tools (Pillow, torchvision, OpenCV) is written out here and
//! equals theirs bit for bit, because a level more or less moves scores. Bytes are foreign until
//! [`decode_rgb`] or [`decode_native`] has checked them against [`Limits`]; everything behind that
//! works on [`Pixels`], whose sizes are consistent by construction.
//!
//! ```
//! use sightline_core::ImageFormat;
//! use sightline_core::image_spec::{Filter, Size};
//! use sightline_imaging::resize::{PassOrder, resize_pillow};
//! use sightline_imaging::{Channels, DecodeOptions, EncodeSpec, Pixels, decode_rgb, encode};
//!
//! let grey = Pixels::new(4, 2, Channels::Rgb, vec![128; 24])?;
//! let png = encode(&grey, &EncodeSpec::lossless(ImageFormat::Png))?;
//! let decoded = decode_rgb(&png, &DecodeOptions::pillow())?;
//! let size = Size { width: 2, height: 2 };
//! let small = resize_pillow(&decoded.pixels, size, Filter::Bicubic, PassOrder::Adaptive, None)?;
//! assert_eq!(small.data(), [128; 12]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod blur;
pub mod crop;
pub mod decode;
pub mod encode;
pub mod exif;
pub mod hash;
pub mod icc;
pub mod limits;
pub mod native;
pub mod orient;
pub mod pixels;
pub mod reshape;
pub mod resize;
pub mod sizes;
pub mod sniff;
pub mod window;

pub use blur::{RelativeBox, blur_boxes};
pub use decode::{
    Alpha, Announced, DecodeError, DecodeOptions, Decoded, Decoder, Deep, JpegKind, JpegOutline,
    Scale, decode_native, decode_rgb, decode_rgb_window, image_format,
};
pub use encode::{EncodeError, EncodeSpec, encode, encode_with_profile};
pub use exif::{ExifError, exif};
pub use limits::Limits;
pub use native::{Mode, Native};
pub use pixels::{Channels, Pixels, PixelsError, Rect};
pub use sniff::{Foreign, Sniffed, sniff};
pub use window::Window;
