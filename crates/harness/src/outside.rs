//! Models outside the program, as a plan names them.

use sightline_adapters::{Adapter, Around};
use sightline_core::Digest;
use sightline_manifest::{LockedAdapter, PlannedOutside};
use sightline_models::Capability;
use sightline_store::Folder;

use crate::dataset::path_of;
use crate::models::{ModelFile, Planned};
use crate::{Error, Result};

/// Role of a file of a program outside in a lock.
const ADAPTER: &str = "adapter";

impl Planned<'_> {
    /// Starts the program, or looks at the server, of a model that is outside.
    pub(crate) fn adapter(&self, outside: &PlannedOutside) -> Result<Adapter> {
        let folder = match outside {
            PlannedOutside::Process(process) => path_of(self.roots, &process.folder)?,
            PlannedOutside::Endpoint(_) => self.roots.manifests.clone(),
        };
        let log = |logs: &std::path::PathBuf| {
            logs.join(&self.plan.suite)
                .join(self.name)
                .join("adapter.log")
        };
        let around = Around {
            folder,
            environment: self.roots.variables.0.clone(),
            log: self.roots.logs.as_ref().map(log),
        };
        Adapter::open(outside, &around).map_err(|source| Error::Outside {
            model: self.name.to_owned(),
            source: Box::new(source),
        })
    }

    /// What a lock says about a model that is outside.
    pub(crate) fn locked_adapter(&self, adapter: &Adapter) -> Result<LockedAdapter> {
        let offers = adapter.offers();
        Ok(LockedAdapter {
            owner: self.owner(),
            command: adapter.command(),
            hello: Digest::of_json(adapter.hello())?,
            offers: offers.iter().map(|offer| offer.name().to_owned()).collect(),
        })
    }

    /// Files of a program outside.
    pub(crate) fn outside_files(&self, outside: &PlannedOutside) -> Result<Vec<ModelFile>> {
        let PlannedOutside::Process(process) = outside else {
            return Ok(Vec::new());
        };
        if process.files.is_empty() {
            return Ok(Vec::new());
        }
        let folder = Folder::open(path_of(self.roots, &process.folder)?)?;
        let patterns: Vec<&str> = process.files.iter().map(String::as_str).collect();
        let names = folder.expand(&patterns)?;
        let file = |name: String| {
            Ok(ModelFile {
                path: folder.path_of(&name)?,
                name,
                role: ADAPTER,
            })
        };
        names.into_iter().map(file).collect()
    }

    /// What a model that is outside offers, as its lock says.
    pub(crate) fn locked_offers(&self, adapters: &[LockedAdapter]) -> Result<Vec<Capability>> {
        let owner = self.owner();
        let locked = adapters.iter().find(|adapter| adapter.owner == owner);
        let locked = locked.ok_or_else(|| Error::NotLocked {
            owner,
            role: ADAPTER.to_owned(),
        })?;
        let all = Capability::ALL.iter();
        let named =
            |capability: &&Capability| locked.offers.iter().any(|offer| offer == capability.name());
        Ok(all.filter(named).copied().collect())
    }
}
