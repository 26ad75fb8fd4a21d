//! HDF5 as `VisualGPT` and the M² transformer read it: datasets `ID_features`, `ID_boxes` and `ID_cls_prob` in the
//! root group.
//!
//! The container is read by the crate `hdf5-reader`, in pure Rust: contiguous, compact and chunked datasets, with
//! deflate and shuffle. LZF, which only h5py writes, and links to other files are refused.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5_reader::error::ByteOrder;
use hdf5_reader::group::Group;
use hdf5_reader::storage::FileStorage;
use hdf5_reader::{Datatype, Hdf5File, OpenOptions};

use super::array::{Array, Element, Layout};
use super::fields::Fields;
use super::source::ids_of;
use super::{Candidate, Form, Ids, Place, Problem, RegionLimits, Regions, RegionsError, Source};

const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

const FEATURES: &str = "_features";
const BOXES: &str = "_boxes";
const CONFIDENCE: &str = "_cls_prob";

/// The form `hdf5`.
#[derive(Debug)]
pub(super) struct Hdf5;

impl Form for Hdf5 {
    fn name(&self) -> &'static str {
        "hdf5"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        matches!(candidate, Candidate::File { head, .. } if head.starts_with(SIGNATURE))
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let list = || -> Result<_, Problem> {
            let root = root(path, limits)?;
            let (_, names) = root.member_names().map_err(damaged)?;
            let names: HashSet<String> = names.into_iter().collect();
            Ok((root, names))
        };
        let (root, names) = list().map_err(|e| e.of(path, Place::default()))?;
        let mut images: Vec<Box<str>> = names
            .iter()
            .filter_map(|name| name.strip_suffix(FEATURES))
            .map(Box::from)
            .collect();
        images.sort_unstable();
        let has =
            |id: &str| [BOXES, CONFIDENCE].map(|suffix| names.contains(&format!("{id}{suffix}")));
        let present = images.iter().map(|id| has(id)).collect();
        let ids = ids_of(path, images, limits)?;
        Ok(Box::new(File {
            path: path.to_owned(),
            root,
            ids,
            present,
            limits: limits.clone(),
        }))
    }
}

struct File {
    path: PathBuf,
    root: Group,
    ids: Ids,
    /// Whether there are boxes and confidence.
    present: Vec<[bool; 2]>,
    limits: RegionLimits,
}

impl Source for File {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let id = self.ids.name(at);
        let [has_boxes, has_confidence] = self.present[at];
        let array = |suffix| dataset(&self.root, &format!("{id}{suffix}"), &self.limits);
        let regions = || -> Result<Regions, Problem> {
            let fields = Fields {
                features: Some(array(FEATURES)?),
                boxes: has_boxes.then(|| array(BOXES)).transpose()?,
                confidence: has_confidence.then(|| array(CONFIDENCE)).transpose()?,
                ..Fields::default()
            };
            fields.into_regions(id, &self.limits)
        };
        regions().map_err(|e| e.of_image(&self.path, id))
    }
}

fn root(path: &Path, limits: &RegionLimits) -> Result<Group, Problem> {
    let most = usize::try_from(limits.max_image_bytes).unwrap_or(usize::MAX);
    // Every dataset is read once: nothing is gained by keeping chunks.
    let options = OpenOptions::default()
        .with_chunk_cache_bytes(0)
        .with_max_chunk_bytes(most)
        .with_max_read_bytes(most);
    let storage = FileStorage::from_file(std::fs::File::open(path)?).map_err(damaged)?;
    let file = Hdf5File::from_storage_with_options(Arc::new(storage), options).map_err(damaged)?;
    file.root_group().map_err(damaged)
}

fn dataset(root: &Group, name: &str, limits: &RegionLimits) -> Result<Array<'static>, Problem> {
    let dataset = root.dataset(name).map_err(damaged)?;
    let (element, order) = match *dataset.dtype() {
        Datatype::FloatingPoint {
            size: 2,
            byte_order,
        } => (Element::F16, byte_order),
        Datatype::FloatingPoint {
            size: 4,
            byte_order,
        } => (Element::F32, byte_order),
        Datatype::FloatingPoint {
            size: 8,
            byte_order,
        } => (Element::F64, byte_order),
        Datatype::FixedPoint {
            size,
            signed,
            byte_order,
        } if matches!(size, 1 | 2 | 4 | 8) => {
            let size = usize::from(size);
            let element = if signed {
                Element::Signed(size)
            } else {
                Element::Unsigned(size)
            };
            (element, byte_order)
        }
        ref other => {
            let found = format!("{other:?}").chars().take(40).collect();
            return Err(Problem::Element {
                what: "a dataset",
                found,
                expected: "numbers",
            });
        }
    };
    limits.check_bytes(
        "bytes of a dataset",
        dataset.raw_byte_len().map_err(damaged)? as u64,
    )?;
    let shape = dataset
        .shape()
        .iter()
        .map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX))
        .collect();
    let layout = Layout {
        element,
        is_big_endian: order == ByteOrder::BigEndian,
        shape,
        is_fortran: false,
    };
    Array::new(layout, dataset.read_raw_bytes().map_err(damaged)?)
}

fn damaged(error: hdf5_reader::error::Error) -> Problem {
    match error {
        hdf5_reader::error::Error::Io(error) => Problem::Io(error),
        other => Problem::Hdf5 {
            message: other.to_string(),
        },
    }
}
