//! Questions per second of a `VisualBERT` base with random weights, 36 regions and 20 tokens each.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p sightline-models --example visualbert_speed -- 8
//! ```
//!
//! The argument is the batch size; threads are set by rayon's variable. Prints the best and the median of several batches.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use sightline_core::Seed;
use sightline_models::families::visualbert::{HeadKind, VisualBert, VisualBertConfig};
use sightline_models::{Classify, Visual};

const RUNS: usize = 7;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let batch = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 8,
    };
    let device = Device::Cpu;
    let config = VisualBertConfig {
        visual_embedding_dim: 2048,
        labels: Some(vec![String::new(); 3129]),
        ..VisualBertConfig::default()
    };
    let kind = HeadKind::QuestionAnswering;
    let model = VisualBert::random(&config, kind, Seed(1), &device)?;
    let images = [Visual::Regions {
        features: Tensor::randn(0f32, 1.0, (batch, 36, 2048), &device)?,
        present: Tensor::ones((batch, 36), DType::F32, &device)?,
    }];
    // Start, question, mask and end; `?` has no id of its own here.
    let question = "word ".repeat(17);
    let questions = vec![question.as_str(); batch];
    let call = || model.classify(&images, &questions);
    call()?;
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        call()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[RUNS / 2]);
    println!(
        "batch {batch}: {:.2} questions/s, {:.2} at best ({:.0} ms)",
        batch as f64 / median,
        batch as f64 / best,
        best * 1e3
    );
    Ok(())
}
