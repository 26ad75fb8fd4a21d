//! Columns of another table that are added to the rows: what an earlier step knows of a URL, a key, or another column that both
//! tables have. Captions may be among them.
//!
//! It is a left join: every row of the table stays, in its place. A row that the other table does not have gets nulls and is
//! counted; where the other table has a row twice, the first counts. Values are compared as text, so that the number 7 is the
//! text `7`.
//!
//! The other table is read once, before the first row, in batches of [`BATCH`] rows. The text that rows have in common is not
//! kept, only 96 bits of its digest: 16 bytes for each of its rows (40 while it is read), beside the wanted columns. All of it
//! stays within [`JoinSpec::memory_bytes`], or the table is refused.

mod store;

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use polars::prelude::*;
use serde::{Deserialize, Serialize};
use sightline_core::Digest;

use crate::error::{Error, Result};
use crate::spec::FetchSpec;
use crate::table::{self, Columns, InputFile, InputFormat, Scratch, TableProblem, TableReader};
use store::Stored;

/// Rows that are read at a time.
const BATCH: usize = 1 << 16;
/// Bytes of the index for each row while it grows: the old one and one that is a quarter longer.
const INDEXED_BYTES: u64 = 40;
/// Rows without a match that a shard names.
const NAMED: usize = 3;

/// What rows of both tables have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinKey {
    /// The URL: by default the column `url` of the other table.
    Url,
    /// The key that a row has in this output: by default the column `key` of the other table, such as the status tables of an
    /// earlier fetch of the same list in shards of the same size.
    Key,
    /// A column of the table: by default one of the same name in the other.
    Column(String),
}

impl JoinKey {
    fn as_str(&self) -> &str {
        match self {
            Self::Url => "url",
            Self::Key => "key",
            Self::Column(name) => name,
        }
    }
}

/// Columns to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSpec {
    /// The other table: one file in any [`InputFormat`], also in an object store.
    pub path: PathBuf,
    /// Its format; `None` to go by the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<InputFormat>,
    /// What rows have in common.
    pub on: JoinKey,
    /// Its column that has the same; `None` for one that is called like [`Self::on`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The columns, kept like those of the table itself.
    pub columns: Vec<String>,
    /// Its column of captions, if those are not in the table itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Most memory that it may take.
    #[serde(default = "default_memory_bytes")]
    pub memory_bytes: u64,
    /// Digest of the file, filled in when the run begins or is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

fn default_memory_bytes() -> u64 {
    JoinSpec::MEMORY_BYTES
}

impl JoinSpec {
    /// The default of [`Self::memory_bytes`].
    pub const MEMORY_BYTES: u64 = 1 << 30;

    /// The table `path`, of which nothing is kept yet.
    pub fn new(path: impl Into<PathBuf>, on: JoinKey) -> Self {
        Self {
            path: path.into(),
            format: None,
            on,
            column: None,
            columns: Vec::new(),
            caption: None,
            memory_bytes: Self::MEMORY_BYTES,
            sha256: None,
        }
    }

    /// The column of the table of URLs that is compared, if it is one that is read for nothing else.
    pub(crate) fn own_column(&self) -> Option<&str> {
        match &self.on {
            JoinKey::Column(name) => Some(name),
            JoinKey::Url | JoinKey::Key => None,
        }
    }
}

/// The rows of a shard that the other table does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unmatched {
    pub(crate) rows: u64,
    /// The places of the first of them.
    pub(crate) first: Vec<u64>,
}

/// The other table.
#[derive(Debug)]
pub(crate) struct Join {
    on: JoinKey,
    columns: Vec<Stored>,
    index: Index,
    /// Of the file.
    pub(crate) digest: Digest,
    /// Its rows.
    pub(crate) rows: u64,
    /// Rows whose key an earlier one has.
    pub(crate) repeated: u64,
}

impl Join {
    /// Reads the other table of `spec`, if it has one; `None` also when `is_stopped` before it is read. Refuses one that is not
    /// the one that was planned.
    pub(crate) fn read(spec: &FetchSpec, is_stopped: &dyn Fn() -> bool) -> Result<Option<Self>> {
        let Some(join) = &spec.join else {
            return Ok(None);
        };
        let mut files = table::find(&spec.stores, &join.path, join.format)?;
        if files.len() > 1 {
            return Err(Error::Spec {
                field: "--join",
                problem: format!(
                    "`{}` are {} files, and one is joined",
                    join.path.display(),
                    files.len()
                ),
            });
        }
        let file = files.remove(0);
        let wanted = Columns {
            url: join
                .column
                .clone()
                .unwrap_or_else(|| join.on.as_str().to_owned()),
            caption: join.caption.clone(),
            additional: join.columns.clone(),
            check: None,
            join: None,
        };
        let rows = NonZeroUsize::new(BATCH).unwrap_or(NonZeroUsize::MIN);
        let scratch = if file.is_read_in_place() {
            Scratch::at(Path::new("."))
        } else {
            Scratch::of_join(spec)?
        };
        let reader = TableReader::new(wanted, rows, scratch, &spec.stores);
        let Some(brought) = reader.bring(&file, is_stopped)? else {
            return Ok(None);
        };
        let file = brought.file();
        let opened = File::open(file.place()).map_err(Error::read_table(&file.path))?;
        let (digest, _) = Digest::of_reader(opened).map_err(Error::read_table(&file.path))?;
        if join.sha256.is_some_and(|planned| planned != digest) {
            return Err(Error::OtherTable {
                path: file.path.clone(),
            });
        }
        let names = join.columns.iter().map(String::as_str);
        let names = names.chain(join.caption.as_ref().map(|_| "caption"));
        let mut read = Self {
            on: join.on.clone(),
            columns: names.map(Stored::new).collect(),
            index: Index::default(),
            digest,
            rows: 0,
            repeated: 0,
        };
        reader.read(file, is_stopped, &mut |frame| {
            let added = read.append(frame).map_err(|e| failed(file, &e))?;
            if !added || read.len_bytes() > join.memory_bytes {
                return Err(too_large(file, read.rows, join.memory_bytes));
            }
            Ok(!is_stopped())
        })?;
        if is_stopped() {
            return Ok(None);
        }
        read.repeated = read.index.close();
        Ok(Some(read))
    }

    /// Adds a batch; `false` when there are more rows than can be counted here.
    fn append(&mut self, mut frame: DataFrame) -> PolarsResult<bool> {
        let keys = frame.drop_in_place("url")?;
        for (row, key) in (self.rows..).zip(keys.str()?.iter()) {
            let Ok(row) = u32::try_from(row) else {
                return Ok(false);
            };
            if let Some(key) = key {
                self.index.push(key, row);
            }
        }
        for (stored, column) in self.columns.iter_mut().zip(frame.columns()) {
            stored.append(column)?;
        }
        self.rows += frame.height().max(keys.len()) as u64;
        Ok(true)
    }

    fn len_bytes(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(Stored::len_bytes).sum();
        columns + self.index.entries.len() as u64 * INDEXED_BYTES
    }

    /// Adds the columns to the rows in `frame`, whose keys are `key`, behind its first `kept` columns, and says which rows
    /// there are none for.
    pub(crate) fn add(
        &self,
        frame: &mut DataFrame,
        kept: usize,
        key: &dyn Fn(u64) -> String,
    ) -> PolarsResult<Unmatched> {
        let find = |value: Option<&str>| value.and_then(|value| self.index.find(value));
        let places: Vec<Option<u32>> = match self.on {
            JoinKey::Url => frame.column("url")?.str()?.iter().map(find).collect(),
            JoinKey::Column(_) => {
                let column = frame.drop_in_place(table::JOIN)?;
                column.str()?.iter().map(find).collect()
            }
            JoinKey::Key => (0..frame.height() as u64)
                .map(|at| find(Some(&key(at))))
                .collect(),
        };
        for (at, column) in self.columns.iter().enumerate() {
            frame.insert_column(kept + at, column.take(&places)?)?;
        }
        let missing = (0..).zip(&places).filter(|(_, place)| place.is_none());
        let missing: Vec<u64> = missing.map(|(at, _)| at).collect();
        Ok(Unmatched {
            rows: missing.len() as u64,
            first: missing.into_iter().take(NAMED).collect(),
        })
    }
}

fn failed(file: &InputFile, error: &PolarsError) -> Error {
    TableProblem::Other(error.to_string()).of(file)
}

fn too_large(file: &InputFile, rows: u64, limit: u64) -> Error {
    Error::JoinTooLarge {
        path: file.path.clone(),
        rows,
        limit_mib: limit >> 20,
    }
}

/// Which row has a text, by 96 bits of its digest: of a billion texts two are equal in these by chance once in 10^11 tables.
#[derive(Debug, Default)]
struct Index {
    /// Sorted once it is closed.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    text: [u32; 3],
    row: u32,
}

impl Index {
    fn push(&mut self, text: &str, row: u32) {
        if self.entries.len() == self.entries.capacity() {
            self.entries
                .reserve_exact((self.entries.len() / 4).max(BATCH));
        }
        let text = hash(text);
        self.entries.push(Entry { text, row });
    }

    /// Sorts it; returns how many rows have a text that an earlier one has.
    fn close(&mut self) -> u64 {
        self.entries.sort_unstable();
        let all = self.entries.len();
        self.entries.dedup_by_key(|entry| entry.text);
        (all - self.entries.len()) as u64
    }

    fn find(&self, text: &str) -> Option<u32> {
        let text = hash(text);
        let found = self.entries.binary_search_by_key(&text, |entry| entry.text);
        found.ok().map(|at| self.entries[at].row)
    }
}

fn hash(text: &str) -> [u32; 3] {
    let digest = Digest::of(text.as_bytes());
    let (words, _) = digest.as_bytes().as_chunks::<4>();
    std::array::from_fn(|at| u32::from_le_bytes(words[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_row_of_a_text_is_found() {
        let mut index = Index::default();
        for row in 0..300_000u32 {
            index.push(&(row % 200_000).to_string(), row);
        }
        assert!(index.entries.capacity() <= 2 * 300_000);
        assert_eq!(index.close(), 100_000);
        for row in [0, 1, 99_999, 199_999] {
            assert_eq!(index.find(&row.to_string()), Some(row));
        }
        assert_eq!(index.find("200000"), None);
        assert_eq!(size_of::<Entry>(), 16);
    }
}
