//! Rows of the left side of a product.

use std::ops::Range;

/// Rows of a left side, however they are stored.
pub(crate) trait Rows: Sync {
    /// Writes the elements `range` of a row to `to`, which has that length.
    fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]);

    /// The elements `range` of a row, where they lie side by side.
    #[inline(always)]
    fn slice(&self, _row: usize, _range: Range<usize>) -> Option<&[f32]> {
        None
    }

    /// The rows `rows`, which are not none and `len` elements long, piece by piece; `room` keeps what has to be made for that.
    fn pieces<'p>(&'p self, rows: Range<usize>, len: usize, room: &'p mut Room) -> Pieces<'p>;
}

/// Rows that lie in memory in pieces, those of each row at the same distances.
pub(crate) struct Pieces<'a> {
    pub(crate) elements: &'a [f32],
    /// Where each row begins.
    pub(crate) starts: &'a [usize],
    /// Pieces of a row.
    pub(crate) count: usize,
    /// Elements of a piece; not 0.
    pub(crate) len: usize,
    /// Elements from where one piece of a row begins to where the next does.
    pub(crate) stride: usize,
}

/// What [`Pieces`] may borrow.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) elements: Vec<f32>,
    pub(crate) starts: Vec<usize>,
}

/// Rows that begin `stride` elements after each other.
pub(crate) struct Matrix<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) stride: usize,
}

impl Rows for Matrix<'_> {
    #[inline(always)]
    fn write(&self, row: usize, range: Range<usize>, to: &mut [f32]) {
        let start = row * self.stride;
        to.copy_from_slice(&self.elements[start + range.start..start + range.end]);
    }

    #[inline(always)]
    fn slice(&self, row: usize, range: Range<usize>) -> Option<&[f32]> {
        let start = row * self.stride;
        Some(&self.elements[start + range.start..start + range.end])
    }

    #[inline(always)]
    fn pieces<'p>(&'p self, rows: Range<usize>, len: usize, room: &'p mut Room) -> Pieces<'p> {
        room.starts.clear();
        room.starts.extend(rows.map(|row| row * self.stride));
        Pieces {
            elements: self.elements,
            starts: &room.starts,
            count: 1,
            len,
            stride: 0,
        }
    }
}
