//! Recorded outputs of `SimVLM`.
//!
//! | input | shape |
//! | --- | --- |
//! | `pixel_values` | `[B, 3, H, W]`, normalised |
//! | `prefix_ids`, `prefix_mask` | `[B, P]`: texts of the prefix, 0 in the mask for what fills rows up |
//! | `target_ids`, `target_mask` | `[B, T]`: what follows, its end included |
//! | `generate.N.image`, `.prefix_ids`, `.max_new_tokens` | one of the images, `[P]`, and the most tokens |
//! | `generate.N.beam.M.num_beams`, `.length_penalty` | of a beam search |
//!
//! | output | what it is |
//! | --- | --- |
//! | `image_tokens` | cells with their positions, `[B, cells, width]` |
//! | `logits` | of the target, `[B, T, V]` |
//! | `loss` | mean cross entropy of the target's tokens |
//! | `text_only_loss` | the same without images, over the first rows whose prefixes are not empty |
//! | `answer_logits` | of the answer head for the first `R` rows, whose targets are the questions, `[R, labels]`; with pairs of images that of the row and the next one |
//! | `generate.N.greedy`, `.greedy_smallest_margin` | ids; the smallest difference of the two best log-probabilities |
//! | `generate.N.beam.M.ids`, `.score` | the best hypothesis |
//!
//! Tolerance: 2e-4 absolute and relative; ids exact.

use candle_core::{Device, Tensor};
use sightline_nn::decode::Greedy;

use super::search::{ids_tensor, one, real, smallest_margin};
use super::values::Values;
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::simvlm::{Cells, Prefix, SimVlm};

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(SimVlm::load(spec, device)?))
}

impl Replay for SimVlm {
    fn inputs(&self) -> &'static [&'static str] {
        &[
            "pixel_values",
            "prefix_ids",
            "prefix_mask",
            "target_ids",
            "target_mask",
            "image",
            "max_new_tokens",
            "num_beams",
            "length_penalty",
        ]
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        let last = output.rsplit('.').next();
        if matches!(last, Some("greedy" | "ids")) {
            Tolerance::EXACT
        } else {
            Tolerance::both(2e-4)
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        if let Some(search) = output.strip_prefix("generate.") {
            return searched(self, values, search);
        }
        Ok(Some(match output {
            "image_tokens" => self.cells(values.input("pixel_values")?)?.tokens,
            "logits" => logits(self, values)?,
            "loss" => {
                let cells = self.cells(values.input("pixel_values")?)?;
                let texts = texts(values)?;
                loss(self, values, Some(&cells), &texts, output)?
            }
            "text_only_loss" => {
                let texts = texts(values)?;
                let with_prefix = texts.iter().take_while(|texts| !texts.prefix.is_empty());
                let rows = with_prefix.count();
                loss(self, values, None, &texts[..rows], output)?
            }
            "answer_logits" => answers(self, values)?,
            _ => return Ok(None),
        }))
    }
}

/// A row's texts without what fills them up.
struct Texts {
    prefix: Vec<u32>,
    target: Vec<u32>,
    /// The target with what fills it up.
    filled: Vec<u32>,
}

fn texts(values: &Values) -> Result<Vec<Texts>> {
    let kept = |ids: &str, mask: &str| -> Result<Vec<Vec<u32>>> {
        let (ids, mask) = (values.rows::<u32>(ids)?, values.rows::<u8>(mask)?);
        let row = |(ids, mask): (Vec<u32>, Vec<u8>)| {
            let there = ids.into_iter().zip(mask).filter(|(_, mask)| *mask != 0);
            there.map(|(id, _)| id).collect()
        };
        Ok(ids.into_iter().zip(mask).map(row).collect())
    };
    let prefixes = kept("prefix_ids", "prefix_mask")?;
    let targets = kept("target_ids", "target_mask")?;
    let filled = values.rows::<u32>("target_ids")?;
    let rows = prefixes.into_iter().zip(targets).zip(filled);
    Ok(rows
        .map(|((prefix, target), filled)| Texts {
            prefix,
            target,
            filled,
        })
        .collect())
}

/// The cells of image `row`, if there is one.
fn cells_of(cells: Option<&Cells>, row: usize) -> Result<Option<Cells>> {
    let Some(cells) = cells else { return Ok(None) };
    let images = cells.tokens.dim(0)?;
    if row >= images {
        return Err(RecordedError::Value {
            input: "pixel_values".to_owned(),
            value: images as i64,
            wanted: format!("more than {row} images"),
        });
    }
    Ok(Some(cells.select(&[row as u32])?))
}

/// One row after the other: their prefixes are of different lengths.
fn logits(model: &SimVlm, values: &Values) -> Result<Tensor> {
    let cells = model.cells(values.input("pixel_values")?)?;
    let mut rows = Vec::new();
    for (row, texts) in texts(values)?.into_iter().enumerate() {
        let cells = cells_of(Some(&cells), row)?;
        let prefix = Prefix {
            cells: cells.as_ref(),
            ids: &[texts.prefix],
        };
        let filled = model.shifted(&[texts.filled]);
        // The start token comes in front and the last one goes.
        let length = (texts.target.len() + 1).min(filled[0].len());
        rows.push(model.logits_of_filled(prefix, &filled, &[length])?);
    }
    Ok(Tensor::cat(&rows, 0)?)
}

/// The loss of training, of all texts at once.
fn loss(
    model: &SimVlm,
    values: &Values,
    cells: Option<&Cells>,
    texts: &[Texts],
    output: &str,
) -> Result<Tensor> {
    let prefixes: Vec<Vec<u32>> = texts.iter().map(|texts| texts.prefix.clone()).collect();
    let targets: Vec<Vec<u32>> = texts.iter().map(|texts| texts.target.clone()).collect();
    let (loss, _) = model.prefix_loss(cells, &prefixes, &targets)?;
    let shape = values.output(output).map_or(&[][..], Tensor::dims);
    Ok(loss.broadcast_as(shape)?)
}

fn answers(model: &SimVlm, values: &Values) -> Result<Tensor> {
    let texts = texts(values)?;
    let recorded = values.output("answer_logits").map(|t| t.dim(0));
    let rows = recorded.transpose()?.unwrap_or(0).min(texts.len());
    let questions: Vec<Vec<u32>> = texts[..rows].iter().map(|t| t.target.clone()).collect();
    let cells = model.cells(values.input("pixel_values")?)?;
    let images = cells.tokens.dim(0)? as u32;
    let place = |place: u32| {
        let numbers = (0..rows as u32).map(|row| (row + place) % images.max(1));
        cells.select(&numbers.collect::<Vec<u32>>())
    };
    let places = 0..model.config().answer_images as u32;
    let places = places.map(place).collect::<crate::Result<Vec<_>>>()?;
    Ok(model.answer_logits(&places, &questions)?)
}

/// What `N.greedy`, `N.greedy_smallest_margin`, `N.beam.M.ids` or `N.beam.M.score` is; `None` if it is none of them.
fn searched(model: &SimVlm, values: &Values, name: &str) -> Result<Option<Tensor>> {
    let Some((number, what)) = name.split_once('.') else {
        return Ok(None);
    };
    let of_prompt = |input: &str| format!("generate.{number}.{input}");
    let image = one(values, &of_prompt("image"))?;
    let limit = one(values, &of_prompt("max_new_tokens"))?;
    let ids = [values.numbers::<u32>(&of_prompt("prefix_ids"))?];
    let cells = model.cells(values.input("pixel_values")?)?;
    let cells = cells_of(Some(&cells), image)?;
    let prefix = Prefix {
        cells: cells.as_ref(),
        ids: &ids,
    };
    if what == "greedy" || what == "greedy_smallest_margin" {
        let search = Greedy::new(&[model.config().eos_id], limit);
        let found = model.search(prefix, vec![search])?.remove(0).remove(0);
        if what == "greedy" {
            return ids_tensor(&found.ids).map(Some);
        }
        let logits = model.logits(prefix, &model.shifted(&[found.ids]))?;
        return smallest_margin(&logits).map(Some);
    }
    let Some((beam, what)) = what
        .strip_prefix("beam.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return Ok(None);
    };
    let of_beam = |input: &str| of_prompt(&format!("beam.{beam}.{input}"));
    let width = one(values, &of_beam("num_beams"))?;
    let penalty = real(values, &of_beam("length_penalty"))?;
    let search = model.beam(width, limit, penalty);
    let found = model.search(prefix, vec![search])?.remove(0);
    let Some(best) = found.first() else {
        return Ok(None);
    };
    Ok(match what {
        "ids" => Some(ids_tensor(&best.ids)?),
        "score" => Some(Tensor::new(best.score, &values.device)?),
        _ => None,
    })
}
