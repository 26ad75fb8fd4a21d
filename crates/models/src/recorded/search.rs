//! What recorded searches of several families have in common.

use candle_core::{D, DType, Device, Tensor};

use super::values::Values;
use super::{RecordedError, Result};
use crate::loss::log_softmax;

/// The most tokens of a recorded search, and the widest beam.
const MOST: usize = 1 << 10;

/// The one number that the input called `input` is.
pub(super) fn one(values: &Values, input: &str) -> Result<usize> {
    let numbers = values.numbers::<u32>(input)?;
    match numbers[..] {
        [number] if (number as usize) < MOST => Ok(number as usize),
        _ => Err(RecordedError::Value {
            input: input.to_owned(),
            value: numbers.first().map_or(0, |&number| i64::from(number)),
            wanted: format!("one number below {MOST}"),
        }),
    }
}

/// The same with a fraction.
pub(super) fn real(values: &Values, input: &str) -> Result<f64> {
    let number = values.input(input)?.to_dtype(DType::F64)?;
    Ok(number.flatten_all()?.get(0)?.to_scalar()?)
}

pub(super) fn ids_tensor(ids: &[u32]) -> Result<Tensor> {
    Ok(Tensor::from_slice(ids, ids.len(), &Device::Cpu)?)
}

/// The smallest difference between the two best log-probabilities at any place of `logits` `[.., T, V]`.
pub(super) fn smallest_margin(logits: &Tensor) -> Result<Tensor> {
    let mut smallest = f32::INFINITY;
    let rows = log_softmax(logits)?.flatten_to(D::Minus2)?;
    for row in rows.to_vec2::<f32>()? {
        let (mut best, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for value in row {
            if value > best {
                (best, second) = (value, best);
            } else if value > second {
                second = value;
            }
        }
        smallest = smallest.min(best - second);
    }
    Ok(Tensor::new(smallest, logits.device())?)
}
