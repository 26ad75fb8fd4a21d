//! JPEG in the exact arithmetic of libjpeg-turbo: baseline, extended and progressive Huffman files.
//!
//! Pillow, OpenCV and torchvision all decode with libjpeg-turbo's accurate integer transform and its
//! triangle filter for chroma, so a pipeline that promises their pixels has to compute the same sums.
//! No Rust decoder did when this was written (zune-jpeg differs on up to 15 % of bytes by up to 8
//! levels), and libjpeg-turbo itself needs cmake and nasm to build. So this one is written out:
//!
//! | file | step |
//! | --- | --- |
//! | `reader` | the way through the file |
//! | `header`, `tables`, `standard` | segments: tables, frames, scans |
//! | `layout` | sizes that follow from them |
//! | `bits`, `huffman` | entropy-coded bits and what they stand for |
//! | `sequential` | files of one scan, transformed while they are decoded |
//! | `progressive`, `stored` | files of several scans, whose coefficients are kept |
//! | `transform`, `avx2`, `reduced` | dequantisation and the inverse transform |
//! | `bands`, `upsample`, `colour`, `canvas` | samples to pixels, MCU row by MCU row |
//! | `vector` | the instructions that all this is compiled for |
//!
//! Damaged scans are treated as by libjpeg: bad codes count as zero, missing data as zero bits, and
//! decoding goes on at the next restart marker. A file that *ends* early is an error, as in Pillow.
//! Not supported: arithmetic coding, lossless and hierarchical files, 12 bits a sample, and libjpeg's
//! smoothing of progressive files whose last scans were left out.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into a dispatched function is compiled for its instruction set"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
mod bands;
mod bits;
mod canvas;
mod colour;
mod few;
mod header;
mod huffman;
mod layout;
mod outline;
mod progressive;
mod reader;
mod reduced;
mod sequential;
mod standard;
mod stored;
mod tables;
mod transform;
mod upsample;
mod vector;

use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;

use super::{Announced, DecodeError, Scale};
use crate::native::{Mode, Native};
use crate::{Limits, Window};
use canvas::Workspace;
pub use outline::{JpegKind, JpegOutline};
use reader::Reader;
use stored::Coefficients;
use tables::Tables;

const FORMAT: ImageFormat = ImageFormat::Jpg;

/// Which JPEG decoder a build uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegDecoder {
    /// Name of the library.
    pub name: &'static str,
    /// Whether its pixels equal libjpeg-turbo's, and so Pillow's, bit for bit.
    pub exact: bool,
}

/// The JPEG decoder of this build.
pub const JPEG_DECODER: JpegDecoder = JpegDecoder {
    name: "sightline",
    exact: true,
};

/// Bytes of buffers that are kept from one file to the next: enough for progressive photographs of 20
/// million pixels.
const KEPT_BYTES: usize = 64 << 20;

/// The buffers that decoding needs; kept from one file to the next.
#[derive(Default)]
pub(super) struct Scratch {
    tables: Tables,
    /// Entropy-coded data without their stuffing.
    data: Vec<u8>,
    coefficients: Coefficients,
    workspace: Workspace,
    /// Where pixels go.
    pixels: Vec<u8>,
}

impl Scratch {
    /// Takes memory for the pixels of the next file.
    pub(super) fn recycle(&mut self, pixels: Vec<u8>) {
        if pixels.capacity() > self.pixels.capacity() {
            self.pixels = pixels;
        }
    }

    /// Gives up what only an unusual file needs.
    fn trim(&mut self) {
        if self.coefficients.bytes() > KEPT_BYTES {
            self.coefficients = Coefficients::default();
        }
    }
}

/// Names the wanted pixels of an image of the given sizes and orientation, as stored.
type Choose<'a> = dyn FnMut(Announced, u8) -> Result<Window, DecodeError> + 'a;

/// What is wanted of a file.
pub(super) struct Request<'a> {
    pub(super) limits: &'a Limits,
    pub(super) scale: Scale,
    /// Whether high frequencies are left out at a smaller scale.
    pub(super) coarse: bool,
    /// Whether grey becomes RGB.
    pub(super) grey_as_rgb: bool,
    pub(super) choose: &'a mut Choose<'a>,
}

/// What was wanted of a file.
pub(super) struct Picture {
    pub(super) native: Native,
    /// The mode of the file.
    pub(super) mode: Mode,
    /// Size of the whole image in the file.
    pub(super) stored: Size,
}

/// Decodes a file, or what is wanted of it.
pub(super) fn decode<'a>(
    bytes: &[u8],
    request: Request<'a>,
    scratch: &'a mut Scratch,
) -> Result<Picture, DecodeError> {
    let mut reader = Reader::new(request, scratch);
    reader.read(bytes)?;
    reader.finish()
}
