//! Recorded outputs of MAGIC, in the older form.
//!
//! | input | shape |
//! | --- | --- |
//! | `pixel_values` | `[N, 3, H, W]`, normalised |
//! | `train_ids` | `[B, L]`: whole texts, padded |
//! | `magic.S.image`, `.k`, `.alpha`, `.beta`, `.total_length` | of a search; its length has the start token in it |
//! | `contrastive.S.k`, `.alpha`, `.steps` | of a search without an image |
//!
//! | output | what it is |
//! | --- | --- |
//! | `image_embeds` | projected, not of unit length, `[N, P]` |
//! | `mle_loss`, `cl_loss` | the two losses of training |
//! | `contrastive.S.ids`, `magic.S.ids` | the start token and what was written |
//! | `magic.S.text` | its text |
//! | `magic.S.steps.T.candidates`, `.confidence`, `.penalty`, `.magic`, `.score` | a number for each candidate |
//! | `magic.S.steps.T.texts.C` | what CLIP saw of a candidate |
//! | `magic.S.steps.T.margin` | the difference of the two best scores |
//!
//! Tolerance: 2e-4 absolute; ids and texts exact.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use sightline_nn::decode::{ContrastiveSpec, ContrastiveStep};
use sightline_nn::unit_length;

use super::search::{ids_tensor, one, real};
use super::values::{Values, text_tensor};
use super::{RecordedError, Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::magic::{Found, Magic};
use crate::language::objective::token_contrastive;

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(Searches {
        magic: Magic::load(spec, device)?,
        found: RefCell::default(),
    }))
}

/// A model and what its searches found, each of which has many outputs.
struct Searches {
    magic: Magic,
    found: RefCell<BTreeMap<String, Rc<Found>>>,
}

impl Replay for Searches {
    fn inputs(&self) -> &'static [&'static str] {
        &[
            "pixel_values",
            "train_ids",
            "magic.*.image",
            "magic.*.k",
            "magic.*.alpha",
            "magic.*.beta",
            "magic.*.total_length",
            "contrastive.*.k",
            "contrastive.*.alpha",
            "contrastive.*.steps",
        ]
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        let is_exact =
            ["ids", "text", "candidates"].contains(&last(output)) || output.contains(".texts.");
        if is_exact {
            return Tolerance::EXACT;
        }
        Tolerance {
            absolute: 2e-4,
            relative: 0.0,
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        match output {
            "image_embeds" => Ok(Some(self.images(values)?)),
            "mle_loss" | "cl_loss" => {
                let rows: Vec<Vec<u32>> = values.rows("train_ids")?;
                let (network, config) = (self.magic.language().transformer(), self.magic.config());
                let ((likelihood, _), contrast) =
                    token_contrastive(network, &rows, config.pad_id, config.margin)?;
                let loss = match output {
                    "mle_loss" => likelihood,
                    _ => contrast,
                };
                let shape = values.output(output).map_or(&[][..], Tensor::dims);
                Ok(Some(loss.broadcast_as(shape)?))
            }
            _ => self.searched(values, output),
        }
    }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

impl Searches {
    fn images(&self, values: &Values) -> Result<Tensor> {
        let pixels = values.input("pixel_values")?;
        Ok(self.magic.clip().image_features(pixels)?)
    }

    /// What the search called `name` found: `magic.S` or `contrastive.S`.
    fn found(&self, values: &Values, name: &str) -> Result<Rc<Found>> {
        if let Some(found) = self.found.borrow().get(name) {
            return Ok(Rc::clone(found));
        }
        let of = |input: &str| format!("{name}.{input}");
        let mut spec = ContrastiveSpec {
            candidates: one(values, &of("k"))?,
            penalty: real(values, &of("alpha"))? as f32,
            judgement: 0.0,
            ends: Vec::new(),
            limit: 0,
        };
        let mut image = None;
        if name.starts_with("magic.") {
            spec.judgement = real(values, &of("beta"))? as f32;
            spec.limit = one(values, &of("total_length"))?.saturating_sub(1);
            let number = one(values, &of("image"))?;
            let images = unit_length(&self.images(values)?)?;
            let count = images.dim(0)?;
            if number >= count {
                return Err(RecordedError::Value {
                    input: of("image"),
                    value: number as i64,
                    wanted: format!("a number below {count}"),
                });
            }
            image = Some(images.get(number)?);
        } else {
            spec.limit = one(values, &of("steps"))?;
        }
        let start = [self.magic.config().sos_id];
        let found = Rc::new(self.magic.search(&start, image.as_ref(), &spec)?);
        let mut all = self.found.borrow_mut();
        all.insert(name.to_owned(), Rc::clone(&found));
        Ok(found)
    }

    fn searched(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let parts: Vec<&str> = output.split('.').collect();
        let [kind @ ("magic" | "contrastive"), number, rest @ ..] = &parts[..] else {
            return Ok(None);
        };
        let found = self.found(values, &format!("{kind}.{number}"))?;
        match (*kind, rest) {
            (_, ["ids"]) => {
                let start = [self.magic.config().sos_id];
                let ids = [&start[..], &found.hypothesis.ids].concat();
                ids_tensor(&ids).map(Some)
            }
            ("magic", ["text"]) => text_tensor(&found.text).map(Some),
            ("magic", ["steps", step, "texts", candidate]) => {
                let text = step.parse().ok().and_then(|step: usize| {
                    let texts = found.texts.get(step)?;
                    texts.get(candidate.parse::<usize>().ok()?)
                });
                text.map(|text| text_tensor(text)).transpose()
            }
            ("magic", ["steps", step, what]) => {
                let step = step
                    .parse()
                    .ok()
                    .and_then(|step: usize| found.steps.get(step));
                step.map_or(Ok(None), |step| of_step(step, what))
            }
            _ => Ok(None),
        }
    }
}

fn of_step(step: &ContrastiveStep, what: &str) -> Result<Option<Tensor>> {
    let numbers = match what {
        "candidates" => return ids_tensor(&step.candidates).map(Some),
        "confidence" => &step.confidence,
        "penalty" => &step.penalty,
        "magic" => &step.judged,
        "score" => &step.score,
        "margin" => {
            let mut scores = step.score.clone();
            scores.sort_by(|a, b| b.total_cmp(a));
            let margin = match scores[..] {
                [best, second, ..] => best - second,
                _ => f32::INFINITY,
            };
            return Ok(Some(Tensor::new(margin, &Device::Cpu)?));
        }
        _ => return Ok(None),
    };
    let tensor = Tensor::from_slice(numbers, numbers.len(), &Device::Cpu)?;
    Ok(Some(tensor))
}
