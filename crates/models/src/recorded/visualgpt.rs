//! Recorded outputs of `VisualGPT`.
//!
//! | input | shape |
//! | --- | --- |
//! | `detections` | `[B, R, D]`: features of regions, zeros for what fills an image up |
//! | `caption_ids` | `[B, L]`: start token, caption, padding |
//! | `beam_size`, `max_len` | of all searches |
//! | `items.N.row` | one of the images |
//!
//! | output | what it is |
//! | --- | --- |
//! | `encoder_out` | the states behind each layer, `[B, 3, R, width]` |
//! | `log_probs` | of what comes behind each token, `[B, L, V]` |
//! | `loss` | mean cross entropy of the captions' tokens, padding left out |
//! | `items.N.beam`, `.beam_score` | ids of the best hypothesis, with its end token or without; its sum |
//! | `items.N.greedy`, `.greedy_smallest_margin` | ids; the smallest difference of the two best log-probabilities |
//!
//! Tolerance: 3e-4 absolute and relative; ids exact.

use candle_core::{Device, Tensor};
use sightline_nn::decode::{Greedy, Hypothesis};

use super::search::{ids_tensor, one, smallest_margin};
use super::values::Values;
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::visualgpt::{Memory, VisualGpt};
use crate::loss::log_softmax;

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(VisualGpt::load(spec, device)?))
}

impl Replay for VisualGpt {
    fn inputs(&self) -> &'static [&'static str] {
        &["detections", "caption_ids", "beam_size", "max_len", "row"]
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        let last = output.rsplit('.').next();
        if matches!(last, Some("greedy" | "beam")) {
            Tolerance::EXACT
        } else {
            Tolerance::both(3e-4)
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        if let Some(search) = output.strip_prefix("items.") {
            return searched(self, values, search, output);
        }
        Ok(Some(match output {
            "encoder_out" => Tensor::stack(&memory(self, values)?.levels, 1)?,
            "log_probs" => log_softmax(&logits(self, values)?)?,
            "loss" => {
                let ids: Vec<Vec<u32>> = values.rows("caption_ids")?;
                let (loss, _) = self.caption_loss(&memory(self, values)?, &ids)?;
                let shape = values.output(output).map_or(&[][..], Tensor::dims);
                loss.broadcast_as(shape)?
            }
            _ => return Ok(None),
        }))
    }
}

fn memory(model: &VisualGpt, values: &Values) -> Result<Memory> {
    Ok(model.encoder().forward(values.input("detections")?)?)
}

fn logits(model: &VisualGpt, values: &Values) -> Result<Tensor> {
    let ids: Vec<Vec<u32>> = values.rows("caption_ids")?;
    Ok(model.logits(&memory(model, values)?, &ids)?)
}

/// What `N.WHAT` is; `None` if there is no such thing.
fn searched(
    model: &VisualGpt,
    values: &Values,
    name: &str,
    output: &str,
) -> Result<Option<Tensor>> {
    let Some((number, what)) = name.split_once('.') else {
        return Ok(None);
    };
    let input = format!("items.{number}.row");
    let row = one(values, &input)? as u32;
    let memory = memory(model, values)?;
    let images = memory.present.dim(0)? as u32;
    if row >= images {
        return Err(RecordedError::Value {
            input,
            value: i64::from(row),
            wanted: format!("a number below {images}"),
        });
    }
    let memory = memory.select(&[row])?;
    let (end, limit) = (model.config().eos_id, one(values, "max_len")?);
    let best: Hypothesis = if what.starts_with("beam") {
        let search = model.beam(one(values, "beam_size")?, limit);
        model.search(&memory, vec![search])?.remove(0).remove(0)
    } else {
        let search = Greedy::new(&[end], limit);
        model.search(&memory, vec![search])?.remove(0).remove(0)
    };
    Ok(match what {
        "beam" | "greedy" => {
            let mut ids = best.ids;
            // Programs keep the end token of a text or cut it off.
            let recorded = values.output(output).map_or(0, Tensor::elem_count);
            if ids.last() == Some(&end) && recorded + 1 == ids.len() {
                ids.pop();
            }
            Some(ids_tensor(&ids)?)
        }
        "beam_score" => Some(Tensor::new(best.score, &values.device)?),
        "greedy_smallest_margin" => {
            let mut ids = vec![model.config().bos_id];
            ids.extend(best.ids.split_last().map_or(&[][..], |(_, before)| before));
            Some(smallest_margin(&model.logits(&memory, &[ids])?)?)
        }
        _ => None,
    })
}
