//! Pillow's `Image.reduce` and the `reducing_gap` of `Image.resize`: averages over whole boxes first,
//! so that the filter has less to read.

use sightline_core::image_spec::{Filter, Size};

use super::alpha::{premultiply, unpremultiply};
use super::resizer::Resizer;
use super::spec::{Arithmetic, PassOrder, ResizeError, ResizeSpec};
use super::view::View;
use crate::Pixels;

/// Resizes like Pillow's `Image.resize(size, filter, reducing_gap=gap)`: first every
/// `max(1, trunc(source / target / gap))` pixels of an axis become one, then the filter does the rest.
pub fn resize_pillow_with_gap(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
    order: PassOrder,
    gap: f64,
) -> Result<Pixels, ResizeError> {
    if gap.is_nan() || gap < 1.0 {
        return Err(ResizeError::Gap { gap });
    }
    let whole = ResizeSpec::new(pixels.size(), size, filter, Arithmetic::Pillow(order));
    whole.source()?;
    let factor = |from: u32, to: u32| ((f64::from(from) / f64::from(to) / gap) as u32).max(1);
    let factors = (
        factor(pixels.width(), size.width),
        factor(pixels.height(), size.height),
    );
    if size == pixels.size() || filter == Filter::Nearest || factors == (1, 1) {
        return Resizer::default().resize(pixels, &whole);
    }
    let channels = pixels.channels();
    let count = channels.count();
    let mut multiplied = Vec::new();
    let source = if channels.has_alpha() {
        let source = View::packed(pixels.data(), pixels.width() as usize, count);
        premultiply(source, &mut multiplied);
        &multiplied
    } else {
        pixels.data()
    };
    let (small, reduced) = reduce_bytes(source, pixels.size(), count, factors);
    let spec = ResizeSpec {
        from: reduced,
        region: [
            0.0,
            0.0,
            (f64::from(pixels.width()) / f64::from(factors.0)) as f32,
            (f64::from(pixels.height()) / f64::from(factors.1)) as f32,
        ],
        ..whole
    };
    let read = spec.source()?;
    let small = View::packed(&small, reduced.width as usize, count).window(read);
    let mut data = Vec::new();
    Resizer::default().run(small, (read.left, read.top), &spec, &mut data);
    if channels.has_alpha() {
        unpremultiply(&mut data, count);
    }
    Ok(Pixels::new(size.width, size.height, channels, data)
        .expect("a resize fills exactly its target size"))
}

/// Averages boxes of `factors` pixels, smaller ones at the right and the bottom.
fn reduce_bytes(
    source: &[u8],
    from: Size,
    channels: usize,
    factors: (u32, u32),
) -> (Vec<u8>, Size) {
    let to = Size {
        width: from.width.div_ceil(factors.0),
        height: from.height.div_ceil(factors.1),
    };
    let stride = from.width as usize * channels;
    let mut out = Vec::with_capacity((to.width * to.height) as usize * channels);
    for y in 0..to.height {
        let rows = span(y, factors.1, from.height);
        let band = &source[rows.start * stride..rows.end * stride];
        for x in 0..to.width {
            let columns = span(x, factors.0, from.width);
            let count = (rows.len() * columns.len()) as u32;
            let multiplier = multiplier(count);
            for channel in 0..channels {
                let mut sum = count / 2;
                for row in band.chunks_exact(stride) {
                    let row = &row[columns.start * channels..columns.end * channels];
                    sum += row[channel..]
                        .iter()
                        .step_by(channels)
                        .map(|&v| u32::from(v))
                        .sum::<u32>();
                }
                out.push((sum.wrapping_mul(multiplier) >> 24) as u8);
            }
        }
    }
    (out, to)
}

fn span(index: u32, factor: u32, source: u32) -> std::ops::Range<usize> {
    let start = index as usize * factor as usize;
    start..(start + factor as usize).min(source as usize)
}

/// 2^24 over `count` in single precision, cut: Pillow's replacement for a division.
fn multiplier(count: u32) -> u32 {
    (4_294_967_296.0f32 / count.wrapping_mul(256) as f32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channels;

    #[test]
    fn boxes_are_averaged_and_partial_ones_by_what_they_hold() {
        let size = Size {
            width: 3,
            height: 3,
        };
        let data = [10, 20, 100, 30, 41, 201, 7, 9, 250];
        let (out, to) = reduce_bytes(&data, size, 1, (2, 2));
        assert_eq!((to.width, to.height), (2, 2));
        assert_eq!(out, [25, 151, 8, 250]);
    }

    #[test]
    fn a_gap_below_one_is_refused() {
        let pixels = Pixels::filled(9, 9, Channels::Grey, &[3]).unwrap();
        let size = Size {
            width: 2,
            height: 2,
        };
        let resize =
            |gap| resize_pillow_with_gap(&pixels, size, Filter::Box, PassOrder::Adaptive, gap);
        assert_eq!(resize(1.5).unwrap().data(), [3; 4]);
        for gap in [0.5, f64::NAN] {
            assert!(matches!(resize(gap), Err(ResizeError::Gap { .. })));
        }
    }
}
