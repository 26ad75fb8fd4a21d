//! Milliseconds that decoding takes, file by file.
//!
//! ```sh
//! cargo run --release -p sightline-imaging --example jpeg_speed -- 50 photo.jpg other.jpg
//! ```
//!
//! The first argument is the number of runs; the least of their times is printed, which other programs on the
//! machine disturb least.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::hint::black_box;
use std::time::Instant;

use sightline_imaging::{DecodeOptions, decode_rgb};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let runs: u32 = arguments
        .next()
        .ok_or("the number of runs is missing")?
        .parse()?;
    let options = DecodeOptions::pillow();
    let (mut total, mut files) = (0.0, 0);
    for path in arguments {
        let bytes = std::fs::read(&path)?;
        let mut best = f64::INFINITY;
        for _ in 0..runs {
            let start = Instant::now();
            black_box(decode_rgb(black_box(&bytes), &options)?);
            best = best.min(start.elapsed().as_secs_f64());
        }
        println!("{:8.3} ms  {path}", best * 1e3);
        total += best;
        files += 1;
    }
    println!("{:8.3} ms  mean", total * 1e3 / f64::from(files));
    Ok(())
}
