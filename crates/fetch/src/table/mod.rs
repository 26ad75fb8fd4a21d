//! The table of URLs: its files, its rows in order, cut into shards.
//!
//! | name | content |
//! | --- | --- |
//! | `.txt` | one URL a line, the whole line; empty lines are no rows |
//! | `.csv`, `.tsv` | a header line, then rows |
//! | `.jsonl` | one object a line |
//! | `.json` | one array of objects |
//! | `.parquet` | |
//!
//! Each may have `.gz` after it. A folder stands for its files of one format, sorted by path, not below; a pattern for the files
//! that it matches. Tables in object stores are downloaded, one file at a time.
//!
//! Columns are read, nothing else: polars scans the file (of Parquet the reader of `sightline_shard`) with only the columns that
//! are asked for and hands over one shard's rows at a time, so a table may be larger than memory. Formats that cannot be
//! scanned (compressed ones and JSON arrays) are rewritten into a temporary file first.
//!
//! Differences from img2dataset: a comma in a txt line is part of the URL and does not break the row.
//! JSON is an array of objects only. Types of csv and tsv columns are found by looking at all rows,
//! not at the first block, so that no later row can contradict them.

mod diagnose;
mod engine;
mod files;
mod parquet;
mod plain;
mod problem;
mod reader;
mod rows;
mod scratch;
mod select;
#[cfg(test)]
mod tests;
mod txt;
mod types;

pub use engine::TABLE_THREADS;
pub use files::InputFormat;
pub(crate) use files::{InputFile, find, is_pattern};
pub use problem::{Part, PartProblem, TableProblem};
pub(crate) use reader::TableReader;
pub(crate) use rows::{JOIN, Row, ShardRows};
pub(crate) use scratch::Scratch;
pub(crate) use select::Columns;
