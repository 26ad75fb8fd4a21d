//! Every recorded output of every CLIP checkpoint, in all layouts.

use std::path::Path;

use candle_core::{Device, Tensor};
use sightline_models::families::clip::{Clip, VisionTower};
use sightline_models::{Embed, Error};
use sightline_nn::{Mask, unit_length};
use sightline_testkit::golden::Report;

use super::support::{Outcome, Recorded, contrastive_loss, each_case, meta, spec, unknown};

#[test]
fn models_clip() {
    each_case("clip", |path, name, report| {
        match meta(path, "layout").as_deref() {
            Ok("hf" | "open_clip") => match Case::open(path) {
                Ok(case) => case.run(name, report),
                Err(reason) => report.case(name, "case", Err(reason)),
            },
            Ok(layout) => report.case(name, "layout", Err(format!("`{layout}` is unknown"))),
            Err(reason) => report.case(name, "meta.json", Err(reason.clone())),
        }
    });
}

struct Case {
    clip: Clip,
    recorded: Recorded,
    ids: Vec<Vec<u32>>,
    /// `open_clip` knows no padding.
    padding: Option<Mask>,
    pixels: Tensor,
}

impl Case {
    fn open(folder: &Path) -> Outcome<Self> {
        let device = Device::Cpu;
        let clip = Clip::load(&spec(folder), &device).map_err(|e| e.to_string())?;
        let recorded = Recorded::read(folder)?;
        let mask = "in.attention_mask";
        let padding = if recorded.find(mask).is_some() {
            let present = recorded.rows(mask)?;
            Some(Mask::padding(&present, &device).map_err(|e| e.to_string())?)
        } else {
            None
        };
        Ok(Self {
            clip,
            ids: recorded.rows("in.input_ids")?,
            padding,
            pixels: recorded.tensor("in.pixel_values")?,
            recorded,
        })
    }

    fn run(&self, group: &str, report: &mut Report) {
        let tolerance_of = |output: &str| match output {
            "loss" => (1e-4, 1e-4),
            _ if output.starts_with("logits_") => (1e-4, 1e-4),
            _ if output.starts_with("interp_") => (1e-4, 0.0),
            _ => (2e-5, 2e-5),
        };
        let compute = |output: &str| match self.compute(output) {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err(unknown()),
            Err(e) => Err(e.to_string()),
        };
        self.recorded.check(group, report, tolerance_of, compute);
    }

    fn compute(&self, output: &str) -> Result<Option<Tensor>, Error> {
        let (clip, padding) = (&self.clip, self.padding.as_ref());
        Ok(Some(match output {
            "image_features" => clip.image_features(&self.pixels)?,
            "image_embeds" => clip.embed_images(&self.pixels)?,
            "text_features" => clip.text_features(&self.ids, padding)?,
            "text_embeds" => self.text_embeds(padding)?,
            "logits_per_image" => self.logits(&self.text_embeds(padding)?)?,
            "logits_per_text" => self.logits(&self.text_embeds(padding)?)?.t()?,
            "logits_per_image_no_mask" => self.logits(&self.text_embeds(None)?)?,
            "logits_per_image_2_texts" => {
                let two = clip.text_features(&self.ids[..2], None)?;
                self.logits(&unit_length(&two)?)?
            }
            "loss" => {
                let logits = self.logits(&self.text_embeds(padding)?)?;
                contrastive_loss(&logits, 0.0)?
            }
            "text.last_hidden_state" => clip.text().forward(&self.ids, padding)?,
            "text.pooler_output" => {
                let sequence = clip.text().forward(&self.ids, padding)?;
                clip.pool_texts(&sequence, &self.ids)?
            }
            _ => {
                if let Some(state) = output.strip_prefix("text.hidden_") {
                    let states = clip.text().forward_with_hidden(&self.ids, padding)?.1;
                    return Ok(numbered(&states, state));
                }
                return self.vision(output);
            }
        }))
    }

    /// What only one of the vision towers has.
    fn vision(&self, output: &str) -> Result<Option<Tensor>, Error> {
        let part = output.strip_prefix("vision.").unwrap_or(output);
        match self.clip.vision() {
            VisionTower::Transformer(vit, projection) => match part {
                "last_hidden_state" => Ok(Some(vit.forward(&self.pixels)?)),
                "pooler_output" => Ok(Some(vit.pool(&vit.forward(&self.pixels)?)?)),
                "interp_image_features" => {
                    let Some(pixels) = self.recorded.find("in.interp_pixel_values") else {
                        return Ok(None);
                    };
                    let (_, _, height, width) = pixels.dims4()?;
                    let vit = vit.with_image_size(height, width)?;
                    let pooled = vit.pool(&vit.forward(pixels)?)?;
                    Ok(Some(projection.forward(&pooled)?))
                }
                _ => {
                    let Some(state) = part.strip_prefix("hidden_") else {
                        return Ok(None);
                    };
                    let states = vit.forward_with_hidden(&self.pixels)?.1;
                    Ok(numbered(&states, state))
                }
            },
            VisionTower::ResNet(net) => {
                let maps = net.maps(&self.pixels)?;
                match part.strip_prefix("layer") {
                    Some(stage) => Ok(numbered(&maps, stage)),
                    None if part == "stem" => Ok(maps.first().cloned()),
                    None => Ok(None),
                }
            }
        }
    }

    fn text_embeds(&self, padding: Option<&Mask>) -> Result<Tensor, Error> {
        Ok(unit_length(&self.clip.text_features(&self.ids, padding)?)?)
    }

    /// `[images, texts]`.
    fn logits(&self, texts: &Tensor) -> Result<Tensor, Error> {
        let images = self.clip.embed_images(&self.pixels)?;
        Ok((images.matmul(&texts.t()?)? * f64::from(self.clip.scale()))?)
    }
}

/// The state whose number is `index`.
fn numbered(states: &[Tensor], index: &str) -> Option<Tensor> {
    let index: usize = index.parse().ok()?;
    states.get(index).cloned()
}
