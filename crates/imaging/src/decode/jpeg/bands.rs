//! Samples of one MCU row of one component, on their way from the inverse transform to pixels.

use std::ops::Range;

use super::layout::Part;

/// The rows of samples of an MCU row, and above them the last one of the MCU row before, which chroma
/// upsampling mixes with the first.
#[derive(Default)]
pub(super) struct Band {
    samples: Vec<u8>,
    /// Samples in a row.
    stride: usize,
    /// Those of them that are not padding of blocks.
    columns: usize,
    /// Rows in an MCU row.
    height: usize,
    /// The row of the component that is the first of this MCU row.
    first: usize,
}

impl Band {
    /// Makes room for `mcus`, from MCU row `row` on.
    pub(super) fn begin(&mut self, part: &Part, mcus: &Range<usize>, row: usize) {
        self.stride = mcus.len() * part.h * part.side;
        self.columns = self
            .stride
            .min(part.samples.0 - mcus.start * part.h * part.side);
        self.height = part.v * part.side;
        self.first = row * self.height;
        self.samples.clear();
        self.samples.resize(self.stride * (self.height + 1), 0);
    }

    /// Goes on to the next MCU row.
    pub(super) fn advance(&mut self) {
        let last = self.stride * self.height;
        self.samples.copy_within(last.., 0);
        self.first += self.height;
    }

    /// The samples from the given column and row of this MCU row on, and how long rows are.
    #[inline]
    pub(super) fn block(&mut self, x: usize, y: usize) -> (&mut [u8], usize) {
        let stride = self.stride;
        (&mut self.samples[(y + 1) * stride + x..], stride)
    }

    /// The real samples of row `y` of the component: of this MCU row, or the last one before it.
    pub(super) fn row(&self, y: usize) -> &[u8] {
        let from_context = y + 1 - self.first;
        &self.samples[from_context * self.stride..][..self.columns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_stays_as_context() {
        let part = Part {
            h: 1,
            v: 1,
            side: 2,
            samples: (9, 99),
            ..Part::default()
        };
        let mut band = Band::default();
        band.begin(&part, &(3..5), 7);
        for (y, value) in [(0, 1), (1, 2)] {
            band.block(0, y).0[..4].fill(value);
        }
        // The fourth column is padding.
        assert_eq!((band.row(14), band.row(15)), (&[1; 3][..], &[2; 3][..]));
        band.advance();
        band.block(2, 0).0[..2].fill(9);
        assert_eq!(band.row(15), [2; 3]);
        assert_eq!(band.row(16), [1, 1, 9]);
    }
}
