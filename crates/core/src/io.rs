//! Bytes in and bytes out, without saying where they live.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};

/// Bytes that can be read at any offset: a local file, an object in a store, a buffer.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Exactly the bytes of `range`; an error of kind `UnexpectedEof` when it ends past the end.
    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes>;

    /// What tells these bytes from others that have had the same name: a store's tag, a file's time of change. `None`
    /// where nothing does.
    fn version(&self) -> Option<String> {
        None
    }
}

/// Where named objects are read from: a folder, a bucket, a table in memory.
pub trait ObjectSource: Send + Sync {
    /// The object called `name`, a relative path with `/` between its parts.
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>>;

    /// Names of the objects below the folder `folder`, at any depth, sorted by their bytes.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// The same source, to be kept.
    fn shared(&self) -> Arc<dyn ObjectSource>;
}

/// Where named objects are written to.
pub trait ObjectSink: Send {
    /// A writer for the object called `name`, a relative path with `/` between its parts.
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>>;
}

/// Writes one object, which becomes visible under its name, whole, when it is committed. Dropping
/// the writer without committing leaves nothing behind, and leaves an older object of that name as
/// it was.
pub trait ObjectWriter: Write + Send {
    /// Makes the object visible; on return it survives a crash as well as the sink can promise.
    fn commit(self: Box<Self>) -> io::Result<()>;
}

impl ReadAt for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.as_ref().len() as u64)
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        let len = self.as_ref().len() as u64;
        if range.start > range.end || range.end > len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(self.slice(range.start as usize..range.end as usize))
    }
}

/// Named objects in memory: a source and a sink. Clones share the objects.
///
/// ```
/// use std::io::Write;
/// use sightline_core::io::{Memory, ObjectSink, ObjectSource};
///
/// let mut objects = Memory::default();
/// let mut writer = objects.create("a/b")?;
/// writer.write_all(b"abc")?;
/// writer.commit()?;
/// assert_eq!(objects.object("a/b")?.len()?, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Memory {
    /// Puts `bytes` under `name`.
    pub fn insert(&self, name: &str, bytes: impl Into<Bytes>) {
        self.objects().insert(name.to_owned(), bytes.into());
    }

    /// The bytes under `name`.
    pub fn bytes(&self, name: &str) -> Option<Bytes> {
        self.objects().get(name).cloned()
    }

    /// Names of all objects, sorted.
    pub fn names(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        // A map is whole after any panic elsewhere: each change is a single call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectSource for Memory {
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no object `{name}`"));
        Ok(Arc::new(self.bytes(name).ok_or_else(missing)?))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let is_below = |name: &&String| {
            name.strip_prefix(folder)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        Ok(self.objects().keys().filter(is_below).cloned().collect())
    }

    fn shared(&self) -> Arc<dyn ObjectSource> {
        Arc::new(self.clone())
    }
}

impl ObjectSink for Memory {
    fn create(&mut self, name: &str) -> io::Result<Box<dyn ObjectWriter + '_>> {
        Ok(Box::new(MemoryWriter {
            objects: self.clone(),
            name: name.to_owned(),
            bytes: Vec::new(),
        }))
    }
}

struct MemoryWriter {
    objects: Memory,
    name: String,
    bytes: Vec<u8>,
}

impl Write for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ObjectWriter for MemoryWriter {
    fn commit(self: Box<Self>) -> io::Result<()> {
        self.objects.insert(&self.name, self.bytes);
        Ok(())
    }
}

/// Reads a [`ReadAt`] from its start to its end, in pieces of 1 MiB.
#[derive(Clone)]
pub struct Sequential {
    source: Arc<dyn ReadAt>,
    position: u64,
    len: u64,
    piece: Bytes,
}

impl Sequential {
    const PIECE: u64 = 1 << 20;

    /// A reader at the first byte of `source`.
    pub fn new(source: Arc<dyn ReadAt>) -> io::Result<Self> {
        let len = source.len()?;
        Ok(Self {
            source,
            position: 0,
            len,
            piece: Bytes::new(),
        })
    }

    /// Offset of the next byte.
    pub fn position(&self) -> u64 {
        self.position - self.piece.len() as u64
    }

    /// Bytes from here to the end.
    pub fn remaining(&self) -> u64 {
        self.len - self.position()
    }

    /// Passes over up to `n` bytes without reading those beyond the current piece, and says how
    /// many there were.
    pub fn skip(&mut self, n: u64) -> u64 {
        let n = n.min(self.remaining());
        let held = self.piece.len() as u64;
        if n <= held {
            self.piece.advance(n as usize);
        } else {
            self.piece.clear();
            self.position += n - held;
        }
        n
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequential")
            .field("position", &self.position())
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.len.min(self.position.saturating_add(Self::PIECE));
            self.piece = self.source.read_at(self.position..end)?;
            self.position = end;
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece.split_to(n));
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequential_yields_every_byte_once() {
        let data: Vec<u8> = (0..3_000_000u32).map(|i| i as u8).collect();
        let mut reader = Sequential::new(Arc::new(Bytes::from(data.clone()))).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, data);
        assert_eq!(reader.position(), 3_000_000);
    }

    #[test]
    fn skipping_equals_reading_and_dropping() {
        let data: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut reader = Sequential::new(Arc::new(Bytes::from(data.clone()))).unwrap();
        let mut at = 0;
        for n in [1, 500, 1 << 20, 3, (1 << 20) - 4, 700_000] {
            assert_eq!(reader.skip(n), n);
            at += n as usize;
            let mut byte = [0];
            reader.read_exact(&mut byte).unwrap();
            assert_eq!(byte[0], data[at]);
            at += 1;
            assert_eq!(reader.position(), at as u64);
        }
        let rest = reader.remaining();
        assert_eq!(reader.skip(u64::MAX), rest);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn an_object_in_memory_is_visible_once_committed() {
        let mut objects = Memory::default();
        objects.insert("a", &b"old"[..]);
        let mut writer = objects.create("a").unwrap();
        writer.write_all(b"new").unwrap();
        drop(writer);
        assert_eq!(objects.bytes("a").unwrap(), "old");
        let mut writer = objects.create("a").unwrap();
        writer.write_all(b"new").unwrap();
        writer.commit().unwrap();
        assert_eq!(objects.bytes("a").unwrap(), "new");
        assert!(objects.object("b").is_err());
    }

    #[test]
    fn objects_are_listed_by_folder() {
        let objects = Memory::default();
        for name in ["a/2", "a/1/x", "ab", "b/1"] {
            objects.insert(name, &b""[..]);
        }
        assert_eq!(objects.shared().list("a").unwrap(), ["a/1/x", "a/2"]);
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let bytes = Bytes::from_static(b"abc");
        assert_eq!(bytes.read_at(1..3).unwrap(), &b"bc"[..]);
        assert!(bytes.read_at(1..4).is_err());
    }
}
