//! Colour profiles (ICC): finding them in files, and turning pixels that have one into sRGB.
//!
//! | profile | pixels |
//! | --- | --- |
//! | RGB, by matrix and curves or by tables | converted, perceptual intent |
//! | grey | converted, by its curve |
//! | CMYK, Lab and others | left as decoding makes them: the ink values are gone by then |
//! | damaged | left as they are, as programs without colour management show them |
//!
//! The arithmetic is that of the crate `moxcms`. Against Pillow's `ImageCms.profileToProfile` (lcms2) on profiles of cameras,
//! scanners and editors it stays within the levels that `tests/icc.rs` says.

use std::io::Cursor;

use image::ImageDecoder;
use moxcms::{ColorProfile, DataColorSpace, Layout, RenderingIntent, TransformOptions};

use sightline_core::ImageFormat;

use crate::{Channels, Pixels, Sniffed, sniff};

/// Longest profile that is looked at; tables for printers are about half of it.
const MAX_LEN_BYTES: usize = 4 << 20;
/// What the segments of a profile in a JPEG file begin with.
const JPEG_MARK: &[u8] = b"ICC_PROFILE\0";
/// Pixels that are converted at a time.
const BLOCK: usize = 4096;

/// The profile in a JPEG, PNG or WebP file, if there is one.
pub fn icc_profile(file: &[u8]) -> Option<Vec<u8>> {
    let profile = match sniff(file) {
        Some(Sniffed::Image(ImageFormat::Jpg)) => in_jpeg(file),
        Some(Sniffed::Image(ImageFormat::Png)) => in_png(file),
        Some(Sniffed::Image(ImageFormat::Webp)) => in_webp(file),
        _ => None,
    };
    profile.filter(|profile| (1..=MAX_LEN_BYTES).contains(&profile.len()))
}

/// The segments in the order of their numbers; nothing when one is missing.
fn in_jpeg(file: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<(u8, &[u8])> = Vec::new();
    let mut rest = file.get(2..)?;
    while let [0xff, marker, high, low, ..] = *rest {
        let len = usize::from(u16::from_be_bytes([high, low]));
        // The picture begins, or fill bytes that no profile stands behind.
        if marker == 0xda || marker == 0xff || len < 2 {
            break;
        }
        let segment = rest.get(4..2 + len)?;
        if marker == 0xe2
            && let Some([number, _, part @ ..]) = segment.strip_prefix(JPEG_MARK)
        {
            parts.push((*number, part));
        }
        rest = &rest[2 + len..];
    }
    parts.sort_by_key(|(number, _)| *number);
    let is_whole = (1u8..).zip(&parts).all(|(at, (number, _))| at == *number);
    (is_whole && !parts.is_empty())
        .then(|| parts.iter().flat_map(|(_, part)| *part).copied().collect())
}

fn in_png(file: &[u8]) -> Option<Vec<u8>> {
    let limits = png::Limits {
        bytes: 2 * MAX_LEN_BYTES,
    };
    let decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    let reader = decoder.read_info().ok()?;
    reader.info().icc_profile.as_deref().map(<[u8]>::to_vec)
}

fn in_webp(file: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = image::codecs::webp::WebPDecoder::new(Cursor::new(file)).ok()?;
    decoder.icc_profile().ok()?
}

/// `pixels`, which are grey or RGB and have `profile`, in sRGB. They come back as they were where the profile is of another
/// kind or damaged.
pub fn to_srgb(mut pixels: Pixels, profile: &[u8]) -> Pixels {
    let channels = pixels.channels();
    let (Channels::Grey | Channels::Rgb) = channels else {
        return pixels;
    };
    let Ok(profile) = ColorProfile::new_from_slice(profile) else {
        return pixels;
    };
    let options = TransformOptions {
        rendering_intent: RenderingIntent::Perceptual,
        allow_use_cicp_transfer: false,
        prefer_fixed_point: true,
        ..TransformOptions::default()
    };
    let (from, takes) = match profile.color_space {
        DataColorSpace::Rgb if channels == Channels::Rgb => (Layout::Rgb, 3),
        DataColorSpace::Gray => (Layout::Gray, 1),
        _ => return pixels,
    };
    let srgb = ColorProfile::new_srgb();
    let Ok(transform) = profile.create_transform_8bit(from, &srgb, Layout::Rgb, options) else {
        return pixels;
    };
    let (mut input, mut output) = (Vec::new(), vec![0; 3 * BLOCK]);
    let of_pixel = channels.count();
    for block in pixels.data_mut().chunks_mut(of_pixel * BLOCK) {
        input.clear();
        if takes == of_pixel {
            input.extend_from_slice(block);
        } else {
            // A grey picture whose three channels are the same.
            input.extend(block.iter().step_by(of_pixel));
        }
        let output = &mut output[..input.len() / takes * 3];
        if transform.transform(&input, output).is_err() {
            break;
        }
        for (to, from) in block.chunks_mut(of_pixel).zip(output.chunks(3)) {
            to.copy_from_slice(&from[..of_pixel]);
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::encode_with_profile;
    use crate::{EncodeSpec, encode};

    fn adobe() -> Vec<u8> {
        ColorProfile::new_adobe_rgb().encode().unwrap()
    }

    fn picture() -> Pixels {
        let data = (0..40 * 30 * 3).map(|i| (i * 7) as u8).collect();
        Pixels::new(40, 30, Channels::Rgb, data).unwrap()
    }

    #[test]
    fn a_profile_that_was_written_is_found() {
        let long = vec![7; 100_000];
        for profile in [adobe(), long] {
            for format in [ImageFormat::Jpg, ImageFormat::Png, ImageFormat::Webp] {
                let spec = EncodeSpec {
                    format,
                    quality: 90,
                };
                let file = encode_with_profile(&picture(), &spec, Some(&profile)).unwrap();
                assert_eq!(icc_profile(&file).as_ref(), Some(&profile), "{format:?}");
                assert_eq!(icc_profile(&encode(&picture(), &spec).unwrap()), None);
            }
        }
    }

    #[test]
    fn wide_colours_are_brought_to_srgb_and_greys_stay() {
        let pixels = |value: &[u8; 3]| Pixels::filled(3, 2, Channels::Rgb, value).unwrap();
        let converted = to_srgb(pixels(&[100, 200, 100]), &adobe());
        let [red, green, _] = converted.data()[..3] else {
            panic!("three channels")
        };
        assert!(red < 60 && green >= 199, "{:?}", &converted.data()[..3]);
        let grey = to_srgb(pixels(&[128; 3]), &adobe());
        assert!(grey.data().iter().all(|level| level.abs_diff(128) <= 1));
        let same = to_srgb(pixels(&[1, 2, 3]), b"no profile");
        assert_eq!(same, pixels(&[1, 2, 3]));
    }

    proptest! {
        #[test]
        fn any_profile_leaves_a_picture(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        ) {
            let mut profile = adobe();
            for (at, byte) in changes {
                let at = at.index(profile.len());
                profile[at] = byte;
            }
            let converted = to_srgb(picture(), &profile);
            prop_assert_eq!(converted.size(), picture().size());
        }
    }
}
