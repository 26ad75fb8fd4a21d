//! Rows of a Parquet table.
//!
//! Tables come from anywhere, and the table engine that reads the other formats believes what a damaged Parquet file says of
//! itself: it may ask for 2⁶¹ bytes and end the process. The reader of `sightline_shard` checks first, so whatever the bytes
//! are, there is every row or an error. It also begins at any row, passing over whole row groups.

use std::sync::Arc;

use polars::prelude::*;
use sightline_shard::Problem;
use sightline_shard::columns::{Cell, Kind, Next, Table, Unit};
use sightline_store::FileAt;

use super::diagnose::parquet;
use super::files::InputFile;
use super::plain::Plain;
use super::problem::TableProblem;
use super::reader::TableReader;
use super::types::storable;
use crate::error::{Error, Result};

/// Values that are gathered before a part of a batch becomes columns, so that a row takes its plain size soon.
const GATHERED: usize = 1 << 16;

/// Opens a table.
pub(super) fn open(file: &InputFile, plain: &Plain) -> Result<Table> {
    let opened =
        FileAt::open(&plain.path).map_err(|error| Error::read_table(&file.path)(error.into()))?;
    Table::open(Arc::new(opened)).map_err(|problem| refused(file, &problem))
}

fn refused(file: &InputFile, problem: &Problem) -> Error {
    parquet(&problem.to_string()).of(file)
}

/// Where reading ended early.
enum Halt {
    Damaged(Problem),
    Failed(Error),
}

impl From<Problem> for Halt {
    fn from(problem: Problem) -> Self {
        Self::Damaged(problem)
    }
}

impl TableReader {
    /// Hands over batches of rows with the number of their first row. `next` says, given the first row that could be read, at
    /// which row the next batch begins.
    pub(super) fn read_parquet(
        &self,
        file: &InputFile,
        plain: &Plain,
        next: &mut dyn FnMut(u64) -> Result<Option<u64>>,
        each: &mut dyn FnMut(u64, DataFrame) -> Result<bool>,
    ) -> Result<()> {
        let table = open(file, plain)?;
        let columns = self.kinds(file, &table)?;
        let Some(mut first) = next(0)? else {
            return Ok(());
        };
        if first >= table.rows() {
            return Ok(());
        }
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let mut batch = Batch::new(&columns);
        let begin = first;
        let rows = self.batch_rows() as u64;
        let mut take = |number: u64, cells: Vec<Cell>| -> Result<Next, Halt> {
            batch
                .push(cells)
                .map_err(|e| Halt::Failed(failed(file, &e)))?;
            let is_last = number + 1 == table.rows();
            if number + 1 - first < rows && !is_last {
                return Ok(Next::Row);
            }
            let frame = batch.take().map_err(|e| Halt::Failed(failed(file, &e)))?;
            let frame = self
                .named(&frame)
                .map_err(|e| Halt::Failed(failed(file, &e)))?;
            if !each(first, frame).map_err(Halt::Failed)? || is_last {
                return Ok(Next::Stop);
            }
            match next(number + 1).map_err(Halt::Failed)? {
                Some(row) if row < table.rows() => {
                    first = row;
                    Ok(Next::Skip(row))
                }
                _ => Ok(Next::Stop),
            }
        };
        match table.records(&names, begin, &mut take) {
            Ok(()) => Ok(()),
            Err(Halt::Damaged(problem)) => Err(refused(file, &problem)),
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    /// The columns that are asked for, each once, with the types that they have in the file.
    fn kinds(&self, file: &InputFile, table: &Table) -> Result<Vec<(String, DataType)>> {
        let mut columns: Vec<(String, DataType)> = Vec::new();
        for name in self.asked() {
            if columns.iter().any(|(known, _)| known == name) {
                continue;
            }
            let Some(kind) = table.kind(name) else {
                return Err(Error::MissingColumn {
                    path: file.path.clone(),
                    column: name.clone(),
                    found: table.names().map(str::to_owned).collect(),
                });
            };
            let is_text = self.is_text(name);
            let problem = match dtype(&kind) {
                _ if is_text && matches!(kind, Kind::List(_) | Kind::Struct(_)) => {
                    "is no text; lists can be kept with --save-additional-columns"
                }
                Some(dtype) => {
                    columns.push((name.clone(), dtype));
                    continue;
                }
                None if is_text => "is no text; lists can be kept with --save-additional-columns",
                None => "cannot be saved; write it as another type",
            };
            return Err(Error::ColumnType {
                path: file.path.clone(),
                column: name.clone(),
                dtype: kind.to_string(),
                problem,
            });
        }
        Ok(columns)
    }

    /// The columns of the file under their names in the status table, in its order.
    fn named(&self, frame: &DataFrame) -> PolarsResult<DataFrame> {
        let mut columns = Vec::new();
        for (from, to, is_text) in self.renamed() {
            let column = frame.column(from)?;
            let dtype = if is_text {
                DataType::String
            } else {
                storable(column.dtype())
            };
            columns.push(column.cast(&dtype)?.with_name(to.into()));
        }
        DataFrame::new_infer_height(columns)
    }
}

fn failed(file: &InputFile, error: &PolarsError) -> Error {
    TableProblem::Other(error.to_string()).of(file)
}

/// The type in which values of a kind are held; `None` where they are not read.
fn dtype(kind: &Kind) -> Option<DataType> {
    Some(match kind {
        Kind::Text => DataType::String,
        Kind::Null => DataType::Null,
        Kind::Bool => DataType::Boolean,
        Kind::Int { bits, is_signed } => match (bits, is_signed) {
            (8, true) => DataType::Int8,
            (16, true) => DataType::Int16,
            (32, true) => DataType::Int32,
            (_, true) => DataType::Int64,
            // The engine is built without the shorter ones.
            (8 | 16 | 32, false) => DataType::UInt32,
            (_, false) => DataType::UInt64,
        },
        Kind::Float { bits: 32 } => DataType::Float32,
        Kind::Float { .. } => DataType::Float64,
        Kind::Date => DataType::Date,
        Kind::Datetime { unit, .. } => DataType::Datetime(time_unit(*unit), None),
        Kind::List(items) => DataType::List(Box::new(dtype(items)?)),
        Kind::Struct(fields) => {
            let fields = fields.iter().map(|(name, kind)| {
                let dtype = dtype(kind)?;
                Some(polars::prelude::Field::new(name.as_str().into(), dtype))
            });
            DataType::Struct(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

fn time_unit(unit: Unit) -> TimeUnit {
    match unit {
        Unit::Millis => TimeUnit::Milliseconds,
        Unit::Micros => TimeUnit::Microseconds,
        Unit::Nanos => TimeUnit::Nanoseconds,
    }
}

/// Rows that become a data frame, part by part.
struct Batch<'a> {
    columns: &'a [(String, DataType)],
    values: Vec<Vec<AnyValue<'static>>>,
    parts: Option<DataFrame>,
}

impl<'a> Batch<'a> {
    fn new(columns: &'a [(String, DataType)]) -> Self {
        Self {
            columns,
            values: vec![Vec::new(); columns.len()],
            parts: None,
        }
    }

    fn push(&mut self, cells: Vec<Cell>) -> PolarsResult<()> {
        for ((values, (_, dtype)), cell) in self.values.iter_mut().zip(self.columns).zip(cells) {
            values.push(any_value(cell, dtype)?);
        }
        if self
            .values
            .first()
            .is_some_and(|values| values.len() >= GATHERED)
        {
            self.gather()?;
        }
        Ok(())
    }

    fn gather(&mut self) -> PolarsResult<()> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((name, dtype), values) in self.columns.iter().zip(&mut self.values) {
            let values = std::mem::take(values);
            columns.push(series(name, &values, dtype)?.into_column());
        }
        let part = DataFrame::new_infer_height(columns)?;
        match &mut self.parts {
            Some(parts) => drop(parts.vstack_mut(&part)?),
            None => self.parts = Some(part),
        }
        Ok(())
    }

    /// All rows so far, after which there are none.
    fn take(&mut self) -> PolarsResult<DataFrame> {
        self.gather()?;
        self.parts
            .take()
            .ok_or_else(|| polars_err!(NoData: "a batch without a row"))
    }
}

fn series(name: &str, values: &[AnyValue<'static>], dtype: &DataType) -> PolarsResult<Series> {
    Series::from_any_values_and_dtype(name.into(), values, dtype, false)
}

/// A value as one of its column's type; what does not fit is null.
fn any_value(cell: Cell, dtype: &DataType) -> PolarsResult<AnyValue<'static>> {
    Ok(match (cell, dtype) {
        (Cell::Bool(flag), _) => AnyValue::Boolean(flag),
        (Cell::Int(time) | Cell::Datetime(time), DataType::Datetime(unit, _)) => {
            AnyValue::Datetime(time, *unit, None)
        }
        (Cell::Int(n), _) => AnyValue::Int64(n),
        (Cell::Unsigned(n), _) => AnyValue::UInt64(n),
        (Cell::Float(x), _) => AnyValue::Float32(x),
        (Cell::Double(x), _) => AnyValue::Float64(x),
        (Cell::Text(text), _) => AnyValue::StringOwned(text.into()),
        (Cell::Date(days), _) => AnyValue::Date(days),
        (Cell::List(items), DataType::List(inner)) => {
            let items: PolarsResult<Vec<_>> = items
                .into_iter()
                .map(|item| any_value(item, inner))
                .collect();
            AnyValue::List(series("", &items?, inner)?)
        }
        (Cell::Struct(values), DataType::Struct(fields)) => {
            let values: PolarsResult<Vec<_>> = values
                .into_iter()
                .zip(fields)
                .map(|((_, value), field)| any_value(value, field.dtype()))
                .collect();
            AnyValue::StructOwned(Box::new((values?, fields.clone())))
        }
        _ => AnyValue::Null,
    })
}
