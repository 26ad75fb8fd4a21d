//! `INTER_CUBIC`: four taps of the cubic convolution kernel with a = -0.75, in two arithmetics.

use super::axis::{Axis, round_u8};
use super::taps::{self, Taps, drop_22_bits, quantise};
use crate::Pixels;

/// Whose arithmetic a cubic resize follows. They differ by one level on about 4 % of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CubicPath {
    /// OpenCV's own code with 11-bit weights: builds without Intel IPP, and every build where the source
    /// has two channels or a side of fewer than four pixels.
    Portable,
    /// Intel IPP, which the wheels for x86 call: positions in double precision, weights not cut to 11
    /// bits, everything else in single precision. The library's own order of additions is not known:
    /// about 1 in 50 000 bytes of noise differs by a level, and up to 1 in 100 on patterns that are
    /// all ties.
    Ipp,
}

/// Resizes pixels of `C` channels.
pub(super) fn resize<const C: usize>(
    pixels: &Pixels,
    x: Axis,
    y: Axis,
    path: CubicPath,
) -> Vec<u8> {
    if path == CubicPath::Portable || C == 2 || x.source.min(y.source) < 4 {
        let columns = Taps::centred(x, |fraction| quantise(kernel(fraction)));
        let rows = Taps::centred(y, |fraction| quantise(kernel(fraction)));
        return taps::resize::<i32, 4, C>(pixels, &columns, &rows, blend_fixed);
    }
    let exact = |axis: Axis| {
        Taps::new(axis, |i| {
            let position = axis.centre(i);
            let pixel = position.floor();
            (pixel, kernel((position - pixel) as f32))
        })
    };
    taps::resize::<f32, 4, C>(pixels, &exact(x), &exact(y), blend_float)
}

/// Blocks of eight bytes are summed in single precision, the rest of a row in integers: they round
/// ties differently.
fn blend_fixed(weights: [i32; 4], rows: [&[i32]; 4], out: &mut [u8]) {
    const SCALE: f32 = 1.0 / (1 << 22) as f32;
    let [a, b, c, d] = rows;
    let floats = weights.map(|weight| weight as f32 * SCALE);
    let blocks = out.len() - out.len() % 8;
    for (i, out) in out.iter_mut().enumerate().take(blocks) {
        let sum = c[i] as f32 * floats[2] + d[i] as f32 * floats[3];
        let sum = b[i] as f32 * floats[1] + sum;
        *out = round_u8(a[i] as f32 * floats[0] + sum);
    }
    for (i, out) in out.iter_mut().enumerate().skip(blocks) {
        let [wa, wb, wc, wd] = weights;
        *out = drop_22_bits(a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd);
    }
}

fn blend_float(weights: [f32; 4], rows: [&[f32]; 4], out: &mut [u8]) {
    let [a, b, c, d] = rows;
    let [wa, wb, wc, wd] = weights;
    for (i, out) in out.iter_mut().enumerate() {
        *out = round_u8(a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd);
    }
}

/// Weights of the pixels at -1, 0, 1 and 2 for a position at `x` of 0 to 1, in OpenCV's order of
/// operations; the last one is what the others leave of 1.
fn kernel(x: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let far = |x: f32| ((A * (x + 1.0) - 5.0 * A) * (x + 1.0) + 8.0 * A) * (x + 1.0) - 4.0 * A;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let (c0, c1, c2) = (far(x), near(x), near(1.0 - x));
    [c0, c1, c2, 1.0 - c0 - c1 - c2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_cubic_weights_fit_32_bits() {
        crate::resize::opencv::taps::tests::assert_sums_fit(|x| quantise(kernel(x)));
    }

    #[test]
    fn the_kernel_interpolates() {
        assert_eq!(quantise(kernel(0.0)), [0, 2048, 0, 0]);
        assert_eq!(quantise(kernel(0.5)), [-192, 1216, 1216, -192]);
    }
}
