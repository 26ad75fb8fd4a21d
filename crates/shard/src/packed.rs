//! Items behind a table of offsets: what MDS shards and litData chunks have in common.
//!
//! ```text
//! u32 n | u32 offsets[n + 1] | head | items
//! ```
//!
//! All numbers are little endian. Offsets count from the start of the shard; the first is the end of the
//! head, the last the end of the shard, and none is smaller than the one before.

use std::io::Write;
use std::sync::Arc;

use sightline_core::{ObjectSink, ObjectSource, ReadAt, Sample};

use crate::compression::Compression;
use crate::format::SampleAt;
use crate::input::{self, Input};
use crate::output::{Digesting, Ledger};
use crate::row::Origin;
use crate::{Error, Limits, Place, Problem, ReaderStats, Result, ShardSummary};

/// Most items of a shard: their offsets take 64 MiB.
const MAX_ITEMS: u64 = 1 << 24;

/// Longest shard before compression. Offsets stand before the items, so that writing holds a whole shard.
pub(crate) const MAX_LEN_BYTES: u64 = 1 << 30;

/// Holds the items of a shard until it is finished.
pub(crate) struct PackedWriter<'a> {
    out: Digesting<'a>,
    ledger: Ledger,
    head: Vec<u8>,
    items: Vec<u8>,
    /// Where each item ends in `items`.
    ends: Vec<u32>,
    compression: Compression,
}

impl<'a> PackedWriter<'a> {
    /// Begins the shard `name` with `head` before its items.
    pub(crate) fn create(
        sink: &'a mut dyn ObjectSink,
        name: &str,
        head: Vec<u8>,
        compression: Compression,
    ) -> Result<Self> {
        Ok(Self {
            out: Digesting::create(sink, name)?,
            ledger: Ledger::new(name),
            head,
            items: Vec::new(),
            ends: Vec::new(),
            compression,
        })
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Adds the item that holds `sample`: the length of each of `columns`, then the columns.
    pub(crate) fn push(&mut self, sample: &Sample, columns: &[&[u8]]) -> Result<()> {
        self.ledger.check()?;
        let data: u64 = columns.iter().map(|column| column.len() as u64).sum();
        let len = 4 * columns.len() as u64 + data;
        let whole = self.start(1) + self.items.len() as u64 + len;
        if whole > MAX_LEN_BYTES {
            return Err(Error::ShardTooLarge {
                shard: self.ledger.shard.clone(),
                key: sample.key.clone(),
                limit_bytes: MAX_LEN_BYTES,
            });
        }
        self.ledger.admit(&sample.key)?;
        for column in columns {
            self.items
                .extend_from_slice(&(column.len() as u32).to_le_bytes());
        }
        for column in columns {
            self.items.extend_from_slice(column);
        }
        self.ends.push(self.items.len() as u32);
        Ok(())
    }

    /// Where the items begin when there are `more` of them than now.
    fn start(&self, more: u64) -> u64 {
        4 + 4 * (self.ends.len() as u64 + more + 1) + self.head.len() as u64
    }

    pub(crate) fn finish(mut self) -> Result<ShardSummary> {
        self.ledger.check()?;
        let start = self.start(0) as u32;
        let mut front = Vec::with_capacity(start as usize);
        front.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        front.extend_from_slice(&start.to_le_bytes());
        for end in &self.ends {
            front.extend_from_slice(&(start + end).to_le_bytes());
        }
        front.extend_from_slice(&self.head);
        let wrote = match self.compression {
            Compression::Zstd => {
                front.append(&mut self.items);
                compress(&front).and_then(|bytes| self.out.write_all(&bytes))
            }
            _ => self
                .out
                .write_all(&front)
                .and_then(|()| self.out.write_all(&self.items)),
        };
        self.ledger.wrote(wrote)?;
        self.out.commit(&self.ledger)
    }
}

/// One zstd frame that says how long its contents are, without which Python's `zstd` refuses it.
fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(3)?;
    compressor.include_checksum(true)?;
    compressor.compress(bytes)
}

/// Reads where each of `count` items begins, and where the last ends.
pub(crate) fn offsets(input: &mut Input, count: u32) -> Result<Vec<u32>> {
    let start = input.position();
    let count = u64::from(count);
    if count > MAX_ITEMS {
        let problem = Problem::Limit {
            what: "the number of samples",
            value: count,
            limit: MAX_ITEMS,
        };
        return Err(input.damaged(0, None, problem));
    }
    let Some(table) = input.next_bytes(4 * (count + 1))? else {
        return Err(input.damaged(start, None, Problem::Truncated));
    };
    let (table, _) = table.as_chunks::<4>();
    let offsets: Vec<u32> = table
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
    if let Some(at) = offsets.windows(2).position(|pair| pair[0] > pair[1]) {
        let problem = Problem::Offset {
            offset: offsets[at + 1],
            before: offsets[at],
        };
        return Err(input.damaged(start + 4 * (at as u64 + 1), None, problem));
    }
    Ok(offsets)
}

/// Reads the items of a shard in order.
#[derive(Debug)]
pub(crate) struct PackedReader {
    pub(crate) input: Input,
    offsets: Vec<u32>,
    next: usize,
}

impl PackedReader {
    /// Reads the offsets; what comes next in `input` is the head, of the length given back.
    pub(crate) fn new(mut input: Input) -> Result<(Self, u64)> {
        let mut count = [0; 4];
        if !input.fill(&mut count)? {
            return Err(input.damaged(0, None, Problem::Truncated));
        }
        Self::of(input, u32::from_le_bytes(count))
    }

    /// The same of `count` items, where this number has been read.
    pub(crate) fn of(mut input: Input, count: u32) -> Result<(Self, u64)> {
        let offsets = offsets(&mut input, count)?;
        let here = input.position() as u32;
        let Some(head_len) = offsets[0].checked_sub(here) else {
            let problem = Problem::Offset {
                offset: offsets[0],
                before: here,
            };
            return Err(input.damaged(4, None, problem));
        };
        let reader = Self {
            input,
            offsets,
            next: 0,
        };
        Ok((reader, u64::from(head_len)))
    }

    /// How many items there are, and how long the shard is before compression.
    pub(crate) fn size(&self) -> (u64, u64) {
        let end = self.offsets.last().copied().unwrap_or_default();
        (self.offsets.len() as u64 - 1, u64::from(end))
    }

    /// Number of the next item.
    pub(crate) fn row(&self) -> u64 {
        self.next as u64
    }

    /// Offset of the item that was read last.
    pub(crate) fn offset(&self) -> u64 {
        u64::from(self.offsets[self.next.saturating_sub(1)])
    }

    /// The bytes of the next item.
    pub(crate) fn next_item(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(&[start, end]) = self
            .offsets
            .get(self.next..self.next + 2)
            .and_then(|s| s.first_chunk())
        else {
            return self.check_end().map(|()| None);
        };
        let member = format!("sample {}", self.next);
        self.next += 1;
        let (len, offset) = (u64::from(end - start), u64::from(start));
        if let Err(problem) = check_item_len(len, &self.input.limits) {
            return Err(self.input.damaged(offset, Some(member), problem));
        }
        match self.input.next_bytes(len)? {
            Some(item) => Ok(Some(item)),
            None => Err(self.input.damaged(offset, Some(member), Problem::Truncated)),
        }
    }

    /// Passes over up to `n` items.
    pub(crate) fn skip(&mut self, n: u64) -> Result<u64> {
        let left = (self.offsets.len() - 1 - self.next) as u64;
        let n = n.min(left);
        let (from, to) = (self.next, self.next + n as usize);
        let len = u64::from(self.offsets[to] - self.offsets[from]);
        if !self.input.skip(len)? {
            let at = self.input.position();
            return Err(self.input.damaged(at, None, Problem::Truncated));
        }
        self.next = to;
        Ok(n)
    }

    /// Checks that nothing follows the last item.
    fn check_end(&mut self) -> Result<()> {
        let offset = self.input.position();
        let mut rest = [0; 8];
        match self.input.fill_or_end(&mut rest)? {
            0 => Ok(()),
            _ => Err(self.input.damaged(offset, None, Problem::DataAfterEnd)),
        }
    }
}

/// What the items of a shard are.
pub(crate) trait Items: Send + Sync + 'static {
    /// What an item is called in errors.
    const NAME: &'static str;

    /// The sample that `item` is.
    fn sample(
        &self,
        item: Vec<u8>,
        origin: Origin<'_>,
        limits: &Limits,
        stats: &mut ReaderStats,
    ) -> Result<Sample, Problem>;
}

/// Reads items of a shard that is not compressed, each by itself.
struct PackedAt<I> {
    object: Arc<dyn ReadAt>,
    shard: String,
    offsets: Vec<u32>,
    limits: Limits,
    items: I,
}

/// The shard `name`, whose offsets `reader` has read, unless it is compressed.
pub(crate) fn open_at(
    source: &dyn ObjectSource,
    name: &str,
    reader: PackedReader,
    items: impl Items,
) -> Result<Option<Box<dyn SampleAt>>> {
    let PackedReader { input, offsets, .. } = reader;
    let failed = |source| Error::Io {
        action: "read",
        shard: name.to_owned(),
        source,
    };
    if input.compression() != Compression::None {
        return Ok(None);
    }
    let object = input::object(source, name)?;
    let len = object.len().map_err(failed)?;
    let end = u64::from(offsets.last().copied().unwrap_or_default());
    if len != end {
        let problem = if len < end {
            Problem::Truncated
        } else {
            Problem::DataAfterEnd
        };
        return Err(input.damaged(len.min(end), None, problem));
    }
    Ok(Some(Box::new(PackedAt {
        object,
        shard: name.to_owned(),
        offsets,
        limits: input.limits,
        items,
    })))
}

impl<I: Items> SampleAt for PackedAt<I> {
    fn samples(&self) -> u64 {
        self.offsets.len() as u64 - 1
    }

    fn read(&self, row: u64, stats: &mut ReaderStats) -> Result<Sample> {
        let none = || Error::NoSample {
            shard: self.shard.clone(),
            row,
            samples: self.samples(),
        };
        let at = usize::try_from(row).map_err(|_| none())?;
        let bounds = self.offsets.get(at..).and_then(|rest| rest.first_chunk());
        let &[start, end] = bounds.ok_or_else(none)?;
        let (start, end) = (u64::from(start), u64::from(end));
        let damaged = |problem| Error::Damaged {
            place: Box::new(Place {
                shard: self.shard.clone(),
                member: Some(format!("{} {row}", I::NAME)),
                offset: start,
                samples: row,
            }),
            problem,
        };
        check_item_len(end - start, &self.limits).map_err(damaged)?;
        let item = self
            .object
            .read_at(start..end)
            .map_err(|source| Error::Io {
                action: "read",
                shard: self.shard.clone(),
                source,
            })?;
        let origin = Origin {
            shard: &self.shard,
            row,
        };
        self.items
            .sample(item.into(), origin, &self.limits, stats)
            .map_err(damaged)
    }
}

/// Longest item in bytes.
pub(crate) fn max_item_len(limits: &Limits) -> u64 {
    limits.member_len_bytes + 4 * limits.text_len_bytes
}

/// Refuses items that would take too much memory.
fn check_item_len(len: u64, limits: &Limits) -> Result<(), Problem> {
    let limit = max_item_len(limits);
    if len <= limit {
        return Ok(());
    }
    Err(Problem::Limit {
        what: "its length in bytes",
        value: len,
        limit,
    })
}

/// Splits `item` into its columns: `None` stands for a column whose length comes first in the item, a
/// number for one that is always so long.
pub(crate) fn columns(item: Vec<u8>, lens: &[Option<u32>]) -> Result<Vec<bytes::Bytes>, Problem> {
    let mut rest = bytes::Bytes::from(item);
    let variable = lens.iter().filter(|len| len.is_none()).count();
    if rest.len() < 4 * variable {
        return Err(Problem::Columns);
    }
    let table = rest.split_to(4 * variable);
    let (table, _) = table.as_chunks::<4>();
    let mut table = table.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut columns = Vec::with_capacity(lens.len());
    for len in lens {
        let len = len.or_else(|| table.next()).unwrap_or(0) as usize;
        if len > rest.len() {
            return Err(Problem::Columns);
        }
        columns.push(rest.split_to(len));
    }
    if rest.is_empty() {
        Ok(columns)
    } else {
        Err(Problem::Columns)
    }
}
