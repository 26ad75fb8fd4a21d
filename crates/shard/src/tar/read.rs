//! Members of an archive, one after the other.

use std::io::Read;
use std::sync::Arc;

use sightline_core::ReadAt;
use sightline_core::io::Sequential;

use super::header::{self, Extended, Header, Kind};
use super::{BLOCK, RECORD, padding};
use crate::{Error, Limits, Place, Problem, Result};

/// Reads an archive from its start to its end.
#[derive(Debug)]
pub(crate) struct TarReader {
    shard: String,
    limits: Limits,
    source: Sequential,
    /// Bytes of the current member that were not read yet, with their padding.
    left: u64,
    /// Name of the current member.
    current: Option<String>,
    /// For errors: whole samples that the caller has counted.
    pub(crate) samples: u64,
}

/// A member, before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name, without a leading `./`.
    pub(crate) name: String,
    /// Length of its data.
    pub(crate) len: u64,
    /// Offset of its first header.
    pub(crate) offset: u64,
    /// Whether it is a file.
    pub(crate) is_file: bool,
}

impl TarReader {
    /// A reader of the archive in `source`, called `shard` in errors.
    pub(crate) fn new(source: Arc<dyn ReadAt>, shard: &str, limits: Limits) -> Result<Self> {
        let source = Sequential::new(source).map_err(|source| Error::Io {
            action: "read",
            shard: shard.to_owned(),
            source,
        })?;
        Ok(Self {
            shard: shard.to_owned(),
            limits,
            source,
            left: 0,
            current: None,
            samples: 0,
        })
    }

    /// The next member, or `None` at the end mark. What is left of the current one is passed over.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>> {
        let current = self.current.take();
        if self.source.skip(self.left) < self.left {
            return Err(self.damaged(self.source.position(), current, Problem::Truncated));
        }
        self.left = 0;
        let first = self.source.position();
        let mut extended = Extended::default();
        loop {
            let offset = self.source.position();
            let mut block = [0; BLOCK];
            if self.source.remaining() < BLOCK as u64 {
                return Err(self.damaged(offset, None, Problem::Truncated));
            }
            self.fill(&mut block)?;
            let header = header::parse(&block).map_err(|p| self.damaged(offset, None, p))?;
            let Some(header) = header else {
                return Ok(None);
            };
            match header.kind {
                Kind::PaxRecords => {
                    let records = self.extended_header(&header, offset)?;
                    let added = extended.add_pax(&records);
                    added.map_err(|p| self.damaged(offset, None, p))?;
                }
                Kind::LongName => extended.add_gnu_name(&self.extended_header(&header, offset)?),
                _ => return self.entry(header, extended, first).map(Some),
            }
        }
    }

    /// The data of `entry`, which must be the one that was read last, at most `limit` bytes long.
    pub(crate) fn data(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        if entry.len > limit {
            let problem = Problem::Limit {
                what: "its length in bytes",
                value: entry.len,
                limit,
            };
            return Err(self.at(entry, problem));
        }
        if entry.len > self.source.remaining() {
            return Err(self.damaged(
                self.source.position(),
                self.current.clone(),
                Problem::Truncated,
            ));
        }
        let mut data = vec![0; entry.len as usize];
        self.fill(&mut data)?;
        self.left -= entry.len;
        Ok(data)
    }

    /// The error that `problem` is for `entry`.
    pub(crate) fn at(&self, entry: &Entry, problem: Problem) -> Error {
        self.damaged(entry.offset, Some(entry.name.clone()), problem)
    }

    fn entry(&mut self, header: Header, extended: Extended, first: u64) -> Result<Entry> {
        let name = extended.name.unwrap_or(header.name);
        if name.len() as u64 > self.limits.name_len_bytes {
            let problem = Problem::Limit {
                what: "the length of the name in bytes",
                value: name.len() as u64,
                limit: self.limits.name_len_bytes,
            };
            return Err(self.damaged(first, None, problem));
        }
        let name = String::from_utf8(name)
            .map_err(|_| self.damaged(first, None, Problem::NameEncoding))?;
        let mut plain = name.as_str();
        while let Some(rest) = plain.strip_prefix("./") {
            plain = rest;
        }
        let entry = Entry {
            name: plain.to_owned(),
            len: match header.kind {
                Kind::Bare => 0,
                _ => extended.len.unwrap_or(header.len),
            },
            offset: first,
            is_file: header.kind == Kind::File,
        };
        if header.kind == Kind::Sparse || extended.is_sparse {
            return Err(self.at(&entry, Problem::Sparse));
        }
        self.left = entry.len.saturating_add(padding(entry.len));
        self.current = Some(entry.name.clone());
        Ok(entry)
    }

    /// The data of an extended header.
    fn extended_header(&mut self, header: &Header, offset: u64) -> Result<Vec<u8>> {
        let limit = self.limits.header_len_bytes;
        if header.len > limit {
            let problem = Problem::Limit {
                what: "the length of the extended header in bytes",
                value: header.len,
                limit,
            };
            return Err(self.damaged(offset, None, problem));
        }
        if header.len + padding(header.len) > self.source.remaining() {
            return Err(self.damaged(offset, None, Problem::Truncated));
        }
        let mut data = vec![0; header.len as usize];
        self.fill(&mut data)?;
        self.source.skip(padding(header.len));
        Ok(data)
    }

    /// Checks that after the end mark there is padding only.
    pub(crate) fn check_end(&mut self) -> Result<()> {
        let mut buffer = [0; RECORD as usize];
        while self.source.remaining() > 0 {
            let offset = self.source.position();
            let n = self.source.remaining().min(RECORD) as usize;
            self.fill(&mut buffer[..n])?;
            if let Some(at) = buffer[..n].iter().position(|&b| b != 0) {
                return Err(self.damaged(offset + at as u64, None, Problem::DataAfterEnd));
            }
        }
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.source.read_exact(buffer).map_err(|source| Error::Io {
            action: "read",
            shard: self.shard.clone(),
            source,
        })
    }

    fn damaged(&self, offset: u64, member: Option<String>, problem: Problem) -> Error {
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
}
