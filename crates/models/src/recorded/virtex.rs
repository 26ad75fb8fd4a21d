//! Recorded outputs of VirTex.
//!
//! | input | shape |
//! | --- | --- |
//! | `image` | `[B, 3, H, W]` |
//! | `caption_tokens`, `noitpac_tokens` | `[B, L]`: captions, and captions backwards |
//! | `caption_lengths` | `[B]` |
//! | `masked_labels` | `[B, L]`, of a masked language model: 0 where nothing was masked |
//! | `nucleus_logits`, `nucleus_last` | `[R, V]`, `[R]`: logits and the tokens before them |
//!
//! | output | what it is |
//! | --- | --- |
//! | `visual_features`, `projected_visual` | the last map; the grid that the decoders see |
//! | `embeddings`, `hidden`, `logits`, `backward_logits` | of the decoders |
//! | `loss_forward`, `loss_backward`, `loss` | mean cross entropy of the next tokens; their sum |
//! | `predictions`, `loss` | of a masked language model: the masked words |
//! | `greedy.WHAT`, `beamKxP.WHAT` | decoding with K hypotheses and P continuations of each; WHAT is `tokens`, `logprobs` or `best`; `greedy_keep_sos` and `beamKxP_keep_sos` keep the start token in the context |
//! | `nucleus_probs_P` | the distribution that would be sampled from |
//!
//! Tolerance: 5e-5 absolute and relative; losses and log-probabilities 1e-4; ids exact.

use candle_core::{D, DType, Device, Tensor};
use sightline_nn::decode::{Hypothesis, nucleus};

use super::values::Values;
use super::{Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::virtex::{Direction, Objective, Parts, Start, VirTex};

/// The widest beam of a recorded search.
const WIDEST: usize = 1 << 10;

/// Padding in ids and labels, which counts for no loss.
const PADDING: i64 = 0;

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(VirTex::load(spec, Parts::All, device)?))
}

impl Replay for VirTex {
    fn tolerance(&self, output: &str) -> Tolerance {
        match output {
            "predictions" => Tolerance::EXACT,
            _ if output.ends_with(".tokens") || output.ends_with("_keep_sos.best") => {
                Tolerance::EXACT
            }
            _ if output.starts_with("loss") || output.ends_with(".logprobs") => {
                Tolerance::both(1e-4)
            }
            _ => Tolerance::both(5e-5),
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        if let Some(p) = output.strip_prefix("nucleus_probs_") {
            return p.parse().ok().map(|p| sampled_from(values, p)).transpose();
        }
        if let Some((search, what)) = output.split_once('.') {
            return searched(self, values, search, what);
        }
        let is_masked_lm = self.config().objective == Objective::MaskedLm;
        Ok(Some(match output {
            "visual_features" => self.visual().forward(values.input("image")?)?,
            "projected_visual" => memory(self, values)?,
            "embeddings" => {
                let ids = values.rows("caption_tokens")?;
                self.textual().embed(&ids, 0)?
            }
            "hidden" => return hidden(self, values, Direction::Forward),
            "logits" => return logits(self, values, Direction::Forward),
            "backward_logits" => return logits(self, values, Direction::Backward),
            "loss" | "predictions" if is_masked_lm => return masked(self, values, output),
            "loss_forward" => likelihood(self, values)?,
            "loss_backward" => return loss(self, values, Direction::Backward),
            "loss" => {
                let forward = loss(self, values, Direction::Forward)?;
                if self.config().objective == Objective::Captioning {
                    return Ok(forward);
                }
                let backward = loss(self, values, Direction::Backward)?;
                let (Some(forward), Some(backward)) = (forward, backward) else {
                    return Ok(None);
                };
                (forward + backward)?
            }
            _ => return Ok(None),
        }))
    }
}

fn memory(model: &VirTex, values: &Values) -> Result<Tensor> {
    let grid = model.visual().forward(values.input("image")?)?;
    Ok(model.textual().project(&grid)?)
}

/// The name of the captions that are read in a direction.
fn captions(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "caption_tokens",
        Direction::Backward => "noitpac_tokens",
    }
}

/// `None` if the model has no decoder of that direction.
fn hidden(model: &VirTex, values: &Values, direction: Direction) -> Result<Option<Tensor>> {
    let ids: Vec<Vec<u32>> = values.rows(captions(direction))?;
    let (memory, lengths) = (memory(model, values)?, lengths(values)?);
    Ok(model.textual().hidden(direction, &ids, &lengths, &memory)?)
}

fn logits(model: &VirTex, values: &Values, direction: Direction) -> Result<Option<Tensor>> {
    let Some(hidden) = hidden(model, values, direction)? else {
        return Ok(None);
    };
    Ok(Some(model.textual().logits(&hidden)?))
}

/// Mean cross entropy of the next tokens, padding left out.
fn loss(model: &VirTex, values: &Values, direction: Direction) -> Result<Option<Tensor>> {
    let ids: Vec<Vec<u32>> = values.rows(captions(direction))?;
    let memory = memory(model, values)?;
    let loss = model.caption_loss(direction, &memory, &ids, &lengths(values)?)?;
    Ok(loss.map(|(loss, _)| loss))
}

fn lengths(values: &Values) -> Result<Vec<usize>> {
    let lengths: Vec<u32> = values.numbers("caption_lengths")?;
    Ok(lengths.iter().map(|&len| len as usize).collect())
}

/// The loss of the forward direction from the log-probabilities that the model scores texts by, those of padding left out.
fn likelihood(model: &VirTex, values: &Values) -> Result<Tensor> {
    let lengths: Vec<u32> = values.numbers("caption_lengths")?;
    let mut rows: Vec<Vec<u32>> = values.rows("caption_tokens")?;
    for (row, &len) in rows.iter_mut().zip(&lengths) {
        row.truncate(len as usize);
    }
    let found = model.log_probabilities(&memory(model, values)?, &rows)?;
    let padding = model.config().unk_index;
    let targets = rows.iter().flat_map(|row| row.iter().skip(1));
    let kept: Vec<f32> = targets
        .zip(found.iter().flatten())
        .filter(|(target, _)| **target != padding)
        .map(|(_, value)| *value)
        .collect();
    let mean = kept.iter().sum::<f32>() / kept.len() as f32;
    Ok(Tensor::new(-mean, &values.device)?)
}

/// Of a masked language model: what stands for the words that were masked, 0 elsewhere, or the loss there.
fn masked(model: &VirTex, values: &Values, output: &str) -> Result<Option<Tensor>> {
    let input = "masked_labels";
    if output == "loss" {
        let ids: Vec<Vec<u32>> = values.rows("caption_tokens")?;
        let labels: Vec<Vec<u32>> = values.rows(input)?;
        let (memory, lengths) = (memory(model, values)?, lengths(values)?);
        let loss = model.masked_loss(&memory, &ids, &lengths, &labels)?;
        return Ok(loss.map(|(loss, _)| loss));
    }
    let Some(logits) = logits(model, values, Direction::Forward)? else {
        return Ok(None);
    };
    let is_masked = values.input(input)?.ne(PADDING)?.to_dtype(DType::U32)?;
    let predicted = logits.argmax(D::Minus1)?.to_device(&Device::Cpu)?;
    Ok(Some((predicted * is_masked)?))
}

fn sampled_from(values: &Values, p: f32) -> Result<Tensor> {
    let logits = values.input("nucleus_logits")?.to_vec2::<f32>()?;
    let last: Vec<u32> = values.numbers("nucleus_last")?;
    let row = |(row, &last): (&Vec<f32>, &u32)| nucleus(row, p, Some(last));
    let rows: Vec<Vec<f64>> = logits.iter().zip(&last).map(row).collect();
    Ok(Tensor::new(rows, &values.device)?)
}

/// `what` a search of that name finds; `None` if there is no such search.
fn searched(model: &VirTex, values: &Values, search: &str, what: &str) -> Result<Option<Tensor>> {
    let (search, start) = match search.strip_suffix("_keep_sos") {
        Some(search) => (search, Start::Kept),
        None => (search, Start::Dropped),
    };
    let Some((width, per_node)) = sizes(search) else {
        return Ok(None);
    };
    let memory = memory(model, values)?;
    let limit = model.config().max_decoding_steps;
    let beam = model.beam(width, per_node, limit);
    let found = model.search(&memory, vec![beam; memory.dim(0)?], start)?;
    as_recorded(model, &found, search == "greedy", what)
}

/// Hypotheses and continuations of each, from a search's name.
fn sizes(search: &str) -> Option<(usize, usize)> {
    if search == "greedy" {
        return Some((1, 1));
    }
    let (width, per_node) = search.strip_prefix("beam")?.split_once('x')?;
    let size = |text: &str| text.parse().ok().filter(|size| (1..=WIDEST).contains(size));
    Some((size(width)?, size(per_node)?))
}

/// What was found in the recorded form: every caption as long as the longest, its end repeated. Greedy search
/// (`is_one`) and `best` have one caption for each image.
fn as_recorded(
    model: &VirTex,
    found: &[Vec<Hypothesis>],
    is_one: bool,
    what: &str,
) -> Result<Option<Tensor>> {
    let captions = || found.iter().flatten();
    let longest = captions().map(|caption| caption.ids.len()).max();
    let (longest, end) = (longest.unwrap_or(0), model.config().eos_index);
    let padded = |caption: &Hypothesis| {
        let mut ids = caption.ids.clone();
        ids.resize(longest, end);
        ids
    };
    let width = found.first().map_or(0, Vec::len);
    let images = found.len();
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
            let best = found.iter().filter_map(|found| found.first());
            let ids: Vec<u32> = best.flat_map(padded).collect();
            Tensor::from_vec(ids, (images, longest), &Device::Cpu)?
        }
        _ => return Ok(None),
    }))
}
