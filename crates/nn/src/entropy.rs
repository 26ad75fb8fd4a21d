//! How unlikely labels are.

use candle_core::{D, DType, Tensor};

use crate::tracked::{self, is_trainable};
use crate::{Error, Result};

/// The mean of `-log softmax(logits)[label]` over rows of `logits` `[N, C]`, N at least 1, each with its label; a scalar, f32.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    if rows != labels.len() || rows == 0 {
        return Err(Error::Shape {
            what: "the logits",
            found: vec![rows, classes],
            wanted: format!("[{}, C], a row for each label", labels.len()),
        });
    }
    if let Some(&index) = labels.iter().find(|&&label| label as usize >= classes) {
        return Err(Error::Index {
            what: "label",
            index,
            rows: classes,
        });
    }
    let logits = logits.to_dtype(DType::F32)?;
    if is_trainable(&[&logits]) {
        return tracked::cross_entropy(&logits, labels.to_vec());
    }
    let labels = Tensor::from_slice(labels, (rows, 1), logits.device())?;
    let total = logits.log_sum_exp(D::Minus1)?;
    let own = logits.gather(&labels, 1)?.squeeze(1)?;
    Ok((total - own)?.mean_all()?)
}
