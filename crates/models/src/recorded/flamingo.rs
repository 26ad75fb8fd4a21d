//! Recorded outputs of Flamingo, in the older form.
//!
//! | input | shape |
//! | --- | --- |
//! | `vision_x` | `[B, T, F, 3, H, W]`: `T` images of `F` frames for each text, normalised |
//! | `lang_x`, `attention_mask` | `[B, L]`: ids, 0 in the mask for padding |
//! | `prompts.N.ids`, `.images`, `.max_new_tokens` | ids; images by their numbers among all; the most tokens |
//! | `prompts.N.beam.M.num_beams`, `.length_penalty` | of a beam search |
//! | `prompts.N.rank.M.ids` | a continuation |
//!
//! | output | what it is |
//! | --- | --- |
//! | `endofchunk_token`, `image_token` | ids |
//! | `vision_tokens` | patches before the tower's last norm, `[B, T, F * v, width]` |
//! | `vis_x` | of the resampler, `[B, T, latents, width]` |
//! | `logits` | `[B, L, V]`, compared where the mask is 1 |
//! | `labels`, `loss` | of interleaved texts: -100 for what is not learned; mean cross entropy |
//! | `labels_caption`, `loss_caption` | the same of captions |
//! | `prompts.N.greedy`, `.greedy_smallest_margin` | ids; the smallest difference of the two best log-probabilities |
//! | `prompts.N.beam.M.ids`, `.score` | the best hypothesis |
//! | `prompts.N.rank.M.logprob` | sum of the log-probabilities of the continuation's tokens |
//!
//! Tolerance: 5e-4 absolute; losses and scores 5e-4 relative; ids exact.

use candle_core::{DType, Device, Tensor};
use sightline_nn::decode::Greedy;

use super::search::{ids_tensor, one, real, smallest_margin};
use super::values::Values;
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::flamingo::{Flamingo, Tokens, labels};

/// What stands in place of a label that is not learned.
const IGNORED: i64 = -100;

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(Flamingo::load(spec, device)?))
}

impl Replay for Flamingo {
    fn inputs(&self) -> &'static [&'static str] {
        &[
            "vision_x",
            "lang_x",
            "attention_mask",
            "prompts.*.ids",
            "prompts.*.images",
            "prompts.*.max_new_tokens",
            "prompts.*.rank.*.ids",
            "num_beams",
            "length_penalty",
        ]
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        const NEAR: f64 = 5e-4;
        let last = output.rsplit('.').next().unwrap_or_default();
        match last {
            "greedy" | "ids" | "labels" | "labels_caption" | "endofchunk_token" | "image_token" => {
                Tolerance::EXACT
            }
            "loss" | "loss_caption" | "score" | "logprob" => Tolerance {
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
        if let Some(search) = output.strip_prefix("prompts.") {
            return searched(self, values, search);
        }
        let number = |id: u32| Ok(Some(Tensor::new(id, &Device::Cpu)?));
        Ok(Some(match output {
            "endofchunk_token" => return number(self.marks().end),
            "image_token" => return number(self.marks().image),
            "vision_tokens" => {
                let images = Images::new(self, values)?;
                let (_, _, patches, width) = images.tokens.dims4()?;
                let each = images.frames * patches;
                images.tokens.reshape((images.rows, (), each, width))?
            }
            "vis_x" => {
                let images = Images::new(self, values)?;
                let (_, vectors, width) = images.latents.dims3()?;
                images.latents.reshape((images.rows, (), vectors, width))?
            }
            "logits" => {
                let logits = logits(self, values)?.to_device(&Device::Cpu)?;
                let present: Vec<Vec<u8>> = values.rows("attention_mask")?;
                let (rows, len, _) = logits.dims3()?;
                let present = Tensor::new(present, &Device::Cpu)?;
                let present = present.reshape((rows, len, 1))?;
                let Some(recorded) = values.output(output) else {
                    return Ok(None);
                };
                // Nothing is said of the logits of padding.
                if recorded.dims() != logits.dims() {
                    return Ok(Some(logits));
                }
                present
                    .broadcast_as(logits.shape())?
                    .where_cond(&logits, recorded)?
            }
            "labels" => label_tensor(labels_of(self, values, true)?)?,
            "labels_caption" => label_tensor(labels_of(self, values, false)?)?,
            "loss" => loss(self, values, output, true)?,
            "loss_caption" => loss(self, values, output, false)?,
            _ => return Ok(None),
        }))
    }
}

/// All recorded images, one after the other.
struct Images {
    /// `[N, F, v, width]`.
    tokens: Tensor,
    /// `[N, latents, width]`.
    latents: Tensor,
    /// Texts.
    rows: usize,
    /// Images of a text.
    each: usize,
    frames: usize,
}

impl Images {
    fn new(model: &Flamingo, values: &Values) -> Result<Self> {
        let pixels = values.input("vision_x")?;
        let &[rows, each, frames, channels, height, width] = pixels.dims() else {
            return Err(RecordedError::Shape {
                found: pixels.dims().to_vec(),
                expected: vec![0, 0, 0, 3, 0, 0],
            });
        };
        let all = pixels.reshape((rows * each * frames, channels, height, width))?;
        let tokens = model.image_tokens(&all)?;
        let (_, patches, width) = tokens.dims3()?;
        let tokens = tokens.reshape((rows * each, frames, patches, width))?;
        let places: Vec<usize> = (0..rows).flat_map(|_| 0..each).collect();
        Ok(Self {
            latents: model.resample(&tokens, &places)?,
            tokens,
            rows,
            each,
            frames,
        })
    }
}

/// Calls `f` with the recorded texts as the model reads them, and what of them is no padding.
fn with_tokens<T>(
    model: &Flamingo,
    values: &Values,
    f: impl FnOnce(Tokens<'_>, &[Vec<u8>]) -> Result<T>,
) -> Result<T> {
    let images = Images::new(model, values)?;
    let ids: Vec<Vec<u32>> = values.rows("lang_x")?;
    let present: Vec<Vec<u8>> = values.rows("attention_mask")?;
    let mark = model.marks().image;
    let of_row = |(row, ids): (usize, &Vec<u32>)| {
        let marks = ids.iter().filter(|&&id| id == mark).count();
        let first = (row * images.each) as u32;
        (first..).take(marks.min(images.each)).collect()
    };
    let named: Vec<Vec<u32>> = ids.iter().enumerate().map(of_row).collect();
    let tokens = Tokens {
        ids: &ids,
        images: &named,
        latents: &images.latents,
    };
    f(tokens, &present)
}

fn logits(model: &Flamingo, values: &Values) -> Result<Tensor> {
    with_tokens(model, values, |tokens, present| {
        Ok(model.logits(tokens, present)?)
    })
}

fn labels_of(model: &Flamingo, values: &Values, interleaved: bool) -> Result<Vec<Vec<i64>>> {
    let ids: Vec<Vec<u32>> = values.rows("lang_x")?;
    let row = |ids: &Vec<u32>| {
        let labels = labels(model.marks(), ids, interleaved).into_iter();
        labels
            .map(|label| label.map_or(IGNORED, i64::from))
            .collect()
    };
    Ok(ids.iter().map(row).collect())
}

fn label_tensor(labels: Vec<Vec<i64>>) -> Result<Tensor> {
    Ok(Tensor::new(labels, &Device::Cpu)?)
}

fn loss(model: &Flamingo, values: &Values, output: &str, interleaved: bool) -> Result<Tensor> {
    let (loss, _) = with_tokens(model, values, |tokens, present| {
        Ok(model.text_loss(tokens, present, interleaved)?)
    })?;
    let shape = values.output(output).map_or(&[][..], Tensor::dims);
    Ok(loss.broadcast_as(shape)?)
}

/// What `N.WHAT` is; `None` if there is no such thing.
fn searched(model: &Flamingo, values: &Values, name: &str) -> Result<Option<Tensor>> {
    let Some((number, what)) = name.split_once('.') else {
        return Ok(None);
    };
    let of_prompt = |input: &str| format!("prompts.{number}.{input}");
    let ids = [values.numbers::<u32>(&of_prompt("ids"))?];
    let named = [values.numbers::<u32>(&of_prompt("images"))?];
    let all = Images::new(model, values)?;
    let count = all.latents.dim(0)?;
    if let Some(&odd) = named[0].iter().find(|&&image| image as usize >= count) {
        return Err(RecordedError::Value {
            input: of_prompt("images"),
            value: i64::from(odd),
            wanted: format!("a number below {count}"),
        });
    }
    let prompt = Tokens {
        ids: &ids,
        images: &named,
        latents: &all.latents,
    };
    if let Some(rank) = what.strip_prefix("rank.") {
        let Some((rank, "logprob")) = rank.split_once('.') else {
            return Ok(None);
        };
        let continuation = [values.numbers::<u32>(&of_prompt(&format!("rank.{rank}.ids")))?];
        let found = model.continuations(prompt, &continuation)?;
        let sum: f32 = found.iter().flatten().sum();
        return Ok(Some(Tensor::new(sum, &Device::Cpu)?));
    }
    let limit = one(values, &of_prompt("max_new_tokens"))?;
    if what == "greedy" || what == "greedy_smallest_margin" {
        let search = Greedy::new(&[model.marks().end], limit);
        let found = model.search(prompt, vec![search])?.remove(0).remove(0);
        if what == "greedy" {
            return ids_tensor(&found.ids).map(Some);
        }
        // At each place behind the prompt; the last token is read by nobody.
        let before = found.ids.split_last().map_or(&[][..], |(_, before)| before);
        let whole = [[&ids[0][..], before].concat()];
        let present = [vec![1; whole[0].len()]];
        let whole = Tokens {
            ids: &whole,
            ..prompt
        };
        let logits = model.logits(whole, &present)?;
        let first = ids[0].len().saturating_sub(1);
        let written = logits.narrow(1, first, logits.dim(1)? - first)?;
        return smallest_margin(&written).map(Some);
    }
    let beam = what
        .strip_prefix("beam.")
        .and_then(|rest| rest.split_once('.'));
    let Some((beam, what)) = beam else {
        return Ok(None);
    };
    let of_beam = |input: &str| of_prompt(&format!("beam.{beam}.{input}"));
    let width = one(values, &of_beam("num_beams"))?;
    let penalty = real(values, &of_beam("length_penalty"))?;
    let search = model.beam(width, limit, penalty);
    let found = model.search(prompt, vec![search])?.remove(0);
    let Some(best) = found.first() else {
        return Ok(None);
    };
    Ok(match what {
        "ids" => Some(ids_tensor(&best.ids)?),
        "score" => Some(Tensor::new(best.score, &Device::Cpu)?.to_dtype(DType::F32)?),
        _ => None,
    })
}
