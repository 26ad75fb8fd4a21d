//! From a file to entries: ids with captions, in the order of the file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use foldhash::HashMap;

use super::error::{CaptionError, Ids};
use super::{columns, json};
use crate::{Error, Result};

/// Most bytes of a file, unpacked: what is read is kept in memory.
const MAX_LEN_BYTES: u64 = 8 << 30;

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

impl Captions {
    /// Brings captions of one id together.
    pub(super) fn of_rows(
        id_name: &'static str,
        rows: impl IntoIterator<Item = (String, Vec<String>, Option<String>)>,
    ) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::default();
        for (id, captions, failed) in rows {
            let place = *places.entry(id.clone()).or_insert_with(|| {
                entries.push(Entry {
                    ids: vec![id],
                    ..Entry::default()
                });
                entries.len() - 1
            });
            entries[place].captions.extend(captions);
            entries[place].failed = entries[place].failed.take().or(failed);
        }
        Self {
            id_names: vec![id_name],
            entries,
        }
    }

    fn named(&self, entries: impl Fn(&Entry) -> bool) -> Ids {
        let entries = self.entries.iter().filter(|entry| entries(entry));
        Ids(entries
            .filter_map(|entry| entry.ids.first().cloned())
            .collect())
    }
}

/// Reads references, with the images of one `split` where the file has splits.
pub fn read_references(
    path: &Path,
    columns: &CaptionColumns,
    split: Option<&str>,
) -> Result<Captions> {
    let read = || {
        let references = read(path, columns, split, json::Role::References)?;
        let without = references.named(|entry| entry.captions.is_empty());
        if without.0.is_empty() {
            Ok(references)
        } else {
            Err(CaptionError::NoReferences { ids: without })
        }
    };
    read().map_err(|source| Error::captions(path, source))
}

/// Reads predictions: one caption for each image, or why there is none.
pub fn read_predictions(path: &Path, columns: &CaptionColumns) -> Result<Captions> {
    let read = || {
        let predictions = read(path, columns, None, json::Role::Predictions)?;
        let twice = predictions.named(|entry| entry.captions.len() > 1);
        if twice.0.is_empty() {
            Ok(predictions)
        } else {
            Err(CaptionError::Duplicate { ids: twice })
        }
    };
    read().map_err(|source| Error::captions(path, source))
}

fn read(
    path: &Path,
    columns: &CaptionColumns,
    split: Option<&str>,
    role: json::Role,
) -> Result<Captions, CaptionError> {
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
    match extension {
        "json" => json::document(&bytes(path, is_packed)?, split, role),
        "jsonl" | "ndjson" => json::lines(&bytes(path, is_packed)?, columns),
        "csv" => columns::delimited(&bytes(path, is_packed)?, b',', columns),
        "tsv" => columns::delimited(&bytes(path, is_packed)?, b'\t', columns),
        "parquet" | "pq" if !is_packed => columns::parquet(File::open(path)?, columns),
        _ => Err(CaptionError::Form),
    }
}

fn bytes(path: &Path, is_packed: bool) -> Result<Vec<u8>, CaptionError> {
    let file = BufReader::new(File::open(path)?);
    let mut reader: Box<dyn Read> = if is_packed {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(MAX_LEN_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_LEN_BYTES {
        return Err(CaptionError::TooLarge {
            limit: MAX_LEN_BYTES,
        });
    }
    Ok(bytes)
}
