//! Dequantisation and the accurate integer inverse cosine transform ("islow") of libjpeg: columns first,
//! constants with 13 fractional bits, two more bits kept between the passes.
//!
//! After Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications",
//! 1989. The passes work on eight columns or rows at once, one in each lane; samples have 16 bits and
//! saturate between the passes, as in libjpeg-turbo's vector code, which matters for damaged files only.

/// Fractional bits of the constants.
pub(super) const BITS: u32 = 13;
/// Bits kept between the passes.
pub(super) const KEPT: u32 = 2;

/// Constants by their first digits: `C1_175` is 1.175875602.
pub(super) const C0_298: i32 = 2446;
pub(super) const C0_390: i32 = 3196;
pub(super) const C0_541: i32 = 4433;
pub(super) const C0_765: i32 = 6270;
pub(super) const C0_899: i32 = 7373;
pub(super) const C1_175: i32 = 9633;
pub(super) const C1_501: i32 = 12_299;
pub(super) const C1_847: i32 = 15_137;
pub(super) const C1_961: i32 = 16_069;
pub(super) const C2_053: i32 = 16_819;
pub(super) const C2_562: i32 = 20_995;
pub(super) const C3_072: i32 = 25_172;

/// One row or column of eight samples, or one sample of each of eight.
pub(super) type Lanes = [i16; 8];

/// Writes the eight rows of eight samples of a block to `out`, whose rows are `stride` long, a multiple of
/// eight.
///
/// `coefficients` and `table` are in rows of eight; `last` is the last coefficient in zigzag order that
/// is not zero.
#[inline(always)]
pub(super) fn inverse(
    coefficients: &[i16; 64],
    table: &[u16; 64],
    last: usize,
    out: &mut [u8],
    stride: usize,
) {
    if last == 0 {
        return flat(coefficients[0], table[0], out, stride);
    }
    let mut lanes = dequantised(coefficients, table);
    pass::<{ BITS - KEPT }>(&mut lanes);
    transpose(&mut lanes);
    pass::<{ BITS + KEPT + 3 }>(&mut lanes);
    transpose(&mut lanes);
    store(lanes.map(|row| row.map(limit)), out, stride);
}

/// Coefficients times the steps of the quantisation table, in rows of eight.
#[inline(always)]
pub(super) fn dequantised(coefficients: &[i16; 64], table: &[u16; 64]) -> [Lanes; 8] {
    let (rows, _) = coefficients.as_chunks::<8>();
    let (steps, _) = table.as_chunks::<8>();
    std::array::from_fn(|y| std::array::from_fn(|x| rows[y][x].wrapping_mul(steps[y][x] as i16)))
}

/// A block of which only the DC value is not zero.
#[inline(always)]
pub(super) fn flat(dc: i16, step: u16, out: &mut [u8], stride: usize) {
    let dc = dc.wrapping_mul(step as i16) << KEPT;
    let sample = limit(descale(i32::from(dc) << BITS, BITS + KEPT + 3));
    store([[sample; 8]; 8], out, stride);
}

/// Writes rows to `out`; `stride` is a multiple of eight.
#[inline(always)]
pub(super) fn store(rows: [[u8; 8]; 8], out: &mut [u8], stride: usize) {
    let (out, _) = out.as_chunks_mut::<8>();
    for (y, row) in rows.into_iter().enumerate() {
        out[y * stride / 8] = row;
    }
}

/// One pass over eight lanes; the results have `SHIFT` fractional bits fewer than the sums.
///
/// Products are grouped in pairs of one sample each, so that every constant fits 16 bits; the sums are
/// those of the published algorithm.
#[inline(always)]
fn pass<const SHIFT: u32>(v: &mut [Lanes; 8]) {
    let source = *v;
    for lane in 0..8 {
        let at = |i: usize| source[i][lane];
        // Even part.
        let (t2, t3) = (
            pair(at(2), C0_541, at(6), C0_541 - C1_847),
            pair(at(2), C0_541 + C0_765, at(6), C0_541),
        );
        let t0 = i32::from(at(0).wrapping_add(at(4))) << BITS;
        let t1 = i32::from(at(0).wrapping_sub(at(4))) << BITS;

        // Odd part.
        let z3 = at(7).wrapping_add(at(3));
        let z4 = at(5).wrapping_add(at(1));
        let z3_sum = pair(z3, C1_175 - C1_961, z4, C1_175);
        let z4_sum = pair(z3, C1_175, z4, C1_175 - C0_390);
        let o0 = pair(at(7), C0_298 - C0_899, at(1), -C0_899).wrapping_add(z3_sum);
        let o1 = pair(at(5), C2_053 - C2_562, at(3), -C2_562).wrapping_add(z4_sum);
        let o2 = pair(at(5), -C2_562, at(3), C3_072 - C2_562).wrapping_add(z3_sum);
        let o3 = pair(at(7), -C0_899, at(1), C1_501 - C0_899).wrapping_add(z4_sum);

        let evens = [
            t0.wrapping_add(t3),
            t1.wrapping_add(t2),
            t1.wrapping_sub(t2),
            t0.wrapping_sub(t3),
        ];
        for (i, (even, odd)) in evens.into_iter().zip([o3, o2, o1, o0]).enumerate() {
            v[i][lane] = descale(even.wrapping_add(odd), SHIFT);
            v[7 - i][lane] = descale(even.wrapping_sub(odd), SHIFT);
        }
    }
}

#[inline(always)]
fn pair(a: i16, a_times: i32, b: i16, b_times: i32) -> i32 {
    let (a, b) = (i32::from(a), i32::from(b));
    (a.wrapping_mul(a_times)).wrapping_add(b.wrapping_mul(b_times))
}

/// Rows become columns: three rounds in which the upper rows are interleaved with the lower ones.
#[inline(always)]
fn transpose(v: &mut [Lanes; 8]) {
    for _ in 0..3 {
        let from = *v;
        let (upper, lower) = from.as_flattened().split_at(32);
        let out = v.as_flattened_mut();
        for (pair, (&a, &b)) in out
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(upper.iter().zip(lower))
        {
            *pair = [a, b];
        }
    }
}

/// Divides by two to the `shift`, halves up, and saturates to 16 bits.
#[inline(always)]
pub(super) fn descale(v: i32, shift: u32) -> i16 {
    let v = v.wrapping_add(1 << (shift - 1)) >> shift;
    v.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// A sample from a value around zero.
#[inline(always)]
pub(super) fn limit(v: i16) -> u8 {
    (v.clamp(-128, 127) + 128) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(coefficients: &[i16; 64], last: usize) -> [u8; 64] {
        let mut out = [0; 64];
        inverse(coefficients, &[1; 64], last, &mut out, 8);
        out
    }

    #[test]
    fn a_block_without_detail_is_one_colour_both_ways() {
        for dc in [-3000, -1024, -9, -4, 0, 3, 4, 5, 1016, 3000] {
            let mut coefficients = [0; 64];
            coefficients[0] = dc;
            let short = whole(&coefficients, 0);
            assert_eq!(short, whole(&coefficients, 63), "{dc}");
            let exact = (f64::from(dc) / 8.0 + 128.0).clamp(0.0, 255.0);
            assert!((f64::from(short[0]) - exact).abs() <= 0.5, "{dc}");
        }
    }

    #[test]
    fn the_transform_is_near_the_exact_one() {
        let mut coefficients = [0i16; 64];
        for (i, c) in coefficients.iter_mut().enumerate() {
            *c = ((i * i * 31 + i * 17) % 61) as i16 - 30;
        }
        let out = whole(&coefficients, 63);
        for y in 0..8 {
            for x in 0..8 {
                let mut sum = 0.0;
                for v in 0..8 {
                    for u in 0..8 {
                        let scale = |n| if n == 0 { 0.5f64.sqrt() } else { 1.0 };
                        let angle = |at: usize, n: usize| {
                            ((2 * at + 1) as f64 * n as f64 * std::f64::consts::PI / 16.0).cos()
                        };
                        let c = f64::from(coefficients[v * 8 + u]);
                        sum += scale(u) * scale(v) * c * angle(x, u) * angle(y, v) / 4.0;
                    }
                }
                let exact = (sum + 128.0).clamp(0.0, 255.0);
                let error = (f64::from(out[y * 8 + x]) - exact).abs();
                assert!(error < 0.6, "{x}, {y}: {error}");
            }
        }
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let mut lanes: [Lanes; 8] =
            std::array::from_fn(|y| std::array::from_fn(|x| (10 * y + x) as i16));
        transpose(&mut lanes);
        for (y, row) in lanes.iter().enumerate() {
            for (x, &v) in row.iter().enumerate() {
                assert_eq!(usize::from(v.unsigned_abs()), 10 * x + y);
            }
        }
    }
}
