//! Random visual inputs as a model takes them.

use bytes::Bytes;
use candle_core::{DType, Device, Tensor};
use sightline_core::Seed;

use crate::{Result, Visual, VisualSpec};

/// `count` samples of one image each; where a model takes regions, of unequally many, from none on.
pub(super) fn samples(input: &VisualSpec, count: usize, device: &Device) -> Result<Vec<Visual>> {
    (0..count)
        .map(|i| match input {
            VisualSpec::Pixels(spec) => {
                let (height, width) = (spec.size.height as usize, spec.size.width as usize);
                Ok(Visual::Pixels(random(i, &[1, 3, height, width], device)?))
            }
            VisualSpec::Regions { width, regions } => {
                let here = (i * 5 % 9).min(*regions);
                Ok(Visual::Regions {
                    features: random(i, &[1, here, *width], device)?,
                    present: Tensor::ones((1, here), DType::F32, device)?,
                })
            }
            // Of models outside this process, which no family of this crate is.
            VisualSpec::Encoded => Ok(Visual::Encoded(vec![Bytes::new()])),
        })
        .collect()
}

/// The samples as one batch, regions padded to the most of any and one more.
pub(super) fn stack(samples: &[Visual]) -> Result<Visual> {
    let (mut pixels, mut files) = (Vec::new(), Vec::new());
    let (mut features, mut present) = (Vec::new(), Vec::new());
    let mut most = 0;
    for sample in samples {
        if let Visual::Regions { present, .. } = sample {
            most = most.max(present.dim(1)?);
        }
    }
    for sample in samples {
        match sample {
            Visual::Pixels(tensor) => pixels.push(tensor.clone()),
            Visual::Regions {
                features: one,
                present: here,
            } => {
                let padding = most + 1 - here.dim(1)?;
                features.push(one.pad_with_zeros(1, 0, padding)?);
                present.push(here.pad_with_zeros(1, 0, padding)?);
            }
            Visual::Encoded(file) => files.extend(file.iter().cloned()),
        }
    }
    if !files.is_empty() {
        return Ok(Visual::Encoded(files));
    }
    if features.is_empty() {
        return Ok(Visual::Pixels(Tensor::cat(&pixels, 0)?));
    }
    Ok(Visual::Regions {
        features: Tensor::cat(&features, 0)?,
        present: Tensor::cat(&present, 0)?,
    })
}

/// Normal numbers, always the same for that number.
pub(super) fn random(number: usize, shape: &[usize], device: &Device) -> Result<Tensor> {
    let mut rng = Seed(0).child("conformance", number as u64).rng();
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.normal() as f32).collect();
    Ok(Tensor::from_vec(values, shape, device)?)
}
