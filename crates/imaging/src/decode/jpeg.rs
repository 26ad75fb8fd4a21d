//! JPEG in the exact arithmetic of libjpeg-turbo: baseline, extended and progressive Huffman files.
//!
//! Pillow, OpenCV and torchvision all decode with libjpeg-turbo's accurate integer transform and its
//! triangle filter for chroma, so a pipeline that promises their pixels has to compute the same sums.
//! No Rust decoder did when this was written (zune-jpeg differs on up to 15 % of bytes by up to 8
//! levels), and libjpeg-turbo itself needs cmake and nasm to build. So this one is written out:
//!
//! | file | step |
//! | --- | --- |
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
mod progressive;
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

use super::{DecodeError, Scale, filled, malformed, truncated};
use crate::native::{Native, Raster, Samples};
use crate::orient::orientation_of;
use crate::{Channels, Limits, Window};
use bits::Intervals;
use canvas::{Canvas, Workspace};
use few::Few;
use header::{Colour, Frame, Scan, next_marker, segment};
use layout::{Layout, View};
use sequential::{Coder, Restarts, Stream};
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

/// Scans of one file; libjpeg-turbo's own tools stop here as well.
const MAX_SCANS: u32 = 500;
/// Blocks that all scans of a file may visit together: seconds of work, more than any honest file of
/// the largest size that is accepted needs.
const MAX_BLOCK_VISITS: u64 = 1 << 27;

/// What decoding needs besides the pixels; kept from one file to the next.
#[derive(Default)]
pub(super) struct Scratch {
    /// Entropy-coded data without their stuffing.
    data: Vec<u8>,
    coefficients: Coefficients,
    workspace: Workspace,
}

/// Names the wanted pixels of an image of the given size and orientation, as stored, made smaller already.
type Choose<'a> = dyn FnMut(Size, u8) -> Result<Window, DecodeError> + 'a;

/// Decodes the pixels that `choose` names; returns them and the size of the whole image in the file.
pub(super) fn decode(
    bytes: &[u8],
    limits: &Limits,
    scale: Scale,
    choose: &mut Choose<'_>,
) -> Result<(Native, Size), DecodeError> {
    let mut scratch = Scratch::default();
    let mut reader = Reader {
        limits,
        scale,
        choose,
        tables: Tables::default(),
        frame: None,
        picture: None,
        jfif: false,
        adobe: None,
        orientation: 1,
        scans: 0,
        block_visits: 0,
        data: &mut scratch.data,
        coefficients: &mut scratch.coefficients,
        workspace: &mut scratch.workspace,
    };
    reader.read(bytes)?;
    reader.finish()
}

/// Walks the file from marker to marker.
struct Reader<'a> {
    limits: &'a Limits,
    scale: Scale,
    choose: &'a mut Choose<'a>,
    tables: Tables,
    frame: Option<Frame>,
    picture: Option<Picture>,
    jfif: bool,
    adobe: Option<u8>,
    orientation: u8,
    scans: u32,
    block_visits: u64,
    data: &'a mut Vec<u8>,
    coefficients: &'a mut Coefficients,
    workspace: &'a mut Workspace,
}

/// What the first scan begins.
struct Picture {
    size: Size,
    colour: Colour,
    layout: Layout,
    view: View,
    /// The pixels, when one scan held all of them; else there are coefficients.
    pixels: Option<Vec<u8>>,
    /// Whether every component was decoded and none can be refined.
    complete: bool,
}

impl Reader<'_> {
    fn read(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut at = 2;
        loop {
            match self.step(bytes, at) {
                Ok(Some(next)) => at = next,
                Ok(None) => return Ok(()),
                // Nothing is missing when only the end is.
                Err(DecodeError::Truncated { .. }) if self.is_complete() => return Ok(()),
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
            0xda if self.is_complete() => Err(malformed(FORMAT, "a scan behind the last one")),
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
                    return self.scan(content, bytes, end).map(Some);
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
                if self.frame.is_some() {
                    return Err(malformed(FORMAT, "two frame headers"));
                }
                let frame = Frame::read(content, marker == 0xc2)?;
                let Size { width, height } = frame.size;
                self.limits.check_size(width.into(), height.into())?;
                // What cannot be shown need not be decoded.
                frame.colour(self.jfif, self.adobe)?;
                self.frame = Some(frame);
            }
            0xc4 => self.tables.read_huffman(content)?,
            0xdb => self.tables.read_quantisation(content)?,
            0xdd => self.tables.read_restart_interval(content)?,
            // What stands behind the first scan header says nothing about the picture.
            0xe0..=0xef if self.picture.is_some() => {}
            0xe0 if content.starts_with(b"JFIF\0") => self.jfif = true,
            0xe1 if content.starts_with(b"Exif\0\0") => self.orientation = orientation_of(content),
            0xee if content.starts_with(b"Adobe") => {
                self.adobe = content.get(11).copied().or(self.adobe);
            }
            _ => {}
        }
        Ok(())
    }

    /// Decodes a scan whose entropy-coded data begin at `at`; returns where to look for the next marker.
    fn scan(&mut self, header: &[u8], bytes: &[u8], at: usize) -> Result<usize, DecodeError> {
        let frame = self
            .frame
            .ok_or_else(|| malformed(FORMAT, "a scan before the frame header"))?;
        let scan = Scan::read(header, &frame)?;
        let is_first = self.picture.is_none();
        let picture = match &mut self.picture {
            Some(picture) => picture,
            none => {
                let window = (self.choose)(self.scale.apply(frame.size), self.orientation)?;
                let layout = Layout::new(&frame, self.scale.divisor(frame.size) as usize);
                none.insert(Picture {
                    size: frame.size,
                    colour: frame.colour(self.jfif, self.adobe)?,
                    view: View::new(&layout, window),
                    layout,
                    pixels: None,
                    complete: false,
                })
            }
        };
        self.scans += 1;
        self.block_visits += picture.layout.blocks_of(&scan);
        if self.scans > MAX_SCANS || self.block_visits > MAX_BLOCK_VISITS {
            return Err(malformed(
                FORMAT,
                format!("{} scans of a large image", self.scans),
            ));
        }
        if !frame.progressive {
            self.tables.fill_in_standard();
        }

        let holds_all = scan.components.len() == frame.components.len();
        let mut intervals = Intervals::new(bytes, at, self.data);
        let complete;
        if is_first && holds_all && !frame.progressive {
            let canvas = picture.canvas(self.workspace);
            let stream = stream(&frame, &picture.layout, &scan, &self.tables, &mut intervals)?;
            picture.pixels = Some(paint(stream, canvas, &picture.view));
            complete = true;
        } else {
            if is_first {
                self.coefficients.begin(&picture.layout);
            }
            let (layout, tables) = (&picture.layout, &self.tables);
            self.coefficients
                .decode(&frame, layout, &scan, tables, &mut intervals)?;
            complete = !frame.progressive && self.coefficients.are_complete(layout);
        }
        let end = intervals.finish();
        let end = end.ok_or_else(|| truncated(FORMAT, "file ends within a scan"))?;
        picture.complete = complete;
        Ok(end)
    }

    fn is_complete(&self) -> bool {
        self.picture
            .as_ref()
            .is_some_and(|picture| picture.complete)
    }

    /// The picture, once all scans were read.
    fn finish(self) -> Result<(Native, Size), DecodeError> {
        let picture = self
            .picture
            .ok_or_else(|| malformed(FORMAT, "no image before the end of the file"))?;
        let Picture {
            size,
            colour,
            layout,
            view,
            pixels,
            ..
        } = picture;
        let (width, height) = (view.columns.len() as u32, view.rows.len() as u32);
        let data = pixels.unwrap_or_else(|| {
            let mut canvas = Canvas::new(&layout, view.clone(), colour, self.workspace);
            for row in view.mcu_rows.clone() {
                self.coefficients
                    .transform(&layout, &view, row, canvas.bands());
                canvas.paint(row);
            }
            canvas.into_pixels()
        });
        let raster = match colour {
            Colour::Grey => Raster::Direct(filled(FORMAT, (width, height), Channels::Grey, data)?),
            Colour::Rgb | Colour::YCbCr => {
                Raster::Direct(filled(FORMAT, (width, height), Channels::Rgb, data)?)
            }
            Colour::Cmyk | Colour::Ycck => Raster::Cmyk(Samples {
                size: Size { width, height },
                count: 4,
                data,
            }),
        };
        let native = Native {
            format: FORMAT,
            orientation: self.orientation,
            raster,
            transparent: None,
        };
        Ok((native, size))
    }
}

impl Picture {
    fn canvas<'a>(&self, workspace: &'a mut Workspace) -> Canvas<'a> {
        Canvas::new(&self.layout, self.view.clone(), self.colour, workspace)
    }
}

/// A scan of all components of a sequential file.
fn stream<'s, 'a>(
    frame: &Frame,
    layout: &Layout,
    scan: &Scan,
    tables: &'s Tables,
    intervals: &'s mut Intervals<'a>,
) -> Result<Stream<'s, 'a>, DecodeError> {
    let mut coders = Few::default();
    for component in &*scan.components {
        let found = tables.of_component(frame, scan, component)?;
        coders.push(found.dc.zip(found.ac).map(|tables| Coder {
            index: component.index,
            part: layout.parts[component.index],
            tables,
            quantisation: found.quantisation,
            previous: 0,
        }));
    }
    Ok(Stream {
        intervals,
        coders,
        restarts: Restarts::new(tables.restart_interval),
        mcus: layout.mcus,
    })
}

/// Decodes a stream MCU row by MCU row.
fn paint(mut stream: Stream<'_, '_>, mut canvas: Canvas<'_>, view: &View) -> Vec<u8> {
    for row in 0..view.mcu_rows.end {
        let is_wanted = row >= view.mcu_rows.start;
        let columns = if is_wanted {
            view.mcu_columns.clone()
        } else {
            0..0
        };
        stream.decode_row(columns, canvas.bands());
        if is_wanted {
            canvas.paint(row);
        }
    }
    stream.pass_over_rest(view.mcu_rows.end, canvas.bands());
    canvas.into_pixels()
}
