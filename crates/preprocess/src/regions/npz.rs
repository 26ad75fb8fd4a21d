//! Archives of NumPy arrays, one file an image; compressed or not.
//!
//! Entries are called as in [`super::fields`]. An entry `info` may be a pickled dictionary with the rest. Features
//! may lie on their side, `[d, n]`: they are turned where only that fits the number of boxes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::fields::Fields;
use super::npy::{self, Content};
use super::source::ids_of;
use super::{
    Candidate, Form, Ids, Problem, RegionLimits, Regions, RegionsError, Source, named_files,
};

/// The form `npz`.
#[derive(Debug)]
pub(super) struct Npz;

impl Form for Npz {
    fn name(&self) -> &'static str {
        "npz"
    }

    fn is_like(&self, candidate: &Candidate<'_>) -> bool {
        match candidate {
            Candidate::File { head, .. } => head.starts_with(b"PK\x03\x04"),
            Candidate::Folder { path } => named_files::has(path, "npz"),
        }
    }

    fn open(&self, path: &Path, limits: &RegionLimits) -> Result<Box<dyn Source>, RegionsError> {
        let (ids, paths) = named_files::list(path, "npz", |_| true, limits)?;
        let ids = ids_of(path, ids, limits)?;
        Ok(Box::new(Files {
            ids,
            paths,
            limits: limits.clone(),
        }))
    }
}

struct Files {
    ids: Ids,
    paths: Vec<PathBuf>,
    limits: RegionLimits,
}

impl Source for Files {
    fn ids(&self) -> &Ids {
        &self.ids
    }

    fn read(&self, at: usize) -> Result<Regions, RegionsError> {
        let (id, path) = (self.ids.name(at), &self.paths[at]);
        regions(path, id, &self.limits).map_err(|e| e.of_image(path, id))
    }
}

fn regions(path: &Path, id: &str, limits: &RegionLimits) -> Result<Regions, Problem> {
    let file = File::open(path)?;
    limits.check_bytes("bytes", file.metadata()?.len())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let mut left = limits.max_image_bytes;
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = entry.name().map_err(damaged)?.into_owned();
        let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else {
            continue;
        };
        limits.check_bytes("unpacked bytes", entry.size())?;
        // The size in the archive is a promise only; all entries together may not exceed the limit.
        let mut bytes = Vec::new();
        (&mut entry)
            .take(left.saturating_add(1))
            .read_to_end(&mut bytes)?;
        let unpacked = limits.max_image_bytes - left + bytes.len() as u64;
        limits.check_bytes("unpacked bytes", unpacked)?;
        left -= bytes.len() as u64;
        entries.push((name, bytes));
    }

    let bytes = |name: &str| {
        entries
            .iter()
            .find(|(entry, _)| entry == name)
            .map(|(_, bytes)| &bytes[..])
    };
    let info = bytes("info").map(npy::parse).transpose()?;
    let fields = Fields::named(|name| {
        if let Some(bytes) = bytes(name) {
            return Ok(npy::parse(bytes)?.into_field());
        }
        match &info {
            Some(Content::Objects(pickle)) => pickle.field(name),
            _ => Ok(None),
        }
    })?;
    Fields {
        may_be_transposed: true,
        ..fields
    }
    .into_regions(id, limits)
}

fn damaged(error: ZipError) -> Problem {
    match error {
        ZipError::Io(error) => Problem::Io(error),
        other => Problem::Archive {
            message: other.to_string(),
        },
    }
}
