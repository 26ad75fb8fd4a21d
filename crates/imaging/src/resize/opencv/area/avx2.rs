//! Colour pixels, four source rows at a time: a register holds a pixel of two rows, and each weight is read once for both
//! registers. The additions are those of [`super::fractional`] in the same order, so the bytes are the same.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into the function that pulp calls is compiled for its instructions"
)]

use std::arch::x86_64::__m256;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use super::Cover;
use crate::Pixels;
use crate::resize::opencv::axis::Axis;
use crate::resize::passes::array_at;

/// Channels of a pixel, and the floats of which its sum is one more: the last one is of the next pixel, and dropped.
const CHANNELS: usize = 3;
const LANES: usize = 4;
/// Rows that are summed together.
const ROWS: usize = 4;
/// Target pixels that are rounded together, and bytes that are written then, of which the last are of no pixel.
const ROUNDED: usize = 4;
const WRITTEN: usize = 16;

/// [`super::fractional`] of colour pixels; `None` without AVX2.
pub(super) fn shrink(pixels: &Pixels, x: Axis, y: Axis) -> Option<Vec<u8>> {
    let simd = V3::try_new()?;
    Some(simd.vectorize(Shrink { simd, pixels, x, y }))
}

struct Shrink<'a> {
    simd: V3,
    pixels: &'a Pixels,
    x: Axis,
    y: Axis,
}

impl NullaryFnOnce for Shrink<'_> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn call(self) -> Vec<u8> {
        let Self { simd, pixels, x, y } = self;
        let (columns, rows) = (Cover::new(x), Cover::new(y));
        let (data, stride) = (pixels.data(), pixels.stride());
        let mut last = data[data.len() - stride..].to_vec();
        last.resize(stride + LANES - CHANNELS, 0);
        let row = |y: usize| {
            let is_last = y + 1 >= pixels.height() as usize;
            let row = (!is_last).then(|| &data[y * stride..][..last.len()]);
            row.unwrap_or(&last)
        };
        let mut sums: [Vec<[f32; LANES]>; ROWS] =
            std::array::from_fn(|_| vec![[0.0; LANES]; x.target]);
        let mut totals = vec![[0f32; LANES]; x.target.next_multiple_of(ROUNDED)];
        let target_stride = CHANNELS * x.target;
        let mut out = vec![0; y.target * target_stride + WRITTEN];
        let mut start = None;
        for (target, (first, weights)) in rows.cells().enumerate() {
            for (k, &weight) in weights.iter().enumerate() {
                let y = first + k;
                let at = match start {
                    Some(start) if (start..start + ROWS).contains(&y) => y - start,
                    _ => {
                        let batch = std::array::from_fn(|i| row(y + i));
                        sum_rows(simd, batch, &columns, &mut sums);
                        start = Some(y);
                        0
                    }
                };
                let totals = totals[..x.target].as_flattened_mut().iter_mut();
                let sums = totals.zip(sums[at].as_flattened());
                if k == 0 {
                    sums.for_each(|(total, sum)| *total = sum * weight);
                } else {
                    sums.for_each(|(total, sum)| *total += sum * weight);
                }
            }
            round(simd, &totals, &mut out[target * target_stride..]);
        }
        out.truncate(y.target * target_stride);
        out
    }
}

/// Sums along the rows of `batch`.
#[inline(always)]
fn sum_rows(simd: V3, batch: [&[u8]; ROWS], columns: &Cover, sums: &mut [Vec<[f32; LANES]>; ROWS]) {
    let avx = simd.avx;
    let [a, b, c, d] = batch;
    let [out_a, out_b, out_c, out_d] = sums;
    let outs = out_a.iter_mut().zip(out_b).zip(out_c).zip(out_d);
    for ((first, weights), (((out_a, out_b), out_c), out_d)) in columns.cells().zip(outs) {
        let mut upper = avx._mm256_setzero_ps();
        let mut lower = avx._mm256_setzero_ps();
        for (k, &weight) in weights.iter().enumerate() {
            let at = CHANNELS * (first + k);
            let weight = avx._mm256_set1_ps(weight);
            let product = avx._mm256_mul_ps(pixels_of(simd, a, b, at), weight);
            upper = avx._mm256_add_ps(upper, product);
            let product = avx._mm256_mul_ps(pixels_of(simd, c, d, at), weight);
            lower = avx._mm256_add_ps(lower, product);
        }
        [*out_a, *out_b] = cast(upper);
        [*out_c, *out_d] = cast(lower);
    }
}

/// The pixels at `at` of two rows.
#[inline(always)]
fn pixels_of(simd: V3, one: &[u8], other: &[u8], at: usize) -> __m256 {
    let [one, other] = [one, other].map(|row| i32::from_le_bytes(*array_at::<LANES>(row, at)));
    let both = simd.sse2._mm_cvtsi32_si128(one);
    let both = simd.sse4_1._mm_insert_epi32::<1>(both, other);
    simd.avx
        ._mm256_cvtepi32_ps(simd.avx2._mm256_cvtepu8_epi32(both))
}

/// Rounds a row to even and clamps it, as [`round_u8`](crate::resize::opencv::axis::round_u8) does.
#[inline(always)]
fn round(simd: V3, totals: &[[f32; LANES]], out: &mut [u8]) {
    let V3 { avx, avx2, .. } = simd;
    // Packing works on halves of a register; this is the order of the pixels in them.
    let order = avx._mm256_setr_epi32(0, 4, 1, 5, 0, 0, 0, 0);
    let kept = simd
        .sse2
        ._mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    let (totals, _) = totals.as_chunks::<ROUNDED>();
    for (at, totals) in totals.iter().enumerate() {
        let [left, right]: [__m256; 2] = cast(*totals);
        let [left, right] = [left, right].map(|half| avx._mm256_cvtps_epi32(half));
        let words = avx2._mm256_packs_epi32(left, right);
        let bytes = avx2._mm256_packus_epi16(words, words);
        let bytes = avx2._mm256_permutevar8x32_epi32(bytes, order);
        let bytes = avx._mm256_castsi256_si128(bytes);
        let bytes: [u8; WRITTEN] = cast(simd.ssse3._mm_shuffle_epi8(bytes, kept));
        // What is written too much is written over by the next pixels, or lies in the room behind the last.
        out[CHANNELS * ROUNDED * at..][..WRITTEN].copy_from_slice(&bytes);
    }
}
