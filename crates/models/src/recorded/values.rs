//! The tensors of a case.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::{RecordedError, Result};

/// Inputs and recorded outputs, by their names without `in.` and `out.`.
pub(super) struct Values {
    inputs: BTreeMap<String, Tensor>,
    outputs: BTreeMap<String, Tensor>,
    pub(super) device: Device,
}

impl Values {
    pub(super) fn read(path: &Path, device: &Device) -> Result<Self> {
        let all = candle_core::safetensors::load(path, device);
        let all = all.map_err(|source| RecordedError::Tensors {
            path: path.to_owned(),
            source,
        })?;
        let part = |prefix: &str| {
            let named = all.iter();
            let named = named.filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            });
            named.collect()
        };
        Ok(Self {
            inputs: part("in."),
            outputs: part("out."),
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
        let rows = tensor.to_vec2::<i64>()?;
        let rows = rows.iter().map(|row| self.numbers_of(name, row));
        rows.collect()
    }

    /// The input called `name` `[N]` as whole numbers.
    pub(super) fn numbers<T: TryFrom<i64>>(&self, name: &str) -> Result<Vec<T>> {
        self.numbers_of(name, &self.input(name)?.to_vec1::<i64>()?)
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
