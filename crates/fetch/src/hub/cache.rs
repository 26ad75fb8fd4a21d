//! The part of the cache that belongs to a repository.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use sightline_core::hub::is_commit;
use sightline_store::write_atomic;

use super::{Choose, HubError, Result, Snapshot};

/// Folders below a snapshot that are listed.
const DEPTH_LIMIT: usize = 8;

/// A repository's folder in the cache.
pub(super) struct Repository {
    folder: PathBuf,
}

impl Repository {
    /// That of `OWNER/NAME`.
    pub(super) fn new(cache: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        Self {
            folder: cache.join(name),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of a commit, which may not be there.
    pub(super) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot {
            folder: self.folder.join("snapshots").join(commit),
            commit: commit.to_owned(),
            downloaded_bytes: 0,
        }
    }

    /// The snapshot of `revision` as far as the cache knows it, if what is there is enough.
    pub(super) fn cached(&self, revision: &str, choose: Choose<'_>) -> Result<Option<Snapshot>> {
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            let path = self.reference(revision);
            match fs::read_to_string(&path) {
                Ok(text) => text.trim().to_owned(),
                Err(e) if is_absent(&e) => return Ok(None),
                Err(source) => return Err(HubError::Io { path, source }),
            }
        };
        if !is_commit(&commit) {
            return Ok(None);
        }
        let snapshot = self.snapshot(&commit);
        let mut files = Vec::new();
        list(&snapshot.folder, "", DEPTH_LIMIT, &mut files)?;
        files.sort();
        Ok(choose(&files).is_enough.then_some(snapshot))
    }

    /// Notes the commit that `revision` names.
    pub(super) fn refer(&self, revision: &str, commit: &str) -> Result<()> {
        let path = self.reference(revision);
        make_folder_of(&path)?;
        Ok(write_atomic(&path, commit.as_bytes())?)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        self.folder.join("refs").join(revision)
    }

    /// Where the bytes of the file with that tag are.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where a file of a commit is.
    pub(super) fn file(&self, commit: &str, file: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit).join(file)
    }

    /// Makes `file` of a commit a link to the blob with that tag.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<()> {
        let path = self.file(commit, file);
        make_folder_of(&path)?;
        // From the folder of the link back to the repository's: `snapshots`, the commit, and the file's own folders.
        let up = "../".repeat(2 + file.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let failed = |source| HubError::Io {
            path: path.clone(),
            source,
        };
        let temporary = path.with_file_name(format!(".{etag}.{}.link", std::process::id()));
        let _ = fs::remove_file(&temporary);
        link(&target, &self.blob(etag), &temporary).map_err(failed)?;
        fs::rename(&temporary, &path).map_err(failed)
    }

    /// The beginning of a blob, locked, and how many bytes of it are there.
    pub(super) fn begun(&self, etag: &str) -> Result<(PathBuf, File, u64)> {
        let path = self.blob(&format!("{etag}.incomplete"));
        make_folder_of(&path)?;
        let failed = |source| HubError::Io {
            path: path.clone(),
            source,
        };
        loop {
            let opened = OpenOptions::new().append(true).create(true).open(&path);
            let file = opened.map_err(failed)?;
            if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return Err(HubError::Busy { path });
            }
            // Between the two another process may have finished it: then this is the blob under its own name.
            if path.exists() {
                let len = file.metadata().map_err(failed)?.len();
                return Ok((path, file, len));
            }
        }
    }
}

#[cfg(unix)]
fn link(target: &Path, _: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// Links need a right there that few have; a second name does as well.
#[cfg(not(unix))]
fn link(_: &Path, blob: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(blob, path)
}

/// Makes the folder that `path` is to be in.
fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|source| HubError::Io {
        path: folder.to_owned(),
        source,
    })
}

/// Whether nothing is there, or a folder or file stands in the way of it.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

/// Adds the files below `folder` that can be read, links included, by their paths below the first one.
fn list(folder: &Path, below: &str, depth: usize, files: &mut Vec<String>) -> Result<()> {
    let failed = |source| HubError::Io {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(()),
        Err(source) => return Err(failed(source)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let name = format!("{below}{name}");
        // Follows links: one whose blob is gone is no file.
        match fs::metadata(entry.path()) {
            Ok(about) if about.is_file() => files.push(name),
            Ok(about) if about.is_dir() && depth > 0 => {
                list(&entry.path(), &format!("{name}/"), depth - 1, files)?;
            }
            _ => {}
        }
    }
    Ok(())
}
