//! A shard that is read from its start to its end, and what errors say about the place.

use std::io;
use std::sync::Arc;

use sightline_core::{ObjectSource, ReadAt};

use crate::compression::{Compression, Stream};
use crate::{Error, Limits, Place, Problem, Result};

/// The bytes of a shard in order, decompressed where they are compressed.
#[derive(Debug)]
pub(crate) struct Input {
    shard: String,
    stream: Stream,
    pub(crate) limits: Limits,
    /// For errors: whole samples that the caller has counted.
    pub(crate) samples: u64,
}

/// The object called `name`.
pub(crate) fn object(source: &dyn ObjectSource, name: &str) -> Result<Arc<dyn ReadAt>> {
    source.object(name).map_err(|source| Error::Io {
        action: "open",
        shard: name.to_owned(),
        source,
    })
}

impl Input {
    /// Opens the shard `name` of `source`.
    pub(crate) fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        Self::new(object(source, name)?, name, limits)
    }

    /// The shard in `object`, called `shard` in errors.
    pub(crate) fn new(object: Arc<dyn ReadAt>, shard: &str, limits: Limits) -> Result<Self> {
        let stream = Stream::new(object).map_err(|source| Error::Io {
            action: "read",
            shard: shard.to_owned(),
            source,
        })?;
        Ok(Self {
            shard: shard.to_owned(),
            stream,
            limits,
            samples: 0,
        })
    }

    /// How the shard is compressed.
    pub(crate) fn compression(&self) -> Compression {
        self.stream.compression()
    }

    /// Offset of the next byte, after decompression.
    pub(crate) fn position(&self) -> u64 {
        self.stream.position()
    }

    /// Fills `buffer`; `false` when there are too few bytes.
    pub(crate) fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        Ok(self.fill_or_end(buffer)? == buffer.len())
    }

    /// Fills `buffer` as far as there are bytes and says how far.
    pub(crate) fn fill_or_end(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let filled = self.stream.fill(buffer);
        filled.map_err(|e| self.io(e))
    }

    /// The next `len` bytes, or `None` when there are too few.
    pub(crate) fn next_bytes(&mut self, len: u64) -> Result<Option<Vec<u8>>> {
        if self.stream.lacks(len) {
            return Ok(None);
        }
        match self.stream.next_bytes(len) {
            Ok(bytes) => Ok((bytes.len() as u64 == len).then_some(bytes)),
            Err(e) => Err(self.io(e)),
        }
    }

    /// Passes over `n` bytes; `false` when there are too few.
    pub(crate) fn skip(&mut self, n: u64) -> Result<bool> {
        match self.stream.skip(n) {
            Ok(skipped) => Ok(skipped == n),
            Err(e) => Err(self.io(e)),
        }
    }

    /// The error that `problem` at `offset` is.
    pub(crate) fn damaged(&self, offset: u64, member: Option<String>, problem: Problem) -> Error {
        Error::Damaged {
            place: Box::new(Place {
                shard: self.shard.clone(),
                member,
                offset,
                samples: self.samples,
            }),
            problem,
        }
    }

    /// Decompressors report damage as errors of reading.
    fn io(&self, source: io::Error) -> Error {
        use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
        let is_compressed = self.stream.compression() != Compression::None;
        let problem = match source.kind() {
            UnexpectedEof if is_compressed => Problem::Truncated,
            InvalidData | InvalidInput | Other if is_compressed => Problem::Compression(source),
            _ => {
                return Error::Io {
                    action: "read",
                    shard: self.shard.clone(),
                    source,
                };
            }
        };
        self.damaged(self.position(), None, problem)
    }
}
