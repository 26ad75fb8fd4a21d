//! Types of columns: what can be read, what texts stand for, and as what a column is kept.

use polars::prelude::*;

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
