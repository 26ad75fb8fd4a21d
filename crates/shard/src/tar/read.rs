//! Members of an archive, one after the other.

use super::header::{self, Extended, Header, Kind};
use super::{BLOCK, RECORD, padding};
use crate::input::Input;
use crate::members::{Entry, Members};
use crate::{Error, Problem, Result};

/// Reads an archive from its start to its end.
#[derive(Debug)]
pub(crate) struct TarReader {
    input: Input,
    /// Bytes of the current member that were not read yet, with their padding.
    left: u64,
    /// Name of the current member.
    current: Option<String>,
    /// A header that was read already.
    header: Option<[u8; BLOCK]>,
}

impl TarReader {
    /// A reader of the archive in `input`.
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            left: 0,
            current: None,
            header: None,
        }
    }

    /// Offset of the next byte: behind the header of the entry that was read last.
    pub(crate) fn position(&self) -> u64 {
        self.input.position()
    }

    /// Where `entry`, which was read last, ends with its padding.
    pub(crate) fn end_of(&self, entry: &Entry) -> u64 {
        let end = self.input.position().saturating_add(entry.len);
        end.saturating_add(padding(entry.len))
    }

    fn entry(&mut self, header: Header, extended: Extended, first: u64) -> Result<Entry> {
        let name = extended.name.unwrap_or(header.name);
        let limit = self.input.limits.name_len_bytes;
        if name.len() as u64 > limit {
            let problem = Problem::Limit {
                what: "the length of the name in bytes",
                value: name.len() as u64,
                limit,
            };
            return Err(self.input.damaged(first, None, problem));
        }
        let name = String::from_utf8(name)
            .map_err(|_| self.input.damaged(first, None, Problem::NameEncoding))?;
        let plain = name.trim_start_matches("./");
        let entry = Entry {
            name: plain.to_owned(),
            dots: (name.len() - plain.len()) / 2,
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
        let limit = self.input.limits.header_len_bytes;
        if header.len > limit {
            let problem = Problem::Limit {
                what: "the length of the extended header in bytes",
                value: header.len,
                limit,
            };
            return Err(self.input.damaged(offset, None, problem));
        }
        let data = self.input.next_bytes(header.len)?;
        let whole = self.input.skip(padding(header.len))?;
        match data {
            Some(data) if whole => Ok(data),
            _ => Err(self.input.damaged(offset, None, Problem::Truncated)),
        }
    }
}

impl Members for TarReader {
    fn next_entry(&mut self) -> Result<Option<Entry>> {
        let current = self.current.take();
        if !self.input.skip(self.left)? {
            let at = self.input.position();
            return Err(self.input.damaged(at, current, Problem::Truncated));
        }
        self.left = 0;
        let read_already = self.header.map_or(0, |header| header.len() as u64);
        let first = self.input.position() - read_already;
        let mut extended = Extended::default();
        loop {
            let mut offset = self.input.position();
            let mut block = [0; BLOCK];
            if let Some(header) = self.header.take() {
                offset = first;
                block = header;
            } else if !self.input.fill(&mut block)? {
                return Err(self.input.damaged(offset, None, Problem::Truncated));
            }
            let header = header::parse(&block).map_err(|p| self.input.damaged(offset, None, p))?;
            let Some(header) = header else {
                return Ok(None);
            };
            match header.kind {
                Kind::PaxRecords => {
                    let records = self.extended_header(&header, offset)?;
                    let added = extended.add_pax(&records);
                    added.map_err(|p| self.input.damaged(offset, None, p))?;
                }
                Kind::LongName => extended.add_gnu_name(&self.extended_header(&header, offset)?),
                _ => return self.entry(header, extended, first).map(Some),
            }
        }
    }

    fn data(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        if entry.len > limit {
            let problem = Problem::Limit {
                what: "its length in bytes",
                value: entry.len,
                limit,
            };
            return Err(self.at(entry, problem));
        }
        let start = self.input.position();
        let Some(data) = self.input.next_bytes(entry.len)? else {
            let current = self.current.clone();
            return Err(self.input.damaged(start, current, Problem::Truncated));
        };
        self.left -= entry.len;
        Ok(data)
    }

    fn at(&self, entry: &Entry, problem: Problem) -> Error {
        let member = Some(entry.name.clone());
        self.input.damaged(entry.offset, member, problem)
    }

    /// The next block that is a header by its checksum.
    fn resync(&mut self) -> Result<bool> {
        self.left = 0;
        self.current = None;
        let mut block = [0; BLOCK];
        while self.input.fill(&mut block)? {
            if let Ok(Some(_)) = header::parse(&block) {
                self.header = Some(block);
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn count_sample(&mut self) {
        self.input.samples += 1;
    }

    /// Checks that after the end mark there is padding only.
    fn check_end(&mut self) -> Result<()> {
        let mut buffer = [0; RECORD as usize];
        loop {
            let offset = self.input.position();
            let n = self.input.fill_or_end(&mut buffer)?;
            if let Some(at) = buffer[..n].iter().position(|&b| b != 0) {
                let at = offset + at as u64;
                return Err(self.input.damaged(at, None, Problem::DataAfterEnd));
            }
            if n < buffer.len() {
                return Ok(());
            }
        }
    }
}
