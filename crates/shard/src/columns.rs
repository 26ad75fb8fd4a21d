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
    /// Lists of something.
    List(Box<Kind>),
    /// Something else, by its name: `i64`, `binary`, `struct[2]`.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("str"),
            Self::List(kind) => write!(f, "list[{kind}]"),
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
        let mut rows = match self.field(name) {
            Some(field) => Some(self.rows(field)?),
            None => None,
        };
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
            Some(Ok(field.and_then(|(_, field)| cell(field))))
        }))
    }

    fn rows(&self, field: &Arc<Type>) -> Result<RowIter<'_>, Problem> {
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

fn cell(field: Field) -> Option<Value> {
    match field {
        Field::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes.data()).ok()?;
            Some(text.into())
        }
        field => value(field),
    }
}

/// What `field` holds, with what its repetition adds.
fn kind(field: &Type) -> Kind {
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
        _ => Kind::Other(format!("struct[{}]", fields.len())),
    }
}

/// The name of a primitive type, as data frames call it.
fn primitive(field: &Type) -> Kind {
    let info = field.get_basic_info();
    let name = match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::Unknown), _) => "null",
        (Some(LogicalType::Float16), _) => "f16",
        (_, ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON) => return Kind::Text,
        (_, ConvertedType::INT_8) => "i8",
        (_, ConvertedType::INT_16) => "i16",
        (_, ConvertedType::UINT_8) => "u8",
        (_, ConvertedType::UINT_16) => "u16",
        (_, ConvertedType::UINT_32) => "u32",
        (_, ConvertedType::UINT_64) => "u64",
        (_, ConvertedType::DATE) => "date",
        (Some(LogicalType::Time(_)), _)
        | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => "time",
        (_, ConvertedType::TIMESTAMP_MILLIS) => "datetime[ms]",
        (_, ConvertedType::TIMESTAMP_MICROS) => "datetime[μs]",
        (_, ConvertedType::DECIMAL) => "decimal",
        (Some(LogicalType::Timestamp(_)), _) => "datetime[ns]",
        _ => match field.get_physical_type() {
            Physical::BOOLEAN => "bool",
            Physical::INT32 => "i32",
            Physical::INT64 => "i64",
            Physical::INT96 => "datetime[ns]",
            Physical::FLOAT => "f32",
            Physical::DOUBLE => "f64",
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
