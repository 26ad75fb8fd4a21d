//! How long a step of training takes: value and gradients of `SimVLM`'s objective at the size of the miniature (2 + 2 layers,
//! width 64, 16 cells, 64 captions).
//!
//! `cargo run --release -p sightline-models --example objective_speed -- [STEPS]`

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use candle_core::{Device, Var};
use serde_json::json;
use sightline_core::Seed;
use sightline_models::conformance::gradients::wave;
use sightline_models::objective::{ObjectiveSpec, TrainingBatch, TrainingExample, find, start};
use sightline_models::{ModelSpec, TokenizerChoice, Visual};
use sightline_nn::Weights;

const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args()
        .nth(1)
        .map_or(Ok(20), |steps| steps.parse())?;
    let device = Device::Cpu;
    let folder = tempfile::tempdir()?;
    let config = json!({
        "family": "simvlm", "variant": "encoder_decoder", "stem": "patch", "image_size": 64,
        "d_model": 64, "d_ff": 256, "n_heads": 4, "n_enc": 2, "n_dec": 2, "vocab_size": 40,
        "max_text_len": 32, "bos_id": 1, "eos_id": 2, "relative_2d": true, "tie_embeddings": true,
    });
    fs::write(folder.path().join("config.json"), config.to_string())?;
    let model = ModelSpec {
        checkpoint: Some(folder.path().to_owned()),
        tokenizer: TokenizerChoice::WordHash,
        ..ModelSpec::without_checkpoint(Seed(0))
    };
    let spec = ObjectiveSpec {
        model: &model,
        options: &json!({}),
        device: &device,
        reward: None,
        keep: None,
    };
    let objective = (find("simvlm", "prefix-lm")?.open)(&spec)?;
    let mut tensors = start(objective.as_ref(), Vec::new(), Seed(1), &device)?.tensors;
    for (name, tensor) in &mut tensors {
        if objective.is_trained(name) {
            *tensor = Var::from_tensor(tensor)?.into_inner();
        }
    }
    let example = |number: usize| TrainingExample {
        id: number.to_string(),
        images: vec![number],
        captions: vec!["a small red square to the left of a large blue circle".to_owned()],
        ..TrainingExample::default()
    };
    let batch = TrainingBatch {
        visual: Some(Visual::Pixels(wave(&[BATCH, 3, 64, 64], &device)?)),
        examples: (0..BATCH).map(example).collect(),
        ..TrainingBatch::default()
    };
    let (mut forward, mut backward) = (Duration::ZERO, Duration::ZERO);
    for step in 0..=steps {
        let begun = Instant::now();
        let weights = Weights::of_tensors(tensors.clone(), &device);
        let loss = objective.loss(&weights, &batch, Seed(step))?;
        let computed = Instant::now();
        let gradients = loss.total.backward()?;
        drop(gradients);
        // The first step warms up.
        if step > 0 {
            forward += computed - begun;
            backward += computed.elapsed();
        }
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / steps.max(1) as f64;
    let (forward, backward) = (each(forward), each(backward));
    let rate = BATCH as f64 * 1e3 / (forward + backward);
    #[expect(clippy::print_stdout, reason = "what the example is for")]
    {
        println!("value {forward:.2} ms, gradients {backward:.2} ms, {rate:.0} samples/s");
    }
    Ok(())
}
