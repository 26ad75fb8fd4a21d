//! JPEG in the exact arithmetic of libjpeg-turbo: baseline, extended and progressive Huffman files.
//!
//! Pillow, OpenCV and torchvision all decode with libjpeg-turbo's accurate integer transform and its
//! triangle filter for chroma, so a pipeline that promises their pixels has to compute the same sums.
//! No Rust decoder did when this was written (zune-jpeg differs on up to 15 % of bytes by up to 8
//! levels), and libjpeg-turbo itself needs cmake and nasm to build. So this one is written out:
//!
//! | file | step |
//! | --- | --- |
//! | `header` | segments, tables, frames, scans |
//! | `bits`, `huffman`, `standard` | entropy-coded bits and what they stand for |
//! | `scan` | blocks of one scan, sequential or progressive |
//! | `transform` | dequantisation and the inverse transform |
//! | `planes` | chroma upsampling and colour |
//!
//! Damaged scans are treated as by libjpeg: bad codes count as zero, missing data as zero bits, and
//! decoding goes on at the next restart marker. A file that *ends* early is an error, as in Pillow.
//! Not supported: arithmetic coding, lossless and hierarchical files, 12 bits a sample, and libjpeg's
//! smoothing of progressive files whose last scans were left out.

mod bits;
mod header;
mod huffman;
mod planes;
mod scan;
mod standard;
mod transform;

use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;

use super::{DecodeError, filled, malformed, truncated};
use crate::native::{Native, Raster, Samples};
use crate::orient::orientation_of;
use crate::{Channels, Limits};
use header::{Colour, Frame, Scan, Tables, next_marker, segment};
use scan::Picture;

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

/// Scans of one file; libjpeg-turbo's own tools stop here as well.
const MAX_SCANS: u32 = 500;
/// Blocks that all scans of a file may visit together: seconds of work, more than any honest file of
/// the largest size that is accepted needs.
const MAX_BLOCK_VISITS: u64 = 1 << 27;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Native, DecodeError> {
    let mut reader = Reader::new(limits);
    reader.read(bytes)?;
    let Reader {
        picture,
        jfif,
        adobe,
        orientation,
        ..
    } = reader;
    let picture =
        picture.ok_or_else(|| malformed(FORMAT, "no image before the end of the file"))?;
    let colour = picture.frame.colour(jfif, adobe)?;
    let Size { width, height } = picture.frame.size;
    let planes = picture.into_planes();
    let raster = match colour {
        Colour::Grey => Raster::Direct(filled(
            FORMAT,
            (width, height),
            Channels::Grey,
            planes.grey()?,
        )?),
        Colour::Rgb | Colour::YCbCr => {
            let data = planes.rgb(colour)?;
            Raster::Direct(filled(FORMAT, (width, height), Channels::Rgb, data)?)
        }
        Colour::Cmyk | Colour::Ycck => Raster::Cmyk(Samples {
            size: Size { width, height },
            count: 4,
            data: planes.inks(colour)?,
        }),
    };
    Ok(Native {
        format: FORMAT,
        orientation,
        raster,
        transparent: None,
    })
}

/// Walks the file from marker to marker.
struct Reader<'a> {
    limits: &'a Limits,
    tables: Tables,
    picture: Option<Picture>,
    jfif: bool,
    adobe: Option<u8>,
    orientation: u8,
    scans: u32,
    block_visits: u64,
    /// Whether every component was decoded and none can be refined.
    complete: bool,
}

impl<'a> Reader<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            tables: Tables::default(),
            picture: None,
            jfif: false,
            adobe: None,
            orientation: 1,
            scans: 0,
            block_visits: 0,
            complete: false,
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut at = 2;
        loop {
            match self.step(bytes, at) {
                Ok(Some(next)) => at = next,
                Ok(None) => return Ok(()),
                // Nothing is missing when only the end is.
                Err(DecodeError::Truncated { .. }) if self.complete => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }

    /// Reads the next segment at or after `at`; returns where to go on, `None` at the end of the image.
    /// Segments behind a complete image are read too, because nonsense there betrays a damaged scan.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, DecodeError> {
        let (marker, start) =
            next_marker(bytes, at).ok_or_else(|| truncated(FORMAT, "no end-of-image marker"))?;
        match marker {
            // Restarts outside a scan and TEM have no content.
            0x01 | 0xd0..=0xd7 => Ok(Some(start + 2)),
            0xd8 => Err(malformed(FORMAT, "a second start of image")),
            0xd9 => Ok(None),
            0xda if self.complete => Err(malformed(FORMAT, "a scan behind the last one")),
            0xc3 | 0xc5..=0xcb | 0xcd..=0xcf => Err(DecodeError::Unsupported {
                what: format!("JPEG (arithmetic, lossless or hierarchical, marker {marker:x})"),
            }),
            // Reserved ones are fatal in libjpeg too: nothing is known of what follows them.
            0x02..=0xbf | 0xde | 0xdf | 0xf0..=0xfd => {
                Err(malformed(FORMAT, format!("unknown marker {marker:x}")))
            }
            _ => {
                let (content, end) = segment(bytes, start)?;
                if marker == 0xda {
                    let end = self.scan(content, bytes, end)?;
                    self.complete = self.picture.as_ref().is_some_and(Picture::is_complete);
                    return Ok(Some(end));
                }
                self.segment(marker, content)?;
                Ok(Some(end))
            }
        }
    }

    /// Takes what a segment other than a scan says.
    fn segment(&mut self, marker: u8, content: &[u8]) -> Result<(), DecodeError> {
        match marker {
            0xc0..=0xc2 => {
                if self.picture.is_some() {
                    return Err(malformed(FORMAT, "two frame headers"));
                }
                let frame = Frame::read(content, marker == 0xc2)?;
                let Size { width, height } = frame.size;
                self.limits.check_size(width.into(), height.into())?;
                // What cannot be shown need not be decoded.
                frame.colour(self.jfif, self.adobe)?;
                self.picture = Some(Picture::new(frame));
            }
            0xc4 => self.tables.read_huffman(content)?,
            0xdb => self.tables.read_quantisation(content)?,
            0xdd => self.tables.read_restart_interval(content)?,
            0xe0 if content.starts_with(b"JFIF\0") => self.jfif = true,
            0xe1 if content.starts_with(b"Exif\0\0") => self.orientation = orientation_of(content),
            0xee if content.starts_with(b"Adobe") => {
                self.adobe = content.get(11).copied().or(self.adobe);
            }
            _ => {}
        }
        Ok(())
    }

    /// Decodes a scan whose entropy-coded data begins at `at`; returns where they end.
    fn scan(&mut self, header: &[u8], bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
        let picture = self
            .picture
            .as_mut()
            .ok_or_else(|| malformed(FORMAT, "a scan before the frame header"))?;
        let scan = Scan::read(header, &picture.frame)?;
        self.scans += 1;
        self.block_visits += picture.blocks_of(&scan);
        if self.scans > MAX_SCANS || self.block_visits > MAX_BLOCK_VISITS {
            return Err(malformed(
                FORMAT,
                format!("{} scans of a large image", self.scans),
            ));
        }
        if !picture.frame.progressive {
            self.tables.fill_in_standard();
        }
        picture.decode(&scan, &self.tables, bytes, at)
    }
}
