//! A baseline that sees nothing: every image and every text has the same vector.
//!
//! All similarities are equal, so every answer is a tie. Its score is what a metric gives to a model that
//! cannot tell anything apart, and shows how the metric breaks ties.

use candle_core::{Device, Tensor};

use super::random::baseline_input;
use crate::{Capability, Embed, Family, Model, Result, VisualSpec};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "constant",
    paper: "baseline: the same vector for everything",
    capabilities: &[Capability::Embed],
    needs_checkpoint: false,
    files: |_| Ok(Vec::new()),
    offers: |_| Ok(FAMILY.capabilities),
    input: |_| Ok(baseline_input()),
    load: |_, device| Ok(Box::new(Constant::new(device))),
};

const WIDTH: usize = 64;

struct Constant {
    input: VisualSpec,
    device: Device,
}

impl Constant {
    fn new(device: &Device) -> Self {
        Self {
            input: baseline_input(),
            device: device.clone(),
        }
    }

    fn vectors(&self, count: usize) -> Result<Tensor> {
        let value = 1.0 / (WIDTH as f32).sqrt();
        Ok(Tensor::full(value, (count, WIDTH), &self.device)?)
    }
}

impl Model for Constant {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

impl Embed for Constant {
    fn width(&self) -> usize {
        WIDTH
    }

    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        self.vectors(pixels.dim(0)?)
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        self.vectors(texts.len())
    }

    fn scale(&self) -> f32 {
        1.0
    }
}
