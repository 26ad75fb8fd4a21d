//! What a run says of itself: lines of metrics, and the loss on what is held out.

use std::collections::BTreeMap;

use serde_json::json;
use sightline_core::{Progress, Sample};
use sightline_models::objective::Tensors;
use sightline_nn::Weights;

use super::step::{Losses, schedule};
use super::{FETCHERS, Run};
use crate::checkpoint::Best;
use crate::log::{Lines, Speed, steps_line};
use crate::{Error, Result};

impl Run<'_> {
    /// Writes a line about the steps since the last one.
    pub(super) fn log(
        &mut self,
        lines: &mut Lines,
        speeds: &mut Lines,
        speed: &mut Speed,
        progress: &dyn Progress,
    ) -> Result<()> {
        let window = std::mem::take(&mut self.position.window);
        let stage = &self.stages[self.position.stage];
        // Of no step there is no mean, which JSON has no number for.
        let mean = |sum: f64| sum / window.steps as f64;
        let rate = schedule(stage).factor(self.position.stage_step - 1);
        let terms: BTreeMap<&String, f64> =
            window.terms.iter().map(|(n, v)| (n, mean(*v))).collect();
        let epoch = self.position.sample as f64 / self.data.train.len().max(1) as f64;
        let fields = json!({
            "epoch": (epoch * 1000.0).round() / 1000.0,
            "lr": stage.plan.optimiser.lr * rate,
            "loss": mean(window.total),
            "terms": terms,
            "gradient": mean(window.gradient),
            "left_out": self.position.left_out,
        });
        lines.append(&steps_line(self.position.step, self.position.stage, fields))?;
        let waits = 100.0 * speed.waited_seconds / speed.seconds.max(1e-9);
        progress.message(&format!(
            "step {}/{}, loss {:.4}, {:.0} samples/s, waits {waits:.0} %",
            self.position.step,
            self.steps(),
            mean(window.total),
            speed.samples as f64 / speed.seconds.max(1e-9),
        ));
        let mut facts = sightline_core::Metadata::new();
        facts.insert("step".to_owned(), self.position.step.into());
        facts.insert("loss".to_owned(), mean(window.total).into());
        facts.insert("waits_percent".to_owned(), waits.round().into());
        progress.facts(facts);
        let done = Speed {
            step: self.position.step,
            ..std::mem::take(speed)
        };
        speeds.append(&serde_json::to_value(done).unwrap_or_default())
    }

    /// Measures the loss on held-out samples; whether it is the smallest of the stage.
    pub(super) fn evaluate(
        &mut self,
        lines: &mut Lines,
        batches: u64,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let Some(samples) = self.data.validation.clone() else {
            return Ok(false);
        };
        let stage = &self.stages[self.position.stage];
        let mut tensors = Tensors::new();
        for parameter in &self.parameters {
            let tensor = self.tensor(parameter.kept(), &parameter.shape)?;
            tensors.insert(parameter.name.clone(), tensor);
        }
        let weights = Weights::of_tensors(tensors, self.spec.device);
        let mut preparing = self.preparing(stage, self.feeds[1].as_ref());
        // Always the same captions.
        preparing.choose = None;
        let mut samples = samples.in_order(FETCHERS);
        let mut sums = Losses::default();
        let mut count = 0;
        let size = stage.plan.batch as usize;
        for number in 0..batches {
            let some: Result<Vec<Sample>> = samples.by_ref().take(size).collect();
            let some = some?;
            // A remainder would be another measurement for objectives whose samples see each other.
            if some.is_empty() || (number > 0 && some.len() < size) {
                break;
            }
            let prepared = preparing.prepare(some, number * stage.plan.batch)?;
            if prepared.examples.is_empty() {
                continue;
            }
            let seed = self.spec.plan.seed.child("evaluation", number);
            let batch = self.batch(&prepared, 0..prepared.examples.len())?;
            sums.add(&stage.objective.loss(&weights, &batch, seed)?)?;
            count += prepared.examples.len();
        }
        if count == 0 {
            return Err(Error::AllBroken {
                name: "validation".to_owned(),
            });
        }
        let sums = sums.mean();
        let loss = sums.total;
        if !loss.is_finite() {
            return Err(self.diverged("the held-out loss"));
        }
        let judge = stage.objective.judged_by();
        let found = Best {
            stage: self.position.stage,
            step: self.position.step,
            loss,
            score: judge.and_then(|term| sums.terms.get(term).copied()),
        };
        let best = self.position.best;
        let is_best = best.is_none_or(|best| found.is_better_than(&best));
        if is_best {
            self.position.best = Some(found);
            self.position.since_best = 0;
        } else {
            self.position.since_best += 1;
        }
        let held_out = json!({ "loss": loss, "terms": sums.terms, "samples": count });
        let fields = json!({ "held_out": held_out, "is_best": is_best });
        lines.append(&steps_line(self.position.step, self.position.stage, fields))?;
        let (what, value) = match (judge, found.score) {
            (Some(term), Some(score)) => (term, score),
            _ => ("loss", loss),
        };
        progress.message(&format!(
            "step {}/{}, held-out {what} {value:.4}{}",
            self.position.step,
            self.steps(),
            if is_best { ", the best so far" } else { "" },
        ));
        Ok(is_best)
    }
}
