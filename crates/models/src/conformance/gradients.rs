//! What every objective must do: its gradients are those of its value, and reach everything that is trained.
//!
//! [`check`] takes an objective, tensors and a batch, and returns the claims that do not hold:
//!
//! - every tensor that is trained gets a gradient that is finite and not zero, but for those whose gradient is zero for a
//!   reason ([`Zero`]), which then must be;
//! - no other tensor gets one;
//! - between the gradient and a random direction the value changes as the gradient says (central differences; the values
//!   are those of the fast path without gradients, so that both paths are compared as well);
//! - the value does not depend on the order of the batch.

use candle_core::{Device, Tensor, Var};
use sightline_core::Seed;
use sightline_nn::Weights;

use crate::objective::{Objective, Tensors, TrainingBatch};
use crate::{Result, Visual};

/// Tensors that are trained and get no gradient, and why.
#[derive(Clone, Copy, Debug)]
pub struct Zero {
    /// What their names end with.
    pub ending: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Keys are compared by a softmax over all of them, which does not change when every score of a query grows alike.
pub const KEY_BIASES: &[Zero] = {
    const WHY: &str = "a softmax over keys does not change when all scores of a query grow alike";
    &[
        Zero {
            ending: ".key.bias",
            why: WHY,
        },
        Zero {
            ending: ".k.bias",
            why: WHY,
        },
        Zero {
            ending: ".k_proj.bias",
            why: WHY,
        },
        Zero {
            ending: ".fc_k.bias",
            why: WHY,
        },
    ]
};

/// Below it a gradient is rounding.
const NOTHING: f32 = 2e-7;

/// By how much the value is to change for a difference: far above rounding, far below what bends.
const STEP: f64 = 2e-4;

/// How many steps are tried, each a quarter of the one before.
const STEPS: usize = 3;

/// The most that a difference may be off, in parts of the gradient's length; the values are sums in `f32`.
const TOLERANCE: f64 = 0.04;

/// As [`TOLERANCE`], whatever the gradient's length: what rounding does to a difference of values.
const ROUNDING: f64 = 5e-7;

/// What is special about an objective.
#[derive(Clone, Copy, Debug, Default)]
pub struct Special<'a> {
    /// Tensors without a gradient.
    pub zeros: &'a [Zero],
    /// Whether the value jumps, as where something is cut: then differences say nothing about the gradient.
    pub jumps: bool,
}

/// Every claim that does not hold, in words.
pub fn check(
    objective: &dyn Objective,
    tensors: &Tensors,
    batch: &TrainingBatch,
    special: Special<'_>,
    device: &Device,
) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut tracked = tensors.clone();
    for (name, tensor) in &mut tracked {
        if objective.is_trained(name) {
            *tensor = Var::from_tensor(tensor)?.into_inner();
        }
    }
    let seed = Seed(5);
    let weights = Weights::of_tensors(tracked.clone(), device);
    let loss = objective.loss(&weights, batch, seed)?;
    weights.finish()?;
    let gradients = loss.total.backward()?;
    let total = value(&loss.total)?;
    if !total.is_finite() {
        broken.push(format!("the value is {total}"));
    }
    if loss.terms.is_empty() || loss.predictions == 0 {
        broken.push("names no term, or no prediction".to_owned());
    }

    let fixed = |changed: Option<(&str, Tensor)>| -> Result<f64> {
        let mut tensors = tensors.clone();
        if let Some((name, tensor)) = changed {
            tensors.insert(name.to_owned(), tensor);
        }
        let weights = Weights::of_tensors(tensors, device);
        value(&objective.loss(&weights, batch, seed)?.total)
    };
    let untracked = fixed(None)?;
    if (untracked - total).abs() > 1e-4 * total.abs().max(1.0) {
        broken.push(format!("is {total} with gradients and {untracked} without"));
    }

    for (number, (name, tensor)) in tracked.iter().enumerate() {
        let gradient = gradients.get(tensor);
        if !objective.is_trained(name) {
            if gradient.is_some() {
                broken.push(format!("`{name}` is not trained and has a gradient"));
            }
            continue;
        }
        let values = match gradient {
            Some(gradient) => gradient.flatten_all()?.to_vec1::<f32>()?,
            None => vec![0.0; tensor.elem_count()],
        };
        let most = values
            .iter()
            .fold(0f32, |most, value| most.max(value.abs()));
        let expected = special
            .zeros
            .iter()
            .find(|zero| name.ends_with(zero.ending));
        if values.iter().any(|value| !value.is_finite()) {
            broken.push(format!("`{name}` has a gradient that is no number"));
            continue;
        }
        match expected {
            Some(zero) if most > NOTHING => {
                broken.push(format!("`{name}` has a gradient although {}", zero.why));
                continue;
            }
            None if most <= NOTHING => {
                broken.push(format!("`{name}` is trained and has no gradient"));
                continue;
            }
            Some(_) => continue,
            None if special.jumps => continue,
            None => {}
        }
        let direction = between(&values, Seed(7).child(name, number as u64));
        let found = difference(&tensors[name], &direction, &values, &|changed| {
            fixed(Some((name, changed)))
        })?;
        if let Some((expected, found)) = found {
            broken.push(format!(
                "`{name}` changes the value by {found:.3e}, its gradient says {expected:.3e}"
            ));
        }
    }

    let turned = value(&objective.loss(&weights, &reversed(batch)?, seed)?.total)?;
    if (turned - total).abs() > 2e-5 * total.abs().max(1.0) {
        broken.push(format!("is {total}, and {turned} in another order"));
    }
    Ok(broken)
}

/// What the gradient says about a small step from `tensor` along `direction` and what `value` says, per unit of length,
/// where the two differ.
fn difference(
    tensor: &Tensor,
    direction: &[f32],
    gradient: &[f32],
    value: &dyn Fn(Tensor) -> Result<f64>,
) -> Result<Option<(f64, f64)>> {
    let length = norm(direction);
    let dot = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
    let slope: f64 = direction.iter().zip(gradient).map(dot).sum::<f64>() / length;
    // So that the value changes enough to be told from rounding, and the tensor not beyond recognition.
    let own = norm(&tensor.flatten_all()?.to_vec1::<f32>()?);
    let size = 0.03 * own.max(0.1 * (direction.len() as f64).sqrt());
    let along = Tensor::from_slice(direction, tensor.shape(), tensor.device())?;
    let moved = |by: f64| Ok::<_, crate::Error>((tensor + (&along * (by / length))?)?);
    let mut step = (STEP / norm(gradient)).min(size);
    let mut last = slope;
    // A bend within the first step need not be within a shorter one.
    for _ in 0..STEPS {
        let apart = value(moved(step)?)? - value(moved(-step)?)?;
        last = apart / (2.0 * step);
        if (last - slope).abs() <= TOLERANCE * norm(gradient) + ROUNDING / step {
            return Ok(None);
        }
        step /= 4.0;
    }
    Ok(Some((slope, last)))
}

fn norm(values: &[f32]) -> f64 {
    let square = values.iter().map(|value| f64::from(value * value));
    square.sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
}

/// As much along the gradient as in a random direction: the first alone would not notice elements whose gradient is lost.
fn between(gradient: &[f32], seed: Seed) -> Vec<f32> {
    let random = random(gradient.len(), seed);
    let (own, other) = (norm(gradient), norm(&random));
    let both = gradient.iter().zip(&random);
    let sum = both.map(|(g, r)| (f64::from(*g) / own + f64::from(*r) / other) as f32);
    sum.collect()
}

fn random(len: usize, seed: Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    (0..len).map(|_| rng.normal() as f32).collect()
}

fn value(loss: &Tensor) -> Result<f64> {
    Ok(f64::from(loss.to_scalar::<f32>()?))
}

/// The same examples in the other order, and their images as well.
fn reversed(batch: &TrainingBatch) -> Result<TrainingBatch> {
    let mut turned = batch.clone();
    turned.examples.reverse();
    let Some(visual) = &batch.visual else {
        return Ok(turned);
    };
    let count = visual.batch()?;
    let order: Vec<u32> = (0..count as u32).rev().collect();
    turned.visual = Some(visual.select(&order)?);
    turned.teacher = match &batch.teacher {
        Some(teacher) => {
            let order = Tensor::new(order, teacher.device())?;
            Some(teacher.index_select(&order, 0)?)
        }
        None => None,
    };
    for example in &mut turned.examples {
        for image in &mut example.images {
            *image = count - 1 - *image;
        }
        for part in &mut example.document {
            if let crate::objective::DocumentPart::Image(image) = part {
                *image = count - 1 - *image;
            }
        }
    }
    Ok(turned)
}

/// Numbers that look random and are the same in every run: images for [`check`].
pub fn wave(shape: &[usize], device: &Device) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| (i as f32 * 0.7391 + (i as f32 * 0.013).cos()).sin());
    let values: Vec<f32> = values.collect();
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// Regions for [`check`], one fewer in every second image.
pub fn regions(images: usize, regions: usize, width: usize, device: &Device) -> Result<Visual> {
    let features = wave(&[images, regions, width], device)?;
    let there = |(image, region): (usize, usize)| f32::from(image % 2 == 0 || region + 1 < regions);
    let all = (0..images).flat_map(|image| (0..regions).map(move |region| (image, region)));
    let present: Vec<f32> = all.map(there).collect();
    let present = Tensor::from_vec(present, (images, regions), device)?;
    let features = features.broadcast_mul(&present.unsqueeze(2)?)?;
    Ok(Visual::Regions { features, present })
}

#[cfg(test)]
mod tests;
