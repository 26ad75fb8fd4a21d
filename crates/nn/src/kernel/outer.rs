//! Sums of outer products, which gradients of small weights are.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::rows::{Pieces, Room, Rows};
use super::tiles::{Aligned, VECTORS, balanced, most_rows, with_count};

/// Elements of rows that are brought together in [`outer`]: they stay in the nearer caches.
const OUTER_ELEMENTS: usize = 1 << 15;

/// The sum over rows of what two of them make, each element of the one times each of the other: `bᵀ a`, of the rows `rows` of `a`,
/// `width` elements each, and as many of `b`, `columns` each. Returns `[columns, width]`.
///
/// The sums are taken through memory after some rows, so that they should fit into a cache: this is for gradients of small
/// weights, for which general products spend most of their time on bringing both sides into order.
pub(crate) fn outer(
    a: &impl Rows,
    rows: Range<usize>,
    width: usize,
    b: &[f32],
    columns: usize,
) -> Vec<f32> {
    let mut out = vec![0.0f32; columns * width];
    if !out.is_empty() {
        Arch::new().dispatch(Outer {
            out: &mut out,
            a,
            rows,
            width,
            b,
            columns,
        });
    }
    out
}

struct Outer<'o, 'a, R> {
    out: &'o mut [f32],
    a: &'a R,
    rows: Range<usize>,
    width: usize,
    b: &'a [f32],
    columns: usize,
}

impl<R: Rows> WithSimd for Outer<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { width, columns, .. } = self;
        let filled_up = columns.next_multiple_of(S::F32_LANES);
        let block = (OUTER_ELEMENTS / width.max(filled_up)).clamp(16, 512);
        let block = balanced(self.rows.len(), block);
        let mut room = Room::default();
        let mut factors = Aligned::zeros(block * filled_up);
        // A row for each element of a row of `a`.
        let mut sums = Aligned::zeros(width * filled_up);
        for first in self.rows.clone().step_by(block) {
            let count = block.min(self.rows.end - first);
            let start = (first - self.rows.start) * columns;
            let from = self.b[start..start + count * columns].chunks_exact(columns);
            let to = factors.as_mut_slice().chunks_exact_mut(filled_up);
            for (to, from) in to.zip(from) {
                to[..columns].copy_from_slice(from);
            }
            let factors = &factors.as_slice()[..count * filled_up];
            let pieces = self.a.pieces(first..first + count, width, &mut room);
            let tile = balanced(pieces.len, most_rows(simd, VECTORS * S::F32_LANES));
            let sums = sums.as_mut_slice().chunks_mut(pieces.len * filled_up);
            for (number, sums) in sums.enumerate() {
                for (part, sums) in sums.chunks_mut(tile * filled_up).enumerate() {
                    let from = number * pieces.stride + part * tile;
                    with_count!(sums.len() / filled_up, ROWS => {
                        add_outer::<S, ROWS>(simd, sums, (&pieces, from), factors);
                    });
                }
            }
        }
        for (number, out) in self.out.chunks_exact_mut(width).enumerate() {
            let column = sums.as_slice()[number..].iter().step_by(filled_up);
            for (to, &from) in out.iter_mut().zip(column) {
                *to = from;
            }
        }
    }
}

/// Adds to `ROWS` rows of sums what as many elements of the rows of `seen`, the given number behind where they begin, make with
/// `factors`.
#[inline(always)]
fn add_outer<S: Simd, const ROWS: usize>(
    simd: S,
    sums: &mut [f32],
    seen: (&Pieces<'_>, usize),
    factors: &[f32],
) {
    let row = sums.len() / ROWS / S::F32_LANES;
    let (sums, _) = S::as_mut_simd_f32s(sums);
    let (factors, _) = S::as_simd_f32s(factors);
    let mut done = 0;
    while done + VECTORS <= row {
        add_outer_vectors::<S, ROWS, VECTORS>(simd, sums, seen, factors, (done, row));
        done += VECTORS;
    }
    if done < row {
        add_outer_vectors::<S, ROWS, 1>(simd, sums, seen, factors, (done, row));
    }
}

#[inline(always)]
fn add_outer_vectors<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [S::f32s],
    (pieces, behind): (&Pieces<'_>, usize),
    factors: &[S::f32s],
    (from, row): (usize, usize),
) {
    let mut added = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    let elements = &pieces.elements[behind..];
    for (&start, factors) in pieces.starts.iter().zip(factors.chunks_exact(row)) {
        let (Some(seen), Some(factors)) = (
            elements[start..].first_chunk::<ROWS>(),
            factors[from..].first_chunk::<VECTORS>(),
        ) else {
            return;
        };
        for (added, &seen) in added.iter_mut().zip(seen) {
            let seen = simd.splat_f32s(seen);
            for (added, &factor) in added.iter_mut().zip(factors) {
                *added = simd.mul_add_f32s(seen, factor, *added);
            }
        }
    }
    for (sums, added) in sums.chunks_exact_mut(row).zip(added) {
        for (sum, added) in sums[from..].iter_mut().zip(added) {
            *sum = simd.add_f32s(*sum, added);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Matrix;
    use super::*;

    /// The same numbers in every run.
    fn wave(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    fn matrix(elements: &[f32], stride: usize) -> Matrix<'_> {
        Matrix { elements, stride }
    }

    #[test]
    fn outer_products_are_summed_over_rows() {
        for (rows, width, columns) in [
            (1, 1, 1),
            (7, 5, 3),
            (600, 147, 16),
            (90, 13, 40),
            (33, 600, 33),
        ] {
            let (a, b) = (wave((rows + 2) * width, 0.37), wave(rows * columns, 0.73));
            // Not from the first row on.
            let found = outer(&matrix(&a, width), 2..rows + 2, width, &b, columns);
            for (column, found) in found.chunks_exact(width).enumerate() {
                for (element, &found) in found.iter().enumerate() {
                    let products = (0..rows).map(|row| {
                        f64::from(a[(row + 2) * width + element])
                            * f64::from(b[row * columns + column])
                    });
                    let exact: f64 = products.sum();
                    let error = (f64::from(found) - exact).abs();
                    assert!(error < 1e-4, "{rows} {width} {columns}: {found} {exact}");
                }
            }
        }
        assert_eq!(outer(&matrix(&[], 4), 0..0, 4, &[], 2), [0.0; 8]);
    }
}
