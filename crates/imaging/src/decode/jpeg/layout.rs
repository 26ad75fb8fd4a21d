//! Sizes that follow from the frame header, and which MCUs the wanted pixels depend on.
//!
//! An MCU ("minimum coded unit") is the smallest rectangle that holds whole blocks of all components.

use std::ops::Range;

use sightline_core::image_spec::Size;

use super::few::Few;
use super::header::{Frame, Scan};

/// Samples along a side of a coded block.
const BLOCK: usize = 8;

/// The sizes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Columns and rows of pixels.
    pub(super) size: (usize, usize),
    /// Columns and rows of pixels that an MCU covers.
    pub(super) mcu: (usize, usize),
    /// Columns and rows of MCUs.
    pub(super) mcus: (usize, usize),
    pub(super) parts: Few<Part>,
}

/// The sizes of one component.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// Blocks in an MCU, along rows and columns.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Samples along a side of a transformed block.
    pub(super) side: usize,
    /// Columns and rows of blocks that hold real samples; the others fill up MCUs.
    pub(super) blocks: (usize, usize),
    /// Columns and rows of real samples.
    pub(super) samples: (usize, usize),
    /// Pixels for each sample, along rows and columns.
    pub(super) across: usize,
    pub(super) down: usize,
}

impl Layout {
    pub(super) fn new(frame: &Frame) -> Self {
        let Size { width, height } = frame.size;
        let (width, height) = (width as usize, height as usize);
        let (h_max, v_max) = (frame.h_max as usize, frame.v_max as usize);
        let parts = frame.components.iter().map(|component| {
            let (h, v) = (component.h as usize, component.v as usize);
            let samples = ((width * h).div_ceil(h_max), (height * v).div_ceil(v_max));
            Part {
                h,
                v,
                side: BLOCK,
                blocks: (samples.0.div_ceil(BLOCK), samples.1.div_ceil(BLOCK)),
                samples,
                across: h_max / h,
                down: v_max / v,
            }
        });
        let mcu = (BLOCK * h_max, BLOCK * v_max);
        Self {
            size: (width, height),
            mcu,
            mcus: (width.div_ceil(mcu.0), height.div_ceil(mcu.1)),
            parts: parts.collect(),
        }
    }

    /// Blocks that a scan goes through.
    pub(super) fn blocks_of(&self, scan: &Scan) -> u64 {
        let blocks = scan.components.iter().map(|component| {
            let (columns, rows) = self.parts[component.index].blocks;
            columns as u64 * rows as u64
        });
        blocks.sum()
    }
}

/// The pixels that are wanted and what has to be decoded for them.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// Columns and rows of pixels.
    pub(super) columns: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Columns and rows of MCUs that these pixels depend on.
    pub(super) mcu_columns: Range<usize>,
    pub(super) mcu_rows: Range<usize>,
}

impl View {
    /// All pixels.
    pub(super) fn whole(layout: &Layout) -> Self {
        Self {
            columns: 0..layout.size.0,
            rows: 0..layout.size.1,
            mcu_columns: 0..layout.mcus.0,
            mcu_rows: 0..layout.mcus.1,
        }
    }
}
