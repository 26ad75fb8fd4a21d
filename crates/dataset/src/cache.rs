//! Copies of shards on a local disk, bounded in bytes and shared by all processes of a machine.
//!
//! A shard is copied whole when a sample of it is first wanted; one in which samples cannot be found by their number (compressed archives, Parquet, plain
//! files) is kept in a form in which they can, so that it is decompressed once for all processes and epochs. Entries appear whole, under names made of the dataset, the shard and its
//! length: **a shard that was replaced by one of the same name and length is not noticed**; remove the folder then.
//!
//! Entries that nobody reads are removed, the one that was used longest ago first, when room is needed. Entries that are being read are
//! locked and stay. Where these leave no room, [`Cache::entry`] says so and the shard is read where it is.
//!
//! # Files
//!
//! `DIGEST.entry` is an entry, `DIGEST.part` one that is being written, `lock` and `lock-00` to `lock-3f` are empty and say by their locks who makes room and who
//! writes what. All may be removed when no process uses the folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sightline_core::Digest;
use sightline_store::FileAt;

use crate::Result;
use crate::staging::failed;

/// Locks of those who write entries: two entries share one now and then, and then wait for each other.
const STRIPES: u8 = 64;

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
}

/// What fills an entry.
pub(crate) type Fill<'a> = &'a mut dyn FnMut(File) -> Result<()>;

impl Cache {
    /// The cache in `folder`, made where it is missing, of at most `limit_bytes`. All processes that share it should give the same limit.
    pub fn open(folder: impl Into<PathBuf>, limit_bytes: u64) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
        Ok(Self {
            folder,
            limit_bytes,
        })
    }

    /// The entry for `name`, made by `fill` where there is none. It takes about `len_bytes`. It stays as long as what is given back lives. `None` where
    /// there is no room for it.
    pub(crate) fn entry(
        &self,
        name: &str,
        len_bytes: u64,
        fill: Fill<'_>,
    ) -> Result<Option<FileAt>> {
        let digest = Digest::of(name.as_bytes());
        let stem = &digest.to_string()[..32];
        let path = self.folder.join(format!("{stem}.entry"));
        if let Some(file) = used(&path)? {
            return Ok(Some(file));
        }
        let _filling = self.lock(&stripe_of(stem))?;
        // Another process may have made it while this one waited.
        if let Some(file) = used(&path)? {
            return Ok(Some(file));
        }
        let part = self.folder.join(format!("{stem}.part"));
        if !self.reserve(&part, len_bytes)? {
            return Ok(None);
        }
        let filled = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&part)
            .map_err(failed("open", &part))
            .and_then(fill);
        if let Err(error) = filled {
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        // Opened and locked under its old name, so that nobody removes it in between.
        let file = File::open(&part).map_err(failed("open", &part))?;
        lock_shared(&file);
        fs::rename(&part, &path).map_err(failed("rename", &part))?;
        // It may be longer than was said before.
        let _making_room = self.lock("lock")?;
        self.make_room(0)?;
        Ok(Some(FileAt::of(file, path)?))
    }

    /// Makes the empty file `part` that counts as `len_bytes`; `false` where there is no room.
    fn reserve(&self, part: &Path, len_bytes: u64) -> Result<bool> {
        let _making_room = self.lock("lock")?;
        if !self.make_room(len_bytes)? {
            return Ok(false);
        }
        let file = File::create(part).map_err(failed("create", part))?;
        // No block is written for it; it is shortened when it is filled, which others may see as room for a while.
        file.set_len(len_bytes).map_err(failed("reserve", part))?;
        Ok(true)
    }

    /// Removes entries until `len_bytes` more fit; `false` where they do not. Whoever calls it holds the lock.
    fn make_room(&self, len_bytes: u64) -> Result<bool> {
        let mut entries = Vec::new();
        let mut total = len_bytes;
        for entry in fs::read_dir(&self.folder).map_err(failed("list", &self.folder))? {
            let path = entry.map_err(failed("list", &self.folder))?.path();
            // Gone since it was listed.
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("entry") => {
                    total = total.saturating_add(meta.len());
                    let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    entries.push((used, path, meta.len()));
                }
                Some("part") if self.is_stale(&path)? => {
                    let _ = fs::remove_file(&path);
                }
                Some("part") => total = total.saturating_add(meta.len()),
                _ => {}
            }
        }
        entries.sort();
        for (_, path, len) in entries {
            if total <= self.limit_bytes {
                break;
            }
            let is_free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if is_free && fs::remove_file(&path).is_ok() {
                tracing::debug!(entry = %path.display(), bytes = len, "removed from the cache");
                total -= len;
            }
        }
        Ok(total <= self.limit_bytes)
    }

    /// Whether nobody is writing `part`.
    fn is_stale(&self, part: &Path) -> Result<bool> {
        let stem = part.file_stem().and_then(|stem| stem.to_str());
        let path = self.folder.join(stripe_of(stem.unwrap_or_default()));
        let file = open_lock(&path)?;
        Ok(file.try_lock().is_ok())
    }

    fn lock(&self, name: &str) -> Result<File> {
        let path = self.folder.join(name);
        let file = open_lock(&path)?;
        // Where locks are not supported, two processes may copy the same shard, and each renames a whole one.
        let _ = file.lock();
        Ok(file)
    }
}

/// The entry `path`, from now on the one that was used last.
fn used(path: &Path) -> Result<Option<FileAt>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed("open", path)(e)),
    };
    // One that is being removed at this moment is read all the same: its bytes stay until it is closed.
    lock_shared(&file);
    // A folder that only others may write has no order of use.
    let _ = file.set_modified(SystemTime::now());
    Ok(Some(FileAt::of(file, path)?))
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed("create", path))
}

fn lock_shared(file: &File) {
    // Where locks are not supported nothing is ever in use, and on such file systems an open file outlives its name.
    let _ = file.lock_shared();
}

/// The lock of those who write the entry `stem`.
fn stripe_of(stem: &str) -> String {
    let number = u8::from_str_radix(stem.get(..2).unwrap_or_default(), 16).unwrap_or(0);
    format!("lock-{:02x}", number % STRIPES)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use sightline_core::ReadAt;

    use super::*;

    fn entry(cache: &Cache, name: &str, len: u64, fills: &AtomicU64) -> Option<FileAt> {
        let mut fill = |mut file: File| {
            fills.fetch_add(1, Ordering::Relaxed);
            let bytes = vec![name.as_bytes()[0]; len as usize];
            file.write_all(&bytes)
                .map_err(failed("write", Path::new(name)))
        };
        cache.entry(name, len, &mut fill).unwrap()
    }

    fn total(cache: &Cache) -> u64 {
        let entries = fs::read_dir(&cache.folder).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    }

    /// Makes `name` the entry that was used `ago` seconds ago.
    fn age(cache: &Cache, name: &str, ago: u64) {
        let stem = Digest::of(name.as_bytes()).to_string()[..32].to_owned();
        let file = File::options()
            .append(true)
            .open(cache.folder.join(format!("{stem}.entry")))
            .unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(ago))
            .unwrap();
    }

    #[test]
    fn the_entry_that_was_used_longest_ago_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 100).unwrap();
        let fills = AtomicU64::new(0);
        for name in ["a", "b", "c"] {
            let file = entry(&cache, name, 30, &fills).unwrap();
            assert_eq!(file.read_at(0..30).unwrap(), vec![name.as_bytes()[0]; 30]);
        }
        for (name, ago) in [("a", 30), ("b", 90), ("c", 60)] {
            age(&cache, name, ago);
        }
        entry(&cache, "d", 30, &fills).unwrap();
        assert_eq!((total(&cache), fills.load(Ordering::Relaxed)), (90, 4));
        for name in ["a", "c", "d"] {
            entry(&cache, name, 30, &fills).unwrap();
        }
        assert_eq!(fills.load(Ordering::Relaxed), 4);
        entry(&cache, "b", 30, &fills).unwrap();
        assert_eq!(fills.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn entries_in_use_stay_and_then_there_is_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 100).unwrap();
        let fills = AtomicU64::new(0);
        let used = entry(&cache, "a", 60, &fills).unwrap();
        assert!(entry(&cache, "b", 60, &fills).is_none());
        assert!(entry(&cache, "c", 200, &fills).is_none());
        assert_eq!(used.read_at(59..60).unwrap(), "a");
        drop(used);
        entry(&cache, "b", 60, &fills).unwrap();
        assert_eq!((total(&cache), fills.load(Ordering::Relaxed)), (60, 2));
    }

    #[test]
    fn what_fails_or_was_left_leaves_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 100).unwrap();
        let mut fill = |_: File| {
            Err(failed("read", Path::new("a"))(
                io::ErrorKind::TimedOut.into(),
            ))
        };
        assert!(cache.entry("a", 50, &mut fill).is_err());
        assert_eq!(total(&cache), 0);
        let left = format!("{}.part", "0".repeat(32));
        fs::write(dir.path().join(&left), [0; 90]).unwrap();
        let fills = AtomicU64::new(0);
        entry(&cache, "a", 50, &fills).unwrap();
        assert!(!dir.path().join(left).exists());
    }

    #[test]
    fn many_threads_fill_an_entry_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 1000).unwrap();
        let fills = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for name in ["a", "b", "c", "d", "e"] {
                        let file = entry(&cache, name, 100, &fills).unwrap();
                        assert_eq!(file.read_at(99..100).unwrap(), name);
                    }
                });
            }
        });
        assert_eq!((fills.load(Ordering::Relaxed), total(&cache)), (5, 500));
    }

    #[test]
    fn the_limit_holds_with_many_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), 300).unwrap();
        let fills = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, fills) = (&cache, &fills);
                scope.spawn(move || {
                    for at in 0..20u8 {
                        let name = format!("{}", char::from(b'a' + (at + 5 * thread) % 20));
                        if let Some(file) = entry(cache, &name, 50, fills) {
                            assert_eq!(file.read_at(49..50).unwrap(), name);
                        }
                    }
                });
            }
        });
        assert!(total(&cache) <= 300);
    }
}
