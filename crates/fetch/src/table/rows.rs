//! One shard's rows, and the identity of their content.

use polars::prelude::*;
use serde_json::{Number, Value};
use sightline_core::digest::Hasher;
use sightline_core::{Digest, Metadata, ShardId};

use crate::join::Unmatched;

/// The rows of one shard, in order.
#[derive(Debug)]
pub(crate) struct ShardRows {
    /// Which shard.
    pub(crate) id: ShardId,
    /// The input columns as they go into the status table: saved ones, `caption` if any, `url`.
    pub(crate) frame: DataFrame,
    /// The same, row by row.
    pub(crate) rows: Vec<Row>,
    /// Digest of all rows' content with the names of the columns.
    pub(crate) digest: Digest,
    /// Rows that the other table does not have, where there is one.
    pub(crate) unmatched: Option<Unmatched>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// Where the image is.
    pub(crate) url: Option<String>,
    /// Its caption, if there is a column of them.
    pub(crate) caption: Option<String>,
    /// All input columns, in the order of the status table.
    pub(crate) columns: Metadata,
    /// The digest that the body must have.
    pub(crate) check: Option<String>,
    /// Why it is not asked for, if it is not.
    pub(crate) refused: Option<&'static str>,
}

/// Name of the column of [`Row::check`], which is not kept. Saved columns cannot be called so.
pub(super) const CHECK: &str = "__check";
/// Name of the column of [`Columns::join`](super::Columns::join), which is not kept either.
pub(crate) const JOIN: &str = "__join";

impl ShardRows {
    /// The rows in `frame`, whose columns have the names of the status table.
    pub(crate) fn new(id: ShardId, mut frame: DataFrame) -> PolarsResult<Self> {
        let mut rows: Vec<Row> = Vec::with_capacity(frame.height());
        let columns: Vec<&Series> = frame
            .columns()
            .iter()
            .map(Column::as_materialized_series)
            .collect();
        let mut hasher = Hasher::new();
        for series in &columns {
            hasher.update(series.name().as_bytes());
            hasher.update(b"\0");
        }
        for at in 0..frame.height() {
            let mut values = Metadata::with_capacity(columns.len());
            for series in &columns {
                let value = to_json(&series.get(at)?);
                values.insert(series.name().to_string(), value);
            }
            hasher.update(b"\n");
            for value in values.values() {
                // A JSON text holds no line break and no NUL, so values cannot run together.
                hasher.update(value.to_string().as_bytes());
                hasher.update(b"\0");
            }
            let check = values.shift_remove(CHECK);
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            rows.push(Row {
                url: text(values.get("url")),
                caption: text(values.get("caption")),
                check: text(check.as_ref()),
                refused: None,
                columns: values,
            });
        }
        // It is there only if it was asked for.
        let _ = frame.drop_in_place(CHECK);
        Ok(Self {
            id,
            rows,
            digest: hasher.finish(),
            frame,
            unmatched: None,
        })
    }
}

/// Whether a column of the type can be read and [`to_json`] can show every value of it. Unsigned
/// integers of 8 and 16 bits are left out of this build of the table engine.
pub(super) fn is_representable(dtype: &DataType) -> bool {
    match dtype {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::String
        | DataType::Date
        | DataType::Datetime(..) => true,
        DataType::List(inner) => is_representable(inner),
        DataType::Struct(fields) => fields.iter().all(|field| is_representable(field.dtype())),
        _ => false,
    }
}

/// A value as JSON: text for dates, null for floats that JSON cannot hold.
fn to_json(value: &AnyValue) -> Value {
    let float = |value: f64| Number::from_f64(value).map_or(Value::Null, Value::Number);
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => (*value).into(),
        AnyValue::Int8(value) => (*value).into(),
        AnyValue::Int16(value) => (*value).into(),
        AnyValue::Int32(value) => (*value).into(),
        AnyValue::Int64(value) => (*value).into(),
        AnyValue::UInt32(value) => (*value).into(),
        AnyValue::UInt64(value) => (*value).into(),
        AnyValue::Float32(value) => float(f64::from(*value)),
        AnyValue::Float64(value) => float(*value),
        AnyValue::String(value) => (*value).into(),
        AnyValue::StringOwned(value) => value.as_str().into(),
        AnyValue::List(series) => series.iter().map(|value| to_json(&value)).collect(),
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let mut object = Metadata::new();
            if let AnyValue::StructOwned(owned) = value.clone().into_static() {
                let (values, fields) = *owned;
                for (value, field) in values.iter().zip(&fields) {
                    object.insert(field.name().to_string(), to_json(value));
                }
            }
            Value::Object(object)
        }
        other => other.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> DataFrame {
        let lists = ListChunked::from_iter([
            Some(Series::new("".into(), ["one", "two"])),
            None,
            Some(Series::new("".into(), Vec::<String>::new())),
        ]);
        let mut lists = lists.into_series();
        lists.rename("captions".into());
        DataFrame::new_infer_height(vec![
            Series::new("n".into(), [Some(1i64), None, Some(-3)]).into(),
            Series::new("x".into(), [0.5, f64::NAN, 1e300]).into(),
            lists.into(),
            Series::new("url".into(), [Some("http://a"), Some("b\"\n"), None]).into(),
        ])
        .unwrap()
    }

    #[test]
    fn rows_keep_values_lists_and_nulls() {
        let shard = ShardRows::new(ShardId(3), frame()).unwrap();
        let shown: Vec<String> = shard
            .rows
            .iter()
            .map(|row| serde_json::to_string(&row.columns).unwrap())
            .collect();
        assert_eq!(
            shown,
            [
                r#"{"n":1,"x":0.5,"captions":["one","two"],"url":"http://a"}"#,
                r#"{"n":null,"x":null,"captions":null,"url":"b\"\n"}"#,
                r#"{"n":-3,"x":1e+300,"captions":[],"url":null}"#,
            ]
        );
        assert_eq!(shard.rows[0].url.as_deref(), Some("http://a"));
        assert_eq!(shard.rows[2].url, None);
    }

    #[test]
    fn the_digest_is_of_the_content_and_the_names() {
        let digest = |frame| ShardRows::new(ShardId(0), frame).unwrap().digest;
        let all = digest(frame());
        assert_eq!(all, digest(frame()));
        assert_ne!(all, digest(frame().slice(0, 2)));
        let mut renamed = frame();
        renamed.rename("n", "m".into()).unwrap();
        assert_ne!(all, digest(renamed));
    }
}
