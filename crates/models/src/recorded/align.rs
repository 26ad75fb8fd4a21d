//! Recorded outputs of ALIGN.
//!
//! | input | shape |
//! | --- | --- |
//! | `input_ids`, `attention_mask` | `[B, L]` |
//! | `token_type_ids` | `[B, L]`, for the outputs that name it |
//! | `pixel_values` | `[B, 3, H, W]` |
//!
//! | output | what it is |
//! | --- | --- |
//! | `image_features`, `text_features` | before they are made of unit length |
//! | `image_embeds`, `text_embeds` | of unit length |
//! | `logits_per_image`, `logits_per_text` | divided by the temperature |
//! | `logits_per_image_token_types` | with `token_type_ids` |
//! | `loss` | contrastive, with a label smoothing of 0.1 |
//! | `vision.stem`, `vision.block_N`, `vision.last_hidden_state` | maps |
//! | `text.embeddings`, `text.last_hidden_state` | states |
//!
//! Tolerance: 5e-5 absolute and relative; logits and loss 2e-4.

use candle_core::{Device, Tensor};
use sightline_nn::tower::BertInput;
use sightline_nn::{Mask, unit_length};

use super::values::Values;
use super::{Replay, Result, Tolerance};
use crate::families::align::Align;
use crate::{Embed, ModelSpec};

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(Align::load(spec, device)?))
}

/// The inputs that all outputs share.
struct Inputs<'v> {
    pixels: &'v Tensor,
    ids: Vec<Vec<u32>>,
    padding: Mask,
}

impl Replay for Align {
    fn tolerance(&self, output: &str) -> Tolerance {
        let is_scaled = output == "loss" || output.starts_with("logits_");
        Tolerance::both(if is_scaled { 2e-4 } else { 5e-5 })
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let inputs = Inputs {
            pixels: values.input("pixel_values")?,
            ids: values.rows("input_ids")?,
            padding: Mask::padding(&values.rows("attention_mask")?, &values.device)?,
        };
        let (plain, padding) = (BertInput::new(&inputs.ids), Some(&inputs.padding));
        Ok(Some(match output {
            "image_features" => self.image_features(inputs.pixels)?,
            "image_embeds" => self.embed_images(inputs.pixels)?,
            "text_features" => self.text_features(plain, padding)?,
            "text_embeds" => unit_length(&self.text_features(plain, padding)?)?,
            "logits_per_image" => logits(self, &inputs, plain)?,
            "logits_per_text" => logits(self, &inputs, plain)?.t()?,
            "logits_per_image_token_types" => {
                let types = values.rows("token_type_ids")?;
                let types = Some(&types[..]);
                logits(self, &inputs, BertInput { types, ..plain })?
            }
            "loss" => self.contrastive_loss(inputs.pixels, plain, padding)?,
            "text.embeddings" => self.text_states(plain, padding)?.0,
            "text.last_hidden_state" => self.text_states(plain, padding)?.1,
            _ => return vision(self, &inputs, output),
        }))
    }
}

fn vision(align: &Align, inputs: &Inputs<'_>, output: &str) -> Result<Option<Tensor>> {
    let (last, maps) = align.vision().forward_with_hidden(inputs.pixels)?;
    Ok(match output {
        "vision.last_hidden_state" => Some(last),
        "vision.stem" => maps.first().cloned(),
        _ => {
            let block = output.strip_prefix("vision.block_");
            let block: Option<usize> = block.and_then(|number| number.parse().ok());
            let map = block.and_then(|number| number.checked_add(1));
            map.and_then(|number| maps.get(number).cloned())
        }
    })
}

/// `[images, texts]`.
fn logits(align: &Align, inputs: &Inputs<'_>, texts: BertInput<'_>) -> Result<Tensor> {
    let images = align.embed_images(inputs.pixels)?;
    let texts = align.text_features(texts, Some(&inputs.padding))?;
    let cosines = images.matmul(&unit_length(&texts)?.t()?)?;
    Ok((cosines * f64::from(align.scale()))?)
}
