//! Inverse transforms of a block into 4 by 4, 2 by 2 or 1 sample, as libjpeg makes smaller pictures: the
//! transform of 8 by 8 whose samples are averaged, with the terms left out that hardly count.
//!
//! Columns first, in lanes that saturate to 16 bits between the passes, as in libjpeg-turbo's vector code;
//! constants with [`BITS`] fractional bits.

use std::array::from_fn;

use super::transform::{BITS, C0_765, C0_899, C1_847, C2_562, KEPT, dequantised, descale, limit};

/// Constants by their first digits: `C1_061` is 1.061594337.
pub(super) const C0_211: i32 = 1730;
pub(super) const C0_509: i32 = 4176;
pub(super) const C0_601: i32 = 4926;
const C0_720: i32 = 5906;
const C0_850: i32 = 6967;
pub(super) const C1_061: i32 = 8697;
const C1_272: i32 = 10_426;
pub(super) const C1_451: i32 = 11_893;
pub(super) const C2_172: i32 = 17_799;
const C3_624: i32 = 29_692;

/// Writes the samples of a block to `out`, whose rows are `stride` long, a multiple of four.
#[inline(always)]
pub(super) fn inverse_4x4(
    coefficients: &[i16; 64],
    quantisation: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let rows = dequantised(coefficients, quantisation);
    let rows = four::<8, { BITS - KEPT + 1 }>(&rows);
    let columns = from_fn(|x| rows.map(|row| row[x]));
    let columns = four::<4, { BITS + KEPT + 3 + 1 }>(&columns);
    let (out, _) = out.as_chunks_mut::<4>();
    for y in 0..4 {
        out[y * stride / 4] = columns.map(|column| limit(column[y]));
    }
}

/// The same for 2 by 2 samples; `stride` is even.
#[inline(always)]
pub(super) fn inverse_2x2(
    coefficients: &[i16; 64],
    quantisation: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    let rows = dequantised(coefficients, quantisation);
    let rows = two::<8, { BITS - KEPT + 2 }>(&rows);
    let columns = from_fn(|x| rows.map(|row| row[x]));
    let columns = two::<2, { BITS + KEPT + 3 + 2 }>(&columns);
    let (out, _) = out.as_chunks_mut::<2>();
    for y in 0..2 {
        out[y * stride / 2] = columns.map(|column| limit(column[y]));
    }
}

/// The same for one sample. Damaged files may hold values far out of range, which wrap as in libjpeg.
#[inline(always)]
pub(super) fn inverse_1x1(coefficients: &[i16; 64], quantisation: &[u16; 64], out: &mut [u8]) {
    let dc = i32::from(coefficients[0]) * i32::from(quantisation[0] as i16);
    let value = ((dc + 4) >> 3) & 1023;
    let around_zero = if value >= 512 { value - 1024 } else { value };
    out[0] = limit(around_zero as i16);
}

/// Four rows of eight; the fifth does not count.
#[inline(always)]
fn four<const LANES: usize, const SHIFT: u32>(v: &[[i16; LANES]; 8]) -> [[i16; LANES]; 4] {
    let mut out = [[0; LANES]; 4];
    for lane in 0..LANES {
        let t0 = i32::from(v[0][lane]) << (BITS + 1);
        let t2 = dot(v, lane, [(2, C1_847), (6, -C0_765)]);
        let (t10, t12) = (t0.wrapping_add(t2), t0.wrapping_sub(t2));
        let o0 = dot(
            v,
            lane,
            [(7, -C0_211), (5, C1_451), (3, -C2_172), (1, C1_061)],
        );
        let o2 = dot(
            v,
            lane,
            [(7, -C0_509), (5, -C0_601), (3, C0_899), (1, C2_562)],
        );
        out[0][lane] = descale(t10.wrapping_add(o2), SHIFT);
        out[1][lane] = descale(t12.wrapping_add(o0), SHIFT);
        out[2][lane] = descale(t12.wrapping_sub(o0), SHIFT);
        out[3][lane] = descale(t10.wrapping_sub(o2), SHIFT);
    }
    out
}

/// Two rows of eight; the third, fifth and seventh do not count.
#[inline(always)]
fn two<const LANES: usize, const SHIFT: u32>(v: &[[i16; LANES]; 8]) -> [[i16; LANES]; 2] {
    let mut out = [[0; LANES]; 2];
    for lane in 0..LANES {
        let even = i32::from(v[0][lane]) << (BITS + 2);
        let terms = [(7, -C0_720), (5, C0_850), (3, -C1_272), (1, C3_624)];
        let odd = dot(v, lane, terms);
        out[0][lane] = descale(even.wrapping_add(odd), SHIFT);
        out[1][lane] = descale(even.wrapping_sub(odd), SHIFT);
    }
    out
}

/// A sum of rows, each times a constant.
#[inline(always)]
fn dot<const LANES: usize, const TERMS: usize>(
    v: &[[i16; LANES]; 8],
    lane: usize,
    terms: [(usize, i32); TERMS],
) -> i32 {
    terms
        .map(|(row, times)| i32::from(v[row][lane]).wrapping_mul(times))
        .into_iter()
        .fold(0, i32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with a step from the left to the right half, 64 and 192, by the exact transform.
    const STEP: [(usize, i16); 5] = [(0, 0), (1, -464), (3, 163), (5, -109), (7, 92)];

    fn reduced(side: usize) -> Vec<u8> {
        let mut coefficients = [0; 64];
        for (at, value) in STEP {
            coefficients[at] = value;
        }
        let mut out = vec![0; side * side];
        match side {
            4 => inverse_4x4(&coefficients, &[1; 64], &mut out, 4),
            2 => inverse_2x2(&coefficients, &[1; 64], &mut out, 2),
            _ => inverse_1x1(&coefficients, &[1; 64], &mut out),
        }
        out
    }

    #[test]
    fn samples_are_means_of_the_block() {
        assert_eq!(reduced(1), [128]);
        for side in [2, 4] {
            for row in reduced(side).chunks(side) {
                let (left, right) = row.split_at(side / 2);
                assert!(left.iter().all(|v| v.abs_diff(64) <= 3), "{row:?}");
                assert!(right.iter().all(|v| v.abs_diff(192) <= 3), "{row:?}");
            }
        }
    }

    #[test]
    fn single_samples_wrap_far_out_of_range() {
        let sample = |dc: i16| {
            let (mut coefficients, mut out) = ([0; 64], [0]);
            coefficients[0] = dc;
            inverse_1x1(&coefficients, &[8; 64], &mut out);
            out[0]
        };
        let found = [-129, -128, 0, 127, 128, 511, 512, 896].map(sample);
        assert_eq!(found, [0, 0, 128, 255, 255, 255, 0, 0]);
        assert_eq!(sample(1023), 127);
    }
}
