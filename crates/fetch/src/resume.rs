//! The output folder: what is finished there, and may this request add to it.
//!
//! | file | written | |
//! | --- | --- | --- |
//! | `NNNNN.tar` | first | the images; other formats call their shards otherwise |
//! | `NNNNN.parquet` | second | one row for each row of the table, failures included; with `--output-format parquet` the images too |
//! | `NNNNN_stats.json` | last | the mark that the shard is finished |
//!
//! Each appears under its name whole or not at all, in a local folder as in an object store. A shard without its statistics is
//! made again, and so is one whose files do not have the lengths recorded there. A shard is kept when its statistics hold the
//! settings of this request and the digest of its rows; when they hold others, the folder belongs to another request and
//! nothing is touched. One process at a time writes to a folder, which it locks (on an object store by a lease), or any number
//! of workers that share out the shards of a plan by [`Leases`].

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use sightline_core::{Digest, ShardId};
use sightline_store::{Entry, Folder, Leases};

use crate::error::{Error, Result};
use crate::layout::{Images, Layout, ShardNames};
use crate::lease::{RUN, lease_name};
use crate::plan::PLAN_FILE;
use crate::spec::{FetchSpec, IncrementalMode, OOM_SHARD_COUNT};
use crate::stats::{Origin, ShardStats};
use crate::table::ShardRows;

/// Statistics that are read at the same time.
const STATS_AT_ONCE: usize = 256;

/// The output folder of a run, locked while this lives.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) folder: Folder,
    pub(crate) layout: Layout,
    pub(crate) settings: Map<String, Value>,
    extend: bool,
    /// Finished shards by number.
    existing: BTreeMap<u64, Existing>,
    /// Number of this table's first shard, known with its first rows.
    first: OnceLock<u64>,
    /// Of the worker of a plan.
    leases: Option<Leases>,
    _lock: Lock,
}

/// A shard with statistics.
#[derive(Debug)]
struct Existing {
    stats: ShardStats,
    origin: Origin,
    /// Whether its files have the lengths recorded there.
    is_whole: bool,
}

/// What keeps other runs away from the folder.
#[derive(Debug)]
enum Lock {
    Local(#[expect(dead_code, reason = "unlocked when it is closed")] File),
    Store(#[expect(dead_code, reason = "given back when it is dropped")] Leases),
    /// Workers have a lease for each shard, and a folder with a plan is theirs alone.
    Leases,
}

impl Output {
    /// Makes or opens the folder, and refuses one that belongs to another request.
    pub(crate) fn open(spec: &FetchSpec) -> Result<Self> {
        let layout = spec.layout()?;
        let folder = spec.stores.create(&spec.out)?;
        let lock = lock(&folder, File::try_lock)?;
        if folder.entry(PLAN_FILE)?.is_some() {
            return Err(Error::OtherPlan {
                path: folder.shown(PLAN_FILE),
            });
        }
        folder.remove_stale_temporaries()?;
        if spec.incremental_mode == IncrementalMode::Overwrite {
            remove_shards(&folder, layout)?;
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
        output.read_existing()?;
        Ok(output)
    }

    /// Opens the folder for one of several workers.
    pub(crate) fn open_shared(spec: &FetchSpec) -> Result<Self> {
        let folder = spec.stores.create(&spec.out)?;
        let lock = if folder.is_local() {
            lock(&folder, File::try_lock_shared)?
        } else {
            Lock::Leases
        };
        Ok(Self {
            layout: spec.layout()?,
            settings: spec.settings(),
            extend: false,
            existing: BTreeMap::new(),
            first: OnceLock::from(0),
            leases: Some(Leases::new(&folder)?),
            folder,
            _lock: lock,
        })
    }

    /// Whether this process may make a shard.
    pub(crate) fn lease(&self, id: ShardId) -> Result<bool> {
        self.leases
            .as_ref()
            .map_or(Ok(true), |leases| Ok(leases.take(&lease_name(id))?))
    }

    /// A shard is finished.
    pub(crate) fn release(&self, id: ShardId) -> Result<()> {
        self.leases
            .as_ref()
            .map_or(Ok(()), |leases| Ok(leases.release(&lease_name(id))?))
    }

    fn read_existing(&mut self) -> Result<()> {
        let mut unfinished = Vec::new();
        let files = shard_files(&self.folder, self.layout)?;
        for files in files.values().filter(|files| files.stats.is_none()) {
            unfinished.extend(files.shard.as_ref().or(files.table.as_ref()));
        }
        let unfinished: Vec<String> = unfinished.into_iter().map(|e| e.name.clone()).collect();
        for (id, found) in read_all_stats(&self.folder, &files)? {
            let (path, text) = found;
            if let Some((stats, origin)) = stats_of(path, &text, &self.settings)? {
                let is_whole = files[&id].are_whole(self.layout, &origin);
                self.existing.insert(
                    id,
                    Existing {
                        stats,
                        origin,
                        is_whole,
                    },
                );
            }
        }
        // A killed run leaves one shard without statistics at most; more of them are not ours.
        match unfinished.get(1) {
            Some(name) => Err(Error::ForeignShard {
                path: self.folder.shown(name),
            }),
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
            let begun =
                self.existing.iter().rev().find(|(id, shard)| {
                    **id == shard.origin.first_shard && shard.origin.rows == rows
                });
            begun.map_or(last + 1, |(&id, _)| id)
        })
    }

    /// The statistics of the shard of these rows, if it is finished.
    pub(crate) fn finished(&self, rows: &ShardRows) -> Result<Option<ShardStats>> {
        let Some(shard) = self.existing.get(&rows.id.0) else {
            return Ok(None);
        };
        if shard.origin.rows != rows.digest || shard.origin.first_shard != self.first() {
            return Err(Error::OtherRows {
                path: self.folder.shown(&self.layout.names.stats(rows.id)),
            });
        }
        Ok(shard.is_whole.then(|| ShardStats {
            sightline: Some(shard.origin.clone()),
            ..shard.stats.clone()
        }))
    }

    /// The finished shards before `id`, in order.
    pub(crate) fn finished_before(&self, id: ShardId) -> impl Iterator<Item = ShardId> {
        let before = self.existing.range(..id.0);
        before
            .filter(|(_, shard)| shard.is_whole)
            .map(|(&id, _)| ShardId(id))
    }

    /// Refuses finished shards of this table from number `next` on, where it has no more rows.
    pub(crate) fn check_end(&self, next: u64) -> Result<()> {
        let first = self.first();
        let mut beyond = self.existing.range(next.max(first)..);
        match beyond.find(|(_, shard)| shard.origin.first_shard == first) {
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
        self.folder.remove(&self.layout.names.stats(id))?;
        if let Some(index) = self.layout.index_file() {
            self.folder.remove(index)?;
        }
        self.layout.remove_members(&self.folder, id)
    }

    /// The statistics of a shard of a plan, if it is finished.
    pub(crate) fn finished_planned(&self, id: ShardId) -> Result<Option<ShardStats>> {
        let name = self.layout.names.stats(id);
        let Some(text) = self.folder.read(&name)? else {
            return Ok(None);
        };
        let Some((stats, origin)) = stats_of(self.folder.shown(&name), &text, &self.settings)?
        else {
            return Ok(None);
        };
        let entry = |name: String| self.folder.entry(&name);
        let files = ShardFiles {
            shard: self.layout.file_name(id).map_or(Ok(None), entry)?,
            table: entry(self.layout.names.table(id))?,
            ..ShardFiles::default()
        };
        Ok(files.are_whole(self.layout, &origin).then_some(ShardStats {
            sightline: Some(origin),
            ..stats
        }))
    }
}

/// The statistics of all shards in `out` that are finished, by number. Refuses those of another request.
pub(crate) fn all_finished(
    out: &Folder,
    layout: Layout,
    settings: &Map<String, Value>,
) -> Result<BTreeMap<u64, ShardStats>> {
    let files = shard_files(out, layout)?;
    let mut finished = BTreeMap::new();
    for (id, (path, text)) in read_all_stats(out, &files)? {
        let Some((stats, origin)) = stats_of(path, &text, settings)? else {
            continue;
        };
        if files[&id].are_whole(layout, &origin) {
            let sightline = Some(origin);
            finished.insert(id, ShardStats { sightline, ..stats });
        }
    }
    Ok(finished)
}

/// The statistics of every shard in `out` that some run of this program finished, in order, whatever its settings were.
pub(crate) fn finished_shards(out: &Folder, layout: Layout) -> Result<Vec<(ShardId, ShardStats)>> {
    let mut files = shard_files(out, layout)?;
    files.retain(|id, files| {
        let has_shard = files.shard.is_some() || layout.file_name(ShardId(*id)).is_none();
        has_shard && files.table.is_some()
    });
    let read = read_all_stats(out, &files)?.into_iter();
    read.map(|(id, (path, text))| {
        let stats = ShardStats::from_text(&text).map_err(|_| Error::ForeignShard { path })?;
        Ok((ShardId(id), stats))
    })
    .collect()
}

/// Names of the files of every finished shard in the output folder of `spec`, in order: what an index is of. None where
/// images are kept nowhere.
pub fn shard_names(spec: &FetchSpec) -> Result<Vec<String>> {
    let layout = spec.layout()?;
    let finished = finished_shards(&spec.stores.folder(&spec.out)?, layout)?;
    let names = finished.iter().filter_map(|(id, _)| layout.file_name(*id));
    Ok(names.collect())
}

/// The layout of the shards in `out`, as the statistics of the first finished one say.
pub(crate) fn layout_of(out: &Folder) -> Result<Option<Layout>> {
    for (_, stats) in finished_shards(out, Layout::without_images())? {
        let Some(origin) = stats.sightline else {
            continue;
        };
        let name = origin.settings.get("output_format").and_then(Value::as_str);
        let names = ShardNames::of_setting(origin.settings.get(OOM_SHARD_COUNT));
        return Ok(name.and_then(|name| Layout::named(name, names)));
    }
    Ok(None)
}

/// The texts of the statistics among `files`, with their shards' numbers and how they are shown.
fn read_all_stats(
    folder: &Folder,
    files: &BTreeMap<u64, ShardFiles>,
) -> Result<Vec<(u64, (PathBuf, bytes::Bytes))>> {
    let named: Vec<(u64, String)> = files
        .iter()
        .filter_map(|(id, files)| Some((*id, files.stats.as_ref()?.name.clone())))
        .collect();
    let mut found = Vec::with_capacity(named.len());
    for some in named.chunks(STATS_AT_ONCE) {
        let names: Vec<String> = some.iter().map(|(_, name)| name.clone()).collect();
        let texts = folder.read_all(&names)?;
        for ((id, name), text) in some.iter().zip(texts) {
            found.extend(text.map(|text| (*id, (folder.shown(name), text))));
        }
    }
    Ok(found)
}

/// What the statistics `text` at `path` say, and what they say of their origin; `None` if they are no JSON. Refuses those of
/// another program and of other settings.
fn stats_of(
    path: PathBuf,
    text: &[u8],
    settings: &Map<String, Value>,
) -> Result<Option<(ShardStats, Origin)>> {
    if serde_json::from_slice::<IgnoredAny>(text).is_err() {
        tracing::warn!(path = %path.display(), "statistics are no JSON, the shard is made again");
        return Ok(None);
    }
    let stats = ShardStats::from_text(text).ok().and_then(|mut stats| {
        let origin = stats.sightline.take().filter(Origin::is_known)?;
        Some((stats, origin))
    });
    let Some((stats, origin)) = stats else {
        return Err(Error::ForeignShard { path });
    };
    let differences = differences(&origin.settings, settings);
    if !differences.is_empty() {
        return Err(Error::OtherSettings { path, differences });
    }
    Ok(Some((stats, origin)))
}

/// Locks a local folder itself, which leaves nothing behind. Where folders cannot be locked (some network file systems)
/// nothing is, and keeping other processes away is up to the person. A folder of a store gets a lease.
fn lock(out: &Folder, lock: fn(&File) -> Result<(), TryLockError>) -> Result<Lock> {
    let busy = || Error::Busy {
        path: out.root().to_owned(),
    };
    if !out.is_local() {
        let leases = Leases::new(out)?;
        return if leases.take(RUN)? {
            Ok(Lock::Store(leases))
        } else {
            Err(busy())
        };
    }
    let path: &Path = out.root();
    let folder = File::open(path).map_err(Error::output("open", path))?;
    match lock(&folder) {
        Err(TryLockError::WouldBlock) => Err(busy()),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Lock::Local(folder)),
    }
}

#[derive(Debug, Default)]
struct ShardFiles {
    shard: Option<Entry>,
    table: Option<Entry>,
    stats: Option<Entry>,
    /// As they are.
    names: ShardNames,
}

impl ShardFiles {
    /// Whether the files have the lengths that the statistics say.
    fn are_whole(&self, layout: Layout, origin: &Origin) -> bool {
        let has_length = |entry: &Option<Entry>, len_bytes: u64| {
            entry.as_ref().is_some_and(|e| e.len_bytes == len_bytes)
        };
        let keeps_images = !matches!(layout.images, Images::Nothing);
        (!keeps_images || has_length(&self.shard, origin.shard.len_bytes))
            && has_length(&self.table, origin.table_len_bytes)
    }
}

/// The files of each shard in `out`, by its number. Other files are not looked at.
fn shard_files(out: &Folder, layout: Layout) -> Result<BTreeMap<u64, ShardFiles>> {
    let mut files: BTreeMap<u64, ShardFiles> = BTreeMap::new();
    for entry in out.entries()? {
        let name = entry.name.clone();
        // Most begin with the number of the shard, some have it elsewhere.
        let numbers = name.split(|c: char| !c.is_ascii_digit());
        for number in numbers {
            let Ok(id) = number.parse::<u64>() else {
                continue;
            };
            let shard = ShardId(id);
            // In any number of digits: the settings tell whether it is the one that is asked for.
            let names = ShardNames {
                digits: number.len(),
            };
            let is_shard = layout.called(names).file_name(shard).as_deref() == Some(&*name);
            let is_table = name == names.table(shard);
            let is_stats = name == names.stats(shard);
            if !(is_shard || is_table || is_stats) {
                continue;
            }
            let files = files.entry(id).or_default();
            files.names = names;
            // The table may be the shard as well.
            for (is_it, file) in [
                (is_shard, &mut files.shard),
                (is_table, &mut files.table),
                (is_stats, &mut files.stats),
            ] {
                if is_it {
                    *file = Some(entry.clone());
                }
            }
        }
    }
    Ok(files)
}

/// Removes every shard in `out`: the marks of completion first, so that a kill in between leaves
/// unfinished shards and no wrong ones.
fn remove_shards(out: &Folder, layout: Layout) -> Result<()> {
    let files = shard_files(out, layout)?;
    for entry in files.values().filter_map(|files| files.stats.as_ref()) {
        out.remove(&entry.name)?;
    }
    for (&id, files) in &files {
        for entry in files.table.iter().chain(&files.shard) {
            out.remove(&entry.name)?;
        }
        let there = layout.called(files.names);
        there.remove_members(out, ShardId(id))?;
    }
    Ok(())
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
        let folder = Folder::open(dir.path()).unwrap();
        let first = lock(&folder, File::try_lock).unwrap();
        for how in [File::try_lock, File::try_lock_shared] {
            assert!(matches!(lock(&folder, how), Err(Error::Busy { .. })));
        }
        drop(first);
        let _worker = lock(&folder, File::try_lock_shared).unwrap();
        let _another = lock(&folder, File::try_lock_shared).unwrap();
        assert!(lock(&folder, File::try_lock).is_err());
    }

    #[test]
    fn a_folder_of_a_store_is_leased_to_one_run() {
        let stores = sightline_store::Stores::in_memory();
        let folder = stores.create("s3://bucket/out".as_ref()).unwrap();
        let first = lock(&folder, File::try_lock).unwrap();
        assert!(matches!(
            lock(&folder, File::try_lock),
            Err(Error::Busy { .. })
        ));
        drop(first);
        lock(&folder, File::try_lock).unwrap();
    }
}
