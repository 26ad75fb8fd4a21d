//! Tables of scores, joined to samples by their keys: a column of a model's similarities, a list of languages.
//!
//! Parquet, CSV (with a header) and JSON lines are read whole. Only the columns that are asked for are kept, in about 100
//! bytes a row. What CSV holds is a number, `true`, `false` or a text by how it looks, and null where it is empty.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Number, Value};
use sightline_core::io::Sequential;
use sightline_core::{Hint, ReadAt, SampleKey};
use sightline_shard::Problem;
use sightline_shard::columns::Table;

/// Longest line of JSON in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Values of some columns by key.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    columns: Vec<String>,
    rows: HashMap<Box<str>, Box<[Value]>>,
}

/// A table of scores that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoresError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The table.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its name does not say what it is.
    #[error("`{}` is none of .parquet, .csv, .jsonl by its name", path.display())]
    Form {
        /// The table.
        path: PathBuf,
    },
    /// Its contents are damaged.
    #[error("`{}`{}: {message}", path.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Content {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<u64>,
        /// What is wrong.
        message: String,
    },
    /// It has no column of keys.
    #[error("`{}` has no column `{name}`, its columns are {}", path.display(), known.join(", "))]
    NoKeys {
        /// The table.
        path: PathBuf,
        /// The column that was to hold the keys.
        name: String,
        /// Columns that it has.
        known: Vec<String>,
    },
    /// Two rows are for one sample.
    #[error("`{}` has two rows with the key `{key}`", path.display())]
    DuplicateKey {
        /// The table.
        path: PathBuf,
        /// The key.
        key: String,
    },
}

impl Hint for ScoresError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoKeys { .. } => {
                vec!["Say with --on which column holds the keys of the samples.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}

impl Scores {
    /// Reads the table `object`, called `path`, whose extension says what it is: of the columns that `wants` accepts the values by
    /// the keys in the column `on`.
    pub fn read(
        object: Arc<dyn ReadAt>,
        path: &Path,
        on: &str,
        wants: &dyn Fn(&str) -> bool,
    ) -> Result<Self, ScoresError> {
        let extension = path.extension().and_then(|e| e.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let reading = Reading {
            object,
            path,
            on,
            wants,
            scores: Self::default(),
        };
        match extension.as_str() {
            "parquet" => reading.parquet(),
            "csv" => reading.csv(),
            "jsonl" | "ndjson" => reading.json_lines(),
            _ => Err(ScoresError::Form {
                path: path.to_owned(),
            }),
        }
    }

    /// Names of the columns that are kept.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many samples there are scores of.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether there are scores of the sample `key`.
    pub fn has(&self, key: &str) -> bool {
        self.rows.contains_key(key)
    }

    /// The value of the column number `column` for the sample `key`.
    pub fn value(&self, key: &str, column: usize) -> Option<&Value> {
        self.rows.get(key)?.get(column)
    }
}

/// A table that is being read.
struct Reading<'a> {
    object: Arc<dyn ReadAt>,
    path: &'a Path,
    on: &'a str,
    wants: &'a dyn Fn(&str) -> bool,
    scores: Scores,
}

impl Reading<'_> {
    fn add(&mut self, key: Option<String>, values: Vec<Value>) -> Result<(), ScoresError> {
        // A row without a key is for no sample.
        let Some(key) = key else {
            return Ok(());
        };
        // As readers of shards name the samples.
        let name = SampleKey::nearest(&key);
        let earlier = self.scores.rows.insert(name.as_str().into(), values.into());
        if earlier.is_some() {
            return Err(ScoresError::DuplicateKey {
                path: self.path.to_owned(),
                key,
            });
        }
        Ok(())
    }

    /// Takes the names of all columns; the place of the keys and of those that are kept.
    fn header(&mut self, names: Vec<String>) -> Result<(usize, Vec<usize>), ScoresError> {
        let Some(key) = names.iter().position(|name| name == self.on) else {
            return Err(ScoresError::NoKeys {
                path: self.path.to_owned(),
                name: self.on.to_owned(),
                known: names,
            });
        };
        let wanted = |at: &usize| *at != key && (self.wants)(&names[*at]);
        let kept: Vec<usize> = (0..names.len()).filter(wanted).collect();
        self.scores.columns = kept.iter().map(|&at| names[at].clone()).collect();
        Ok((key, kept))
    }

    fn parquet(mut self) -> Result<Scores, ScoresError> {
        let path = self.path;
        let failed = |problem: Problem| ScoresError::Content {
            path: path.to_owned(),
            line: None,
            message: problem.to_string(),
        };
        let table = Table::open(Arc::clone(&self.object)).map_err(failed)?;
        self.header(table.names().map(str::to_owned).collect())?;
        let keys = table.values(self.on).map_err(failed)?;
        let columns = self.scores.columns.clone();
        let mut values = Vec::new();
        for name in &columns {
            values.push(table.values(name).map_err(failed)?);
        }
        for key in keys {
            let key = key.map_err(failed)?.and_then(|key| text(&key));
            let mut row = Vec::with_capacity(values.len());
            for column in &mut values {
                let value = column.next().transpose().map_err(failed)?;
                row.push(value.flatten().unwrap_or(Value::Null));
            }
            self.add(key, row)?;
        }
        Ok(self.scores)
    }

    fn csv(mut self) -> Result<Scores, ScoresError> {
        let mut reader = csv::Reader::from_reader(self.bytes()?);
        let header = reader.headers().map_err(|error| self.csv_error(&error))?;
        let names = header
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}').to_owned())
            .collect();
        let (key, kept) = self.header(names)?;
        let mut record = csv::StringRecord::new();
        loop {
            let more = reader.read_record(&mut record);
            if !more.map_err(|error| self.csv_error(&error))? {
                return Ok(self.scores);
            }
            let cell = |at: usize| record.get(at).unwrap_or_default();
            let values = kept.iter().map(|&at| guess(cell(at))).collect();
            self.add(Some(cell(key).to_owned()), values)?;
        }
    }

    fn json_lines(mut self) -> Result<Scores, ScoresError> {
        let mut reader = BufReader::new(self.bytes()?);
        let mut rows = Vec::new();
        let mut columns: Vec<String> = Vec::new();
        let mut has_key = false;
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let mut limited = std::io::Read::take(&mut reader, MAX_LINE);
            let len = limited.read_until(b'\n', &mut line);
            let len = len.map_err(|error| self.io(error))?;
            if len == 0 {
                break;
            }
            if len as u64 == MAX_LINE {
                let message = format!("longer than {MAX_LINE} bytes");
                return Err(self.content(Some(number), message));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let parsed: Result<serde_json::Map<String, Value>, _> = serde_json::from_slice(&line);
            let mut row = parsed.map_err(|error| self.content(Some(number), error.to_string()))?;
            has_key |= row.contains_key(self.on);
            let key = row.remove(self.on).and_then(|key| text(&key));
            row.retain(|name, _| (self.wants)(name));
            for name in row.keys() {
                if !columns.contains(name) {
                    columns.push(name.clone());
                }
            }
            rows.push((key, row));
        }
        if !has_key {
            return Err(ScoresError::NoKeys {
                path: self.path.to_owned(),
                name: self.on.to_owned(),
                known: columns,
            });
        }
        for (key, mut row) in rows {
            let values = columns
                .iter()
                .map(|name| row.remove(name).unwrap_or_default());
            let values = values.collect();
            self.add(key, values)?;
        }
        self.scores.columns = columns;
        Ok(self.scores)
    }

    /// The table from its first byte on.
    fn bytes(&self) -> Result<Sequential, ScoresError> {
        Sequential::new(Arc::clone(&self.object)).map_err(|error| self.io(error))
    }

    fn io(&self, source: std::io::Error) -> ScoresError {
        ScoresError::Io {
            path: self.path.to_owned(),
            source,
        }
    }

    fn content(&self, line: Option<u64>, message: String) -> ScoresError {
        ScoresError::Content {
            path: self.path.to_owned(),
            line,
            message,
        }
    }

    fn csv_error(&self, error: &csv::Error) -> ScoresError {
        let line = error.position().map(csv::Position::line);
        self.content(line, error.to_string())
    }
}

/// A key as a text.
fn text(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a cell of CSV looks like.
fn guess(cell: &str) -> Value {
    let trimmed = cell.trim();
    match trimmed {
        "" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    if let Ok(whole) = trimmed.parse::<i64>() {
        return Value::Number(whole.into());
    }
    let number = trimmed.parse().ok().and_then(Number::from_f64);
    number.map_or_else(|| Value::String(cell.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_what_they_look_like() {
        for (cell, value) in [
            ("", Value::Null),
            (" 12 ", json!(12)),
            ("-0.5", json!(-0.5)),
            ("1e3", json!(1000.0)),
            ("True", json!(true)),
            ("0x10", json!("0x10")),
            ("nan", json!("nan")),
            (" a b", json!(" a b")),
        ] {
            assert_eq!(guess(cell), value, "{cell:?}");
        }
    }
}
