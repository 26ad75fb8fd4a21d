//! Our own form: one safetensors file of many images.
//!
//! | tensor | shape | must |
//! | --- | --- | --- |
//! | `features.ID` | `[n, d]`, floating point | be there |
//! | `boxes.ID` | `[n, 4]`: left, top, right, bottom in pixels | |
//! | `confidence.ID` | `[n]`, or `[n, classes]` whose greatest is taken | |
//! | `objects.ID` | `[n]`, whole numbers | |
//! | `image_size.ID` | `[2]`: width, height, whole numbers | |
//!
//! Other tensors are passed over. Images are in the order of their features in the file. From Python:
//! `safetensors.numpy.save_file({"features.17": features, "boxes.17": boxes}, "regions.safetensors")`.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};
use sightline_core::ReadAt;
use sightline_store::FileAt;

use super::array::{Array, Element, Layout};
use super::fields::Fields;
use super::source::ids_of;
use super::{Candidate, Form, Ids, Place, Problem, RegionLimits, Regions, RegionsError, Source};

/// The format's own limit.
const HEADER_LIMIT_BYTES: u64 = 100_000_000;

const FEATURES: &str = "features.";

/// The form `safetensors`.
#[derive(Debug)]
pub(super) struct Safetensors;

impl Form for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        match candidate {
            // Length of the header, then JSON.
            Candidate::File { path, head } => {
                path.extension().is_some_and(|e| e == "safetensors")
                    && head
                        .get(8..)
                        .is_some_and(|json| json.trim_ascii_start().starts_with(b"{"))
            }
            Candidate::Folder { .. } => false,
        }
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let open = || -> Result<_, Problem> {
            let file = FileAt::open(path).map_err(io::Error::from)?;
            let tensors = tensors(&file)?;
            Ok((file, tensors))
        };
        let (file, tensors) = open().map_err(|e| e.of(path, Place::default()))?;
        let mut images: Vec<(u64, Box<str>)> = tensors
            .iter()
            .filter_map(|(name, tensor)| Some((tensor.start, name.strip_prefix(FEATURES)?.into())))
            .collect();
        images.sort_unstable();
        let ids = ids_of(path, images.into_iter().map(|(_, id)| id).collect(), limits)?;
        Ok(Box::new(Tensors {
            path: path.to_owned(),
            file,
            ids,
            contents: tensors,
            limits: limits.clone(),
        }))
    }
}

/// A tensor in the file.
struct Tensor {
    layout: Layout,
    start: u64,
    end: u64,
}

struct Tensors {
    path: PathBuf,
    file: FileAt,
    ids: Ids,
    contents: HashMap<String, Tensor>,
    limits: RegionLimits,
}

impl Source for Tensors {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let id = self.ids.name(at);
        self.regions(id).map_err(|e| e.of_image(&self.path, id))
    }
}

impl Tensors {
    fn regions(&self, id: &str) -> Result<Regions, Problem> {
        let array = |part: &str| {
            let tensor = self.contents.get(&format!("{part}.{id}"));
            tensor.map(|tensor| self.array(tensor)).transpose()
        };
        let size = array("image_size")?.map(|array| {
            if let [width, height] = array.ints("image size")?[..] {
                return Ok([side("width", width)?, side("height", height)?]);
            }
            Err(Problem::Shape {
                what: "image size",
                shape: array.shape().to_vec(),
                expected: "[2]",
            })
        });
        let size = size.transpose()?;
        let fields = Fields {
            width: size.map(|[width, _]| width),
            height: size.map(|[_, height]| height),
            features: array("features")?,
            boxes: array("boxes")?,
            confidence: array("confidence")?,
            objects: array("objects")?,
            ..Fields::default()
        };
        fields.into_regions(id, &self.limits)
    }

    fn array(&self, tensor: &Tensor) -> Result<Array<'static>, Problem> {
        self.limits
            .check_bytes("bytes of a tensor", tensor.end - tensor.start)?;
        let bytes = self.file.read_at(tensor.start..tensor.end)?;
        Array::new(tensor.layout.clone(), bytes.to_vec())
    }
}

fn side(what: &'static str, side: i64) -> Result<u32, Problem> {
    u32::try_from(side).map_err(|_| Problem::Number {
        what,
        text: side.to_string(),
    })
}

/// The table of contents, every place in it checked against the file.
fn tensors(file: &FileAt) -> Result<HashMap<String, Tensor>, Problem> {
    let found_bytes = file.len()?;
    let truncated = |needed_bytes| Problem::Truncated {
        what: "the file",
        needed_bytes,
        found_bytes,
    };
    if found_bytes < 8 {
        return Err(truncated(8));
    }
    let len = file.read_at(0..8)?;
    let len = len.first_chunk().map_or(0, |&len| u64::from_le_bytes(len));
    if len > HEADER_LIMIT_BYTES {
        let limit = HEADER_LIMIT_BYTES;
        return Err(Problem::Limit {
            what: "bytes of the header",
            value: len,
            limit,
        });
    }
    let data = 8 + len;
    if data > found_bytes {
        return Err(truncated(data));
    }
    let header = file.read_at(8..data)?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|_| Problem::Header {
        what: "header",
        reason: "is not JSON of the expected form",
    })?;
    let mut tensors = HashMap::new();
    for (name, info) in header.tensors() {
        let tensor = tensor(info, data).ok_or(Problem::Header {
            what: "header",
            reason: "has a tensor whose place contradicts itself",
        })?;
        if tensor.end > found_bytes {
            return Err(truncated(tensor.end));
        }
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn tensor(info: &TensorInfo, data: u64) -> Option<Tensor> {
    let (from, to) = info.data_offsets;
    let start = data.checked_add(from as u64)?;
    let end = data.checked_add(to as u64)?;
    let layout = Layout::plain(element(info.dtype), &info.shape);
    (start <= end).then_some(Tensor { layout, start, end })
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I8 => Element::Signed(1),
        Dtype::I16 => Element::Signed(2),
        Dtype::I32 => Element::Signed(4),
        Dtype::I64 => Element::Signed(8),
        Dtype::U8 => Element::Unsigned(1),
        Dtype::U16 => Element::Unsigned(2),
        Dtype::U32 => Element::Unsigned(4),
        Dtype::U64 => Element::Unsigned(8),
        other => Element::Other(format!("{other:?}")),
    }
}
