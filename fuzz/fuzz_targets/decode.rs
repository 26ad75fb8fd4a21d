//! Any bytes as an image file: no panic, and a window at any scale is what decoding everything and cropping
//! gives, with a decoder that has seen other files as with a new one.
//!
//! The last nine bytes of the input choose scale and window; what stands before them is the file. Inputs grow
//! from small files of several formats and of each kind of JPEG.
#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use sightline_core::ImageFormat;
use sightline_core::image_spec::Size;
use sightline_imaging::{
    Channels, DecodeOptions, Decoder, EncodeSpec, Limits, Pixels, Scale, Window, decode_native,
    decode_rgb, encode,
};

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_pixels: 1 << 18,
    max_side: 65_535,
};
const SCALES: [Scale; 4] = [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth];
/// Bytes behind the file.
const CHOICES: usize = 9;

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Some((file, &[scale, place @ ..])) = data.split_last_chunk::<CHOICES>() else {
        return;
    };
    let _ = decode_native(file, &LIMITS);
    for options in [DecodeOptions::pillow(), DecodeOptions::sane()] {
        let scale = SCALES[usize::from(scale % 4)];
        let options = options.with_limits(LIMITS).with_scale(scale);
        let whole = decode_rgb(file, &options);
        let part = DECODER.with_borrow_mut(|decoder| {
            decoder
                .decode_rgb_window(file, &options, |image| window_in(image.size(), place))
                .map(|part| {
                    let data = part.pixels.data().to_vec();
                    decoder.recycle(part.pixels);
                    data
                })
        });
        match (whole, part) {
            (Ok(whole), Ok(part)) => {
                let window = window_in(whole.pixels.size(), place);
                assert!(part == cut(&whole.pixels, window), "{scale:?} {window:?}");
            }
            (whole, part) => assert_eq!(whole.err(), part.err()),
        }
    }
});

/// A window inside an image, by two bytes for each side.
fn window_in(size: Size, place: [u8; 8]) -> Window {
    let part = |of: u32, i: usize| {
        let number = u64::from(u16::from_le_bytes([place[i], place[i + 1]]));
        ((u64::from(of) * number) >> 16) as u32
    };
    let (left, top) = (part(size.width, 0), part(size.height, 2));
    Window {
        left,
        top,
        width: part(size.width - left - 1, 4) + 1,
        height: part(size.height - top - 1, 6) + 1,
    }
}

fn cut(pixels: &Pixels, window: Window) -> Vec<u8> {
    let columns = window.left as usize * 3..(window.left + window.width) as usize * 3;
    let rows = pixels.rows().skip(window.top as usize);
    rows.take(window.height as usize)
        .flat_map(|row| &row[columns.clone()])
        .copied()
        .collect()
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let file = &SEEDS[seed as usize % SEEDS.len()];
    let len = file.len() + CHOICES;
    // Nothing grows into an image by itself.
    if (size <= CHOICES || seed.is_multiple_of(1024)) && len <= max_size {
        data[..file.len()].copy_from_slice(file);
        data[file.len()..len].fill((seed >> 8) as u8);
        return len;
    }
    fuzzer_mutate(data, size, max_size)
});

/// Small files.
static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let (width, height) = (37, 29);
    let data: Vec<u8> = (0..width * height * 3).map(|i| (i * i / 7) as u8).collect();
    let pixels = Pixels::new(width, height, Channels::Rgb, data).expect("the length is right");
    let lossless = [ImageFormat::Png, ImageFormat::Webp]
        .map(|format| encode(&pixels, &EncodeSpec::lossless(format)).expect("it can be encoded"));
    let jpeg = |factor: SamplingFactor, progressive: bool, restarts: u16| {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 60);
        encoder.set_sampling_factor(factor);
        encoder.set_progressive(progressive);
        encoder.set_restart_interval(restarts);
        let (width, height) = (width as u16, height as u16);
        encoder
            .encode(pixels.data(), width, height, ColorType::Rgb)
            .expect("memory takes every byte");
        file
    };
    let mut files = lossless.to_vec();
    for factor in [
        SamplingFactor::R_4_4_4,
        SamplingFactor::R_4_2_2,
        SamplingFactor::R_4_4_0,
        SamplingFactor::R_4_2_0,
        SamplingFactor::R_4_1_1,
    ] {
        files.extend([
            jpeg(factor, false, 0),
            jpeg(factor, false, 2),
            jpeg(factor, true, 0),
        ]);
    }
    files
});
