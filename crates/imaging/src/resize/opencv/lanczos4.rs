//! `INTER_LANCZOS4`: eight taps with 11-bit weights.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::axis::Axis;
use super::taps::{self, Taps, drop_22_bits, quantise};
use crate::Pixels;

/// Resizes pixels of `C` channels.
pub(super) fn resize<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    let columns = Taps::centred(x, |fraction| quantise(kernel(fraction)));
    let rows = Taps::centred(y, |fraction| quantise(kernel(fraction)));
    taps::resize::<i32, 8, C>(pixels, &columns, &rows, blend)
}

fn blend(weights: [i32; 8], rows: [&[i32]; 8], out: &mut [u8]) {
    let rows = rows.map(|row| &row[..out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        let mut sum = 0;
        for (row, weight) in rows.iter().zip(weights) {
            sum += row[i] * weight;
        }
        *out = drop_22_bits(sum);
    }
}

/// Weights of the pixels at -3 to 4 for a position at `x` of 0 to 1: `sinc(d) sinc(d / 4)` up to a
/// factor, by one sine and one cosine, since the angles are an eighth of a turn apart.
fn kernel(x: f32) -> [f32; 8] {
    const R: f64 = FRAC_1_SQRT_2;
    const TURNS: [(f64, f64); 8] = [
        (1.0, 0.0),
        (-R, -R),
        (0.0, 1.0),
        (R, -R),
        (-1.0, 0.0),
        (R, R),
        (0.0, -1.0),
        (-R, R),
    ];
    let first = f64::from(-(x + 3.0)) * PI * 0.25;
    let (sin, cos) = first.sin_cos();
    let mut weights: [f32; 8] = std::array::from_fn(|i| {
        let distance = x + 3.0 - i as f32;
        if distance.abs() < 1e-6 {
            // On the pixel: this weight drowns the others.
            return 1e30;
        }
        let angle = f64::from(-distance) * PI * 0.25;
        let (c, d) = TURNS[i];
        ((c * sin + d * cos) / (angle * angle)) as f32
    });
    let factor = 1.0 / weights.iter().sum::<f32>();
    for weight in &mut weights {
        *weight *= factor;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_lanczos_weights_fit_32_bits() {
        crate::resize::opencv::taps::tests::assert_sums_fit(|x| quantise(kernel(x)));
    }

    #[test]
    fn a_position_on_a_pixel_is_that_pixel() {
        assert_eq!(quantise(kernel(0.0)), [0, 0, 0, 2048, 0, 0, 0, 0]);
    }

    #[test]
    fn rounded_weights_are_not_brought_back_to_a_sum_of_one() {
        assert_eq!(quantise(kernel(0.5)).iter().sum::<i32>(), 2046);
    }

    #[test]
    fn weights_are_the_windowed_sinc() {
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (PI * x).sin() / (PI * x)
            }
        };
        for i in 1..64 {
            let x = i as f32 / 64.0;
            let expected: Vec<f64> = (0..8)
                .map(|k| f64::from(x) + 3.0 - f64::from(k))
                .map(|d| sinc(d) * sinc(d / 4.0))
                .collect();
            let total: f64 = expected.iter().sum();
            for (actual, expected) in kernel(x).iter().zip(expected) {
                assert!((f64::from(*actual) - expected / total).abs() < 1e-6, "{x}");
            }
        }
    }
}
