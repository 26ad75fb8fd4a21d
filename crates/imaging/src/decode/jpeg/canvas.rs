//! From the samples of an MCU row to rows of pixels, while both are in the cache.

use std::ops::Range;

use super::bands::Band;
use super::colour::{inks_of_ycck, interleave, rgb_of_ycbcr};
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

/// The wanted pixels, filled from top to bottom.
pub(super) struct Canvas<'a> {
    workspace: &'a mut Workspace,
    layout: Layout,
    view: View,
    colour: Colour,
    pixels: Vec<u8>,
    /// The row that follows those in `pixels`.
    next: usize,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(
        layout: &Layout,
        view: View,
        colour: Colour,
        workspace: &'a mut Workspace,
    ) -> Self {
        for (part, band) in layout.parts.iter().zip(&mut workspace.bands) {
            band.begin(part, &view.mcu_columns, view.mcu_rows.start);
        }
        let mut pixels = Vec::new();
        pixels.reserve_exact(view.columns.len() * view.rows.len() * colour.channels());
        Self {
            workspace,
            layout: *layout,
            colour,
            pixels,
            next: view.rows.start,
            view,
        }
    }

    /// Where the samples of the next MCU row go, for each component.
    pub(super) fn bands(&mut self) -> &mut [Band] {
        &mut self.workspace.bands
    }

    /// Makes pixels of MCU row `mcu_row`, whose samples are there.
    pub(super) fn paint(&mut self, mcu_row: usize) {
        let end = if mcu_row + 1 == self.view.mcu_rows.end {
            self.view.rows.end
        } else {
            // The last row needs samples of the next MCU row.
            let end = (mcu_row + 1) * self.layout.mcu.1 - 1;
            end.clamp(self.next, self.view.rows.end)
        };
        let rows = self.next..end;
        self.next = end;
        dispatch(Paint { canvas: self, rows });
        for band in &mut self.workspace.bands {
            band.advance();
        }
    }

    /// All pixels.
    pub(super) fn into_pixels(self) -> Vec<u8> {
        self.pixels
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
            workspace: Workspace { bands, upsamplers },
            layout,
            view,
            colour,
            pixels,
            ..
        } = self.canvas;
        let stride = view.columns.len() * colour.channels();
        // The first column that bands hold is not always the first that is wanted.
        let left = view.columns.start - view.mcu_columns.start * layout.mcu.0;
        for y in self.rows {
            let mut rows = [&[][..]; 4];
            let parts = layout.parts.iter().zip(&*bands).zip(&mut *upsamplers);
            for (row, ((part, band), upsampler)) in rows.iter_mut().zip(parts) {
                *row = &upsampler.row(part, band, y)[left..];
            }
            let [a, b, c, d] = rows;
            let start = pixels.len();
            pixels.resize(start + stride, 0);
            let out = &mut pixels[start..];
            match colour {
                Colour::Grey => out.copy_from_slice(&a[..out.len()]),
                Colour::Rgb => interleave([a, b, c], false, out),
                Colour::YCbCr => rgb_of_ycbcr(vector, [a, b, c], out),
                Colour::Cmyk => interleave([a, b, c, d], true, out),
                Colour::Ycck => inks_of_ycck([a, b, c, d], out),
            }
        }
    }
}
