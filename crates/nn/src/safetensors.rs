//! The table of contents of a safetensors file.
//!
//! Eight bytes give the length of a JSON header, which gives type, shape and place of every tensor in the
//! bytes behind it. The file is foreign: the header's length is checked against the file's before anything is
//! allocated, and every place against its shape and the file's end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::DType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::FormatError;
use crate::checkpoint::{Broken, ElementType, Entry, product};

/// The format's own limit.
const HEADER_LIMIT_BYTES: u64 = 100_000_000;

/// The tensors of `file`.
pub(crate) fn tensors(mut file: &File) -> Result<Vec<(String, Entry)>, Broken> {
    let found_bytes = file.metadata()?.len();
    let truncated = |needed_bytes| FormatError::Truncated {
        needed_bytes,
        found_bytes,
    };
    if found_bytes < 8 {
        return Err(truncated(8).into());
    }
    let mut length = [0; 8];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut length)?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > HEADER_LIMIT_BYTES {
        return Err(Broken::Format(FormatError::TooLarge {
            what: "header",
            len_bytes: header_bytes,
            limit_bytes: HEADER_LIMIT_BYTES,
        }));
    }
    let data_start = 8 + header_bytes;
    if data_start > found_bytes {
        return Err(truncated(data_start).into());
    }
    let mut header = vec![0; header_bytes as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|source| FormatError::Json {
            what: "header",
            source,
        })?;

    let mut entries = Vec::new();
    let mut end = data_start;
    for (name, info) in metadata.tensors() {
        let entry = entry(&name, info, data_start)?;
        end = end.max(entry.start + entry.available);
        entries.push((name, entry));
    }
    if end > found_bytes {
        return Err(truncated(end).into());
    }
    Ok(entries)
}

fn entry(name: &str, info: &TensorInfo, data_start: u64) -> Result<Entry, FormatError> {
    let (from, to) = info.data_offsets;
    let needed_bits = product(&info.shape).and_then(|n| n.checked_mul(info.dtype.bitsize()));
    let available = to.checked_sub(from);
    let start = data_start.checked_add(from as u64);
    match (needed_bits, available, start) {
        (Some(bits), Some(available), Some(start))
            if bits.div_ceil(8) == available && start.checked_add(available as u64).is_some() =>
        {
            Ok(Entry {
                dtype: element_type(info.dtype),
                bits: info.dtype.bitsize(),
                shape: info.shape.clone(),
                strides: None,
                start,
                available: available as u64,
            })
        }
        _ => Err(FormatError::Tensor {
            name: name.to_owned(),
            reason: format!(
                "shape {:?} of {:?} does not fit the bytes {from} to {to}",
                info.shape, info.dtype
            ),
        }),
    }
}

fn element_type(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F16 => ElementType::Float(DType::F16),
        Dtype::BF16 => ElementType::Float(DType::BF16),
        Dtype::F32 => ElementType::Float(DType::F32),
        Dtype::F64 => ElementType::Float(DType::F64),
        other => ElementType::Other(format!("{other:?}")),
    }
}
