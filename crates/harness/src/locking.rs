//! The lock of a plan: the digest of each file it reads.

use std::path::PathBuf;

use rayon::prelude::*;
use sightline_core::Progress;
use sightline_manifest::lock::SCHEMA;
use sightline_manifest::{Lock, LockedFile, LockedSource, Plan, Roots};
use sightline_store::digest_file;

use crate::Result;
use crate::dataset::{
    CLASSES, below, check_visuals, folder_of, owner, path_of, places, planned, planned_beside,
};
use crate::models::Planned;
use crate::task;

/// A file to digest.
struct ToLock {
    owner: String,
    name: String,
    role: String,
    path: PathBuf,
}

/// Finds every file that `plan` reads and digests it, and how images are prepared for each model.
pub fn make_lock(plan: &Plan, roots: &Roots, progress: &dyn Progress) -> Result<Lock> {
    let (mut found, mut inputs) = (Vec::new(), Vec::new());
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
            model.way(kind, &task.name)?;
            let input = model.visual_input()?;
            check_visuals(&task.dataset, planned(plan, task)?, &input)?;
            for name in task.other_datasets() {
                check_visuals(name, planned_beside(plan, task, name)?, &input)?;
            }
        }
    }
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
    Ok(Lock {
        schema: SCHEMA,
        suite: plan.suite.clone(),
        plan: plan.digest()?,
        files,
        inputs,
        sources,
    })
}
