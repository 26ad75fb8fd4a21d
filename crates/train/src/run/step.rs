//! One step: losses and gradients of a batch, and what they move.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use sightline_manifest::train::{PlannedGroup, PlannedStage};
use sightline_models::objective::{Loss, Tensors};
use sightline_nn::{Dropout, Weights};

use super::{MOST_EMPTY_STEPS, Run, Stage};
use crate::adamw::{AdamW, Rates, clip_factor, norm};
use crate::loader::Prepared;
use crate::schedule::{Schedule, Shape};
use crate::{Error, Result, pattern};

/// Sums of losses, each weighted by its number of predictions.
#[derive(Default)]
pub(super) struct Losses {
    weight: f64,
    pub(super) total: f64,
    pub(super) terms: BTreeMap<String, f64>,
}

impl Losses {
    /// Adds a loss; its weight.
    pub(super) fn add(&mut self, loss: &Loss) -> Result<f64> {
        let weight = loss.predictions.max(1) as f64;
        self.weight += weight;
        self.total += weight * scalar(&loss.total)?;
        for (name, term) in &loss.terms {
            *self.terms.entry((*name).to_owned()).or_default() += weight * scalar(term)?;
        }
        Ok(weight)
    }

    pub(super) fn mean(mut self) -> Self {
        self.total /= self.weight;
        self.terms
            .values_mut()
            .for_each(|term| *term /= self.weight);
        self.weight = 1.0;
        self
    }
}

/// The tensors of the model as steps see them.
#[derive(Default)]
pub(super) struct Variables {
    all: Tensors,
    /// Numbers of parameters, and their variables.
    trained: Vec<(usize, Var)>,
}

/// Calls `f` on one of rayon's threads: what it divides among them then wakes no other one each time, where there is one alone, and
/// one less where there are more. A step divides its work some hundred times.
fn on_worker<T: Send>(is_cpu: bool, f: impl FnOnce() -> T + Send) -> T {
    // What is bound to a card is bound to a thread.
    if is_cpu { rayon::scope(|_| f()) } else { f() }
}

impl Run<'_> {
    /// A variable for each trained tensor, a plain tensor for each other.
    pub(super) fn variables(&self) -> Result<Variables> {
        let mut variables = Variables::default();
        for (at, parameter) in self.parameters.iter().enumerate() {
            let tensor = self.tensor(&parameter.values, &parameter.shape)?;
            let tensor = if parameter.moments.is_some() {
                let variable = Var::from_tensor(&tensor)?;
                let tensor = variable.as_tensor().clone();
                variables.trained.push((at, variable));
                tensor
            } else {
                tensor
            };
            variables.all.insert(parameter.name.clone(), tensor);
        }
        Ok(variables)
    }

    /// One step.
    pub(super) fn step(&mut self, prepared: &Prepared, variables: &mut Variables) -> Result<()> {
        let number = self.position.step;
        let at = self.position.stage;
        let stage = &self.stages[at];
        let count = prepared.examples.len();
        if count == 0 {
            self.empty_steps += 1;
            if self.empty_steps >= MOST_EMPTY_STEPS {
                return Err(Error::EmptyBatch {
                    step: number + 1,
                    steps: self.empty_steps,
                    samples: stage.plan.batch,
                });
            }
            self.pass(prepared.left_out);
            return Ok(());
        }
        self.empty_steps = 0;
        let seed = self.spec.plan.seed.child("step", number);
        let mut sums = Losses::default();
        let mut gradients: Vec<Option<Vec<f32>>> = vec![None; variables.trained.len()];
        let part_len = part_len(count, stage);
        let dropout = stage.plan.dropout;
        let is_cpu = self.spec.device.is_cpu();
        for (part, from) in (0..count).step_by(part_len).enumerate() {
            let piece = self.batch(prepared, from..count.min(from + part_len))?;
            let seed = seed.child("part", part as u64);
            let (all, device) = (&variables.all, self.spec.device);
            let objective = &mut self.stages[at].objective;
            let loss = on_worker(is_cpu, move || {
                let weights = Weights::of_tensors(all.clone(), device);
                let weights = match dropout {
                    0.0 => weights,
                    share => weights.with_dropout(Dropout::new(share, seed.child("dropout", 0))),
                };
                objective.loss(&weights, &piece, seed)
            })?;
            let weight = sums.add(&loss)?;
            if !sums.total.is_finite() {
                return Err(self.diverged("the loss"));
            }
            let found = on_worker(is_cpu, || loss.total.backward())?;
            for ((_, variable), gradient) in variables.trained.iter().zip(&mut gradients) {
                let Some(new) = found.get(variable.as_tensor()) else {
                    continue;
                };
                let mut new = new.flatten_all()?.to_vec1::<f32>()?;
                if part_len < count {
                    for value in &mut new {
                        *value *= weight as f32;
                    }
                }
                match gradient {
                    None => *gradient = Some(new),
                    Some(sum) => sum.iter_mut().zip(&new).for_each(|(sum, new)| *sum += new),
                }
            }
        }
        if part_len < count {
            let all = sums.weight as f32;
            let gradients = gradients.iter_mut().flatten().flatten();
            gradients.for_each(|value| *value /= all);
        }
        let length = norm(gradients.iter().flatten().map(Vec::as_slice));
        if !length.is_finite() {
            let at = gradients.iter().position(|gradient| {
                let values = gradient.iter().flatten();
                values.copied().any(|value| !value.is_finite())
            });
            let name = at.map(|at| &self.parameters[variables.trained[at].0].name);
            let name = name.map_or_else(String::new, |name| format!(" of `{name}`"));
            return Err(self.diverged(&format!("the gradient{name}")));
        }
        self.apply(&mut gradients, length, variables)?;
        let losses = sums.mean();
        self.count(&losses, length, prepared.left_out);
        // What is judged by something else may have any loss.
        if self.stages[at].objective.judged_by().is_some() {
            return Ok(());
        }
        match self.position.trend.add(losses.total) {
            Some(factor) => Err(Error::Rising {
                step: self.position.step,
                factor,
                first: self.position.trend.first,
                kept: self.kept_step(),
            }),
            None => Ok(()),
        }
    }

    /// Moves the weights.
    fn apply(
        &mut self,
        gradients: &mut [Option<Vec<f32>>],
        length: f64,
        variables: &Variables,
    ) -> Result<()> {
        let stage = &self.stages[self.position.stage];
        let optimiser = &stage.plan.optimiser;
        let factor = match optimiser.clip_grad_norm {
            Some(most) => clip_factor(length, most),
            None => 1.0,
        };
        let adamw = AdamW {
            betas: optimiser.betas,
            eps: optimiser.eps,
        };
        let schedule = schedule(stage).factor(self.position.stage_step);
        for ((at, variable), gradient) in variables.trained.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            if factor < 1.0 {
                for value in gradient.iter_mut() {
                    *value *= factor;
                }
            }
            let parameter = &mut self.parameters[*at];
            let group = group_of(stage.plan, &parameter.name);
            let (lr, weight_decay) = group.map_or((optimiser.lr, optimiser.weight_decay), |g| {
                (g.lr, g.weight_decay)
            });
            let rates = Rates {
                lr: lr * schedule,
                weight_decay,
            };
            if let Some(moments) = &mut parameter.moments {
                adamw.step(&mut parameter.values, gradient, moments, rates);
            }
            if let (Some(average), Some(decay)) = (&mut parameter.average, optimiser.ema) {
                let rest = (1.0 - decay) as f32;
                for (average, value) in average.iter_mut().zip(&parameter.values) {
                    *average += rest * (value - *average);
                }
            }
            let shape = parameter.shape.as_slice();
            variable.set(&Tensor::from_slice(
                &parameter.values,
                shape,
                variable.device(),
            )?)?;
        }
        Ok(())
    }

    /// Counts a step, of which `left_out` samples were not used.
    fn pass(&mut self, left_out: u64) {
        let position = &mut self.position;
        position.sample += self.stages[position.stage].plan.batch;
        position.step += 1;
        position.stage_step += 1;
        position.left_out += left_out;
    }

    fn count(&mut self, losses: &Losses, length: f64, left_out: u64) {
        self.pass(left_out);
        let window = &mut self.position.window;
        window.steps += 1;
        window.total += losses.total;
        window.gradient += length;
        for (name, value) in &losses.terms {
            *window.terms.entry(name.clone()).or_default() += value;
        }
    }

    pub(super) fn diverged(&self, what: &str) -> Error {
        Error::Diverged {
            step: self.position.step + 1,
            what: what.to_owned(),
            kept: self.kept_step(),
        }
    }

    /// Which checkpoint there is, in words.
    pub(super) fn kept_step(&self) -> String {
        match self.folder.read_last() {
            Ok(Some((position, _))) => {
                format!("the last good checkpoint is that of step {}", position.step)
            }
            _ => "there is no checkpoint yet".to_owned(),
        }
    }
}

/// Samples of a part of a batch of `count`: documents stay whole.
fn part_len(count: usize, stage: &Stage<'_>) -> usize {
    let images = stage.objective.images_of_document();
    let part = count.div_ceil(stage.plan.accumulate as usize);
    part.next_multiple_of(images.max(1))
}

/// The factor of the rates of `stage`.
pub(super) fn schedule(stage: &Stage<'_>) -> Schedule {
    Schedule {
        shape: Shape::named(&stage.plan.optimiser.schedule),
        warmup_steps: stage.plan.optimiser.warmup_steps,
        steps: stage.steps,
    }
}

pub(super) fn group_of<'p>(plan: &'p PlannedStage, name: &str) -> Option<&'p PlannedGroup> {
    let mut groups = plan.optimiser.groups.iter();
    groups.find(|group| pattern::any(&group.tensors, name))
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(
        tensor.flatten_all()?.sum_all()?.to_scalar::<f32>()?,
    ))
}
