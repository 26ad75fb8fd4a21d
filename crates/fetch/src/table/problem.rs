//! What is wrong with a table, in the words of a person who has to mend it.

use sightline_core::Hint;

/// What is wrong with the content of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableProblem {
    /// A file without a byte, where at least a header is needed.
    #[error("the file is empty")]
    Empty,
    /// A part of the table that cannot be used.
    #[error("{part} {number} {problem}")]
    Part {
        /// Whether lines are counted, or objects of an array.
        part: Part,
        /// Which one, counted from 1. A record that spans several lines has the number of its first.
        number: u64,
        /// What is wrong there.
        problem: PartProblem,
    },
    /// A JSON file that is no array of objects, in the words of the reader, with the line.
    #[error("{0}")]
    Json(String),
    /// A gzip file that was cut short.
    #[error("its gzip stream ends early, the file is truncated")]
    GzipTruncated,
    /// A file called `.gz` that is none.
    #[error("it is not compressed with gzip, though its name ends in .gz")]
    NotGzip,
    /// A gzip file that does not decompress.
    #[error("its gzip stream is damaged: {0}")]
    GzipDamaged(String),
    /// Parquet that does not follow its own rules, or ends early.
    #[error("damaged Parquet file: {0}")]
    DamagedParquet(String),
    /// Parquet that uses what the reader does not have.
    #[error("a kind of Parquet file that cannot be read here: {0}")]
    UnsupportedParquet(String),
    /// Anything else, in the words of the reader.
    #[error("{0}")]
    Other(String),
}

/// What is counted to say where a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A line of the file.
    Line,
    /// An object of a JSON array.
    Object,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Line => "line",
            Self::Object => "object",
        })
    }
}

/// What is wrong with one part of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartProblem {
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A record with more fields than the header.
    #[error("has {found} fields, the header has {expected}")]
    Fields {
        /// Fields of the record.
        found: u64,
        /// Fields of the header.
        expected: u64,
    },
    /// A quoted field that goes on to the end of the file.
    #[error("opens a quoted field that never ends")]
    OpenQuote,
    /// A quoted field that goes on behind its closing quote.
    #[error("has text after the closing quote of a field")]
    AfterQuote,
    /// A quote without its partner in a field that is not quoted.
    #[error("has a single quote sign (\") in a field that is not quoted")]
    StrayQuote,
    /// A line that is no JSON object.
    #[error("is no JSON object: {0}")]
    Json(String),
    /// A mark that JSON must not begin with.
    #[error("begins with a byte order mark, which JSON must not have")]
    ByteOrderMark,
    /// A field that is a list here and an object elsewhere.
    #[error("has {found} in `{field}`, where an earlier one has {expected}")]
    Mixed {
        /// Path of the field, its names joined with dots.
        field: String,
        /// "a list" or "an object".
        found: &'static str,
        /// The other.
        expected: &'static str,
    },
}

impl Hint for TableProblem {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Part { problem, .. } => problem.hint(),
            Self::Empty => "The first line of a csv or tsv table names its columns.",
            Self::Json(_) => {
                "A json table is one array of objects. For one object a line, give --input-format jsonl."
            }
            Self::GzipTruncated | Self::GzipDamaged(_) => {
                "Copy or download the file again; `gzip -t FILE` tells whether it is whole."
            }
            Self::NotGzip => "Take .gz off its name, or compress it.",
            Self::DamagedParquet(_) => {
                "Write the table again, or copy it again: it was cut short or changed after it was written."
            }
            Self::UnsupportedParquet(_) => {
                "Write the table again with plain columns and without encryption, or as jsonl."
            }
            Self::Other(_) => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

impl PartProblem {
    fn hint(&self) -> &'static str {
        match self {
            Self::NotUtf8 => {
                "Convert the table from the encoding it was written in, for example: iconv -f latin1 -t utf-8 TABLE > NEW-TABLE"
            }
            Self::Fields { .. } => {
                "Put fields that hold the separator in quotes: \"a cat, asleep\"."
            }
            Self::OpenQuote | Self::AfterQuote | Self::StrayQuote => {
                "Put a field that holds quotes in quotes, and write each quote in it twice: \"a 5\"\" pipe\"."
            }
            Self::Json(_) => {
                "A jsonl table has one object a line. For a file that is one array of objects, give --input-format json."
            }
            Self::ByteOrderMark => "Remove it, for example: tail -c +4 TABLE > NEW-TABLE",
            Self::Mixed { .. } => "Write the field with one type on every line, or leave it out.",
        }
    }
}
