//! Recorded outputs of ASIF, on vectors of any encoders.
//!
//! | input | shape |
//! | --- | --- |
//! | `anchor_images`, `anchor_texts` | `[N, Di]`, `[N, Dt]`, coupled, of any length |
//! | `images`, `texts` | `[B, Di]`, `[C * T, Dt]`: `prompts_per_class` T of the configuration, a class's together |
//! | `removed` | numbers of anchors, for the output that names it |
//!
//! | output | what it is |
//! | --- | --- |
//! | `image_top_index`, `image_top_value` | `[B, k]`: the nearest anchors and their cosines, the largest first |
//! | `image_relative`, `text_relative` | `[B, N]`, `[C * T, N]` |
//! | `similarity` | `[B, C * T]` |
//! | `similarity_after_removal` | without the anchors `removed` |
//! | `predicted`, `predicted_mean` | `[B]`: the class of the best prompt; the class whose prompts are the best on average |
//!
//! Tolerance: 1e-5 absolute; numbers of anchors and classes exact.

use candle_core::{Device, Tensor};

use super::values::Values;
use super::{Replay, Result, Tolerance};
use crate::ModelSpec;
use crate::families::asif::{Anchors, AsifConfig, FAMILY, Near, Precision, Relative, Side, dense};

/// Inputs of cases that do not mark them.
const INPUTS: &[&str] = &[
    "anchor_images",
    "anchor_texts",
    "images",
    "texts",
    "removed",
];

/// Neither the encoders nor the anchors are the checkpoint's: both come as inputs.
struct Asif {
    config: AsifConfig,
    device: Device,
}

pub(super) fn load(spec: &ModelSpec, device: &Device) -> Result<Box<dyn Replay>> {
    let config = AsifConfig::read(spec.folder(FAMILY.name)?)?;
    let device = device.clone();
    Ok(Box::new(Asif { config, device }))
}

impl Replay for Asif {
    fn inputs(&self) -> &'static [&'static str] {
        INPUTS
    }

    fn tolerance(&self, output: &str) -> Tolerance {
        match output {
            "image_top_index" | "predicted" | "predicted_mean" => Tolerance::EXACT,
            _ => Tolerance {
                absolute: 1e-5,
                relative: 0.0,
            },
        }
    }

    fn compute(&self, values: &Values, output: &str) -> Result<Option<Tensor>> {
        let (images, texts) = (
            values.input("anchor_images")?,
            values.input("anchor_texts")?,
        );
        let mut anchors = Anchors::new(images, texts, Precision::F32)?;
        let relative = |anchors: &Anchors, side| -> Result<Vec<Relative>> {
            let vectors = values.input(match side {
                Side::Image => "images",
                Side::Text => "texts",
            })?;
            Ok(self.config.relative(anchors, side, vectors)?)
        };
        let similarity = |anchors: &Anchors| -> Result<Vec<Vec<f32>>> {
            let images = relative(anchors, Side::Image)?;
            let texts = relative(anchors, Side::Text)?;
            let row = |image: &Relative| texts.iter().map(|t| image.similarity(t)).collect();
            Ok(images.iter().map(row).collect())
        };
        let rows = |anchors: &Anchors, side| -> Result<Tensor> {
            let relative = relative(anchors, side)?;
            Ok(dense(&relative, anchors.rows(), &self.device)?)
        };
        let near = || -> Result<Vec<Vec<Near>>> {
            let images = values.input("images")?;
            Ok(anchors.nearest(Side::Image, images, self.config.k)?)
        };
        Ok(Some(match output {
            "image_top_index" => self.table(&near()?, |near| near.anchor as f64)?,
            "image_top_value" => self.table(&near()?, |near| f64::from(near.cosine))?,
            "image_relative" => rows(&anchors, Side::Image)?,
            "text_relative" => rows(&anchors, Side::Text)?,
            "similarity" => Tensor::new(similarity(&anchors)?, &self.device)?,
            "similarity_after_removal" => {
                anchors.remove(&values.numbers::<usize>("removed")?)?;
                Tensor::new(similarity(&anchors)?, &self.device)?
            }
            "predicted" => self.classes(&similarity(&anchors)?, |prompts| {
                prompts.iter().copied().fold(f32::NEG_INFINITY, f32::max)
            })?,
            "predicted_mean" => self.classes(&similarity(&anchors)?, |prompts| {
                prompts.iter().sum::<f32>() / prompts.len() as f32
            })?,
            _ => return Ok(None),
        }))
    }
}

impl Asif {
    fn table(&self, near: &[Vec<Near>], value: impl Fn(&Near) -> f64) -> Result<Tensor> {
        let row = |row: &Vec<Near>| row.iter().map(&value).collect();
        let rows: Vec<Vec<f64>> = near.iter().map(row).collect();
        Ok(Tensor::new(rows, &self.device)?)
    }

    /// For each image the first class with the largest score.
    fn classes(&self, similarity: &[Vec<f32>], score: impl Fn(&[f32]) -> f32) -> Result<Tensor> {
        let class = |row: &Vec<f32>| {
            let scores = row.chunks(self.config.prompts_per_class).map(&score);
            let best = scores
                .enumerate()
                .reduce(|best, next| if next.1 > best.1 { next } else { best });
            best.map_or(0, |(class, _)| class as i64)
        };
        let classes: Vec<i64> = similarity.iter().map(class).collect();
        Ok(Tensor::new(classes, &self.device)?)
    }
}
