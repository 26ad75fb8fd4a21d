//! One-dimensional passes over interleaved bytes in fixed point, shared by Pillow and torchvision.
//!
//! `out = u8((half + sum(source * weight)) >> bits)`, in 32-bit integers that wrap like the
//! references' do. The loops are arranged for the vectoriser: the vertical pass works on blocks of
//! neighbouring bytes, the horizontal one on a fixed number of channels.

use super::weights::Axis;

/// Weights of one axis as integers with `bits` fractional bits.
#[derive(Clone, Debug)]
pub(super) struct FixedAxis {
    pub(super) axis: Axis<i32>,
    pub(super) bits: u32,
}

impl FixedAxis {
    /// The start of every sum: half of the last place.
    fn half(&self) -> i32 {
        1 << (self.bits - 1)
    }
}

/// Resizes rows of `channels` bytes a pixel; `stride` is the length of a source row in bytes.
pub(super) fn horizontal(
    source: &[u8],
    stride: usize,
    channels: usize,
    fixed: &FixedAxis,
) -> Vec<u8> {
    match channels {
        1 => horizontal_n::<1>(source, stride, fixed),
        2 => horizontal_n::<2>(source, stride, fixed),
        3 => horizontal_n::<3>(source, stride, fixed),
        _ => horizontal_n::<4>(source, stride, fixed),
    }
}

fn horizontal_n<const C: usize>(source: &[u8], stride: usize, fixed: &FixedAxis) -> Vec<u8> {
    let out_stride = fixed.axis.spans.len() * C;
    let mut out = vec![0; source.len() / stride * out_stride];
    for (row, out_row) in source
        .chunks_exact(stride)
        .zip(out.chunks_exact_mut(out_stride))
    {
        let (row, _) = row.as_chunks::<C>();
        let (out_row, _) = out_row.as_chunks_mut::<C>();
        for (out, (first, weights)) in out_row.iter_mut().zip(fixed.axis.iter()) {
            let mut sums = [fixed.half(); C];
            for (pixel, &weight) in row[first..first + weights.len()].iter().zip(weights) {
                for (sum, &v) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(i32::from(v).wrapping_mul(weight));
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = clamp(sum >> fixed.bits);
            }
        }
    }
    out
}

/// Bytes of neighbouring columns that are summed together: as many 32-bit sums as fit into vector
/// registers.
const BLOCK: usize = 32;

/// Resizes columns; `stride` is the length of a row in bytes, the same before and after.
pub(super) fn vertical(source: &[u8], stride: usize, fixed: &FixedAxis) -> Vec<u8> {
    let mut out = vec![0; fixed.axis.spans.len() * stride];
    let whole = stride / BLOCK * BLOCK;
    for (out_row, (first, weights)) in out.chunks_exact_mut(stride).zip(fixed.axis.iter()) {
        let rows = &source[first * stride..(first + weights.len()) * stride];
        let (blocks, rest) = out_row.split_at_mut(whole);
        for (n, block) in blocks.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let mut sums = [fixed.half(); BLOCK];
            for (row, &weight) in rows.chunks_exact(stride).zip(weights) {
                let (row, _) = row.as_chunks::<BLOCK>();
                for (sum, &v) in sums.iter_mut().zip(&row[n]) {
                    *sum = sum.wrapping_add(i32::from(v).wrapping_mul(weight));
                }
            }
            for (out, sum) in block.iter_mut().zip(sums) {
                *out = clamp(sum >> fixed.bits);
            }
        }
        for (x, out) in (whole..).zip(rest) {
            let column = rows[x..].iter().step_by(stride);
            let sum = column
                .zip(weights)
                .fold(fixed.half(), |sum, (&v, &weight)| {
                    sum.wrapping_add(i32::from(v).wrapping_mul(weight))
                });
            *out = clamp(sum >> fixed.bits);
        }
    }
    out
}

fn clamp(v: i32) -> u8 {
    v.clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves() -> FixedAxis {
        FixedAxis {
            axis: Axis {
                spans: vec![(0, 2), (1, 2)],
                taps: 3,
                weights: vec![1 << 21, 1 << 21, 99, 3 << 20, 1 << 20, 99],
            },
            bits: 22,
        }
    }

    #[test]
    fn both_passes_sum_what_the_spans_name() {
        let row = [10, 20, 41];
        assert_eq!(horizontal(&row, 3, 1, &halves()), [15, 25]);
        assert_eq!(vertical(&row, 1, &halves()), [15, 25]);
        let wide: Vec<u8> = row.iter().flat_map(|&v| [v; 70]).collect();
        assert_eq!(
            vertical(&wide, 70, &halves()),
            [[15; 70], [25; 70]].concat()
        );
        let rgb = [10, 0, 255, 20, 0, 255, 41, 0, 255];
        assert_eq!(horizontal(&rgb, 9, 3, &halves()), [15, 0, 255, 25, 0, 255]);
    }
}
