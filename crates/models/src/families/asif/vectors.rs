//! Files of vectors, as `sightline embed` and numpy write them, read row by row without holding them.
//!
//! A file MUST be NPY (little-endian `<f4` or `<f2`, C order, two axes) or safetensors with one tensor of two axes, F32 or F16.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use half::f16;
use serde_json::Value;
use sightline_store::Mapped;

use crate::{Error, Result};

/// Headers have a few hundred bytes.
const HEADER_LIMIT_BYTES: usize = 1 << 20;

/// Vectors that are read one after the other, as often as there are rows.
pub trait Rows {
    /// Rows and values of each.
    fn shape(&self) -> (usize, usize);

    /// Reads the next row into `row`, whose length is the width.
    fn next(&mut self, row: &mut [f32]) -> Result<()>;
}

/// The rows of a tensor `[N, D]`.
pub struct TensorRows<'t> {
    tensor: &'t Tensor,
    shape: (usize, usize),
    row: usize,
}

impl<'t> TensorRows<'t> {
    /// Of `tensor` `[N, D]`.
    pub fn new(tensor: &'t Tensor) -> Result<Self> {
        let shape = tensor.dims2()?;
        Ok(Self {
            tensor,
            shape,
            row: 0,
        })
    }
}

impl Rows for TensorRows<'_> {
    fn shape(&self) -> (usize, usize) {
        self.shape
    }

    fn next(&mut self, row: &mut [f32]) -> Result<()> {
        let values = self.tensor.get(self.row)?.to_dtype(DType::F32)?;
        row.copy_from_slice(&values.to_vec1::<f32>()?);
        self.row += 1;
        Ok(())
    }
}

/// A mapped file of vectors.
pub struct VectorFile {
    bytes: Mapped,
    path: PathBuf,
    /// Where values begin.
    data: usize,
    rows: usize,
    width: usize,
    is_half: bool,
    /// The next row.
    row: usize,
}

/// Where values are, and of what type.
struct Layout {
    data: usize,
    shape: Vec<usize>,
    is_half: bool,
}

impl VectorFile {
    /// Maps the file at `path`, NPY or safetensors by how it begins.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = Mapped::open(path)?;
        let failed = |problem| Error::Anchors {
            path: path.to_owned(),
            problem,
        };
        let content: &[u8] = bytes.as_ref();
        let layout = if content.starts_with(b"\x93NUMPY") {
            npy(content)
        } else {
            safetensors(content)
        };
        let layout = layout.map_err(failed)?;
        let [rows, width] = layout.shape[..] else {
            return Err(failed("holds no matrix of a vector in each row"));
        };
        let value_bytes = if layout.is_half { 2 } else { 4 };
        let wanted = rows
            .checked_mul(width)
            .and_then(|count| count.checked_mul(value_bytes));
        if wanted != content.len().checked_sub(layout.data) {
            return Err(failed(
                "holds another number of values than its header says",
            ));
        }
        Ok(Self {
            data: layout.data,
            rows,
            width,
            is_half: layout.is_half,
            row: 0,
            path: path.to_owned(),
            bytes,
        })
    }
}

impl Rows for VectorFile {
    fn shape(&self) -> (usize, usize) {
        (self.rows, self.width)
    }

    fn next(&mut self, row: &mut [f32]) -> Result<()> {
        let cut = || Error::Anchors {
            path: self.path.clone(),
            problem: "has fewer rows than were asked for",
        };
        let value_bytes = if self.is_half { 2 } else { 4 };
        let from = self.data + self.row * self.width * value_bytes;
        let bytes: &[u8] = self.bytes.as_ref();
        let bytes = bytes.get(from..from + self.width * value_bytes);
        let bytes = bytes.filter(|_| self.row < self.rows).ok_or_else(cut)?;
        if self.is_half {
            let (halves, _) = bytes.as_chunks::<2>();
            for (value, half) in row.iter_mut().zip(halves) {
                *value = f16::from_le_bytes(*half).to_f32();
            }
        } else {
            let (floats, _) = bytes.as_chunks::<4>();
            for (value, float) in row.iter_mut().zip(floats) {
                *value = f32::from_le_bytes(*float);
            }
        }
        self.row += 1;
        Ok(())
    }
}

fn npy(bytes: &[u8]) -> Result<Layout, &'static str> {
    let broken = "is no array of numpy that can be read";
    let (start, len) = match bytes.get(6).ok_or(broken)? {
        1 => (10, usize::from(u16::from_le_bytes(chunk(bytes, 8)?))),
        2 | 3 => (12, u32::from_le_bytes(chunk(bytes, 8)?) as usize),
        _ => return Err(broken),
    };
    if len > HEADER_LIMIT_BYTES {
        return Err("has a header larger than any array's");
    }
    let header = bytes.get(start..start + len).ok_or(broken)?;
    let header = std::str::from_utf8(header).map_err(|_| broken)?;
    let after = |key: &str| {
        let at = header.find(key)? + key.len();
        Some(header[at..].trim_start_matches([' ', ':']))
    };
    if !after("'fortran_order'").is_some_and(|rest| rest.starts_with("False")) {
        return Err("is not in C order");
    }
    let kind = after("'descr'").ok_or(broken)?;
    let is_half = match kind.get(..5) {
        Some("'<f4'") => false,
        Some("'<f2'") => true,
        _ => return Err("holds no values of 32 or 16 bits: save it as float32"),
    };
    let shape = after("'shape'").and_then(|rest| rest.strip_prefix('('));
    let (shape, _) = shape.and_then(|rest| rest.split_once(')')).ok_or(broken)?;
    let sides = shape
        .split(',')
        .map(str::trim)
        .filter(|side| !side.is_empty());
    let shape: Result<Vec<usize>, _> = sides.map(str::parse).collect();
    Ok(Layout {
        data: start + len,
        shape: shape.map_err(|_| broken)?,
        is_half,
    })
}

fn safetensors(bytes: &[u8]) -> Result<Layout, &'static str> {
    let broken = "is neither an array of numpy nor safetensors";
    let len = usize::try_from(u64::from_le_bytes(chunk(bytes, 0)?)).map_err(|_| broken)?;
    if len > HEADER_LIMIT_BYTES {
        return Err(broken);
    }
    let header = bytes.get(8..8 + len).ok_or(broken)?;
    let header: Value = serde_json::from_slice(header).map_err(|_| broken)?;
    let tensors = header.as_object().ok_or(broken)?.iter();
    let tensors: Vec<&Value> = tensors
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(_, tensor)| tensor)
        .collect();
    let [tensor] = tensors[..] else {
        return Err("holds another number of tensors than one");
    };
    let is_half = match tensor["dtype"].as_str() {
        Some("F32") => false,
        Some("F16") => true,
        _ => return Err("holds no values of 32 or 16 bits: save it as float32"),
    };
    let sides = tensor["shape"].as_array().ok_or(broken)?.iter();
    let sides = sides.map(|side| side.as_u64().and_then(|side| usize::try_from(side).ok()));
    Ok(Layout {
        data: 8 + len,
        shape: sides.collect::<Option<Vec<usize>>>().ok_or(broken)?,
        is_half,
    })
}

/// `N` bytes from `at` on.
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], &'static str> {
    let part = bytes.get(at..at + N).and_then(|part| part.try_into().ok());
    part.ok_or("is cut off")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(bytes: &[u8]) -> Result<VectorFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        fs::write(&path, bytes).unwrap();
        VectorFile::open(&path)
    }

    fn npy_file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u16).to_le_bytes();
        [b"\x93NUMPY\x01\0", &len[..], header.as_bytes(), data].concat()
    }

    fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
        let len = (header.len() as u64).to_le_bytes();
        [&len[..], header.as_bytes(), data].concat()
    }

    const FLOATS: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 64];

    #[test]
    fn both_forms_are_read_row_by_row() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n";
        let tensor = r#"{"embeddings":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}"#;
        for file in [npy_file(header, &FLOATS), safetensors_file(tensor, &FLOATS)] {
            let mut vectors = open(&file).unwrap();
            assert_eq!(vectors.shape(), (2, 1));
            let mut row = [0.0];
            for expected in [1.0, 2.0] {
                vectors.next(&mut row).unwrap();
                assert_eq!(row.to_vec(), [expected]);
            }
            assert!(vectors.next(&mut row).is_err());
            // Every way to cut a file is told.
            for len in 0..file.len() {
                assert!(open(&file[..len]).is_err(), "{len}");
            }
        }
        let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (1, 2), }\n";
        let mut vectors = open(&npy_file(half, &[0, 60, 0, 64])).unwrap();
        let mut row = [0.0; 2];
        vectors.next(&mut row).unwrap();
        assert_eq!(row.to_vec(), [1.0, 2.0]);
    }

    #[test]
    fn other_arrays_are_refused_in_words() {
        for (header, told) in [
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}",
                "float32",
            ),
            (
                "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1)}",
                "C order",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
                "no matrix",
            ),
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1)}",
                "another number",
            ),
        ] {
            let error = open(&npy_file(header, &FLOATS)).err().unwrap().to_string();
            assert!(error.contains(told), "{header}: {error}");
        }
        assert!(open(&safetensors_file("{}", &[])).is_err());
    }
}
