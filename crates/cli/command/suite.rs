//! What `plan`, `lock` and `run` share: from a suite's file to a plan and where its files are.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sightline_core::{Digest, Progress};
use sightline_harness::bundle::{Contents, LOCK, contents};
use sightline_harness::make_lock;
use sightline_manifest::{
    Error, Lock, LockedProgram, Overrides, PaperTarget, Place, Plan, Roots, Variables, load_card,
    load_suite, manifests_folder,
};

use crate::args::SuiteArgs;
use crate::cache;
use crate::command::exits;
use crate::command::model::DeviceArg;
use crate::exit::{Exit, Failure};
use crate::hub;

/// The versions of everything that this program was built of.
const CARGO_LOCK: &[u8] = include_bytes!("../../../Cargo.lock");

/// The plan of a suite, and where its places are on this machine.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) plan: Plan,
    pub(crate) roots: Roots,
    /// The lock that a bundle brings.
    pub(crate) lock: Option<PathBuf>,
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

    /// Digests every file that the plan reads, and says what is run on which kind of device.
    pub(crate) fn lock(
        &self,
        progress: &dyn Progress,
        device: &DeviceArg,
    ) -> Result<Lock, Failure> {
        let mut lock = make_lock(&self.plan, &self.roots, progress).map_err(|error| {
            let doing = format!("locking the files of suite `{}`", self.plan.suite);
            Failure::new(exits::harness(&error), doing, &error)
        })?;
        lock.program = Some(LockedProgram {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("SIGHTLINE_COMMIT").map(str::to_owned),
            dependencies: Digest::of(CARGO_LOCK),
            device: device.kind().to_owned(),
        });
        Ok(lock)
    }
}

/// The environment, for models outside the program; names and values that are no text cannot be named in a manifest.
pub(crate) fn variables() -> Variables {
    let named = std::env::vars_os();
    Variables(
        named
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect(),
    )
}

/// Reads and checks the suite that `args` name, or the bundle.
pub(crate) fn load(args: &SuiteArgs) -> Result<Suite, Failure> {
    let failure = |error: Error| {
        let doing = format!("reading suite `{}`", args.suite.display());
        Failure::new(exits::manifest(&error), doing, &error)
    };
    let bundle = Unpacked::find(args)?;
    let file = match &bundle {
        Some(bundle) => bundle.suite(),
        None => args.suite.clone(),
    };
    let chosen = bundle.as_ref().map(|bundle| bundle.contents.chosen.clone());
    let chosen = chosen.unwrap_or_default();
    let given = args.checkpoint.iter().map(|(name, _)| name.clone());
    let overrides = Overrides {
        manifests: None,
        checkpoints: given.chain(chosen.given).collect(),
        models: args.models.clone().or(chosen.models),
        tasks: args.tasks.clone().or(chosen.tasks),
        limit: args.limit.or(chosen.limit),
    };
    let manifests = manifests_folder(&file).map_err(failure)?;
    let mut plan = load_suite(&file, &sightline_harness::catalog(), &overrides).map_err(failure)?;
    if let Some(batch_size) = args.batch_size {
        for task in &mut plan.tasks {
            task.batch_size = batch_size;
        }
    }
    let mut roots = Roots {
        data: args.data.clone(),
        manifests,
        variables: variables(),
        logs: cache::folder().ok().map(|folder| folder.join("logs")),
        ..Roots::default()
    };
    if let Some(bundle) = &bundle {
        let Contents {
            checkpoints,
            sources,
            ..
        } = &bundle.contents;
        roots.data = bundle.folder.join("data");
        let at = |(key, folder): (&String, &String)| (key.clone(), bundle.folder.join(folder));
        roots.checkpoints = checkpoints.iter().map(at).collect();
        roots.sources.clone_from(sources);
    }
    roots.checkpoints.extend(args.checkpoint.iter().cloned());
    Ok(Suite {
        plan,
        roots,
        lock: bundle.map(|bundle| bundle.folder.join(LOCK)),
    })
}

/// A bundle that is unpacked.
struct Unpacked {
    folder: PathBuf,
    contents: Contents,
}

impl Unpacked {
    /// The bundle that `args` name in the place of a suite, if they do.
    fn find(args: &SuiteArgs) -> Result<Option<Self>, Failure> {
        let folder = &args.suite;
        if !folder.is_dir() {
            return Ok(None);
        }
        let contents = contents(folder).map_err(|error| {
            let doing = format!("reading bundle `{}`", folder.display());
            Failure::new(Exit::Usage, doing, &error)
        })?;
        Ok(contents.map(|contents| Self {
            folder: folder.clone(),
            contents,
        }))
    }

    fn suite(&self) -> PathBuf {
        let file = format!("{}.toml", self.contents.suite);
        self.folder.join("manifests/suites").join(file)
    }
}
