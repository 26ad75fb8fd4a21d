//! Outputs that are whole or say that they are not.
//!
//! On this machine everything is written into `.NAME.partial` beside the output `NAME` and moved to its name at the end. A folder of a
//! store cannot be moved: shards appear there one by one, each whole, and until the last one the folder holds [`MARK`], by which
//! every command knows it for unfinished.
//!
//! A run that is killed leaves the one or the other. The next run of the same job ([`Job`]) goes on behind the shards that are
//! finished; a run of another one removes them.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightline_core::Digest;
use sightline_core::digest::Hasher;
use sightline_store::Folder;

use crate::convert::NewShard;
use crate::{Error, Result};

mod local;
mod store;

use local::LocalStaging;
use store::StoreStaging;

/// In a folder of a store: it is an output that is not finished.
pub const MARK: &str = "shards.partial.json";

/// Version of what [`MARK`] holds.
const SCHEMA: u32 = 1;

/// The place of an output.
#[derive(Clone, Debug)]
pub enum Target {
    /// A folder of this machine, there or not.
    Local(PathBuf),
    /// A folder of a store.
    Store(Folder),
}

impl Target {
    /// The disk that it is on, if it is one of this machine.
    pub(crate) fn disk(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Store(_) => None,
        }
    }

    /// An error when an output here would hold `input`, which is read for it, or be the same folder.
    pub fn check_apart(&self, input: &Folder) -> Result<()> {
        let holds = match self {
            Self::Local(path) if input.is_local() => local::holds(path, input.root())?,
            Self::Store(folder) if !input.is_local() => input.root().starts_with(folder.root()),
            _ => false,
        };
        if !holds {
            return Ok(());
        }
        let output = match self {
            Self::Local(path) => path.clone(),
            Self::Store(folder) => folder.root().to_owned(),
        };
        Err(Error::HoldsInput {
            output,
            input: input.root().to_owned(),
        })
    }

    /// An error when an output here would replace something.
    pub(crate) fn check_vacant(&self) -> Result<()> {
        let is_vacant = match self {
            Self::Local(path) => local::is_vacant(path)?,
            Self::Store(folder) => folder.is_empty()? || is_unfinished(folder)?,
        };
        if is_vacant {
            return Ok(());
        }
        Err(Error::Exists {
            name: self.to_string(),
        })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Store(folder) => folder.root().display().fmt(f),
        }
    }
}

impl From<&Path> for Target {
    fn from(path: &Path) -> Self {
        Self::Local(path.to_owned())
    }
}

impl From<&PathBuf> for Target {
    fn from(path: &PathBuf) -> Self {
        Self::Local(path.clone())
    }
}

impl From<&Self> for Target {
    fn from(target: &Self) -> Self {
        target.clone()
    }
}

/// Whether `folder` is an output that is not finished.
pub fn is_unfinished(folder: &Folder) -> sightline_store::Result<bool> {
    Ok(folder.entry(MARK)?.is_some())
}

/// What a run is to write, and how far it is: the content of [`MARK`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    schema: u32,
    /// Of the shards that are read, their versions and the specification; `None` for a job that always begins anew.
    digest: Option<Digest>,
    /// Shards that are finished, in their order.
    shards: Vec<NewShard>,
    /// Folders of their members, where those are files of their own.
    folders: Vec<String>,
}

impl Job {
    /// One that begins anew whatever is there.
    pub(crate) fn anew() -> Self {
        Self {
            schema: SCHEMA,
            ..Self::default()
        }
    }

    /// One that goes on where another of these `parts` ended.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self {
            digest: Some(hasher.finish()),
            ..Self::anew()
        }
    }

    /// What is finished of it in `folder`, as `mark` says, which was found there; `None` if that is another job.
    fn found(&self, mark: &[u8], folder: &Folder) -> Result<Option<Self>> {
        let Ok(found) = serde_json::from_slice::<Self>(mark) else {
            return Ok(None);
        };
        if found.digest.is_none() || (found.schema, found.digest) != (self.schema, self.digest) {
            return Ok(None);
        }
        for shard in &found.shards {
            let entry = folder.entry(&shard.name)?;
            if entry.is_none_or(|entry| entry.len_bytes != shard.len_bytes) {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Whether the object called `name`, or the folder, is of a shard that is finished.
    fn keeps(&self, name: &str) -> bool {
        let is_in = |folder: &String| {
            let rest = name.strip_prefix(folder.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.shards.iter().any(|shard| shard.name == name) || self.folders.iter().any(is_in)
    }

    fn text(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|error| Error::Io {
            action: "write",
            name: MARK.to_owned(),
            source: io::Error::from(error),
        })
    }
}

/// An output that is being written.
#[derive(Debug)]
pub(crate) struct Staging {
    place: Place,
    job: Job,
}

#[derive(Debug)]
enum Place {
    Local(LocalStaging),
    Store(StoreStaging),
}

impl Staging {
    /// Begins the output `target`, or goes on with it. One that is there is only replaced by `force`, and on this machine only if
    /// it holds nothing but what the commands here write.
    pub(crate) fn begin(target: &Target, force: bool, job: Job) -> Result<Self> {
        let (place, job) = match target {
            Target::Local(path) => {
                let (staging, job) = LocalStaging::begin(path, force, job)?;
                (Place::Local(staging), job)
            }
            Target::Store(folder) => {
                let (staging, job) = StoreStaging::begin(folder, force, job)?;
                (Place::Store(staging), job)
            }
        };
        Ok(Self { place, job })
    }

    /// Lets `write` make an output that goes on where the same job ended, and leaves what is finished to the next run where the
    /// data are not what failed.
    pub(crate) fn run<T>(
        target: &Target,
        force: bool,
        job: Job,
        write: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let mut staging = Self::begin(target, force, job)?;
        match write(&mut staging) {
            Ok(written) => {
                staging.finish()?;
                Ok(written)
            }
            Err(error) => {
                staging.keep_after(&error);
                Err(error)
            }
        }
    }

    /// Where the output is written.
    pub(crate) fn folder(&self) -> Result<Folder> {
        match &self.place {
            Place::Local(staging) => staging.folder(),
            Place::Store(staging) => Ok(staging.folder().clone()),
        }
    }

    /// The folder `name` of the output, for shards of their own; in a store it is marked as the output is.
    pub(crate) fn part(&mut self, name: &str) -> Result<Folder> {
        let part = self.folder()?.below(name)?;
        if let Place::Store(staging) = &mut self.place {
            staging.mark_part(&part, &self.job.text()?)?;
        }
        Ok(part)
    }

    /// Shards that are finished.
    pub(crate) fn done(&self) -> &[NewShard] {
        &self.job.shards
    }

    /// Remembers that `shard` is finished, for a run that goes on after this one; `folder` is that of its members, if it has one.
    pub(crate) fn record(&mut self, shard: &NewShard, folder: Option<String>) -> Result<()> {
        self.job.shards.push(shard.clone());
        self.job.folders.extend(folder);
        let text = self.job.text()?;
        match &self.place {
            Place::Local(staging) => staging.mark(&text),
            Place::Store(staging) => staging.mark(&text),
        }
    }

    /// A folder of this machine for what is not part of the output: in `elsewhere`, else beside the output, else where the
    /// system has such folders.
    pub(crate) fn scratch(&self, elsewhere: Option<&Path>) -> Result<tempfile::TempDir> {
        match (&self.place, elsewhere) {
            (_, Some(path)) => local::scratch_in(path),
            (Place::Local(staging), None) => local::scratch_in(&staging.scratch()),
            (Place::Store(_), None) => local::scratch_in(&std::env::temp_dir()),
        }
    }

    /// Ends as a process that is killed behind its first `shards`.
    #[cfg(test)]
    pub(crate) fn killed_behind(mut self, shards: usize) {
        self.job.shards.truncate(shards);
        self.job.folders.truncate(shards);
        let text = self.job.text().unwrap();
        match &mut self.place {
            Place::Local(staging) => {
                staging.mark(&text).unwrap();
                staging.keep();
            }
            Place::Store(staging) => staging.mark(&text).unwrap(),
        }
    }

    /// The output is whole.
    pub(crate) fn finish(self) -> Result<()> {
        match self.place {
            Place::Local(staging) => staging.finish(),
            Place::Store(staging) => staging.finish(),
        }
    }

    /// Leaves what is finished to the next run of the same job, if `error` is none of the data.
    pub(crate) fn keep_after(&mut self, error: &Error) {
        let keeps = !self.job.shards.is_empty() && error.is_of_environment();
        if let (Place::Local(staging), true) = (&mut self.place, keeps) {
            staging.keep();
        }
    }
}

/// The error of the system for `path`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let name = path.display().to_string();
    move |source| Error::Io {
        action,
        name,
        source,
    }
}
