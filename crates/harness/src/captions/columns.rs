//! Tables: a row for each caption.

use std::fs::File;

use polars::prelude::*;

use super::error::CaptionError;
use super::read::{CaptionColumns, Captions};

/// Reads a table of delimited text with a header.
pub(super) fn delimited(
    bytes: &[u8],
    delimiter: u8,
    columns: &CaptionColumns,
) -> Result<Captions, CaptionError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(bytes);
    let problem = |error: csv::Error| CaptionError::Line {
        line: error.position().map_or(1, csv::Position::line),
        problem: match error.kind() {
            csv::ErrorKind::Utf8 { err, .. } => format!("field {}: {err}", err.field() + 1),
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!("{len} fields instead of {expected_len}"),
            _ => error.to_string(),
        },
    };
    let header = reader.headers().map_err(problem)?.clone();
    let place = |column: &str| {
        let found = header.iter().position(|name| name == column);
        found.ok_or_else(|| CaptionError::Column {
            column: column.to_owned(),
            found: header.iter().map(str::to_owned).collect(),
        })
    };
    let (id, caption) = (place(&columns.id)?, place(&columns.caption)?);
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(problem)?;
        let field = |place: usize| record.get(place).unwrap_or_default().to_owned();
        rows.push((field(id), vec![field(caption)], None));
    }
    Ok(Captions::of_rows("id", rows))
}

/// Reads a Parquet file whose captions are texts or lists of texts. A row without a caption is an image
/// without one.
pub(super) fn parquet(file: File, columns: &CaptionColumns) -> Result<Captions, CaptionError> {
    let table = |error: PolarsError| CaptionError::Table {
        problem: error.to_string(),
    };
    let mut reader = ParquetReader::new(file);
    let schema = reader.schema().map_err(table)?;
    for column in [&columns.id, &columns.caption] {
        if schema.get(column).is_none() {
            return Err(CaptionError::Column {
                column: column.clone(),
                found: schema.iter_names().map(ToString::to_string).collect(),
            });
        }
    }
    let wanted = vec![columns.id.clone(), columns.caption.clone()];
    let frame = reader.with_columns(Some(wanted)).finish().map_err(table)?;
    let ids = frame.column(&columns.id).map_err(table)?;
    let ids = ids.cast(&DataType::String).map_err(table)?;
    let ids = ids.str().map_err(table)?;
    let texts = frame.column(&columns.caption).map_err(table)?;
    let texts = match texts.dtype() {
        DataType::List(_) => texts.clone(),
        _ => texts.cast(&DataType::String).map_err(table)?,
    };

    let mut rows = Vec::new();
    for row in 0..frame.height() {
        let id = ids.get(row).ok_or_else(|| CaptionError::Line {
            line: row as u64 + 1,
            problem: format!("column `{}` is empty", columns.id),
        })?;
        let captions = match texts.get(row).map_err(table)? {
            AnyValue::Null => Vec::new(),
            AnyValue::List(list) => list
                .iter()
                .filter_map(|text| text.get_str().map(str::to_owned))
                .collect(),
            value => vec![value.get_str().unwrap_or_default().to_owned()],
        };
        rows.push((id.to_owned(), captions, None));
    }
    Ok(Captions::of_rows("id", rows))
}
