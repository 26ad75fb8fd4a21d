//! The index of Megatron Energon, version 7: `.nv-meta/` beside the shards and a `.tar.idx` for each.
//!
//! | file | holds |
//! | --- | --- |
//! | `00000.tar.idx` | the offset of each sample's first header and of the end mark, u64 little endian |
//! | `.nv-meta/.info.json` | the number of samples of each shard, in the order of their ids |
//! | `.nv-meta/split.yaml` | which shards are which part |
//! | `.nv-meta/dataset.yaml` | that samples are `CaptioningSample`s of the image and `txt` |
//! | `.nv-meta/index.sqlite` | where each sample and each of its members lies |
//! | `.nv-meta/index.uuid` | a name for this state of the dataset, here made from its shards |
//!
//! Keys must be unique over all shards. A split by shares shuffles the shards by a seed made from their names, then
//! cuts; Energon uses Python's generator instead, so that its own splits differ.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};
use serde_json::{Map, Value, json};
use sightline_core::{ImageFormat, Progress, Seed};
use sightline_shard::webdataset::{Layout, layout};
use sightline_store::{AtomicFile, Folder};

use super::{Index, IndexSpec, check_names, digest_of_shards, hex, put};
use crate::{Error, Result};

/// The version whose form this is.
const ENERGON_VERSION: &str = "7.4.1";

const META: &str = ".nv-meta";
const SQLITE: &str = ".nv-meta/index.sqlite";

/// The tables, as Energon makes them.
const TABLES: &str = "
CREATE TABLE samples (
    tar_file_id INTEGER NOT NULL,
    sample_key TEXT NOT NULL UNIQUE,
    sample_index INTEGER NOT NULL,
    byte_offset INTEGER,
    byte_size INTEGER
);
CREATE TABLE sample_parts (
    tar_file_id INTEGER,
    sample_index INTEGER,
    part_name TEXT,
    content_byte_offset INTEGER,
    content_byte_size INTEGER
);";

/// Made when all rows are in, which is faster.
const INDEXES: &str = "
CREATE INDEX idx_samples_by_tar_and_idx ON samples(tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts(tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full
    ON sample_parts(tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size);";

/// The index of Energon.
#[derive(Debug)]
pub(super) struct Energon;

impl Index for Energon {
    fn name(&self) -> &'static str {
        "energon"
    }

    fn file(&self) -> &'static str {
        ".nv-meta/.info.json"
    }

    fn write(
        &self,
        folder: &Folder,
        names: &[String],
        spec: &IndexSpec,
        progress: &dyn Progress,
    ) -> Result<Vec<String>> {
        check_names(self.name(), names, &[".tar"])?;
        let sum: f64 = spec.split.iter().map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-9 || spec.split.iter().any(|(_, share)| *share < 0.0) {
            return Err(Error::Split { sum });
        }
        let place = Place::new(folder, spec)?;

        let mut written = Vec::new();
        let mut starts = Vec::new();
        let mut counts = Map::new();
        let mut extensions = BTreeMap::new();
        let file = AtomicFile::create(place.path())?;
        let database = Database::create(file.path())?;
        progress.start("shards", Some(names.len() as u64));
        for (id, name) in names.iter().enumerate() {
            let layout = layout(folder, name)?;
            database.add(id, name, names, &layout)?;
            starts.push((format!("{name}.idx"), offsets(&layout)));
            counts.insert(name.clone(), layout.samples.len().into());
            for part in layout.samples.iter().flat_map(|sample| &sample.parts) {
                *extensions.entry(part.extension.clone()).or_insert(0u64) += 1;
            }
            progress.advance(1);
        }
        progress.finish();
        database.finish()?;
        // When all shards are known to be good.
        for (index, bytes) in starts {
            put(folder, &index, &bytes)?;
            written.push(index);
        }
        file.commit()?;
        place.upload(folder)?;

        let shards: Vec<(&str, u64)> = names
            .iter()
            .map(|name| (&name[..], counts[name].as_u64().unwrap_or(0)))
            .collect();
        let uuid = uuid(digest_of_shards(&shards).as_bytes());
        let info = json!({"energon_version": ENERGON_VERSION, "shard_counts": counts});
        for (name, text) in [
            ("index.uuid", uuid),
            ("split.yaml", split(names, &spec.split)),
            ("dataset.yaml", dataset(&extensions)),
            (".info.json", format!("{info:#}")),
        ] {
            let name = format!("{META}/{name}");
            put(folder, &name, text.as_bytes())?;
            written.push(name);
        }
        written.push(SQLITE.to_owned());
        Ok(written)
    }
}

/// Where the database is made: at its place, or in a local folder from which it is uploaded.
struct Place {
    path: PathBuf,
    is_scratch: bool,
    /// A folder that was made for it.
    made: Option<PathBuf>,
}

impl Place {
    fn new(folder: &Folder, spec: &IndexSpec) -> Result<Self> {
        if let Some(scratch) = spec.scratch.as_ref().filter(|_| !folder.is_local()) {
            let name = format!("sightline-index-{}.sqlite", std::process::id());
            return Ok(Self {
                path: scratch.join(name),
                is_scratch: true,
                made: None,
            });
        }
        let path = folder.path_of(SQLITE)?;
        let meta = folder.path_of(META)?;
        let is_there = meta.is_dir();
        std::fs::create_dir_all(&meta).map_err(io("create", META))?;
        Ok(Self {
            path,
            is_scratch: false,
            made: (!is_there).then_some(meta),
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn upload(&self, folder: &Folder) -> Result<()> {
        if !self.is_scratch {
            return Ok(());
        }
        let mut file = File::open(&self.path).map_err(io("read", SQLITE))?;
        let mut object = folder.begin(SQLITE)?;
        std::io::copy(&mut file, &mut object)
            .and_then(|_| object.commit())
            .map_err(io("write", SQLITE))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_scratch {
            let _ = std::fs::remove_file(&self.path);
        }
        // Only where nothing was written into it.
        if let Some(made) = &self.made {
            let _ = std::fs::remove_dir(made);
        }
    }
}

fn io(action: &'static str, name: &str) -> impl FnOnce(std::io::Error) -> Error {
    let name = name.to_owned();
    move |source| Error::Io {
        action,
        name,
        source,
    }
}

fn sqlite(error: rusqlite::Error) -> Error {
    io("write", SQLITE)(std::io::Error::other(error))
}

/// The contents of a `.tar.idx`.
fn offsets(layout: &Layout) -> Vec<u8> {
    let starts = layout.samples.iter().map(|sample| sample.offset);
    starts
        .chain([layout.end])
        .flat_map(u64::to_le_bytes)
        .collect()
}

/// The database while it is filled.
struct Database {
    connection: Connection,
}

impl Database {
    fn create(path: &Path) -> Result<Self> {
        let connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(sqlite)?;
        // The file is nobody's until it is committed: nothing to roll back to, no one to wait for.
        connection
            .execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;")
            .map_err(sqlite)?;
        connection.execute_batch(TABLES).map_err(sqlite)?;
        connection.execute_batch("BEGIN").map_err(sqlite)?;
        Ok(Self { connection })
    }

    /// Adds the samples of the shard `name`, which is the one with the number `id` among `names`.
    fn add(&self, id: usize, name: &str, names: &[String], layout: &Layout) -> Result<()> {
        let prepare = |sql| self.connection.prepare(sql).map_err(sqlite);
        let mut insert_sample = prepare("INSERT INTO samples VALUES (?, ?, ?, ?, ?)")?;
        let mut insert_part = prepare("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)")?;
        let id = id as i64;
        let ends = layout.samples.iter().skip(1).map(|sample| sample.offset);
        let ends = ends.chain([layout.end]);
        for (index, (sample, end)) in (0i64..).zip(layout.samples.iter().zip(ends)) {
            let (offset, len) = (sample.offset as i64, (end - sample.offset) as i64);
            match insert_sample.execute(params![id, sample.key, index, offset, len]) {
                Ok(_) => {}
                Err(error) if is_duplicate(&error) => {
                    return Err(self.duplicate(name, names, &sample.key));
                }
                Err(error) => return Err(sqlite(error)),
            }
            for part in &sample.parts {
                let (offset, len) = (part.offset as i64, part.len_bytes as i64);
                insert_part
                    .execute(params![id, index, part.extension, offset, len])
                    .map_err(sqlite)?;
            }
        }
        Ok(())
    }

    fn duplicate(&self, shard: &str, names: &[String], key: &str) -> Error {
        let earlier = self.connection.query_row(
            "SELECT tar_file_id FROM samples WHERE sample_key = ?",
            [key],
            |row| row.get::<_, i64>(0),
        );
        let earlier = earlier.ok().and_then(|id| names.get(id as usize)).cloned();
        Error::DuplicateKey {
            shard: shard.to_owned(),
            key: key.to_owned(),
            earlier: earlier.unwrap_or_default(),
        }
    }

    fn finish(self) -> Result<()> {
        self.connection
            .execute_batch(INDEXES)
            .and_then(|()| self.connection.execute_batch("COMMIT"))
            .map_err(sqlite)?;
        self.connection.close().map_err(|(_, error)| sqlite(error))
    }
}

fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

/// The first 16 bytes of a digest as a UUID of version 8, which is for names made by one's own rule.
fn uuid(digest: &[u8; 32]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// The contents of `split.yaml`: with one part all shards in order, else shuffled and cut by the shares.
fn split(names: &[String], parts: &[(String, f64)]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    if parts.len() > 1 {
        let digest = digest_of_shards(&names.iter().map(|name| (*name, 0)).collect::<Vec<_>>());
        let seed = digest.as_bytes().first_chunk::<8>().copied();
        let mut rng = Seed(u64::from_le_bytes(seed.unwrap_or_default())).rng();
        for at in (1..names.len()).rev() {
            names.swap(at, rng.below(at as u64 + 1) as usize);
        }
    }
    let mut text = "split_parts:\n".to_owned();
    let (mut share, mut start) = (0.0, 0);
    for (part, of_all) in parts {
        share += of_all;
        let end = ((names.len() as f64 * share + 1e-9) as usize).clamp(start, names.len());
        let mut shards: Vec<&str> = names[start..end].to_vec();
        shards.sort_unstable();
        start = end;
        if shards.is_empty() {
            text.extend(["  ", &yaml(part), ": []\n"]);
            continue;
        }
        text.extend(["  ", &yaml(part), ":\n"]);
        for shard in shards {
            text.extend(["  - ", &yaml(shard), "\n"]);
        }
    }
    text.push_str("exclude: []\n");
    text
}

/// The contents of `dataset.yaml`.
fn dataset(extensions: &BTreeMap<String, u64>) -> String {
    let most = extensions
        .iter()
        .filter(|(extension, _)| ImageFormat::from_extension(extension).is_some())
        .max_by_key(|(_, count)| **count);
    match most {
        Some((image, _)) if extensions.contains_key("txt") => format!(
            "sample_type:\n  __module__: megatron.energon\n  __class__: CaptioningSample\n\
             field_map:\n  image: {}\n  caption: txt\n",
            yaml(image)
        ),
        _ => "__module__: megatron.energon\n__class__: CrudeWebdataset\n".to_owned(),
    }
}

/// A text in YAML: as it is where it is plain, else as JSON, which YAML includes.
fn yaml(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if is_plain {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_yaml_would_take_for_something_else_are_quoted() {
        for (text, expected) in [
            ("shard_0.tar", "shard_0.tar"),
            ("00000.tar", "\"00000.tar\""),
            ("no", "\"no\""),
            ("a: b", "\"a: b\""),
        ] {
            assert_eq!(yaml(text), expected);
        }
    }

    #[test]
    fn every_shard_is_in_one_part_of_a_split() {
        let names: Vec<String> = (0..10).map(|i| format!("{i:05}.tar")).collect();
        let parts = [("train", 0.7), ("val", 0.2), ("test", 0.1)].map(|(p, s)| (p.to_owned(), s));
        let text = split(&names, &parts);
        for name in &names {
            assert_eq!(text.matches(&name[..]).count(), 1, "{text}");
        }
        let train = text.split("val:").next().unwrap();
        assert_eq!(train.matches(".tar").count(), 7, "{text}");
    }
}
