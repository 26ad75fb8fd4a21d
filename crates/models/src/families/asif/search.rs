//! The anchors that are nearest to vectors.
//!
//! Vectors are compared as whole numbers first, whose products differ from the cosines by no more than a bound that is known
//! beforehand ([`margin`]). Only anchors that may be among the nearest by that are compared as they are: what is found are the
//! nearest of all, with their cosines. Few vectors are compared with anchors of bytes where these are; for more, and for
//! anchors of other numbers, a block of anchors is brought to whole numbers once ([`super::screen`]). A vector or two are
//! compared with anchors of other numbers as they are: that costs less than to bring them to whole numbers.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the dispatched function is compiled for its instructions"
)]

use std::collections::BTreeSet;

use pulp::bytemuck::AnyBitPattern;
use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

use super::relative::{Near, Nearest};
use super::screen::{Block, Hit, LANES, Panel, ROWS, STEP, in_streams, whole};
use super::segment::{Precision, Values};

/// Rows of a stretch, a multiple of [`ROWS`].
const STRETCH_ROWS: usize = 480;

/// Up to so many vectors are compared with anchors where these are, by the numbers of which anchors consist.
fn few(precision: Precision) -> usize {
    match precision {
        Precision::F32 | Precision::F16 => 2,
        Precision::Int8 => 4,
    }
}

/// Vectors that are compared with a block together.
const QUERIES: usize = 256;
/// Partial sums of a cosine, in a fixed order whatever the machine: registers of 16 or fewer numbers hold them.
const SUMS: usize = 32;

/// Rows of a segment that are searched together.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    values: Values<'a>,
    start: usize,
    rows: usize,
    /// The number of the first row's anchor.
    anchor: usize,
}

/// The `k` nearest rows of `segments`, each with its number of rows, to each of `queries` of unit length.
pub(super) fn nearest(
    segments: &[(Values, usize)],
    deleted: &BTreeSet<usize>,
    queries: &[f32],
    k: usize,
) -> Vec<Vec<Near>> {
    let Some((values, _)) = segments.first() else {
        return Vec::new();
    };
    let mut stretches = Vec::new();
    let mut first = 0;
    for &(values, rows) in segments {
        stretches.extend((0..rows).step_by(STRETCH_ROWS).map(|start| Stretch {
            values,
            start,
            rows: STRETCH_ROWS.min(rows - start),
            anchor: first + start,
        }));
        first += rows;
    }
    // A part for each thread: every part begins with lists of its own, and lists that are not full let everything in.
    let threads = rayon::current_num_threads();
    let part = stretches.len().div_ceil(threads).max(1);
    let batches = queries.chunks(QUERIES * values.width);
    let found = batches.flat_map(|queries| {
        let parts = stretches
            .par_chunks(part)
            .map(|stretches| Search::new(stretches, deleted, queries, k).run());
        let none = || vec![Nearest::new(k); queries.len() / values.width];
        let merged = parts.reduce(none, |one, two| {
            let pairs = one.into_iter().zip(two);
            pairs.map(|(one, two)| one.merge(two)).collect()
        });
        merged.into_iter().map(Nearest::finish)
    });
    found.collect()
}

/// A search in some anchors, on one thread.
struct Search<'a> {
    stretches: &'a [Stretch<'a>],
    deleted: &'a BTreeSet<usize>,
    queries: Vec<&'a [f32]>,
    found: Vec<Found>,
    margin: f32,
}

/// What is near to a query so far.
struct Found {
    k: usize,
    /// Anchors whose cosine is known.
    best: Nearest,
    /// Anchors and what their cosine is about: all that may be among the `k` nearest, beside those of `best`.
    maybe: Nearest,
    /// Whether so many lie within the margin that they have to be settled.
    is_crowded: bool,
}

impl<'a> Search<'a> {
    fn new(
        stretches: &'a [Stretch<'a>],
        deleted: &'a BTreeSet<usize>,
        queries: &'a [f32],
        k: usize,
    ) -> Self {
        let width = stretches[0].values.width;
        let queries: Vec<&[f32]> = queries.chunks_exact(width).collect();
        let margins = stretches.iter().map(|stretch| margin(stretch.values));
        Self {
            stretches,
            deleted,
            found: queries.iter().map(|_| Found::new(k)).collect(),
            queries,
            margin: margins.fold(0.0, f32::max),
        }
    }

    fn run(mut self) -> Vec<Nearest> {
        let precisions = self.stretches.iter().map(|one| one.values.precision);
        if self.queries.len() <= precisions.map(few).min().unwrap_or(0) {
            self.where_they_are();
        } else {
            self.in_blocks();
        }
        (0..self.queries.len()).for_each(|query| self.settle(query));
        self.found.into_iter().map(|found| found.best).collect()
    }

    fn where_they_are(&mut self) {
        let wholes = |query: &&[f32]| query.iter().copied().map(whole).collect();
        let queries: Vec<Vec<i16>> = self.queries.iter().map(wholes).collect();
        for stretch in self.stretches {
            for (query, whole) in queries.iter().enumerate() {
                match stretch.values.precision {
                    Precision::F32 | Precision::F16 => self.compare(stretch, query),
                    Precision::Int8 => self.screen(stretch, query, whole),
                }
            }
        }
    }

    /// Keeps what is near to a query by its cosine.
    fn compare(&mut self, stretch: &Stretch, query: usize) {
        let mut cosines = vec![0.0; stretch.rows];
        Arch::new().dispatch(Cosines {
            stretches: std::slice::from_ref(stretch),
            query: self.queries[query],
            anchors: in_streams(stretch.rows).map(|row| (row, stretch.anchor + row)),
            to: &mut cosines,
        });
        let best = &mut self.found[query].best;
        for (row, &cosine) in cosines.iter().enumerate() {
            let anchor = stretch.anchor + row;
            if cosine > best.least() && !self.deleted.contains(&anchor) {
                best.push(Near { anchor, cosine });
            }
        }
    }

    /// Notes what may be near to a query by its product as whole numbers.
    fn screen(&mut self, stretch: &Stretch, query: usize, whole: &[i16]) {
        let mut products = vec![0; stretch.rows];
        Arch::new().dispatch(Products {
            stretch,
            query: whole,
            to: &mut products,
        });
        let floor = self.found[query].floor(self.margin);
        let products = products.into_iter().enumerate();
        let hits = products.map(|(row, product)| Hit {
            row,
            query,
            product: product as f32 * stretch.values.worth(stretch.start + row),
        });
        let hits: Vec<Hit> = hits.filter(|hit| hit.product > floor).collect();
        self.note(stretch, 0, &hits);
    }

    fn in_blocks(&mut self) {
        let width = self.stretches[0].values.width;
        let parts = self.queries.chunks(LANES);
        let panels: Vec<Panel> = parts
            .map(|part| Panel::new(part.iter().copied(), width))
            .collect();
        let mut block = Block::default();
        let mut hits = vec![Vec::new(); panels.len().div_ceil(2)];
        for stretch in self.stretches {
            // They hold for all blocks of a stretch: it is short.
            let floors = self.found.chunks(2 * LANES).map(|found| {
                let mut floors = [[f32::INFINITY; LANES]; 2];
                for (floor, found) in floors.as_flattened_mut().iter_mut().zip(found) {
                    *floor = found.floor(self.margin);
                }
                floors
            });
            let floors: Vec<[[f32; LANES]; 2]> = floors.collect();
            for number in in_streams(stretch.rows.div_ceil(ROWS)) {
                Arch::new().dispatch(Widen(stretch, number * ROWS, &mut block));
                let both = panels.chunks(2).zip(&floors).zip(&mut hits);
                for ((panels, floors), hits) in both {
                    block.above(panels, floors, hits);
                }
            }
            for (number, hits) in hits.iter_mut().enumerate() {
                self.note(stretch, number * 2 * LANES, hits);
                hits.clear();
            }
        }
    }

    /// Keeps `hits` in a stretch, whose query 0 is query `from`.
    fn note(&mut self, stretch: &Stretch, from: usize, hits: &[Hit]) {
        for hit in hits {
            let anchor = stretch.anchor + hit.row;
            let cosine = hit.product;
            if !self.deleted.contains(&anchor) {
                self.found[from + hit.query].note(Near { anchor, cosine }, self.margin);
            }
        }
        for query in from..self.found.len().min(from + 2 * LANES) {
            if self.found[query].is_crowded {
                self.settle(query);
            }
        }
    }

    /// Compares what may be near to a query as it is.
    fn settle(&mut self, query: usize) {
        let found = &mut self.found[query];
        found.is_crowded = false;
        let mut anchors: Vec<usize> = found.maybe.take().map(|near| near.anchor).collect();
        anchors.sort_unstable();
        let mut cosines = vec![0.0; anchors.len()];
        Arch::new().dispatch(Cosines {
            stretches: self.stretches,
            query: self.queries[query],
            anchors: anchors.iter().copied().enumerate(),
            to: &mut cosines,
        });
        for (&anchor, &cosine) in anchors.iter().zip(&cosines) {
            found.best.push(Near { anchor, cosine });
        }
    }
}

impl Found {
    fn new(k: usize) -> Self {
        Self {
            k,
            best: Nearest::new(k),
            maybe: Nearest::new(k),
            is_crowded: false,
        }
    }

    /// What is not above this, by a product that is off by `margin` at most, is not among the nearest.
    fn floor(&self, margin: f32) -> f32 {
        // Of `k` anchors even the least may be less than its product by the margin, as this one may be more.
        (self.best.least() - margin).max(self.maybe.least() - 2.0 * margin)
    }

    /// Keeps an anchor whose cosine is about this.
    fn note(&mut self, near: Near, margin: f32) {
        if self.maybe.hold(near) {
            self.is_crowded |= self.maybe.thin(2.0 * margin) > 2 * self.k;
        }
    }
}

/// What the product of a row and a query as whole numbers and their cosine as [`Cosines`] gives it differ by at most.
///
/// A vector as whole numbers is off by half a [`STEP`] in each value, so by `STEP / 2 · √width` in length, which moves a
/// product with a vector of unit length by no more than that. Rows of bytes are whole numbers already. What `f32` rounds off
/// comes on top: one part in 2²⁴ for each addition of a partial sum. Lengths are 1 but for the rounding of the stored values.
fn margin(values: Values) -> f32 {
    let width = values.width as f32;
    let vectors = if values.precision == Precision::Int8 {
        1.0
    } else {
        2.0
    };
    let whole = 0.5 * STEP * width.sqrt() * vectors;
    let rounded = (width / SUMS as f32 + 16.0) * f32::EPSILON;
    1.05 * (whole + rounded)
}

/// A value as it is stored.
trait Stored {
    type Bytes: AnyBitPattern;

    /// The values of rows, which are whole.
    #[inline(always)]
    fn split(bytes: &[u8]) -> &[Self::Bytes] {
        pulp::bytemuck::cast_slice(bytes)
    }

    fn value(bytes: Self::Bytes) -> f32;

    /// As a whole number, see [`Block`].
    #[inline(always)]
    fn whole(bytes: Self::Bytes) -> i16 {
        whole(Self::value(bytes))
    }
}

struct Full;
struct Half;
struct Byte;

impl Stored for Full {
    type Bytes = [u8; 4];

    #[inline(always)]
    fn value(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

impl Stored for Half {
    type Bytes = [u8; 2];

    /// Of numbers that are finite, by a multiplication that vectorises: the exponent is moved to that of `f32`, whose bias is
    /// larger by 112. Numbers below the normal ones come out right because the product is normal.
    #[inline(always)]
    fn value(bytes: [u8; 2]) -> f32 {
        let bits = u32::from(u16::from_le_bytes(bytes));
        let size = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
        f32::from_bits(size.to_bits() | (bits & 0x8000) << 16)
    }
}

impl Stored for Byte {
    type Bytes = u8;

    #[inline(always)]
    fn value(byte: u8) -> f32 {
        f32::from(byte.cast_signed())
    }

    #[inline(always)]
    fn whole(byte: u8) -> i16 {
        i16::from(byte.cast_signed())
    }
}

/// Brings rows of a stretch, from the one of that number on, to whole numbers.
struct Widen<'a>(&'a Stretch<'a>, usize, &'a mut Block);

impl NullaryFnOnce for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.0.values.precision {
            Precision::F32 => self.all::<Full>(),
            Precision::F16 => self.all::<Half>(),
            Precision::Int8 => self.all::<Byte>(),
        }
    }
}

impl Widen<'_> {
    #[inline(always)]
    fn all<S: Stored>(self) {
        let Self(stretch, first, block) = self;
        let values = stretch.values;
        let (start, rows) = (stretch.start + first, ROWS.min(stretch.rows - first));
        let stored = S::split(values.rows(start, rows));
        let worth = (start..start + rows).map(|row| values.worth(row));
        block.fill(first, stored, values.width, |value| S::whole(value), worth);
    }
}

/// The products of rows with a query, as whole numbers.
struct Products<'a> {
    stretch: &'a Stretch<'a>,
    query: &'a [i16],
    to: &'a mut [i32],
}

impl NullaryFnOnce for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        match self.stretch.values.precision {
            Precision::F32 => self.all::<Full>(),
            Precision::F16 => self.all::<Half>(),
            Precision::Int8 => self.all::<Byte>(),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn all<S: Stored>(self) {
        let stretch = self.stretch;
        let stored = S::split(stretch.values.rows(stretch.start, stretch.rows));
        let width = self.query.len();
        for row in in_streams(stretch.rows) {
            let mut sum = 0i32;
            for (&value, &query) in stored[row * width..(row + 1) * width]
                .iter()
                .zip(self.query)
            {
                sum = sum.wrapping_add(i32::from(S::whole(value)) * i32::from(query));
            }
            self.to[row] = sum;
        }
    }
}

/// The cosines of anchors with a query.
struct Cosines<'a, A> {
    stretches: &'a [Stretch<'a>],
    query: &'a [f32],
    /// Where the cosine is written, and the anchor's number.
    anchors: A,
    to: &'a mut [f32],
}

impl<A: Iterator<Item = (usize, usize)>> WithSimd for Cosines<'_, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut row = vec![0.0; self.query.len()];
        for (to, anchor) in self.anchors {
            let behind = self.stretches.partition_point(|one| one.anchor <= anchor);
            let stretch = &self.stretches[behind - 1];
            let (values, number) = (stretch.values, stretch.start + anchor - stretch.anchor);
            let stored = values.rows(number, 1);
            let scale = match values.precision {
                Precision::F32 => read::<Full>(&mut row, stored, 1.0),
                Precision::F16 => read::<Half>(&mut row, stored, 1.0),
                Precision::Int8 => read::<Byte>(&mut row, stored, values.scale(number)),
            };
            self.to[to] = product(simd, &row, self.query) * scale;
        }
    }
}

/// A row as it is stored, but for the scale, which is returned.
#[inline(always)]
fn read<S: Stored>(row: &mut [f32], stored: &[u8], scale: f32) -> f32 {
    for (to, &value) in row.iter_mut().zip(S::split(stored)) {
        *to = S::value(value);
    }
    scale
}

/// The dot product, of [`SUMS`] partial sums; multiplications and additions are not fused.
#[inline(always)]
fn product<D: Simd>(simd: D, row: &[f32], query: &[f32]) -> f32 {
    let registers = SUMS / D::F32_LANES;
    let mut sums = [simd.splat_f32s(0.0); SUMS];
    let (rows, last_row) = row.as_chunks::<SUMS>();
    let (queries, last_query) = query.as_chunks::<SUMS>();
    for (row, query) in rows.iter().zip(queries) {
        let (row, _) = D::as_simd_f32s(row);
        let (query, _) = D::as_simd_f32s(query);
        for number in 0..registers {
            let products = simd.mul_f32s(row[number], query[number]);
            sums[number] = simd.add_f32s(sums[number], products);
        }
    }
    let mut partial = [0.0f32; SUMS];
    let (to, _) = D::as_mut_simd_f32s(&mut partial);
    to.copy_from_slice(&sums[..registers]);
    for (sum, (row, query)) in partial.iter_mut().zip(last_row.iter().zip(last_query)) {
        *sum += row * query;
    }
    let mut total = 0.0;
    for lane in 0..SUMS / 4 {
        let quarter = |number: usize| partial[number * SUMS / 4 + lane];
        total += (quarter(0) + quarter(1)) + (quarter(2) + quarter(3));
    }
    total
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    #[test]
    fn halves_that_are_finite_are_read_as_they_are() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            if half.is_finite() {
                let read = Half::value(bits.to_le_bytes());
                assert_eq!(read.to_bits(), half.to_f32().to_bits(), "{bits:#x}");
            }
        }
    }
}
