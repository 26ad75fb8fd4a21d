//! The methods by name, and the choice between their special cases.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sightline_core::image_spec::Size;
use sightline_core::registry::UnknownName;

use super::axis::Axis;
use super::{CubicPath, area, cubic, lanczos4, linear, nearest};
use crate::Pixels;
use crate::resize::ResizeError;
use crate::resize::spec::check_target;

/// How OpenCV makes new pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// `INTER_NEAREST`.
    Nearest,
    /// `INTER_LINEAR`: two taps an axis.
    #[serde(alias = "bilinear")]
    Linear,
    /// `INTER_AREA`: the mean of the area that a pixel covers. Linear where an axis grows.
    Area,
    /// `INTER_CUBIC`: four taps an axis.
    #[serde(alias = "bicubic")]
    Cubic,
    /// `INTER_LANCZOS4`: eight taps an axis.
    #[serde(alias = "lanczos")]
    Lanczos4,
}

/// img2dataset's names, sorted.
const NAMES: &[(&str, Interpolation)] = &[
    ("area", Interpolation::Area),
    ("bicubic", Interpolation::Cubic),
    ("bilinear", Interpolation::Linear),
    ("cubic", Interpolation::Cubic),
    ("lanczos", Interpolation::Lanczos4),
    ("lanczos4", Interpolation::Lanczos4),
    ("linear", Interpolation::Linear),
    ("nearest", Interpolation::Nearest),
];

impl FromStr for Interpolation {
    type Err = UnknownName;

    /// Any of img2dataset's names, in any case.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|&(_, interpolation)| interpolation)
            .ok_or_else(|| {
                UnknownName::among("interpolation", name, NAMES.iter().map(|(known, _)| *known))
            })
    }
}

/// Resizes like `cv2.resize(pixels, size, interpolation=...)` of the wheels for x86. Every method
/// equals it byte by byte, except [`Interpolation::Cubic`], which is within one level
/// ([`CubicPath::Ipp`]). A resize to the same size is a copy.
pub fn resize_opencv(
    pixels: &Pixels,
    size: Size,
    interpolation: Interpolation,
) -> Result<Pixels, ResizeError> {
    resize(pixels, size, interpolation, CubicPath::Ipp)
}

/// Resizes like `cv2.resize(pixels, size, interpolation=cv2.INTER_CUBIC)` of the wheels for x86, with
/// or without `cv2.ipp.setUseIPP(False)`.
pub fn resize_opencv_cubic(
    pixels: &Pixels,
    size: Size,
    path: CubicPath,
) -> Result<Pixels, ResizeError> {
    resize(pixels, size, Interpolation::Cubic, path)
}

fn resize(
    pixels: &Pixels,
    size: Size,
    interpolation: Interpolation,
    path: CubicPath,
) -> Result<Pixels, ResizeError> {
    let Size { width, height } = size;
    check_target(size)?;
    if size == pixels.size() {
        return Ok(pixels.clone());
    }
    let x = Axis::new(pixels.width(), width);
    let y = Axis::new(pixels.height(), height);
    let data = match pixels.channels().count() {
        1 => channels::<1>(pixels, x, y, interpolation, path),
        2 => channels::<2>(pixels, x, y, interpolation, path),
        3 => channels::<3>(pixels, x, y, interpolation, path),
        _ => channels::<4>(pixels, x, y, interpolation, path),
    };
    Ok(Pixels::new(width, height, pixels.channels(), data).expect("every method fills its target"))
}

fn channels<const C: usize>(
    pixels: &Pixels,
    x: Axis,
    y: Axis,
    interpolation: Interpolation,
    path: CubicPath,
) -> Vec<u8> {
    let half = (x.whole(), y.whole()) == (Some(2), Some(2));
    let shrinks = x.scale >= 1.0 && y.scale >= 1.0;
    match interpolation {
        Interpolation::Nearest => nearest::resize::<C>(pixels, x, y),
        // At exactly half the size, all four pixels have the same weight.
        Interpolation::Linear if half => area::shrink::<C>(pixels, x, y),
        Interpolation::Linear => linear::resize::<C>(pixels, x, y),
        Interpolation::Area if shrinks => area::shrink::<C>(pixels, x, y),
        Interpolation::Area => linear::stretch::<C>(pixels, x, y),
        Interpolation::Cubic => cubic::resize::<C>(pixels, x, y, path),
        Interpolation::Lanczos4 => lanczos4::resize::<C>(pixels, x, y),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Channels;

    const ALL: [Interpolation; 5] = [
        Interpolation::Nearest,
        Interpolation::Linear,
        Interpolation::Area,
        Interpolation::Cubic,
        Interpolation::Lanczos4,
    ];
    const CHANNELS: [Channels; 4] = [
        Channels::Grey,
        Channels::GreyAlpha,
        Channels::Rgb,
        Channels::Rgba,
    ];

    fn noise(width: u32, height: u32, channels: Channels, seed: u32) -> Pixels {
        let mut state = seed | 1;
        let data = (0..width as usize * height as usize * channels.count())
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state >> 9) as u8
            })
            .collect();
        Pixels::new(width, height, channels, data).unwrap()
    }

    /// One channel of `pixels` as a grey image.
    fn channel(pixels: &Pixels, index: usize) -> Pixels {
        let step = pixels.channels().count();
        let data = pixels
            .data()
            .iter()
            .skip(index)
            .step_by(step)
            .copied()
            .collect();
        Pixels::new(pixels.width(), pixels.height(), Channels::Grey, data).unwrap()
    }

    fn transposed(pixels: &Pixels) -> Pixels {
        let data = (0..pixels.width() as usize)
            .flat_map(|x| pixels.rows().map(move |row| row[x]))
            .collect();
        Pixels::new(pixels.height(), pixels.width(), Channels::Grey, data).unwrap()
    }

    #[test]
    fn a_target_without_content_or_beyond_all_limits_is_refused() {
        let pixels = noise(3, 3, Channels::Grey, 1);
        for interpolation in ALL {
            for (width, height) in [(0, 5), (5, 0), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
                assert!(resize_opencv(&pixels, Size { width, height }, interpolation).is_err());
            }
        }
    }

    #[test]
    fn nearest_takes_the_pixel_at_the_corner() {
        let pixels = Pixels::new(5, 1, Channels::Grey, vec![0, 1, 2, 3, 4]).unwrap();
        let to = |width| {
            let size = Size { width, height: 1 };
            resize_opencv(&pixels, size, Interpolation::Nearest)
                .unwrap()
                .into_data()
        };
        assert_eq!(to(2), [0, 2]);
        assert_eq!(to(7), [0, 0, 1, 2, 2, 3, 4]);
    }

    #[test]
    fn area_grows_by_copies_and_mixtures() {
        let pixels = Pixels::new(2, 1, Channels::Grey, vec![0, 100]).unwrap();
        let to = |width, interpolation| {
            let size = Size { width, height: 1 };
            resize_opencv(&pixels, size, interpolation)
                .unwrap()
                .into_data()
        };
        assert_eq!(to(4, Interpolation::Area), [0, 0, 100, 100]);
        assert_eq!(to(3, Interpolation::Area), [0, 50, 100]);
        assert_eq!(to(4, Interpolation::Linear), [0, 25, 75, 100]);
    }

    #[test]
    fn linear_at_half_the_size_averages_four_pixels() {
        for channels in CHANNELS {
            let pixels = noise(26, 14, channels, 5);
            let size = Size {
                width: 13,
                height: 7,
            };
            assert_eq!(
                resize_opencv(&pixels, size, Interpolation::Linear).unwrap(),
                resize_opencv(&pixels, size, Interpolation::Area).unwrap()
            );
        }
    }

    #[test]
    fn the_two_cubic_paths_differ_by_a_level_at_most() {
        let pixels = noise(40, 30, Channels::Rgb, 9);
        let size = Size {
            width: 57,
            height: 23,
        };
        let fixed = resize_opencv_cubic(&pixels, size, CubicPath::Portable).unwrap();
        let exact = resize_opencv_cubic(&pixels, size, CubicPath::Ipp).unwrap();
        let levels = |a: &u8, b: &u8| a.abs_diff(*b);
        let differences: Vec<u8> = fixed
            .data()
            .iter()
            .zip(exact.data())
            .map(|(a, b)| levels(a, b))
            .collect();
        assert!(differences.iter().all(|&d| d <= 1));
        let share =
            differences.iter().filter(|&&d| d > 0).count() as f64 / differences.len() as f64;
        assert!((0.005..0.1).contains(&share), "{share}");
        assert_eq!(
            resize_opencv(&pixels, size, Interpolation::Cubic).unwrap(),
            exact
        );
    }

    proptest! {
        #[test]
        fn a_constant_stays_what_it_is(
            from in (1u32..40, 1u32..40),
            to in (1u32..60, 1u32..60),
            value: u8,
            kind in 0usize..4,
        ) {
            let channels = CHANNELS[kind];
            let colour: Vec<u8> = (0..channels.count()).map(|c| value ^ (c as u8 * 85)).collect();
            let pixels = Pixels::filled(from.0, from.1, channels, &colour).unwrap();
            let size = Size { width: to.0, height: to.1 };
            for interpolation in ALL {
                let out = resize_opencv(&pixels, size, interpolation).unwrap();
                // Weights that are rounded one by one do not always sum to one.
                let rounded = match interpolation {
                    Interpolation::Lanczos4 => true,
                    Interpolation::Cubic => kind == 1 || from.0.min(from.1) < 4,
                    _ => false,
                };
                let slack = u8::from(rounded);
                for pixel in out.data().chunks_exact(channels.count()) {
                    for (actual, expected) in pixel.iter().zip(&colour) {
                        prop_assert!(actual.abs_diff(*expected) <= slack, "{interpolation:?}");
                    }
                }
            }
        }

        #[test]
        fn an_equal_size_is_a_copy(width in 1u32..40, height in 1u32..40, seed: u32) {
            let pixels = noise(width, height, Channels::Rgb, seed);
            for interpolation in ALL {
                prop_assert_eq!(&resize_opencv(&pixels, pixels.size(), interpolation).unwrap(), &pixels);
            }
        }

        #[test]
        fn channels_do_not_touch_each_other(
            from in (4u32..50, 4u32..50),
            to in (1u32..50, 1u32..50),
            kind in 2usize..4,
            seed: u32,
        ) {
            let pixels = noise(from.0, from.1, CHANNELS[kind], seed);
            let size = Size { width: to.0, height: to.1 };
            for interpolation in ALL {
                let together = resize_opencv(&pixels, size, interpolation).unwrap();
                for c in 0..CHANNELS[kind].count() {
                    let alone = resize_opencv(&channel(&pixels, c), size, interpolation).unwrap();
                    prop_assert_eq!(&channel(&together, c), &alone);
                }
            }
        }

        #[test]
        fn area_is_the_mean_of_what_a_pixel_covers(
            to in (1u32..20, 1u32..20),
            more in (0u32..40, 0u32..40),
            seed: u32,
        ) {
            let (width, height) = (to.0 + more.0, to.1 + more.1);
            let pixels = noise(width, height, Channels::Grey, seed);
            let size = Size { width: to.0, height: to.1 };
            let out = resize_opencv(&pixels, size, Interpolation::Area).unwrap();
            // In units of 1/to of a source pixel every border is a whole number.
            let overlap = |i: u32, s: u32, from: u32, to: u32| {
                let (start, end) = (i * from, (i + 1) * from);
                end.min((s + 1) * to).saturating_sub(start.max(s * to))
            };
            for j in 0..to.1 {
                for i in 0..to.0 {
                    let mut sum = 0u64;
                    for y in 0..height {
                        for x in 0..width {
                            let area = overlap(i, x, width, to.0) * overlap(j, y, height, to.1);
                            sum += u64::from(area) * u64::from(pixels.data()[(y * width + x) as usize]);
                        }
                    }
                    let mean = sum as f64 / f64::from(width * height);
                    let actual = f64::from(out.data()[(j * to.0 + i) as usize]);
                    // Parts below a thousandth of a pixel are left out.
                    prop_assert!((actual - mean).abs() < 0.8, "{actual} {mean}");
                }
            }
        }

        #[test]
        fn a_turned_image_is_the_same_within_a_level(
            from in (4u32..30, 4u32..30),
            to in (1u32..40, 1u32..40),
            seed: u32,
        ) {
            // The intermediate image is rounded along the other axis.
            let pixels = noise(from.0, from.1, Channels::Grey, seed);
            for interpolation in [Interpolation::Area, Interpolation::Cubic, Interpolation::Lanczos4] {
                let size = Size { width: to.0, height: to.1 };
                let turned = Size { width: to.1, height: to.0 };
                let a = resize_opencv(&pixels, size, interpolation).unwrap();
                let b = resize_opencv(&transposed(&pixels), turned, interpolation).unwrap();
                for (a, b) in transposed(&a).data().iter().zip(b.data()) {
                    prop_assert!(a.abs_diff(*b) <= 1, "{interpolation:?}");
                }
            }
        }

        #[test]
        fn no_shape_panics(
            long in 1u32..3000,
            thin in 1u32..4,
            to in (1u32..80, 1u32..80),
            turned: bool,
            kind in 0usize..4,
        ) {
            let (width, height) = if turned { (thin, long) } else { (long, thin) };
            let pixels = noise(width, height, CHANNELS[kind], long);
            for interpolation in ALL {
                for (width, height) in [to, (1, 1), (1, 3000), (3000, 1), (width, 1), (1, height)] {
                    let size = Size { width, height };
                    let out = resize_opencv(&pixels, size, interpolation).unwrap();
                    prop_assert_eq!(out.size(), size);
                }
            }
        }
    }
}
