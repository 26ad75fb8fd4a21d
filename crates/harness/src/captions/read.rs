//! From a file to entries: ids with captions, in the order of the file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use foldhash::HashMap;
use sightline_core::Digest;

use super::error::{CaptionError, Ids};
use super::{columns, json, parquet};
use crate::{Error, Result};

/// Most bytes of a file, packed or not: what is read is kept in memory.
pub(super) const MAX_LEN_BYTES: u64 = 8 << 30;

/// Names of the columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionColumns {
    /// Column of the ids.
    pub id: String,
    /// Column of the captions.
    pub caption: String,
}

impl Default for CaptionColumns {
    fn default() -> Self {
        Self {
            id: "id".to_owned(),
            caption: "caption".to_owned(),
        }
    }
}

/// What a file says about one image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the image is called, in one way or in several.
    pub ids: Vec<String>,
    /// Its captions.
    pub captions: Vec<String>,
    /// Why there is no caption.
    pub failed: Option<String>,
}

/// The entries of a file, one for each image, in the order in which images first occur.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    /// What each of an entry's ids is: `image_id`, `filename`.
    pub id_names: Vec<&'static str>,
    /// One for each image.
    pub entries: Vec<Entry>,
}

/// What a file is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What people wrote.
    References,
    /// What a model wrote.
    Predictions,
}

/// What a row of a file says about one image.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) captions: Vec<String>,
    pub(super) failed: Option<String>,
    /// Whether it lists all captions of its image. Of references, rows with one caption each may repeat
    /// the id; a list may not.
    pub(super) is_list: bool,
}

impl Captions {
    /// Brings rows of one id together.
    pub(super) fn of_rows(
        id_name: &'static str,
        role: Role,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, CaptionError> {
        let mut gathered = Gathered::default();
        for row in rows {
            gathered.add(row);
        }
        gathered.finish(id_name, role)
    }
}

/// Rows brought together by id, as they come.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    entries: Vec<Entry>,
    places: HashMap<String, usize>,
    /// For each entry, whether a row listed all its captions.
    is_list: Vec<bool>,
    /// Entries that a further row named, and whether one of the rows was a list.
    repeated: Vec<(usize, bool)>,
}

impl Gathered {
    pub(super) fn add(&mut self, row: Row) {
        if let Some(&place) = self.places.get(row.id.as_str()) {
            self.repeated
                .push((place, row.is_list || self.is_list[place]));
            self.entries[place].captions.extend(row.captions);
        } else {
            self.places.insert(row.id.clone(), self.entries.len());
            self.is_list.push(row.is_list);
            self.entries.push(Entry {
                ids: vec![row.id],
                captions: row.captions,
                failed: row.failed,
            });
        }
    }

    /// Refuses ids that occur more often than `role` lets them.
    pub(super) fn finish(
        self,
        id_name: &'static str,
        role: Role,
    ) -> Result<Captions, CaptionError> {
        let (what, may_repeat) = match role {
            Role::References => ("list of captions", true),
            Role::Predictions => ("prediction", false),
        };
        let refused = self
            .repeated
            .iter()
            .filter(|(_, is_list)| *is_list || !may_repeat);
        let refused = refused.map(|&(place, _)| self.entries[place].ids[0].clone());
        refuse_repeated(what, refused.collect())?;
        Ok(Captions {
            id_names: vec![id_name],
            entries: self.entries,
        })
    }
}

/// Refuses ids that occur more than once where they may once.
pub(super) fn refuse_repeated(
    what: &'static str,
    mut repeated: Vec<String>,
) -> Result<(), CaptionError> {
    let mut seen = foldhash::HashSet::default();
    repeated.retain(|id| seen.insert(id.clone()));
    if repeated.is_empty() {
        return Ok(());
    }
    Err(CaptionError::Repeated {
        what,
        ids: Ids(repeated),
    })
}

/// Reads references, with the images of one `split` where the file has splits; with the digest of the
/// bytes that were read. Images without a caption are an error unless `is_partial`.
pub fn read_references(
    path: &Path,
    columns: &CaptionColumns,
    split: Option<&str>,
    is_partial: bool,
) -> Result<(Captions, Digest)> {
    let read = || {
        let (references, digest) = read(path, columns, split, Role::References)?;
        let without = references.entries.iter().filter(|e| e.captions.is_empty());
        let without = Ids(without.filter_map(|e| e.ids.first().cloned()).collect());
        if is_partial || without.0.is_empty() {
            Ok((references, digest))
        } else {
            Err(CaptionError::NoReferences { ids: without })
        }
    };
    read().map_err(|source| Error::captions(path, source))
}

/// Reads predictions: one caption for each image, or why there is none; with the digest of the bytes that
/// were read.
pub fn read_predictions(path: &Path, columns: &CaptionColumns) -> Result<(Captions, Digest)> {
    let read = || {
        let (predictions, digest) = read(path, columns, None, Role::Predictions)?;
        let several = predictions.entries.iter().filter(|e| e.captions.len() > 1);
        let several = several.filter_map(|e| e.ids.first().cloned()).collect();
        refuse_repeated("predicted caption", several)?;
        Ok((predictions, digest))
    };
    read().map_err(|source| Error::captions(path, source))
}

fn read(
    path: &Path,
    columns: &CaptionColumns,
    split: Option<&str>,
    role: Role,
) -> Result<(Captions, Digest), CaptionError> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let (name, is_packed) = match name.strip_suffix(".gz") {
        Some(name) => (name, true),
        None => (name.as_str(), false),
    };
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_parquet = matches!(extension, "parquet" | "pq") && !is_packed;
    if !is_parquet && !matches!(extension, "json" | "jsonl" | "ndjson" | "csv" | "tsv") {
        return Err(CaptionError::Form);
    }

    if let Some(split) = split.filter(|_| extension != "json") {
        return Err(CaptionError::NoSplits {
            split: split.to_owned(),
        });
    }

    let file = File::open(path)?;
    let expected = file.metadata()?.len();
    let stored = Bytes::from(whole(file, expected)?);
    let parse = || {
        if is_parquet {
            return parquet::read(stored.clone(), columns, role);
        }
        let unpacked = is_packed.then(|| unpack(&stored)).transpose()?;
        let bytes = unpacked.as_deref().unwrap_or(&stored);
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        match extension {
            "json" => json::document(text, split, role),
            "csv" => columns::delimited(text, b',', columns, role),
            "tsv" => columns::delimited(text, b'\t', columns, role),
            _ => json::lines(text, columns, role),
        }
    };
    let (captions, digest) = rayon::join(parse, || Digest::of(&stored));
    Ok((captions?, digest))
}

/// Everything that `reader` yields, up to the limit; about `expected` bytes.
fn whole(reader: impl Read, expected: u64) -> Result<Vec<u8>, CaptionError> {
    // One more, so that the end is found without growing.
    let mut bytes = Vec::with_capacity(expected.min(MAX_LEN_BYTES) as usize + 1);
    reader.take(MAX_LEN_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN_BYTES {
        return Err(CaptionError::TooLarge {
            limit: MAX_LEN_BYTES,
        });
    }
    Ok(bytes)
}

/// What gzip packed. A file that ends too early is wrong as one of JSON is; the disk has not failed.
fn unpack(packed: &[u8]) -> Result<Vec<u8>, CaptionError> {
    let expected = packed.len() as u64;
    whole(flate2::bufread::MultiGzDecoder::new(packed), expected).map_err(|error| match error {
        CaptionError::Read(error) => CaptionError::Packed {
            problem: match error.kind() {
                io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
                _ => error.to_string(),
            },
        },
        other => other,
    })
}
