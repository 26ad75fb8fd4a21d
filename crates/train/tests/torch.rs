//! Weights move as `torch.optim.AdamW`, `clip_grad_norm_` and the schedules of transformers move them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde::Deserialize;
use sightline_train::adamw::{AdamW, Moments, Rates, clip_factor, norm};
use sightline_train::schedule::{Schedule, Shape};

/// Written by `fixtures/adamw.py`, which names program and command.
const GOLDEN: &str = include_str!("fixtures/adamw.json");

/// Numbers of 32 bits on both sides, rounded in another order here and there; they grow over the steps.
const TOLERANCE: f32 = 2e-6;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    lr: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    clip: Option<f64>,
    schedule: String,
    warmup_steps: u64,
    start: [Vec<f32>; 2],
    gradients: Vec<[Vec<f32>; 2]>,
    norms: Vec<f64>,
    values: Vec<[Vec<f32>; 2]>,
}

#[test]
fn steps_equal_those_of_torch() {
    let golden: Golden = serde_json::from_str(GOLDEN).unwrap();
    assert!(!golden.cases.is_empty());
    for (number, case) in golden.cases.iter().enumerate() {
        let adamw = AdamW {
            betas: case.betas,
            eps: case.eps,
        };
        let schedule = Schedule {
            shape: Shape::named(&case.schedule),
            warmup_steps: case.warmup_steps,
            steps: case.gradients.len() as u64,
        };
        let mut values = case.start.clone();
        let mut moments = [0, 1].map(|at: usize| Moments::zero(case.start[at].len()));
        for (step, gradients) in case.gradients.iter().enumerate() {
            let mut gradients = gradients.clone();
            let length = norm(gradients.iter().map(Vec::as_slice));
            if let Some(most) = case.clip {
                let expected = case.norms[step];
                assert!(
                    (length - expected).abs() <= 1e-6 * expected,
                    "case {number}, step {step}"
                );
                let factor = clip_factor(length, most);
                gradients
                    .iter_mut()
                    .flatten()
                    .for_each(|value| *value *= factor);
            }
            let factor = schedule.factor(step as u64);
            for (at, (lr, weight_decay)) in [(case.lr, case.weight_decay), (case.lr / 10.0, 0.0)]
                .into_iter()
                .enumerate()
            {
                let rates = Rates {
                    lr: lr * factor,
                    weight_decay,
                };
                adamw.step(&mut values[at], &gradients[at], &mut moments[at], rates);
                for (ours, theirs) in values[at].iter().zip(&case.values[step][at]) {
                    let error = (ours - theirs).abs() / theirs.abs().max(1.0);
                    assert!(
                        error <= TOLERANCE,
                        "case {number}, step {step}: {ours} where torch has {theirs}"
                    );
                }
            }
        }
    }
}
