//! The tensors of a case.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::{RecordedError, Result};
use crate::folder::read_json;

/// Values of the older form that are no tensors.
const EXPECTED: &str = "expected.json";

/// Inputs and recorded outputs, by their names without `in.` and `out.`. Inputs that are no whole numbers are on the
/// device of the model, all else on the CPU, where it is read.
pub(super) struct Values {
    inputs: BTreeMap<String, Tensor>,
    outputs: BTreeMap<String, Tensor>,
    pub(super) device: Device,
}

impl Values {
    /// Of the file at `path`; `inputs` are those of the older form, by their last names or, with dots, by the whole way to
    /// them, in which `*` is any name.
    pub(super) fn read(path: &Path, inputs: &[&str], device: &Device) -> Result<Self> {
        let all = candle_core::safetensors::load(path, &Device::Cpu);
        let mut all = all.map_err(|source| RecordedError::Tensors {
            path: path.to_owned(),
            source,
        })?;
        let is_named = |name: &String| name.starts_with("in.") || name.starts_with("out.");
        if !inputs.is_empty() && !all.keys().any(is_named) {
            let expected = path.with_file_name(EXPECTED);
            if expected.is_file() {
                flatten(&read_json(&expected)?, "", &mut all)?;
            }
            let is_input = |name: &str| inputs.iter().any(|input| is_called(name, input));
            let (inputs, outputs) = all.into_iter().partition(|(name, _)| is_input(name));
            return Self::new(inputs, outputs, device);
        }
        let part = |prefix: &str| {
            let named = all.iter();
            let named = named.filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            });
            named.collect()
        };
        Self::new(part("in."), part("out."), device)
    }

    fn new(
        mut inputs: BTreeMap<String, Tensor>,
        outputs: BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        for input in inputs.values_mut().filter(|input| input.dtype().is_float()) {
            *input = input.to_device(device)?;
        }
        Ok(Self {
            inputs,
            outputs,
            device: device.clone(),
        })
    }

    pub(super) fn outputs(&self) -> impl ExactSizeIterator<Item = &str> {
        self.outputs.keys().map(String::as_str)
    }

    pub(super) fn output(&self, name: &str) -> Option<&Tensor> {
        self.outputs.get(name)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Tensor> {
        self.inputs.get(name)
    }

    pub(super) fn input(&self, name: &str) -> Result<&Tensor> {
        self.find(name).ok_or_else(|| RecordedError::Missing {
            input: name.to_owned(),
        })
    }

    /// The input called `name` `[R, C]` as rows of whole numbers.
    pub(super) fn rows<T: TryFrom<i64>>(&self, name: &str) -> Result<Vec<Vec<T>>> {
        self.rows_of(name, self.input(name)?)
    }

    /// The same with all dimensions before the last taken as one, `None` if there is no such input.
    pub(super) fn find_rows<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<Vec<Vec<T>>>> {
        let Some(tensor) = self.leading_as_one(name, 1)? else {
            return Ok(None);
        };
        self.rows_of(name, &tensor).map(Some)
    }

    fn rows_of<T: TryFrom<i64>>(&self, name: &str, tensor: &Tensor) -> Result<Vec<Vec<T>>> {
        let rows = whole(tensor)?.to_vec2::<i64>()?;
        let rows = rows.iter().map(|row| self.numbers_of(name, row));
        rows.collect()
    }

    /// The input called `name` `[N]` as whole numbers.
    pub(super) fn numbers<T: TryFrom<i64>>(&self, name: &str) -> Result<Vec<T>> {
        self.numbers_of(name, &whole(self.input(name)?)?.flatten_all()?.to_vec1()?)
    }

    #[expect(clippy::unused_self, reason = "it reads as its siblings do")]
    fn numbers_of<T: TryFrom<i64>>(&self, name: &str, numbers: &[i64]) -> Result<Vec<T>> {
        let number = |&value: &i64| {
            T::try_from(value).map_err(|_| RecordedError::Value {
                input: name.to_owned(),
                value,
                wanted: "an id, a mask or a length".to_owned(),
            })
        };
        numbers.iter().map(number).collect()
    }

    /// The input called `name` with all dimensions before its last `kept` taken as one.
    pub(super) fn leading_as_one(&self, name: &str, kept: usize) -> Result<Option<Tensor>> {
        let Some(tensor) = self.find(name) else {
            return Ok(None);
        };
        let leading = tensor.rank().saturating_sub(kept + 1);
        Ok(Some(tensor.flatten(0, leading)?))
    }
}

/// Whether a value is one of those that `pattern` names: see [`Values::read`].
fn is_called(name: &str, pattern: &str) -> bool {
    if !pattern.contains('.') {
        return name.rsplit('.').next() == Some(pattern);
    }
    let (mut names, mut patterns) = (name.split('.'), pattern.split('.'));
    loop {
        match (names.next(), patterns.next()) {
            (None, None) => return true,
            (Some(name), Some(pattern)) if pattern == "*" || name == pattern => {}
            _ => return false,
        }
    }
}

/// Small types of whole numbers as the one that is read; what has fractions stays as it is, and is refused.
fn whole(tensor: &Tensor) -> Result<Tensor> {
    Ok(match tensor.dtype() {
        DType::U8 | DType::U32 => tensor.to_dtype(DType::I64)?,
        _ => tensor.clone(),
    })
}

/// The bytes of a text.
pub(super) fn text_tensor(text: &str) -> Result<Tensor> {
    Ok(Tensor::from_slice(
        text.as_bytes(),
        text.len(),
        &Device::Cpu,
    )?)
}

/// The numbers, lists of numbers and texts of `value` as tensors, called by the way to them. Of a text they hold the bytes.
fn flatten(value: &Value, name: &str, found: &mut HashMap<String, Tensor>) -> Result<()> {
    let below = |key: &dyn std::fmt::Display| match name {
        "" => key.to_string(),
        name => format!("{name}.{key}"),
    };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                flatten(value, &below(key), found)?;
            }
        }
        Value::Array(items) if !items.iter().all(Value::is_number) => {
            for (number, value) in items.iter().enumerate() {
                flatten(value, &below(&number), found)?;
            }
        }
        Value::Array(items) => {
            let whole: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
            let tensor = if let Some(whole) = whole {
                Tensor::from_vec(whole, items.len(), &Device::Cpu)?
            } else {
                let values = items.iter().filter_map(Value::as_f64);
                Tensor::from_vec(values.collect(), items.len(), &Device::Cpu)?
            };
            found.insert(name.to_owned(), tensor);
        }
        Value::Number(number) => {
            let tensor = match number.as_i64() {
                Some(whole) => Tensor::new(whole, &Device::Cpu)?,
                None => Tensor::new(number.as_f64().unwrap_or(f64::NAN), &Device::Cpu)?,
            };
            found.insert(name.to_owned(), tensor);
        }
        Value::String(text) => {
            found.insert(name.to_owned(), text_tensor(text)?);
        }
        // No family records truth values; what nobody knows must not be passed over.
        _ => {
            return Err(RecordedError::Unknown {
                output: name.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_known_by_their_last_names_or_by_the_way_to_them() {
        assert!(is_called("generate.3.image", "image"));
        assert!(!is_called("image.3", "image"));
        assert!(is_called("prompts.3.rank.0.ids", "prompts.*.rank.*.ids"));
        assert!(!is_called("prompts.3.beam.0.ids", "prompts.*.rank.*.ids"));
        assert!(!is_called("prompts.3", "prompts.*.ids"));
        assert!(!is_called("prompts.3.ids.0", "prompts.*.ids"));
    }
}
