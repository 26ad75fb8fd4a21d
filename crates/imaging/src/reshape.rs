//! What img2dataset does to an image between decoding and encoding: filters by size, transparency over
//! white, and one of five ways to bring it to the size of a dataset.
//!
//! Checks, their order, roundings and the choice between two interpolations are those of img2dataset
//! 1.47 with albumentations 1.4 and OpenCV, so that pixels written here equal the ones written there.
//! One thing is added: a limit on the result, since a picture of 60000x1 whose shorter side is brought
//! to 256 would take 4 gigapixels.
//!
//! ```
//! use sightline_imaging::reshape::{ReshapeSpec, ResizeMode, reshape};
//! use sightline_imaging::{Channels, Pixels};
//!
//! let photo = Pixels::filled(640, 480, Channels::Rgb, &[10, 20, 30])?;
//! let spec = ReshapeSpec { mode: ResizeMode::KeepRatio, ..ReshapeSpec::default() };
//! let small = reshape(photo, &spec)?;
//! assert_eq!((small.pixels.width(), small.pixels.height()), (341, 256));
//!
//! let stamp = Pixels::filled(20, 30, Channels::Rgb, &[10, 20, 30])?;
//! let spec = ReshapeSpec { min_image_size: 32, ..spec };
//! assert_eq!(reshape(stamp, &spec).unwrap_err().status_message(), "image too small");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sightline_core::Hint;
use sightline_core::image_spec::{CropRounding, Size};
use sightline_core::registry::UnknownName;

use crate::blur::{RelativeBox, blur_boxes};
use crate::crop::{Padding, centre_crop};
use crate::resize::ResizeError;
use crate::resize::opencv::{Interpolation, resize_opencv};
use crate::{Channels, Pixels};

/// How the shape of an image is brought to `image_size`; names as in img2dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// Left as it is.
    No,
    /// The longer side becomes `image_size`, the rest of a square is filled with white.
    Border,
    /// The shorter side becomes `image_size`.
    #[serde(alias = "keep-ratio")]
    KeepRatio,
    /// The longer side becomes `image_size`.
    #[serde(alias = "keep-ratio-largest")]
    KeepRatioLargest,
    /// The shorter side becomes `image_size`, then the centre is cut out as a square.
    #[serde(alias = "center-crop")]
    CenterCrop,
}

impl ResizeMode {
    const ALL: [Self; 5] = [
        Self::No,
        Self::Border,
        Self::KeepRatio,
        Self::KeepRatioLargest,
        Self::CenterCrop,
    ];

    /// img2dataset's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Border => "border",
            Self::KeepRatio => "keep_ratio",
            Self::KeepRatioLargest => "keep_ratio_largest",
            Self::CenterCrop => "center_crop",
        }
    }
}

impl FromStr for ResizeMode {
    type Err = UnknownName;

    /// img2dataset's name; hyphens do as well as underscores.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let snake = name.replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == snake)
            .ok_or_else(|| {
                UnknownName::among("resize mode", name, Self::ALL.into_iter().map(Self::name))
            })
    }
}

/// Which images are accepted and what becomes of them. The default is img2dataset's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReshapeSpec {
    /// The side that `mode` speaks of, in pixels.
    pub image_size: u32,
    /// How the shape is changed.
    pub mode: ResizeMode,
    /// Whether images that are no larger than `image_size` stay as they are; no border is put around
    /// them either.
    pub only_if_bigger: bool,
    /// Interpolation where the decisive side is no longer than `image_size`.
    pub upscale: Interpolation,
    /// Interpolation where it is longer.
    pub downscale: Interpolation,
    /// Images with a shorter side below this are refused.
    pub min_image_size: u32,
    /// Images of more pixels are refused. Infinite: no limit, and left out when written.
    #[serde(skip_serializing_if = "is_infinite")]
    pub max_image_area: f64,
    /// Images whose longer side is more than this many times the shorter one are refused. Infinite: no
    /// limit, and left out when written.
    #[serde(skip_serializing_if = "is_infinite")]
    pub max_aspect_ratio: f64,
    /// Images that would have more pixels than this after the resize are refused.
    pub max_pixels: u64,
}

impl Default for ReshapeSpec {
    fn default() -> Self {
        Self {
            image_size: 256,
            mode: ResizeMode::Border,
            only_if_bigger: false,
            upscale: Interpolation::Lanczos4,
            downscale: Interpolation::Area,
            min_image_size: 0,
            max_image_area: f64::INFINITY,
            max_aspect_ratio: f64::INFINITY,
            max_pixels: 1 << 26,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_infinite(limit: &f64) -> bool {
    limit.is_infinite()
}

/// An image that is not accepted, or cannot be brought to its size.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReshapeError {
    /// The shorter side is below [`ReshapeSpec::min_image_size`].
    #[error("image too small: {width}x{height} pixels, the shorter side must have at least {min}")]
    TooSmall {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Shortest side accepted.
        min: u32,
    },
    /// More pixels than [`ReshapeSpec::max_image_area`].
    #[error("image area too large: {width}x{height} pixels, limit is {max} pixels")]
    AreaTooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Largest area accepted.
        max: f64,
    },
    /// Longer than [`ReshapeSpec::max_aspect_ratio`] allows.
    #[error("aspect ratio too large: {width}x{height} pixels, limit is {max} to 1")]
    AspectRatioTooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Largest ratio accepted.
        max: f64,
    },
    /// More pixels than [`ReshapeSpec::max_pixels`] after the resize.
    #[error("resized image too large: {width}x{height} pixels, limit is {max} pixels")]
    ResultTooLarge {
        /// Columns after the resize.
        width: u32,
        /// Rows after the resize.
        height: u32,
        /// Most pixels allowed.
        max: u64,
    },
    /// [`ReshapeSpec::image_size`] is zero.
    #[error("image size is 0, at least 1 is needed")]
    NoImageSize,
    /// The resize was refused.
    #[error("cannot resize")]
    Resize(#[from] ResizeError),
}

impl ReshapeError {
    /// What a status table says, without sizes, so that equal reasons count as one. The first three are
    /// img2dataset's words.
    pub fn status_message(&self) -> &'static str {
        match self {
            Self::TooSmall { .. } => "image too small",
            Self::AreaTooLarge { .. } => "image area too large",
            Self::AspectRatioTooLarge { .. } => "aspect ratio too large",
            Self::ResultTooLarge { .. } | Self::Resize(_) => "resized image too large",
            Self::NoImageSize => "image size is 0",
        }
    }
}

impl Hint for ReshapeError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::ResultTooLarge { .. } | Self::Resize(_) => vec![
                "Limit the aspect ratio, or let the longer side decide (`keep_ratio_largest`, `border`)."
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}

/// An image of its final shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaped {
    /// The pixels, grey or RGB.
    pub pixels: Pixels,
    /// Whether anything was done, by img2dataset's rule: the original file may be kept if not. A resize
    /// that found the sizes equal already counts as done.
    pub changed: bool,
}

/// Accepts or refuses an image and brings it to its size.
pub fn reshape(pixels: Pixels, spec: &ReshapeSpec) -> Result<Reshaped, ReshapeError> {
    let size = pixels.size();
    reshape_of(pixels, size, spec, &[])
}

/// [`reshape`] of an image of size `from` whose pixels may have been decoded at a smaller scale, with `boxes` of it blurred
/// once it is resized, before anything is cut off or put around it.
pub fn reshape_of(
    pixels: Pixels,
    from: Size,
    spec: &ReshapeSpec,
    boxes: &[RelativeBox],
) -> Result<Reshaped, ReshapeError> {
    accept(from, spec)?;
    let matted = pixels.channels().has_alpha();
    let pixels = matte_white(pixels);
    let unresized = |pixels| Reshaped {
        pixels: blur_boxes(pixels, boxes),
        changed: matted || !boxes.is_empty(),
    };
    let edge = spec.image_size;
    let (decisive, target) = match spec.mode {
        ResizeMode::No => return Ok(unresized(pixels)),
        ResizeMode::KeepRatio | ResizeMode::CenterCrop => {
            (from.width.min(from.height), smallest_max_size(from, edge))
        }
        ResizeMode::Border | ResizeMode::KeepRatioLargest => {
            (from.width.max(from.height), longest_max_size(from, edge))
        }
    };
    let shrinks = decisive > edge;
    if spec.only_if_bigger && !shrinks {
        return Ok(unresized(pixels));
    }
    let square = Size {
        width: edge,
        height: edge,
    };
    check_result(target, spec)?;
    if spec.mode == ResizeMode::Border {
        check_result(square, spec)?;
    }
    let interpolation = if shrinks {
        spec.downscale
    } else {
        spec.upscale
    };
    let resized = if target == pixels.size() {
        pixels
    } else {
        resize_opencv(&pixels, target, interpolation)?
    };
    let resized = blur_boxes(resized, boxes);
    let pixels = match spec.mode {
        ResizeMode::CenterCrop => centre_crop(
            &resized,
            square,
            CropRounding::Floor,
            Padding::LargerAfter,
            [0; 3],
        )
        .map_err(|_| ReshapeError::NoImageSize)?,
        ResizeMode::Border => surround(&resized, edge),
        _ => resized,
    };
    Ok(Reshaped {
        pixels,
        changed: true,
    })
}

/// img2dataset's filters, in its order.
fn accept(size: Size, spec: &ReshapeSpec) -> Result<(), ReshapeError> {
    let Size { width, height } = size;
    let (short, long) = (width.min(height), width.max(height));
    if spec.image_size == 0 && spec.mode != ResizeMode::No {
        return Err(ReshapeError::NoImageSize);
    }
    if short < spec.min_image_size {
        return Err(ReshapeError::TooSmall {
            width,
            height,
            min: spec.min_image_size,
        });
    }
    if f64::from(width) * f64::from(height) > spec.max_image_area {
        return Err(ReshapeError::AreaTooLarge {
            width,
            height,
            max: spec.max_image_area,
        });
    }
    if f64::from(long) / f64::from(short) > spec.max_aspect_ratio {
        return Err(ReshapeError::AspectRatioTooLarge {
            width,
            height,
            max: spec.max_aspect_ratio,
        });
    }
    Ok(())
}

fn check_result(size: Size, spec: &ReshapeSpec) -> Result<(), ReshapeError> {
    let Size { width, height } = size;
    if u64::from(width) * u64::from(height) > spec.max_pixels {
        return Err(ReshapeError::ResultTooLarge {
            width,
            height,
            max: spec.max_pixels,
        });
    }
    Ok(())
}

/// albumentations' `SmallestMaxSize`: the shorter side becomes `edge`; both are rounded, halves to even.
pub fn smallest_max_size(from: Size, edge: u32) -> Size {
    scaled(
        from,
        f64::from(edge) / f64::from(from.width.min(from.height)),
    )
}

/// albumentations' `LongestMaxSize`: the longer side becomes `edge`; both are rounded, halves to even,
/// and no side vanishes.
pub fn longest_max_size(from: Size, edge: u32) -> Size {
    scaled(
        from,
        f64::from(edge) / f64::from(from.width.max(from.height)),
    )
}

fn scaled(from: Size, scale: f64) -> Size {
    let side = |side: u32| (f64::from(side) * scale).round_ties_even().max(1.0) as u32;
    Size {
        width: side(from.width),
        height: side(from.height),
    }
}

/// Composes transparent pixels over white, in img2dataset's arithmetic: each channel becomes
/// `alpha / 255 * value + 255 - alpha`, rounded to nearest with halves to even. The result is RGB; images
/// without alpha are returned as they are.
#[must_use]
pub fn matte_white(pixels: Pixels) -> Pixels {
    let data: Vec<u8> = match pixels.channels() {
        Channels::Grey | Channels::Rgb => return pixels,
        Channels::GreyAlpha => {
            let pixels = pixels.data().as_chunks::<2>().0;
            pixels
                .iter()
                .flat_map(|&[v, a]| [over_white(v, a); 3])
                .collect()
        }
        Channels::Rgba => {
            let pixels = pixels.data().as_chunks::<4>().0;
            pixels
                .iter()
                .flat_map(|&[r, g, b, a]| [r, g, b].map(|v| over_white(v, a)))
                .collect()
        }
    };
    Pixels::new(pixels.width(), pixels.height(), Channels::Rgb, data).unwrap_or(pixels)
}

fn over_white(value: u8, alpha: u8) -> u8 {
    match alpha {
        255 => value,
        0 => 255,
        _ => {
            let alpha = f64::from(alpha);
            let mixed = alpha / 255.0 * f64::from(value) + 255.0 - alpha;
            mixed.clamp(0.0, 255.0).round_ties_even() as u8
        }
    }
}

/// Puts white around an image to make it a square of `edge`; an odd difference goes to the right and to
/// the bottom.
fn surround(pixels: &Pixels, edge: u32) -> Pixels {
    let count = pixels.channels().count();
    let stride = edge as usize * count;
    let left = edge.saturating_sub(pixels.width()) as usize / 2 * count;
    let top = edge.saturating_sub(pixels.height()) as usize / 2;
    let mut data = vec![255; stride * edge as usize];
    for (out, row) in data.chunks_exact_mut(stride).skip(top).zip(pixels.rows()) {
        for (out, &value) in out[left..].iter_mut().zip(row) {
            *out = value;
        }
    }
    Pixels::new(edge, edge, pixels.channels(), data).expect("the square was filled")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MODES: [ResizeMode; 5] = ResizeMode::ALL;

    fn spec(mode: ResizeMode, image_size: u32) -> ReshapeSpec {
        ReshapeSpec {
            image_size,
            mode,
            ..ReshapeSpec::default()
        }
    }

    fn grey(width: u32, height: u32) -> Pixels {
        let data = (0..width * height).map(|i| (i * 37 % 256) as u8).collect();
        Pixels::new(width, height, Channels::Grey, data).unwrap()
    }

    fn shape(pixels: &Pixels) -> (u32, u32) {
        (pixels.width(), pixels.height())
    }

    #[test]
    fn filters_are_applied_in_the_order_of_img2dataset() {
        let bad = ReshapeSpec {
            min_image_size: 20,
            max_image_area: 500.0,
            max_aspect_ratio: 2.0,
            ..ReshapeSpec::default()
        };
        let message = |width, height| {
            reshape(grey(width, height), &bad).map_err(|e| (e.status_message(), e.to_string()))
        };
        assert_eq!(
            message(100, 19).unwrap_err(),
            (
                "image too small",
                "image too small: 100x19 pixels, the shorter side must have at least 20".to_owned()
            )
        );
        assert_eq!(message(100, 20).unwrap_err().0, "image area too large");
        let bad = ReshapeSpec {
            max_image_area: 2000.0,
            ..bad
        };
        let refused = reshape(grey(41, 20), &bad).unwrap_err();
        assert_eq!(refused.status_message(), "aspect ratio too large");
        assert!(refused.to_string().starts_with(refused.status_message()));
        assert!(reshape(grey(40, 20), &bad).is_ok());
    }

    #[test]
    fn a_thin_image_is_refused_before_it_explodes() {
        let thin = Pixels::filled(60_000, 1, Channels::Grey, &[7]).unwrap();
        for mode in [ResizeMode::KeepRatio, ResizeMode::CenterCrop] {
            let error = reshape(thin.clone(), &spec(mode, 256)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "resized image too large: 15360000x256 pixels, limit is 67108864 pixels"
            );
            assert!(!error.hints().is_empty());
        }
        let longest = reshape(thin.clone(), &spec(ResizeMode::KeepRatioLargest, 256)).unwrap();
        assert_eq!(shape(&longest.pixels), (256, 1));
        let border = reshape(thin.clone(), &spec(ResizeMode::Border, 100_000)).unwrap_err();
        assert_eq!(border.status_message(), "resized image too large");
        // Within the limit on pixels, but not within that on sides.
        let long = spec(ResizeMode::KeepRatio, 5);
        assert_eq!(
            reshape(thin, &long).unwrap_err().status_message(),
            "resized image too large"
        );
    }

    #[test]
    fn an_image_size_of_zero_is_an_error_unless_nothing_is_resized() {
        for mode in MODES {
            let outcome = reshape(grey(3, 4), &spec(mode, 0));
            match mode {
                ResizeMode::No => assert_eq!(shape(&outcome.unwrap().pixels), (3, 4)),
                _ => assert_eq!(outcome.unwrap_err(), ReshapeError::NoImageSize),
            }
        }
    }

    #[test]
    fn small_images_stay_when_only_bigger_ones_are_resized() {
        for mode in MODES {
            let spec = ReshapeSpec {
                only_if_bigger: true,
                ..spec(mode, 64)
            };
            let kept = reshape(grey(61, 41), &spec).unwrap();
            assert_eq!(
                (kept.pixels, kept.changed),
                (grey(61, 41), false),
                "{mode:?}"
            );
        }
        // The shorter side decides for one, the longer side for the other.
        let bigger = |mode| {
            let spec = ReshapeSpec {
                only_if_bigger: true,
                ..spec(mode, 50)
            };
            reshape(grey(61, 41), &spec).unwrap().changed
        };
        assert!(!bigger(ResizeMode::KeepRatio));
        assert!(bigger(ResizeMode::KeepRatioLargest));
    }

    #[test]
    fn a_border_is_white_and_larger_on_the_right() {
        let black = Pixels::filled(10, 5, Channels::Rgb, &[0, 0, 0]).unwrap();
        let square = reshape(black, &spec(ResizeMode::Border, 10)).unwrap();
        assert!(square.changed);
        let first: Vec<u8> = square.pixels.rows().map(|row| row[0]).collect();
        assert_eq!(first, [255, 255, 0, 0, 0, 0, 0, 255, 255, 255]);
    }

    #[test]
    fn halves_are_rounded_to_even() {
        let size = |width, height| Size { width, height };
        // 5 * 4 / 8 is 2.5, 7 * 4 / 8 is 3.5.
        assert_eq!(longest_max_size(size(8, 5), 4), size(4, 2));
        assert_eq!(longest_max_size(size(8, 7), 4), size(4, 4));
        assert_eq!(longest_max_size(size(1000, 1), 4), size(4, 1));
        assert_eq!(smallest_max_size(size(639, 90), 64), size(454, 64));
        assert_eq!(smallest_max_size(size(61, 41), 64), size(95, 64));
    }

    #[test]
    fn transparency_shows_white() {
        let rgba = Pixels::new(
            3,
            1,
            Channels::Rgba,
            vec![9, 8, 7, 0, 9, 8, 7, 255, 0, 100, 200, 51],
        )
        .unwrap();
        let matted = matte_white(rgba.clone());
        // 51 / 255 is a fifth: 0, 20 and 40 over 204.
        assert_eq!(matted.data(), [255, 255, 255, 9, 8, 7, 204, 224, 244]);
        assert_eq!(matte_white(matted.clone()), matted);
        let grey = Pixels::new(1, 1, Channels::GreyAlpha, vec![100, 51]).unwrap();
        assert_eq!(matte_white(grey).data(), [224, 224, 224]);
        // Matting alone changes the file.
        assert!(reshape(rgba, &spec(ResizeMode::No, 0)).unwrap().changed);
    }

    #[test]
    fn modes_and_interpolations_go_by_img2datasets_names() {
        for mode in MODES {
            assert_eq!(mode.name().parse(), Ok(mode));
            assert_eq!(mode.name().replace('_', "-").parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.name());
        }
        let error = "keepratio".parse::<ResizeMode>().unwrap_err();
        assert_eq!(error.to_string(), "unknown resize mode `keepratio`");
        assert!(error.nearest.contains(&"keep_ratio".to_owned()));
        for (name, expected) in [
            ("lanczos", Interpolation::Lanczos4),
            ("lanczos4", Interpolation::Lanczos4),
            ("Bilinear", Interpolation::Linear),
            ("bicubic", Interpolation::Cubic),
            ("area", Interpolation::Area),
        ] {
            assert_eq!(name.parse(), Ok(expected));
            let lower = serde_json::Value::from(name.to_lowercase());
            assert_eq!(
                serde_json::from_value::<Interpolation>(lower).unwrap(),
                expected
            );
        }
        assert!("sinc".parse::<Interpolation>().is_err());
    }

    #[test]
    fn a_spec_is_read_back_as_it_was_written() {
        let default = ReshapeSpec::default();
        let text = serde_json::to_string(&default).unwrap();
        assert!(
            !text.contains("null") && !text.contains("max-image-area"),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<ReshapeSpec>(&text).unwrap(), default);
        let limited = ReshapeSpec {
            max_aspect_ratio: 2.5,
            mode: ResizeMode::CenterCrop,
            ..default
        };
        let text = serde_json::to_string(&limited).unwrap();
        assert_eq!(serde_json::from_str::<ReshapeSpec>(&text).unwrap(), limited);
        assert!(serde_json::from_str::<ReshapeSpec>(r#"{"size": 3}"#).is_err());
    }

    /// Rounds `numerator / denominator` half to even in whole numbers.
    fn rounded(numerator: u64, denominator: u64) -> u64 {
        let (quotient, rest) = (numerator / denominator, numerator % denominator);
        match (2 * rest).cmp(&denominator) {
            std::cmp::Ordering::Less => quotient,
            std::cmp::Ordering::Equal => quotient + quotient % 2,
            std::cmp::Ordering::Greater => quotient + 1,
        }
    }

    proptest! {
        #[test]
        fn sizes_follow_from_the_ratio(width in 1u32..70, height in 1u32..70, edge in 1u32..50) {
            let (short, long) = (u64::from(width.min(height)), u64::from(width.max(height)));
            let other = |n: u64, by: u64| (rounded(n * u64::from(edge), by).max(1)) as u32;
            for mode in MODES {
                let out = reshape(grey(width, height), &spec(mode, edge)).unwrap();
                let got = shape(&out.pixels);
                let (low, high) = (got.0.min(got.1), got.0.max(got.1));
                match mode {
                    ResizeMode::No => prop_assert_eq!(got, (width, height)),
                    ResizeMode::Border | ResizeMode::CenterCrop => prop_assert_eq!(got, (edge, edge)),
                    // In binary a quotient may fall on the other side of a half.
                    ResizeMode::KeepRatio => {
                        prop_assert_eq!(low, edge);
                        prop_assert!(high.abs_diff(other(long, short)) <= 1);
                    }
                    ResizeMode::KeepRatioLargest => {
                        prop_assert_eq!(high, edge);
                        prop_assert!(low.abs_diff(other(short, long)) <= 1);
                    }
                }
                prop_assert_eq!(out.changed, mode != ResizeMode::No);
            }
        }

        #[test]
        fn no_shape_and_no_setting_panics(
            width in 1u32..2000,
            thin in 1u32..3,
            turned: bool,
            edge in 0u32..300,
            mode in 0usize..5,
            only_if_bigger: bool,
            alpha: bool,
        ) {
            let (width, height) = if turned { (thin, width) } else { (width, thin) };
            let channels = if alpha { Channels::Rgba } else { Channels::Grey };
            let pixels = Pixels::filled(width, height, channels, &[90; 4][..channels.count()]).unwrap();
            let spec = ReshapeSpec {
                only_if_bigger,
                max_pixels: 100_000,
                ..spec(MODES[mode], edge)
            };
            if let Ok(out) = reshape(pixels, &spec) {
                prop_assert!(!out.pixels.channels().has_alpha());
            }
        }
    }
}
