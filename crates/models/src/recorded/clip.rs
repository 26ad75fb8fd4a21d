//! Recorded outputs of CLIP, in all layouts.
//!
//! | input | shape |
//! | --- | --- |
//! | `input_ids` | `[B, L]` |
//! | `attention_mask` | `[B, L]`; `open_clip`'s programs have none |
//! | `pixel_values` | `[B, 3, H, W]` |
//! | `interp_pixel_values` | `[B, 3, H', W']`, for the output that names it |
//!
//! | output | what it is |
//! | --- | --- |
//! | `image_features`, `text_features` | projected, before they are made of unit length |
//! | `image_embeds`, `text_embeds` | of unit length |
//! | `logits_per_image`, `logits_per_text` | `[images, texts]` and turned |
//! | `logits_per_image_no_mask`, `logits_per_image_2_texts` | without `attention_mask`; with the first two texts |
//! | `loss` | contrastive |
//! | `text.hidden_N`, `text.last_hidden_state`, `text.pooler_output` | states; `hidden_0` is the sum of embeddings |
//! | `vision.hidden_N`, `vision.last_hidden_state`, `vision.pooler_output` | of a transformer; `hidden_0` is behind the first norm |
//! | `vision.stem`, `vision.layerN` | maps of a residual network |
//! | `interp_image_features` | of a transformer, at the other image size |
//!
//! Tolerance: 2e-5 absolute and relative; logits and loss 1e-4; at another image size 1e-4 absolute.

use candle_core::{Device, Tensor};
use sightline_nn::{Mask, unit_length};

use super::values::Values;
use super::{Replay, Result, Tolerance, numbered};
use crate::families::clip::{Clip, VisionTower};
use crate::{Embed, ModelSpec};

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    Ok(Box::new(Clip::load(spec, device)?))
}

impl Replay for Clip {
    fn tolerance(&self, output: &str) -> Tolerance {
        if output.starts_with("interp_") {
            return Tolerance {
                absolute: 1e-4,
                relative: 0.0,
            };
        }
        let is_scaled = output == "loss" || output.starts_with("logits_");
        Tolerance::both(if is_scaled { 1e-4 } else { 2e-5 })
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let pixels = values.input("pixel_values")?;
        let ids: Vec<Vec<u32>> = values.rows("input_ids")?;
        let padding = match values.find("attention_mask") {
            Some(_) => {
                let present = values.rows("attention_mask")?;
                Some(Mask::padding(&present, &values.device)?)
            }
            None => None,
        };
        let padding = padding.as_ref();
        let texts = |ids: &[Vec<u32>], padding: Option<&Mask>| -> Result<Tensor> {
            Ok(unit_length(&self.text_features(ids, padding)?)?)
        };
        // `[images, texts]`.
        let logits = |texts: &Tensor| -> Result<Tensor> {
            let images = self.embed_images(pixels)?;
            Ok((images.matmul(&texts.t()?)? * f64::from(self.scale()))?)
        };
        Ok(Some(match output {
            "image_features" => self.image_features(pixels)?,
            "image_embeds" => self.embed_images(pixels)?,
            "text_features" => self.text_features(&ids, padding)?,
            "text_embeds" => texts(&ids, padding)?,
            "logits_per_image" => logits(&texts(&ids, padding)?)?,
            "logits_per_text" => logits(&texts(&ids, padding)?)?.t()?,
            "logits_per_image_no_mask" => logits(&texts(&ids, None)?)?,
            "logits_per_image_2_texts" => {
                let Some(two) = ids.get(..2) else {
                    return Ok(None);
                };
                logits(&texts(two, None)?)?
            }
            "loss" => self.contrastive_loss(pixels, &ids, padding)?,
            "text.last_hidden_state" => self.text().forward(&ids, padding)?,
            "text.pooler_output" => {
                let sequence = self.text().forward(&ids, padding)?;
                self.pool_texts(&sequence, &ids)?
            }
            _ => {
                let Some(state) = output.strip_prefix("text.hidden_") else {
                    return vision(self, values, pixels, output);
                };
                let states = self.text().forward_with_hidden(&ids, padding)?.1;
                return Ok(numbered(&states, state));
            }
        }))
    }
}

/// What only one of the vision towers has.
fn vision(clip: &Clip, values: &Values, pixels: &Tensor, output: &str) -> Result<Option<Tensor>> {
    let part = output.strip_prefix("vision.").unwrap_or(output);
    match clip.vision() {
        VisionTower::Transformer(vit, projection) => match part {
            "last_hidden_state" => Ok(Some(vit.forward(pixels)?)),
            "pooler_output" => Ok(Some(vit.pool(&vit.forward(pixels)?)?)),
            "interp_image_features" => {
                let pixels = values.input("interp_pixel_values")?;
                let (_, _, height, width) = pixels.dims4()?;
                let vit = vit.with_image_size(height, width)?;
                let pooled = vit.pool(&vit.forward(pixels)?)?;
                Ok(Some(projection.forward(&pooled)?))
            }
            _ => {
                let Some(state) = part.strip_prefix("hidden_") else {
                    return Ok(None);
                };
                let states = vit.forward_with_hidden(pixels)?.1;
                Ok(numbered(&states, state))
            }
        },
        VisionTower::ResNet(net) => {
            let maps = net.maps(pixels)?;
            match part.strip_prefix("layer") {
                Some(stage) => Ok(numbered(&maps, stage)),
                None if part == "stem" => Ok(maps.first().cloned()),
                None => Ok(None),
            }
        }
    }
}
