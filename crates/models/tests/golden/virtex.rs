//! Every recorded output of every VirTex checkpoint.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use sightline_models::Error;
use sightline_models::families::virtex::{Direction, Objective, Parts, Start, VirTex};
use sightline_nn::decode::{Hypothesis, nucleus};
use sightline_testkit::golden::Report;

use super::support::{Outcome, Recorded, each_case, spec, unknown};

#[test]
fn models_virtex() {
    each_case("virtex", |path, name, report| match Case::open(path) {
        Ok(case) => case.run(name, report),
        Err(reason) => report.case(name, "case", Err(reason)),
    });
}

struct Case {
    model: VirTex,
    recorded: Recorded,
    pixels: Tensor,
}

impl Case {
    fn open(folder: &Path) -> Outcome<Self> {
        let model = VirTex::load(&spec(folder), Parts::All, &Device::Cpu);
        let recorded = Recorded::read(folder)?;
        Ok(Self {
            model: model.map_err(|e| e.to_string())?,
            pixels: recorded.tensor("in.image")?,
            recorded,
        })
    }

    fn run(&self, group: &str, report: &mut Report) {
        let tolerance_of = |output: &str| match output {
            "predictions" => (0.0, 0.0),
            _ if output.ends_with(".tokens") || output.ends_with("_keep_sos.best") => (0.0, 0.0),
            _ if output.starts_with("loss") || output.ends_with(".logprobs") => (1e-4, 1e-4),
            _ => (5e-5, 5e-5),
        };
        let compute = |output: &str| match self.compute(output) {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err(unknown()),
            Err(e) => Err(e),
        };
        self.recorded.check(group, report, tolerance_of, compute);
    }

    fn compute(&self, output: &str) -> Outcome<Option<Tensor>> {
        let text = |e: Error| e.to_string();
        let textual = self.model.textual();
        if let Some(p) = output.strip_prefix("nucleus_probs_") {
            return p.parse().ok().map(|p| self.nucleus(p)).transpose();
        }
        if let Some((search, what)) = output.split_once('.') {
            let (search, start) = match search.strip_suffix("_keep_sos") {
                Some(search) => (search, Start::Kept),
                None => (search, Start::Dropped),
            };
            let Some((width, per_node)) = sizes(search) else {
                return Ok(None);
            };
            let found = self.search(width, per_node, start).map_err(text)?;
            return self.found(&found, search, what).map_err(|e| e.to_string());
        }
        let run = || -> Result<Option<Tensor>, Error> {
            Ok(Some(match output {
                "visual_features" => self.model.visual().forward(&self.pixels)?,
                "projected_visual" => self.memory()?,
                _ => return Ok(None),
            }))
        };
        if let Some(tensor) = run().map_err(text)? {
            return Ok(Some(tensor));
        }
        let is_masked_lm = self.model.config().objective == Objective::MaskedLm;
        match output {
            "embeddings" => {
                let ids = self.recorded.rows("in.caption_tokens")?;
                let embedded = textual.embed(&ids, 0);
                embedded.map(Some).map_err(|e| e.to_string())
            }
            "hidden" => self.hidden(Direction::Forward).map(Some),
            "logits" => self.logits(Direction::Forward).map(Some),
            "backward_logits" => self.logits(Direction::Backward).map(Some),
            "loss" | "predictions" if is_masked_lm => self.masked(output).map(Some),
            "loss_forward" => self.loss(Direction::Forward).map(Some),
            "loss_backward" => self.loss(Direction::Backward).map(Some),
            "loss" => {
                let forward = self.loss(Direction::Forward)?;
                if self.model.config().objective == Objective::Captioning {
                    return Ok(Some(forward));
                }
                let both = forward + self.loss(Direction::Backward)?;
                both.map(Some).map_err(|e| e.to_string())
            }
            _ => Ok(None),
        }
    }

    fn memory(&self) -> Result<Tensor, Error> {
        let grid = self.model.visual().forward(&self.pixels)?;
        self.model.textual().project(&grid)
    }

    fn ids(&self, direction: Direction) -> Outcome<Vec<Vec<u32>>> {
        self.recorded.rows(match direction {
            Direction::Forward => "in.caption_tokens",
            Direction::Backward => "in.noitpac_tokens",
        })
    }

    fn hidden(&self, direction: Direction) -> Outcome<Tensor> {
        let lengths = self.recorded.tensor("in.caption_lengths")?;
        let lengths: Vec<i64> = lengths.to_vec1().map_err(|e| e.to_string())?;
        let lengths: Vec<usize> = lengths.iter().map(|&len| len as usize).collect();
        let ids = self.ids(direction)?;
        let memory = self.memory().map_err(|e| e.to_string())?;
        let textual = self.model.textual();
        let hidden = textual.hidden(direction, &ids, &lengths, &memory);
        hidden
            .map_err(|e| e.to_string())?
            .ok_or("no such direction".to_owned())
    }

    fn logits(&self, direction: Direction) -> Outcome<Tensor> {
        let hidden = self.hidden(direction)?;
        let logits = self.model.textual().logits(&hidden);
        logits.map_err(|e| e.to_string())
    }

    /// Mean cross entropy of the next tokens, padding left out.
    fn loss(&self, direction: Direction) -> Outcome<Tensor> {
        let logits = self.logits(direction)?;
        let ids = self.ids(direction)?;
        let targets: Vec<u32> = ids.iter().flat_map(|row| row[1..].to_vec()).collect();
        let seen = logits.dim(1).and_then(|len| logits.narrow(1, 0, len - 1));
        let seen = seen.and_then(|logits| logits.flatten(0, 1));
        let loss = seen.and_then(|logits| cross_entropy(&logits, &targets));
        loss.map_err(|e| e.to_string())
    }

    /// Of a masked language model: what stands for the words that were masked, 0 elsewhere, or the loss there.
    fn masked(&self, output: &str) -> Outcome<Tensor> {
        let logits = self.logits(Direction::Forward)?;
        let labels: Vec<Vec<u32>> = self.recorded.rows("in.masked_labels")?;
        let tensor = || -> candle_core::Result<Tensor> {
            if output == "loss" {
                return cross_entropy(&logits.flatten(0, 1)?, &labels.concat());
            }
            let best = logits.argmax(D::Minus1)?;
            let labels = Tensor::new(labels.clone(), logits.device())?;
            best * labels.ne(0u32)?.to_dtype(DType::U32)?
        };
        tensor().map_err(|e| e.to_string())
    }

    fn nucleus(&self, p: f32) -> Outcome<Tensor> {
        let logits = self.recorded.tensor("in.nucleus_logits")?;
        let logits: Vec<Vec<f32>> = logits.to_vec2().map_err(|e| e.to_string())?;
        let last = self.recorded.tensor("in.nucleus_last")?;
        let last: Vec<i64> = last.to_vec1().map_err(|e| e.to_string())?;
        let row = |(row, &last): (&Vec<f32>, &i64)| nucleus(row, p, Some(last as u32));
        let rows: Vec<Vec<f64>> = logits.iter().zip(&last).map(row).collect();
        Tensor::new(rows, &Device::Cpu).map_err(|e| e.to_string())
    }

    fn search(
        &self,
        width: usize,
        per_node: usize,
        start: Start,
    ) -> Result<Vec<Vec<Hypothesis>>, Error> {
        let memory = self.memory()?;
        let limit = self.model.config().max_decoding_steps;
        let beam = self.model.beam(width, per_node, limit);
        self.model
            .search(&memory, vec![beam; memory.dim(0)?], start)
    }

    /// What was found in the recorded form: every caption as long as the longest, its end repeated. Greedy search and
    /// `best` have one caption for each image.
    fn found(
        &self,
        found: &[Vec<Hypothesis>],
        search: &str,
        what: &str,
    ) -> candle_core::Result<Option<Tensor>> {
        let captions = || found.iter().flatten();
        let longest = captions().map(|caption| caption.ids.len()).max();
        let (longest, end) = (longest.unwrap_or(0), self.model.config().eos_index);
        let padded = |caption: &Hypothesis| {
            let mut ids = caption.ids.clone();
            ids.resize(longest, end);
            ids
        };
        let width = found.first().map_or(0, Vec::len);
        let (images, is_one) = (found.len(), search == "greedy");
        Ok(Some(match what {
            "tokens" => {
                let ids: Vec<u32> = captions().flat_map(padded).collect();
                let tokens = Tensor::from_vec(ids, (images, width, longest), &Device::Cpu)?;
                if is_one { tokens.squeeze(1)? } else { tokens }
            }
            "logprobs" => {
                let scores: Vec<f32> = captions().map(|caption| caption.score).collect();
                let scores = Tensor::from_vec(scores, (images, width), &Device::Cpu)?;
                if is_one { scores.squeeze(1)? } else { scores }
            }
            "best" => {
                let ids: Vec<Vec<u32>> = found.iter().map(|found| padded(&found[0])).collect();
                Tensor::new(ids, &Device::Cpu)?
            }
            _ => return Ok(None),
        }))
    }
}

/// Hypotheses and continuations of each, from a search's name.
fn sizes(search: &str) -> Option<(usize, usize)> {
    if search == "greedy" {
        return Some((1, 1));
    }
    let (width, per_node) = search.strip_prefix("beam")?.split_once('x')?;
    Some((width.parse().ok()?, per_node.parse().ok()?))
}

/// Mean over the rows of `logits` `[N, V]` whose target is not 0.
fn cross_entropy(logits: &Tensor, targets: &[u32]) -> candle_core::Result<Tensor> {
    let log_probabilities = log_softmax(logits)?;
    let index = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
    let right = log_probabilities.gather(&index, 1)?.squeeze(1)?;
    let kept = index.squeeze(1)?.ne(0u32)?.to_dtype(DType::F32)?;
    let sum = (right * &kept)?.sum_all()?;
    (sum.neg()? / kept.sum_all()?)?.reshape(())
}

fn log_softmax(logits: &Tensor) -> candle_core::Result<Tensor> {
    logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)
}
