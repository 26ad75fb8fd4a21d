//! Places where objects live, behind one trait.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sightline_core::{ObjectWriter, ReadAt};

use crate::{Error, FileDigest, Result};

pub(crate) mod cloud;
pub mod local;

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the folder.
    pub name: String,
    /// Its length.
    pub len_bytes: u64,
}

/// What a folder can do, wherever it is. Names are relative and were checked.
pub(crate) trait Backend: Debug + Send + Sync {
    /// The object, to be read at offsets.
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>>;

    /// Whether there is an object of that name, and how long it is.
    fn entry(&self, name: &str) -> Result<Option<Entry>>;

    /// The objects in the folder, not those below; in the order of their names.
    fn entries(&self) -> Result<Vec<Entry>>;

    /// Names of the objects below `folder` at any depth, sorted. `folder` may be empty. Where folders are things of their own
    /// and there is none, the error says so.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Whether there is no object, here or below.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.list("")?.is_empty())
    }

    /// A writer; the object appears whole when it is committed.
    fn create(&self, name: &str) -> Result<Box<dyn ObjectWriter>>;

    /// Puts `bytes` there unless an object has that name; `false` if one has.
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool>;

    /// All bytes, or `None` where there is no such object.
    fn read(&self, name: &str) -> Result<Option<Bytes>>;

    /// The same of many objects.
    fn read_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>> {
        names.iter().map(|name| self.read(name)).collect()
    }

    /// Copies the object into the local file `to`, unless it is stopped.
    fn download(
        &self,
        name: &str,
        to: &Path,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<FileDigest>>;

    /// Removes the object, and says whether there was one (a store may say so always).
    fn remove(&self, name: &str) -> Result<bool>;

    /// Removes the folder `name` if it is empty, where folders are things of their own.
    fn remove_folder(&self, name: &str) -> Result<()>;

    /// Removes what killed processes left, where that has names.
    fn remove_stale_temporaries(&self) -> Result<u64>;

    /// How long ago the object was written, by the clock that the folder's writers share; `None` if it is gone.
    fn age(&self, name: &str) -> Result<Option<Duration>>;
}

/// Refuses names that are not relative paths inside their folder.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let is_hostile = name.contains(['\\', '\0'])
        || (cfg!(windows) && name.contains(':'))
        || name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if is_hostile {
        return Err(Error::Name {
            name: name.chars().take(200).collect(),
        });
    }
    Ok(())
}

/// An error of reading past the end.
pub(crate) fn past_end() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}
