//! Files that appear under their name only when they are whole.
//!
//! An [`AtomicFile`] is written under a temporary name in the folder of its target, then flushed to
//! the disk and renamed. A process that is killed in between leaves a temporary file at most, which
//! [`remove_stale_temporaries`] finds and removes.
//!
//! A temporary file is called `.NAME.PID-N.tmp` and stays locked while its writer lives, so that
//! clearing a folder never takes a file from another process that is still writing it.
//!
//! ```
//! use std::io::Write;
//! use sightline_store::AtomicFile;
//!
//! # let dir = tempfile::tempdir()?;
//! let path = dir.path().join("stats.json");
//! let mut file = AtomicFile::create(&path)?;
//! file.write_all(b"{}")?;
//! assert!(!path.exists());
//! file.commit()?;
//! assert!(path.exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use sightline_core::ObjectWriter;

use crate::{Error, Result};

/// Longest part of the target's name that a temporary name repeats, so that it stays below the 255
/// bytes that file systems allow.
const NAME_LEN_BYTES: usize = 200;

/// Set apart the temporary files of one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What a committed file survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and the loss of power: file and folder are flushed to the disk.
    #[default]
    Power,
    /// The end of the process only. For many small files that can be made again, where a flush for
    /// each would cost more than making them.
    Process,
}

/// A file being written under a temporary name.
#[derive(Debug)]
pub struct AtomicFile {
    file: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
    durability: Durability,
    committed: bool,
}

impl AtomicFile {
    /// Begins the file `target`, whose folder must exist.
    pub fn create(target: impl AsRef<Path>) -> Result<Self> {
        Self::create_with(target, Durability::Power)
    }

    /// Begins the file `target` with the given durability.
    pub fn create_with(target: impl AsRef<Path>, durability: Durability) -> Result<Self> {
        let target = target.as_ref();
        let Some(name) = target.file_name() else {
            return Err(Error::Name {
                name: target.to_string_lossy().into_owned(),
            });
        };
        let name = name.to_string_lossy();
        let name = &name[..name.floor_char_boundary(NAME_LEN_BYTES)];
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let temporary = target.with_file_name(format!(".{name}.{}-{n}.tmp", process::id()));
            let opened = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&temporary);
            let file = match opened {
                Ok(file) => file,
                // Left by an earlier process of this number, or being written on another machine.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(Error::file("create", target)(e)),
            };
            // Between `open` and the lock the file looks stale, so another process may be removing
            // it: then take the next name. Where locks are not supported nothing is ever removed.
            let is_ours = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
            if !is_ours || !temporary.exists() {
                continue;
            }
            return Ok(Self {
                file: BufWriter::with_capacity(1 << 16, file),
                temporary,
                target: target.to_owned(),
                durability,
                committed: false,
            });
        }
    }

    /// Where the file is until it is committed.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Flushes the file and moves it to its name, replacing what was there.
    pub fn commit(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.file
            .flush()
            .map_err(Error::file("write", &self.target))?;
        if self.durability == Durability::Power {
            let file = self.file.get_ref();
            file.sync_all()
                .map_err(Error::file("flush", &self.target))?;
        }
        fs::rename(&self.temporary, &self.target).map_err(Error::file("rename", &self.target))?;
        self.committed = true;
        if self.durability == Durability::Power {
            sync_folder_of(&self.target)?;
        }
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl ObjectWriter for AtomicFile {
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        Ok(self.finish()?)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // Nobody is left to tell; what stays behind is recognised as stale later.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes `bytes` to the file `target`, atomically and durably.
pub fn write_atomic(target: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let target = target.as_ref();
    let mut file = AtomicFile::create(target)?;
    file.write_all(bytes)
        .map_err(Error::file("write", target))?;
    file.commit()
}

/// Removes temporary files that killed processes left in `folder` (not below it), and says how many.
/// Files that a living process is writing stay.
pub fn remove_stale_temporaries(folder: impl AsRef<Path>) -> Result<u64> {
    let folder = folder.as_ref();
    let mut removed = 0;
    for entry in fs::read_dir(folder).map_err(Error::file("list", folder))? {
        let entry = entry.map_err(Error::file("list", folder))?;
        if !is_temporary(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let file = match OpenOptions::new().write(true).open(&path) {
            Ok(file) => file,
            // Renamed or removed since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Error::file("open", path)(e)),
        };
        if file.try_lock().is_err() {
            continue;
        }
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::file("remove", path)(e)),
        }
    }
    Ok(removed)
}

/// Whether `name` has the form `.NAME.PID-N.tmp`.
fn is_temporary(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .and_then(|rest| rest.rsplit_once('.'))
        .and_then(|(_, numbers)| numbers.split_once('-'))
        .is_some_and(|(pid, n)| is_number(pid) && is_number(n))
}

/// Flushes the folder's list of names, which a rename changed.
#[cfg(unix)]
fn sync_folder_of(target: &Path) -> Result<()> {
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Error::file("flush", folder))
}

/// Other systems do not open folders as files; a rename is as durable as they make it.
#[cfg(not(unix))]
fn sync_folder_of(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_when_committed_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        for durability in [Durability::Power, Durability::Process] {
            let path = dir.path().join(format!("{durability:?}"));
            let mut file = AtomicFile::create_with(&path, durability).unwrap();
            file.write_all(b"abc").unwrap();
            file.flush().unwrap();
            assert!(!path.exists());
            file.commit().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"abc");
        }
        assert_eq!(names(dir.path()), ["Power", "Process"]);
    }

    #[test]
    fn a_dropped_file_leaves_the_old_one_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn stale_temporaries_go_and_all_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let stale = format!(".00017.tar.{}-0.tmp", u32::MAX);
        for name in [
            &stale,
            "a.tmp",
            ".b.tmp",
            ".c.12-.tmp",
            ".d.1-2",
            "00001.tar",
        ] {
            fs::write(at(name), b"x").unwrap();
        }
        let living = AtomicFile::create(at("e")).unwrap();
        assert_eq!(remove_stale_temporaries(dir.path()).unwrap(), 1);
        assert!(!at(&stale).exists());
        living.commit().unwrap();
        assert_eq!(
            names(dir.path()),
            [".b.tmp", ".c.12-.tmp", ".d.1-2", "00001.tar", "a.tmp", "e"]
        );
    }

    #[test]
    fn a_missing_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = AtomicFile::create(dir.path().join("none/a")).unwrap_err();
        assert!(error.to_string().contains("none/a"), "{error}");
        assert!(AtomicFile::create("/").is_err());
    }

    #[test]
    fn a_long_name_still_fits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("é".repeat(125));
        write_atomic(&path, b"abc").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"abc");
    }
}
