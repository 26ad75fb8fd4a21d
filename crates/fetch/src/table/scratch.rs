//! Room for tables that are downloaded or rewritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use sightline_store::is_address;

use crate::error::{Error, Result};
use crate::spec::FetchSpec;

/// How the names of folders of their own begin; the number of the process follows.
const PREFIX: &str = "sightline-fetch-";

/// Set apart the folders of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A local folder with room: the output folder, or one of this run's own where the output is in an object store.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// Removed when this is dropped.
    is_own: bool,
}

impl Scratch {
    /// Room for the tables of `spec`.
    pub(crate) fn of(spec: &FetchSpec) -> Result<Self> {
        if !is_address(&spec.out) {
            return Ok(Self::at(&spec.out));
        }
        let Some(parent) = &spec.scratch else {
            return Err(Error::Spec {
                field: "scratch",
                problem: "an output in an object store needs a local folder for tables".to_owned(),
            });
        };
        Self::own(parent)
    }

    /// Room for the table that is joined, which is read before there is an output folder.
    pub(crate) fn of_join(spec: &FetchSpec) -> Result<Self> {
        let parent = spec.scratch.clone();
        Self::own(&parent.unwrap_or_else(std::env::temp_dir))
    }

    fn own(parent: &Path) -> Result<Self> {
        remove_stale(parent);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{n}", process::id()));
        fs::create_dir_all(&path).map_err(Error::output("create", &path))?;
        Ok(Self { path, is_own: true })
    }

    /// The folder `path`, which stays.
    pub(crate) fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            is_own: false,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_own {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what killed processes of this machine left in `parent`, as far as that can be told and is allowed.
fn remove_stale(parent: &Path) {
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_in_a_store_gets_a_folder_that_goes() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join(format!("{PREFIX}{}-0", u32::MAX));
        fs::create_dir(&stale).unwrap();
        let mut spec = FetchSpec::new("urls.csv", "s3://bucket/out");
        assert!(Scratch::of(&spec).is_err());
        spec.scratch = Some(dir.path().to_owned());
        let (one, other) = (Scratch::of(&spec).unwrap(), Scratch::of(&spec).unwrap());
        assert_ne!(one.path(), other.path());
        assert!(one.path().is_dir() && !stale.exists());
        drop((one, other));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        spec.out = dir.path().join("out");
        assert_eq!(Scratch::of(&spec).unwrap().path(), spec.out);
    }
}
