//! Shards of a plan, made by one of many workers; how far all of them are; and the end.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Progress, ShardId};
use sightline_store::{Entry, Folder, lease};

use crate::dedup::across_shards;
use crate::error::{Error, Result};
use crate::lease::{LEASE, lease_name};
use crate::pipeline::{StopFlag, run_planned};
use crate::plan::FetchPlan;
use crate::resume::all_finished;
use crate::stats::FetchSummary;
use crate::table::TableReader;

/// Version of [`FetchState`] and [`DatasetIndex`].
const SCHEMA: u32 = 1;
/// Name of the index that [`finish`] writes.
pub const INDEX_FILE: &str = "dataset.json";
/// Name of the list of images that are equal to one of an earlier shard.
pub const DUPLICATES_FILE: &str = "duplicates.jsonl";

/// Which shards of a plan a worker takes. Those that are finished, or that another worker is making, are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Every shard, from a place on that depends on the machine and the process, so that workers seldom meet.
    #[default]
    Any,
    /// Those whose number leaves `index` when divided by `count`.
    Index {
        /// From 0 on.
        index: u64,
        /// Number of workers.
        count: u64,
    },
    /// These.
    Shards(Vec<u64>),
}

impl Share {
    /// The numbers of the shards, in the order in which they are made.
    fn of(&self, plan: &FetchPlan) -> Result<Vec<u64>> {
        let count = plan.shards.len() as u64;
        match self {
            Self::Any => {
                let own = Digest::of(lease::owner().as_bytes());
                let start = u64::from_le_bytes(own.as_bytes()[..8].try_into().unwrap_or_default());
                let start = start.checked_rem(count).unwrap_or(0);
                Ok((start..count).chain(0..start).collect())
            }
            Self::Index {
                index,
                count: workers,
            } => {
                if index >= workers {
                    return Err(Error::Spec {
                        field: "--index",
                        problem: format!(
                            "{index} is none of {workers} workers, which count from 0"
                        ),
                    });
                }
                Ok((*index..count)
                    .step_by((*workers).max(1) as usize)
                    .collect())
            }
            Self::Shards(shards) => {
                if let Some(id) = shards.iter().find(|id| **id >= count) {
                    return Err(Error::Spec {
                        field: "--shards",
                        problem: format!(
                            "the plan has no shard {id}, only 0 to {}",
                            count.saturating_sub(1)
                        ),
                    });
                }
                let mut shards = shards.clone();
                shards.sort_unstable();
                shards.dedup();
                Ok(shards)
            }
        }
    }
}

/// Makes the shards of `plan` that are in `share`, and returns when each is finished or in the hands of another worker.
pub fn work(
    plan: &FetchPlan,
    share: &Share,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<FetchSummary> {
    let wanted = share.of(plan)?;
    let files: BTreeSet<usize> = wanted
        .iter()
        .map(|id| plan.shards[*id as usize].file)
        .collect();
    plan.check_files(|file| files.contains(&file))?;
    let rows = wanted.iter().map(|id| plan.shards[*id as usize].rows).sum();
    progress.start("rows", Some(rows));
    let summary = run_planned(plan, &wanted, progress, stop);
    progress.finish();
    summary
}

/// How far the workers are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FetchState {
    /// Version of this structure.
    pub schema: u32,
    /// Digest of the plan.
    pub plan: Digest,
    /// Shards of the plan.
    pub shards: u64,
    /// Shards that are finished.
    pub finished: u64,
    /// Shards that a worker is making, with the worker and the seconds since it said so.
    pub under_way: BTreeMap<u64, (String, f64)>,
    /// Shards that nobody has begun, or whose worker is gone.
    pub open: Vec<u64>,
    /// Rows of the plan.
    pub rows: u64,
    /// What is in the finished shards.
    pub done: FetchSummary,
}

/// Looks at the output folder of `plan`.
pub fn state(plan: &FetchPlan) -> Result<FetchState> {
    let mut state = FetchState {
        schema: SCHEMA,
        plan: plan.digest,
        shards: plan.shards.len() as u64,
        finished: 0,
        under_way: BTreeMap::new(),
        open: Vec::new(),
        rows: plan.rows,
        done: FetchSummary::new(),
    };
    let folder = plan.folder()?;
    let finished = all_finished(&folder, plan.spec.layout()?, &plan.spec.settings())?;
    let leased: BTreeSet<String> = leases(&folder)?.into_iter().collect();
    for id in (0..state.shards).map(ShardId) {
        if let Some(stats) = finished.get(&id.0) {
            state.finished += 1;
            state.done.add(stats, true);
            continue;
        }
        let name = lease_name(id);
        let age = if leased.contains(&name) {
            folder.age(&name)?
        } else {
            None
        };
        match age {
            Some(age) if age < lease::STALE => {
                let owner = folder.read(&name)?.unwrap_or_default();
                let owner = lease::holder(&owner);
                state.under_way.insert(id.0, (owner, age.as_secs_f64()));
            }
            _ => state.open.push(id.0),
        }
    }
    Ok(state)
}

/// What is in a dataset, shard by shard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatasetIndex {
    /// Version of this structure.
    pub schema: u32,
    /// Digest of the plan.
    pub plan: Digest,
    /// Samples in all shards.
    pub samples: u64,
    /// Bytes of all shards.
    pub len_bytes: u64,
    /// The shards in order.
    pub shards: Vec<IndexedShard>,
    /// What became of the rows.
    pub summary: FetchSummary,
    /// Images that are equal to one of an earlier shard, where the plan compares images: how many [`DUPLICATES_FILE`] names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicates_across_shards: Option<u64>,
}

/// A shard of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedShard {
    /// Its file.
    pub name: String,
    /// Samples in it.
    pub samples: u64,
    /// Its length.
    pub len_bytes: u64,
    /// Its digest.
    pub sha256: Digest,
}

/// Writes the index of the dataset, once every shard is there, and removes what killed workers left. Returns the shards
/// that are missing otherwise.
pub fn finish(plan: &FetchPlan) -> Result<std::result::Result<DatasetIndex, Vec<u64>>> {
    let layout = plan.spec.layout()?;
    let mut index = DatasetIndex {
        schema: SCHEMA,
        plan: plan.digest,
        samples: 0,
        len_bytes: 0,
        shards: Vec::new(),
        summary: FetchSummary::new(),
        duplicates_across_shards: None,
    };
    let mut missing = Vec::new();
    let folder = plan.folder()?;
    let finished = all_finished(&folder, layout, &plan.spec.settings())?;
    for id in (0..plan.shards.len() as u64).map(ShardId) {
        let stats = finished.get(&id.0);
        let Some((stats, origin)) =
            stats.and_then(|stats| Some((stats, stats.sightline.as_ref()?)))
        else {
            missing.push(id.0);
            continue;
        };
        index.samples += origin.shard.samples;
        index.len_bytes += origin.shard.len_bytes;
        index
            .shards
            .extend(layout.file_name(id).map(|name| IndexedShard {
                name,
                samples: origin.shard.samples,
                len_bytes: origin.shard.len_bytes,
                sha256: origin.shard.sha256,
            }));
        index.summary.add(stats, true);
    }
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    // Every shard is finished, so no lease means anything.
    for name in leases(&folder)? {
        folder.remove(&name)?;
    }
    folder.remove_stale_temporaries()?;
    if folder.is_local() {
        TableReader::clean(folder.root())?;
    }
    index.duplicates_across_shards = list_duplicates(plan, &folder)?;
    let mut text = serde_json::to_string_pretty(&index)
        .map_err(|source| Error::output("write", &folder.shown(INDEX_FILE))(source.into()))?;
    text.push('\n');
    folder.write(INDEX_FILE, text.as_bytes())?;
    Ok(Ok(index))
}

/// Names of the leases of shards in `folder`.
fn leases(folder: &Folder) -> Result<Vec<String>> {
    let is_lease = |entry: &Entry| {
        let id = entry.name.strip_suffix(LEASE);
        id.is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = folder.entries()?.into_iter();
    Ok(entries.filter(is_lease).map(|entry| entry.name).collect())
}

/// Writes what is equal across shards, one image a line in the order of the keys; how many there are.
fn list_duplicates(plan: &FetchPlan, folder: &Folder) -> Result<Option<u64>> {
    let ids = (0..plan.shards.len() as u64).map(ShardId);
    let names = plan.spec.names();
    let tables: Vec<String> = ids.map(|id| names.table(id)).collect();
    let Some(found) = across_shards(&plan.spec, folder, &tables)? else {
        return Ok(None);
    };
    let mut text = String::new();
    for duplicate in &found {
        let line = serde_json::to_string(duplicate).map_err(|source| {
            Error::output("write", &folder.shown(DUPLICATES_FILE))(source.into())
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    folder.write(DUPLICATES_FILE, text.as_bytes())?;
    Ok(Some(found.len() as u64))
}
