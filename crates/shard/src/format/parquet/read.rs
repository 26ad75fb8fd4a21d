//! Rows to samples.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Number, Value};
use sightline_core::{ObjectSource, ReadAt, Sample};

use crate::format::ShardReader;
use crate::input;
use crate::row::{self, Cell, Origin};
use crate::{Error, Limits, Place, Problem, ReaderStats, Result};

/// Rows that are decoded at a time.
const BATCH: usize = 16;

/// Reads rows as samples.
pub(super) struct Reader {
    shard: String,
    limits: Limits,
    rows: RowIter<'static>,
    /// Rows up to the end of each row group, and the group's offset.
    groups: Vec<(u64, u64)>,
    stats: ReaderStats,
    is_over: bool,
}

impl Reader {
    pub(super) fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let object = input::object(source, name)?;
        let len = object.len().map_err(|source| Error::Io {
            action: "read",
            shard: name.to_owned(),
            source,
        })?;
        let opened = guarded(|| SerializedFileReader::new(Source { object, len }));
        let file = opened.map_err(|p| damaged(name, None, len.saturating_sub(8), 0, p))?;
        let groups = groups(file.metadata(), len)
            .map_err(|p| damaged(name, None, len.saturating_sub(8), 0, p))?;
        let rows = guarded(|| Ok(RowIter::from_file_into(Box::new(file)).with_batch_size(BATCH)));
        Ok(Self {
            shard: name.to_owned(),
            limits,
            rows: rows.map_err(|p| damaged(name, None, 0, 0, p))?,
            groups,
            stats: ReaderStats::default(),
            is_over: false,
        })
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        let number = self.stats.samples;
        let next = guarded(|| self.rows.next().transpose());
        let sample = next.and_then(|row| {
            let Some(row) = row else {
                return Ok(None);
            };
            let origin = Origin {
                shard: &self.shard,
                row: number,
            };
            let cells = row.into_columns().into_iter().map(|(name, field)| {
                let cell = cell(field);
                (name, cell)
            });
            row::to_sample(cells.collect(), origin, &self.limits, &mut self.stats).map(Some)
        });
        sample.map_err(|problem| {
            let group = self.groups.iter().find(|(end, _)| number < *end);
            let offset = group.map_or(0, |(_, offset)| *offset);
            let member = Some(format!("row {number}"));
            damaged(&self.shard, member, offset, number, problem)
        })
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

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}

fn damaged(
    shard: &str,
    member: Option<String>,
    offset: u64,
    samples: u64,
    problem: Problem,
) -> Error {
    Error::Damaged {
        place: Box::new(Place {
            shard: shard.to_owned(),
            member,
            offset,
            samples,
        }),
        problem,
    }
}

/// Calls the engine, which gives errors for most damaged files and panics on some.
fn guarded<T>(call: impl FnOnce() -> ParquetResult<T>) -> Result<T, Problem> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome.map_err(Problem::Parquet),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("it gave up");
            Err(Problem::Parquet(ParquetError::General(words.to_owned())))
        }
    }
}

/// Rows up to the end of each row group and its offset, after checking that the numbers of rows can be true:
/// the engine would make rows of nulls for those that are not there.
fn groups(metadata: &ParquetMetaData, len: u64) -> Result<Vec<(u64, u64)>, Problem> {
    let mut rows = 0u64;
    let mut groups = Vec::new();
    for group in metadata.row_groups() {
        let declared = u64::try_from(group.num_rows()).unwrap_or(u64::MAX);
        for column in group.columns() {
            let values = u64::try_from(column.num_values()).unwrap_or(u64::MAX);
            let is_list = column.column_descr().max_rep_level() > 0;
            if values < declared || (values > declared && !is_list) {
                return Err(Problem::Head {
                    what: "a column with another number of values than its row group has rows",
                });
            }
        }
        rows = rows.saturating_add(declared);
        let offset = group.columns().first().map_or(0, |column| {
            let dictionary = column.dictionary_page_offset();
            dictionary.unwrap_or_else(|| column.data_page_offset())
        });
        let offset = u64::try_from(offset).unwrap_or(0);
        groups.push((rows, offset));
    }
    // Run-length encoding stores many rows in few bytes, but not more than this.
    let limit = len.saturating_mul(64);
    if rows > limit {
        return Err(Problem::Limit {
            what: "the number of rows",
            value: rows,
            limit,
        });
    }
    Ok(groups)
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Bytes(bytes) => Cell::Bytes(Bytes::copy_from_slice(bytes.data())),
        Field::Group(row) if row.get_column_iter().any(|(name, _)| name == "bytes") => image(row),
        field => value(field).map_or(Cell::Other, Cell::Value),
    }
}

/// A struct of the bytes and the path of a file, as `datasets` stores images.
fn image(row: Row) -> Cell {
    let (mut bytes, mut path) = (None, None);
    for (name, field) in row.into_columns() {
        match (name.as_str(), field) {
            ("bytes", Field::Bytes(data)) => bytes = Some(Bytes::copy_from_slice(data.data())),
            ("path", Field::Str(text)) => path = Some(text),
            _ => {}
        }
    }
    match (bytes, path) {
        (Some(bytes), path) => Cell::Image(bytes, path),
        (None, None) => Cell::Value(Value::Null),
        // The image is a file elsewhere.
        (None, Some(_)) => Cell::Other,
    }
}

/// The value as JSON; `None` where JSON has no such value.
fn value(field: Field) -> Option<Value> {
    let float = |float: f64| Number::from_f64(float).map_or(Value::Null, Value::Number);
    Some(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
        Field::Long(n) => n.into(),
        Field::UByte(n) => n.into(),
        Field::UShort(n) => n.into(),
        Field::UInt(n) => n.into(),
        Field::ULong(n) => n.into(),
        Field::Float16(n) => float(n.into()),
        Field::Float(n) => float(n.into()),
        Field::Double(n) => float(n),
        Field::Str(text) => text.into(),
        Field::Bytes(_) => return None,
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            let fields = fields.map(|(name, field)| Some((name, value(field)?)));
            Value::Object(fields.collect::<Option<_>>()?)
        }
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(|item| value(item.clone()));
            Value::Array(items.collect::<Option<_>>()?)
        }
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(name, item)| {
                let name = match name {
                    Field::Str(text) => text.clone(),
                    other => other.to_string(),
                };
                Some((name, value(item.clone())?))
            });
            Value::Object(entries.collect::<Option<_>>()?)
        }
        other @ (Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)) => other.to_string().into(),
    })
}

/// The object as the engine reads it.
struct Source {
    object: Arc<dyn ReadAt>,
    len: u64,
}

/// Reads an object from some offset on, in pieces that suit headers.
struct Pieces {
    object: Arc<dyn ReadAt>,
    at: u64,
    len: u64,
    piece: Bytes,
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Source {
    type T = Pieces;

    fn get_read(&self, start: u64) -> ParquetResult<Pieces> {
        Ok(Pieces {
            object: Arc::clone(&self.object),
            at: start.min(self.len),
            len: self.len,
            piece: Bytes::new(),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start
            .checked_add(length as u64)
            .filter(|end| *end <= self.len);
        let Some(end) = end else {
            let message = format!("{length} bytes at {start} of {} are not there", self.len);
            return Err(ParquetError::EOF(message));
        };
        Ok(self.object.read_at(start..end)?)
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            let end = self.len.min(self.at.saturating_add(4096));
            self.piece = self.object.read_at(self.at..end)?;
            self.at = end;
        }
        let n = buffer.len().min(self.piece.len());
        buffer[..n].copy_from_slice(&self.piece[..n]);
        self.piece.advance(n);
        Ok(n)
    }
}
