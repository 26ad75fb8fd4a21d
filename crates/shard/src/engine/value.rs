//! Values of Parquet as JSON.

use parquet::record::Field;
use serde_json::Value;

use super::guarded;
use crate::columns::{Kind, Unit};
use crate::row::float;

/// The value of a column of `kind` as JSON; `None` where JSON has no such value.
pub(crate) fn value(field: Field, kind: &Kind) -> Option<Value> {
    Some(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(n) => n.into(),
        Field::Short(n) => n.into(),
        Field::Int(n) => n.into(),
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
            let kinds = match kind {
                Kind::Struct(fields) => &fields[..],
                _ => &[],
            };
            let fields = row.into_columns().into_iter().enumerate();
            let fields = fields.map(|(at, (name, field))| {
                let kind = kinds.get(at).map_or(&Kind::Null, |(_, kind)| kind);
                Some((name, value(field, kind)?))
            });
            Value::Object(fields.collect::<Option<_>>()?)
        }
        Field::ListInternal(list) => {
            let kind = match kind {
                Kind::List(kind) => kind,
                _ => &Kind::Null,
            };
            let items = list.elements().iter();
            let items = items.map(|item| value(item.clone(), kind));
            Value::Array(items.collect::<Option<_>>()?)
        }
        Field::MapInternal(map) => {
            let kind = match kind {
                Kind::Map(kind) => kind,
                _ => &Kind::Null,
            };
            let entries = map.entries().iter().map(|(name, item)| {
                let name = match name {
                    Field::Str(text) => text.clone(),
                    other => shown(other)?,
                };
                Some((name, value(item.clone(), kind)?))
            });
            Value::Object(entries.collect::<Option<_>>()?)
        }
        Field::Long(_) | Field::TimestampMillis(_) | Field::TimestampMicros(_) => {
            return number_or_time(&field, kind);
        }
        // Without a digit behind it there is no point.
        other @ Field::Decimal(_) => shown(&other)?.trim_end_matches('.').into(),
        other @ (Field::Date(_) | Field::TimeMillis(_) | Field::TimeMicros(_)) => {
            shown(&other)?.into()
        }
    })
}

/// A number, or a point in time as `2026-11-27 08:30:00.125`, with as many digits as its unit has, and the `+00:00` of UTC.
fn number_or_time(field: &Field, kind: &Kind) -> Option<Value> {
    let Kind::Datetime { unit, is_utc } = *kind else {
        return Some(match *field {
            Field::Long(n) if *kind == Kind::Time => {
                let micros = shown(&Field::TimeMicros(n.div_euclid(1000)))?;
                format!("{micros}{:03}", n.rem_euclid(1000)).into()
            }
            Field::Long(n) => n.into(),
            _ => shown(field)?.into(),
        });
    };
    let (time, digits) = match (field, unit) {
        // The crate has no billionths.
        (Field::Long(n), Unit::Nanos) => {
            let micros = Field::TimestampMicros(n.div_euclid(1000));
            (shown(&micros)?, format!("{:03}", n.rem_euclid(1000)))
        }
        _ => (shown(field)?, String::new()),
    };
    let (time, _) = time.rsplit_once(' ')?;
    let zone = if is_utc { "+00:00" } else { "" };
    Some(format!("{time}{digits}{zone}").into())
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
        let value = |field| value(field, &Kind::Null);
        assert_eq!(value(Field::Date(1)), Some("1970-01-02".into()));
        assert_eq!(value(Field::Date(i32::MAX)), None);
        assert_eq!(value(Field::TimestampMillis(i64::MAX)), None);
    }

    #[test]
    fn times_have_the_digits_of_their_unit_and_their_zone() {
        let shown = |field, unit, is_utc| value(field, &Kind::Datetime { unit, is_utc }).unwrap();
        let millis = Field::TimestampMillis(1_500);
        let micros = Field::TimestampMicros(-1);
        let nanos = Field::Long(-1);
        assert_eq!(
            shown(millis, Unit::Millis, true),
            "1970-01-01 00:00:01.500+00:00"
        );
        assert_eq!(
            shown(micros, Unit::Micros, false),
            "1969-12-31 23:59:59.999999"
        );
        assert_eq!(
            shown(nanos, Unit::Nanos, false),
            "1969-12-31 23:59:59.999999999"
        );
        let time = value(Field::Long(3_661_000_000_001), &Kind::Time);
        assert_eq!(time, Some("01:01:01.000000001".into()));
        let list = Kind::Int {
            bits: 64,
            is_signed: true,
        };
        assert_eq!(value(Field::Long(7), &list), Some(7.into()));
    }
}
