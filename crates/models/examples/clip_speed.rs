//! Images and texts per second of a CLIP ViT-B/32 with random weights.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run -p sightline-models --example clip_speed -- 8
//! ```
//!
//! The argument is the batch size; threads are set by rayon's variable. Prints the best and the median of several batches.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::time::Instant;

use candle_core::{Device, Tensor};
use sightline_core::Seed;
use sightline_models::families::clip::{Clip, ClipConfig};
use sightline_models::{Embed, Precision};

const RUNS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 8,
    };
    let device = Device::Cpu;
    let clip = Clip::random(&ClipConfig::default(), Seed(1), Precision::F32, &device)?;
    let pixels = Tensor::randn(0f32, 1.0, (batch, 3, 224, 224), &device)?;
    let long = "word ".repeat(75);
    let texts = vec![long.as_str(); batch];
    let images = measure(|| clip.embed_images(&pixels))?;
    let texts = measure(|| clip.embed_texts(&texts))?;
    for (what, (best, median)) in [("images", images), ("texts of 77 tokens", texts)] {
        println!(
            "batch {batch}: {:.2} {what}/s, {:.2} at best ({:.0} ms)",
            batch as f64 / median,
            batch as f64 / best,
            best * 1e3
        );
    }
    Ok(())
}

/// Least and median seconds of [`RUNS`] calls after one that is not counted.
fn measure(
    mut call: impl FnMut() -> Result<Tensor, sightline_models::Error>,
) -> Result<(f64, f64), sightline_models::Error> {
    call()?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[0], seconds[RUNS / 2]))
}
