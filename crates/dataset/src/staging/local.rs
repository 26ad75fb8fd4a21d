//! An output folder of this machine, which appears whole.
//!
//! It is locked as long as the process lives that writes it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sightline_core::ImageFormat;
use sightline_shard::format::of_name;
use sightline_store::{Folder, write_atomic};

use super::{Job, failed};
use crate::index::{INDEXES, MANIFEST};
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
        let target = resolved(target)?;
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
        if let Some(entry) = foreign(&target)? {
            return Err(Error::Foreign {
                folder: target,
                entry,
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

/// The place of `target`; where it is a link, that to which it leads.
fn resolved(target: &Path) -> Result<PathBuf> {
    if target.is_symlink() && target.exists() {
        return target.canonicalize().map_err(failed("find", target));
    }
    std::path::absolute(target).map_err(failed("find", target))
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

/// Whether `outer` is `inner` or holds it, wherever links lead.
pub(super) fn holds(outer: &Path, inner: &Path) -> Result<bool> {
    match (outer.canonicalize(), inner.canonicalize()) {
        (Ok(outer), Ok(inner)) => Ok(inner.starts_with(outer)),
        (Err(e), _) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        (Err(e), _) => Err(failed("find", outer)(e)),
        (_, Err(e)) => Err(failed("find", inner)(e)),
    }
}

/// Something in `target` that is no part of a dataset: neither a shard, nor an index, nor a member beside the metadata of its
/// sample, nor a folder of such. Metadata may be alone where other samples have more.
fn foreign(target: &Path) -> Result<Option<String>> {
    let mut lone = Lone::default();
    let found = lone.look(target, "")?;
    Ok(found.or(lone.metadata.filter(|_| !lone.has_pairs)))
}

/// What was seen of members.
#[derive(Default)]
struct Lone {
    /// Metadata without any other member of their sample.
    metadata: Option<String>,
    /// Whether some have one.
    has_pairs: bool,
}

impl Lone {
    /// Looks through `folder`, whose place in the output is `within`, and gives what is foreign.
    fn look(&mut self, folder: &Path, within: &str) -> Result<Option<String>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e)
                if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(failed("list", folder)(e)),
        };
        let (mut members, mut folders) = (BTreeMap::<String, Vec<String>>::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(failed("list", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(failed("read", &entry.path()))?;
            let is_index = name == MANIFEST
                || name.ends_with(".tar.idx")
                || INDEXES.iter().any(|index| {
                    let file = index.file();
                    file == name || file.split('/').next() == Some(&name[..])
                });
            if is_index || (kind.is_file() && of_name(&name).is_some()) {
                continue;
            }
            if kind.is_dir() {
                folders.push(name);
                continue;
            }
            let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
            if !kind.is_file() || !is_member(extension) {
                return Ok(Some(format!("{within}{name}")));
            }
            let (stem, extension) = (stem.to_owned(), extension.to_owned());
            members.entry(stem).or_default().push(extension);
        }
        for (stem, extensions) in members {
            let has_metadata = extensions.iter().any(|extension| extension == "json");
            match &extensions[..] {
                [_] if has_metadata => self.metadata = Some(format!("{within}{stem}.json")),
                [extension, ..] if !has_metadata => {
                    return Ok(Some(format!("{within}{stem}.{extension}")));
                }
                _ => self.has_pairs = true,
            }
        }
        for name in folders {
            let found = self.look(&folder.join(&name), &format!("{within}{name}/"))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Whether members of samples have this extension.
fn is_member(extension: &str) -> bool {
    ["txt", "json"].contains(&extension) || ImageFormat::from_extension(extension).is_some()
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
            fs::write(staging.folder().unwrap().root().join("a.tar"), text).unwrap();
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
        assert_eq!(fs::read_to_string(out.join("a.tar")).unwrap(), "1");
        let staging = begin(true).unwrap();
        write(&staging, "3");
        staging.finish().unwrap();
        assert_eq!(fs::read_to_string(out.join("a.tar")).unwrap(), "3");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    }

    #[test]
    fn nothing_but_datasets_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let write = |name: &str| {
            let path = out.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let ours = [
            "00000.tar",
            "00001.tar.zst",
            "index.json",
            "index.wids.json",
            MANIFEST,
            ".nv-meta/index.sqlite",
            "00000.tar.idx",
            "train/00000.parquet",
            "00000.files",
            "00000/a.jpg",
            "00000/a.json",
            "00000/b/lone.json",
            "00000/b/c.png",
            "00000/b/c.json",
        ];
        ours.into_iter().for_each(write);
        let begin = || Staging::begin(&Target::from(&out), true, Job::anew());
        drop(begin().unwrap());
        for (name, shown) in [
            ("thesis.txt", "thesis.txt"),
            ("train/notes.md", "train/notes.md"),
            ("photos/a.jpg", "photos/a.jpg"),
        ] {
            write(name);
            let refused = begin().unwrap_err();
            assert!(
                matches!(&refused, Error::Foreign { entry, .. } if entry == shown),
                "{name}: {refused}"
            );
            fs::remove_file(out.join(name)).unwrap();
        }
        fs::remove_dir_all(out.join("00000")).unwrap();
        write("settings.json");
        begin().unwrap_err();
        fs::remove_file(out.join("settings.json")).unwrap();
        assert!(out.join("00000.tar").exists());
    }

    #[test]
    fn an_output_is_not_its_input_and_does_not_hold_it() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("all/in");
        fs::create_dir_all(&input).unwrap();
        let folder = Folder::open(&input).unwrap();
        for (out, is_apart) in [
            ("all/in", false),
            ("all", false),
            ("", false),
            ("all/in/new", true),
            ("all/other", true),
            ("al", true),
        ] {
            let target = Target::from(&dir.path().join(out));
            assert_eq!(target.check_apart(&folder).is_ok(), is_apart, "{out}");
        }
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
