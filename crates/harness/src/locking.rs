//! The lock of a plan: the digest of each file it reads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

use rayon::prelude::*;
use serde_json::json;
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Progress};
use sightline_manifest::lock::SCHEMA;
use sightline_manifest::{
    Lock, LockedAdapter, LockedFile, LockedSource, LockedTask, LockedWeights, Plan, PlannedTask,
    Roots,
};
use sightline_metrics::registry;
use sightline_store::digest_file;

use crate::dataset::{
    CLASSES, Dataset, below, check_visuals, folder_of, owner, path_of, places, planned,
    planned_beside,
};
use crate::models::{Planned, precision};
use crate::task;
use crate::{Error, Result};

/// A file to digest.
struct ToLock {
    owner: String,
    name: String,
    role: String,
    path: PathBuf,
}

/// Finds every file that `plan` reads and digests it, and how images are prepared for each model.
pub fn make_lock(plan: &Plan, roots: &Roots, progress: &dyn Progress) -> Result<Lock> {
    let mut found = of_datasets(plan, roots)?;
    let mut inputs = Vec::new();
    let mut adapters = Vec::new();
    for (name, model) in &plan.models {
        if let Some(outside) = &model.outside {
            let planned = Planned {
                plan,
                roots,
                name,
                model,
            };
            adapters.push(planned.locked_adapter(&planned.adapter(outside)?)?);
        }
    }
    check_tasks(plan, roots, &adapters)?;
    for (name, model) in &plan.models {
        let planned = Planned {
            plan,
            roots,
            name,
            model,
        };
        for file in planned.files()? {
            found.push(ToLock {
                owner: planned.owner(),
                name: file.name,
                role: file.role.to_owned(),
                path: file.path,
            });
        }
        inputs.extend(planned.input()?);
    }

    let sources = roots.sources.iter();
    let sources = sources.filter(|(name, _)| plan.models.contains_key(*name));
    let sources = sources.map(|(name, source)| LockedSource {
        owner: format!("model:{name}"),
        source: source.clone(),
    });
    let sources = sources.collect();

    progress.start("files", Some(found.len() as u64));
    let files: Result<Vec<LockedFile>> = found
        .into_par_iter()
        .map(|file| {
            let digest = digest_file(&file.path)?;
            progress.advance(1);
            Ok(LockedFile {
                owner: file.owner,
                name: file.name,
                role: file.role,
                bytes: digest.len_bytes,
                sha256: digest.sha256,
            })
        })
        .collect();
    progress.finish();
    let mut files = files?;
    files.sort();
    let mut lock = Lock {
        schema: SCHEMA,
        suite: plan.suite.clone(),
        plan: plan.digest()?,
        files,
        inputs,
        tasks: Vec::new(),
        weights: weights(plan)?,
        program: None,
        adapters,
        sources,
    };
    lock.tasks = tasks(plan, &lock, roots)?;
    Ok(lock)
}

/// The files of the datasets.
fn of_datasets(plan: &Plan, roots: &Roots) -> Result<Vec<ToLock>> {
    let mut found = Vec::new();
    for (name, dataset) in &plan.datasets {
        for (role, place) in places(dataset) {
            if role == CLASSES {
                found.push(ToLock {
                    owner: owner(name),
                    name: below(place).to_owned(),
                    role,
                    path: path_of(roots, place)?,
                });
                continue;
            }
            let folder = folder_of(roots, place)?;
            for file in folder.expand(&[below(place)])? {
                found.push(ToLock {
                    owner: owner(name),
                    path: folder.path_of(&file)?,
                    name: file,
                    role: role.clone(),
                });
            }
        }
    }
    Ok(found)
}

/// Fails where a model cannot do what a task needs, or a dataset has not what it looks at.
fn check_tasks(plan: &Plan, roots: &Roots, adapters: &[LockedAdapter]) -> Result<()> {
    for task in &plan.tasks {
        let kind = task::task(&task.kind)?;
        if let Some(name) = task.chooser() {
            let chooser = Planned::find(plan, roots, name, &task.name)?;
            let input = chooser.visual_input()?;
            for name in task.other_datasets().chain([&task.dataset]) {
                check_visuals(name, planned_beside(plan, task, name)?, &input)?;
            }
        }
        for name in &task.models {
            let model = Planned::find(plan, roots, name, &task.name)?;
            model.way(kind, &task.name, adapters)?;
            let input = model.visual_input()?;
            check_visuals(&task.dataset, planned(plan, task)?, &input)?;
            for name in task.other_datasets() {
                check_visuals(name, planned_beside(plan, task, name)?, &input)?;
            }
        }
    }
    Ok(())
}

/// In what the weights of each model within the program are kept.
fn weights(plan: &Plan) -> Result<Vec<LockedWeights>> {
    let inside = plan
        .models
        .iter()
        .filter(|(_, model)| model.outside.is_none());
    let all = inside.map(|(name, model)| {
        Ok(LockedWeights {
            owner: format!("model:{name}"),
            dtype: precision(model)?.name().to_owned(),
        })
    });
    all.collect()
}

/// What each task asks, and of which examples.
fn tasks(plan: &Plan, lock: &Lock, roots: &Roots) -> Result<Vec<LockedTask>> {
    let mut known = BTreeMap::new();
    let mut all = Vec::with_capacity(plan.tasks.len());
    for task in &plan.tasks {
        let keys = match known.entry((task.dataset.as_str(), task.limit)) {
            Entry::Occupied(entry) => *entry.get(),
            // What cannot be read is told when the task runs, with what is whole in it.
            Entry::Vacant(entry) => {
                let dataset = Dataset::open(plan, lock, roots, task);
                *entry.insert(dataset.and_then(|dataset| keys(&dataset, task)).ok())
            }
        };
        let metric = |id: &String| {
            let metric = registry::metric(id).map_err(|source| Error::UnknownName { source })?;
            Ok(format!("{id}@{}", metric.info().version))
        };
        all.push(LockedTask {
            task: task.name.clone(),
            prompts: Digest::of_json(&json!({
                "templates": task.templates,
                "prompt": task.prompt,
                "decode": task.decode,
            }))?,
            metrics: task.metrics.iter().map(metric).collect::<Result<_>>()?,
            examples: keys.map(|(count, _)| count),
            keys: keys.map(|(_, digest)| digest),
        });
    }
    Ok(all)
}

/// How many examples a task is about, and the digest of their keys.
fn keys(dataset: &Dataset, task: &PlannedTask) -> Result<(u64, Digest)> {
    let mut hasher = Hasher::new();
    let mut count = 0;
    for read in dataset.examples(task.limit) {
        hasher.update(read?.example.key.as_str().as_bytes());
        hasher.update(b"\n");
        count += 1;
    }
    Ok((count, hasher.finish()))
}
