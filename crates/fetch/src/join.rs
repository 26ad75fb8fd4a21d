//! Columns of another Parquet table that are added to the rows: what an earlier step knows of a URL or a key.
//!
//! The table is read once, before the first row, and its wanted columns stay in memory, with 32 bytes beside them for each of
//! its rows. Rows that it does not have get nulls; where it has a row twice, the first counts.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use polars::prelude::*;
use serde::{Deserialize, Serialize};
use sightline_core::Digest;

use crate::error::{Error, Result};
use crate::table::read_columns;

/// What rows of both tables have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinKey {
    /// The URL: the column `url` of the other table.
    Url,
    /// The key that a row has in this output: the column `key` of the other table, such as the status tables of an earlier
    /// fetch of the same list in shards of the same size.
    Key,
}

impl JoinKey {
    fn column(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Key => "key",
        }
    }
}

/// Columns to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSpec {
    /// The other table, in Parquet.
    pub path: PathBuf,
    /// What rows have in common.
    pub on: JoinKey,
    /// The columns, kept like those of the table itself.
    pub columns: Vec<String>,
    /// Digest of the file, filled in when the run begins or is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// The other table.
#[derive(Debug)]
pub(crate) struct Join {
    on: JoinKey,
    frame: DataFrame,
    rows: HashMap<u128, IdxSize>,
    digest: Digest,
}

impl Join {
    /// Reads it. Refuses one that is not the one that was planned.
    pub(crate) fn new(spec: &JoinSpec) -> Result<Self> {
        let file = File::open(&spec.path).map_err(Error::read_table(&spec.path))?;
        let (digest, _) = Digest::of_reader(file).map_err(Error::read_table(&spec.path))?;
        if spec.sha256.is_some_and(|planned| planned != digest) {
            return Err(Error::OtherTable {
                path: spec.path.clone(),
            });
        }
        let mut frame = read_columns(&spec.path, spec.on.column(), &spec.columns)?;
        let failed = |error: PolarsError| Error::Table {
            path: spec.path.clone(),
            format: "parquet",
            problem: crate::TableProblem::Other(error.to_string()),
        };
        let on = frame.drop_in_place(ON).map_err(failed)?;
        let mut rows = HashMap::with_capacity(on.len());
        for (at, value) in (0..).zip(on.str().map_err(failed)?.iter()) {
            if let Some(value) = value {
                rows.entry(hash(value)).or_insert(at);
            }
        }
        Ok(Self {
            on: spec.on,
            frame,
            rows,
            digest,
        })
    }

    /// Digest of the file.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// Adds the columns to the rows in `frame`, whose keys are `key`, behind its first `kept` columns.
    pub(crate) fn add(
        &self,
        frame: &mut DataFrame,
        kept: usize,
        key: &dyn Fn(u64) -> String,
    ) -> PolarsResult<()> {
        let found = |value: Option<&str>| value.and_then(|value| self.rows.get(&hash(value)));
        let places: IdxCa = match self.on {
            JoinKey::Url => {
                let urls = frame.column("url")?.str()?;
                urls.iter().map(|url| found(url).copied()).collect()
            }
            JoinKey::Key => (0..frame.height() as u64)
                .map(|at| found(Some(&key(at))).copied())
                .collect(),
        };
        for (at, column) in self.frame.columns().iter().enumerate() {
            let column = column.as_materialized_series().take(&places)?;
            frame.insert_column(kept + at, column.into())?;
        }
        Ok(())
    }
}

/// Name of the column of [`JoinKey`] while the table is read.
pub(crate) const ON: &str = "__on";

/// Two of a billion texts are equal in this by chance once in 10^20 tables.
fn hash(text: &str) -> u128 {
    let digest = Digest::of(text.as_bytes());
    let bytes = digest.as_bytes().first_chunk();
    u128::from_le_bytes(*bytes.expect("a digest has 32 bytes"))
}
