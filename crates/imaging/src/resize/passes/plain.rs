//! The two passes as simply as they can be written: what the fast ones have to equal.

use super::{FixedAxis, View, to_byte};

/// Resizes the rows of `source` into `out`, which holds as many rows of the new width.
pub(super) fn horizontal(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) {
    match source.channels {
        1 => horizontal_n::<1>(source, fixed, out),
        2 => horizontal_n::<2>(source, fixed, out),
        3 => horizontal_n::<3>(source, fixed, out),
        _ => horizontal_n::<4>(source, fixed, out),
    }
}

fn horizontal_n<const C: usize>(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) {
    let out_rows = out.chunks_exact_mut(fixed.axis.spans.len() * C);
    for (row, out_row) in source.rows().zip(out_rows) {
        let (row, _) = row.as_chunks::<C>();
        let (out_row, _) = out_row.as_chunks_mut::<C>();
        for (out, (first, weights)) in out_row.iter_mut().zip(fixed.axis.iter()) {
            let mut sums = [fixed.half(); C];
            for (pixel, &weight) in row[first..].iter().zip(weights) {
                for (sum, &v) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(i32::from(v).wrapping_mul(weight));
                }
            }
            *out = sums.map(|sum| to_byte(sum >> fixed.bits));
        }
    }
}

/// Neighbouring bytes that are summed side by side, which the compiler does in vector registers.
const BLOCK: usize = 32;

/// Resizes the columns of `source` into `out`, which holds rows of the same length.
pub(super) fn vertical(source: View<'_>, fixed: &FixedAxis, out: &mut [u8]) {
    let out_rows = out.chunks_exact_mut(source.row_len());
    for (out_row, (first, weights)) in out_rows.zip(fixed.axis.iter()) {
        for (n, block) in out_row.chunks_mut(BLOCK).enumerate() {
            let mut sums = [fixed.half(); BLOCK];
            for (y, &weight) in (first..).zip(weights) {
                for (sum, &v) in sums.iter_mut().zip(&source.row(y)[n * BLOCK..]) {
                    *sum = sum.wrapping_add(i32::from(v).wrapping_mul(weight));
                }
            }
            for (out, sum) in block.iter_mut().zip(sums) {
                *out = to_byte(sum >> fixed.bits);
            }
        }
    }
}
