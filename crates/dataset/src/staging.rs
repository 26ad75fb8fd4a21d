//! An output folder that appears whole.
//!
//! Everything is written into `.NAME.partial` beside the output `NAME` and moved to its name at the end. A process that ends before leaves the partial
//! folder, which the next one of that output removes; as long as it lives it keeps the folder locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sightline_store::Folder;

use crate::{Error, Result};

/// Locked while the folder is being written.
const LOCK: &str = ".lock";
/// What is not part of the output.
const SCRATCH: &str = ".scratch";

/// An output folder that is being written.
#[derive(Debug)]
pub(crate) struct Staging {
    target: PathBuf,
    partial: PathBuf,
    /// Held until the end.
    _lock: File,
    is_finished: bool,
}

impl Staging {
    /// Begins the folder `target`. One that is there and not empty is only replaced by `force`.
    pub(crate) fn begin(target: &Path, force: bool) -> Result<Self> {
        let target = std::path::absolute(target).map_err(failed("find", target))?;
        let name = target.file_name().ok_or_else(|| Error::Io {
            action: "create",
            name: target.display().to_string(),
            source: io::ErrorKind::InvalidInput.into(),
        })?;
        if !force && !is_vacant(&target)? {
            return Err(Error::Exists {
                name: target.display().to_string(),
            });
        }
        let partial = target.with_file_name(format!(".{}.partial", name.to_string_lossy()));
        fs::create_dir_all(&partial).map_err(failed("create", &partial))?;
        let path = partial.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed("create", &path))?;
        // Where locks are not supported, whoever runs two of these at once has to know.
        if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(Error::Busy { path: target });
        }
        for entry in fs::read_dir(&partial).map_err(failed("list", &partial))? {
            let entry = entry.map_err(failed("list", &partial))?;
            let path = entry.path();
            if entry.file_name() == LOCK {
                continue;
            }
            remove(&path)?;
        }
        Ok(Self {
            target,
            partial,
            _lock: lock,
            is_finished: false,
        })
    }

    /// Where the output is written.
    pub(crate) fn folder(&self) -> Result<Folder> {
        Ok(Folder::open(&self.partial)?)
    }

    /// A folder for what is not part of the output, in `elsewhere` or beside it.
    pub(crate) fn scratch(&self, elsewhere: Option<&Path>) -> Result<tempfile::TempDir> {
        let within = match elsewhere {
            Some(path) => path.to_owned(),
            None => self.partial.join(SCRATCH),
        };
        fs::create_dir_all(&within).map_err(failed("create", &within))?;
        tempfile::Builder::new()
            .prefix(".sightline-")
            .tempdir_in(&within)
            .map_err(failed("create", &within))
    }

    /// Moves the output to its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        for name in [SCRATCH, LOCK] {
            let path = self.partial.join(name);
            if path.exists() {
                remove(&path)?;
            }
        }
        if !is_vacant(&self.target)? {
            let name = self.target.file_name().unwrap_or_default();
            let old = format!(".{}.replaced", name.to_string_lossy());
            let old = self.target.with_file_name(old);
            if old.exists() {
                remove(&old)?;
            }
            fs::rename(&self.target, &old).map_err(failed("rename", &self.target))?;
            fs::rename(&self.partial, &self.target).map_err(failed("rename", &self.partial))?;
            self.is_finished = true;
            sync_folder_of(&self.target)?;
            return remove(&old);
        }
        if self.target.exists() {
            fs::remove_dir(&self.target).map_err(failed("replace", &self.target))?;
        }
        fs::rename(&self.partial, &self.target).map_err(failed("rename", &self.partial))?;
        self.is_finished = true;
        sync_folder_of(&self.target)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_finished {
            // Nobody is left to tell; the next run of the same command removes what stays.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Whether nothing would be lost in the place of `target`.
fn is_vacant(target: &Path) -> Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(e) => Err(failed("list", target)(e)),
    }
}

/// Flushes the folder's list of names, where folders are opened as files.
fn sync_folder_of(target: &Path) -> Result<()> {
    match target.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("flush", folder)),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    let is_folder = path.is_dir() && !path.is_symlink();
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(failed("remove", path))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_appears_at_the_end_and_what_was_there_is_kept_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let write = |staging: &Staging, text: &str| {
            fs::write(staging.folder().unwrap().root().join("a"), text).unwrap();
        };
        let staging = Staging::begin(&out, false).unwrap();
        write(&staging, "1");
        let scratch = staging.scratch(None).unwrap();
        assert!(!out.exists());
        let busy = Staging::begin(&out, false).unwrap_err();
        assert!(matches!(busy, Error::Busy { .. }), "{busy}");
        drop(scratch);
        staging.finish().unwrap();
        assert!(matches!(
            Staging::begin(&out, false),
            Err(Error::Exists { .. })
        ));

        let staging = Staging::begin(&out, true).unwrap();
        write(&staging, "2");
        drop(staging);
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "1");
        let staging = Staging::begin(&out, true).unwrap();
        write(&staging, "3");
        staging.finish().unwrap();
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "3");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let partial = dir.path().join(".out.partial");
        fs::create_dir_all(partial.join("sub")).unwrap();
        fs::write(partial.join("sub/a"), "old").unwrap();
        fs::create_dir(dir.path().join("out")).unwrap();
        let staging = Staging::begin(&dir.path().join("out"), false).unwrap();
        assert!(!partial.join("sub").exists());
        staging.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
    }
}
