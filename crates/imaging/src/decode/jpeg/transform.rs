//! Dequantisation and the accurate integer inverse cosine transform ("islow") of libjpeg: columns first,
//! constants with 13 fractional bits, two more bits kept between the passes.
//!
//! After Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications",
//! 1989. The passes work on eight columns or rows at once, one in each lane.

/// Fractional bits of the constants.
const BITS: u32 = 13;
/// Bits kept between the passes.
const KEPT: u32 = 2;

type Lanes = [i32; 8];

/// Writes the eight rows of eight samples of a block to `out`, whose rows are `stride` long.
///
/// `coefficients` and `table` are in rows of eight; `last` is the last coefficient in zigzag order that
/// is not zero.
pub(super) fn inverse(
    coefficients: &[i16; 64],
    table: &[u16; 64],
    last: usize,
    out: &mut [u8],
    stride: usize,
) {
    if last == 0 {
        let dc = i32::from(coefficients[0]).wrapping_mul(i32::from(table[0])) << KEPT;
        let sample = limit(descale(dc, KEPT + 3));
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(sample);
        }
        return;
    }
    let mut rows: [Lanes; 8] = std::array::from_fn(|y| {
        std::array::from_fn(|x| {
            let at = y * 8 + x;
            i32::from(coefficients[at]).wrapping_mul(i32::from(table[at]))
        })
    });
    pass(&mut rows, BITS - KEPT);
    let mut columns = transposed(&rows);
    pass(&mut columns, BITS + KEPT + 3);
    for (row, out) in transposed(&columns).iter().zip(out.chunks_mut(stride)) {
        for (out, &sample) in out[..8].iter_mut().zip(row) {
            *out = limit(sample);
        }
    }
}

/// One pass over eight lanes; the results have `shift` fractional bits fewer than the sums.
#[inline]
fn pass(v: &mut [Lanes; 8], shift: u32) {
    // Even part.
    let z1 = times(&plus(&v[2], &v[6]), 4433);
    let t2 = plus(&z1, &times(&v[6], -15137));
    let t3 = plus(&z1, &times(&v[2], 6270));
    let t0 = times(&plus(&v[0], &v[4]), 1 << BITS);
    let t1 = times(&minus(&v[0], &v[4]), 1 << BITS);
    let even = [plus(&t0, &t3), plus(&t1, &t2), minus(&t1, &t2), minus(&t0, &t3)];

    // Odd part.
    let z1 = times(&plus(&v[7], &v[1]), -7373);
    let z2 = times(&plus(&v[5], &v[3]), -20995);
    let z3 = plus(&v[7], &v[3]);
    let z4 = plus(&v[5], &v[1]);
    let z5 = times(&plus(&z3, &z4), 9633);
    let z3 = plus(&times(&z3, -16069), &z5);
    let z4 = plus(&times(&z4, -3196), &z5);
    let odd = [
        plus(&times(&v[1], 12299), &plus(&z1, &z4)),
        plus(&times(&v[3], 25172), &plus(&z2, &z3)),
        plus(&times(&v[5], 16819), &plus(&z2, &z4)),
        plus(&times(&v[7], 2446), &plus(&z1, &z3)),
    ];

    for (i, (even, odd)) in even.iter().zip(&odd).enumerate() {
        v[i] = plus(even, odd).map(|sum| descale(sum, shift));
        v[7 - i] = minus(even, odd).map(|sum| descale(sum, shift));
    }
}

#[inline]
fn plus(a: &Lanes, b: &Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_add(b[i]))
}

#[inline]
fn minus(a: &Lanes, b: &Lanes) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_sub(b[i]))
}

#[inline]
fn times(a: &Lanes, constant: i32) -> Lanes {
    std::array::from_fn(|i| a[i].wrapping_mul(constant))
}

#[inline]
fn transposed(v: &[Lanes; 8]) -> [Lanes; 8] {
    std::array::from_fn(|y| std::array::from_fn(|x| v[x][y]))
}

/// Divides by two to the `shift`, halves up.
#[inline]
fn descale(v: i32, shift: u32) -> i32 {
    v.wrapping_add(1 << (shift - 1)) >> shift
}

/// A sample from a value around zero.
#[inline]
fn limit(v: i32) -> u8 {
    v.wrapping_add(128).clamp(0, 255) as u8
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
}
