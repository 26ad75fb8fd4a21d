//! `INTER_NEAREST`: the pixel at `floor(i * scale)`.

use super::axis::Axis;
use crate::Pixels;

/// Picks pixels of `C` channels.
pub(super) fn resize<const C: usize>(pixels: &Pixels, x: Axis, y: Axis) -> Vec<u8> {
    let columns: Vec<usize> = (0..x.target).map(|i| source(x, i) * C).collect();
    let stride = pixels.stride();
    let mut data = Vec::with_capacity(x.target * y.target * C);
    for j in 0..y.target {
        let row = &pixels.data()[source(y, j) * stride..][..stride];
        for &at in &columns {
            data.extend_from_slice(&row[at..at + C]);
        }
    }
    data
}

fn source(axis: Axis, target: usize) -> usize {
    ((target as f64 * axis.scale) as usize).min(axis.source - 1)
}
