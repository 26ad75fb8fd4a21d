//! Making room among kept answers.
//!
//! What goes is whole contexts, the one that was used longest ago first: a model at a task whose answers are there in part
//! is asked again for the rest, and a part says nothing about which answers will be asked for. When a context was used
//! stands in the time of its file `used`. A context goes in one step, by a new name, and is removed under that; one that
//! a process appends to stays. Who reads answers of a context that goes has its files open, and reads them to the end.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{Error, Result};

/// File of a context whose time says when it was used.
const USED: &str = "used";
/// Beginning of the name under which a context is removed.
const GONE: &str = ".gone-";

/// A context on disk.
struct Kept {
    folder: PathBuf,
    used: SystemTime,
    bytes: u64,
}

/// Says that the context in `folder` is used now. Not an error where that cannot be written: it is only removed earlier.
pub(super) fn mark_used(folder: &Path) {
    let mut options = OpenOptions::new();
    let marked = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join(USED))
        .and_then(|file| file.set_modified(SystemTime::now()));
    if let Err(error) = marked {
        tracing::debug!(%error, folder = %folder.display(), "the use of kept answers is not noted");
    }
}

/// Removes contexts below `folder` until all of them have at most `limit` bytes, or those that are left are being written.
/// Returns how many bytes went.
pub(crate) fn make_room(folder: &Path, limit: u64) -> Result<u64> {
    trim(folder, limit).map_err(|source| Error::Io {
        path: folder.to_owned(),
        source,
    })
}

fn trim(folder: &Path, limit: u64) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(GONE) {
            // Of a process that was killed before it was done, or of one that is about to be.
            there(fs::remove_dir_all(&path))?;
        } else if is_context(&name) {
            all.extend(there(measure(&path))?);
        }
    }
    all.sort_by(|a, b| (a.used, &a.folder).cmp(&(b.used, &b.folder)));
    let mut total: u64 = all.iter().map(|kept| kept.bytes).sum();
    let before = total;
    for kept in all {
        if total <= limit {
            break;
        }
        if remove(folder, &kept.folder)? {
            total -= kept.bytes;
            tracing::debug!(folder = %kept.folder.display(), bytes = kept.bytes, "kept answers removed");
        }
    }
    Ok(before - total)
}

/// Whether a folder is called as contexts are: nothing else below a folder that a person named is touched.
fn is_context(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What another process has removed meanwhile is none.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn measure(folder: &Path) -> io::Result<Kept> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    let used = match fs::metadata(folder.join(USED)) {
        Ok(about) => about.modified()?,
        // Kept by a version that noted no use.
        Err(_) => fs::metadata(folder)?.modified()?,
    };
    Ok(Kept {
        folder: folder.to_owned(),
        used,
        bytes,
    })
}

/// Removes a context unless a process appends to it; whether this one did.
fn remove(folder: &Path, context: &Path) -> io::Result<bool> {
    let mut held = Vec::new();
    for entry in there(fs::read_dir(context))?.into_iter().flatten() {
        let Some(file) = there(File::open(entry?.path()))? else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => held.push(file),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    let name = context.file_name().unwrap_or_default().to_string_lossy();
    let gone = folder.join(format!("{GONE}{}-{name}", std::process::id()));
    if there(fs::rename(context, &gone))?.is_none() {
        return Ok(false);
    }
    drop(held);
    there(fs::remove_dir_all(&gone))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use sightline_core::Digest;

    use super::super::Cache;
    use super::*;

    fn context(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    /// A folder with contexts of equal length, each used a second after the one before.
    fn contexts(names: &[&str]) -> (tempfile::TempDir, u64) {
        let dir = tempfile::tempdir().unwrap();
        for (name, seconds) in names.iter().zip(1..) {
            let cache = Cache::open(dir.path(), &context(name), None).unwrap();
            let answer = json!({"answer": "yes"});
            cache.put(&[(context("request"), &answer)]).unwrap();
            drop(cache);
            let used = dir.path().join(context(name).to_string()).join(USED);
            let used = File::options().write(true).open(used).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            used.set_modified(time).unwrap();
        }
        let one = measure(&dir.path().join(context(names[0]).to_string()));
        (dir, one.unwrap().bytes)
    }

    fn is_there(dir: &tempfile::TempDir, name: &str) -> bool {
        dir.path().join(context(name).to_string()).is_dir()
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_use_is_noted() {
        let (dir, bytes) = contexts(&["a", "b", "c"]);
        assert_eq!(make_room(dir.path(), 3 * bytes).unwrap(), 0);
        // Looked at once more, the oldest is the youngest.
        let again = Cache::open(dir.path(), &context("a"), None).unwrap();
        assert!(again.get(&context("request")).is_some());
        drop(again);
        assert_eq!(make_room(dir.path(), 2 * bytes).unwrap(), bytes);
        assert!(is_there(&dir, "a") && !is_there(&dir, "b") && is_there(&dir, "c"));
        assert_eq!(make_room(dir.path(), 0).unwrap(), 2 * bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_being_written_stays_and_what_is_read_is_read_to_the_end() {
        let (dir, bytes) = contexts(&["a", "b"]);
        let writing = Cache::open(dir.path(), &context("a"), None).unwrap();
        let answer = json!({"answer": "no"});
        writing.put(&[(context("another"), &answer)]).unwrap();
        let reading = Cache::open(dir.path(), &context("b"), None).unwrap();
        assert_eq!(make_room(dir.path(), 0).unwrap(), bytes);
        assert!(is_there(&dir, "a") && !is_there(&dir, "b"));
        assert!(cfg!(windows) || reading.get(&context("request")).is_some());
        // It begins again with an empty folder.
        reading.put(&[(context("another"), &answer)]).unwrap();
        assert!(is_there(&dir, "b"));
    }

    #[test]
    fn what_is_no_context_is_left_alone_and_what_was_half_removed_goes() {
        let (dir, _) = contexts(&["a"]);
        fs::create_dir(dir.path().join("mine")).unwrap();
        fs::write(dir.path().join("mine/file"), "text").unwrap();
        fs::create_dir(dir.path().join(format!("{GONE}17-x"))).unwrap();
        make_room(dir.path(), 0).unwrap();
        let left = fs::read_dir(dir.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
        assert_eq!(make_room(&dir.path().join("none"), 0).unwrap(), 0);
    }
}
