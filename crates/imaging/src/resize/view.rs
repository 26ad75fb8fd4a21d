//! A window of interleaved samples in memory.

use std::ops::Range;

use crate::Window;

/// Rows of pixels of `channels` samples, which may be parts of longer rows.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T = u8> {
    /// From the first sample of the first row to the end of the image, so that most rows have samples behind them.
    data: &'a [T],
    /// Samples from the start of a row to the start of the next.
    stride: usize,
    /// Pixels of a row.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Samples of a pixel.
    pub(super) channels: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows of `width` pixels that follow each other without gaps.
    pub(super) fn packed(data: &'a [T], width: usize, channels: usize) -> Self {
        let stride = width * channels;
        debug_assert!(data.len().is_multiple_of(stride));
        Self {
            data,
            stride,
            width,
            height: data.len() / stride,
            channels,
        }
    }

    /// The given columns and rows, which lie inside.
    pub(super) fn part(self, columns: Range<usize>, rows: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.width && rows.end <= self.height);
        let start = rows.start * self.stride + columns.start * self.channels;
        Self {
            data: &self.data[start..],
            width: columns.len(),
            height: rows.len(),
            ..self
        }
    }

    /// The pixels of `window`, which lies inside.
    pub(super) fn window(self, window: Window) -> Self {
        let (left, top) = (window.left as usize, window.top as usize);
        self.part(
            left..left + window.width as usize,
            top..top + window.height as usize,
        )
    }

    /// Samples of a row.
    pub(super) fn row_len(&self) -> usize {
        self.width * self.channels
    }

    /// Row `y`.
    pub(super) fn row(&self, y: usize) -> &'a [T] {
        &self.data[y * self.stride..][..self.row_len()]
    }

    /// Row `y` and `margin` more samples, whatever they are; `None` where the image has no more.
    pub(super) fn row_with_margin(&self, y: usize, margin: usize) -> Option<&'a [T]> {
        self.data[y * self.stride..].get(..self.row_len() + margin)
    }

    /// The rows from top to bottom.
    pub(super) fn rows(self) -> impl ExactSizeIterator<Item = &'a [T]> {
        (0..self.height).map(move |y| self.row(y))
    }

    /// Replaces `out` by the rows without gaps.
    pub(super) fn copy_into(self, out: &mut Vec<T>)
    where
        T: Copy,
    {
        out.clear();
        for row in self.rows() {
            out.extend_from_slice(row);
        }
    }
}
