//! What the heads are trained for, as far as outputs are compared with it.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use sightline_nn::unit_length;

use crate::Result;

/// What becomes of classes without boxes while the text head learns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Novel {
    /// They are left out of the softmax, as the paper says.
    #[default]
    Exclude,
    /// Their logits are 0, so that they keep a share of the softmax, as the published program does.
    Zero,
}

/// `logits` `[R, 1 + K]` of the text head, as its cross entropy takes them; `is_base` `[K]`.
pub fn training_logits(logits: &Tensor, is_base: &[bool], novel: Novel) -> Result<Tensor> {
    let is_kept = std::iter::once(true).chain(is_base.iter().copied());
    let is_kept: Vec<u8> = is_kept.map(u8::from).collect();
    let is_kept = Tensor::new(is_kept, logits.device())?.unsqueeze(0)?;
    let is_kept = is_kept.broadcast_as(logits.shape())?.contiguous()?;
    let instead = match novel {
        Novel::Exclude => f32::NEG_INFINITY,
        Novel::Zero => 0.0,
    };
    let instead = Tensor::full(instead, logits.shape(), logits.device())?;
    let logits = logits.to_dtype(DType::F32)?;
    Ok(is_kept.where_cond(&logits, &instead)?)
}

/// What the image head learns from: the mean over regions of the sum of `|embedding - teacher|` over `D` values.
/// `embeddings` `[R, D]`, unit length; `teacher` `[R, D]`, CLIP's vectors of the crops, of any length.
pub fn distillation(embeddings: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let apart = (embeddings - unit_length(teacher)?)?.abs()?;
    Ok(apart.sum(1)?.mean_all()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::loss::log_softmax;

    fn shares(novel: Novel) -> Vec<f32> {
        let logits = Tensor::new(&[[1.0f32, 1.0, 5.0]], &Device::Cpu).unwrap();
        let logits = training_logits(&logits, &[true, false], novel).unwrap();
        let shares = log_softmax(&logits).unwrap().exp().unwrap();
        shares.to_vec2::<f32>().unwrap().remove(0)
    }

    /// Left out, a novel class has no share; zeroed, it has the share of a logit of 0.
    #[test]
    fn novel_classes_are_left_out_or_zeroed_and_that_differs() {
        assert_eq!(shares(Novel::Exclude), [0.5, 0.5, 0.0]);
        let zeroed = shares(Novel::Zero);
        let expected = 1.0 / (1.0 + 2.0 * std::f32::consts::E);
        assert!((zeroed[2] - expected).abs() < 1e-6, "{zeroed:?}");
    }

    #[test]
    fn the_distance_is_summed_over_values_and_averaged_over_regions() {
        let embeddings = Tensor::new(&[[1.0f32, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
        let teacher = Tensor::new(&[[7.0f32, 0.0], [3.0, 0.0]], &Device::Cpu).unwrap();
        let loss = distillation(&embeddings, &teacher).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - 1.0).abs() < 1e-6);
    }
}
