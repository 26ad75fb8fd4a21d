//! Who is making a shard at the moment.
//!
//! A worker that begins a shard makes the file `NNNNN.lease` beside it and touches it while it works. Another worker passes
//! over shards with a fresh lease and takes over those whose lease nobody touched for a while. Two workers may still make
//! one shard, after a long pause of the first or on a file system with a lazy clock: it costs time and no bytes, since
//! both make the same files and each appears whole.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use sightline_core::ShardId;

use crate::error::{Error, Result};

/// End of the names of leases.
pub(crate) const LEASE: &str = ".lease";
/// A lease is touched this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A lease that was not touched for this long is nobody's.
pub(crate) const STALE: Duration = Duration::from_secs(30);

/// The leases that this process holds.
#[derive(Debug)]
pub(crate) struct Leases {
    folder: PathBuf,
    owner: String,
    held: Arc<Mutex<BTreeMap<u64, File>>>,
}

impl Leases {
    /// Holds none yet; those to come are touched until this is dropped.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let held: Arc<Mutex<BTreeMap<u64, File>>> = Arc::default();
        let watched = Arc::downgrade(&held);
        thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || {
                while let Some(held) = watched.upgrade() {
                    touch(&held);
                    drop(held);
                    thread::sleep(HEARTBEAT);
                }
            })
            .map_err(|e| Error::Threads {
                problem: e.to_string(),
            })?;
        Ok(Self {
            folder: folder.to_owned(),
            owner: owner(),
            held,
        })
    }

    fn path(&self, id: ShardId) -> PathBuf {
        self.folder.join(format!("{id}{LEASE}"))
    }

    /// Takes the lease of a shard, unless another worker has it.
    pub(crate) fn take(&self, id: ShardId) -> Result<bool> {
        let path = self.path(id);
        let failed = || Error::output("lease", &path);
        // Twice: a stale lease that is removed may be taken by another worker at once.
        for _ in 0..2 {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    file.write_all(self.owner.as_bytes()).map_err(failed())?;
                    let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                    held.insert(id.0, file);
                    return Ok(true);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed()(e)),
            }
            match age(&self.folder, &path).map_err(failed())? {
                Some(age) if age < STALE => return Ok(false),
                Some(_) => remove(&path).map_err(failed())?,
                None => {}
            }
        }
        Ok(false)
    }

    /// Gives a lease back.
    pub(crate) fn release(&self, id: ShardId) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.remove(&id.0).is_some() {
            let path = self.path(id);
            remove(&path).map_err(Error::output("remove", &path))?;
        }
        Ok(())
    }
}

impl Drop for Leases {
    /// Gives back what an interrupted run holds, so that others need not wait.
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, _) in std::mem::take(&mut *held) {
            // What stays behind is stale soon.
            let _ = remove(&self.path(ShardId(id)));
        }
    }
}

/// Makes the leases fresh. A lease that cannot be touched becomes stale, and another worker makes the shard too.
fn touch(held: &Mutex<BTreeMap<u64, File>>) {
    let held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for file in held.values() {
        // Written and not dated: the time has to be the file system's, not this machine's.
        let _ = file
            .write_all_at(owner().as_bytes(), 0)
            .and_then(|()| file.sync_data());
    }
}

/// How long ago `lease` was touched, by the clock of the file system, which several machines share; `None` if it is gone.
pub(crate) fn age(folder: &Path, lease: &Path) -> io::Result<Option<Duration>> {
    let touched = match fs::metadata(lease) {
        Ok(file) => file.modified()?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let probe = tempfile_in(folder)?;
    let now = probe.1.metadata()?.modified();
    drop(probe.1);
    remove(&probe.0)?;
    Ok(Some(now?.duration_since(touched).unwrap_or_default()))
}

/// An empty file of our own, whose time of modification is now.
fn tempfile_in(folder: &Path) -> io::Result<(PathBuf, File)> {
    let path = folder.join(format!(".clock.{}.tmp", std::process::id()));
    let file = File::create(&path)?;
    Ok((path, file))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Machine and process, for people who look into a lease.
pub(crate) fn owner() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} {}\n", host.trim(), std::process::id())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_shard_is_leased_to_one_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (
            Leases::new(dir.path()).unwrap(),
            Leases::new(dir.path()).unwrap(),
        );
        assert!(one.take(ShardId(3)).unwrap());
        assert!(!other.take(ShardId(3)).unwrap());
        assert!(other.take(ShardId(4)).unwrap());
        one.release(ShardId(3)).unwrap();
        assert!(other.take(ShardId(3)).unwrap());
        drop(other);
        assert!(one.take(ShardId(3)).unwrap() && one.take(ShardId(4)).unwrap());
        drop(one);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            0,
            "nothing is left behind"
        );
    }

    #[test]
    fn a_lease_that_nobody_touches_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00007.lease");
        let file = File::create(&path).unwrap();
        let leases = Leases::new(dir.path()).unwrap();
        assert!(!leases.take(ShardId(7)).unwrap());
        let past = SystemTime::now() - 2 * STALE;
        file.set_modified(past).unwrap();
        assert!(leases.take(ShardId(7)).unwrap());
        assert!(!fs::read_to_string(&path).unwrap().is_empty());
    }
}
