//! Milliseconds from an encoded image to the tensor that CLIP is fed, by stage, on one thread.
//!
//! ```sh
//! cargo run --release -p sightline-preprocess --example prepare_speed -- photo.jpg
//! ```
//!
//! The arguments are image files. Prints the repetition that took least time.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use serde_json::json;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_preprocess::{Limits, Preprocessor, Workspace};

const RUNS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = from_hugging_face(&json!({ "image_processor_type": "CLIPImageProcessor" }))?;
    let preprocessor = Preprocessor::new(spec, Limits::default())?;
    let mut values = vec![0f32; preprocessor.len()];
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        let mut workspace = Workspace::default();
        let mut best = None;
        for _ in 0..RUNS {
            let before = workspace.timings();
            preprocessor.prepare_into(&bytes, &mut workspace, &mut values)?;
            let run = workspace.timings() - before;
            if best.is_none_or(|best: sightline_preprocess::Timings| run.total() < best.total()) {
                best = Some(run);
            }
        }
        if let Some(best) = best {
            println!(
                "{path}: decode {:.3} + resize {:.3} + normalise {:.3} = {:.3} ms",
                best.decode.as_secs_f64() * 1e3,
                best.resize.as_secs_f64() * 1e3,
                best.normalise.as_secs_f64() * 1e3,
                best.total().as_secs_f64() * 1e3
            );
        }
    }
    Ok(())
}
