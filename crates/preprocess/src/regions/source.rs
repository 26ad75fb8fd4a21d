//! Forms of files, and files opened as sources of regions.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sightline_core::registry::UnknownName;

use super::{FORMS, Ids, Place, Problem, RegionLimits, Regions, RegionsError, npy};

/// Bytes at the start of a file by which forms are told apart.
const HEAD_BYTES: u64 = 64;

/// A kind of file, or of folder.
pub trait Form: Sync {
    /// Name in kebab-case.
    fn name(&self) -> &'static str;

    /// Whether `candidate` is probably of this form.
    fn is_like(&self, candidate: &Candidate<'_>) -> bool;

    /// Lists the images of the file or folder `path`.
    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError>;
}

/// What is seen of a file or folder before its form is known.
#[derive(Clone, Copy, Debug)]
pub enum Candidate<'a> {
    /// A file.
    File {
        /// Its path.
        path: &'a Path,
        /// Its first bytes.
        head: &'a [u8],
    },
    /// A folder.
    Folder {
        /// Its path.
        path: &'a Path,
    },
}

/// Regions of many images, each read when it is asked for.
pub trait Source: Send + Sync {
    /// The images, in the order of the file.
    fn ids(&self) -> &Ids;

    /// The regions of the image with the number `at`, which must be below `ids().len()`.
    fn read(&self, at: usize) -> Result<Regions, RegionsError>;

    /// The regions of the image `id`.
    fn find(&self, id: &str) -> Result<Regions, RegionsError> {
        let at = self.ids().position(id);
        let at = at.ok_or_else(|| RegionsError::UnknownImage {
            id: id.to_owned(),
            images: self.ids().len(),
        })?;
        self.read(at)
    }
}

/// Opens files or folders as one source, in the order given. `form` is the name of their form; without it, each is
/// recognised by its first bytes, a table by the end of its name.
pub fn open(
    paths: &[impl AsRef<Path>],
    form: Option<&str>,
    limits: &RegionLimits,
) -> Result<Box<dyn Source>, RegionsError> {
    let form = form.map(named).transpose()?;
    let is_only = paths.len() == 1;
    // `NAME_info.npy` belongs to `NAME.npy`, and is among what the pattern `*.npy` gives.
    let paths = paths
        .iter()
        .map(AsRef::as_ref)
        .filter(|path| is_only || !npy::is_info(path));
    let mut sources = Vec::new();
    for path in paths {
        let form = form.map_or_else(|| recognised(path), Ok)?;
        sources.push((path.to_owned(), form.open(path, limits)?));
    }
    match sources.len() {
        1 => Ok(sources.swap_remove(0).1),
        _ => Ok(Box::new(Joined::new(sources, limits)?)),
    }
}

fn named(name: &str) -> Result<&'static dyn Form, RegionsError> {
    let found = FORMS.iter().find(|form| form.name() == name);
    let known = || FORMS.iter().map(|form| form.name());
    Ok(*found.ok_or_else(|| UnknownName::among("form of region features", name, known()))?)
}

fn recognised(path: &Path) -> Result<&'static dyn Form, RegionsError> {
    let head = || {
        if fs::metadata(path)?.is_dir() {
            return Ok(None);
        }
        let mut head = Vec::new();
        File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(Some(head))
    };
    let head = head().map_err(|error| Problem::Io(error).of(path, Place::default()))?;
    let candidate = match &head {
        Some(head) => Candidate::File { path, head },
        None => Candidate::Folder { path },
    };
    let found = FORMS.iter().find(|form| form.is_like(&candidate));
    found.copied().ok_or_else(|| RegionsError::NoForm {
        path: path.to_owned(),
    })
}

/// Sources one behind the other.
struct Joined {
    sources: Vec<Box<dyn Source>>,
    /// Number of the first image of each source.
    starts: Vec<usize>,
    ids: Ids,
}

impl Joined {
    fn new(
        sources: Vec<(PathBuf, Box<dyn Source>)>,
        limits: &RegionLimits,
    ) -> Result<Self, RegionsError> {
        let mut starts = Vec::with_capacity(sources.len());
        let mut names: Vec<Box<str>> = Vec::new();
        for (path, source) in &sources {
            starts.push(names.len());
            names.extend(source.ids().iter().map(Box::from));
            limits
                .check_images(names.len())
                .map_err(|e| e.of(path, Place::default()))?;
        }
        let owner = |at| starts.partition_point(|&start| start <= at) - 1;
        let ids = Ids::new(names).map_err(|(at, id)| RegionsError::Duplicate {
            path: sources[owner(at)].0.clone(),
            id: id.into(),
        })?;
        let sources = sources.into_iter().map(|(_, source)| source).collect();
        Ok(Self {
            sources,
            starts,
            ids,
        })
    }
}

impl Source for Joined {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let owner = self.starts.partition_point(|&start| start <= at) - 1;
        self.sources[owner].read(at - self.starts[owner])
    }
}

/// The names of one file's images, which must be some and different.
pub(super) fn ids_of(
    path: &Path,
    names: Vec<Box<str>>,
    limits: &RegionLimits,
) -> Result<Ids, RegionsError> {
    if names.is_empty() {
        return Err(Problem::Empty.of(path, Place::default()));
    }
    limits
        .check_images(names.len())
        .map_err(|e| e.of(path, Place::default()))?;
    let path = path.to_owned();
    Ids::new(names).map_err(|(_, id)| RegionsError::Duplicate {
        path,
        id: id.into(),
    })
}
