//! `INTER_LINEAR`: the two pixels around a position, with 11-bit weights. It also stands in for
//! `INTER_AREA` where an axis grows, at positions of its own.

use super::axis::Axis;
use super::taps::{self, Taps, quantise};
use crate::Pixels;

/// Resizes pixels of `C` channels.
pub(super) fn resize<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    mix::<C>(pixels, x, y, centred)
}

/// What `INTER_AREA` is when an axis grows: most target pixels are copies, and only those which span
/// two source pixels are mixtures.
pub(super) fn stretch<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    mix::<C>(pixels, x, y, spanned)
}

/// `position` gives the source pixel at or before a target index, and how far behind it that is.
fn mix<const C: usize>(
    pixels: &Pixels,
    x: Axis,
    y: Axis,
    position: fn(Axis, usize) -> (f64, f32),
) -> Vec<u8> {
    let last = x.source as f64 - 1.0;
    let columns = Taps::new(x, |i| match position(x, i) {
        // Before the first or behind the last pixel there is nothing to mix. Rows do without this
        // rule: both taps are the same row there, but their weights need not sum to one.
        (pixel, _) if pixel < 0.0 => (0.0, weights(0.0)),
        (pixel, _) if pixel >= last => (last, weights(0.0)),
        (pixel, fraction) => (pixel, weights(fraction)),
    });
    let rows = Taps::new(y, |j| {
        let (pixel, fraction) = position(y, j);
        (pixel, weights(fraction))
    });
    taps::resize::<i32, 2, C>(pixels, &columns, &rows, blend)
}

fn centred(axis: Axis, target: usize) -> (f64, f32) {
    let position = axis.centre(target) as f32;
    let pixel = position.floor();
    (pixel.into(), position - pixel)
}

fn spanned(axis: Axis, target: usize) -> (f64, f32) {
    let pixel = (target as f64 * axis.scale).floor();
    let past = ((target + 1) as f64 - (pixel + 1.0) * axis.inverse) as f32;
    let fraction = if past <= 0.0 {
        0.0
    } else {
        past - past.floor()
    };
    (pixel, fraction)
}

fn weights(fraction: f32) -> [i32; 2] {
    quantise([1.0 - fraction, fraction])
}

/// Each product loses its low bits before they are added, as in OpenCV.
fn blend(weights: [i32; 2], rows: [&[i32]; 2], out: &mut [u8]) {
    let [upper, lower] = weights;
    for ((out, &a), &b) in out.iter_mut().zip(rows[0]).zip(rows[1]) {
        let sum = (((a >> 4) * upper) >> 16) + (((b >> 4) * lower) >> 16);
        *out = ((sum + 2) >> 2) as u8;
    }
}
