//! From the samples of an MCU row to rows of pixels, while both are in the cache.

use std::ops::Range;

use super::bands::Band;
use super::colour::{inks_of_cmyk, inks_of_ycck, interleave, rgb_of_ycbcr};
use super::header::Colour;
use super::layout::{Layout, View};
use super::upsample::Upsampler;
use super::vector::{Kernel, Vector, dispatch};

/// What is needed for the rows between two MCU rows; kept from one file to the next.
#[derive(Default)]
pub(super) struct Workspace {
    bands: [Band; 4],
    upsamplers: [Upsampler; 4],
}

/// What is to be painted.
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) view: View,
    pub(super) colour: Colour,
    /// Bytes of a pixel: 1 or 3 for grey, 3 for colour, 4 for inks.
    pub(super) channels: usize,
}

/// The wanted pixels, filled from top to bottom.
pub(super) struct Canvas<'a> {
    plan: &'a Plan,
    workspace: &'a mut Workspace,
    pixels: &'a mut Vec<u8>,
    /// The next row to paint.
    next: usize,
}

impl<'a> Canvas<'a> {
    /// An empty canvas whose pixels go to `pixels`.
    pub(super) fn new(
        plan: &'a Plan,
        workspace: &'a mut Workspace,
        pixels: &'a mut Vec<u8>,
    ) -> Self {
        let Plan { layout, view, .. } = plan;
        for (part, band) in layout.parts.iter().zip(&mut workspace.bands) {
            band.begin(part, &view.mcu_columns, view.mcu_rows.start);
        }
        let len = view.columns.len() * view.rows.len() * plan.channels;
        if pixels.capacity() < len {
            // Fresh pages hold zeros already.
            *pixels = vec![0; len];
        }
        // What is old is painted over.
        pixels.resize(len, 0);
        Self {
            plan,
            workspace,
            pixels,
            next: view.rows.start,
        }
    }

    /// Where the samples of the next MCU row go, for each component.
    pub(super) fn bands(&mut self) -> &mut [Band] {
        &mut self.workspace.bands
    }

    /// Makes pixels of MCU row `mcu_row`, whose samples are there.
    pub(super) fn paint(&mut self, mcu_row: usize) {
        let Plan { layout, view, .. } = self.plan;
        let end = if mcu_row + 1 == view.mcu_rows.end {
            view.rows.end
        } else {
            // The last row needs samples of the next MCU row.
            let end = (mcu_row + 1) * layout.mcu.1 - 1;
            end.clamp(self.next, view.rows.end)
        };
        let rows = self.next..end;
        self.next = end;
        dispatch(Paint { canvas: self, rows });
        for band in &mut self.workspace.bands {
            band.advance();
        }
    }
}

/// Some rows of a canvas.
struct Paint<'c, 'a> {
    canvas: &'c mut Canvas<'a>,
    rows: Range<usize>,
}

impl Kernel for Paint<'_, '_> {
    #[inline(always)]
    fn run(self, vector: impl Vector) {
        let Canvas {
            plan,
            workspace: Workspace { bands, upsamplers },
            pixels,
            ..
        } = self.canvas;
        let Plan { layout, view, .. } = plan;
        let stride = view.columns.len() * plan.channels;
        // The first column that bands hold is not always the first that is wanted.
        let left = view.columns.start - view.mcu_columns.start * layout.mcu.0;
        let first = self.rows.start - view.rows.start;
        let out = pixels[first * stride..].chunks_exact_mut(stride);
        for (y, out) in self.rows.zip(out) {
            let mut rows = [&[][..]; 4];
            let parts = layout.parts.iter().zip(&*bands).zip(&mut *upsamplers);
            for (row, ((part, band), upsampler)) in rows.iter_mut().zip(parts) {
                *row = &upsampler.row(part, band, y)[left..];
            }
            let [a, b, c, d] = rows;
            match (plan.colour, plan.channels) {
                (Colour::Grey, 3) => interleave(vector, [a; 3], out),
                (Colour::Grey, _) => out.copy_from_slice(&a[..stride]),
                (Colour::Rgb, _) => interleave(vector, [a, b, c], out),
                (Colour::YCbCr, _) => rgb_of_ycbcr(vector, [a, b, c], out),
                (Colour::Cmyk, _) => inks_of_cmyk([a, b, c, d], out),
                (Colour::Ycck, _) => inks_of_ycck([a, b, c, d], out),
            }
        }
    }
}
