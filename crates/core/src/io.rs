//! Bytes in and bytes out, without saying where they live.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

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
}

/// Where named objects are read from: a folder, a bucket, a table in memory.
pub trait ObjectSource: Send + Sync {
    /// The object called `name`, a relative path with `/` between its parts.
    fn object(&self, name: &str) -> io::Result<Arc<dyn ReadAt>>;
}

/// Where named objects are written to. An object becomes visible under its name when its writer is
/// flushed and dropped without an error, never before.
pub trait ObjectSink: Send {
    /// A writer for the object called `name`, a relative path with `/` between its parts.
    fn object(&mut self, name: &str) -> io::Result<Box<dyn Write + Send + '_>>;
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
    fn reading_past_the_end_is_an_error() {
        let bytes = Bytes::from_static(b"abc");
        assert_eq!(bytes.read_at(1..3).unwrap(), &b"bc"[..]);
        assert!(bytes.read_at(1..4).is_err());
    }
}
