//! Laws of decoding that no file may break: no panic, no silent loss, no size beyond the limits.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat as Written, Rgb, RgbImage, Rgba, RgbaImage};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use proptest::prelude::*;
use sightline_core::image_spec::Size;
use sightline_imaging::{
    DecodeOptions, Decoder, EncodeSpec, Foreign, Limits, Pixels, Scale, Sniffed, Window,
    decode_native, decode_rgb, decode_rgb_window, encode, sniff,
};

/// A lossy WebP of 8 by 6 pixels, left half orange, right half blue (Pillow 13, quality 60).
const LOSSY_WEBP: &[u8] =
    b"RIFFJ\0\0\0WEBPVP8 >\0\0\0p\x02\0\x9d\x01*\x08\0\x06\0\x02\x80B%\xa8\x02tr\0\xfb\0\
    \xaf\xff\xdc\0\x07\x06\0\0\xfe\xee\x1f\x8e\x9ej[\xb9%o\xd8\xff\xff\x04\x9b\xfa6\xd2\
    \xbfM\x12\xd5Mc\xff\x05QTmc\xd1\xf0\0";

/// Every class that a file can be refused with.
const CLASSES: &[&str] = &[
    "empty",
    "not-an-image",
    "unsupported-format",
    "too-many-bytes",
    "too-many-pixels",
    "side-too-long",
    "truncated",
    "malformed",
];

fn colour(x: u32, y: u32) -> [u8; 3] {
    [(x * 11 + y) as u8, (y * 13) as u8, (x * y * 3) as u8]
}

fn rgb(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, y| Rgb(colour(x, y))).into()
}

fn written(image: &DynamicImage, format: Written) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image
        .write_to(&mut file, format)
        .expect("memory takes every byte");
    file.into_inner()
}

fn ppm(image: &DynamicImage) -> Vec<u8> {
    let header = format!("P6\n{} {}\n255\n", image.width(), image.height());
    [header.as_bytes(), &image.to_rgb8()].concat()
}

fn jpeg(
    colour_type: ColorType,
    channels: usize,
    set_up: impl Fn(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let (width, height) = (45u32, 38u32);
    let data: Vec<u8> = (0..width * height)
        .flat_map(|i| {
            let [r, g, b] = colour(i % width, i / width);
            [r, g, b, 40].into_iter().take(channels).collect::<Vec<_>>()
        })
        .collect();
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 80);
    set_up(&mut encoder);
    encoder
        .encode(&data, width as u16, height as u16, colour_type)
        .expect("memory takes every byte");
    file
}

/// One file of each format and of each way that it is decoded.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let alpha = RgbaImage::from_fn(13, 9, |x, y| {
        let [r, g, b] = colour(x, y);
        Rgba([r, g, b, (x * 19) as u8])
    });
    let alpha = DynamicImage::from(alpha);
    let opaque = rgb(21, 17);
    vec![
        (
            "jpeg 4:2:0",
            jpeg(ColorType::Rgb, 3, |e| {
                e.set_sampling_factor(SamplingFactor::R_4_2_0);
            }),
        ),
        (
            "jpeg 4:2:2",
            jpeg(ColorType::Rgb, 3, |e| {
                e.set_sampling_factor(SamplingFactor::R_4_2_2);
                e.set_restart_interval(2);
            }),
        ),
        (
            "jpeg progressive",
            jpeg(ColorType::Rgb, 3, |e| e.set_progressive(true)),
        ),
        (
            "jpeg optimised",
            jpeg(ColorType::Rgb, 3, |e| e.set_optimized_huffman_tables(true)),
        ),
        ("jpeg grey", jpeg(ColorType::Luma, 1, |_| {})),
        ("jpeg inks", jpeg(ColorType::CmykAsYcck, 4, |_| {})),
        ("png", written(&opaque, Written::Png)),
        ("png alpha", written(&alpha, Written::Png)),
        (
            "png 16",
            written(&DynamicImage::from(opaque.to_rgb16()), Written::Png),
        ),
        (
            "png grey 16",
            written(&DynamicImage::from(opaque.to_luma16()), Written::Png),
        ),
        ("webp lossless", written(&alpha, Written::WebP)),
        ("webp lossy", LOSSY_WEBP.to_vec()),
        ("gif", written(&alpha, Written::Gif)),
        ("bmp", written(&opaque, Written::Bmp)),
        (
            "bmp grey",
            written(&DynamicImage::from(opaque.to_luma8()), Written::Bmp),
        ),
        ("tiff", written(&opaque, Written::Tiff)),
        (
            "tiff grey 16",
            written(&DynamicImage::from(opaque.to_luma16()), Written::Tiff),
        ),
        ("ppm", ppm(&opaque)),
    ]
}

/// Decodes in every way; the ways agree on whether the file can be read.
fn check(name: &str, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let native = decode_native(bytes, &Limits::default());
    let outcomes = [DecodeOptions::pillow(), DecodeOptions::sane()].map(|o| decode_rgb(bytes, &o));
    for outcome in outcomes {
        prop_assert_eq!(outcome.is_ok(), native.is_ok(), "{}", name);
        match outcome {
            Ok(decoded) => {
                let (size, stored) = (decoded.pixels.size(), decoded.stored);
                prop_assert!(
                    size == stored || (size.width, size.height) == (stored.height, stored.width),
                    "{name}"
                );
            }
            Err(e) => prop_assert!(CLASSES.contains(&e.class()), "{name}: {e}"),
        }
    }
    Ok(native.is_ok())
}

#[test]
fn whole_files_decode() {
    for (name, bytes) in files() {
        assert!(check(name, &bytes).unwrap(), "{name}");
    }
}

/// A window inside an image: four numbers say where, each of the whole range.
fn window_in(size: Size, [left, top, width, height]: [u16; 4]) -> Window {
    let part = |of: u32, number: u16| ((u64::from(of) * u64::from(number)) >> 16) as u32;
    let (left, top) = (part(size.width, left), part(size.height, top));
    Window {
        left,
        top,
        width: part(size.width - left - 1, width) + 1,
        height: part(size.height - top - 1, height) + 1,
    }
}

fn cut(pixels: &Pixels, window: Window) -> Vec<u8> {
    let count = pixels.channels().count();
    let rows = pixels.rows().skip(window.top as usize);
    rows.take(window.height as usize)
        .flat_map(|row| &row[window.left as usize * count..][..window.width as usize * count])
        .copied()
        .collect()
}

const SCALES: [Scale; 4] = [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth];

/// Decoding a window gives the pixels and errors of decoding everything.
fn check_window(
    name: &str,
    bytes: &[u8],
    scale: Scale,
    place: [u16; 4],
) -> Result<(), TestCaseError> {
    for options in [DecodeOptions::pillow(), DecodeOptions::sane()] {
        let options = options.with_scale(scale);
        let whole = decode_rgb(bytes, &options);
        let part = decode_rgb_window(bytes, &options, |image| window_in(image.size(), place));
        match (whole, part) {
            (Ok(whole), Ok(part)) => {
                let window = window_in(whole.pixels.size(), place);
                let expected = cut(&whole.pixels, window);
                let width = part.pixels.width();
                prop_assert_eq!(width, window.width, "{}", name);
                prop_assert!(part.pixels.data() == expected, "{name}: {window:?}");
                prop_assert_eq!(
                    (part.stored, part.mode, part.orientation),
                    (whole.stored, whole.mode, whole.orientation)
                );
            }
            (whole, part) => prop_assert_eq!(whole.err(), part.err(), "{}", name),
        }
    }
    Ok(())
}

#[test]
fn a_decoder_keeps_nothing_of_other_files() {
    let mut decoder = Decoder::default();
    for scale in SCALES {
        let options = DecodeOptions::sane().with_scale(scale);
        for (name, bytes) in files() {
            for len in [bytes.len() / 2, bytes.len() * 9 / 10, bytes.len()] {
                let fresh = decode_rgb(&bytes[..len], &options);
                let kept = decoder.decode_rgb(&bytes[..len], &options);
                assert_eq!(kept, fresh, "{name}, {len} bytes");
                if let Ok(decoded) = kept {
                    decoder.recycle(decoded.pixels);
                }
            }
        }
    }
}

#[test]
fn a_decoder_uses_recycled_pixels_again() {
    for (name, bytes) in files() {
        if !name.starts_with("jpeg") || name == "jpeg inks" {
            continue;
        }
        let mut decoder = Decoder::default();
        let mut places = [(); 3].map(|()| {
            let decoded = decoder.decode_rgb(&bytes, &DecodeOptions::sane()).unwrap();
            let place = decoded.pixels.data().as_ptr();
            decoder.recycle(decoded.pixels);
            place
        });
        places.sort();
        assert_eq!(places[0], places[2], "{name}");
    }
}

#[test]
fn only_jpeg_files_are_made_smaller() {
    for (name, bytes) in files() {
        let size = |scale| {
            let options = DecodeOptions::pillow().with_scale(scale);
            let decoded = decode_rgb(&bytes, &options).unwrap();
            (decoded.pixels.size(), decoded.stored)
        };
        let (full, stored) = size(Scale::Full);
        for scale in SCALES {
            let expected = if name.starts_with("jpeg") {
                scale.announce(full).size()
            } else {
                full
            };
            assert_eq!(size(scale), (expected, stored), "{name}");
        }
    }
}

#[test]
fn windows_that_the_image_does_not_have_are_refused() {
    for (name, bytes) in files() {
        let options = DecodeOptions::pillow();
        let result = decode_rgb_window(&bytes, &options, |image| Window {
            left: 1,
            ..Window::whole(image.size())
        });
        assert_eq!(result.unwrap_err().class(), "window-outside", "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn windows_hold_the_pixels_of_the_whole(
        file in 0usize..18, orientation in 1u8..9, scale in 0usize..4, place in any::<[u16; 4]>(),
    ) {
        let (name, mut bytes) = files().swap_remove(file);
        if name.starts_with("jpeg") {
            bytes = with_orientation(&bytes, orientation);
        }
        check_window(name, &bytes, SCALES[scale], place)?;
    }

    #[test]
    fn damaged_files_never_panic(
        file in 0usize..18, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        scale in 0usize..4, place in any::<[u16; 4]>(),
    ) {
        let (name, mut bytes) = files().swap_remove(file);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(name, &bytes)?;
        check_window(name, &bytes, SCALES[scale], place)?;
    }

    #[test]
    fn anything_behind_a_magic_number_never_panics(
        file in 0usize..18, keep in 2usize..64, noise in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let (name, bytes) = files().swap_remove(file);
        let mut bytes = bytes[..keep.min(bytes.len())].to_vec();
        bytes.extend(noise);
        check(name, &bytes)?;
    }
}

#[test]
fn no_prefix_of_a_file_panics_and_none_of_a_jpeg_or_png_decodes() {
    for (name, bytes) in files() {
        // What stands behind the last pixel of a PNG may be missing: the end of the compressed data, two
        // checksums and the end chunk.
        let needed = match name.split(' ').next() {
            Some("jpeg") => bytes.len(),
            Some("png") => bytes.len() - 12 - 4 - 4 - 4,
            _ => 0,
        };
        for len in 0..bytes.len() {
            let decodes = check(name, &bytes[..len]).unwrap();
            assert!(
                !decodes || len >= needed,
                "{name}: {len} of {} bytes decode",
                bytes.len()
            );
        }
    }
}

#[test]
fn a_cut_file_is_called_truncated() {
    for (name, bytes) in files() {
        if name.starts_with("jpeg") || name.starts_with("png") {
            let error = decode_rgb(&bytes[..bytes.len() * 3 / 4], &DecodeOptions::sane());
            assert_eq!(error.unwrap_err().class(), "truncated", "{name}");
        }
    }
}

#[test]
fn the_announced_size_is_checked_before_anything_is_decoded() {
    for (name, bytes) in files() {
        let size = decode_native(&bytes, &Limits::default()).unwrap().size();
        let pixels = u64::from(size.width) * u64::from(size.height);
        let class = |limits: Limits| {
            decode_native(&bytes, &limits)
                .map_err(|e| e.class())
                .map(|_| ())
        };
        let limits = Limits::default();
        assert_eq!(
            class(Limits {
                max_pixels: pixels,
                ..limits
            }),
            Ok(()),
            "{name}"
        );
        let few = Limits {
            max_pixels: pixels - 1,
            ..limits
        };
        assert_eq!(class(few), Err("too-many-pixels"), "{name}");
        let short = Limits {
            max_side: size.width - 1,
            ..limits
        };
        assert_eq!(class(short), Err("side-too-long"), "{name}");
        let small = Limits {
            max_bytes: bytes.len() as u64 - 1,
            ..limits
        };
        assert_eq!(class(small), Err("too-many-bytes"), "{name}");
    }
}

#[test]
fn standard_huffman_tables_may_be_left_out() {
    let file = jpeg(ColorType::Rgb, 3, |_| {});
    let mut without = file[..2].to_vec();
    let mut at = 2;
    while file[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        if file[at + 1] != 0xc4 {
            without.extend_from_slice(&file[at..end]);
        }
        at = end;
    }
    without.extend_from_slice(&file[at..]);
    assert!(without.len() < file.len() - 400);
    let options = DecodeOptions::pillow();
    assert_eq!(
        decode_rgb(&without, &options).unwrap(),
        decode_rgb(&file, &options).unwrap()
    );
}

#[test]
fn pages_and_unknown_images_are_told_apart() {
    let class = |bytes: &[u8]| {
        decode_rgb(bytes, &DecodeOptions::sane())
            .unwrap_err()
            .class()
    };
    assert_eq!(class(b""), "empty");
    assert_eq!(class(b"<html><body>404</body></html>"), "not-an-image");
    assert_eq!(
        class(b"\0\0\0\x1cftypavif\0\0\0\0avif"),
        "unsupported-format"
    );
    assert_eq!(class(b"nothing that anyone knows"), "not-an-image");
    assert_eq!(sniff(b"{\"a\": 1}"), Some(Sniffed::Foreign(Foreign::Json)));
}

/// A JPEG file with an EXIF block that asks for `orientation`.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif =
        *b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    exif[28] = orientation;
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

#[test]
fn orientation_is_applied_only_when_asked() {
    let pixels = Pixels::filled(6, 4, sightline_imaging::Channels::Rgb, &[1, 2, 3]).unwrap();
    let plain = encode(&pixels, &EncodeSpec::default()).unwrap();
    let file = with_orientation(&plain, 6);
    let size = |options: DecodeOptions| {
        let decoded = decode_rgb(&file, &options).unwrap();
        assert_eq!((decoded.orientation, decoded.stored.width), (6, 6));
        (decoded.pixels.width(), decoded.pixels.height())
    };
    assert_eq!(size(DecodeOptions::pillow()), (6, 4));
    assert_eq!(size(DecodeOptions::sane()), (4, 6));
}
