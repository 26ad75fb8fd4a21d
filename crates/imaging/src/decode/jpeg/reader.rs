//! The way through a file, from marker to marker.

use sightline_core::image_spec::Size;

use super::super::{DecodeError, filled, malformed, truncated};
use super::bits::Intervals;
use super::canvas::{Canvas, Plan};
use super::few::Few;
use super::header::{Colour, Frame, Scan, next_marker, segment};
use super::layout::{Layout, View};
use super::sequential::{Coder, Restarts, Stream};
use super::tables::Tables;
use super::{FORMAT, Picture, Request, Scratch};
use crate::Channels;
use crate::native::{Mode, Native, Raster, Samples};
use crate::orient::orientation_of;

/// Scans of one file; libjpeg-turbo's own tools stop here as well.
const MAX_SCANS: u32 = 500;
/// Blocks that all scans of a file may visit together: seconds of work, more than any honest file of
/// the largest size that is accepted needs.
const MAX_BLOCK_VISITS: u64 = 1 << 27;

/// Reads a file.
pub(super) struct Reader<'a> {
    request: Request<'a>,
    scratch: &'a mut Scratch,
    frame: Option<Frame>,
    jfif: bool,
    adobe: Option<u8>,
    orientation: u8,
    /// What the first scan settles.
    plan: Option<Plan>,
    scans: u32,
    block_visits: u64,
    /// Whether the pixels are there already, instead of coefficients.
    painted: bool,
    /// Whether every component was decoded and none can be refined.
    complete: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(request: Request<'a>, scratch: &'a mut Scratch) -> Self {
        scratch.tables.begin();
        Self {
            request,
            scratch,
            frame: None,
            jfif: false,
            adobe: None,
            orientation: 1,
            plan: None,
            scans: 0,
            block_visits: 0,
            painted: false,
            complete: false,
        }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
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
                self.request
                    .limits
                    .check_size(width.into(), height.into())?;
                // What cannot be shown need not be decoded.
                frame.colour(self.jfif, self.adobe)?;
                self.frame = Some(frame);
            }
            0xc4 => self.scratch.tables.read_huffman(content)?,
            0xdb => self.scratch.tables.read_quantisation(content)?,
            0xdd => self.scratch.tables.read_restart_interval(content)?,
            // What stands behind the first scan header says nothing about the picture.
            0xe0..=0xef if self.plan.is_some() => {}
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
        let is_first = self.plan.is_none();
        if is_first {
            self.plan = Some(self.make_plan(&frame)?);
        }
        let Some(plan) = &self.plan else {
            unreachable!("it was made for the first scan")
        };
        self.scans += 1;
        self.block_visits += plan.layout.blocks_of(&scan);
        if self.scans > MAX_SCANS || self.block_visits > MAX_BLOCK_VISITS {
            return Err(malformed(
                FORMAT,
                format!("{} scans of a large image", self.scans),
            ));
        }
        if !frame.progressive {
            self.scratch.tables.fill_in_standard();
            self.scratch.tables.prepare_to_decode();
        }

        let holds_all = scan.components.len() == frame.components.len();
        let is_stream = is_first && holds_all && !frame.progressive;
        if is_stream && plan.layout.passes_over_much(&plan.view) {
            self.scratch.tables.prepare_to_pass_over();
        }

        let Scratch {
            tables,
            data,
            coefficients,
            workspace,
            pixels,
        } = &mut *self.scratch;
        let layout = &plan.layout;
        let mut intervals = Intervals::new(bytes, at, data);
        let complete;
        if is_stream {
            let stream = stream(&frame, layout, &scan, tables, &mut intervals)?;
            paint(stream, Canvas::new(plan, workspace, pixels), &plan.view);
            self.painted = true;
            complete = true;
        } else {
            if is_first {
                coefficients.begin(layout);
            }
            coefficients.decode(&frame, layout, &scan, tables, &mut intervals)?;
            complete = !frame.progressive && coefficients.are_complete(layout);
        }
        let end = intervals.finish();
        let end = end.ok_or_else(|| truncated(FORMAT, "file ends within a scan"))?;
        self.complete = complete;
        Ok(end)
    }

    /// What is to be decoded, as far as the file has been read.
    fn make_plan(&mut self, frame: &Frame) -> Result<Plan, DecodeError> {
        let Request {
            scale,
            coarse,
            grey_as_rgb,
            choose,
            ..
        } = &mut self.request;
        let announced = scale.announce(frame.size);
        let window = choose(announced, self.orientation)?;
        let layout = Layout::new(frame, announced.divisor as usize, *coarse);
        let colour = frame.colour(self.jfif, self.adobe)?;
        Ok(Plan {
            view: View::new(&layout, window),
            layout,
            colour,
            channels: match colour {
                Colour::Grey if *grey_as_rgb => 3,
                Colour::Grey => 1,
                Colour::Rgb | Colour::YCbCr => 3,
                Colour::Cmyk | Colour::Ycck => 4,
            },
        })
    }

    /// The picture, once all scans were read.
    pub(super) fn finish(self) -> Result<Picture, DecodeError> {
        let missing = || malformed(FORMAT, "no image before the end of the file");
        let (frame, plan) = self.frame.zip(self.plan).ok_or_else(missing)?;
        let Scratch {
            coefficients,
            workspace,
            pixels,
            ..
        } = &mut *self.scratch;
        if !self.painted {
            let mut canvas = Canvas::new(&plan, workspace, pixels);
            for row in plan.view.mcu_rows.clone() {
                coefficients.transform(&plan.layout, &plan.view, row, canvas.bands());
                canvas.paint(row);
            }
        }
        let data = std::mem::take(pixels);
        self.scratch.trim();
        let size = Size {
            width: plan.view.columns.len() as u32,
            height: plan.view.rows.len() as u32,
        };
        let direct = |channels, data| {
            let pixels = filled(FORMAT, (size.width, size.height), channels, data)?;
            Ok::<_, DecodeError>(Raster::Direct(pixels))
        };
        let raster = match plan.channels {
            1 => direct(Channels::Grey, data)?,
            3 => direct(Channels::Rgb, data)?,
            count => Raster::Cmyk(Samples { size, count, data }),
        };
        Ok(Picture {
            native: Native {
                format: FORMAT,
                orientation: self.orientation,
                raster,
                transparent: None,
            },
            mode: match plan.colour {
                Colour::Grey => Mode::Grey,
                Colour::Rgb | Colour::YCbCr => Mode::Rgb,
                Colour::Cmyk | Colour::Ycck => Mode::Cmyk,
            },
            stored: frame.size,
        })
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
fn paint(mut stream: Stream<'_, '_>, mut canvas: Canvas<'_>, view: &View) {
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
}
