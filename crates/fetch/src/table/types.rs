//! Types of columns: what can be read, what texts stand for, and as what a column is kept.

use polars::prelude::*;

use super::files::InputFile;
use crate::error::{Error, Result};

/// The type in which a column is kept: categories are text, an empty column too.
pub(super) fn storable(dtype: &DataType) -> DataType {
    match dtype {
        DataType::Categorical(..) | DataType::Enum(..) | DataType::Null => DataType::String,
        DataType::List(inner) => DataType::List(Box::new(storable(inner))),
        other => other.clone(),
    }
}

/// Texts as truth values, empty ones as none.
pub(super) fn truth(text: Expr) -> Expr {
    let is_true = text.clone().str().to_lowercase().eq(lit("true"));
    when(text.eq(lit("")))
        .then(lit(NULL).cast(DataType::Boolean))
        .otherwise(is_true)
}

/// Whether every text of `column` that is not empty reads as `dtype`.
pub(super) fn all_are(column: &Column, dtype: &DataType) -> PolarsResult<bool> {
    let texts = column.str()?;
    if *dtype == DataType::Boolean {
        let is_truth = |text: &str| {
            text.is_empty()
                || text.eq_ignore_ascii_case("true")
                || text.eq_ignore_ascii_case("false")
        };
        return Ok(texts.iter().flatten().all(is_truth));
    }
    let cast = column.cast(dtype)?;
    let filled = texts
        .iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .count();
    Ok(cast.len() - cast.null_count() == filled)
}

/// Refuses Parquet files with a column whose type makes the engine give up on the whole file.
pub(super) fn check_readable(file: &InputFile, schema: &ArrowSchema) -> Result<()> {
    fn is_readable(dtype: &ArrowDataType) -> bool {
        match dtype {
            ArrowDataType::Float16
            | ArrowDataType::FixedSizeList(..)
            | ArrowDataType::Decimal(..)
            | ArrowDataType::Decimal32(..)
            | ArrowDataType::Decimal64(..)
            | ArrowDataType::Decimal256(..)
            | ArrowDataType::Interval(..)
            | ArrowDataType::Union(..)
            | ArrowDataType::Unknown => false,
            ArrowDataType::List(field)
            | ArrowDataType::LargeList(field)
            | ArrowDataType::Map(field, _) => is_readable(field.dtype()),
            ArrowDataType::Struct(fields) => fields.iter().all(|f| is_readable(f.dtype())),
            ArrowDataType::Dictionary(_, inner, _) => is_readable(inner),
            ArrowDataType::Extension(extension) => is_readable(&extension.inner),
            _ => true,
        }
    }
    match schema.iter_values().find(|f| !is_readable(f.dtype())) {
        None => Ok(()),
        Some(field) => Err(Error::ColumnType {
            path: file.path.clone(),
            column: field.name.to_string(),
            dtype: format!("{:?}", field.dtype()),
            problem: "makes the file unreadable here; write the table without it",
        }),
    }
}
