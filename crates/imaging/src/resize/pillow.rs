//! Pillow's `Image.resize`, bit for bit, on bytes.
//!
//! Weights have 22 fractional bits and are not renormalised after rounding; the image between the two
//! passes has eight bits, so the order of the passes shows. Images with alpha are premultiplied,
//! resized and divided again. Modes other than bytes are in [`super::wide`], `reducing_gap` is in
//! [`super::reduce`].

use sightline_core::image_spec::{Filter, Size};

use super::passes::{FixedAxis, horizontal, vertical};
use super::weights::{Axis, axis, support};
use crate::Pixels;
use crate::native::Samples;

/// Fractional bits of Pillow's weights for bytes.
const BITS: u32 = 22;

/// Which of the two passes comes first; results differ by clamping and rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassOrder {
    /// Pillow 13: the vertical one if it removes rows, and more than twice as many as columns go.
    Adaptive,
    /// Pillow up to 12: the horizontal one, except for sources over 100 times taller than wide.
    HorizontalFirst,
}

impl PassOrder {
    pub(super) fn vertical_first(self, from: Size, to: Size) -> bool {
        let rows = i64::from(from.height) - i64::from(to.height);
        let columns = i64::from(from.width) - i64::from(to.width);
        match self {
            Self::Adaptive => rows > 0 && rows > 2 * columns,
            Self::HorizontalFirst => {
                rows > 0 && u64::from(from.height) > 100 * u64::from(from.width)
            }
        }
    }
}

/// A resize that cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The target has no pixels.
    #[error("target size {width}x{height} has no content")]
    NoContent {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The target is larger than any image may be.
    #[error("target size {width}x{height} is more than {max} pixels")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// [`MAX_TARGET_PIXELS`].
        max: u64,
    },
    /// A side of the target is longer than any image's may be.
    #[error("target size {width}x{height}, limit is {max} a side")]
    SideTooLong {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// [`MAX_TARGET_SIDE`].
        max: u32,
    },
    /// The region leaves the source or has no content.
    #[error("region {region:?} is not inside an image of {width}x{height} pixels")]
    Region {
        /// Left, top, right, bottom.
        region: [f32; 4],
        /// Columns of the source.
        width: u32,
        /// Rows of the source.
        height: u32,
    },
    /// The reducing gap is below 1.
    #[error("reducing gap {gap} is below 1")]
    Gap {
        /// The gap asked for.
        gap: f64,
    },
}

/// No resize makes more pixels than this, whatever a file or a manifest says.
pub const MAX_TARGET_PIXELS: u64 = 1 << 28;

/// No resize makes a side longer than this.
pub const MAX_TARGET_SIDE: u32 = 1 << 18;

/// Resizes to `size` like Pillow's `Image.resize(size, filter, box=region)`; `region` is left, top,
/// right and bottom in source pixels, fractions allowed.
pub fn resize_pillow(
    pixels: &Pixels,
    size: Size,
    filter: Filter,
    order: PassOrder,
    region: Option<[f32; 4]>,
) -> Result<Pixels, ResizeError> {
    let region = check(pixels.size(), size, region)?;
    if size == pixels.size() && is_full(region, size) {
        return Ok(pixels.clone());
    }
    let channels = pixels.channels();
    let premultiply = channels.has_alpha() && filter != Filter::Nearest;
    let mut data = if premultiply {
        let multiplied = premultiplied(pixels);
        resize_bytes(
            &multiplied,
            pixels.size(),
            channels.count(),
            size,
            filter,
            order,
            region,
        )
    } else {
        resize_bytes(
            pixels.data(),
            pixels.size(),
            channels.count(),
            size,
            filter,
            order,
            region,
        )
    };
    if premultiply {
        unpremultiply(&mut data, channels.count());
    }
    Ok(Pixels::new(size.width, size.height, channels, data)
        .expect("a resize fills exactly its target size"))
}

/// The same for four inks, which are four channels like any others.
pub(crate) fn resize_pillow_inks(
    inks: &Samples<u8>,
    size: Size,
    filter: Filter,
    order: PassOrder,
) -> Result<Samples<u8>, ResizeError> {
    let region = check(inks.size, size, None)?;
    Ok(Samples {
        size,
        count: inks.count,
        data: resize_bytes(
            &inks.data, inks.size, inks.count, size, filter, order, region,
        ),
    })
}

/// Checks a resize and fills in the default region.
pub(super) fn check(
    from: Size,
    to: Size,
    region: Option<[f32; 4]>,
) -> Result<[f32; 4], ResizeError> {
    let Size { width, height } = to;
    if width == 0 || height == 0 {
        return Err(ResizeError::NoContent { width, height });
    }
    if width.max(height) > MAX_TARGET_SIDE {
        return Err(ResizeError::SideTooLong {
            width,
            height,
            max: MAX_TARGET_SIDE,
        });
    }
    if u64::from(width) * u64::from(height) > MAX_TARGET_PIXELS {
        return Err(ResizeError::TooLarge {
            width,
            height,
            max: MAX_TARGET_PIXELS,
        });
    }
    let region = region.unwrap_or_else(|| full(from));
    let inside = region[0] >= 0.0
        && region[1] >= 0.0
        && region[0] < region[2]
        && region[1] < region[3]
        && region[2] <= from.width as f32
        && region[3] <= from.height as f32;
    if !inside {
        return Err(ResizeError::Region {
            region,
            width: from.width,
            height: from.height,
        });
    }
    Ok(region)
}

/// The whole of an image as a region.
pub(super) fn full(size: Size) -> [f32; 4] {
    [0.0, 0.0, size.width as f32, size.height as f32]
}

/// What Pillow does below `Image.resize`: no modes, only interleaved bytes.
pub(super) fn resize_bytes(
    source: &[u8],
    from: Size,
    channels: usize,
    to: Size,
    filter: Filter,
    order: PassOrder,
    region: [f32; 4],
) -> Vec<u8> {
    if let Some(origin) = whole_crop(region, to) {
        return crop(source, from, channels, to, origin);
    }
    let Some(support) = support(filter) else {
        return nearest(source, from, channels, to, region, Steps::Accumulated);
    };
    let [left, top, right, bottom] = region;
    let fixed = |source, from, to, target| FixedAxis {
        axis: quantise(axis(filter, support, source, (from, to), target)),
        bits: BITS,
    };
    let across = needed(from.width, to.width, left, right)
        .then(|| fixed(from.width as usize, left, right, to.width as usize));
    let down = needed(from.height, to.height, top, bottom)
        .then(|| fixed(from.height as usize, top, bottom, to.height as usize));
    let stride = from.width as usize * channels;

    match (across, down) {
        (None, None) => source.to_vec(),
        (Some(across), None) => horizontal(source, stride, channels, &across),
        (None, Some(down)) => vertical(source, stride, &down),
        (Some(across), Some(down)) if order.vertical_first(from, to) => {
            horizontal(&vertical(source, stride, &down), stride, channels, &across)
        }
        (Some(across), Some(down)) => {
            // Only the rows that the vertical pass reads are made.
            let rows = down.axis.source_range();
            let source = &source[rows.start * stride..rows.end * stride];
            let between = horizontal(source, stride, channels, &across);
            let down = FixedAxis {
                axis: down.axis.shifted_by(rows.start),
                bits: down.bits,
            };
            vertical(&between, to.width as usize * channels, &down)
        }
    }
}

/// Whether a region is the whole image.
fn is_full(region: [f32; 4], size: Size) -> bool {
    region.map(f32::to_bits) == full(size).map(f32::to_bits)
}

/// Whether an axis has to be resampled at all.
#[expect(clippy::float_cmp, reason = "Pillow compares exactly")]
pub(super) fn needed(source: u32, target: u32, from: f32, to: f32) -> bool {
    target != source || from != 0.0 || to != target as f32
}

/// Rounds weights to 22 fractional bits, halves away from zero.
fn quantise(axis: Axis<f64>) -> Axis<i32> {
    let one = f64::from(1 << BITS);
    axis.map(|weight| (weight * one + 0.5f64.copysign(weight)) as i32)
}

/// The corner of a region that has whole coordinates and exactly the target's size.
#[expect(clippy::float_cmp, reason = "Pillow compares exactly")]
pub(super) fn whole_crop(region: [f32; 4], to: Size) -> Option<(usize, usize)> {
    let [left, top, right, bottom] = region;
    let whole = left.fract() == 0.0
        && top.fract() == 0.0
        && right - left == to.width as f32
        && bottom - top == to.height as f32;
    whole.then_some((left as usize, top as usize))
}

/// Copies the rectangle of size `to` at `(left, top)`, which lies inside.
pub(super) fn crop<T: Copy>(
    source: &[T],
    from: Size,
    channels: usize,
    to: Size,
    (left, top): (usize, usize),
) -> Vec<T> {
    let columns = left * channels..(left + to.width as usize) * channels;
    source
        .chunks_exact(from.width as usize * channels)
        .skip(top)
        .take(to.height as usize)
        .flat_map(|row| &row[columns.clone()])
        .copied()
        .collect()
}

/// How nearest neighbour finds its positions; they differ in the last bit, which matters on a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Each position is the one before plus a step (Pillow's scaling of most modes).
    Accumulated,
    /// Each position is computed from its number (Pillow's general transform, mode `I;16`).
    Direct,
}

/// Nearest neighbour; what rounding pushes outside is zero.
pub(super) fn nearest<T: Copy + Default>(
    source: &[T],
    from: Size,
    channels: usize,
    to: Size,
    [left, top, right, bottom]: [f32; 4],
    steps: Steps,
) -> Vec<T> {
    let columns = nearest_axis(from.width, (left, right), to.width, steps);
    let rows = nearest_axis(from.height, (top, bottom), to.height, steps);
    let stride = from.width as usize * channels;
    let mut out = Vec::with_capacity(rows.len() * columns.len() * channels);
    for row in rows {
        let row = row.map(|y| &source[y * stride..(y + 1) * stride]);
        for &column in &columns {
            match (row, column) {
                (Some(row), Some(x)) => {
                    out.extend_from_slice(&row[x * channels..(x + 1) * channels]);
                }
                _ => out.extend(std::iter::repeat_n(T::default(), channels)),
            }
        }
    }
    out
}

fn nearest_axis(
    source: u32,
    (from, to): (f32, f32),
    target: u32,
    steps: Steps,
) -> Vec<Option<usize>> {
    let step = f64::from(to - from) / f64::from(target);
    let mut sum = f64::from(from) + step * 0.5;
    (0..target)
        .map(|i| {
            let at = match steps {
                Steps::Accumulated => sum,
                Steps::Direct => step * (f64::from(i) + 0.5) + f64::from(from),
            };
            let index = at as usize;
            sum += step;
            (index < source as usize).then_some(index)
        })
        .collect()
}

/// Colour times alpha over 255, rounded as in Pillow's `MULDIV255`.
pub(super) fn premultiplied(pixels: &Pixels) -> Vec<u8> {
    let mut data = pixels.data().to_vec();
    for pixel in data.chunks_exact_mut(pixels.channels().count()) {
        if let [colour @ .., alpha] = pixel {
            for c in colour {
                let t = u32::from(*c) * u32::from(*alpha) + 128;
                *c = (((t >> 8) + t) >> 8) as u8;
            }
        }
    }
    data
}

/// Colour times 255 over alpha, cut; full and no alpha leave the colour alone.
pub(super) fn unpremultiply(data: &mut [u8], channels: usize) {
    for pixel in data.chunks_exact_mut(channels) {
        if let [colour @ .., alpha @ 1..=254] = pixel {
            for c in colour {
                *c = (255 * u32::from(*c) / u32::from(*alpha)).min(255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Channels;

    const FILTERS: [Filter; 6] = [
        Filter::Nearest,
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    const ORDERS: [PassOrder; 2] = [PassOrder::Adaptive, PassOrder::HorizontalFirst];

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    proptest! {
        #[test]
        fn one_colour_stays_one_colour(
            colour in any::<[u8; 3]>(), w in 1u32..60, h in 1u32..60, tw in 1u32..60, th in 1u32..60, f in 0usize..6, o in 0usize..2,
        ) {
            let pixels = Pixels::filled(w, h, Channels::Rgb, &colour).unwrap();
            let out = resize_pillow(&pixels, size(tw, th), FILTERS[f], ORDERS[o], None).unwrap();
            prop_assert_eq!(out.size(), size(tw, th));
            // Weights are not renormalised after rounding; that error stays below half a level.
            prop_assert!(out.data().chunks_exact(3).all(|pixel| pixel == colour));
        }

        #[test]
        fn same_size_is_the_same_image(data in prop::collection::vec(any::<u8>(), 7 * 5 * 4), f in 0usize..6) {
            let pixels = Pixels::new(7, 5, Channels::Rgba, data).unwrap();
            let out = resize_pillow(&pixels, size(7, 5), FILTERS[f], PassOrder::Adaptive, None).unwrap();
            prop_assert_eq!(out, pixels);
        }

        #[test]
        fn any_region_inside_works(
            w in 1u32..40, h in 1u32..40, tw in 1u32..40, th in 1u32..40, f in 0usize..6,
            x in prop::array::uniform2(0.0f32..1.0), y in prop::array::uniform2(0.0f32..1.0),
        ) {
            let pixels = Pixels::filled(w, h, Channels::Grey, &[7]).unwrap();
            let (w, h) = (w as f32, h as f32);
            let region = [x[0].min(x[1]) * w, y[0].min(y[1]) * h, x[0].max(x[1]) * w, y[0].max(y[1]) * h];
            prop_assume!(region[0] < region[2] && region[1] < region[3]);
            let out = resize_pillow(&pixels, size(tw, th), FILTERS[f], PassOrder::Adaptive, Some(region)).unwrap();
            prop_assert!(out.data().iter().all(|&v| v == 7));
        }
    }

    #[test]
    fn hidden_colour_does_not_leak_through_alpha() {
        let data = vec![255, 0, 0, 0, 0, 255, 0, 255];
        let pixels = Pixels::new(2, 1, Channels::Rgba, data).unwrap();
        let out =
            resize_pillow(&pixels, size(1, 1), Filter::Box, PassOrder::Adaptive, None).unwrap();
        assert_eq!(out.data(), [0, 255, 0, 128]);
    }

    #[test]
    fn whole_regions_are_cropped_and_others_refused() {
        let pixels = Pixels::new(3, 2, Channels::Grey, (0..6).collect()).unwrap();
        let resize = |to, region| {
            resize_pillow(
                &pixels,
                to,
                Filter::Bicubic,
                PassOrder::Adaptive,
                Some(region),
            )
        };
        assert_eq!(
            resize(size(2, 1), [1.0, 1.0, 3.0, 2.0]).unwrap().data(),
            [4, 5]
        );
        for region in [
            [1.0, 0.0, 1.0, 2.0],
            [-1.0, 0.0, 1.0, 2.0],
            [0.0, 0.0, 4.0, 2.0],
            [f32::NAN, 0.0, 3.0, 2.0],
        ] {
            let error = resize(size(2, 1), region).unwrap_err();
            assert!(matches!(error, ResizeError::Region { .. }), "{error}");
        }
        let error = resize(size(0, 1), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert_eq!(error.to_string(), "target size 0x1 has no content");
        let error = resize(size(u32::MAX, 9), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert!(matches!(error, ResizeError::SideTooLong { .. }));
        let error = resize(size(1 << 18, 1 << 18), [0.0, 0.0, 3.0, 2.0]).unwrap_err();
        assert!(matches!(error, ResizeError::TooLarge { .. }));
    }

    #[test]
    fn order_of_passes_follows_the_version() {
        let adaptive = |from, to| PassOrder::Adaptive.vertical_first(from, to);
        assert!(adaptive(size(10, 100), size(10, 10)));
        assert!(!adaptive(size(100, 100), size(10, 10)));
        assert!(adaptive(size(10, 100), size(20, 99)));
        assert!(!adaptive(size(10, 100), size(5, 100)));
        let horizontal = |from, to| PassOrder::HorizontalFirst.vertical_first(from, to);
        assert!(!horizontal(size(10, 1000), size(10, 10)));
        assert!(horizontal(size(10, 1001), size(10, 10)));
        assert!(!horizontal(size(10, 1001), size(10, 1001)));
    }
}
