//! Losses of the reference programs, as far as several families share them.

use candle_core::{D, DType, Tensor};

use super::{RecordedError, Result};

/// Mean of the cross entropies of both directions of the square `logits`, the diagonal being right; `smoothing` is
/// the share of the target that is spread over all columns.
pub(super) fn contrastive(logits: &Tensor, smoothing: f64) -> Result<Tensor> {
    let direction = |logits: &Tensor| -> candle_core::Result<Tensor> {
        let count = logits.dim(0)?;
        let normaliser = logits.log_sum_exp(D::Minus1)?;
        let eye = Tensor::eye(count, DType::F32, logits.device())?;
        let target = ((eye * (1.0 - smoothing))? + smoothing / count as f64)?;
        let right = (logits * target)?.sum(D::Minus1)?;
        (normaliser - right)?.mean_all()
    };
    let both = direction(logits)? + direction(&logits.t()?.contiguous()?)?;
    Ok((both? / 2.0)?)
}

/// Over the last dimension, in f32.
pub(super) fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let logits = logits.to_dtype(DType::F32)?;
    Ok(logits.broadcast_sub(&logits.log_sum_exp(D::Minus1)?.unsqueeze(D::Minus1)?)?)
}

/// Mean cross entropy of `logits` `[.., C]` at the labels of the input called `input` that are not `ignored`.
pub(super) fn cross_entropy(
    logits: &Tensor,
    input: &str,
    labels: &[i64],
    ignored: i64,
) -> Result<Tensor> {
    let rows = log_softmax(logits)?.reshape((labels.len(), ()))?;
    let rows = rows.to_vec2::<f32>()?;
    let (mut sum, mut counted) = (0.0, 0u32);
    for (&label, row) in labels.iter().zip(rows) {
        if label == ignored {
            continue;
        }
        let at = usize::try_from(label).ok().and_then(|label| row.get(label));
        let at = at.ok_or_else(|| RecordedError::Value {
            input: input.to_owned(),
            value: label,
            wanted: format!("a label below {}, or {ignored}", row.len()),
        })?;
        sum -= f64::from(*at);
        counted += 1;
    }
    let mean = sum / f64::from(counted);
    Ok(Tensor::new(mean as f32, logits.device())?)
}

/// Kullback-Leibler divergence of the shares in `labels` from the softmax of `logits`, per item.
pub(super) fn divergence(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let items = labels.dim(0)? as f64;
    let flat = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (labels, logs) = (flat(labels)?, flat(&log_softmax(logits)?)?);
    let terms = labels.iter().zip(logs).filter(|(share, _)| **share > 0.0);
    let sum: f64 = terms
        .map(|(&share, log)| f64::from(share) * (f64::from(share).ln() - f64::from(log)))
        .sum();
    Ok(Tensor::new((sum / items) as f32, logits.device())?)
}
