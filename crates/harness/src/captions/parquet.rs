//! Parquet: a row for each caption, or for each image with all of its captions.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use sightline_core::text::printable;
use sightline_shard::Problem;
use sightline_shard::columns::{Kind, Table};

use super::error::CaptionError;
use super::json;
use super::read::{CaptionColumns, Captions, MAX_LEN_BYTES, Role, Row};

/// Most letters of what the reader says: of a text that is no UTF-8 it names every byte.
const MAX_WORDS: usize = 300;

/// Reads a Parquet file whose captions are texts or lists of texts. A row without a caption is an image
/// without one.
pub(super) fn read(
    bytes: Bytes,
    columns: &CaptionColumns,
    role: Role,
) -> Result<Captions, CaptionError> {
    let table = Table::open(Arc::new(bytes))?;
    check_once(&table, &columns.id)?;
    check_once(&table, &columns.caption)?;
    let is_list = holds_lists(&table, &columns.caption)?;

    let mut len_bytes = 0;
    let mut rows = Vec::new();
    let (ids, texts) = (table.values(&columns.id)?, table.values(&columns.caption)?);
    for (row, (found, texts)) in (1..).zip(ids.zip(texts)) {
        let id = id(found?).map_err(|what| CaptionError::Line {
            line: row,
            problem: format!("column `{}` {what}", printable(&columns.id)),
        })?;
        let captions = captions(texts?).ok_or_else(|| {
            let what = format!("holds a list with null in it in row {row}");
            of_column(&columns.caption, &what)
        })?;
        len_bytes += id.len() + captions.iter().map(String::len).sum::<usize>();
        if len_bytes as u64 > MAX_LEN_BYTES {
            return Err(CaptionError::Table {
                problem: format!("its texts have more than {MAX_LEN_BYTES} bytes"),
            });
        }
        rows.push(Row {
            id,
            captions,
            is_list,
            failed: None,
        });
    }
    Captions::of_rows("id", role, rows)
}

/// Refuses a column that is not there, or there twice.
fn check_once(table: &Table, column: &str) -> Result<(), CaptionError> {
    match table.names().filter(|&name| name == column).count() {
        0 => Err(CaptionError::Column {
            column: column.to_owned(),
            found: table.names().map(str::to_owned).collect(),
        }),
        1 => Ok(()),
        _ => Err(CaptionError::ColumnTwice {
            column: column.to_owned(),
        }),
    }
}

/// Whether a column of captions holds lists of texts and not texts.
fn holds_lists(table: &Table, column: &str) -> Result<bool, CaptionError> {
    match table.kind(column) {
        Some(Kind::Text) => Ok(false),
        Some(Kind::List(item)) if *item == Kind::Text => Ok(true),
        other => {
            let other = other.map_or_else(String::new, |kind| kind.to_string());
            let what = format!("holds {other}, not texts or lists of texts");
            Err(of_column(column, &what))
        }
    }
}

fn of_column(column: &str, what: &str) -> CaptionError {
    CaptionError::Table {
        problem: format!("column `{}` {what}", printable(column)),
    }
}

impl From<Problem> for CaptionError {
    fn from(problem: Problem) -> Self {
        let words = printable(&problem.to_string());
        Self::Table {
            problem: words.chars().take(MAX_WORDS).collect(),
        }
    }
}

/// The id that a value is, or why it is none.
fn id(value: Option<Value>) -> Result<String, &'static str> {
    match value {
        Some(Value::Null) => Err("is empty"),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Bool(truth)) => Ok(truth.to_string()),
        Some(Value::Number(number)) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => json::of_float(float).ok_or("holds a float that is no exact id"),
            None => Ok(number.to_string()),
        },
        Some(Value::Array(_) | Value::Object(_)) | None => Err("holds neither text nor number"),
    }
}

/// The captions of a row; `None` where a list has something else than texts in it.
fn captions(value: Option<Value>) -> Option<Vec<String>> {
    let text = |value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    match value? {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.into_iter().map(text).collect(),
        value => Some(vec![text(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::read::{read_predictions, read_references};
    use super::*;

    /// The files of `tests/fixtures/parquet` that hold the captions of `make.py`, by name.
    fn files() -> Vec<(String, Vec<u8>)> {
        let folder = fixtures();
        let names = fs::read_dir(folder).expect("the fixtures are there");
        let mut files: Vec<(String, Vec<u8>)> = names
            .map(|entry| entry.expect("the folder can be read"))
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".parquet") && name != "pyarrow-kinds.parquet")
            .map(|name| (name.clone(), fixture(&name)))
            .collect();
        files.sort();
        files
    }

    fn fixtures() -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/parquet"]
            .iter()
            .collect()
    }

    fn fixture(name: &str) -> Vec<u8> {
        fs::read(fixtures().join(name)).expect("the fixture is there")
    }

    fn read_as(
        bytes: &[u8],
        columns: (&str, &str),
        role: Role,
    ) -> Result<Vec<(String, Vec<String>)>, String> {
        let columns = CaptionColumns {
            id: columns.0.to_owned(),
            caption: columns.1.to_owned(),
        };
        let read = read(Bytes::copy_from_slice(bytes), &columns, role);
        let entries = read.map_err(|e| e.to_string())?.entries;
        Ok(entries
            .into_iter()
            .map(|mut entry| (entry.ids.remove(0), entry.captions))
            .collect())
    }

    /// What `make.py` writes.
    fn expected(name: &str) -> Vec<(String, Vec<String>)> {
        let captions: [&[&str]; 4] = if name.contains("lists") {
            [&["a dog", "a cat"], &[], &[], &["x"]]
        } else {
            [&["a dog runs"], &[""], &[], &["un été 😀"]]
        };
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let ids = ["1", "2", "30", "4"].map(str::to_owned);
        ids.into_iter().zip(captions.map(owned)).collect()
    }

    #[test]
    fn every_codec_version_of_pages_and_encoding_is_read() {
        let files = files();
        assert!(files.len() > 15, "{} files", files.len());
        for (name, bytes) in files {
            let read = read_as(&bytes, ("id", "caption"), Role::References);
            assert_eq!(read, Ok(expected(&name)), "{name}");
        }
    }

    #[test]
    fn ids_are_texts_or_numbers_of_any_type() {
        let kinds = fixture("pyarrow-kinds.parquet");
        for (column, ids) in [
            ("int", ["-1", "2"]),
            ("unsigned", ["1", "9223372036854775808"]),
            ("float", ["1", "2.5"]),
            ("half", ["0.5", "2"]),
            ("truth", ["true", "false"]),
            ("date", ["1970-01-01", "1970-01-02"]),
        ] {
            let read = read_as(&kinds, (column, "text"), Role::Predictions).unwrap();
            let read: Vec<&str> = read.iter().map(|(id, _)| id.as_str()).collect();
            assert_eq!(read, ids, "{column}");
        }
        for (column, problem) in [
            ("null", "line 2: column `null` is empty"),
            ("nan", "line 2: column `nan` is empty"),
            ("nothing", "line 1: column `nothing` is empty"),
            (
                "binary",
                "line 2: column `binary` holds neither text nor number",
            ),
            (
                "struct",
                "line 1: column `struct` holds neither text nor number",
            ),
            (
                "numbers",
                "line 1: column `numbers` holds neither text nor number",
            ),
            (
                "none",
                "there is no column `none`; there are text, int, unsigned, float, half, truth, binary, \
                      nothing, date, time, nan, struct, numbers, holes, null",
            ),
        ] {
            let read = read_as(&kinds, (column, "text"), Role::Predictions);
            assert_eq!(read.unwrap_err(), problem);
        }
    }

    #[test]
    fn columns_that_are_no_texts_are_refused() {
        let kinds = fixture("pyarrow-kinds.parquet");
        for (column, holds) in [
            ("int", "i8"),
            ("unsigned", "u64"),
            ("float", "f64"),
            ("half", "f32"),
            ("truth", "bool"),
            ("binary", "binary"),
            ("nothing", "null"),
            ("date", "date"),
            ("time", "datetime[μs]"),
            ("struct", "struct[2]"),
            ("numbers", "list[i64]"),
        ] {
            let error = read_as(&kinds, ("text", column), Role::Predictions).unwrap_err();
            let expected = format!("column `{column}` holds {holds}, not texts or lists of texts");
            assert_eq!(error, expected);
        }
        let error = read_as(&kinds, ("text", "holes"), Role::References).unwrap_err();
        assert_eq!(
            error,
            "column `holes` holds a list with null in it in row 2"
        );
    }

    /// A damaged file gives an error or captions, and where pages have checksums the right ones: neither an abort,
    /// nor memory or time without bound, which would end the test.
    #[test]
    fn damaged_files_are_refused_or_read() {
        for (name, whole) in files() {
            let is_thorough = ["pyarrow-checksums", "pyarrow-delta-1", "polars-lists"]
                .iter()
                .any(|thorough| name.starts_with(thorough));
            let patterns: &[u8] = if is_thorough {
                &[0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff]
            } else {
                &[0x80]
            };
            let expected = expected(&name);
            let mut wrong = Vec::new();
            for at in 0..whole.len() {
                for pattern in patterns {
                    let mut bytes = whole.clone();
                    bytes[at] ^= pattern;
                    let read = read_as(&bytes, ("id", "caption"), Role::References);
                    if read.is_ok_and(|read| read != expected) {
                        wrong.push(format!("byte {at} ^ {pattern:#04x}"));
                    }
                }
                let read = read_as(&whole[..at], ("id", "caption"), Role::References);
                assert!(read.is_err(), "{name} cut to {at} bytes");
            }
            if name.contains("checksums") {
                assert_eq!(wrong, [""; 0], "{name}");
            }
        }
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cut.parquet");
        let whole = fixture("pyarrow-none.parquet");
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let columns = CaptionColumns::default();
        for error in [
            read_predictions(&path, &columns).unwrap_err(),
            read_references(&path, &columns, None, false).unwrap_err(),
        ] {
            assert!(error.to_string().contains("cut.parquet"), "{error}");
        }
    }
}
