//! Finds the files of a checkpoint, lists the tensors in them, and reads one tensor at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use pulp::bytemuck::cast_slice_mut;
use serde::Deserialize;

use crate::{Error, FormatError, Result, TensorProblem, safetensors, torch};

/// An index of a model with a million tensors has about 100 MB.
const INDEX_LIMIT_BYTES: u64 = 128 << 20;

/// Longest tensor that repeats elements of its storage, as an expanded buffer does. Weights never do.
const REPEATED_LIMIT_BYTES: usize = 64 << 20;

/// File names that are tried in this order: those of `open_clip`, beside which another program's file may hold only
/// one of the towers; those of Hugging Face; those of programs that save a model themselves.
const FILES: &[&str] = &[
    "open_clip_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.bin.index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.pth",
    "model.pt",
    "checkpoint.pth",
    "checkpoint.pt",
];

/// Endings of files that may hold weights.
const ENDINGS: &[&str] = &["safetensors", "bin", "pth", "pt", "th", "ckpt"];

/// Beginnings of the names of files that training programs write beside the weights.
const TRAINING_FILES: &[&str] = &[
    "optimizer",
    "rng_state",
    "scaler",
    "scheduler",
    "training_args",
];

/// Prefixes that wrappers put before every name: data-parallel training and `torch.compile`.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Safetensors,
    Torch,
    /// Tensors of shards that lie beside it.
    Index,
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
    /// Bits of an element.
    pub(crate) bits: usize,
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

impl ElementType {
    /// The name that safetensors files have for it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Float(DType::F16) => "F16",
            Self::Float(DType::BF16) => "BF16",
            Self::Float(DType::F64) => "F64",
            Self::Float(_) => "F32",
            Self::Other(name) => name,
        }
    }
}

impl Checkpoint {
    /// Opens a folder or a file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let path = find(path)?;
        let mut checkpoint = Self {
            shards: Vec::new(),
            tensors: BTreeMap::new(),
            path: path.clone(),
        };
        match kind_of(&path)? {
            Kind::Index => {
                let map = read_index(&path)?;
                for name in map.values().collect::<BTreeSet<_>>() {
                    let listed = |tensor: &str| map.get(tensor) == Some(name);
                    checkpoint.add_shard(path.with_file_name(name), listed)?;
                }
            }
            Kind::Safetensors | Kind::Torch => checkpoint.add_shard(path, |_| true)?,
        }
        checkpoint.unwrap_names();
        Ok(checkpoint)
    }

    /// Every file that [`Self::open`] would read.
    pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
        let path = find(path)?;
        let mut files = vec![path.clone()];
        if kind_of(&path)? == Kind::Index {
            let map = read_index(&path)?;
            let names: BTreeSet<&String> = map.values().collect();
            files.extend(names.into_iter().map(|name| path.with_file_name(name)));
        }
        Ok(files)
    }

    fn add_shard(&mut self, path: PathBuf, is_listed: impl Fn(&str) -> bool) -> Result<()> {
        let file = File::open(&path).map_err(|source| Error::Read {
            path: path.clone(),
            source,
        })?;
        let listed = match kind_of(&path)? {
            Kind::Safetensors => safetensors::tensors(&file),
            // An index is no shard, and is told so there.
            Kind::Torch | Kind::Index => torch::tensors(&file),
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

    /// Drops the prefixes of wrappers that all names share.
    fn unwrap_names(&mut self) {
        let shared = |tensors: &BTreeMap<String, _>| {
            let all = |prefix: &&&str| tensors.keys().all(|name| name.starts_with(**prefix));
            WRAPPERS.iter().find(all).filter(|_| !tensors.is_empty())
        };
        while let Some(prefix) = shared(&self.tensors) {
            let tensors = std::mem::take(&mut self.tensors).into_iter();
            let unwrap = |name: String| name[prefix.len()..].to_owned();
            self.tensors = tensors.map(|(name, at)| (unwrap(name), at)).collect();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The shape in the file of the tensor called `name`.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        let (_, entry) = self.tensors.get(name)?;
        Some(&entry.shape)
    }

    /// Gives each tensor the name that `rename` makes of its own, or drops it.
    pub(crate) fn rename(&mut self, rename: impl Fn(&str) -> Option<String>) {
        let named = std::mem::take(&mut self.tensors)
            .into_iter()
            .filter_map(|(name, tensor)| Some((rename(&name)?, tensor)));
        self.tensors = named.collect();
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Bytes of all files with tensors.
    pub(crate) fn len_bytes(&self) -> Result<u64> {
        let mut sum = 0;
        for (path, file) in &self.shards {
            let metadata = file.metadata().map_err(|e| Broken::Io(e).at(path))?;
            sum += metadata.len();
        }
        Ok(sum)
    }

    /// Every tensor by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let entries = self.tensors.iter();
        entries.map(|(name, (_, entry))| (name.as_str(), entry))
    }

    /// The elements of a tensor as they are in its file, in row-major order.
    pub(crate) fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some((shard, entry)) = self.tensors.get(name) else {
            return Ok(None);
        };
        let (path, file) = &self.shards[*shard];
        entry.read(name, file).map(Some).map_err(|e| e.at(path))
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
            let found = entry.dtype.name().to_owned();
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
        if let Some(values) = entry.read_f32(&name, file).map_err(|e| e.at(path))? {
            return Ok(Ok(Tensor::from_vec(values, wanted, &Device::Cpu)?));
        }
        let bytes = entry.read(&name, file).map_err(|e| e.at(path))?;
        let tensor = Tensor::from_raw_buffer(&bytes, *dtype, &wanted, &Device::Cpu)?;
        Ok(Ok(tensor.to_dtype(DType::F32)?))
    }
}

impl Entry {
    /// As [`Self::read`], without a second copy; `None` where the elements are no `f32` in row-major order.
    fn read_f32(
        &self,
        name: &str,
        mut file: &File,
    ) -> std::result::Result<Option<Vec<f32>>, Broken> {
        let strides = self.strides.as_ref();
        let is_plain = strides.is_none_or(|strides| is_row_major(&self.shape, strides));
        let is_f32 = self.dtype == ElementType::Float(DType::F32) && self.bits == 32;
        if !(is_plain && is_f32 && cfg!(target_endian = "little")) {
            return Ok(None);
        }
        let (_, span_bytes) = self.checked_bytes(name)?;
        let mut values = vec![0.0f32; span_bytes / size_of::<f32>()];
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(cast_slice_mut(&mut values))?;
        Ok(Some(values))
    }

    /// The tensor's elements in row-major order. Never allocates more than its storage holds, or the limit of
    /// repeated elements.
    fn read(&self, name: &str, file: &File) -> std::result::Result<Vec<u8>, Broken> {
        let (count, span_bytes) = self.checked_bytes(name)?;
        let mut bytes = vec![0; span_bytes];
        let mut file = file;
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(&mut bytes)?;
        match &self.strides {
            Some(strides) if count > 0 && !is_row_major(&self.shape, strides) => {
                Ok(gather(&bytes, &self.shape, strides, self.bits / 8))
            }
            _ => Ok(bytes),
        }
    }

    /// The number of elements, and the bytes from the first to behind the last one, which the storage holds.
    fn checked_bytes(&self, name: &str) -> std::result::Result<(usize, usize), Broken> {
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
        let span_bits = span.checked_mul(self.bits).ok_or_else(overflow)?;
        let span_bytes = span_bits.div_ceil(8);
        if span_bytes as u64 > self.available {
            return Err(broken("it is larger than its storage"));
        }
        let len_bytes = count.checked_mul(self.bits).ok_or_else(overflow)? / 8;
        if count > span && len_bytes > REPEATED_LIMIT_BYTES {
            return Err(broken("it repeats elements of its storage too often"));
        }
        Ok((count, span_bytes))
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

/// The file that holds the weights, or their index: `path` itself or one in it.
fn find(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(usual) = FILES
        .iter()
        .map(|name| path.join(name))
        .find(|path| path.is_file())
    {
        return Ok(usual);
    }
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in path.read_dir().map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let ending = file.extension().unwrap_or_default().to_string_lossy();
        let is_training = TRAINING_FILES.iter().any(|begin| name.starts_with(begin));
        if ENDINGS.contains(&&*ending) && !is_training && file.is_file() {
            found.push(name.into_owned());
        }
    }
    found.sort();
    match found.as_slice() {
        [] => Err(Error::NoWeights {
            folder: path.to_owned(),
            looked_for: FILES.to_vec(),
        }),
        [only] => Ok(path.join(only)),
        _ => Err(Error::SeveralWeights {
            folder: path.to_owned(),
            found,
        }),
    }
}

/// What a file is: by its ending where that says it, else by its first bytes.
fn kind_of(path: &Path) -> Result<Kind> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => return Ok(Kind::Safetensors),
        Some("json") => return Ok(Kind::Index),
        _ => {}
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(9).read_to_end(&mut head))
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    // Behind the length of a safetensors header its JSON begins.
    Ok(match head.get(8) {
        Some(b'{') if !torch::is_beginning(&head) => Kind::Safetensors,
        _ => Kind::Torch,
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
