//! Sizes that follow from the frame header, and which MCUs the wanted pixels depend on.
//!
//! An MCU ("minimum coded unit") is the smallest rectangle that holds whole blocks of all components.

use std::ops::Range;

use sightline_core::image_spec::Size;

use super::few::Few;
use super::header::{Frame, Scan};
use crate::Window;

/// Samples along a side of a coded block.
const BLOCK: usize = 8;
/// Blocks for which it is worth a table that helps to pass over them.
const MUCH: usize = 2000;
/// Coefficients of a block.
pub(super) const COEFFICIENTS: usize = BLOCK * BLOCK;

/// The sizes of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
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
    /// The coefficients of a block that its samples are made of are the first so many in zigzag order.
    pub(super) needed: usize,
    /// Columns and rows of blocks that hold real samples; the others fill up MCUs.
    pub(super) blocks: (usize, usize),
    /// Columns and rows of real samples.
    pub(super) samples: (usize, usize),
    /// Pixels for each sample, along rows and columns.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Whether pixels are mixed of neighbouring samples where there are two for each.
    pub(super) mixes: bool,
}

impl Layout {
    /// The sizes of a picture whose sides are divided by `divisor`: 1, 2, 4 or 8; `coarse` without the high frequencies
    /// of smaller blocks.
    pub(super) fn new(frame: &Frame, divisor: usize, coarse: bool) -> Self {
        let Size { width, height } = frame.size;
        let (width, height) = (width as usize, height as usize);
        let (h_max, v_max) = (frame.h_max as usize, frame.v_max as usize);
        let least = BLOCK / divisor;
        let parts = frame.components.iter().map(|component| {
            let (h, v) = (component.h as usize, component.v as usize);
            let side = side(least, (h_max / h, v_max / v));
            let samples = |len: usize, side: usize, factor: usize, most: usize| {
                (len * factor * side).div_ceil(most * BLOCK)
            };
            let coded = (
                samples(width, BLOCK, h, h_max),
                samples(height, BLOCK, v, v_max),
            );
            Part {
                h,
                v,
                side,
                needed: needed(side, coarse),
                blocks: (coded.0.div_ceil(BLOCK), coded.1.div_ceil(BLOCK)),
                samples: (
                    samples(width, side, h, h_max),
                    samples(height, side, v, v_max),
                ),
                across: h_max * least / (h * side),
                down: v_max * least / (v * side),
                mixes: least > 1,
            }
        });
        Self {
            mcu: (least * h_max, least * v_max),
            mcus: (
                width.div_ceil(BLOCK * h_max),
                height.div_ceil(BLOCK * v_max),
            ),
            parts: parts.collect(),
        }
    }

    /// Whether a scan of all components passes over so much, of blocks or between them, that it is worth a table.
    pub(super) fn passes_over_much(&self, view: &View) -> bool {
        let all = self.mcus.0 * view.mcu_rows.end;
        let is_low = self.parts.iter().any(|part| part.needed < COEFFICIENTS);
        let wanted = if is_low {
            0
        } else {
            view.mcu_columns.len() * view.mcu_rows.len()
        };
        let blocks: usize = self.parts.iter().map(|part| part.h * part.v).sum();
        (all - wanted) * blocks >= MUCH
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

/// Samples along a side of the transformed blocks of a component that has a sample for every so many pixels
/// across and down. When pictures are made smaller, its blocks stay larger than those of the others as long as
/// that makes up for both.
fn side(least: usize, (across, down): (usize, usize)) -> usize {
    let fits =
        |side: usize| (across * least).is_multiple_of(side) && (down * least).is_multiple_of(side);
    let mut side = least;
    while side < BLOCK && fits(2 * side) {
        side *= 2;
    }
    side
}

/// How many coefficients a block of `side` by `side` samples is made of.
///
/// libjpeg's transforms into 4 by 4 and 2 by 2 samples have terms for frequencies that such blocks cannot show, because
/// they take means of the samples of the full block. Without these terms few levels change.
fn needed(side: usize, coarse: bool) -> usize {
    match side {
        1 => 1,
        // Up to the third frequency along both sides, and up to the third along both together.
        4 if coarse => 25,
        2 if coarse => 10,
        _ => COEFFICIENTS,
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
    pub(super) fn new(layout: &Layout, window: Window) -> Self {
        let Window {
            left,
            top,
            width,
            height,
        } = window;
        let columns = left as usize..(left + width) as usize;
        let rows = top as usize..(top + height) as usize;
        // The triangle filter mixes each sample with the next ones, which are two pixels away.
        let context = |mixes: bool| if mixes { 2 } else { 0 };
        let across = context(layout.parts.iter().any(|part| part.across > 1));
        let down = context(layout.parts.iter().any(|part| part.down > 1));
        let mcus = |pixels: &Range<usize>, context: usize, mcu: usize, most: usize| {
            let end = (pixels.end + context).div_ceil(mcu).min(most);
            pixels.start.saturating_sub(context) / mcu..end
        };
        Self {
            mcu_columns: mcus(&columns, across, layout.mcu.0, layout.mcus.0),
            mcu_rows: mcus(&rows, down, layout.mcu.1, layout.mcus.1),
            columns,
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsampled_blocks_stay_larger_when_that_fits_both_ways() {
        let sides = |factors| [8, 4, 2, 1].map(|least| side(least, factors));
        assert_eq!(sides((1, 1)), [8, 4, 2, 1]);
        assert_eq!(sides((2, 2)), [8, 8, 4, 2]);
        assert_eq!(sides((2, 1)), [8, 4, 2, 1]);
        assert_eq!(sides((4, 2)), [8, 8, 4, 2]);
        assert_eq!(sides((4, 4)), [8, 8, 8, 4]);
    }

    #[test]
    fn views_hold_the_neighbours_of_subsampled_pixels() {
        let mcus = |across, left, width| {
            let mut layout = Layout {
                mcu: (16, 8),
                mcus: (4, 1),
                parts: Few::default(),
            };
            layout.parts.push(Part {
                across,
                down: 1,
                ..Part::default()
            });
            let window = Window {
                left,
                top: 0,
                width,
                height: 8,
            };
            View::new(&layout, window).mcu_columns
        };
        assert_eq!((mcus(1, 16, 16), mcus(2, 16, 16)), (1..2, 0..3));
        assert_eq!((mcus(1, 18, 12), mcus(2, 18, 12)), (1..2, 1..2));
        assert_eq!((mcus(1, 0, 50), mcus(2, 0, 50)), (0..4, 0..4));
        assert_eq!((mcus(1, 49, 1), mcus(2, 49, 1)), (3..4, 2..4));
    }
}
