//! Milliseconds from an encoded image to the tensor that CLIP is fed, by stage, on one thread.
//!
//! ```sh
//! cargo run --release -p sightline-preprocess --example prepare_speed -- photo.jpg
//! ```
//!
//! The arguments are image files. Prints the repetition that took least time, in the exact and in the fast mode, and
//! how far the fast mode is from the exact one.

#![expect(
    clippy::print_stdout,
    reason = "the figures are what the example is for"
)]

use serde_json::json;
use sightline_core::image_spec::hugging_face::from_hugging_face;
use sightline_preprocess::{Limits, Mode, PrepareError, Preprocessor, Timings, Workspace};

const RUNS: usize = 30;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let spec = from_hugging_face(&json!({ "image_processor_type": "CLIPImageProcessor" }))?;
    let exact = Preprocessor::new(spec, Limits::default())?;
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path)?;
        for mode in [Mode::Exact, Mode::Fast] {
            let best = least(&exact.clone().with_mode(mode), &bytes)?;
            let [decode, resize, normalise, total] =
                [best.decode, best.resize, best.normalise, best.total()]
                    .map(|time| time.as_secs_f64() * 1e3);
            println!(
                "{path} {mode:?}: decode {decode:.3} + resize {resize:.3} + normalise {normalise:.3} = {total:.3} ms"
            );
        }
        let fast = exact.clone().with_mode(Mode::Fast);
        println!("{:?}", fast.deviation_from_exact([&bytes]));
    }
    Ok(())
}

/// The stages of the repetition that took least time.
fn least(preprocessor: &Preprocessor, bytes: &[u8]) -> Result<Timings, PrepareError> {
    let mut workspace = Workspace::default();
    let mut values = vec![0f32; preprocessor.len()];
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let before = workspace.timings();
        preprocessor.prepare_into(bytes, &mut workspace, &mut values)?;
        runs.push(workspace.timings() - before);
    }
    Ok(runs
        .into_iter()
        .min_by_key(Timings::total)
        .unwrap_or_default())
}
