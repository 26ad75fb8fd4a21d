//! Finds the files of a checkpoint, lists the tensors in them, and reads one tensor at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use crate::{Error, FormatError, Result, TensorProblem, safetensors, torch};

/// An index of a model with a million tensors has about 100 MB.
const INDEX_LIMIT_BYTES: u64 = 128 << 20;

/// File names that are tried in this order.
const FILES: &[(&str, Kind)] = &[
    ("model.safetensors", Kind::Safetensors),
    ("model.safetensors.index.json", Kind::SafetensorsIndex),
    ("pytorch_model.bin", Kind::Torch),
    ("pytorch_model.bin.index.json", Kind::TorchIndex),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Safetensors,
    SafetensorsIndex,
    Torch,
    TorchIndex,
}

/// The open files of a checkpoint and where each tensor lies in them.
pub(crate) struct Checkpoint {
    /// What errors name: the only file, or the index.
    path: PathBuf,
    shards: Vec<(PathBuf, File)>,
    tensors: BTreeMap<String, (usize, Entry)>,
}

/// A tensor in a file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) dtype: ElementType,
    pub(crate) shape: Vec<usize>,
    /// In elements; `None` for row-major order without gaps.
    pub(crate) strides: Option<Vec<usize>>,
    /// First byte of the tensor's first element.
    pub(crate) start: u64,
    /// Bytes from there that belong to the tensor's storage.
    pub(crate) available: u64,
}

/// What the elements of a tensor are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    /// A floating point number that candle reads.
    Float(DType),
    /// Anything else, by its name in the file.
    Other(String),
}

impl Checkpoint {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let (path, kind) = find(folder)?;
        let mut checkpoint = Self {
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            path,
        };
        match kind {
            Kind::Safetensors | Kind::Torch => {
                let path = checkpoint.path.clone();
                checkpoint.add_shard(path, kind, |_| true)?;
            }
            Kind::SafetensorsIndex | Kind::TorchIndex => {
                let shard_kind = match kind {
                    Kind::SafetensorsIndex => Kind::Safetensors,
                    _ => Kind::Torch,
                };
                let map = read_index(&checkpoint.path)?;
                for name in map.values().collect::<BTreeSet<_>>() {
                    let listed = |tensor: &str| map.get(tensor) == Some(name);
                    checkpoint.add_shard(folder.join(name), shard_kind, listed)?;
                }
            }
        }
        Ok(checkpoint)
    }

    /// Every file that [`Self::open`] would read.
    pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let (path, kind) = find(folder)?;
        let mut files = vec![path];
        if matches!(kind, Kind::SafetensorsIndex | Kind::TorchIndex) {
            let map = read_index(&files[0])?;
            let names: BTreeSet<&String> = map.values().collect();
            files.extend(names.into_iter().map(|name| folder.join(name)));
        }
        Ok(files)
    }

    fn add_shard(
        &mut self,
        path: PathBuf,
        kind: Kind,
        is_listed: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let file = File::open(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let listed = match kind {
            Kind::Torch | Kind::TorchIndex => torch::tensors(&file),
            Kind::Safetensors | Kind::SafetensorsIndex => safetensors::tensors(&file),
        };
        let shard = self.shards.len();
        for (name, entry) in listed.map_err(|e| e.at(&path))? {
            if is_listed(&name) {
                self.tensors.insert(name, (shard, entry));
            }
        }
        self.shards.push((path, file));
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor as `f32` on the CPU, or why the model cannot use it; an outer error when the file is damaged.
    pub(crate) fn tensor(
        &self,
        name: &str,
        wanted: &[usize],
    ) -> Result<std::result::Result<Tensor, TensorProblem>> {
        let name = name.to_owned();
        let wanted = wanted.to_vec();
        let Some((shard, entry)) = self.tensors.get(&name) else {
            return Ok(Err(TensorProblem::Missing { name, wanted }));
        };
        let ElementType::Float(dtype) = &entry.dtype else {
            let found = match &entry.dtype {
                ElementType::Other(found) => found.clone(),
                ElementType::Float(dtype) => format!("{dtype:?}"),
            };
            return Ok(Err(TensorProblem::Type { name, found }));
        };
        if entry.shape != wanted {
            return Ok(Err(TensorProblem::Shape {
                name,
                wanted,
                found: entry.shape.clone(),
            }));
        }
        let (path, file) = &self.shards[*shard];
        let bytes = entry
            .read(&name, dtype.size_in_bytes(), file)
            .map_err(|e| e.at(path))?;
        let tensor = Tensor::from_raw_buffer(&bytes, *dtype, &wanted, &Device::Cpu)?;
        Ok(Ok(tensor.to_dtype(DType::F32)?))
    }
}

impl Entry {
    /// The tensor's elements in row-major order. Never allocates more than its storage holds.
    fn read(&self, name: &str, size: usize, file: &File) -> std::result::Result<Vec<u8>, Broken> {
        let broken = |reason: &str| {
            Broken::Format(FormatError::Tensor {
                name: name.to_owned(),
                reason: reason.to_owned(),
            })
        };
        let overflow = || broken("its shape overflows");
        let count = product(&self.shape).ok_or_else(overflow)?;
        let strides = self.strides.as_ref().filter(|_| count > 0);
        let span = match strides {
            None => count,
            Some(strides) => span(&self.shape, strides).ok_or_else(overflow)?,
        };
        let span_bytes = span.checked_mul(size).ok_or_else(overflow)?;
        if span_bytes as u64 > self.available {
            return Err(broken("it is larger than its storage"));
        }
        if count > span {
            return Err(broken("it repeats elements of its storage"));
        }
        let mut bytes = vec![0; span_bytes];
        let mut file = file;
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(&mut bytes)?;
        match strides {
            Some(strides) if !is_row_major(&self.shape, strides) => {
                Ok(gather(&bytes, &self.shape, strides, size))
            }
            _ => Ok(bytes),
        }
    }
}

/// An error inside a file whose path the caller knows.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(std::io::Error),
    Format(FormatError),
}

impl Broken {
    fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Io(source) => Error::Read { path, source },
            Self::Format(source) => Error::Format { path, source },
        }
    }
}

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FormatError> for Broken {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

fn find(folder: &Path) -> Result<(PathBuf, Kind)> {
    FILES
        .iter()
        .map(|(name, kind)| (folder.join(name), *kind))
        .find(|(path, _)| path.is_file())
        .ok_or_else(|| Error::NoWeights {
            folder: folder.to_owned(),
        })
}

/// Tensor to shard, from an index file. Shards lie beside it.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }

    let broken = |source| Error::Format {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(INDEX_LIMIT_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() as u64 > INDEX_LIMIT_BYTES {
        return Err(broken(FormatError::TooLarge {
            what: "index",
            len_bytes: bytes.len() as u64,
            limit_bytes: INDEX_LIMIT_BYTES,
        }));
    }
    let index: Index = serde_json::from_slice(&bytes).map_err(|source| {
        broken(FormatError::Json {
            what: "index",
            source,
        })
    })?;
    let is_plain = |name: &str| {
        let mut parts = Path::new(name).components();
        matches!(parts.next(), Some(Component::Normal(part)) if part == name)
            && parts.next().is_none()
    };
    match index.weight_map.values().find(|name| !is_plain(name)) {
        None => Ok(index.weight_map),
        Some(name) => Err(broken(FormatError::ShardName { name: name.clone() })),
    }
}

pub(crate) fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))
}

/// Elements from the first to the last one that a non-empty view touches.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.len() != strides.len() {
        return None;
    }
    shape
        .iter()
        .zip(strides)
        .try_fold(1usize, |n, (&dim, &stride)| {
            n.checked_add(stride.checked_mul(dim - 1)?)
        })
}

fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == expected;
        expected *= dim;
        fits
    })
}

/// Copies the elements of a view, whose last element is known to lie inside, in row-major order.
fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(shape.iter().product::<usize>() * size);
    let mut at = vec![0usize; shape.len()];
    loop {
        let element: usize = at.iter().zip(strides).map(|(i, stride)| i * stride).sum();
        out.extend_from_slice(&bytes[element * size..(element + 1) * size]);
        // Counts like an odometer, the last dimension fastest.
        let Some(dim) = (0..shape.len()).rev().find(|&d| at[d] + 1 < shape[d]) else {
            return out;
        };
        at[dim] += 1;
        at[dim + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_gathered_in_row_major_order() {
        let storage: Vec<u8> = (0..12).collect();
        // The transpose of a 3 by 4 matrix.
        let transposed = gather(&storage, &[4, 3], &[1, 4], 1);
        assert_eq!(transposed, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        let corners = gather(&storage, &[2, 2], &[4, 1], 2);
        assert_eq!(corners, [0, 1, 2, 3, 8, 9, 10, 11]);
        assert!(is_row_major(&[2, 1, 3], &[3, 99, 1]));
        assert!(!is_row_major(&[4, 3], &[1, 4]));
        assert_eq!(span(&[4, 3], &[1, 4]), Some(12));
        assert_eq!(span(&[2, 2], &[usize::MAX, 1]), None);
    }
}
