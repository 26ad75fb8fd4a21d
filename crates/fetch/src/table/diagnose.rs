//! Where a table is wrong, when the table engine has refused it.
//!
//! The engine's own words name neither the line nor a remedy that exists here, so the file is read once
//! more, slowly and in bounded memory, up to the first place that breaks the rules the engine reads by.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::str;

use polars::prelude::PolarsError;
use serde_json::{Map, Value};

use super::files::{InputFile, InputFormat};
use super::plain::Plain;
use super::problem::{Part, PartProblem, TableProblem};
use crate::error::Error;

/// Longest line of JSON that is looked into; longer ones are passed over.
const MAX_LINE: u64 = 4 << 20;
/// Most fields whose kind is remembered.
const MAX_SHAPES: usize = 100_000;
/// Most letters of the engine's words that are repeated.
const MAX_WORDS: usize = 200;

/// How the table engine refused a file.
#[derive(Debug)]
pub(super) enum Refusal {
    /// With an error.
    Error(PolarsError),
    /// With a panic, in these words.
    Panic(String),
}

impl Refusal {
    /// The error for the table `file`, which was read from `plain`.
    pub(super) fn explain(self, file: &InputFile, plain: &Plain) -> Error {
        if let Self::Error(PolarsError::IO { error, .. }) = &self
            && let Some(code) = error.raw_os_error()
        {
            return Error::read_table(&file.path)(io::Error::from_raw_os_error(code));
        }
        let part = match file.format {
            InputFormat::Json => Part::Object,
            _ => Part::Line,
        };
        let found = match plain.format {
            InputFormat::Csv => find(plain, |source| in_csv(source, b',')),
            InputFormat::Tsv => find(plain, |source| in_csv(source, b'\t')),
            InputFormat::Jsonl => find(plain, in_json_lines),
            _ => None,
        };
        let problem = match (found, plain.format) {
            (Some((number, problem)), _) => TableProblem::Part {
                part,
                number,
                problem,
            },
            (None, _) => TableProblem::Other(self.words()),
        };
        problem.of(file)
    }

    /// The engine's words without its advice, which comes on further lines and is about settings that
    /// nobody can make here.
    fn words(&self) -> String {
        let text = match self {
            Self::Error(error) => error.to_string(),
            Self::Panic(text) => format!("the reader failed: {text}"),
        };
        let first = text.lines().next().unwrap_or_default();
        let first = first.trim_start_matches("parquet: ");
        match first.char_indices().nth(MAX_WORDS) {
            Some((end, _)) => format!("{}…", &first[..end]),
            None => first.to_owned(),
        }
    }
}

impl TableProblem {
    /// The error that says so of `file`.
    pub(crate) fn of(self, file: &InputFile) -> Error {
        Error::Table {
            path: file.path.clone(),
            format: file.format.as_str(),
            problem: self,
        }
    }
}

/// The error for `file`, whose bytes could not be read or decompressed.
pub(super) fn unreadable(file: &InputFile, error: io::Error) -> Error {
    if !file.gzip || error.raw_os_error().is_some() {
        return Error::read_table(&file.path)(error);
    }
    let mut start = [0; 2];
    let begins = File::open(file.place()).and_then(|mut opened| opened.read_exact(&mut start));
    let problem = match error.kind() {
        _ if begins.is_ok() && start != [0x1f, 0x8b] => TableProblem::NotGzip,
        io::ErrorKind::UnexpectedEof => TableProblem::GzipTruncated,
        _ => TableProblem::GzipDamaged(error.to_string()),
    };
    problem.of(file)
}

/// What is wrong with a Parquet file, in the words of its reader.
pub(super) fn parquet(words: &str) -> TableProblem {
    let lower = words.to_lowercase();
    let is_missing = ["not supported", "not yet", "needs to be active", "encrypt"]
        .iter()
        .any(|sign| lower.contains(sign));
    if is_missing {
        TableProblem::UnsupportedParquet(words.to_owned())
    } else {
        TableProblem::DamagedParquet(words.to_owned())
    }
}

/// A line (or the first line of a record), counted from 1, and what is wrong with it.
type Found = Option<(u64, PartProblem)>;

/// What `look` finds in the file; nothing where that cannot be read.
fn find(plain: &Plain, look: impl Fn(&mut dyn BufRead) -> io::Result<Found>) -> Found {
    let file = File::open(&plain.path).ok()?;
    look(&mut BufReader::with_capacity(1 << 18, file))
        .ok()
        .flatten()
}

/// The first record that breaks the rules of csv: UTF-8, quotes in pairs, no more fields than the header.
fn in_csv(source: &mut dyn BufRead, separator: u8) -> io::Result<Found> {
    let mut records = Records::new(separator);
    let mut text = Utf8::default();
    loop {
        let bytes = source.fill_buf()?;
        if bytes.is_empty() {
            return Ok(if text.begun.is_empty() {
                records.end()
            } else {
                Some((records.line, PartProblem::NotUtf8))
            });
        }
        let (valid, is_utf8) = text.push(bytes);
        let found = bytes[..valid].iter().find_map(|&byte| records.push(byte));
        if found.is_some() {
            return Ok(found);
        }
        if !is_utf8 {
            return Ok(Some((records.line, PartProblem::NotUtf8)));
        }
        let len = bytes.len();
        source.consume(len);
    }
}

/// Follows the records of a csv table byte by byte.
struct Records {
    separator: u8,
    /// The line of the next byte.
    line: u64,
    /// The line with which the record begins.
    begun: u64,
    /// Separators of the record so far.
    separators: u64,
    /// Fields of the header, once it has ended.
    header: Option<u64>,
    /// Whether the record has an odd number of quotes in fields that are not quoted.
    is_odd: bool,
    at: At,
}

/// Where in a record.
enum At {
    FieldStart,
    Plain,
    /// In a quoted field that opened on this line.
    Quoted(u64),
    /// After a quote in a quoted field: its end, or the first of two.
    Quote(u64),
    /// After a carriage return that followed the end of a quoted field.
    Return,
}

impl Records {
    fn new(separator: u8) -> Self {
        Self {
            separator,
            line: 1,
            begun: 1,
            separators: 0,
            header: None,
            is_odd: false,
            at: At::FieldStart,
        }
    }

    fn push(&mut self, byte: u8) -> Found {
        let mut found = None;
        self.at = match (&self.at, byte) {
            (At::Quoted(opened), b'"') => At::Quote(*opened),
            (At::Quoted(opened), _) | (At::Quote(opened), b'"') => At::Quoted(*opened),
            (_, b'\n') => {
                found = self.end_record();
                At::FieldStart
            }
            (At::FieldStart | At::Plain | At::Quote(_), byte) if byte == self.separator => {
                self.separators += 1;
                At::FieldStart
            }
            (At::Quote(_), b'\r') => At::Return,
            (At::Quote(_) | At::Return, _) => return Some((self.line, PartProblem::AfterQuote)),
            (At::FieldStart, b'"') => At::Quoted(self.line),
            (At::FieldStart | At::Plain, byte) => {
                self.is_odd ^= byte == b'"';
                At::Plain
            }
        };
        if byte == b'\n' {
            self.line += 1;
            if matches!(self.at, At::FieldStart) {
                self.begun = self.line;
            }
        }
        found
    }

    fn end_record(&mut self) -> Found {
        let fields = self.separators + 1;
        self.separators = 0;
        if std::mem::take(&mut self.is_odd) {
            return Some((self.begun, PartProblem::StrayQuote));
        }
        let expected = *self.header.get_or_insert(fields);
        (fields > expected).then_some((
            self.begun,
            PartProblem::Fields {
                found: fields,
                expected,
            },
        ))
    }

    fn end(mut self) -> Found {
        match self.at {
            At::Quoted(opened) => Some((opened, PartProblem::OpenQuote)),
            _ => self.end_record(),
        }
    }
}

/// Checks text that comes in pieces.
#[derive(Default)]
struct Utf8 {
    /// A letter that the last piece began.
    begun: Vec<u8>,
}

impl Utf8 {
    /// Takes the next piece; returns how many of its bytes are before the first wrong one, and whether
    /// there is none.
    fn push(&mut self, piece: &[u8]) -> (usize, bool) {
        let mut from = 0;
        while !self.begun.is_empty() && from < piece.len() {
            self.begun.push(piece[from]);
            match str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(e) if e.error_len().is_some() => return (from, false),
                Err(_) => {}
            }
            from += 1;
        }
        match str::from_utf8(&piece[from..]) {
            Ok(_) => (piece.len(), true),
            Err(e) if e.error_len().is_some() => (from + e.valid_up_to(), false),
            Err(e) => {
                self.begun = piece[from + e.valid_up_to()..].to_vec();
                (piece.len(), true)
            }
        }
    }
}

/// The first line that is no JSON object, or that has a list where an earlier line has an object.
fn in_json_lines(source: &mut dyn BufRead) -> io::Result<Found> {
    let mut shapes = Shapes::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut limited = (&mut *source).take(MAX_LINE);
        if limited.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let problem = if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            source.skip_until(b'\n')?;
            None
        } else if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
            Some(PartProblem::ByteOrderMark)
        } else {
            in_json_line(&line, &mut shapes)
        };
        if let Some(problem) = problem {
            return Ok(Some((number, problem)));
        }
    }
    Ok(None)
}

fn in_json_line(line: &[u8], shapes: &mut Shapes) -> Option<PartProblem> {
    let Ok(text) = str::from_utf8(line) else {
        return Some(PartProblem::NotUtf8);
    };
    if text.trim().is_empty() {
        return None;
    }
    match serde_json::from_str::<Map<String, Value>>(text) {
        // Every line is the first one of its own text.
        Err(e) => Some(PartProblem::Json(
            e.to_string().replace("at line 1 column", "at column"),
        )),
        Ok(object) => object
            .iter()
            .find_map(|(name, value)| shapes.add(name, value)),
    }
}

/// Which fields are lists and which are objects, by path.
#[derive(Default)]
struct Shapes {
    is_list: HashMap<String, bool>,
}

impl Shapes {
    /// Takes the value at `path`; the first field below it that is of another kind than before.
    fn add(&mut self, path: &str, value: &Value) -> Option<PartProblem> {
        const KINDS: [&str; 2] = ["an object", "a list"];
        let is_list = match value {
            Value::Array(_) => true,
            Value::Object(_) => false,
            _ => return None,
        };
        match self.is_list.get(path) {
            Some(&before) if before != is_list => {
                return Some(PartProblem::Mixed {
                    field: path.to_owned(),
                    found: KINDS[usize::from(is_list)],
                    expected: KINDS[usize::from(before)],
                });
            }
            None if self.is_list.len() < MAX_SHAPES => {
                self.is_list.insert(path.to_owned(), is_list);
            }
            _ => {}
        }
        match value {
            Value::Array(items) => {
                let path = format!("{path}[]");
                items.iter().find_map(|item| self.add(&path, item))
            }
            Value::Object(fields) => fields
                .iter()
                .find_map(|(name, value)| self.add(&format!("{path}.{name}"), value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` in pieces of `piece` bytes.
    fn csv(text: &[u8], piece: usize) -> Found {
        in_csv(&mut BufReader::with_capacity(piece, text), b',').unwrap()
    }

    #[test]
    fn the_first_wrong_line_of_a_csv_table_is_found() {
        use PartProblem::{AfterQuote, Fields, NotUtf8, OpenQuote, StrayQuote};
        let fields = |found| Fields { found, expected: 2 };
        let cases: &[(&[u8], Found)] = &[
            (b"a,b\n1,2\n", None),
            (b"a,b\r\n\"1\",2\r\n\"1\"\"\",\"2\n3\"\r\n", None),
            (b"a,b\n1\n\n1,2", None),
            (b"a,b\n1,the \"big\" one\n", None),
            (b"a,b\n1,2\n1,2,3\n", Some((3, fields(3)))),
            (b"a,b\n1,\"2\n3\n\"\n1,2,,4", Some((5, fields(4)))),
            (b"a,b\n1,\"2\n3\n", Some((2, OpenQuote))),
            (b"a,b\n1,\"2\"x\n", Some((2, AfterQuote))),
            (b"a,b\n1,\"2\"\rx\n", Some((2, AfterQuote))),
            (b"a,b\n1,2\n1,5\" pipe\n1,2\n", Some((3, StrayQuote))),
            (b"a,b\n1,5\" pipe", Some((2, StrayQuote))),
            (b"a,b\n1,\xc3\xa9\n1,caf\xe9\n", Some((3, NotUtf8))),
            (b"a,b\n1,2\n1,caf\xe9", Some((3, NotUtf8))),
            (b"\xff\xfea\0,\0", Some((1, NotUtf8))),
            (b"", None),
        ];
        for (text, expected) in cases {
            for piece in [1, 2, 3, 7, 100] {
                assert_eq!(csv(text, piece), *expected, "{}", text.escape_ascii());
            }
        }
    }

    #[test]
    fn the_first_wrong_line_of_a_jsonl_table_is_found() {
        let look = |text: &str| in_json_lines(&mut text.as_bytes()).unwrap();
        assert_eq!(look("{\"a\":1}\n\n \n{}\r\n{\"a\":\"x\"}"), None);
        for (text, line, problem) in [
            (
                "{}\nnot json\n",
                2,
                "is no JSON object: expected ident at column 2",
            ),
            (
                "{}\n{\"a\":1",
                2,
                "is no JSON object: EOF while parsing an object at column 6",
            ),
            (
                "{}\n{} {}\n",
                2,
                "is no JSON object: trailing characters at column 4",
            ),
            (
                "{\"a\":1e999}\n",
                1,
                "is no JSON object: number out of range at column 10",
            ),
            (
                "\u{feff}{}\n",
                1,
                "begins with a byte order mark, which JSON must not have",
            ),
            (
                "{\"a\":[{\"b\":{}}]}\n{\"a\":null}\n{\"a\":[{\"b\":[]}]}\n",
                3,
                "has a list in `a[].b`, where an earlier one has an object",
            ),
        ] {
            let (number, found) = look(text).unwrap();
            assert_eq!((number, found.to_string().as_str()), (line, problem));
        }
        let latin = b"{}\n{\"a\":\"caf\xe9\"}\n";
        let found = in_json_lines(&mut &latin[..]).unwrap();
        assert_eq!(found, Some((2, PartProblem::NotUtf8)));
        let mut long = vec![b'x'; MAX_LINE as usize];
        long.extend_from_slice(b"\n[]\n");
        let found = in_json_lines(&mut &long[..]).unwrap();
        assert!(
            matches!(found, Some((2, PartProblem::Json(_)))),
            "{found:?}"
        );
    }

    #[test]
    fn the_advice_of_the_engine_is_left_out() {
        let error = PolarsError::ComputeError("no\n\nConsider setting 'truncate'.".into());
        assert_eq!(Refusal::Error(error).words(), "no");
        let panic = Refusal::Panic("x".repeat(1000));
        assert!(panic.words().chars().count() <= MAX_WORDS + 1);
    }
}
