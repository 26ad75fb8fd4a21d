//! A baseline that guesses: every image and every text has a random vector of its own.
//!
//! The vector is uniform on the sphere and depends on the bytes of the pixels or of the text and on the seed,
//! and on nothing else: the same input has the same vector in any batch, order or process. Scores are chance.

use candle_core::{DType, Device, Tensor};
use sightline_core::digest::Hasher;
use sightline_core::image_spec::{CropRounding, Filter, Fit, Reference, Rescale, Size};
use sightline_core::{Digest, ImageSpec, Seed};

use crate::{Capability, Embed, Family, Model, ModelSpec, Result, VisualSpec};

/// The registry's entry.
pub static FAMILY: Family = Family {
    name: "random",
    paper: "baseline: a random vector for each input",
    capabilities: &[Capability::Embed],
    needs_checkpoint: false,
    files: |_| Ok(Vec::new()),
    offers: |_| Ok(FAMILY.capabilities),
    input: |_| Ok(baseline_input()),
    load: |spec, device| Ok(Box::new(Random::new(spec, device))),
};

const WIDTH: usize = 64;

/// Baselines take small images, so that preparing them costs little.
pub(super) fn baseline_input() -> VisualSpec {
    let size = Size::square(32);
    let crop = CropRounding::Floor;
    let fit = Fit::Squash { size, crop };
    VisualSpec::Pixels(ImageSpec {
        rescale: Rescale::Divide255,
        ..ImageSpec::new(size, fit, Filter::Bilinear, Reference::Pillow13)
    })
}

struct Random {
    input: VisualSpec,
    device: Device,
    seed: Seed,
}

impl Random {
    fn new(spec: &ModelSpec, device: &Device) -> Self {
        Self {
            input: baseline_input(),
            device: device.clone(),
            seed: spec.seed,
        }
    }

    /// A direction for each digest: normal numbers, divided by their length.
    fn vectors(&self, kind: &str, digests: &[Digest]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(digests.len() * WIDTH);
        for digest in digests {
            let mut rng = self.seed.child(&format!("{kind} {digest}"), 0).rng();
            let vector: Vec<f64> = (0..WIDTH).map(|_| rng.normal()).collect();
            let length = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
            values.extend(vector.iter().map(|v| (v / length) as f32));
        }
        let shape = (digests.len(), WIDTH);
        Ok(Tensor::from_vec(values, shape, &self.device)?)
    }
}

impl Model for Random {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn embed(&self) -> Option<&dyn Embed> {
        Some(self)
    }
}

impl Embed for Random {
    fn width(&self) -> usize {
        WIDTH
    }

    fn embed_images(&self, pixels: &Tensor) -> Result<Tensor> {
        let count = pixels.dim(0)?;
        let values = pixels.to_dtype(DType::F32)?.flatten_all()?;
        let values = values.to_vec1::<f32>()?;
        let each = values.len() / count.max(1);
        let digest = |i: usize| {
            let mut hasher = Hasher::new();
            for value in &values[i * each..(i + 1) * each] {
                hasher.update(&value.to_le_bytes());
            }
            hasher.finish()
        };
        let digests: Vec<Digest> = (0..count).map(digest).collect();
        self.vectors("image", &digests)
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        let digest = |text: &&str| Digest::of(text.as_bytes());
        let digests: Vec<Digest> = texts.iter().map(digest).collect();
        self.vectors("text", &digests)
    }

    fn scale(&self) -> f32 {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(seed: u64) -> Vec<Vec<f32>> {
        let spec = ModelSpec::without_checkpoint(Seed(seed));
        let texts: Vec<String> = (0..200).map(|i| format!("text {i}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let model = Random::new(&spec, &Device::Cpu);
        model.embed_texts(&texts).unwrap().to_vec2().unwrap()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn vectors_depend_on_the_seed_and_spread_over_the_sphere() {
        let (one, two) = (vectors(1), vectors(2));
        assert_eq!(one, vectors(1));
        let same: Vec<f32> = one.iter().zip(&two).map(|(a, b)| dot(a, b)).collect();
        let pairs: Vec<f32> = one.windows(2).map(|pair| dot(&pair[0], &pair[1])).collect();
        for cosines in [same, pairs] {
            // The cosine of random directions in 64 dimensions has mean 0 and deviation 1/8.
            let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
            let variance = cosines.iter().map(|c| c * c).sum::<f32>() / cosines.len() as f32;
            assert!(mean.abs() < 0.04, "{mean}");
            assert!((0.1..0.15).contains(&variance.sqrt()), "{variance}");
        }
    }

    #[test]
    fn numbers_never_change() {
        let first = vectors(17)[0][..3].to_vec();
        let expected = [0.064_255_91, -0.117_720_66, 0.168_817_94];
        for (value, expected) in first.iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{first:?}");
        }
    }
}
