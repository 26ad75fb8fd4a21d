//! An output folder of this machine, which appears whole.
//!
//! It is locked as long as the process lives that writes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sightline_store::{Folder, write_atomic};

use super::{Job, failed};
use crate::{Error, Result};

/// Locked while the folder is being written.
const LOCK: &str = ".lock";
/// What is finished.
const JOB: &str = ".job.json";
/// What is not part of the output.
const SCRATCH: &str = ".scratch";

/// An output folder that is being written.
#[derive(Debug)]
pub(super) struct LocalStaging {
    target: PathBuf,
    partial: PathBuf,
    /// Held until the end.
    _lock: File,
    /// Whether the partial folder stays.
    stays: bool,
}

impl LocalStaging {
    /// Begins the folder `target`, or goes on where the same job ended. One that is there and not empty is only replaced by `force`.
    pub(super) fn begin(target: &Path, force: bool, job: Job) -> Result<(Self, Job)> {
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
        let folder = Folder::open(&partial)?;
        let found = match folder.read(JOB)? {
            Some(mark) => job.found(&mark, &folder)?,
            None => None,
        };
        let job = found.unwrap_or(job);
        for entry in fs::read_dir(&partial).map_err(failed("list", &partial))? {
            let entry = entry.map_err(failed("list", &partial))?;
            let name = entry.file_name();
            let is_kept = name.to_str().is_some_and(|name| job.keeps(name));
            if !is_kept && name != LOCK && name != JOB {
                remove(&entry.path())?;
            }
        }
        let staging = Self {
            target,
            partial,
            _lock: lock,
            stays: false,
        };
        staging.mark(&job.text()?)?;
        Ok((staging, job))
    }

    /// Where the output is written.
    pub(super) fn folder(&self) -> Result<Folder> {
        Ok(Folder::open(&self.partial)?)
    }

    pub(super) fn mark(&self, text: &[u8]) -> Result<()> {
        Ok(write_atomic(self.partial.join(JOB), text)?)
    }

    /// A folder beside the output.
    pub(super) fn scratch(&self) -> PathBuf {
        self.partial.join(SCRATCH)
    }

    /// Leaves the partial folder to the next run.
    pub(super) fn keep(&mut self) {
        self.stays = true;
    }

    /// Moves the output to its name.
    pub(super) fn finish(mut self) -> Result<()> {
        for name in [SCRATCH, JOB, LOCK] {
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
            self.stays = true;
            sync_folder_of(&self.target)?;
            return remove(&old);
        }
        if self.target.exists() {
            fs::remove_dir(&self.target).map_err(failed("replace", &self.target))?;
        }
        fs::rename(&self.partial, &self.target).map_err(failed("rename", &self.partial))?;
        self.stays = true;
        sync_folder_of(&self.target)
    }
}

impl Drop for LocalStaging {
    fn drop(&mut self) {
        if !self.stays {
            // Nobody is left to tell; the next run of the same command removes what stays.
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Whether nothing would be lost in the place of `target`.
pub(super) fn is_vacant(target: &Path) -> Result<bool> {
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

/// A new folder in `within`, which is made where it is missing.
pub(super) fn scratch_in(within: &Path) -> Result<tempfile::TempDir> {
    fs::create_dir_all(within).map_err(failed("create", within))?;
    tempfile::Builder::new()
        .prefix(".sightline-")
        .tempdir_in(within)
        .map_err(failed("create", within))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::NewShard;
    use crate::staging::{Staging, Target};

    #[test]
    fn an_output_appears_at_the_end_and_what_was_there_is_kept_until_then() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let write = |staging: &Staging, text: &str| {
            fs::write(staging.folder().unwrap().root().join("a"), text).unwrap();
        };
        let begin = |force| Staging::begin(&Target::from(&out), force, Job::anew());
        let staging = begin(false).unwrap();
        write(&staging, "1");
        let scratch = staging.scratch(None).unwrap();
        assert!(!out.exists());
        let busy = begin(false).unwrap_err();
        assert!(matches!(busy, Error::Busy { .. }), "{busy}");
        drop(scratch);
        staging.finish().unwrap();
        assert!(matches!(begin(false), Err(Error::Exists { .. })));

        let staging = begin(true).unwrap();
        write(&staging, "2");
        drop(staging);
        assert_eq!(fs::read_to_string(out.join("a")).unwrap(), "1");
        let staging = begin(true).unwrap();
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
        let out = Target::from(&dir.path().join("out"));
        let staging = Staging::begin(&out, false, Job::anew()).unwrap();
        assert!(!partial.join("sub").exists());
        staging.finish().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("out")).unwrap().count(), 0);
    }

    #[test]
    fn the_same_job_goes_on_behind_what_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let out = Target::from(&dir.path().join("out"));
        let partial = dir.path().join(".out.partial");
        let begin = |job| Staging::begin(&out, false, job).unwrap();
        let begin_with_one = || {
            let mut staging = begin(Job::of(["a", "b"]));
            for name in ["0.tar", "1.tar"] {
                fs::write(partial.join(name), "bytes").unwrap();
            }
            let shard = NewShard {
                name: "0.tar".to_owned(),
                samples: 1,
                len_bytes: 5,
                sha256: "0".repeat(64),
            };
            staging.record(&shard, None).unwrap();
            staging
        };
        // The next run would end at damage again.
        let mut staging = begin_with_one();
        staging.keep_after(&Error::TooMany { limit: 1 });
        drop(staging);
        assert!(!partial.exists());
        let mut staging = begin_with_one();
        let failure = failed("read", &partial)(io::ErrorKind::TimedOut.into());
        staging.keep_after(&failure);
        drop(staging);
        let mut staging = begin(Job::of(["a", "b"]));
        assert_eq!(staging.done().len(), 1);
        assert!(partial.join("0.tar").exists() && !partial.join("1.tar").exists());
        staging.keep_after(&failure);
        drop(staging);
        // Parts are not run together.
        let staging = begin(Job::of(["ab"]));
        assert!(staging.done().is_empty() && !partial.join("0.tar").exists());
        staging.finish().unwrap();
        let left = fs::read_dir(dir.path().join("out")).unwrap();
        assert_eq!(left.count(), 0);
    }
}
