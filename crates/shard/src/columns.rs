//! Columns of a Parquet table that is no shard, value by value.
//!
//! ```
//! use std::sync::Arc;
//! use bytes::Bytes;
//! use sightline_shard::columns::Table;
//!
//! let cut = Bytes::from_static(b"PAR1 and no footer");
//! assert!(Table::open(Arc::new(cut)).is_err());
//! ```
//!
//! All codecs of the format are read but LZO, pages of both versions, and every encoding that is in use. A damaged
//! table gives an error. A page may take 256 MiB of memory, or eight times the bytes that it has in the file; a
//! table may have 64 rows for each of its bytes, and a column as many values.

mod records;

use std::fmt;
use std::iter;
use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::file::reader::FileReader;
use parquet::record::Field;
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::Value;
use sightline_core::ReadAt;

use crate::Problem;
use crate::engine::{File, guarded, value};
pub use records::{Cell, Next};

/// A table whose footer has been read.
pub struct Table {
    file: File,
}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Texts.
    Text,
    /// Nothing: every value is null.
    Null,
    /// Truth values.
    Bool,
    /// Whole numbers.
    Int {
        /// Bits of one: 8, 16, 32 or 64.
        bits: u8,
        /// Whether they have a sign.
        is_signed: bool,
    },
    /// Floats.
    Float {
        /// Bits of one: 32 or 64.
        bits: u8,
    },
    /// Days.
    Date,
    /// Points in time.
    Datetime {
        /// What they count.
        unit: Unit,
        /// Whether they are of UTC, rather than of a place that is not said.
        is_utc: bool,
    },
    /// Times of a day.
    Time,
    /// Lists of something.
    List(Box<Kind>),
    /// Something by names that each row has its own of.
    Map(Box<Kind>),
    /// Named values, in their order.
    Struct(Vec<(String, Kind)>),
    /// Something else, by its name: `binary`, `decimal`.
    Other(String),
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Thousandths of a second.
    Millis,
    /// Millionths of a second.
    Micros,
    /// Thousandths of a millionth of a second.
    Nanos,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("str"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int { bits, is_signed } => {
                write!(f, "{}{bits}", if *is_signed { 'i' } else { 'u' })
            }
            Self::Float { bits } => write!(f, "f{bits}"),
            Self::Date => f.write_str("date"),
            Self::Datetime { unit, .. } => f.write_str(match unit {
                Unit::Millis => "datetime[ms]",
                Unit::Micros => "datetime[μs]",
                Unit::Nanos => "datetime[ns]",
            }),
            Self::List(kind) => write!(f, "list[{kind}]"),
            Self::Struct(fields) => write!(f, "struct[{}]", fields.len()),
            Self::Time => f.write_str("time"),
            // As data frames have them.
            Self::Map(_) => f.write_str("struct[1]"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl Table {
    /// Reads the footer of `object`.
    pub fn open(object: Arc<dyn ReadAt>) -> Result<Self, Problem> {
        let len = object
            .len()
            .map_err(|error| Problem::Parquet(error.into()))?;
        let file = File::open(object, len)?;
        Ok(Self { file })
    }

    /// Names of the columns in their order, those in a struct under the name of the struct.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields().iter().map(|field| field.name())
    }

    /// What the first column of this name holds, if there is one.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        Some(kind(self.field(name)?))
    }

    /// The values of the first column of this name, row by row, up to the first error. There are none of a column
    /// that is not there.
    ///
    /// Texts are strings, and so are binary values that are UTF-8, dates, times and decimals; lists are arrays. A
    /// float that is not finite is null. `None` stands for a value that JSON has not.
    pub fn values(
        &self,
        name: &str,
    ) -> Result<impl Iterator<Item = Result<Option<Value>, Problem>>, Problem> {
        let field = self.field(name);
        let kind = field.map_or(Kind::Null, |field| kind(field));
        let mut rows = field.map(|field| self.rows_of(field)).transpose()?;
        Ok(iter::from_fn(move || {
            let next = guarded(|| rows.as_mut().and_then(Iterator::next).transpose());
            let row = match next {
                Ok(row) => row?,
                Err(problem) => {
                    rows = None;
                    return Some(Err(problem));
                }
            };
            let field = row.into_columns().pop();
            Some(Ok(field.and_then(|(_, field)| cell(field, &kind))))
        }))
    }

    fn rows_of(&self, field: &Arc<Type>) -> Result<RowIter<'_>, Problem> {
        guarded(|| {
            let root = self.file.metadata().file_metadata().schema().name();
            let only = Type::group_type_builder(root)
                .with_fields(vec![Arc::clone(field)])
                .build()?;
            RowIter::from_file(Some(only), &self.file)
        })
    }

    fn field(&self, name: &str) -> Option<&Arc<Type>> {
        self.fields().iter().find(|field| field.name() == name)
    }

    fn fields(&self) -> &[Arc<Type>] {
        self.file.metadata().file_metadata().schema().get_fields()
    }
}

fn cell(field: Field, kind: &Kind) -> Option<Value> {
    match field {
        Field::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes.data()).ok()?;
            Some(text.into())
        }
        field => value(field, kind),
    }
}

/// What `field` holds, with what its repetition adds.
pub(crate) fn kind(field: &Type) -> Kind {
    let info = field.get_basic_info();
    if info.has_repetition() && info.repetition() == Repetition::REPEATED {
        return Kind::List(Box::new(kind_of_one(field)));
    }
    kind_of_one(field)
}

fn kind_of_one(field: &Type) -> Kind {
    let info = field.get_basic_info();
    if field.is_primitive() {
        return primitive(field);
    }
    let fields = field.get_fields();
    match (info.converted_type(), fields) {
        (ConvertedType::LIST, [items]) => {
            // A group of one field around the items, or in old files the items themselves.
            let is_wrapped = items.is_group()
                && items.get_fields().len() == 1
                && items.name() != "array"
                && !items.name().ends_with("_tuple");
            let item = match items.is_group().then(|| items.get_fields()) {
                Some([item]) if is_wrapped => kind(item),
                _ => kind_of_one(items),
            };
            Kind::List(Box::new(item))
        }
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, [entries])
            if entries.is_group() && entries.get_fields().len() == 2 =>
        {
            Kind::Map(Box::new(kind(&entries.get_fields()[1])))
        }
        _ => Kind::Struct(
            fields
                .iter()
                .map(|field| (field.name().to_owned(), kind(field)))
                .collect(),
        ),
    }
}

fn primitive(field: &Type) -> Kind {
    let info = field.get_basic_info();
    let int = |bits, is_signed| Kind::Int { bits, is_signed };
    // Files of before there was a word for it mean UTC.
    let is_utc = match info.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => time.is_adjusted_to_u_t_c,
        _ => true,
    };
    let datetime = |unit| Kind::Datetime { unit, is_utc };
    // Names are those that data frames use.
    let name = match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Unknown), _) => return Kind::Null,
        (Some(LogicalType::Float16), _) => "f16",
        (_, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => return Kind::Text,
        (_, ConvertedType::INT_8) => return int(8, true),
        (_, ConvertedType::INT_16) => return int(16, true),
        (_, ConvertedType::UINT_8) => return int(8, false),
        (_, ConvertedType::UINT_16) => return int(16, false),
        (_, ConvertedType::UINT_32) => return int(32, false),
        (_, ConvertedType::UINT_64) => return int(64, false),
        (_, ConvertedType::DATE) => return Kind::Date,
        (Some(LogicalType::Time(_)), _)
        | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => return Kind::Time,
        (_, ConvertedType::TIMESTAMP_MILLIS) => return datetime(Unit::Millis),
        (_, ConvertedType::TIMESTAMP_MICROS) => return datetime(Unit::Micros),
        (_, ConvertedType::DECIMAL) => "decimal",
        (Some(LogicalType::Timestamp(_)), _) => return datetime(Unit::Nanos),
        _ => match field.get_physical_type() {
            Physical::BOOLEAN => return Kind::Bool,
            Physical::INT32 => return int(32, true),
            Physical::INT64 => return int(64, true),
            // The reader rounds them. They have no zone, as pyarrow reads them.
            Physical::INT96 => {
                let (unit, is_utc) = (Unit::Millis, false);
                return Kind::Datetime { unit, is_utc };
            }
            Physical::FLOAT => return Kind::Float { bits: 32 },
            Physical::DOUBLE => return Kind::Float { bits: 64 },
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => "binary",
        },
    };
    Kind::Other(name.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use sightline_core::ShardId;
    use sightline_core::io::Memory;

    use super::*;
    use crate::{ShardFormat, conformance, parquet};

    /// A shard, which is a table of texts, bytes, lists and structs as well.
    fn shard() -> Vec<u8> {
        let mut shards = Memory::default();
        let mut writer = parquet::Parquet.create(&mut shards, ShardId(0)).unwrap();
        for sample in &conformance::samples()[1..4] {
            writer.write(sample).unwrap();
        }
        writer.finish().unwrap();
        shards.bytes("00000.parquet").unwrap().to_vec()
    }

    /// Reads every column to its end or to its first error; the kinds and how many values each has.
    fn read(bytes: Vec<u8>) -> Result<Vec<(String, usize)>, Problem> {
        let table = Table::open(Arc::new(Bytes::from(bytes)))?;
        let column = |name: &str| {
            let kind = table.kind(name).map(|kind| format!("{name}: {kind}"));
            let values: Result<Vec<_>, Problem> = table.values(name)?.collect();
            Ok((kind.unwrap_or_default(), values?.len()))
        };
        table.names().map(column).collect()
    }

    #[test]
    fn columns_have_kinds_and_a_value_for_each_row() {
        let columns = read(shard()).unwrap();
        let of = |kind: &str| columns.iter().filter(|(found, _)| found == kind).count();
        assert_eq!(of("key: str"), 1);
        assert_eq!(of("image: struct[2]"), 1);
        assert_eq!(of("captions: list[str]"), 1);
        assert!(columns.iter().all(|(_, values)| *values == 3));
    }

    proptest! {
        #[test]
        fn wrong_bytes_end_in_order(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = shard();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(bytes);
        }
    }
}
