//! Language models on a device against the CPU, token by token, for `just bench-gpu`: random weights, every way of telling
//! positions, rows that are padded, moved, dropped and doubled on the way, and searches.
//!
//! ```sh
//! integrations/cuda/build.sh -- run --release -p sightline-models --features cuda --example device_check -- cuda:0
//! ```
//!
//! Prints a line for each case and type, and ends with 1 if one is off: if a logit differs from that of `f32` on the CPU by more
//! than 1e-5 in `f32`, 0.005 in `f16` and 0.05 in `bf16`, or a search in `f32` finds another text. On an H100 they were off by
//! 3e-7, 4e-4 and 3e-3 at most.

#![expect(clippy::print_stdout, reason = "the lines are what the example is for")]

use std::error::Error;
use std::process::ExitCode;

use candle_core::{Device, Tensor};
use sightline_core::Seed;
use sightline_models::{DeviceName, Precision};
use sightline_nn::causal::{
    Arrangement, CausalNetwork, CausalSpec, Next, Pairing, Positions, example,
};
use sightline_nn::decode::{self, Greedy, Hypothesis, LengthBeam, Network, NodeBeam};
use sightline_nn::{CausalTransformer, Weights};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Tokens that are written one after the other: more than memory is taken for at once.
const STEPS: usize = 300;
const ROWS: usize = 3;
const PROMPT: usize = 5;
const VOCABULARY: usize = 611;

fn main() -> ExitCode {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "cuda:0".to_owned());
    match checked(&name) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn checked(name: &str) -> Outcome<bool> {
    let device = name.parse::<DeviceName>()?.open()?;
    let mut all_near = true;
    for (case, spec) in specs() {
        for (precision, most) in [
            (Precision::F32, 1e-5),
            (Precision::F16, 0.005),
            (Precision::Bf16, 0.05),
        ] {
            for is_padded in [false, true] {
                let cpu = model(&spec, Precision::F32, &Device::Cpu)?;
                let gpu = model(&spec, precision, &device)?;
                let off = difference(&cpu, &gpu, is_padded)?;
                // Searches hang on differences that rounding to 16 bits exceeds.
                let same = precision != Precision::F32
                    || searched(&cpu, is_padded)? == searched(&gpu, is_padded)?;
                let is_near = off <= most && same;
                all_near &= is_near;
                let padded = if is_padded { "padded" } else { "plain" };
                let found = if same {
                    "the same texts"
                } else {
                    "OTHER TEXTS"
                };
                let told = if is_near { "ok" } else { "OFF" };
                println!("{told} {case} {precision:?} {padded}: off by {off:.1e} at most, {found}");
            }
        }
    }
    Ok(all_near)
}

fn specs() -> Vec<(&'static str, CausalSpec)> {
    let base = CausalSpec {
        width: 96,
        embedding_width: 96,
        vocabulary_size: VOCABULARY,
        context: 400,
        depth: 3,
        heads: 4,
        hidden: 200,
        positions: Positions::Learned {
            rows: 400,
            offset: 2,
        },
        ..example()
    };
    let rotary = |pairing| Positions::Rotary {
        dims: 16,
        base: 10_000.0,
        pairing,
    };
    let with = |positions, arrangement| CausalSpec {
        positions,
        arrangement,
        ..base.clone()
    };
    vec![
        ("learned", base.clone()),
        (
            "alibi",
            with(Positions::Alibi { bias_max: 8.0 }, Arrangement::Pre),
        ),
        (
            "halves",
            with(rotary(Pairing::Halves), Arrangement::Parallel),
        ),
        (
            "neighbours",
            with(rotary(Pairing::Neighbours), Arrangement::Parallel),
        ),
    ]
}

/// A model whose logits are far apart, so that no search hangs on rounding.
fn model(spec: &CausalSpec, precision: Precision, device: &Device) -> Outcome<CausalTransformer> {
    let weights = Weights::random(Seed(7), device).with_precision(precision)?;
    let model = CausalTransformer::load(&weights, &weights, spec)?;
    let count = spec.vocabulary_size * spec.width;
    let values = (0..count).map(|i| 0.5 * ((i * i % 10_007) as f32).sin());
    let tokens = Tensor::from_iter(values, device)?.reshape((spec.vocabulary_size, spec.width))?;
    Ok(model.with_tokens(tokens.to_dtype(precision.element_type(device)?)?, None)?)
}

/// A network that has read prompts, and the logits behind them.
fn read(model: &CausalTransformer, is_padded: bool) -> Outcome<(CausalNetwork<'_>, Tensor)> {
    let ids = |b: usize| (0..PROMPT).map(move |t| ((t * 97 + b * 31) % VOCABULARY) as u32);
    let ids: Vec<Vec<u32>> = (0..ROWS).map(|b| ids(b).collect()).collect();
    let there = |b: usize| (0..PROMPT).map(move |t| u8::from(!is_padded || t >= b));
    let present: Vec<Vec<u8>> = (0..ROWS).map(|b| there(b).collect()).collect();
    let embeds = model.embed(&ids)?;
    let next = Next {
        present: Some(&present),
        ..Next::new(&embeds)
    };
    let (network, hidden) = CausalNetwork::read(model, next)?;
    let last = hidden.narrow(1, PROMPT - 1, 1)?.squeeze(1)?;
    Ok((network, model.logits(&last)?))
}

/// The largest difference of a logit, of models that are told the same tokens.
fn difference(cpu: &CausalTransformer, gpu: &CausalTransformer, is_padded: bool) -> Outcome<f32> {
    let ((mut a, _), (mut b, _)) = (read(cpu, is_padded)?, read(gpu, is_padded)?);
    let (mut rows, mut most) = (ROWS, 0f32);
    for step in 0..STEPS {
        // Moved, dropped, doubled, and more than there were.
        let parents: Option<&[usize]> = match step {
            5 | 100 => Some(&[2, 0, 0]),
            150 => Some(&[1, 2]),
            200 => Some(&[0, 1, 1, 0]),
            _ => None,
        };
        if let Some(parents) = parents {
            a.select(parents)?;
            b.select(parents)?;
            rows = parents.len();
        }
        let token = |row: usize| ((step * 41 + row * 7) % VOCABULARY) as u32;
        let tokens: Vec<u32> = (0..rows).map(token).collect();
        let (x, y) = (a.step(&tokens)?, b.step(&tokens)?);
        let y = y.to_device(&Device::Cpu)?;
        let off = (x - y)?.abs()?.max_all()?.to_scalar::<f32>()?;
        // A NaN is no smaller than anything.
        most = if off.is_nan() {
            f32::INFINITY
        } else {
            most.max(off)
        };
    }
    Ok(most)
}

/// What searches find.
fn searched(model: &CausalTransformer, is_padded: bool) -> Outcome<Vec<Vec<u32>>> {
    let mut found = Vec::new();
    let mut keep = |all: Vec<Vec<Hypothesis>>| {
        found.extend(all.into_iter().flatten().map(|hypothesis| hypothesis.ids));
    };
    // Twice: what was recorded serves again.
    for _ in 0..2 {
        let (mut network, first) = read(model, is_padded)?;
        keep(decode::run(
            &mut network,
            &first,
            vec![Greedy::new(&[0, 1, 2, 3], 30); ROWS],
        )?);
        let (mut network, first) = read(model, is_padded)?;
        keep(decode::run(
            &mut network,
            &first,
            vec![LengthBeam::new(4, &[0, 1], 20); ROWS],
        )?);
        let (mut network, first) = read(model, is_padded)?;
        let search = NodeBeam::new(3, 2, 0, 20).forbid_repeats();
        keep(decode::run(&mut network, &first, vec![search; ROWS])?);
    }
    Ok(found)
}
