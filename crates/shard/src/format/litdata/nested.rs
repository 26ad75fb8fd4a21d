//! Lists and dictionaries that are one leaf: JSON, or since litData 0.2.74 a tag and what it says.
//!
//! | tag | value |
//! | --- | --- |
//! | 0 | JSON: u32 length, text |
//! | 1, 2, 3, 4 | list of texts, i64, f64 or truth values (a byte each): u32 count, values |
//! | 5 | dictionary: u32 count, then of each entry its name (u32 length, UTF-8) and its value with its tag |
//! | 6 | list of dictionaries with the same names: u32 count, u32 number of names, names, then values with tags of their own: 16 nothing, 17 text, 18 i64, 19 f64, 20 truth value |
//! | 7, 8, 9, 10, 11 | text, i64, f64, truth value, nothing |
//!
//! All numbers are little endian. JSON begins with a byte above 32.

use serde_json::{Map, Value};

use crate::row::Budget;
use crate::{Limits, Problem, Result, members, row};

/// Dictionaries inside one another, as many as JSON may have.
const MAX_DEPTH: u32 = 128;

/// The value that `bytes` are.
pub(super) fn value(bytes: &[u8], limits: &Limits) -> Result<Value, Problem> {
    let mut rest = Rest {
        bytes,
        budget: Budget::new(limits),
    };
    match bytes.first() {
        Some(first) if *first > b' ' => rest.json(bytes.len()),
        _ => rest.value(0),
    }
}

/// What was not read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    /// A list of dictionaries has its names once, what it becomes has them in each.
    budget: Budget,
}

impl<'a> Rest<'a> {
    fn value(&mut self, depth: u32) -> Result<Value, Problem> {
        if depth > MAX_DEPTH {
            return Err(Problem::Limit {
                what: "the depth of its metadata",
                value: depth.into(),
                limit: MAX_DEPTH.into(),
            });
        }
        self.budget.spend(0)?;
        let tag = self.byte()?;
        Ok(match tag {
            0 => {
                let len = self.count()?;
                self.json(len)?
            }
            1 => self.list(|rest| rest.text().map(Value::String))?,
            2 => self.list(Self::int)?,
            3 => self.list(Self::float)?,
            4 => self.list(Self::flag)?,
            5 => {
                let mut fields = Map::new();
                for _ in 0..self.count()? {
                    let name = self.text()?;
                    fields.insert(name, self.value(depth + 1)?);
                }
                Value::Object(fields)
            }
            6 => self.records()?,
            7 => Value::String(self.text()?),
            8 => self.int()?,
            9 => self.float()?,
            10 => self.flag()?,
            11 => Value::Null,
            _ => return Err(Problem::Columns),
        })
    }

    fn list(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<Value, Problem>,
    ) -> Result<Value, Problem> {
        let count = self.count()?;
        let item = |_| {
            self.budget.spend(0)?;
            item(self)
        };
        (0..count).map(item).collect()
    }

    fn records(&mut self) -> Result<Value, Problem> {
        let count = self.count()?;
        let names = self.count()?;
        if names == 0 && count > 0 {
            return Err(Problem::Columns);
        }
        let names: Vec<String> = (0..names).map(|_| self.text()).collect::<Result<_, _>>()?;
        let mut record = || {
            let fields = names.iter().map(|name| {
                self.budget.spend(name.len())?;
                self.budget.spend(0)?;
                let value = match self.byte()? {
                    16 => Value::Null,
                    17 => Value::String(self.text()?),
                    18 => self.int()?,
                    19 => self.float()?,
                    20 => self.flag()?,
                    _ => return Err(Problem::Columns),
                };
                Ok((name.clone(), value))
            });
            fields.collect::<Result<Value, Problem>>()
        };
        (0..count).map(|_| record()).collect()
    }

    fn json(&mut self, len: usize) -> Result<Value, Problem> {
        let bytes = self.take(len)?;
        members::parse_json(std::str::from_utf8(bytes).map_err(members::not_utf8)?)
    }

    fn text(&mut self) -> Result<String, Problem> {
        let len = self.count()?;
        self.budget.spend(len)?;
        let bytes = self.take(len)?;
        let text = std::str::from_utf8(bytes).map_err(members::not_utf8)?;
        Ok(text.to_owned())
    }

    fn int(&mut self) -> Result<Value, Problem> {
        Ok(i64::from_le_bytes(self.array()?).into())
    }

    fn float(&mut self) -> Result<Value, Problem> {
        Ok(row::float(f64::from_le_bytes(self.array()?)))
    }

    fn flag(&mut self) -> Result<Value, Problem> {
        Ok((self.byte()? != 0).into())
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn count(&mut self) -> Result<usize, Problem> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Problem::Columns)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Problem::Columns)?;
        self.bytes = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn every_tag_is_read() {
        let n = |n: u32| n.to_le_bytes().to_vec();
        let int = |n: i64| n.to_le_bytes().to_vec();
        let float = |f: f64| f.to_le_bytes().to_vec();
        let cases = [
            (b"[1, {\"a\": 2}]".to_vec(), json!([1, {"a": 2}])),
            (b"[NaN, 1]".to_vec(), json!([null, 1])),
            ([vec![0], text("[1, \"x\"]")].concat(), json!([1, "x"])),
            (
                [vec![1], n(2), text("ä"), text("")].concat(),
                json!(["ä", ""]),
            ),
            (
                [vec![2], n(2), int(-1), int(i64::MAX)].concat(),
                json!([-1, i64::MAX]),
            ),
            (
                [vec![3], n(2), float(0.5), float(f64::NAN)].concat(),
                json!([0.5, null]),
            ),
            ([vec![4], n(2), vec![1, 0]].concat(), json!([true, false])),
            (
                [vec![5], n(2), text("b"), vec![11], text("a"), vec![1], n(0)].concat(),
                json!({"b": null, "a": []}),
            ),
            (
                [
                    [vec![6], n(2), n(2), text("x"), text("y")].concat(),
                    [vec![17], text("t"), vec![18], int(3)].concat(),
                    [vec![16, 19], float(1.5)].concat(),
                ]
                .concat(),
                json!([{"x": "t", "y": 3}, {"x": null, "y": 1.5}]),
            ),
            ([vec![7], text("t")].concat(), json!("t")),
            ([vec![8], int(7)].concat(), json!(7)),
            ([vec![9], float(-2.0)].concat(), json!(-2.0)),
            (vec![10, 1], json!(true)),
            (vec![11], Value::Null),
        ];
        for (bytes, expected) in cases {
            assert_eq!(value(&bytes, &Limits::default()).unwrap(), expected);
            for len in 0..bytes.len() {
                assert!(
                    value(&bytes[..len], &Limits::default()).is_err(),
                    "{expected}"
                );
            }
        }
    }

    #[test]
    fn few_bytes_cannot_take_much_memory() {
        let deep: Vec<u8> = (0..1_000_000)
            .flat_map(|_| [5, 1, 0, 0, 0, 0, 0, 0, 0])
            .collect();
        let error = value(&deep, &Limits::default()).unwrap_err();
        assert!(error.to_string().contains("the depth"), "{error}");
        // A name of 1 MiB in each of a million records.
        let name = "n".repeat(1 << 20);
        let head = [
            vec![6],
            1_000_000u32.to_le_bytes().to_vec(),
            vec![1, 0, 0, 0],
        ]
        .concat();
        let records = [head, text(&name), vec![16; 1_000_000]].concat();
        let error = value(&records, &Limits::default()).unwrap_err();
        assert!(
            error.to_string().contains("the length of its metadata"),
            "{error}"
        );
        // Names of nothing, and a byte for each value.
        let head = [
            vec![6],
            4_000_000u32.to_le_bytes().to_vec(),
            vec![1, 0, 0, 0],
        ]
        .concat();
        let records = [head, text(""), vec![16; 4_000_000]].concat();
        let error = value(&records, &Limits::default()).unwrap_err();
        assert!(
            error.to_string().contains("the length of its metadata"),
            "{error}"
        );
        let flags = [
            vec![4],
            4_000_000u32.to_le_bytes().to_vec(),
            vec![1; 4_000_000],
        ]
        .concat();
        assert!(value(&flags, &Limits::default()).is_err());
        let nameless = [vec![6], u32::MAX.to_le_bytes().to_vec(), vec![0; 4]].concat();
        assert!(value(&nameless, &Limits::default()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0u8..24, 0..64)) {
            let _ = value(&bytes, &Limits::default());
        }
    }
}
