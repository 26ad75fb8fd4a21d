//! JSON as Python's `json.dumps` writes it, with `indent=4` or on one line.
//!
//! img2dataset stores metadata in this form, so shards of both tools can be compared byte by byte.
//! The rules: four spaces per level, `,` and a line break between items, `": "` after a key, every
//! character outside printable ASCII escaped (two escapes beyond the basic plane), keys in the order
//! given, floats as `repr` prints them, no line break at the end.
//!
//! ```
//! use sightline_shard::python_json::to_string;
//! let value = serde_json::json!({"caption": "été", "score": 1e-5, "tags": []});
//! assert_eq!(
//!     to_string(value.as_object().unwrap()),
//!     "{\n    \"caption\": \"\\u00e9t\\u00e9\",\n    \"score\": 1e-05,\n    \"tags\": []\n}"
//! );
//! ```

use std::fmt::Write as _;

use serde_json::{Number, Value};
use sightline_core::Metadata;
use sightline_core::python::float_repr;

const INDENT: &str = "    ";

/// The JSON text of `metadata`.
pub fn to_string(metadata: &Metadata) -> String {
    let mut out = String::with_capacity(256);
    write_object(&mut out, metadata, Layout::Lines { level: 0 });
    out
}

/// The JSON text of `metadata` on one line, with a space behind each comma and colon.
pub fn to_line(metadata: &Metadata) -> String {
    let mut out = String::with_capacity(256);
    write_object(&mut out, metadata, Layout::OneLine);
    out
}

/// How items of arrays and objects are laid out.
#[derive(Clone, Copy)]
enum Layout {
    /// All on one line.
    OneLine,
    /// Each on a line, inside arrays and objects nested `level` deep.
    Lines { level: usize },
}

impl Layout {
    /// That of an item's own items.
    fn inner(self) -> Self {
        match self {
            Self::OneLine => self,
            Self::Lines { level } => Self::Lines { level: level + 1 },
        }
    }

    fn break_line(self, out: &mut String) {
        if let Self::Lines { level } = self {
            out.push('\n');
            out.extend(std::iter::repeat_n(INDENT, level));
        }
    }
}

/// Adds the JSON text of `value`, whose first line is already indented.
fn write_value(out: &mut String, value: &Value, layout: Layout) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            let mut list = List::begin(out, '[', layout);
            for item in items {
                list.next(out);
                write_value(out, item, layout.inner());
            }
            list.end(out, ']');
        }
        Value::Object(object) => write_object(out, object, layout),
    }
}

fn write_object(out: &mut String, object: &Metadata, layout: Layout) {
    let mut list = List::begin(out, '{', layout);
    for (key, value) in object {
        list.next(out);
        write_text(out, key);
        out.push_str(": ");
        write_value(out, value, layout.inner());
    }
    list.end(out, '}');
}

/// Brackets, commas and line breaks, which arrays and objects share.
struct List {
    layout: Layout,
    is_empty: bool,
}

impl List {
    fn begin(out: &mut String, bracket: char, layout: Layout) -> Self {
        out.push(bracket);
        Self {
            layout,
            is_empty: true,
        }
    }

    fn next(&mut self, out: &mut String) {
        match self.layout {
            _ if self.is_empty => {}
            Layout::OneLine => out.push_str(", "),
            Layout::Lines { .. } => out.push(','),
        }
        self.is_empty = false;
        self.layout.inner().break_line(out);
    }

    fn end(self, out: &mut String, bracket: char) {
        if !self.is_empty {
            self.layout.break_line(out);
        }
        out.push(bracket);
    }
}

fn write_number(out: &mut String, number: &Number) {
    match number.as_f64() {
        Some(float) if number.is_f64() => out.push_str(&float_repr(float)),
        _ => out.push_str(&number.to_string()),
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// The unit of UTF-16 that `text` begins with: `\ud83d`.
fn escaped_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// Puts `null` for `NaN`, `Infinity` and `-Infinity` outside strings, and U+FFFD for halves of surrogate pairs in them: Python
/// writes these for floats that JSON, and for texts that Unicode cannot hold. `None` when there are none.
pub(crate) fn without_what_only_python_reads(text: &str) -> Option<String> {
    const NAMES: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    let mut found = false;
    while let Some(letter) = rest.chars().next() {
        if !in_string && let Some(name) = NAMES.iter().find(|name| rest.starts_with(**name)) {
            out.push_str("null");
            rest = &rest[name.len()..];
            found = true;
            continue;
        }
        let mut len = letter.len_utf8();
        match letter {
            '"' => in_string = !in_string,
            '\\' => match escaped_unit(rest) {
                Some(0xd800..=0xdbff)
                    if matches!(escaped_unit(&rest[6..]), Some(0xdc00..=0xdfff)) =>
                {
                    len = 12;
                }
                Some(0xd800..=0xdfff) => {
                    out.push_str("\\ufffd");
                    rest = &rest[6..];
                    found = true;
                    continue;
                }
                _ => len += rest[1..].chars().next().map_or(0, char::len_utf8),
            },
            _ => {}
        }
        out.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dumps(value: &Value) -> String {
        let mut out = String::new();
        write_value(&mut out, value, Layout::Lines { level: 0 });
        out
    }

    /// Each line is what `CPython` 3.11.7 prints for `repr(x)`.
    #[test]
    fn floats_are_printed_as_python_prints_them() {
        for line in include_str!("../tests/fixtures/floats.txt").lines() {
            let float: f64 = line.parse().unwrap();
            assert_eq!(dumps(&json!(float)), line);
        }
    }

    #[test]
    fn integers_keep_every_digit() {
        assert_eq!(dumps(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(dumps(&json!(i64::MIN)), "-9223372036854775808");
    }

    /// Expected text is what `CPython` 3.11.7 prints for `json.dumps(value, indent=4)`.
    #[test]
    fn nesting_order_and_escapes_are_those_of_json_dumps() {
        let value = json!({
            "z": "quote \" slash / back \\ tab \t nl \n cr \r bs \u{8} ff \u{c} nul \0 esc \u{1b} del \u{7f}",
            "a": "été 中 😀 \u{2028}\u{ffff}",
            "empty": [[], {}, ""],
            "deep": {"b": [1, [2, {"c": null}], true, false], "a": {}},
            "é": 0.1
        });
        assert_eq!(dumps(&value), include_str!("../tests/fixtures/nested.json"));
    }

    #[test]
    fn one_line_has_spaces_behind_commas_and_colons() {
        let value = json!({"a": [1, {"é\n": "b"}, []], "c": {}, "d": 1e-7});
        let line = to_line(value.as_object().unwrap());
        assert_eq!(
            line,
            r#"{"a": [1, {"\u00e9\n": "b"}, []], "c": {}, "d": 1e-07}"#
        );
    }

    #[test]
    fn numbers_that_json_cannot_hold_become_null() {
        let text = r#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" Infinity \\", "d": 1}"#;
        let expected = r#"{"a": null, "b": [null, null], "c": "NaN \" Infinity \\", "d": 1}"#;
        assert_eq!(without_what_only_python_reads(text).unwrap(), expected);
        assert_eq!(without_what_only_python_reads(expected), None);
        for text in ["", "\\", "\"\\", "\"é\\é", "N", "Na"] {
            assert_eq!(without_what_only_python_reads(text), None, "{text}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_pairs_are_not() {
        for (text, expected) in [
            (r#""\ud83d\ude00""#, None),
            (r#""a\ud83d""#, Some(r#""a\ufffd""#)),
            (
                r#""\ud83d\ud83d\ude00\ude00é""#,
                Some(r#""\ufffd\ud83d\ude00\ufffdé""#),
            ),
            (r#""\\ud83d""#, None),
            (r#""\ud8""#, None),
            (r#""\ud8é""#, None),
        ] {
            let found = without_what_only_python_reads(text);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }
}
