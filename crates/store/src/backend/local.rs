//! A folder of the local file system.
//!
//! Objects are files, named by their path below the folder. Names MUST be relative and MUST NOT hold
//! an empty, `.` or `..` part, a backslash or a NUL, so that a name from a foreign list cannot point
//! outside. Symbolic links that a person put into the folder are followed.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sightline_core::{ObjectSink, ObjectSource, ObjectWriter, ReadAt};

use crate::{AtomicFile, Error, Result};

/// A folder that objects are read from and written to.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder `root`, which must exist.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let meta = fs::metadata(&root).map_err(Error::file("open", &root))?;
        if meta.is_dir() {
            return Ok(Self { root });
        }
        Err(Error::file("open", root)(
            io::ErrorKind::NotADirectory.into(),
        ))
    }

    /// The folder `root`, made with those above it where they are missing.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(Error::file("create", &root))?;
        Ok(Self { root })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file of the object called `name`, there or not.
    pub fn path_of(&self, name: &str) -> Result<PathBuf> {
        let is_hostile = name.contains(['\\', '\0'])
            || (cfg!(windows) && name.contains(':'))
            || name.split('/').any(|part| matches!(part, "" | "." | ".."));
        if is_hostile {
            return Err(Error::Name {
                name: name.chars().take(200).collect(),
            });
        }
        Ok(self.root.join(name))
    }

    /// Opens the object called `name`.
    pub fn file(&self, name: &str) -> Result<FileAt> {
        FileAt::open(self.path_of(name)?)
    }
}

impl ObjectSource for Folder {
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(self.file(name)?))
    }

    /// Links to folders are not followed, so that a circle of them ends.
    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let path = self.path_of(&folder)?;
            for entry in fs::read_dir(&path).map_err(Error::file("list", &path))? {
                let entry = entry.map_err(Error::file("list", &path))?;
                let kind = entry.file_type().map_err(Error::file("list", &path))?;
                let Ok(name) = entry.file_name().into_string() else {
                    return Err(Error::NotUtf8 { path: entry.path() }.into());
                };
                let name = format!("{folder}/{name}");
                if kind.is_dir() {
                    folders.push(name);
                } else {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn shared(&self) -> Arc<dyn ObjectSource> {
        Arc::new(self.clone())
    }
}

impl ObjectSink for Folder {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
        let path = self.path_of(name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        Ok(Box::new(AtomicFile::create(path)?))
    }
}

/// An open file, read at offsets: any number of threads may read at once.
#[derive(Debug)]
pub struct FileAt {
    file: File,
    path: PathBuf,
    len: u64,
}

impl FileAt {
    /// Opens the file `path`. Its length is taken now; bytes appended later are not seen.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let opened = File::open(&path).and_then(|file| {
            let meta = file.metadata()?;
            if meta.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, meta.len()))
        });
        match opened {
            Ok((file, len)) => Ok(Self { file, path, len }),
            Err(e) => Err(Error::file("open", path)(e)),
        }
    }
}

impl ReadAt for FileAt {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut buffer = vec![0; len];
        read_exact_at(&self.file, &mut buffer, range.start)
            .map_err(Error::file("read", &self.path))?;
        Ok(buffer.into())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
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
