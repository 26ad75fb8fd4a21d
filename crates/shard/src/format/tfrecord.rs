//! TFRecord: records with checksums, each a `tf.train.Example`.
//!
//! # Format
//!
//! A record is its length (u64, little endian), the masked CRC-32C of these eight bytes, the data, and the
//! masked CRC-32C of the data. The data are features by name, each a list of texts or bytes, of 64-bit
//! integers or of 32-bit floats. There is no end mark: a shard that is cut between two records is a shorter
//! shard, which only a list of digests tells.
//!
//! Written shards have img2dataset's features, in this order, so that equal samples give equal bytes:
//!
//! | feature | holds | when |
//! | --- | --- | --- |
//! | `key` | the key | always |
//! | `jpg` (`png`, …) | the image as stored | there is an image |
//! | `image_format` | its format | its first bytes are those of another |
//! | `txt` | the first caption | there is a caption |
//! | `captions` | all captions | there are several, or one and a field of this name in the metadata |
//! | each field of the metadata | whole numbers and booleans as integers, other numbers as floats, lists of the kind of their first item, nothing as an empty text, anything else as text | its name is no other feature's, and it is no empty list |
//! | `json` | all metadata as JSON | the features above do not give them back exactly |
//!
//! Names are read as the table in `row.rs` says, whoever wrote them. A file may be one gzip stream.

use std::sync::Arc;

use sightline_core::{ObjectSink, ObjectSource, Sample, ShardId};

use super::{SampleAt, ShardFormat, ShardReader, ShardSummary, ShardWriter};
use crate::crc32c::masked;
use crate::input::{self, Input};
use crate::output::{Digesting, Ledger};
use crate::row::{self, Origin};
use crate::slice::Bounded;
use crate::{Compression, Limits, Problem, ReaderStats, Result};

mod example;

/// The TFRecord format.
#[derive(Clone, Copy, Debug, Default)]
pub struct TfRecord;

impl ShardFormat for TfRecord {
    fn name(&self) -> &'static str {
        "tfrecord"
    }

    fn extension(&self) -> &'static str {
        "tfrecord"
    }

    fn has_no_end_mark(&self) -> bool {
        true
    }

    fn has_checksums(&self) -> bool {
        true
    }

    fn file_name(&self, id: ShardId) -> String {
        format!("{id}.tfrecord")
    }

    fn create<'a>(
        &self,
        sink: &'a mut dyn ObjectSink,
        id: ShardId,
    ) -> Result<Box<dyn ShardWriter + 'a>> {
        let name = self.file_name(id);
        Ok(Box::new(Writer {
            out: Digesting::create(sink, &name)?,
            ledger: Ledger::new(&name),
        }))
    }

    fn open(&self, source: &dyn ObjectSource, name: &str) -> Result<Box<dyn ShardReader>> {
        let input = Input::open(source, name, Limits::default())?;
        Ok(Box::new(Reader::new(input, name)))
    }

    fn finds_samples(&self) -> bool {
        true
    }

    fn open_at(&self, source: &dyn ObjectSource, name: &str) -> Result<Option<Box<dyn SampleAt>>> {
        let object = input::object(source, name)?;
        let input = Input::new(Arc::clone(&object), name, Limits::default())?;
        if input.compression() != Compression::None {
            return Ok(None);
        }
        let mut reader = Reader::new(input, name);
        let mut bounds = vec![0];
        while let Some(end) = reader.pass_over()? {
            bounds.push(end);
        }
        Ok(Some(Box::new(Bounded {
            object,
            shard: name.to_owned(),
            bounds,
            zeros: 0,
            read: |input, shard, row, stats| {
                let mut reader = Reader::new(input, shard);
                reader.stats.samples = row;
                let sample = reader.read()?;
                reader.stats.samples -= row;
                stats.add(&reader.stats);
                Ok(sample)
            },
        })))
    }

    fn count(&self, source: &dyn ObjectSource, name: &str) -> Result<u64> {
        let mut reader = Reader::new(Input::open(source, name, Limits::default())?, name);
        let mut records = 0;
        while reader.pass_over()?.is_some() {
            records += 1;
        }
        Ok(records)
    }
}

struct Writer<'a> {
    out: Digesting<'a>,
    ledger: Ledger,
}

impl ShardWriter for Writer<'_> {
    fn write(&mut self, sample: &Sample) -> Result<()> {
        self.ledger.check()?;
        row::check_lens(sample, &self.ledger.shard, &self.ledger.limits)?;
        let data = example::encode(sample, &self.ledger.shard, &self.ledger.limits)?;
        self.ledger.admit(&sample.key)?;
        let wrote = write_record(&mut self.out, &data);
        self.ledger.wrote(wrote)
    }

    fn finish(self: Box<Self>) -> Result<ShardSummary> {
        self.ledger.check()?;
        self.out.commit(&self.ledger)
    }
}

fn write_record(out: &mut impl std::io::Write, data: &[u8]) -> std::io::Result<()> {
    let len = (data.len() as u64).to_le_bytes();
    out.write_all(&len)?;
    out.write_all(&masked(&len).to_le_bytes())?;
    out.write_all(data)?;
    out.write_all(&masked(data).to_le_bytes())
}

struct Reader {
    shard: String,
    input: Input,
    stats: ReaderStats,
    is_over: bool,
    /// Whether what is damaged is a record whose end is known, and was passed.
    is_behind: bool,
}

impl Reader {
    fn new(input: Input, name: &str) -> Self {
        Self {
            shard: name.to_owned(),
            input,
            stats: ReaderStats::default(),
            is_over: false,
            is_behind: false,
        }
    }

    /// Passes over the data of the next record; says where it ends.
    fn pass_over(&mut self) -> Result<Option<u64>> {
        let Some((offset, len)) = self.next_len()? else {
            return Ok(None);
        };
        if !self.input.skip(len + 4)? {
            return Err(self.damaged(offset, Problem::Truncated));
        }
        self.stats.samples += 1;
        self.input.samples += 1;
        Ok(Some(self.input.position()))
    }

    /// The offset of the next record and the length of its data.
    fn next_len(&mut self) -> Result<Option<(u64, u64)>> {
        let offset = self.input.position();
        let mut head = [0; 12];
        match self.input.fill_or_end(&mut head)? {
            0 => return Ok(None),
            12 => {}
            _ => return Err(self.damaged(offset, Problem::Truncated)),
        }
        let (len, crc) = head.split_at(8);
        if crc != masked(len).to_le_bytes() {
            return Err(self.damaged(offset, Problem::RecordChecksum { what: "length" }));
        }
        let len = u64::from_le_bytes(len.try_into().expect("the first eight of twelve bytes"));
        let limits = self.input.limits;
        let limit = limits.member_len_bytes + 4 * limits.text_len_bytes;
        if len > limit {
            let problem = Problem::Limit {
                what: "the length of the record in bytes",
                value: len,
                limit,
            };
            return Err(self.damaged(offset, problem));
        }
        Ok(Some((offset, len)))
    }

    /// The data of the next record, which begins at the offset given back with them.
    fn next_record(&mut self) -> Result<Option<(u64, Vec<u8>)>> {
        let Some((offset, len)) = self.next_len()? else {
            return Ok(None);
        };
        let data = self.input.next_bytes(len)?;
        let mut crc = [0; 4];
        let Some(data) = data else {
            return Err(self.damaged(offset, Problem::Truncated));
        };
        if !self.input.fill(&mut crc)? {
            return Err(self.damaged(offset, Problem::Truncated));
        }
        self.is_behind = true;
        if crc != masked(&data).to_le_bytes() {
            return Err(self.damaged(offset, Problem::RecordChecksum { what: "data" }));
        }
        Ok(Some((offset, data)))
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        let Some((offset, data)) = self.next_record()? else {
            return Ok(None);
        };
        let origin = Origin {
            shard: &self.shard,
            row: self.stats.samples,
        };
        let sample = example::decode(data)
            .and_then(|row| row::to_sample(row, origin, &self.input.limits, &mut self.stats))
            .map_err(|problem| self.damaged(offset, problem))?;
        self.is_behind = false;
        self.input.samples += 1;
        Ok(Some(sample))
    }

    fn damaged(&self, offset: u64, problem: Problem) -> crate::Error {
        let member = format!("record {}", self.stats.samples);
        self.input.damaged(offset, Some(member), problem)
    }
}

impl ShardReader for Reader {
    fn next_sample(&mut self) -> Result<Option<Sample>> {
        if self.is_over {
            return Ok(None);
        }
        let next = self.read();
        self.is_over = !matches!(next, Ok(Some(_)));
        next
    }

    fn recover(&mut self) -> Result<bool> {
        let recovers = std::mem::take(&mut self.is_behind);
        self.is_over &= !recovers;
        Ok(recovers)
    }

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}
