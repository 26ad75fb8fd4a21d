//! A folder of the local file system.
//!
//! Objects are files, named by their path below the folder. Names MUST be relative and MUST NOT hold
//! an empty, `.` or `..` part, a backslash or a NUL, so that a name from a foreign list cannot point
//! outside. Symbolic links that a person put into the folder are followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sightline_core::{ObjectWriter, ReadAt};

use crate::backend::{Backend, Entry, check_name, past_end};
use crate::{AtomicFile, Error, FileDigest, Result, digest_file, remove_stale_temporaries};

/// A local folder.
#[derive(Debug)]
pub(crate) struct Local {
    root: PathBuf,
}

impl Local {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path_of(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.root.join(name))
    }
}

impl Backend for Local {
    fn open(&self, name: &str) -> Result<Arc<dyn ReadAt>> {
        Ok(Arc::new(FileAt::open(self.path_of(name)?)?))
    }

    fn entry(&self, name: &str) -> Result<Option<Entry>> {
        let path = self.path_of(name)?;
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => Ok(Some(Entry {
                name: name.to_owned(),
                len_bytes: meta.len(),
            })),
            Ok(_) => Ok(None),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(Error::file("read", path)(e)),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let failed = || Error::file("list", &self.root);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let Ok(meta) = fs::metadata(entry.path()) else {
                // A link to nothing is told when it is opened; what else is not there was removed since it was listed.
                if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                    entries.push(Entry { name, len_bytes: 0 });
                }
                continue;
            };
            if meta.is_file() {
                let len_bytes = meta.len();
                entries.push(Entry { name, len_bytes });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Links to folders are not followed, so that a circle of them ends.
    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let path = if folder.is_empty() {
                self.root.clone()
            } else {
                self.path_of(&folder)?
            };
            for entry in fs::read_dir(&path).map_err(Error::file("list", &path))? {
                let entry = entry.map_err(Error::file("list", &path))?;
                let kind = entry.file_type().map_err(Error::file("list", &path))?;
                let Ok(name) = entry.file_name().into_string() else {
                    return Err(Error::NotUtf8 { path: entry.path() });
                };
                let name = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
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

    fn create(&self, name: &str) -> Result<Box<dyn ObjectWriter>> {
        let path = self.path_of(name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
        }
        Ok(Box::new(AtomicFile::create(path)?))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.path_of(name)?;
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => {
                file.write_all(bytes).map_err(Error::file("write", &path))?;
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(Error::file("create", path)(e)),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let path = self.path_of(name)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(Error::file("read", path)(e)),
        }
    }

    fn download(&self, name: &str, to: &Path, _: &dyn Fn() -> bool) -> Result<Option<FileDigest>> {
        let path = self.path_of(name)?;
        fs::copy(&path, to).map_err(Error::file("copy", &path))?;
        digest_file(to).map(Some)
    }

    fn remove(&self, name: &str) -> Result<bool> {
        let path = self.path_of(name)?;
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(e) if is_missing(&e) => Ok(false),
            Err(e) => Err(Error::file("remove", path)(e)),
        }
    }

    fn remove_folder(&self, name: &str) -> Result<()> {
        let path = self.path_of(name)?;
        match fs::remove_dir(&path) {
            Err(e) if !is_missing(&e) && e.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(Error::file("remove", path)(e))
            }
            _ => Ok(()),
        }
    }

    fn remove_stale_temporaries(&self) -> Result<u64> {
        remove_stale_temporaries(&self.root)
    }

    /// By the clock of the file system, which several machines share.
    fn age(&self, name: &str) -> Result<Option<Duration>> {
        let path = self.path_of(name)?;
        let failed = || Error::file("read", &path);
        let written = match fs::metadata(&path) {
            Ok(file) => file.modified().map_err(failed())?,
            Err(e) if is_missing(&e) => return Ok(None),
            Err(e) => return Err(failed()(e)),
        };
        let probe = self.root.join(format!(".clock.{}-0.tmp", process::id()));
        let now = File::create(&probe)
            .and_then(|file| file.metadata()?.modified())
            .map_err(Error::file("create", &probe))?;
        fs::remove_file(&probe)
            .or_else(|e| if is_missing(&e) { Ok(()) } else { Err(e) })
            .map_err(Error::file("remove", &probe))?;
        Ok(Some(now.duration_since(written).unwrap_or_default()))
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
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

    /// The open file `file`, called `path` in errors. Locks on it stay as long as this lives.
    pub fn of(file: File, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        match file.metadata() {
            Ok(meta) => Ok(Self {
                file,
                path,
                len: meta.len(),
            }),
            Err(e) => Err(Error::file("read", path)(e)),
        }
    }
}

impl ReadAt for FileAt {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.start > range.end || range.end > self.len {
            return Err(past_end());
        }
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut buffer = vec![0; len];
        read_exact_at(&self.file, &mut buffer, range.start)
            .map_err(Error::file("read", &self.path))?;
        Ok(buffer.into())
    }

    /// When it was changed, in nanoseconds since 1970.
    fn version(&self) -> Option<String> {
        let modified = self.file.metadata().and_then(|meta| meta.modified()).ok()?;
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_nanos().to_string())
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
