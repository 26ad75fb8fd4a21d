//! torchvision's antialiased `resize` of tensors on a CPU: horizontal pass first, always.
//!
//! 8-bit tensors go through 16-bit weights whose precision is chosen per axis
//! ([`resize_torchvision_u8`]); float tensors, and 8-bit ones on a GPU, through single precision
//! without rounding between the passes ([`resize_torchvision_f32`]).

use sightline_core::image_spec::{Filter, Size};

use super::resizer::Resizer;
use super::spec::{Arithmetic, Method, ResizeError, ResizeSpec};
use super::weights::{Axis, AxisSpec};
use crate::Pixels;

/// The `v2` functional `resize` of an 8-bit tensor on a CPU, `antialias=True`. Alpha is a channel like
/// the others. Nearest is torch's `nearest-exact` (`floor((i + 0.5) * source / target)`).
pub fn resize_torchvision_u8(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
) -> Result<Pixels, ResizeError> {
    let spec = ResizeSpec::new(pixels.size(), size, filter, Arithmetic::TorchvisionU8);
    Resizer::default().resize(pixels, &spec)
}

/// The same resize of a float tensor; returns `height * width * channels` values of 0 to 255 (beyond
/// them where a filter overshoots), interleaved.
pub fn resize_torchvision_f32(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
) -> Result<Vec<f32>, ResizeError> {
    let spec = ResizeSpec::new(pixels.size(), size, filter, Arithmetic::TorchvisionU8);
    if spec.method() != Method::Filter {
        let picked = Resizer::default().resize(pixels, &spec)?;
        return Ok(picked.data().iter().map(|&v| f32::from(v)).collect());
    }
    spec.source()?;
    let channels = pixels.channels().count();
    let single = |spec: AxisSpec| {
        let exact = Axis::new(&spec).filter(|_| spec.is_needed())?;
        let mut axis = Axis::default();
        axis.assign(&exact, |weight| weight as f32);
        Some(axis)
    };
    let mut data: Vec<f32> = pixels.data().iter().map(|&v| f32::from(v)).collect();
    if let Some(across) = single(spec.across()) {
        data = horizontal_f32(&data, pixels.stride(), channels, &across);
    }
    if let Some(down) = single(spec.down()) {
        data = vertical_f32(&data, size.width as usize * channels, &down);
    }
    Ok(data)
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
    use fast_image_resize::images::{Image, ImageRef};
    use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions};
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

    /// One pass of the crate `fast_image_resize`, whose arithmetic is torchvision's.
    fn peer(pixels: &Pixels, size: Size, filter: FilterType) -> Pixels {
        let kind = PixelType::U8x3;
        let source = ImageRef::new(pixels.width(), pixels.height(), pixels.data(), kind).unwrap();
        let mut target = Image::new(size.width, size.height, kind);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        fast_image_resize::Resizer::new()
            .resize(&source, &mut target, &options)
            .unwrap();
        Pixels::new(
            size.width,
            size.height,
            pixels.channels(),
            target.into_vec(),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn fast_image_resize_gives_the_same_bytes_axis_by_axis(
            w in 1u32..120, h in 1u32..120, tw in 1u32..120, th in 1u32..120, f in 0usize..3, seed: u32,
        ) {
            let data = (0..w * h * 3).map(|i| (i.wrapping_add(seed).wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
            let pixels = Pixels::new(w, h, Channels::Rgb, data).unwrap();
            let (ours, theirs) = [
                (Filter::Bilinear, FilterType::Bilinear),
                (Filter::Bicubic, FilterType::CatmullRom),
                (Filter::Lanczos, FilterType::Lanczos3),
            ][f];
            let size = Size { width: tw, height: th };
            let across = peer(&pixels, Size { width: tw, height: h }, theirs);
            prop_assert_eq!(resize_torchvision_u8(&pixels, size, ours).unwrap(), peer(&across, size, theirs));
        }
    }
}
