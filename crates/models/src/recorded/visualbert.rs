//! Recorded outputs of `VisualBERT`, of every head.
//!
//! | input | shape |
//! | --- | --- |
//! | `input_ids`, `attention_mask`, `token_type_ids`, `position_ids` | `[.., L]` |
//! | `visual_embeds` | `[.., R, D]` |
//! | `visual_attention_mask`, `visual_token_type_ids` | `[.., R]` |
//! | `image_text_alignment`, `image_text_alignment_long` | `[.., R, A]`, padded with -1 |
//! | `labels`, `sentence_image_labels`, `region_to_phrase_position` | as the head's program takes them |
//!
//! Only `input_ids` must be there. Dimensions before those shown are taken as one.
//!
//! | output | of which head |
//! | --- | --- |
//! | `embeddings`, `hidden_N`, `last_hidden_state` | every |
//! | `pooler_output` | none: the encoder alone |
//! | `prediction_logits`, `seq_relationship_logits`, `loss`, `loss_mlm_only` | pre-training |
//! | `logits`, `log_softmax_with_labels`, `answer`, `loss` | question answering |
//! | `logits`, `loss` | visual reasoning, multiple choice |
//! | `logits_where_region_valid` (zeros elsewhere), `region_valid`, `loss` | region to phrase |
//!
//! A name may begin with `VARIANT.`, another call on the same inputs: `defaults` (ids and regions only), `text_only` (no
//! regions), `positions` (with `position_ids`), `alignment` and `alignment_long` (with the input of that name).
//!
//! Tolerance: 2e-5 absolute and relative; losses 5e-5.

use candle_core::{D, Device, Tensor};
use sightline_nn::tower::BertInput;

use super::loss::cross_entropy;
use super::values::Values;
use super::{Replay, Result, Tolerance, numbered};
use crate::ModelSpec;
use crate::families::visualbert::{Head, Inputs, RegionInputs, VisualBert};
use crate::loss::{divergence, log_softmax};

/// The label that counts for no loss.
const IGNORED: i64 = -100;

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(VisualBert::load(spec, device)?))
}

impl Replay for VisualBert {
    fn tolerance(&self, output: &str) -> Tolerance {
        Tolerance::both(if output.starts_with("loss") {
            5e-5
        } else {
            2e-5
        })
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let (variant, output) = output.split_once('.').unwrap_or(("", output));
        let Some(arguments) = Arguments::of(values, variant)? else {
            return Ok(None);
        };
        let (last, states) = self.encode_with_hidden(arguments.inputs())?;
        match output {
            "last_hidden_state" => return Ok(Some(last)),
            "embeddings" => return Ok(states.first().cloned()),
            _ => {}
        }
        if let Some(state) = output.strip_prefix("hidden_") {
            return Ok(numbered(&states, state));
        }
        of_head(self.head(), values, &arguments, &last, output)
    }
}

/// What only a head computes, from the last states `last`.
fn of_head(
    head: &Head,
    values: &Values,
    arguments: &Arguments,
    last: &Tensor,
    output: &str,
) -> Result<Option<Tensor>> {
    let loss = |input: &str, logits: &Tensor| {
        let labels = values.input(input)?.flatten_all()?.to_vec1()?;
        cross_entropy(logits, input, &labels, IGNORED)
    };
    Ok(Some(match (head, output) {
        (Head::Bare(pooler), "pooler_output") => pooler.forward(last)?,
        (Head::Pretraining(head), "prediction_logits") => head.predictions(last)?,
        (Head::Pretraining(head), "seq_relationship_logits") => head.relationship(last)?,
        (Head::Pretraining(head), "loss_mlm_only") => loss("labels", &head.predictions(last)?)?,
        (Head::Pretraining(head), "loss") => {
            let words = loss("labels", &head.predictions(last)?)?;
            (words + loss("sentence_image_labels", &head.relationship(last)?)?)?
        }
        (Head::QuestionAnswering(head), _) => {
            let logits = head.forward(last, &arguments.lens())?;
            match output {
                "logits" => logits,
                "log_softmax_with_labels" => log_softmax(&logits)?,
                "loss" => divergence(&logits, values.input("labels")?)?,
                "answer" => logits.argmax(D::Minus1)?,
                _ => return Ok(None),
            }
        }
        (Head::VisualReasoning(head), "logits") => head.forward(last)?,
        (Head::VisualReasoning(head), "loss") => loss("labels", &head.forward(last)?)?,
        (Head::MultipleChoice(head), "logits" | "loss") => {
            // `[B, choices]`.
            let shape = values.input("input_ids")?.dims();
            let shape = &shape[..shape.len().saturating_sub(1)];
            let logits = head.forward(last)?.reshape(shape)?;
            match output {
                "logits" => logits,
                _ => loss("labels", &logits)?,
            }
        }
        (Head::RegionToPhrase(head), _) => {
            let Some(present) = &arguments.region_present else {
                return Ok(None);
            };
            let positions = values.input("region_to_phrase_position")?;
            let positions: Vec<Vec<u32>> = positions
                .to_vec2::<i64>()?
                .iter()
                .map(|row| row.iter().map(|&p| u32::try_from(p).unwrap_or(0)).collect())
                .collect();
            let words = arguments.ids.first().map_or(0, Vec::len);
            let scores = head.scores(last, words, &positions, present)?;
            let valid = present.unsqueeze(1)?.broadcast_as(scores.shape())?;
            match output {
                "region_valid" => valid.contiguous()?,
                "logits_where_region_valid" => {
                    valid.ne(0f32)?.where_cond(&scores, &scores.zeros_like()?)?
                }
                "loss" => divergence(&scores, values.input("labels")?)?,
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    }))
}

/// What an output was computed from.
#[derive(Default)]
struct Arguments {
    ids: Vec<Vec<u32>>,
    present: Option<Vec<Vec<u8>>>,
    types: Option<Vec<Vec<u32>>>,
    positions: Option<Vec<Vec<u32>>>,
    features: Option<Tensor>,
    region_present: Option<Tensor>,
    region_types: Option<Vec<Vec<u32>>>,
    alignment: Option<Vec<Vec<Vec<u32>>>>,
}

impl Arguments {
    /// The arguments that the variant of a call was given; `None` if there is no such variant.
    fn of(values: &Values, variant: &str) -> Result<Option<Self>> {
        let leading_as_one = |name: &str| -> Result<Vec<Vec<u32>>> {
            let rows = values.find_rows(name)?;
            // The error of an input that is missing.
            rows.map_or_else(|| values.rows(name), Ok)
        };
        let defaults = Self {
            ids: leading_as_one("input_ids")?,
            features: values.leading_as_one("visual_embeds", 2)?,
            ..Self::default()
        };
        if variant == "defaults" {
            return Ok(Some(defaults));
        }
        let mut all = Self {
            present: values.find_rows("attention_mask")?,
            types: values.find_rows("token_type_ids")?,
            region_present: values.leading_as_one("visual_attention_mask", 1)?,
            region_types: values.find_rows("visual_token_type_ids")?,
            ..defaults
        };
        match variant {
            "" => {}
            "text_only" => all.features = None,
            "positions" => all.positions = Some(leading_as_one("position_ids")?),
            "alignment" => all.alignment = Some(alignment(values, "image_text_alignment")?),
            "alignment_long" => {
                all.alignment = Some(alignment(values, "image_text_alignment_long")?);
            }
            _ => return Ok(None),
        }
        Ok(Some(all))
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            text: BertInput {
                ids: &self.ids,
                types: self.types.as_deref(),
                positions: self.positions.as_deref(),
            },
            present: self.present.as_deref(),
            regions: self.features.as_ref().map(|features| RegionInputs {
                features,
                present: self.region_present.as_ref(),
                types: self.region_types.as_deref(),
                alignment: self.alignment.as_deref(),
            }),
        }
    }

    /// Words of each text, padding not counted.
    fn lens(&self) -> Vec<usize> {
        match &self.present {
            Some(present) => present
                .iter()
                .map(|row| row.iter().filter(|&&present| present != 0).count())
                .collect(),
            None => self.ids.iter().map(Vec::len).collect(),
        }
    }
}

/// The words that each region belongs to, without the padding.
fn alignment(values: &Values, name: &str) -> Result<Vec<Vec<Vec<u32>>>> {
    let tensor = match values.leading_as_one(name, 2)? {
        Some(tensor) => tensor,
        None => values.input(name)?.clone(),
    };
    let words = |words: Vec<i64>| words.into_iter().filter_map(|p| p.try_into().ok());
    let image = |regions: Vec<Vec<i64>>| {
        let regions = regions.into_iter();
        regions.map(|region| words(region).collect()).collect()
    };
    Ok(tensor.to_vec3::<i64>()?.into_iter().map(image).collect())
}
