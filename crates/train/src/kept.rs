//! Tensors that are computed once before the first step, in files of the run's folder.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sightline_core::Digest;
use sightline_models::objective::Keep;
use sightline_store::write_atomic;

use crate::{Error, Result};

/// The key of what a tensor was made of.
const FROM: &str = "from";

/// A safetensors file for each, with the digest of what it was made of.
pub struct KeptTensors<'a> {
    folder: PathBuf,
    device: &'a Device,
}

impl<'a> KeptTensors<'a> {
    /// Those in `folder`, which need not be there.
    pub fn new(folder: PathBuf, device: &'a Device) -> Self {
        Self { folder, device }
    }

    /// The tensor that was kept; `None` if there is none, or one of something else.
    fn read(&self, name: &str, from: Digest) -> Option<Tensor> {
        let bytes = fs::read(self.path(name)).ok()?;
        let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
        let made_of = header.metadata().as_ref()?.get(FROM)?;
        if *made_of != from.to_string() {
            return None;
        }
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let view = tensors.tensor(name).ok()?;
        Tensor::from_raw_buffer(
            view.data(),
            candle_core::DType::F32,
            view.shape(),
            self.device,
        )
        .ok()
    }

    fn write(&self, name: &'static str, from: Digest, tensor: &Tensor) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let metadata = HashMap::from([(FROM.to_owned(), from.to_string())]);
        let written = TensorView::new(Dtype::F32, tensor.dims().to_vec(), &bytes)
            .and_then(|view| safetensors::serialize([(name, view)], Some(metadata)));
        let written = written.map_err(|error| Error::Damaged {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        Ok(write_atomic(path, &written)?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.safetensors"))
    }
}

impl Keep for KeptTensors<'_> {
    fn tensor(
        &self,
        name: &'static str,
        from: Digest,
        compute: &dyn Fn() -> sightline_models::Result<Tensor>,
    ) -> sightline_models::Result<Tensor> {
        if let Some(tensor) = self.read(name, from) {
            return Ok(tensor);
        }
        let tensor = compute()?;
        // What cannot be kept is computed again the next time, with the same result.
        if let Err(error) = self.write(name, from, &tensor) {
            tracing::warn!(%error, name, "cannot be kept");
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_tensor_is_computed_once_for_each_digest() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptTensors::new(folder.path().join("teacher"), &Device::Cpu);
        let count = Cell::new(0f32);
        let get = |from: &[u8]| {
            let compute = || {
                count.set(count.get() + 1.0);
                Ok(Tensor::new(&[[count.get(), 0.5]], &Device::Cpu)?)
            };
            let tensor = kept.tensor("classes", Digest::of(from), &compute);
            tensor.unwrap().to_vec2::<f32>().unwrap()
        };
        assert_eq!(get(b"a"), [[1.0, 0.5]]);
        assert_eq!(get(b"a"), [[1.0, 0.5]]);
        assert_eq!(get(b"b"), [[2.0, 0.5]]);
        // A damaged file is none.
        fs::write(folder.path().join("teacher/classes.safetensors"), "x").unwrap();
        assert_eq!(get(b"b"), [[3.0, 0.5]]);
    }
}
