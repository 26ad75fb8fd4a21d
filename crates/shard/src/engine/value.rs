//! Values of Parquet as JSON.

use parquet::record::Field;
use serde_json::{Number, Value};

use super::guarded;

/// The value as JSON; `None` where JSON has no such value.
pub(crate) fn value(field: Field) -> Option<Value> {
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
                    other => shown(other)?,
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
        | Field::TimestampMicros(_)) => shown(&other)?.into(),
    })
}

/// A value as the crate shows it; `None` for days and times beyond the calendar, on which it panics.
fn shown(field: &Field) -> Option<String> {
    guarded(|| Ok(field.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_beyond_the_calendar_are_no_values() {
        assert_eq!(value(Field::Date(1)), Some("1970-01-02".into()));
        assert_eq!(value(Field::Date(i32::MAX)), None);
        assert_eq!(value(Field::TimestampMillis(i64::MAX)), None);
    }
}
