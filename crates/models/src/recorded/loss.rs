//! Losses with labels as other programs record them.

use candle_core::Tensor;

use super::{RecordedError, Result};
use crate::loss;

/// Mean cross entropy of `logits` `[.., C]` at the labels of the input called `input` that are not `ignored`; NaN when
/// there are none, as in those programs.
pub(super) fn cross_entropy(
    logits: &Tensor,
    input: &str,
    labels: &[i64],
    ignored: i64,
) -> Result<Tensor> {
    let classes = logits.dims().last().copied().unwrap_or_default();
    let label = |&label: &i64| {
        if label == ignored {
            return Ok(None);
        }
        let id = u32::try_from(label)
            .ok()
            .filter(|&id| (id as usize) < classes);
        id.map(Some).ok_or_else(|| RecordedError::Value {
            input: input.to_owned(),
            value: label,
            wanted: format!("a label below {classes}, or {ignored}"),
        })
    };
    let labels = labels.iter().map(label).collect::<Result<Vec<_>>>()?;
    let (loss, count) = loss::cross_entropy(logits, &labels)?;
    Ok(if count == 0 { (loss / 0.0)? } else { loss })
}
