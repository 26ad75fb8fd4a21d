//! Rows to samples.

use bytes::Bytes;
use parquet::basic::Type as Physical;
use parquet::file::reader::FileReader as _;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::TypePtr;
use sightline_core::{ObjectSource, Sample};

use super::{Column, Kind};
use crate::columns;
use crate::engine::{File, Group, guarded, value};
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
    groups: Vec<Group>,
    /// What the columns hold.
    kinds: Vec<columns::Kind>,
    stats: ReaderStats,
    is_over: bool,
    /// Whether what is damaged is a record whose end is known, and was passed.
    is_behind: bool,
}

impl Reader {
    pub(super) fn open(source: &dyn ObjectSource, name: &str, limits: Limits) -> Result<Self> {
        let file = open_file(source, name)?;
        let groups = file.groups().to_vec();
        let schema = file.metadata().file_metadata().schema();
        let kinds = schema.get_fields().iter().map(|field| columns::kind(field));
        let kinds = kinds.collect();
        let rows = guarded(|| Ok(RowIter::from_file_into(Box::new(file)).with_batch_size(BATCH)));
        Ok(Self {
            shard: name.to_owned(),
            limits,
            rows: rows.map_err(|p| damaged(name, None, 0, 0, p))?,
            groups,
            kinds,
            stats: ReaderStats::default(),
            is_over: false,
            is_behind: false,
        })
    }

    fn read(&mut self) -> Result<Option<Sample>> {
        let number = self.stats.samples;
        let next = guarded(|| self.rows.next().transpose());
        let sample = next.and_then(|row| {
            let Some(row) = row else {
                return Ok(None);
            };
            self.is_behind = true;
            let origin = Origin {
                shard: &self.shard,
                row: number,
            };
            let cells = row.into_columns().into_iter().zip(&self.kinds);
            let cells = cells.map(|((name, field), kind)| (name, cell(field, kind)));
            let sample = row::to_sample(cells.collect(), origin, &self.limits, &mut self.stats)?;
            self.is_behind = false;
            Ok(Some(sample))
        });
        sample.map_err(|problem| {
            let group = self.groups.iter().find(|group| number < group.end);
            let offset = group.map_or(0, |group| group.offset);
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

    fn recover(&mut self) -> Result<bool> {
        let recovers = std::mem::take(&mut self.is_behind);
        self.is_over &= !recovers;
        Ok(recovers)
    }

    fn stats(&self) -> &ReaderStats {
        &self.stats
    }
}

/// The columns of a shard that hold fields of the metadata.
pub(super) fn columns(source: &dyn ObjectSource, name: &str) -> Result<Vec<Column>> {
    let file = open_file(source, name)?;
    let schema = file.metadata().file_metadata().schema();
    let fields = schema.get_fields().iter();
    let column = |field: &TypePtr| {
        let name = field.name();
        if !field.is_primitive() || row::is_special(name) {
            return None;
        }
        let kind = match field.get_physical_type() {
            Physical::INT64 => Kind::Integer,
            Physical::DOUBLE => Kind::Float,
            Physical::BOOLEAN => Kind::Bool,
            Physical::BYTE_ARRAY => Kind::Text,
            _ => return None,
        };
        Some(Column {
            name: name.to_owned(),
            kind,
        })
    };
    Ok(fields.filter_map(column).collect())
}

/// The rows that the footer of `name` says.
pub(super) fn count(source: &dyn ObjectSource, name: &str) -> Result<u64> {
    let file = open_file(source, name)?;
    Ok(file.groups().last().map_or(0, |group| group.end))
}

fn open_file(source: &dyn ObjectSource, name: &str) -> Result<File> {
    let object = input::object(source, name)?;
    let len = object.len().map_err(|source| Error::Io {
        action: "read",
        shard: name.to_owned(),
        source,
    })?;
    File::open(object, len).map_err(|p| damaged(name, None, len.saturating_sub(8), 0, p))
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

fn cell(field: Field, kind: &columns::Kind) -> Cell {
    match field {
        Field::Bytes(bytes) => Cell::Bytes(Bytes::copy_from_slice(bytes.data())),
        Field::Group(row) if row.get_column_iter().any(|(name, _)| name == "bytes") => image(row),
        field => value(field, kind).map_or(Cell::Other, Cell::Value),
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
    Cell::file(bytes, path)
}
