//! Captions per second of a VirTex R-50 L1 H2048 with random weights: beam search of 5 hypotheses, 30 tokens.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p sightline-models --example virtex_speed -- 8
//! ```
//!
//! The argument is the batch size; threads are set by rayon's variable. Random weights never write an end, so that
//! every caption takes all steps. Prints the best and the median of several batches, of the network for images alone
//! and of whole captions.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::time::Instant;

use candle_core::{Device, Tensor};
use sightline_core::Seed;
use sightline_models::families::virtex::{
    DecoderConfig, Objective, TextualConfig, VirTex, VirTexConfig,
};
use sightline_models::{Generate, Prompt, Segment, Visual};
use sightline_nn::NormPlace;
use sightline_nn::tower::{ResNetBlock, ResNetSpec};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 8,
    };
    let device = Device::Cpu;
    let model = VirTex::random(bicaptioning_r50_l1_h2048(), Seed(1), &device)?;
    let pixels = Tensor::randn(0f32, 1.0, (batch, 3, 224, 224), &device)?;
    let images = Visual::Pixels(pixels.clone());
    let segments: Vec<[Segment<'_>; 1]> = (0..batch).map(|i| [Segment::Image(i)]).collect();
    let prompt = |segments| Prompt {
        segments,
        seed: Seed(0),
    };
    let prompts: Vec<Prompt<'_>> = segments.iter().map(|one| prompt(one)).collect();
    let decoding = model.decoding();

    let grids = measure(|| model.visual().forward(&pixels).map(|_| 0))?;
    let mut tokens = 0;
    let captions = measure(|| {
        let texts = model.generate(&images, &prompts, &decoding)?;
        tokens = texts.iter().map(|text| text.tokens.len()).sum();
        Ok::<usize, sightline_models::Error>(tokens)
    })?;
    for (what, (best, median)) in [("grids", grids), ("captions", captions)] {
        println!(
            "batch {batch}: {:.2} {what}/s, {:.2} at best ({:.0} ms)",
            batch as f64 / median,
            batch as f64 / best,
            best * 1e3
        );
    }
    println!("{tokens} tokens in the last batch");
    Ok(())
}

/// The form of the best published model.
fn bicaptioning_r50_l1_h2048() -> VirTexConfig {
    VirTexConfig {
        image_size: 224,
        objective: Objective::Bicaptioning,
        visual: ResNetSpec {
            block: ResNetBlock::Bottleneck,
            stem_channels: 64,
            width_per_group: 64,
            layers: vec![3, 4, 6, 3],
        },
        textual: TextualConfig {
            norm_place: NormPlace::Post,
            num_layers: 1,
            hidden_size: 2048,
            attention_heads: 32,
            feedforward_size: 8192,
        },
        vocab_size: 10_000,
        max_caption_length: 30,
        max_decoding_steps: 30,
        decoder: DecoderConfig::Beam { width: 5 },
        keep_start: false,
        unk_index: 0,
        sos_index: 1,
        eos_index: 2,
        mask_index: 3,
    }
}

/// Least and median seconds of [`RUNS`] calls after one that is not counted.
fn measure<E>(mut call: impl FnMut() -> Result<usize, E>) -> Result<(f64, f64), E> {
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
