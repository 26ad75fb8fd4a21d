//! torchvision's antialiased `resize` of tensors on a CPU: horizontal pass first, always.
//!
//! 8-bit tensors go through 16-bit weights whose precision is chosen per axis
//! ([`resize_torchvision_u8`]); float tensors, and 8-bit ones on a GPU, through single precision
//! without rounding between the passes ([`resize_torchvision_f32`]).

use sightline_core::image_spec::{Filter, Size};

use super::passes::{FixedAxis, horizontal, vertical};
use super::pillow::{ResizeError, check};
use super::weights::{Axis, axis, support};
use crate::Pixels;

/// The `v2` functional `resize` of an 8-bit tensor on a CPU, `antialias=True`. Alpha is a channel like
/// the others. Nearest is torch's `nearest-exact` (`floor((i + 0.5) * source / target)`).
pub fn resize_torchvision_u8(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
) -> Result<Pixels, ResizeError> {
    let from = pixels.size();
    check(from, size, None)?;
    if from == size {
        return Ok(pixels.clone());
    }
    let channels = pixels.channels().count();
    let data = if let Some(support) = support(filter) {
        let fixed = |source: u32, target: u32| {
            (source != target).then(|| quantise(whole_axis(filter, support, source, target)))
        };
        let across = fixed(from.width, size.width)
            .map(|across| horizontal(pixels.data(), pixels.stride(), channels, &across));
        let between = across.as_deref().unwrap_or(pixels.data());
        match fixed(from.height, size.height) {
            Some(down) => vertical(between, size.width as usize * channels, &down),
            None => between.to_vec(),
        }
    } else {
        nearest_exact(pixels, size)
    };
    Ok(
        Pixels::new(size.width, size.height, pixels.channels(), data)
            .expect("a resize fills exactly its target size"),
    )
}

/// The same resize of a float tensor; returns `height * width * channels` values of 0 to 255 (beyond
/// them where a filter overshoots), interleaved.
pub fn resize_torchvision_f32(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
) -> Result<Vec<f32>, ResizeError> {
    let from = pixels.size();
    check(from, size, None)?;
    let channels = pixels.channels().count();
    let Some(support) = support(filter) else {
        return Ok(nearest_exact(pixels, size)
            .into_iter()
            .map(f32::from)
            .collect());
    };
    let single = |source: u32, target: u32| {
        (source != target)
            .then(|| whole_axis(filter, support, source, target).map(|weight| weight as f32))
    };
    let mut data: Vec<f32> = pixels.data().iter().map(|&v| f32::from(v)).collect();
    if let Some(across) = single(from.width, size.width) {
        data = horizontal_f32(&data, pixels.stride(), channels, &across);
    }
    if let Some(down) = single(from.height, size.height) {
        data = vertical_f32(&data, size.width as usize * channels, &down);
    }
    Ok(data)
}

fn whole_axis(filter: Filter, support: f64, source: u32, target: u32) -> Axis<f64> {
    axis(
        filter,
        support,
        source as usize,
        (0.0, source as f32),
        target as usize,
    )
}

/// The most fractional bits, up to 22, with which the largest weight stays below 2^15.
fn quantise(axis: Axis<f64>) -> FixedAxis {
    let largest = axis.weights.iter().copied().fold(0.0, f64::max);
    let fits = |bits: u32| 0.5 + largest * f64::from(1u32 << bits) < f64::from(1 << 15);
    let mut bits = 0;
    while bits < 22 && fits(bits + 1) {
        bits += 1;
    }
    // A weight is at most a little over 1, so at least 14 bits fit; 1 keeps the arithmetic defined.
    let bits = bits.max(1);
    let one = f64::from(1u32 << bits);
    FixedAxis {
        axis: axis.map(|weight| (weight * one + 0.5f64.copysign(weight)) as i32),
        bits,
    }
}

fn nearest_exact(pixels: &Pixels, size: Size) -> Vec<u8> {
    let index = |source: u32, target: u32| {
        let scale = source as f32 / target as f32;
        (0..target).map(move |i| (((i as f32 + 0.5) * scale) as u32).min(source - 1) as usize)
    };
    let channels = pixels.channels().count();
    let columns: Vec<usize> = index(pixels.width(), size.width).collect();
    let mut out = Vec::with_capacity(columns.len() * size.height as usize * channels);
    for y in index(pixels.height(), size.height) {
        let row = &pixels.data()[y * pixels.stride()..(y + 1) * pixels.stride()];
        for &x in &columns {
            out.extend_from_slice(&row[x * channels..(x + 1) * channels]);
        }
    }
    out
}

fn horizontal_f32(source: &[f32], stride: usize, channels: usize, axis: &Axis<f32>) -> Vec<f32> {
    let out_stride = axis.spans.len() * channels;
    let mut out = vec![0.0; source.len() / stride * out_stride];
    for (row, out_row) in source
        .chunks_exact(stride)
        .zip(out.chunks_exact_mut(out_stride))
    {
        for (out, (first, weights)) in out_row.chunks_exact_mut(channels).zip(axis.iter()) {
            for (pixel, weight) in row[first * channels..].chunks_exact(channels).zip(weights) {
                for (sum, v) in out.iter_mut().zip(pixel) {
                    *sum += v * weight;
                }
            }
        }
    }
    out
}

fn vertical_f32(source: &[f32], stride: usize, axis: &Axis<f32>) -> Vec<f32> {
    let mut out = vec![0.0; axis.spans.len() * stride];
    for (out_row, (first, weights)) in out.chunks_exact_mut(stride).zip(axis.iter()) {
        for (row, weight) in source[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, v) in out_row.iter_mut().zip(row) {
                *sum += v * weight;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Channels;

    const FILTERS: [Filter; 4] = [
        Filter::Nearest,
        Filter::Bilinear,
        Filter::Bicubic,
        Filter::Lanczos,
    ];

    proptest! {
        #[test]
        fn one_colour_stays_one_colour(
            colour in any::<[u8; 4]>(), w in 1u32..50, h in 1u32..50, tw in 1u32..50, th in 1u32..50, f in 0usize..4,
        ) {
            let pixels = Pixels::filled(w, h, Channels::Rgba, &colour).unwrap();
            let size = Size { width: tw, height: th };
            let out = resize_torchvision_u8(&pixels, size, FILTERS[f]).unwrap();
            prop_assert!(out.data().chunks_exact(4).all(|p| p.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 1)));
            let out = resize_torchvision_f32(&pixels, size, FILTERS[f]).unwrap();
            prop_assert!(out.chunks_exact(4).all(|p| p.iter().zip(colour).all(|(a, b)| (a - f32::from(b)).abs() < 2e-3)));
        }
    }

    #[test]
    fn precision_leaves_room_for_the_largest_weight() {
        for (source, target) in [(100, 10), (10, 100), (7, 6), (1, 9)] {
            let fixed = quantise(whole_axis(Filter::Lanczos, 3.0, source, target));
            let largest = fixed.axis.weights.iter().copied().max().unwrap();
            assert!(largest < 1 << 15, "{source} to {target}: {largest}");
            assert!(
                fixed.bits == 22 || largest >= 1 << 13,
                "{source} to {target}"
            );
        }
    }
}
