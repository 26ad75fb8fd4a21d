//! Every recorded output of every ALIGN checkpoint.

use std::path::Path;

use candle_core::{Device, Tensor};
use sightline_models::families::align::Align;
use sightline_models::{Embed, Error};
use sightline_nn::tower::BertInput;
use sightline_nn::{Mask, unit_length};
use sightline_testkit::golden::Report;

use super::support::{Outcome, Recorded, contrastive_loss, each_case, spec, unknown};

/// Share of the target that the loss spreads over all pairs.
const LABEL_SMOOTHING: f64 = 0.1;

#[test]
fn models_align() {
    each_case("align", |path, name, report| match Case::open(path) {
        Ok(case) => case.run(name, report),
        Err(reason) => report.case(name, "case", Err(reason)),
    });
}

struct Case {
    align: Align,
    recorded: Recorded,
    ids: Vec<Vec<u32>>,
    padding: Mask,
    pixels: Tensor,
}

impl Case {
    fn open(folder: &Path) -> Outcome<Self> {
        let device = Device::Cpu;
        let recorded = Recorded::read(folder)?;
        let present = recorded.rows("in.attention_mask")?;
        Ok(Self {
            align: Align::load(&spec(folder), &device).map_err(|e| e.to_string())?,
            ids: recorded.rows("in.input_ids")?,
            padding: Mask::padding(&present, &device).map_err(|e| e.to_string())?,
            pixels: recorded.tensor("in.pixel_values")?,
            recorded,
        })
    }

    fn run(&self, group: &str, report: &mut Report) {
        let tolerance_of = |output: &str| {
            if output == "loss" || output.starts_with("logits_") {
                (2e-4, 2e-4)
            } else {
                (5e-5, 5e-5)
            }
        };
        let compute = |output: &str| match self.compute(output) {
            Ok(Some(tensor)) => Ok(tensor),
            Ok(None) => Err(unknown()),
            Err(e) => Err(e.to_string()),
        };
        self.recorded.check(group, report, tolerance_of, compute);
    }

    fn compute(&self, output: &str) -> Result<Option<Tensor>, Error> {
        let (align, plain) = (&self.align, BertInput::new(&self.ids));
        let padding = Some(&self.padding);
        Ok(Some(match output {
            "image_features" => align.image_features(&self.pixels)?,
            "image_embeds" => align.embed_images(&self.pixels)?,
            "text_features" => align.text_features(plain, padding)?,
            "text_embeds" => unit_length(&align.text_features(plain, padding)?)?,
            "logits_per_image" => self.logits(plain)?,
            "logits_per_text" => self.logits(plain)?.t()?,
            "logits_per_image_token_types" => {
                let Ok(types) = self.recorded.rows("in.token_type_ids") else {
                    return Ok(None);
                };
                self.logits(BertInput {
                    types: Some(&types),
                    ..plain
                })?
            }
            "loss" => contrastive_loss(&self.logits(plain)?, LABEL_SMOOTHING)?,
            "text.embeddings" => align.text_states(plain, padding)?.0,
            "text.last_hidden_state" => align.text_states(plain, padding)?.1,
            _ => return self.vision(output),
        }))
    }

    fn vision(&self, output: &str) -> Result<Option<Tensor>, Error> {
        let (last, maps) = self.align.vision().forward_with_hidden(&self.pixels)?;
        Ok(match output {
            "vision.last_hidden_state" => Some(last),
            "vision.stem" => maps.first().cloned(),
            _ => {
                let block = output.strip_prefix("vision.block_");
                let block: Option<usize> = block.and_then(|number| number.parse().ok());
                block.and_then(|number| maps.get(number + 1).cloned())
            }
        })
    }

    /// `[images, texts]`.
    fn logits(&self, input: BertInput<'_>) -> Result<Tensor, Error> {
        let images = self.align.embed_images(&self.pixels)?;
        let texts = self.align.text_features(input, Some(&self.padding))?;
        let cosines = images.matmul(&unit_length(&texts)?.t()?)?;
        Ok((cosines * f64::from(self.align.scale()))?)
    }
}
