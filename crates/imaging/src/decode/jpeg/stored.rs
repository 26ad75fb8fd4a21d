//! Pictures whose coefficients come in several scans: they are kept until the last one has been read.

use std::ops::Range;

use super::super::DecodeError;
use super::bands::Band;
use super::bits::{Bits, Intervals};
use super::few::Few;
use super::header::{Frame, Scan};
use super::huffman::Huffman;
use super::layout::{Layout, Part, View};
use super::progressive::{Block, Spectrum, dc_first, dc_refine};
use super::sequential::{self, Restarts};
use super::tables::{ScanTables, Tables};
use super::vector::{Kernel, Vector, dispatch};

/// The coefficients of all components.
#[derive(Default)]
pub(super) struct Coefficients {
    planes: [Plane; 4],
}

/// The coefficients of one component.
#[derive(Default)]
struct Plane {
    /// Blocks in a row, padded to whole MCUs.
    stride: usize,
    /// In rows of eight, not multiplied by the quantisation table.
    blocks: Vec<[i16; 64]>,
    /// Which coefficients of each block may not be zero; see [`Block::known`].
    known: Vec<u64>,
    /// The quantisation table at the time of the first scan.
    quantisation: Option<[u16; 64]>,
}

impl Coefficients {
    /// Forgets everything and makes room for a picture.
    pub(super) fn begin(&mut self, layout: &Layout) {
        for (part, plane) in layout.parts.iter().zip(&mut self.planes) {
            plane.stride = layout.mcus.0 * part.h;
            let blocks = plane.stride * layout.mcus.1 * part.v;
            plane.blocks.clear();
            plane.blocks.resize(blocks, [0; 64]);
            plane.known.clear();
            plane.known.resize(blocks, 0);
            plane.quantisation = None;
        }
    }

    /// Memory of all buffers.
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.planes.iter().map(|plane| plane.blocks.capacity());
        blocks.sum::<usize>() * size_of::<[i16; 64]>()
    }

    /// Whether there was a scan of every component.
    pub(super) fn are_complete(&self, layout: &Layout) -> bool {
        let planes = &self.planes[..layout.parts.len()];
        planes.iter().all(|plane| plane.quantisation.is_some())
    }

    /// Decodes a scan.
    pub(super) fn decode(
        &mut self,
        frame: &Frame,
        layout: &Layout,
        scan: &Scan,
        tables: &Tables,
        intervals: &mut Intervals<'_>,
    ) -> Result<(), DecodeError> {
        let mut coders = Few::default();
        for component in &*scan.components {
            let ScanTables {
                quantisation,
                dc,
                ac,
            } = tables.of_component(frame, scan, component)?;
            self.planes[component.index]
                .quantisation
                .get_or_insert(*quantisation);
            coders.push(Some(Coder {
                index: component.index,
                part: layout.parts[component.index],
                dc,
                ac,
                previous: 0,
            }));
        }
        dispatch(DecodeScan {
            planes: &mut self.planes,
            walk: Walk {
                mcus: layout.mcus,
                coders,
                restarts: Restarts::new(tables.restart_interval),
                intervals,
                end_of_band: 0,
            },
            progressive: frame.progressive,
            scan,
        });
        Ok(())
    }

    /// Transforms the blocks of an MCU row, as far as they are wanted.
    pub(super) fn transform(&self, layout: &Layout, view: &View, row: usize, bands: &mut [Band]) {
        dispatch(TransformRow {
            planes: &self.planes,
            layout,
            columns: view.mcu_columns.clone(),
            row,
            bands,
        });
    }
}

impl Plane {
    #[inline(always)]
    fn block(&mut self, x: usize, y: usize) -> Block<'_> {
        let i = y * self.stride + x;
        Block {
            coefficients: &mut self.blocks[i],
            known: &mut self.known[i],
        }
    }
}

/// Tables and state of one component in a scan.
#[derive(Clone, Copy)]
struct Coder<'a> {
    /// Position in the frame.
    index: usize,
    part: Part,
    dc: Option<&'a Huffman>,
    ac: Option<&'a Huffman>,
    /// The DC value of the block before.
    previous: i32,
}

struct DecodeScan<'s, 'a> {
    planes: &'s mut [Plane; 4],
    walk: Walk<'s, 'a>,
    progressive: bool,
    scan: &'s Scan,
}

impl Kernel for DecodeScan<'_, '_> {
    #[inline(always)]
    fn run(self, _: impl Vector) {
        let Self {
            planes,
            walk,
            progressive,
            scan,
        } = self;
        let shift = scan.shift;
        let spectrum = Spectrum {
            first: scan.first.into(),
            last: scan.last.into(),
            shift,
        };
        match (progressive, scan.first, scan.refine) {
            (false, ..) => walk.each_block(planes, |bits, coder, _, block| {
                if let (Some(dc), Some(ac)) = (coder.dc, coder.ac) {
                    *block.coefficients = [0; 64];
                    let (previous, to) = (&mut coder.previous, &mut *block.coefficients);
                    *block.known = 1 << sequential::block(bits, (dc, ac), previous, to);
                }
            }),
            (true, 0, false) => walk.each_block(planes, |bits, coder, _, block| {
                if let Some(dc) = coder.dc {
                    dc_first(bits, dc, &mut coder.previous, shift, block);
                }
            }),
            (true, 0, true) => walk.each_block(planes, |bits, _, _, block| {
                dc_refine(bits, shift, block);
            }),
            (true, _, false) => walk.each_block(planes, |bits, coder, end_of_band, block| {
                if let Some(ac) = coder.ac {
                    spectrum.first(bits, ac, end_of_band, block);
                }
            }),
            (true, _, true) => walk.each_block(planes, |bits, coder, end_of_band, block| {
                if let Some(ac) = coder.ac {
                    spectrum.refine(bits, ac, end_of_band, block);
                }
            }),
        }
    }
}

/// The way through the blocks of a scan, and what is read from block to block.
struct Walk<'s, 'a> {
    /// Columns and rows of MCUs when several components are interleaved.
    mcus: (usize, usize),
    coders: Few<Option<Coder<'s>>>,
    restarts: Restarts,
    intervals: &'s mut Intervals<'a>,
    /// Blocks that have no more AC values of the scan.
    end_of_band: u32,
}

impl Walk<'_, '_> {
    /// Calls `decode` for each block that there are data for.
    #[inline(always)]
    fn each_block(
        mut self,
        planes: &mut [Plane; 4],
        mut decode: impl FnMut(&mut Bits<'_>, &mut Coder<'_>, &mut u32, &mut Block<'_>),
    ) {
        if let [Some(alone)] = &mut *self.coders {
            // A component that is alone is not padded to MCUs.
            self.mcus = alone.part.blocks;
            (alone.part.h, alone.part.v) = (1, 1);
        }
        for y in 0..self.mcus.1 {
            let mut x = 0;
            while x < self.mcus.0 {
                if self.restarts.is_due() {
                    self.restart();
                }
                let run = self.restarts.run(self.mcus.0 - x);
                self.run(x..x + run, y, planes, &mut decode);
                x += run;
            }
        }
    }

    fn restart(&mut self) {
        self.intervals.restart();
        self.end_of_band = 0;
        for coder in self.coders.iter_mut().flatten() {
            coder.previous = 0;
        }
    }

    /// MCUs of row `y` without a restart between them.
    #[inline(always)]
    fn run(
        &mut self,
        mcus: Range<usize>,
        y: usize,
        planes: &mut [Plane; 4],
        decode: &mut impl FnMut(&mut Bits<'_>, &mut Coder<'_>, &mut u32, &mut Block<'_>),
    ) {
        let mut bits = self.intervals.bits();
        for x in mcus {
            if bits.are_missing() {
                break;
            }
            for coder in self.coders.iter_mut().flatten() {
                let Part { h, v, .. } = coder.part;
                for row in y * v..(y + 1) * v {
                    for column in x * h..(x + 1) * h {
                        let mut block = planes[coder.index].block(column, row);
                        decode(&mut bits, coder, &mut self.end_of_band, &mut block);
                    }
                }
            }
        }
        let progress = bits.progress();
        self.intervals.put_back(progress);
    }
}

struct TransformRow<'s> {
    planes: &'s [Plane; 4],
    layout: &'s Layout,
    columns: Range<usize>,
    row: usize,
    bands: &'s mut [Band],
}

impl Kernel for TransformRow<'_> {
    #[inline(always)]
    fn run(self, vector: impl Vector) {
        let parts = self.layout.parts.iter().zip(self.planes);
        for ((part, plane), band) in parts.zip(self.bands) {
            // Grey, for what no scan fills.
            let quantisation = plane.quantisation.as_ref().unwrap_or(&[0; 64]);
            let &Part { h, v, side, .. } = part;
            for row in 0..v {
                let first = (self.row * v + row) * plane.stride;
                let columns = self.columns.start * h..self.columns.end * h;
                for (x, i) in columns.map(|column| first + column).enumerate() {
                    let out = band.block(x * side, row * side);
                    let (block, known) = (&plane.blocks[i], plane.known[i]);
                    let last = 63 - (known | 1).leading_zeros() as usize;
                    vector.inverse_to(side, block, quantisation, last, out);
                }
            }
        }
    }
}
