//! Milliseconds that decoding takes: all pixels, the centred square, and at smaller scales.
//!
//! ```sh
//! cargo run --release -p sightline-imaging --example jpeg_speed -- 50 photo.jpg other.jpg
//! ```
//!
//! The first argument is the number of runs. Buffers are kept from run to run, but for the first line. The least of their times is taken, which other programs on the
//! machine disturb least, and the mean over all files printed.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::hint::black_box;
use std::time::Instant;

use sightline_core::image_spec::Size;
use sightline_imaging::{DecodeError, DecodeOptions, Decoder, Scale, Window};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let runs: u32 = arguments
        .next()
        .ok_or("the number of runs is missing")?
        .parse()?;
    let files = arguments
        .map(std::fs::read)
        .collect::<Result<Vec<_>, _>>()?;
    let all = Window::whole as fn(Size) -> Window;
    for (what, fresh, scale, window) in [
        ("all pixels, new buffers", true, Scale::Full, all),
        ("all pixels", false, Scale::Full, all),
        ("square", false, Scale::Full, square),
        ("1/2", false, Scale::Half, all),
        ("1/4", false, Scale::Quarter, all),
        ("1/8", false, Scale::Eighth, all),
    ] {
        let mut total = 0.0;
        for file in &files {
            total += least_ms(runs, fresh, file, scale, window)?;
        }
        println!("{:8.3} ms  {what}", total / files.len() as f64);
    }
    Ok(())
}

/// The largest square in the middle.
fn square(size: Size) -> Window {
    let side = size.width.min(size.height);
    Window {
        left: (size.width - side) / 2,
        top: (size.height - side) / 2,
        width: side,
        height: side,
    }
}

fn least_ms(
    runs: u32,
    fresh: bool,
    file: &[u8],
    scale: Scale,
    window: fn(Size) -> Window,
) -> Result<f64, DecodeError> {
    let options = DecodeOptions::pillow().with_scale(scale);
    let mut decoder = Decoder::default();
    let mut least = f64::INFINITY;
    for _ in 0..runs {
        if fresh {
            decoder = Decoder::default();
        }
        let start = Instant::now();
        let decoded =
            decoder.decode_rgb_window(black_box(file), &options, |image| window(image.size()))?;
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
        decoder.recycle(black_box(decoded).pixels);
    }
    Ok(least)
}
