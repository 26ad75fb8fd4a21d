//! What `plan`, `lock` and `run` share: from a suite's file to a plan and where its files are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sightline_core::Progress;
use sightline_harness::make_lock;
use sightline_manifest::{
    Error, Lock, Overrides, PaperTarget, Place, Plan, Roots, load_card, load_suite,
    manifests_folder,
};

use crate::args::SuiteArgs;
use crate::command::exits;
use crate::exit::Failure;
use crate::hub;

/// The plan of a suite, and where its places are on this machine.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) plan: Plan,
    pub(crate) roots: Roots,
}

impl Suite {
    /// Finds the checkpoints that are on the hub, downloading what is not in its cache.
    pub(crate) fn fetch_checkpoints(&mut self, offline: bool) -> Result<(), Failure> {
        for (name, model) in &self.plan.models {
            let Some(Place::Given(key) | Place::Hub(key)) = &model.checkpoint else {
                continue;
            };
            // What was given for a model, or else what stands in its manifest.
            let written = self.roots.checkpoints.get(key);
            let written = written.map_or_else(|| PathBuf::from(key), Clone::clone);
            if let Some(on_hub) = hub::name(&written) {
                let (folder, resolved) = hub::fetch(&on_hub?, offline)?;
                self.roots.checkpoints.insert(key.clone(), folder);
                self.roots
                    .sources
                    .insert(name.clone(), resolved.to_string());
            }
        }
        Ok(())
    }

    /// What others report of the models, by name.
    pub(crate) fn paper_targets(&self) -> Result<BTreeMap<String, Vec<PaperTarget>>, Failure> {
        let catalog = sightline_harness::catalog();
        let models = self.plan.models.keys();
        models
            .map(|name| {
                let card = load_card(&self.roots.manifests, name, &catalog).map_err(|error| {
                    let doing = format!("reading the manifest of model `{name}`");
                    Failure::new(exits::manifest(&error), doing, &error)
                })?;
                Ok((name.clone(), card.paper_targets))
            })
            .collect()
    }

    /// Digests every file that the plan reads.
    pub(crate) fn lock(&self, progress: &dyn Progress) -> Result<Lock, Failure> {
        make_lock(&self.plan, &self.roots, progress).map_err(|error| {
            let doing = format!("locking the files of suite `{}`", self.plan.suite);
            Failure::new(exits::harness(&error), doing, &error)
        })
    }
}

/// Reads and checks the suite that `args` name.
pub(crate) fn load(args: &SuiteArgs) -> Result<Suite, Failure> {
    let failure = |error: Error| {
        let doing = format!("reading suite `{}`", args.suite.display());
        Failure::new(exits::manifest(&error), doing, &error)
    };
    let overrides = Overrides {
        manifests: None,
        checkpoints: args
            .checkpoint
            .iter()
            .map(|(name, _)| name.clone())
            .collect(),
        models: args.models.clone(),
        tasks: args.tasks.clone(),
        limit: args.limit,
    };
    let manifests = manifests_folder(&args.suite).map_err(failure)?;
    let mut plan =
        load_suite(&args.suite, &sightline_harness::catalog(), &overrides).map_err(failure)?;
    if let Some(batch_size) = args.batch_size {
        for task in &mut plan.tasks {
            task.batch_size = batch_size;
        }
    }
    Ok(Suite {
        plan,
        roots: Roots {
            data: args.data.clone(),
            manifests,
            checkpoints: args.checkpoint.iter().cloned().collect(),
            ..Roots::default()
        },
    })
}
