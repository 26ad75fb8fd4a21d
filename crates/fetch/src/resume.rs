//! The output folder: what is finished there, and may this request add to it.
//!
//! | file | written | |
//! | --- | --- | --- |
//! | `NNNNN.tar` | first | the images; other formats call their shards otherwise |
//! | `NNNNN.parquet` | second | one row for each row of the table, failures included; with `--output-format parquet` the images too |
//! | `NNNNN_stats.json` | last | the mark that the shard is finished |
//!
//! Each appears under its name whole or not at all. A shard without its statistics is made again, and so
//! is one whose files do not have the lengths recorded there. A shard is kept when its statistics hold the settings of this
//! request and the digest of its rows; when they hold others, the folder belongs to another request and
//! nothing is touched. One process at a time writes to a folder, which it locks, or any number of workers that share out
//! the shards of a plan by [`Leases`].

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sightline_core::{Digest, ShardId};
use sightline_store::{Folder, remove_stale_temporaries};

use crate::error::{Error, Result};
use crate::layout::{Layout, table_name};
use crate::lease::Leases;
use crate::plan::PLAN_FILE;
use crate::spec::{FetchSpec, IncrementalMode};
use crate::stats::{Origin, ShardStats};
use crate::table::ShardRows;

/// The output folder of a run, locked while this lives.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) folder: Folder,
    pub(crate) layout: Layout,
    pub(crate) settings: Map<String, Value>,
    extend: bool,
    /// Finished shards by number.
    existing: BTreeMap<u64, (ShardStats, Origin)>,
    /// Number of this table's first shard, known with its first rows.
    first: OnceLock<u64>,
    /// Of the worker of a plan.
    leases: Option<Leases>,
    _lock: File,
}

impl Output {
    /// Makes or opens the folder, and refuses one that belongs to another request.
    pub(crate) fn open(spec: &FetchSpec) -> Result<Self> {
        let layout = spec.layout()?;
        let folder = Folder::create(&spec.out)?;
        let lock = lock(&spec.out, File::try_lock)?;
        let plan = spec.out.join(PLAN_FILE);
        if plan.exists() {
            return Err(Error::OtherPlan { path: plan });
        }
        remove_stale_temporaries(&spec.out)?;
        if spec.incremental_mode == IncrementalMode::Overwrite {
            remove_shards(&spec.out, layout)?;
        }
        let mut output = Self {
            folder,
            layout,
            settings: spec.settings(),
            extend: spec.incremental_mode == IncrementalMode::Extend,
            existing: BTreeMap::new(),
            first: OnceLock::new(),
            leases: None,
            _lock: lock,
        };
        output.read_existing(&spec.out)?;
        Ok(output)
    }

    /// Opens the folder for one of several workers.
    pub(crate) fn open_shared(spec: &FetchSpec) -> Result<Self> {
        let folder = Folder::create(&spec.out)?;
        Ok(Self {
            folder,
            layout: spec.layout()?,
            settings: spec.settings(),
            extend: false,
            existing: BTreeMap::new(),
            first: OnceLock::from(0),
            leases: Some(Leases::new(&spec.out)?),
            _lock: lock(&spec.out, File::try_lock_shared)?,
        })
    }

    /// Whether this process may make a shard.
    pub(crate) fn lease(&self, id: ShardId) -> Result<bool> {
        self.leases
            .as_ref()
            .map_or(Ok(true), |leases| leases.take(id))
    }

    /// A shard is finished.
    pub(crate) fn release(&self, id: ShardId) -> Result<()> {
        self.leases
            .as_ref()
            .map_or(Ok(()), |leases| leases.release(id))
    }

    fn read_existing(&mut self, out: &Path) -> Result<()> {
        let mut unfinished = Vec::new();
        let files = shard_files(out, self.layout)?;
        for (&id, files) in &files {
            let Some(path) = &files.stats else {
                unfinished.extend(files.shard.clone().or(files.table.clone()));
                continue;
            };
            if let Some(found) = read_stats(path, &self.settings)? {
                self.existing.insert(id, found);
            }
        }
        // A killed run leaves one shard without statistics at most; more of them are not ours.
        match unfinished.into_iter().nth(1) {
            Some(path) => Err(Error::ForeignShard { path }),
            None => Ok(()),
        }
    }

    /// The number of this table's first shard, whose rows have the digest `rows`.
    pub(crate) fn first_shard(&self, rows: Digest) -> u64 {
        *self.first.get_or_init(|| {
            let Some((&last, _)) = self.existing.last_key_value().filter(|_| self.extend) else {
                return 0;
            };
            // An earlier run may have begun to add this very table.
            let begun = self
                .existing
                .iter()
                .rev()
                .find(|(id, (_, origin))| **id == origin.first_shard && origin.rows == rows);
            begun.map_or(last + 1, |(&id, _)| id)
        })
    }

    /// The statistics of the shard of these rows, if it is finished.
    pub(crate) fn finished(&self, rows: &ShardRows) -> Result<Option<ShardStats>> {
        let Some((stats, origin)) = self.existing.get(&rows.id.0) else {
            return Ok(None);
        };
        if origin.rows != rows.digest || origin.first_shard != self.first() {
            return Err(Error::OtherRows {
                path: self.stats_path(rows.id),
            });
        }
        let is_whole = is_whole(self.folder.root(), self.layout, rows.id, origin);
        Ok(is_whole.then(|| ShardStats {
            sightline: Some(origin.clone()),
            ..stats.clone()
        }))
    }

    /// Refuses finished shards of this table from number `next` on, where it has no more rows.
    pub(crate) fn check_end(&self, next: u64) -> Result<()> {
        let first = self.first();
        let mut beyond = self.existing.range(next.max(first)..);
        match beyond.find(|(_, (_, origin))| origin.first_shard == first) {
            Some((&first, _)) => Err(Error::ShardsBeyondTable {
                path: self.folder.root().to_owned(),
                first,
            }),
            None => Ok(()),
        }
    }

    /// The number of this table's first shard, once it is known.
    pub(crate) fn first(&self) -> u64 {
        self.first.get().copied().unwrap_or(0)
    }

    /// Makes a shard unfinished before any of its files is touched, and the folder with it: its index, if any, is of other
    /// shards.
    pub(crate) fn unfinish(&self, id: ShardId) -> Result<()> {
        let out = self.folder.root();
        remove(&self.stats_path(id))?;
        if let Some(index) = self.layout.index_file() {
            remove(&out.join(index))?;
        }
        self.layout.remove_members(out, id)
    }

    /// The statistics of a shard of a plan, if it is finished.
    pub(crate) fn finished_planned(&self, id: ShardId) -> Result<Option<ShardStats>> {
        read_finished(self.folder.root(), self.layout, &self.settings, id)
    }

    pub(crate) fn table_path(&self, id: ShardId) -> PathBuf {
        table_path(self.folder.root(), id)
    }

    pub(crate) fn stats_path(&self, id: ShardId) -> PathBuf {
        self.folder.root().join(format!("{id}{STATS}"))
    }
}

/// End of the names of statistics.
const STATS: &str = "_stats.json";

pub(crate) fn table_path(out: &Path, id: ShardId) -> PathBuf {
    out.join(table_name(id))
}

/// The statistics of shard `id` in `out`, if it is finished. Refuses those of another request.
pub(crate) fn read_finished(
    out: &Path,
    layout: Layout,
    settings: &Map<String, Value>,
    id: ShardId,
) -> Result<Option<ShardStats>> {
    let path = out.join(format!("{id}{STATS}"));
    if !path.exists() {
        return Ok(None);
    }
    let found = read_stats(&path, settings)?;
    Ok(found
        .filter(|(_, origin)| is_whole(out, layout, id, origin))
        .map(|(stats, origin)| ShardStats {
            sightline: Some(origin),
            ..stats
        }))
}

/// The statistics of every shard in `out` that some run of this program finished, in order, whatever its settings were.
pub(crate) fn finished_shards(out: &Path, layout: Layout) -> Result<Vec<(ShardId, ShardStats)>> {
    let mut finished = Vec::new();
    for (id, files) in shard_files(out, layout)? {
        let (Some(path), Some(_)) = (&files.stats, &files.table) else {
            continue;
        };
        if files.shard.is_none() && layout.file_name(ShardId(id)).is_some() {
            continue;
        }
        let text = fs::read(path).map_err(Error::output("read", path))?;
        let stats =
            ShardStats::from_text(&text).map_err(|_| Error::ForeignShard { path: path.clone() })?;
        finished.push((ShardId(id), stats));
    }
    Ok(finished)
}

/// Names of the files of every finished shard in the output folder of `spec`, in order: what an index is of. None where
/// images are kept nowhere.
pub fn shard_names(spec: &FetchSpec) -> Result<Vec<String>> {
    let layout = spec.layout()?;
    let finished = finished_shards(&spec.out, layout)?;
    let names = finished.iter().filter_map(|(id, _)| layout.file_name(*id));
    Ok(names.collect())
}

/// The layout of the shards in `out`, as the statistics of the first finished one say.
pub(crate) fn layout_of(out: &Path) -> Result<Option<Layout>> {
    // Statistics and tables are called the same in every layout.
    for (_, stats) in finished_shards(out, Layout::Nothing)? {
        let Some(origin) = stats.sightline else {
            continue;
        };
        let name = origin.settings.get("output_format").and_then(Value::as_str);
        return Ok(name.and_then(Layout::named));
    }
    Ok(None)
}

/// The statistics at `path` and what they say of their origin; `None` if they are no JSON. Refuses those of another program
/// and of other settings.
fn read_stats(path: &Path, settings: &Map<String, Value>) -> Result<Option<(ShardStats, Origin)>> {
    let text = fs::read(path).map_err(Error::output("read", path))?;
    if serde_json::from_slice::<IgnoredAny>(&text).is_err() {
        tracing::warn!(path = %path.display(), "statistics are no JSON, the shard is made again");
        return Ok(None);
    }
    let stats = ShardStats::from_text(&text).ok().and_then(|mut stats| {
        let origin = stats.sightline.take().filter(Origin::is_known)?;
        Some((stats, origin))
    });
    let path = path.to_owned();
    let Some((stats, origin)) = stats else {
        return Err(Error::ForeignShard { path });
    };
    let differences = differences(&origin.settings, settings);
    if !differences.is_empty() {
        return Err(Error::OtherSettings { path, differences });
    }
    Ok(Some((stats, origin)))
}

/// Whether the files of a shard have the lengths that its statistics say.
fn is_whole(out: &Path, layout: Layout, id: ShardId, origin: &Origin) -> bool {
    let has_length = |path: &Path, len_bytes: u64| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == len_bytes)
    };
    let shard = layout.file_name(id);
    shard.is_none_or(|name| has_length(&out.join(name), origin.shard.len_bytes))
        && has_length(&table_path(out, id), origin.table_len_bytes)
}

/// Locks the folder itself, which leaves nothing behind. Where folders cannot be locked (some network
/// file systems) nothing is, and keeping other processes away is up to the person.
fn lock(out: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> Result<File> {
    let folder = File::open(out).map_err(Error::output("open", out))?;
    match lock(&folder) {
        Err(TryLockError::WouldBlock) => Err(Error::Busy {
            path: out.to_owned(),
        }),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
    }
}

#[derive(Debug, Default)]
struct ShardFiles {
    shard: Option<PathBuf>,
    table: Option<PathBuf>,
    stats: Option<PathBuf>,
}

/// The files of each shard in `out`, by its number. Other files are not looked at.
fn shard_files(out: &Path, layout: Layout) -> Result<BTreeMap<u64, ShardFiles>> {
    let mut files: BTreeMap<u64, ShardFiles> = BTreeMap::new();
    for entry in fs::read_dir(out).map_err(Error::output("list", out))? {
        let entry = entry.map_err(Error::output("list", out))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        // Most begin with the number of the shard, some have it elsewhere.
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        for id in numbers.filter_map(|digits| digits.parse::<u64>().ok()) {
            let shard = ShardId(id);
            let path = Some(entry.path());
            if layout.file_name(shard).is_some_and(|file| file == name) {
                files.entry(id).or_default().shard.clone_from(&path);
            }
            // Which may be the shard as well.
            if name == table_name(shard) {
                files.entry(id).or_default().table = path;
            } else if name == format!("{shard}{STATS}") {
                files.entry(id).or_default().stats = path;
            }
        }
    }
    Ok(files)
}

/// Removes every shard in `out`: the marks of completion first, so that a kill in between leaves
/// unfinished shards and no wrong ones.
fn remove_shards(out: &Path, layout: Layout) -> Result<()> {
    let files = shard_files(out, layout)?;
    for path in files.values().filter_map(|files| files.stats.as_ref()) {
        remove(path)?;
    }
    for (&id, files) in &files {
        for path in files.table.iter().chain(&files.shard) {
            remove(path)?;
        }
        layout.remove_members(out, ShardId(id))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::output("remove", path)(e)),
        _ => Ok(()),
    }
}

/// The settings that differ, as "name: there, here".
fn differences(there: &Map<String, Value>, here: &Map<String, Value>) -> Vec<String> {
    let names = there
        .keys()
        .chain(here.keys().filter(|name| !there.contains_key(*name)));
    let show = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    names
        .filter(|name| there.get(*name) != here.get(*name))
        .map(|name| {
            let (there, here) = (show(there.get(name)), show(here.get(name)));
            format!("{name} was {there} and is {here}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_the_setting_and_both_values() {
        let map = |value: Value| value.as_object().unwrap().clone();
        let there = map(json!({"a": 1, "b": [2], "old": true}));
        let here = map(json!({"a": 1, "b": [3], "new": null}));
        assert_eq!(
            differences(&there, &here),
            [
                "b was [2] and is [3]",
                "old was true and is not set",
                "new was not set and is null"
            ]
        );
        assert!(differences(&there, &there).is_empty());
    }

    #[test]
    fn a_folder_is_locked_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path(), File::try_lock).unwrap();
        for how in [File::try_lock, File::try_lock_shared] {
            assert!(matches!(lock(dir.path(), how), Err(Error::Busy { .. })));
        }
        drop(first);
        let _worker = lock(dir.path(), File::try_lock_shared).unwrap();
        let _another = lock(dir.path(), File::try_lock_shared).unwrap();
        assert!(lock(dir.path(), File::try_lock).is_err());
    }
}
