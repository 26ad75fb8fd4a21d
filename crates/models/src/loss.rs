//! Losses that several families are trained by, made of operations through which gradients flow.
//!
//! The objectives and the comparison with recorded outputs compute them with the same functions.

use candle_core::{D, DType, Tensor};

use crate::{Error, Result};

/// Over the last dimension, in f32.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let logits = logits.to_dtype(DType::F32)?;
    Ok(logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?)
}

/// Mean of the cross entropies of both directions of the square `logits`, the diagonal being right; `smoothing` is
/// the share of the target that is spread over all columns.
pub fn contrastive(logits: &Tensor, smoothing: f64) -> Result<Tensor> {
    let count = logits.dim(0)?;
    let eye = Tensor::eye(count, DType::F32, logits.device())?;
    let target = ((eye * (1.0 - smoothing))? + smoothing / count as f64)?;
    let direction = |logits: &Tensor| -> Result<Tensor> {
        let right = (log_softmax(logits)? * &target)?.sum(D::Minus1)?;
        Ok(right.mean_all()?.neg()?)
    };
    let both = direction(logits)? + direction(&logits.t()?.contiguous()?)?;
    Ok((both? / 2.0)?)
}

/// Mean cross entropy of `logits` `[.., C]` at `labels`, one for each row, and over how many rows; rows without a label
/// do not count. Without any it is 0.
pub fn cross_entropy(logits: &Tensor, labels: &[Option<u32>]) -> Result<(Tensor, usize)> {
    let classes = logits.dim(D::Minus1)?;
    let rows = logits.elem_count() / classes.max(1);
    if rows != labels.len() {
        return Err(Error::Count {
            what: "labels",
            found: labels.len(),
            wanted: rows,
        });
    }
    let flat = logits.reshape((rows, classes))?;
    let (flat, labels) = told(&flat, labels)?;
    let labels: Vec<u32> = labels.into_iter().flatten().collect();
    if labels.is_empty() {
        return Ok((Tensor::zeros((), DType::F32, logits.device())?, 0));
    }
    Ok((sightline_nn::cross_entropy(&flat, &labels)?, labels.len()))
}

/// The rows of `states` `[N, width]` that have a label, and their labels: what has none need not become logits, which is
/// much of the work of a small model.
pub(crate) fn told(states: &Tensor, labels: &[Option<u32>]) -> Result<(Tensor, Vec<Option<u32>>)> {
    let rows = labels.iter().zip(0u32..);
    let rows: Vec<u32> = rows.filter_map(|(label, row)| label.map(|_| row)).collect();
    if rows.len() == labels.len() || rows.is_empty() {
        return Ok((states.clone(), labels.to_vec()));
    }
    let count = rows.len();
    let rows = Tensor::from_vec(rows, count, states.device())?;
    let labels = labels.iter().filter(|label| label.is_some());
    Ok((states.index_select(&rows, 0)?, labels.copied().collect()))
}

/// Kullback-Leibler divergence of the shares in `labels` from the softmax of `logits`, both `[.., C]`, per item of the
/// first dimension.
pub fn divergence(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let items = labels.dim(0)?.max(1) as f64;
    let labels = labels.to_dtype(DType::F32)?;
    // 0 times its logarithm is 0.
    let is_there = labels.gt(0f32)?.to_dtype(DType::F32)?;
    let own = (&labels * (&labels + (1.0 - &is_there)?)?.log()?)?;
    let cross = (&labels * log_softmax(logits)?)?;
    Ok(((own - cross)?.sum_all()? / items)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn scalar(tensor: &Tensor) -> f32 {
        tensor.to_scalar().unwrap()
    }

    #[test]
    fn rows_without_a_label_do_not_count() {
        let logits = Var::new(&[[2f32, 0.0], [0.0, 0.0], [5.0, 5.0]], &Device::Cpu).unwrap();
        let (loss, count) = cross_entropy(&logits, &[Some(0), Some(1), None]).unwrap();
        let expected = f32::midpoint((1.0 + (-2f32).exp()).ln(), 2f32.ln());
        assert!((scalar(&loss) - expected).abs() < 1e-6 && count == 2);
        let gradients = loss.backward().unwrap();
        let rows = gradients.get(&logits).unwrap().to_vec2::<f32>().unwrap();
        assert!((rows[1][0] - 0.25).abs() < 1e-6 && (rows[1][1] + 0.25).abs() < 1e-6);
        assert!(rows[2].iter().all(|&value| value == 0.0));
        let (none, count) = cross_entropy(&logits, &[None; 3]).unwrap();
        assert!(scalar(&none) == 0.0 && count == 0);
        assert!(cross_entropy(&logits, &[Some(2), None, None]).is_err());
        assert!(cross_entropy(&logits, &[Some(0)]).is_err());
    }

    #[test]
    fn the_divergence_from_the_same_shares_is_zero() {
        let labels = Tensor::new(&[[0.25f32, 0.75, 0.0]], &Device::Cpu).unwrap();
        let same = Tensor::new(&[[0f32, 3f32.ln(), -90.0]], &Device::Cpu).unwrap();
        assert!(scalar(&divergence(&same, &labels).unwrap()).abs() < 1e-6);
        let even = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
        let expected = 3f32.ln() + 0.25 * 0.25f32.ln() + 0.75 * 0.75f32.ln();
        assert!((scalar(&divergence(&even, &labels).unwrap()) - expected).abs() < 1e-6);
    }

    #[test]
    fn smoothing_leaves_a_share_to_every_pair() {
        let logits = Tensor::new(&[[9f32, 0.0], [0.0, 9.0]], &Device::Cpu).unwrap();
        let sharp = scalar(&contrastive(&logits, 0.0).unwrap());
        let smooth = scalar(&contrastive(&logits, 0.1).unwrap());
        assert!(
            (smooth - sharp - 0.05 * 9.0).abs() < 1e-5,
            "{sharp} {smooth}"
        );
    }
}
