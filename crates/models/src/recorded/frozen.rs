//! Recorded outputs of Frozen and its relatives, in the older form.
//!
//! | input | shape |
//! | --- | --- |
//! | `pixel_values` | `[B, 3, H, W]`, normalised |
//! | `image_features` | `[B, D]` in its place, of another program |
//! | `caption_ids`, `caption_mask` | `[B, L]`, 0 in the mask for padding |
//! | `prompt.N` | a pair: `image` and its number, or `text` and its ids |
//! | `continuations.N.ids` | ids |
//! | `eos`, `max_new_tokens` | of all searches |
//! | `beam.M.num_beams`, `.length_penalty` | of a beam search |
//!
//! | output | what it is |
//! | --- | --- |
//! | `visual_prefix` | vectors that stand for each image, `[B, n, width]` |
//! | `caption_logits`, `caption_loss` | those that predict each token of the captions, `[B, L, V]`; mean cross entropy |
//! | `prompt_logits` | of the prompt, `[1, T, V]` |
//! | `continuations.N.per_token`, `.sum` | log-probabilities behind the prompt |
//! | `greedy`, `greedy_smallest_margin` | ids behind the prompt; the smallest difference of the two best log-probabilities |
//! | `beam.M.ids`, `.score` | the best hypothesis |
//!
//! Tolerance: 2e-4 absolute; loss and scores 2e-4 relative; ids exact.

use candle_core::{Device, Tensor};
use sightline_nn::decode::{self, Greedy, Hypothesis, Search};

use super::search::{ids_tensor, one, real, smallest_margin};
use super::values::Values;
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::frozen::{Frozen, Part};

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(Frozen::load(spec, device)?))
}

impl Replay for Frozen {
    fn inputs(&self) -> &'static [&'static str] {
        &[
            "pixel_values",
            "image_features",
            "caption_ids",
            "caption_mask",
            "prompt.*.*",
            "continuations.*.ids",
            "eos",
            "max_new_tokens",
            "num_beams",
            "length_penalty",
        ]
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        const NEAR: f64 = 2e-4;
        let last = output.rsplit('.').next().unwrap_or_default();
        match last {
            "greedy" | "ids" => Tolerance::EXACT,
            "caption_loss" | "score" | "sum" | "per_token" => Tolerance {
                absolute: 0.0,
                relative: NEAR,
            },
            _ => Tolerance {
                absolute: NEAR,
                relative: 0.0,
            },
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        if let Some(rest) = output.strip_prefix("continuations.") {
            return continuation(self, values, rest);
        }
        if let Some(rest) = output.strip_prefix("beam.") {
            return beam(self, values, rest);
        }
        let network = self.language().transformer();
        Ok(Some(match output {
            "visual_prefix" => prefix(self, values)?,
            "caption_logits" => caption_logits(self, values)?,
            "caption_loss" => {
                let ids: Vec<Vec<u32>> = values.rows("caption_ids")?;
                let present: Vec<Vec<u8>> = values.rows("caption_mask")?;
                let (loss, _) = self.caption_loss(&prefix(self, values)?, &ids, &present)?;
                let shape = values.output(output).map_or(&[][..], Tensor::dims);
                loss.broadcast_as(shape)?
            }
            "prompt_logits" => {
                let prompt = prompt(self, values)?.unsqueeze(0)?;
                network.logits(&network.forward(&prompt, None)?)?
            }
            "greedy" => ids_tensor(&greedy(self, values)?.ids)?,
            "greedy_smallest_margin" => {
                let ids = greedy(self, values)?.ids;
                let before = ids.split_last().map_or(&[][..], |(_, before)| before);
                let mut all = prompt(self, values)?;
                let first = all.dim(0)? - 1;
                if !before.is_empty() {
                    let words = network.embed(&[before.to_vec()])?.squeeze(0)?;
                    all = Tensor::cat(&[&all, &words], 0)?;
                }
                let hidden = network.forward(&all.unsqueeze(0)?, None)?;
                let written = hidden.narrow(1, first, hidden.dim(1)? - first)?;
                smallest_margin(&network.logits(&written.contiguous()?)?)?
            }
            _ => return Ok(None),
        }))
    }
}

fn prefix(model: &Frozen, values: &Values) -> Result<Tensor> {
    let images = match values.find("pixel_values") {
        Some(pixels) => pixels,
        None => values.input("image_features")?,
    };
    Ok(model.visual_prefix(images, model.config().sight)?)
}

fn caption_logits(model: &Frozen, values: &Values) -> Result<Tensor> {
    let ids: Vec<Vec<u32>> = values.rows("caption_ids")?;
    let present: Vec<Vec<u8>> = values.rows("caption_mask")?;
    Ok(model.caption_logits(&prefix(model, values)?, &ids, &present)?)
}

/// The recorded prompt, with room for what is written behind it.
fn prompt(model: &Frozen, values: &Values) -> Result<Tensor> {
    let prefix = prefix(model, values)?;
    let images = prefix.dim(0)?;
    let mut segments: Vec<(Option<Tensor>, Vec<u32>)> = Vec::new();
    for number in 0.. {
        let kind = format!("prompt.{number}.0");
        if values.find(&kind).is_none() {
            break;
        }
        let kind: Vec<u8> = values.numbers(&kind)?;
        let input = format!("prompt.{number}.1");
        let value: Vec<u32> = values.numbers(&input)?;
        segments.push(match (kind.as_slice(), value.as_slice()) {
            (b"text", _) => (None, value),
            (b"image", &[image]) if (image as usize) < images => {
                (Some(prefix.get(image as usize)?), Vec::new())
            }
            (_, value) => {
                return Err(RecordedError::Value {
                    input,
                    value: value.first().map_or(0, |&value| i64::from(value)),
                    wanted: format!("ids of a `text`, or an `image` below {images}"),
                });
            }
        });
    }
    let parts: Vec<Part<'_>> = segments
        .iter()
        .map(|(image, ids)| Part::of(image.as_ref(), ids))
        .collect();
    Ok(model.prompt(&parts, one(values, "max_new_tokens")?)?)
}

fn search<S: Search>(model: &Frozen, values: &Values, search: S) -> Result<Hypothesis> {
    let (mut network, first) = model.read(&[prompt(model, values)?])?;
    Ok(decode::run(&mut network, &first, vec![search])?
        .remove(0)
        .remove(0))
}

/// The model's own end, which the recorded one must be.
fn limit(model: &Frozen, values: &Values) -> Result<usize> {
    let end = values.numbers::<u32>("eos")?;
    if end != [model.end()] {
        return Err(RecordedError::Value {
            input: "eos".to_owned(),
            value: end.first().map_or(0, |&id| i64::from(id)),
            wanted: format!("{}, as the configuration says", model.end()),
        });
    }
    one(values, "max_new_tokens")
}

fn greedy(model: &Frozen, values: &Values) -> Result<Hypothesis> {
    let rule = Greedy::new(&[model.end()], limit(model, values)?);
    search(model, values, rule)
}

/// What `M.WHAT` is; `None` if there is no such thing.
fn beam(model: &Frozen, values: &Values, name: &str) -> Result<Option<Tensor>> {
    let Some((number, what)) = name.split_once('.') else {
        return Ok(None);
    };
    let width = one(values, &format!("beam.{number}.num_beams"))?;
    let penalty = real(values, &format!("beam.{number}.length_penalty"))?;
    let best = search(
        model,
        values,
        model.beam(width, limit(model, values)?, penalty),
    )?;
    Ok(match what {
        "ids" => Some(ids_tensor(&best.ids)?),
        "score" => Some(Tensor::new(best.score, &Device::Cpu)?),
        _ => None,
    })
}

/// What `N.WHAT` is; `None` if there is no such thing.
fn continuation(model: &Frozen, values: &Values, name: &str) -> Result<Option<Tensor>> {
    let Some((number, what)) = name.split_once('.') else {
        return Ok(None);
    };
    let ids: Vec<u32> = values.numbers(&format!("continuations.{number}.ids"))?;
    let found = model
        .continuations(&prompt(model, values)?, &[ids])?
        .concat();
    Ok(match what {
        "per_token" => Some(Tensor::from_slice(&found, found.len(), &Device::Cpu)?),
        "sum" => Some(Tensor::new(found.iter().sum::<f32>(), &Device::Cpu)?),
        _ => None,
    })
}
