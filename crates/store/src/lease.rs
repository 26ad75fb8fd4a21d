//! Who is at work on something in a folder, on object stores too, which know no locks.
//!
//! Who begins makes an object that says so and writes it anew while he works. Others keep away from what has a fresh lease, and
//! take over a lease that nobody wrote for a while, or whose process was of this machine and is gone. Only one of several who
//! try at once gets a lease: a file is made only where there is none, and an object is put under that condition. After a long
//! pause of the first, or on a file system with a lazy clock, two may still be at the same work: each of its results has to
//! appear whole, and to be the same whoever makes it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{Error, Folder, Result};

/// A lease is written this often.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// A lease that was not written for this long is nobody's.
pub const STALE: Duration = Duration::from_secs(30);

/// Set apart the holders of leases in one process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The leases that this process holds.
#[derive(Debug)]
pub struct Leases {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    folder: Folder,
    /// The content of our leases.
    mark: String,
    held: Mutex<BTreeSet<String>>,
}

impl Leases {
    /// Holds none yet; those to come are written anew until this is dropped.
    pub fn new(folder: &Folder) -> Result<Self> {
        let shared = Arc::new(Shared {
            folder: folder.clone(),
            mark: mark(),
            held: Mutex::default(),
        });
        let watched = Arc::downgrade(&shared);
        thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || {
                while let Some(shared) = watched.upgrade() {
                    shared.touch();
                    drop(shared);
                    thread::sleep(HEARTBEAT);
                }
            })
            .map_err(Error::file("watch", folder.root()))?;
        Ok(Self { shared })
    }

    /// Takes the lease `name`, unless somebody else has it.
    pub fn take(&self, name: &str) -> Result<bool> {
        let Shared { folder, mark, held } = &*self.shared;
        // Twice: a stale lease that is removed may be taken by another worker at once.
        for _ in 0..2 {
            if folder.write_new(name, mark.as_bytes())? {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.insert(name.to_owned());
                return Ok(true);
            }
            match (folder.age(name)?, folder.read(name)?) {
                (Some(age), Some(there)) if age < STALE && !is_of_the_dead(&there) => {
                    return Ok(false);
                }
                (Some(_), Some(_)) => {
                    folder.remove(name)?;
                }
                _ => {}
            }
        }
        Ok(false)
    }

    /// Gives the lease `name` back.
    pub fn release(&self, name: &str) -> Result<()> {
        let Shared { folder, held, .. } = &*self.shared;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.remove(name) {
            folder.remove(name)?;
        }
        Ok(())
    }
}

impl Drop for Leases {
    /// Gives back what an interrupted run holds, so that others need not wait.
    fn drop(&mut self) {
        let Shared { folder, held, .. } = &*self.shared;
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        for name in std::mem::take(&mut *held) {
            // What stays behind is stale soon.
            let _ = folder.remove(&name);
        }
    }
}

impl Shared {
    /// Makes the leases fresh. One that cannot be written becomes stale, and one that somebody else took over is his:
    /// another worker makes the shard too.
    fn touch(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|name| match self.folder.read(name) {
            Ok(Some(there)) if there == self.mark.as_bytes() => {
                // Written and not dated: the time has to be the folder's, not this machine's.
                let _ = self.folder.write(name, self.mark.as_bytes());
                true
            }
            Ok(_) => false,
            Err(_) => true,
        });
    }
}

/// Who holds a lease, as its first line says.
pub fn holder(lease: &[u8]) -> String {
    let text = String::from_utf8_lossy(lease);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Machine and process, for people who look into a lease; then what tells this holder from every other.
fn mark() -> String {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{} {n}\n", owner(), processes())
}

/// Machine and process.
pub fn owner() -> String {
    format!("{} {}\n", host(), process::id())
}

fn host() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    host.trim().to_owned()
}

/// Which processes the numbers of processes are of: containers may share the name of the machine.
fn processes() -> String {
    let space = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    space.to_string_lossy().into_owned()
}

/// Whether a lease is of a process that ran here and does not any more.
fn is_of_the_dead(lease: &[u8]) -> bool {
    let text = String::from_utf8_lossy(lease);
    let mut lines = text.lines();
    let (Some(owner), Some(space)) = (lines.next(), lines.next()) else {
        return false;
    };
    let Some((machine, pid)) = owner.rsplit_once(' ') else {
        return false;
    };
    let processes = processes();
    !processes.is_empty()
        && space.split(' ').next() == Some(&processes)
        && machine == host()
        && pid.parse::<u32>().is_ok()
        && Path::new("/proc/self").exists()
        && !Path::new("/proc").join(pid).exists()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::Stores;

    use super::*;

    #[test]
    fn a_name_is_leased_to_one_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::in_memory();
        for folder in [
            Folder::open(dir.path()).unwrap(),
            stores.create("s3://bucket/out".as_ref()).unwrap(),
        ] {
            let (one, other) = (Leases::new(&folder).unwrap(), Leases::new(&folder).unwrap());
            assert!(one.take("00003.lease").unwrap());
            assert!(!other.take("00003.lease").unwrap());
            assert!(other.take("00004.lease").unwrap());
            one.release("00003.lease").unwrap();
            assert!(other.take("00003.lease").unwrap());
            one.shared.touch();
            other.shared.touch();
            drop(other);
            assert!(one.take("00003.lease").unwrap() && one.take("00004.lease").unwrap());
            drop(one);
            assert!(folder.names().unwrap().is_empty(), "nothing is left behind");
        }
    }

    #[test]
    fn a_lease_that_nobody_writes_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let path = dir.path().join("00007.lease");
        fs::write(&path, "elsewhere 1\n").unwrap();
        let leases = Leases::new(&folder).unwrap();
        assert!(!leases.take("00007.lease").unwrap());
        let past = SystemTime::now() - 2 * STALE;
        let file = fs::File::open(&path).unwrap();
        file.set_modified(past).unwrap();
        assert!(leases.take("00007.lease").unwrap());
        assert_eq!(holder(&fs::read(&path).unwrap()), owner().trim());
        // And one that was taken from us is not ours to keep fresh.
        fs::write(&path, "elsewhere 1\n").unwrap();
        leases.shared.touch();
        assert_eq!(fs::read_to_string(&path).unwrap(), "elsewhere 1\n");
        leases.release("00007.lease").unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_process_of_this_machine_that_is_gone_holds_nothing() {
        let own = mark();
        assert!(!is_of_the_dead(own.as_bytes()));
        let dead = own.replacen(
            &format!(" {}\n", process::id()),
            &format!(" {}\n", u32::MAX),
            1,
        );
        assert!(is_of_the_dead(dead.as_bytes()), "{dead}");
        let elsewhere = format!("elsewhere {}\n{} 0\n", u32::MAX, processes());
        for lease in [elsewhere.as_str(), "", "x", "x 1\n"] {
            assert!(!is_of_the_dead(lease.as_bytes()), "{lease}");
        }
    }
}
