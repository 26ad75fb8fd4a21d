//! Images and tokens per second of models with random weights on a device, for `just bench-gpu`.
//!
//! ```sh
//! integrations/cuda/build.sh -- run --release -p sightline-models --features cuda --example device_speed -- \
//!     --device cuda:0 --weights bf16 clip-b32:256 clip-l14:256 gpt-124m:1 gpt-124m:32 gpt-1.3b:1
//! ```
//!
//! A workload is a model and a batch. `clip-…` makes unit vectors of images whose pixels are on the device; `gpt-…` writes
//! tokens behind a prompt, always the likeliest. Prints a JSON object for each. `benchmarks/gpu/peers_models.py` does
//! the same with torch.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use std::error::Error;
use std::time::Instant;

use candle_core::{Device, Tensor};
use serde_json::json;
use sightline_core::Seed;
use sightline_models::families::clip::{Clip, ClipConfig};
use sightline_models::{DeviceName, Embed, Precision, device};
use sightline_nn::causal::{CausalNetwork, CausalSpec, Next, Positions, example};
use sightline_nn::decode::{self, Greedy};
use sightline_nn::{CausalTransformer, Weights};

/// Tokens of a prompt, and those that are written behind it.
const PROMPT: usize = 32;
const WRITTEN: usize = 128;
/// Passes that are timed, at least and at most.
const PASSES: (usize, usize) = (3, 50);

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Arguments {
    device: DeviceName,
    weights: Precision,
    seconds: f64,
    workloads: Vec<String>,
}

fn main() -> Outcome<()> {
    let arguments = arguments()?;
    let device = arguments.device.open()?;
    for workload in &arguments.workloads {
        let (model, batch) = workload
            .split_once(':')
            .ok_or("a workload is MODEL:BATCH")?;
        let batch: usize = batch.parse()?;
        let start = Instant::now();
        let (count, unit, run) = prepared(model, batch, arguments.weights, &device)?;
        device.synchronize()?;
        let load_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        run()?;
        device.synchronize()?;
        let first_s = start.elapsed().as_secs_f64();
        run()?;
        let (mut passes, mut total) = (Vec::new(), 0.0);
        while passes.len() < PASSES.0 || (passes.len() < PASSES.1 && total < arguments.seconds) {
            device.synchronize()?;
            let start = Instant::now();
            run()?;
            device.synchronize()?;
            let seconds = start.elapsed().as_secs_f64();
            total += seconds;
            passes.push(seconds);
        }
        passes.sort_by(f64::total_cmp);
        let told = json!({
            "schema": 1,
            "program": "sightline",
            "workload": model,
            "batch": batch,
            "device": device::describe(&device),
            "weights": arguments.weights,
            "unit": unit,
            "per_s": count as f64 / passes[passes.len() / 2],
            "best_per_s": count as f64 / passes[0],
            "passes": passes,
            // Of all workloads so far.
            "peak_bytes": device::peak_memory_bytes(&device),
            "load_s": load_s,
            "first_s": first_s,
        });
        println!("{told}");
    }
    Ok(())
}

fn arguments() -> Outcome<Arguments> {
    let mut words = std::env::args().skip(1);
    let mut arguments = Arguments {
        device: DeviceName::Cpu,
        weights: Precision::F32,
        seconds: 2.0,
        workloads: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or("a flag has no value");
        match word.as_str() {
            "--device" => arguments.device = value()?.parse()?,
            "--weights" => arguments.weights = serde_json::from_value(value()?.into())?,
            "--seconds" => arguments.seconds = value()?.parse()?,
            _ => arguments.workloads.push(word),
        }
    }
    Ok(arguments)
}

/// What a pass makes, how that is called, and the pass.
type Prepared = (usize, &'static str, Box<dyn Fn() -> Outcome<()>>);

fn prepared(model: &str, batch: usize, weights: Precision, device: &Device) -> Outcome<Prepared> {
    if let Some(config) = clip(model) {
        let clip = Clip::random(&config, Seed(1), weights, device)?;
        let side = config.vision.image_size;
        let dtype = weights.element_type(device)?;
        let pixels = Tensor::randn(0f32, 1.0, (batch, 3, side, side), device)?.to_dtype(dtype)?;
        let run = move || {
            clip.embed_images(&pixels)?;
            Ok(())
        };
        return Ok((batch, "images", Box::new(run)));
    }
    let spec = gpt(model).ok_or_else(|| format!("unknown model `{model}`"))?;
    let weights = Weights::random(Seed(1), device).with_precision(weights)?;
    let vocabulary = spec.vocabulary_size as u32;
    let model = CausalTransformer::load(&weights, &weights, &spec)?;
    let row = |b: usize| (0..PROMPT).map(move |t| (t * 997 + b * 31) as u32 % vocabulary);
    let prompts: Vec<Vec<u32>> = (0..batch).map(|b| row(b).collect()).collect();
    let run = move || {
        let embeds = model.embed(&prompts)?;
        let (mut network, hidden) = CausalNetwork::read(&model, Next::new(&embeds))?;
        let last = hidden.narrow(1, PROMPT - 1, 1)?.squeeze(1)?;
        let searches = vec![Greedy::new(&[], WRITTEN); batch];
        let found = decode::run(&mut network, &model.logits(&last)?, searches)?;
        let written: usize = found.iter().map(|found| found[0].ids.len()).sum();
        if written == batch * WRITTEN {
            Ok(())
        } else {
            Err(format!("{written} tokens").into())
        }
    };
    Ok((batch * WRITTEN, "tokens", Box::new(run)))
}

fn clip(model: &str) -> Option<ClipConfig> {
    let mut config = ClipConfig::default();
    let vision = &mut config.vision;
    match model {
        "clip-b32" => {}
        "clip-b16" => vision.patch_size = 16,
        "clip-l14" => {
            vision.patch_size = 14;
            vision.hidden_size = 1024;
            vision.intermediate_size = 4096;
            vision.num_hidden_layers = 24;
            vision.num_attention_heads = 16;
            config.projection_dim = 768;
        }
        _ => return None,
    }
    Some(config)
}

fn gpt(model: &str) -> Option<CausalSpec> {
    let (width, depth, heads) = match model {
        "gpt-124m" => (768, 12, 12),
        "gpt-1.3b" => (2048, 24, 32),
        _ => return None,
    };
    Some(CausalSpec {
        width,
        embedding_width: width,
        vocabulary_size: 50_257,
        context: 1024,
        depth,
        heads,
        hidden: 4 * width,
        positions: Positions::Learned {
            rows: 1024,
            offset: 0,
        },
        ..example()
    })
}
