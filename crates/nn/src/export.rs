//! Any checkpoint as one safetensors file.
//!
//! Shards come together, views get their own rows, the pickles of PyTorch are left behind. Names, types and numbers
//! stay as they are, but for the prefixes of wrappers (see [`crate::weights`]). Equal tensors make equal files: they
//! are written by size of their elements, large ones first so that all are aligned, then by name.
//!
//! ```no_run
//! # use std::path::Path;
//! use sightline_nn::Tensors;
//!
//! let tensors = Tensors::open(Path::new("ViT-B-32.pt"))?;
//! let mut file = Vec::new();
//! tensors.write_safetensors(&mut file, &sightline_core::progress::Silent)?;
//! # Ok::<(), sightline_nn::Error>(())
//! ```

use std::cmp::Reverse;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};
use sightline_core::Progress;

use crate::checkpoint::{Checkpoint, Entry, product};
use crate::{Error, FormatError, Result};

/// Tensors begin at a multiple of this.
const ALIGNMENT_BYTES: usize = 8;

/// How many times the size of its files a checkpoint may grow, because tensors share storages: tied weights are written
/// twice. A hostile one could name the same storage a million times.
const GROWTH_LIMIT: u64 = 4;

/// What a small checkpoint may grow to in any case.
const SMALL_BYTES: u64 = 64 << 20;

/// All tensors of a checkpoint, unread.
pub struct Tensors {
    checkpoint: Checkpoint,
}

impl Tensors {
    /// Opens a checkpoint, a folder or a file, as [`crate::Weights::open`] does.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        Ok(Self { checkpoint })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.checkpoint.names().count()
    }

    /// Writes all of them; one at a time is in memory. Fails before the first byte if they would take more than four
    /// times the bytes of the files, and more than 64 MiB.
    pub fn write_safetensors(&self, out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
        let mut entries: Vec<(&str, &Entry)> = self.checkpoint.entries().collect();
        entries.sort_by_key(|(name, entry)| (Reverse(entry.bits), *name));
        let failed = |source| Error::Write { source };

        let mut header = Map::new();
        // Hugging Face's loader asks for it.
        header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
        let mut end = 0usize;
        for (name, entry) in &entries {
            let start = end;
            let after = len_bytes(entry).and_then(|len| start.checked_add(len));
            end = after.ok_or_else(|| self.overflow(name))?;
            let described: Value = json!({
                "dtype": entry.dtype.name(),
                "shape": entry.shape,
                "data_offsets": [start, end],
            });
            header.insert((*name).to_owned(), described);
        }
        let files_bytes = self.checkpoint.len_bytes()?;
        let limit_bytes = files_bytes.saturating_mul(GROWTH_LIMIT).max(SMALL_BYTES);
        if end as u64 > limit_bytes {
            return Err(self.broken(FormatError::TooLarge {
                what: "content",
                len_bytes: end as u64,
                limit_bytes,
            }));
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(ALIGNMENT_BYTES), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())
            .map_err(failed)?;
        out.write_all(&header).map_err(failed)?;

        progress.start("tensors", Some(entries.len() as u64));
        for (name, _) in &entries {
            let bytes = self.checkpoint.bytes(name)?.unwrap_or_default();
            out.write_all(&bytes).map_err(failed)?;
            progress.advance(1);
        }
        progress.finish();
        Ok(())
    }

    fn overflow(&self, name: &str) -> Error {
        self.broken(FormatError::Tensor {
            name: name.to_owned(),
            reason: "its shape overflows".to_owned(),
        })
    }

    fn broken(&self, source: FormatError) -> Error {
        let path = self.checkpoint.path().to_owned();
        Error::Format { path, source }
    }
}

fn len_bytes(entry: &Entry) -> Option<usize> {
    let bits = product(&entry.shape)?.checked_mul(entry.bits)?;
    Some(bits.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use candle_core::{DType, Device, Tensor};
    use sightline_core::progress::Silent;

    use super::*;
    use crate::Weights;

    #[test]
    fn what_is_written_is_read_as_the_same_and_is_written_the_same_again() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |count: u32, dtype| {
            let tensor = Tensor::arange(0u32, count, &Device::Cpu).unwrap();
            tensor.to_dtype(dtype).unwrap()
        };
        let map: HashMap<&str, Tensor> = [
            ("module.b", tensor(3, DType::F32)),
            ("module.half", tensor(5, DType::F16)),
            ("module.ids", tensor(4, DType::U8)),
            ("module.steps", tensor(2, DType::I64)),
        ]
        .into();
        let source = folder.path().join("model.safetensors");
        candle_core::safetensors::save(&map, &source).unwrap();

        let write = |path: &Path| {
            let mut bytes = Vec::new();
            let tensors = Tensors::open(path).unwrap();
            assert_eq!(tensors.count(), 4);
            tensors.write_safetensors(&mut bytes, &Silent).unwrap();
            bytes
        };
        let written = write(&source);
        let again = folder.path().join("again.safetensors");
        fs::write(&again, &written).unwrap();
        assert_eq!(write(&again), written);

        let read = candle_core::safetensors::load(&again, &Device::Cpu).unwrap();
        assert_eq!(read["steps"].to_vec1::<i64>().unwrap(), [0, 1]);
        assert_eq!(read["ids"].to_vec1::<u8>().unwrap(), [0, 1, 2, 3]);
        let weights = Weights::open(&again, &Device::Cpu).unwrap();
        let half = weights.tensor("half", &[5]).unwrap();
        assert_eq!(half.to_vec1::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
    }
}
