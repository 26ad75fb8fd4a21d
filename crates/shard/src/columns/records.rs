//! Several columns at once, row by row from any row on, with the types that they have.

use std::sync::Arc;

use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::FileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use super::{Kind, Table};
use crate::Problem;
use crate::engine::guarded;

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cell {
    /// None.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number with a sign; of a column of points in time in billionths too.
    Int(i64),
    /// A whole number without one.
    Unsigned(u64),
    /// A float of single precision.
    Float(f32),
    /// A float of double precision.
    Double(f64),
    /// A text.
    Text(String),
    /// Days since 1970.
    Date(i32),
    /// Time since 1970, in the unit that the kind of the column says.
    Datetime(i64),
    /// Values.
    List(Vec<Cell>),
    /// Values by name.
    Struct(Vec<(String, Cell)>),
    /// Something that has no kind of its own here.
    Other,
}

/// What a reader of rows wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next row.
    Row,
    /// The row of this number, which is not behind the next one.
    Skip(u64),
    /// Nothing more.
    Stop,
}

impl Table {
    /// Rows of the table.
    pub fn rows(&self) -> u64 {
        self.file.groups().last().map_or(0, |group| group.end)
    }

    /// Hands over the values of the columns `names`, which the table has, for each row from number `first` on, in the order
    /// of the names, with the number of the row. What is passed over costs little where it is whole row groups.
    pub fn records<E: From<Problem>>(
        &self,
        names: &[&str],
        first: u64,
        each: &mut dyn FnMut(u64, Vec<Cell>) -> Result<Next, E>,
    ) -> Result<(), E> {
        let projection = self.projection(names)?;
        let mut wanted = first;
        let mut start = 0;
        for (at, group) in self.file.groups().iter().enumerate() {
            let number = std::mem::replace(&mut start, group.end);
            if wanted >= group.end {
                continue;
            }
            let reader = guarded(|| self.file.get_row_group(at))?;
            let mut rows = guarded(|| RowIter::from_row_group(Some(projection.clone()), &*reader))?;
            let mut order = Vec::new();
            for number in number..group.end {
                let next = || -> ParquetResult<Option<Row>> { rows.next().transpose() };
                let Some(row) = guarded(next)? else {
                    let problem = "a row group holds fewer rows than it announces";
                    return Err(Problem::Parquet(ParquetError::General(problem.to_owned())).into());
                };
                if number < wanted {
                    continue;
                }
                let mut fields = row.into_columns();
                if order.is_empty() {
                    order = order_of(names, &fields);
                }
                let cells = order.iter().map(|&at| match fields.get_mut(at) {
                    Some((_, field)) => cell(std::mem::replace(field, Field::Null)),
                    None => Cell::Null,
                });
                match each(number, cells.collect())? {
                    Next::Row => {}
                    Next::Skip(to) => wanted = to,
                    Next::Stop => return Ok(()),
                }
                if wanted >= group.end {
                    break;
                }
            }
        }
        Ok(())
    }

    fn projection(&self, names: &[&str]) -> Result<Type, Problem> {
        let mut fields = Vec::new();
        for field in self.fields() {
            let is_first = |field: &Arc<Type>| {
                fields
                    .iter()
                    .all(|known: &Arc<Type>| known.name() != field.name())
            };
            if names.contains(&field.name()) && is_first(field) {
                fields.push(Arc::clone(field));
            }
        }
        let root = self.file.metadata().file_metadata().schema().name();
        guarded(|| Type::group_type_builder(root).with_fields(fields).build())
    }
}

/// Where each of `names` is in a row.
fn order_of(names: &[&str], fields: &[(String, Field)]) -> Vec<usize> {
    let place = |name: &&str| fields.iter().position(|(field, _)| field == name);
    names
        .iter()
        .map(|name| place(name).unwrap_or(usize::MAX))
        .collect()
}

fn cell(field: Field) -> Cell {
    match field {
        Field::Null => Cell::Null,
        Field::Bool(flag) => Cell::Bool(flag),
        Field::Byte(n) => Cell::Int(n.into()),
        Field::Short(n) => Cell::Int(n.into()),
        Field::Int(n) => Cell::Int(n.into()),
        Field::Long(n) => Cell::Int(n),
        Field::UByte(n) => Cell::Unsigned(n.into()),
        Field::UShort(n) => Cell::Unsigned(n.into()),
        Field::UInt(n) => Cell::Unsigned(n.into()),
        Field::ULong(n) => Cell::Unsigned(n),
        Field::Float(x) => Cell::Float(x),
        Field::Double(x) => Cell::Double(x),
        Field::Str(text) => Cell::Text(text),
        Field::Date(days) => Cell::Date(days),
        Field::TimestampMillis(time) | Field::TimestampMicros(time) => Cell::Datetime(time),
        Field::Group(row) => {
            let fields = row.into_columns().into_iter();
            Cell::Struct(fields.map(|(name, field)| (name, cell(field))).collect())
        }
        Field::ListInternal(list) => Cell::List(
            list.elements()
                .iter()
                .map(|item| cell(item.clone()))
                .collect(),
        ),
        _ => Cell::Other,
    }
}

impl Kind {
    /// Whether values of it come as cells other than [`Cell::Other`].
    pub fn is_plain(&self) -> bool {
        match self {
            Self::List(items) => items.is_plain(),
            Self::Struct(fields) => fields.iter().all(|(_, kind)| kind.is_plain()),
            Self::Time | Self::Map(_) | Self::Other(_) => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use parquet::data_type::{ByteArrayType, Int32Type, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// 25 rows in groups of ten: a number, a text that is missing in every third row, and a day.
    fn table() -> Table {
        let schema = "message m {
            required int64 n;
            optional binary text (UTF8);
            required int32 day (DATE);
        }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let mut bytes = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        for group in [0..10i64, 10..20, 20..25] {
            let mut columns = writer.next_row_group().unwrap();
            let numbers: Vec<i64> = group.clone().collect();
            let mut column = columns.next_column().unwrap().unwrap();
            let typed = column.typed::<Int64Type>();
            typed.write_batch(&numbers, None, None).unwrap();
            column.close().unwrap();
            let levels: Vec<i16> = group.clone().map(|n| i16::from(n % 3 != 0)).collect();
            let texts: Vec<_> = group
                .clone()
                .filter(|n| n % 3 != 0)
                .map(|n| n.to_string().as_str().into())
                .collect();
            let mut column = columns.next_column().unwrap().unwrap();
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&texts, Some(&levels), None).unwrap();
            column.close().unwrap();
            let days: Vec<i32> = group.map(|n| n as i32).collect();
            let mut column = columns.next_column().unwrap().unwrap();
            column
                .typed::<Int32Type>()
                .write_batch(&days, None, None)
                .unwrap();
            column.close().unwrap();
            columns.close().unwrap();
        }
        writer.close().unwrap();
        Table::open(Arc::new(Bytes::from(bytes))).unwrap()
    }

    #[test]
    fn rows_come_with_their_types_in_the_order_that_is_asked_for() {
        let table = table();
        assert_eq!(table.rows(), 25);
        let mut rows = Vec::new();
        let mut each = |number, cells| {
            rows.push((number, cells));
            Ok::<_, Problem>(if number == 12 { Next::Stop } else { Next::Row })
        };
        table.records(&["day", "text", "n"], 8, &mut each).unwrap();
        let numbers: Vec<u64> = rows.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [8, 9, 10, 11, 12]);
        let text = Cell::Text("8".to_owned());
        assert_eq!(rows[0].1, [Cell::Date(8), text, Cell::Int(8)]);
        assert_eq!(rows[1].1[1], Cell::Null);
    }

    #[test]
    fn rows_can_be_passed_over() {
        let mut seen = Vec::new();
        let mut each = |number, _| {
            seen.push(number);
            Ok::<_, Problem>(match number {
                1 => Next::Skip(5),
                5 => Next::Skip(23),
                _ => Next::Row,
            })
        };
        table().records(&["n"], 1, &mut each).unwrap();
        assert_eq!(seen, [1, 5, 23, 24]);
        let mut none = |_, _| -> Result<Next, Problem> { panic!("there is no such row") };
        table().records(&["n"], 25, &mut none).unwrap();
    }
}
