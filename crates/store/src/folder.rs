//! A folder of objects: of the local file system, or of an object store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use bytes::Bytes;
use sightline_core::{ObjectSink, ObjectSource, ObjectWriter, ReadAt};

use crate::backend::cloud::Cloud;
use crate::backend::local::{FileAt, Local};
use crate::backend::{Backend, Entry, check_name};
use crate::{Error, FileDigest, Result};

/// A folder that objects are read from and written to. Objects are named by their path below it: names MUST be relative and
/// MUST NOT hold an empty, `.` or `..` part, a backslash or a NUL, so that a name from a foreign list cannot point outside.
///
/// Local folders come from [`Folder::open`] and [`Folder::create`], those of object stores from [`crate::Stores`].
#[derive(Clone)]
pub struct Folder {
    backend: Arc<dyn Backend>,
    /// Of a folder of a store: its address, to be shown.
    root: PathBuf,
    /// The folder of a store.
    cloud: Option<Arc<Cloud>>,
}

impl Folder {
    /// The local folder `root`, which must exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let meta = fs::metadata(&root).map_err(Error::file("open", &root))?;
        if meta.is_dir() {
            return Ok(Self::local(root));
        }
        Err(Error::file("open", root)(
            io::ErrorKind::NotADirectory.into(),
        ))
    }

    /// The local folder `root`, made with those above it where they are missing.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        Ok(Self::local(root))
    }

    fn local(root: PathBuf) -> Self {
        Self {
            backend: Arc::new(Local::new(root.clone())),
            root,
            cloud: None,
        }
    }

    pub(crate) fn cloud(cloud: Cloud) -> Self {
        let cloud = Arc::new(cloud);
        Self {
            root: cloud.address().to_string().into(),
            backend: Arc::clone(&cloud) as Arc<dyn Backend>,
            cloud: Some(cloud),
        }
    }

    /// Where it is: a path, or the address of a folder of a store, which is good for being shown only.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is a folder of the local file system.
    pub fn is_local(&self) -> bool {
        self.cloud.is_none()
    }

    /// Whether it is all of a bucket, with whatever else is in it.
    pub fn is_bucket(&self) -> bool {
        let cloud = self.cloud.as_ref();
        cloud.is_some_and(|cloud| cloud.address().key().is_empty())
    }

    /// The folder called `name` in this one; a local one is made where it is missing.
    pub fn below(&self, name: &str) -> Result<Self> {
        if let Some(cloud) = &self.cloud {
            return Ok(Self::cloud(cloud.below(name)?));
        }
        check_name(name)?;
        Self::create(self.root.join(name))
    }

    /// How the object called `name` is shown to people.
    pub fn shown(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The file of the object called `name`, there or not. Folders of stores have none.
    pub fn path_of(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        if !self.is_local() {
            return Err(Error::NotLocal {
                path: self.shown(name),
            });
        }
        Ok(self.root.join(name))
    }

    /// Opens the object called `name` as a local file.
    pub fn file(&self, name: &str) -> Result<FileAt> {
        FileAt::open(self.path_of(name)?)
    }

    /// Whether there is an object called `name`, and how long it is.
    pub fn entry(&self, name: &str) -> Result<Option<Entry>> {
        self.backend.entry(name)
    }

    /// The objects in the folder, not those below, sorted by name.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.backend.entries()
    }

    /// Names of all objects below, sorted.
    pub fn names(&self) -> Result<Vec<String>> {
        self.backend.list("")
    }

    /// Whether there is no object, here or below.
    pub fn is_empty(&self) -> Result<bool> {
        self.backend.is_empty()
    }

    /// All bytes of the object called `name`, or `None` where there is none. For small ones: a store gives no more than 1 GiB.
    pub fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.backend.read(name)
    }

    /// The same of several objects, from a store many at once.
    pub fn read_all(&self, names: &[String]) -> Result<Vec<Option<Bytes>>> {
        self.backend.read_all(names)
    }

    /// A writer of the object called `name`, which appears whole when it is committed.
    pub fn begin(&self, name: &str) -> Result<Box<dyn ObjectWriter>> {
        self.backend.create(name)
    }

    /// Writes `bytes` as the object called `name`, whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut writer = self.begin(name)?;
        writer
            .write_all(bytes)
            .and_then(|()| writer.commit())
            .map_err(|error| Error::from_io("write", &self.shown(name), error))
    }

    /// Writes `bytes` as the object called `name` unless there is one; `false` if there is. Only one of several who try at
    /// the same time is told `true`, but somebody who reads a local file meanwhile may see a part of it.
    pub fn write_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.backend.put_new(name, bytes)
    }

    /// Copies the object called `name` into the local file `to`, and gives back its length and digest; `None` when
    /// `is_stopped` before it is there.
    pub fn download(
        &self,
        name: &str,
        to: &Path,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Option<FileDigest>> {
        self.backend.download(name, to, is_stopped)
    }

    /// Removes the object called `name`; `false` if it was not there (stores do not always tell).
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.backend.remove(name)
    }

    /// Removes the folder called `name`, unless something is in it. Stores have no empty folders.
    pub fn remove_folder(&self, name: &str) -> Result<()> {
        self.backend.remove_folder(name)
    }

    /// Removes what killed processes left in the folder (not below it), and says how much. Unfinished objects of a store are
    /// out of sight, and the store's own rules remove them.
    pub fn remove_stale_temporaries(&self) -> Result<u64> {
        self.backend.remove_stale_temporaries()
    }

    /// How long ago the object called `name` was written, by the clock that all writers of the folder share: the file system's
    /// or the store's. `None` if there is none.
    pub fn age(&self, name: &str) -> Result<Option<Duration>> {
        self.backend.age(name)
    }

    /// Length and SHA-256 of the object called `name`, read in bounded pieces.
    pub fn digest(&self, name: &str) -> Result<FileDigest> {
        if self.is_local() {
            return crate::digest_file(self.path_of(name)?);
        }
        let failed = |error| Error::from_io("read", &self.shown(name), error);
        let object = self.backend.open(name)?;
        let reader = sightline_core::io::Sequential::new(object).map_err(failed)?;
        let (sha256, len_bytes) = sightline_core::Digest::of_reader(reader).map_err(failed)?;
        Ok(FileDigest { len_bytes, sha256 })
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl ObjectSource for Folder {
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        Ok(self.backend.open(name)?)
    }

    /// Links to local folders are not followed, so that a circle of them ends.
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        check_name(folder)?;
        Ok(self.backend.list(folder)?)
    }

    fn shared(&self) -> Arc<dyn ObjectSource> {
        Arc::new(self.clone())
    }
}

impl ObjectSink for Folder {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
        Ok(self.backend.create(name)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn objects_are_written_whole_and_read_at_any_offset() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::create(dir.path().join("new/one")).unwrap();
        let mut writer = folder.create("a/b.bin").unwrap();
        writer.write_all(b"0123456789").unwrap();
        drop(writer);
        assert!(folder.object("a/b.bin").is_err());

        let mut writer = folder.create("a/b.bin").unwrap();
        writer.write_all(b"0123456789").unwrap();
        writer.commit().unwrap();
        let object = folder.object("a/b.bin").unwrap();
        assert_eq!(object.len().unwrap(), 10);
        assert_eq!(object.read_at(3..7).unwrap(), "3456");
        assert_eq!(object.read_at(10..10).unwrap(), "");
        fs::write(folder.root().join("a/a"), b"").unwrap();
        assert_eq!(folder.shared().list("a").unwrap(), ["a/a", "a/b.bin"]);
        assert!(folder.list("..").is_err());
        for range in [9..11, 11..11, u64::MAX - 1..u64::MAX] {
            let error = object.read_at(range).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(dir.path()).unwrap();
        for name in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a//b",
            "./a",
            "a\\b",
            "a\0",
        ] {
            assert!(folder.object(name).is_err(), "{name:?}");
            let error = folder.create(name).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn what_is_missing_or_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let error = folder.object("none.tar").err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("none.tar"), "{error}");
        assert!(folder.object("sub").is_err());
        assert!(Folder::open(dir.path().join("none")).is_err());
    }
}
