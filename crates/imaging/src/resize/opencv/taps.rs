//! Resizing with a fixed number of source pixels for each target pixel, one axis after the other.
//!
//! Taps that fall outside the image take the pixel at its edge.

use std::ops::{Add, Mul};

use super::axis::Axis;
use crate::Pixels;

/// Where the `N` taps of every target index start, and their weights.
#[derive(Debug)]
pub(super) struct Taps<T, const N: usize> {
    /// First tap of each target index; from `-N / 2` on, since taps may lie outside.
    starts: Vec<isize>,
    weights: Vec<[T; N]>,
}

impl<T, const N: usize> Taps<T, N> {
    /// Taps around the positions that `position` gives: the source pixel at or before the position,
    /// and the weights of the `N` pixels around that one.
    pub(super) fn new(axis: Axis, position: impl Fn(usize) -> (f64, [T; N])) -> Self {
        let last = axis.source as isize - 1;
        let (starts, weights) = (0..axis.target)
            .map(|i| {
                let (pixel, weights) = position(i);
                // Only an axis of more than 2^24 pixels has positions beyond these in single precision.
                let pixel = (pixel as isize).clamp(-1, last);
                (pixel - (N as isize / 2 - 1), weights)
            })
            .unzip();
        Self { starts, weights }
    }

    /// Taps around pixel centres: `weights` gets the distance of a position from the pixel before it,
    /// computed as OpenCV does, in single precision.
    pub(super) fn centred(axis: Axis, weights: impl Fn(f32) -> [T; N]) -> Self {
        Self::new(axis, |i| {
            let position = axis.centre(i) as f32;
            let pixel = position.floor();
            (pixel.into(), weights(position - pixel))
        })
    }
}

/// 11-bit weights, rounded to nearest with ties to even.
pub(super) fn quantise<const N: usize>(weights: [f32; N]) -> [i32; N] {
    weights.map(|weight| (weight * 2048.0).round_ties_even() as i32)
}

/// `(sum + half) >> 22` as a byte: two factors of 11 bits taken away again, half rounded up.
pub(super) fn drop_22_bits(sum: i32) -> u8 {
    ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
}

/// Resizes pixels of `C` channels: sums along each source row first, then `blend` makes bytes of the
/// weights and the `N` rows of sums for each target row.
pub(super) fn resize<T, const N: usize, const C: usize>(
    pixels: &Pixels,
    columns: &Taps<T, N>,
    rows: &Taps<T, N>,
    blend: impl Fn([T; N], [&[T]; N], &mut [u8]),
) -> Vec<u8>
where
    T: Copy + Default + From<u8> + Add<Output = T> + Mul<Output = T>,
{
    let stride = pixels.stride();
    let last = pixels.height() as isize - 1;
    let target = columns.starts.len() * C;
    let mut data = vec![0; target * rows.starts.len()];
    let mut padded = vec![0; stride + N * C];
    // The rows that a target row needs are among N consecutive ones: row y is kept in place y % N.
    let mut sums: [Vec<T>; N] = std::array::from_fn(|_| vec![T::default(); target]);
    let mut held = [None; N];
    for ((out, &start), weights) in data
        .chunks_exact_mut(target)
        .zip(&rows.starts)
        .zip(&rows.weights)
    {
        let needed: [usize; N] =
            std::array::from_fn(|k| (start + k as isize).clamp(0, last) as usize);
        for &y in &needed {
            if held[y % N] != Some(y) {
                pad::<N, C>(&pixels.data()[y * stride..][..stride], &mut padded);
                sum_row::<T, N, C>(&padded, columns, &mut sums[y % N]);
                held[y % N] = Some(y);
            }
        }
        blend(*weights, needed.map(|y| sums[y % N].as_slice()), out);
    }
    data
}

/// Repeats the first and last pixel `N / 2` times, so that no tap needs a test.
fn pad<const N: usize, const C: usize>(row: &[u8], padded: &mut [u8]) {
    let margin = N / 2 * C;
    padded[margin..margin + row.len()].copy_from_slice(row);
    for pixel in padded[..margin].chunks_exact_mut(C) {
        pixel.copy_from_slice(&row[..C]);
    }
    for pixel in padded[margin + row.len()..].chunks_exact_mut(C) {
        pixel.copy_from_slice(&row[row.len() - C..]);
    }
}

fn sum_row<T, const N: usize, const C: usize>(padded: &[u8], columns: &Taps<T, N>, sums: &mut [T])
where
    T: Copy + Default + From<u8> + Add<Output = T> + Mul<Output = T>,
{
    for ((out, &start), weights) in sums
        .chunks_exact_mut(C)
        .zip(&columns.starts)
        .zip(&columns.weights)
    {
        let first = (start + N as isize / 2) as usize * C;
        let mut sum = [T::default(); C];
        for (pixel, &weight) in padded[first..first + N * C].chunks_exact(C).zip(weights) {
            for (sum, &value) in sum.iter_mut().zip(pixel) {
                *sum = *sum + T::from(value) * weight;
            }
        }
        out.copy_from_slice(&sum);
    }
}

#[cfg(test)]
pub(super) mod tests {
    /// The largest sums over all images: bytes chosen so that every product has the same sign.
    pub(in super::super) fn assert_sums_fit<const N: usize>(weights: impl Fn(f32) -> [i32; N]) {
        let steps = 4096;
        for i in 0..=steps {
            let weights = weights(i as f32 / steps as f32).map(i64::from);
            let up: i64 = weights.iter().filter(|w| **w > 0).sum();
            let down: i64 = -weights.iter().filter(|w| **w < 0).sum::<i64>();
            // `up * up' + down * down'` of two axes is largest where both have the same weights.
            let largest = 255 * (up * up + down * down) + (1 << 21);
            assert!(largest <= i64::from(i32::MAX), "{weights:?}");
            assert!(255 * 2 * up * down <= i64::from(i32::MAX), "{weights:?}");
        }
    }
}
