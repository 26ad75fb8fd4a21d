//! Why a fetch cannot go on. What happens to single rows is no error; see [`crate::status`].

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use sightline_core::Hint;
use sightline_core::registry::{UnknownName, nearest};

use crate::table::TableProblem;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the request that cannot be.
    #[error("{field}: {problem}")]
    Spec {
        /// The field, as the command line calls it.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A field of the request that names what no registry has.
    #[error("{field}: {source}")]
    UnknownName {
        /// The field, as the command line calls it.
        field: &'static str,
        /// The name and its neighbours.
        source: UnknownName,
    },
    /// Nothing to read.
    #[error("no table of URLs in `{}`", path.display())]
    NoTable {
        /// The file or folder given.
        path: PathBuf,
    },
    /// A file whose name does not tell its format.
    #[error("cannot tell the format of table `{}` from its name", path.display())]
    TableFormat {
        /// The file.
        path: PathBuf,
    },
    /// A folder with tables of several formats.
    #[error("tables of several formats in `{}`: {}", path.display(), formats.join(", "))]
    MixedFormats {
        /// The folder.
        path: PathBuf,
        /// The formats found.
        formats: Vec<String>,
    },
    /// A table that the system does not give.
    #[error("cannot read table `{}`", path.display())]
    ReadTable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A table whose content is not what its format says.
    #[error("table `{}` is not readable as {format}: {problem}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The format it was read as.
        format: &'static str,
        /// What is wrong with it, and where.
        problem: TableProblem,
    },
    /// A column that the table does not have.
    #[error("table `{}` has no column `{column}`; its columns are {}", path.display(), list(found))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// The columns it has.
        found: Vec<String>,
    },
    /// A column whose type cannot be carried into shards.
    #[error("table `{}`: column `{column}` holds {dtype}, which {problem}", path.display())]
    ColumnType {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Its type.
        dtype: String,
        /// Why not.
        problem: &'static str,
    },
    /// A table whose joined columns take more memory than they may.
    #[error("joined table `{}` needs more than {limit_mib} MiB of memory, {rows} rows of it do", path.display())]
    JoinTooLarge {
        /// The file.
        path: PathBuf,
        /// The rows that were read.
        rows: u64,
        /// The limit.
        limit_mib: u64,
    },
    /// A column asked for twice, or under a name that the status table uses itself.
    #[error("column `{column}` cannot be saved: {problem}")]
    SavedColumn {
        /// The column.
        column: String,
        /// Why not.
        problem: &'static str,
    },
    /// The output folder belongs to a fetch with other settings.
    #[error("`{}` was made with other settings: {}", path.display(), differences.join("; "))]
    OtherSettings {
        /// A file that says so.
        path: PathBuf,
        /// What differs, "field: there, here".
        differences: Vec<String>,
    },
    /// The output folder holds shards of another program, or of a later version of this one.
    #[error("`{}` was not written by this version of this program", path.display())]
    ForeignShard {
        /// A file that says so.
        path: PathBuf,
    },
    /// A finished shard was made from other rows.
    #[error("`{}` was made from other rows than the table has now", path.display())]
    OtherRows {
        /// The shard's statistics.
        path: PathBuf,
    },
    /// Finished shards that the table has no rows for.
    #[error("`{}` has shards beyond the end of the table, from {first:05} on", path.display())]
    ShardsBeyondTable {
        /// The output folder.
        path: PathBuf,
        /// The first of them.
        first: u64,
    },
    /// A plan that cannot be read.
    #[error("cannot read plan `{}`", path.display())]
    ReadPlan {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file that is no plan.
    #[error("`{}` is no plan: {problem}", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The output folder has the plan of another request or table.
    #[error("`{}` is the plan of another request or another table", path.display())]
    OtherPlan {
        /// The plan that is there.
        path: PathBuf,
    },
    /// A table that has changed since it was planned.
    #[error("table `{}` is not the one that was planned", path.display())]
    OtherTable {
        /// The file.
        path: PathBuf,
    },
    /// A folder without finished shards.
    #[error("no finished shard in `{}`", path.display())]
    NoShards {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes to the folder.
    #[error("another process is writing to `{}`", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The output cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Output {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file of the output cannot be written.
    #[error("cannot write the output")]
    Store(#[from] sightline_store::Error),
    /// A shard cannot be written.
    #[error("cannot write a shard")]
    Shard(#[from] sightline_shard::Error),
    /// The status table cannot be written.
    #[error("cannot write status table `{}`: {problem}", path.display())]
    StatusTable {
        /// The file.
        path: PathBuf,
        /// The writer's words.
        problem: String,
    },
    /// A status table of a finished shard cannot be read.
    #[error("status table `{}` cannot be read: {problem}", path.display())]
    ReadStatusTable {
        /// The file.
        path: PathBuf,
        /// The reader's words.
        problem: String,
    },
    /// An earlier output that a plan refers to is not as it was.
    #[error("{field}: the earlier output holds other images than when this was planned")]
    EarlierOutputChanged {
        /// The field that names it, as the command line calls it.
        field: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("cannot set up HTTP")]
    Client {
        /// The client's words.
        #[source]
        source: reqwest::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start threads: {problem}")]
    Threads {
        /// The system's answer.
        problem: String,
    },
    /// More shards than keys can number.
    #[error("shard {id} with {rows} rows a shard has no keys of 64 bits")]
    TooManyShards {
        /// The shard.
        id: u64,
        /// Rows a shard.
        rows: u64,
    },
    /// A worker disappeared with its row; a defect of this program.
    #[error("row {row} was lost by its worker")]
    LostRow {
        /// Number of the row since the start of the run.
        row: u64,
    },
}

impl Error {
    /// Whether the arguments or the table are at fault, and not the machine.
    pub fn is_usage(&self) -> bool {
        if let Self::ReadTable { source, .. } | Self::ReadPlan { source, .. } = self {
            return !is_failing_store(source);
        }
        if let Self::Store(error) = self {
            // A file of the output that is gone is not what was typed.
            return !matches!(error, sightline_store::Error::File { .. }) && error.is_usage();
        }
        !matches!(
            self,
            Self::Busy { .. }
                | Self::Output { .. }
                | Self::Shard(_)
                | Self::StatusTable { .. }
                | Self::ReadStatusTable { .. }
                | Self::Client { .. }
                | Self::Threads { .. }
                | Self::LostRow { .. }
        )
    }

    pub(crate) fn output(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Output {
            action,
            path,
            source,
        }
    }

    /// The same of what a folder says, which names its objects itself.
    pub(crate) fn read_from(path: &Path) -> impl FnOnce(sightline_store::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::ReadTable {
            path,
            source: error.into(),
        }
    }

    pub(crate) fn read_plan(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::ReadPlan { path, source }
    }

    pub(crate) fn read_table(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::ReadTable { path, source }
    }
}

/// Whether a store failed, and does not only lack an object of that name.
fn is_failing_store(error: &io::Error) -> bool {
    sightline_store::Error::behind(error).is_some_and(|error| {
        matches!(error, sightline_store::Error::Remote { .. }) && !error.is_usage()
    })
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > SHOWN {
        let more = names.len() - SHOWN;
        // Writing to a string cannot fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::NoTable { .. } | Self::TableFormat { .. } => one(
                "Tables are .txt, .csv, .tsv, .jsonl, .json or .parquet, each also with .gz; --input-format says which when the name does not.",
            ),
            Self::MixedFormats { .. } => one("Choose one with --input-format."),
            Self::MissingColumn { column, found, .. } => {
                let mut hints = Vec::new();
                let near = nearest(column, found.iter().map(String::as_str));
                if !near.is_empty() {
                    let names: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
                    hints.push(format!("Did you mean {}?", names.join(" or ")));
                }
                hints.push(
                    "--url-col, --caption-col and --save-additional-columns name the columns; those of a joined table --join-key, --join-columns and --join-caption-col."
                        .to_owned(),
                );
                hints
            }
            Self::SavedColumn { .. } => {
                one("Rename the column in the table, or leave it out of --save-additional-columns.")
            }
            Self::JoinTooLarge { .. } => one(
                "Raise --join-memory, join fewer columns, or leave rows out of the table that the list does not have.",
            ),
            Self::OtherSettings { .. } | Self::ForeignShard { .. } => one(
                "Use another --out folder, the settings of the first run, or --incremental-mode overwrite to start over.",
            ),
            Self::OtherRows { .. } | Self::ShardsBeyondTable { .. } => one(
                "Use --incremental-mode extend to add a new table to the folder, --incremental-mode overwrite to start over, or another --out folder.",
            ),
            Self::ReadPlan { source, .. } if !is_failing_store(source) => {
                one("`sightline fetch plan` writes it into the output folder.")
            }
            Self::OtherPlan { .. } | Self::OtherTable { .. } => {
                one("Plan the table as it is now into another --out folder; a plan never changes.")
            }
            Self::Busy { path } if sightline_store::is_address(path) => one(
                "Wait for it to end, or use another --out folder. One that was killed on another machine is forgotten after half a minute.",
            ),
            Self::Busy { .. } => one("Wait for it to end, or use another --out folder."),
            Self::Output { source, .. } if source.kind() == io::ErrorKind::StorageFull => one(
                "Free space on that disk and run the same command again: finished shards are kept.",
            ),
            Self::UnknownName { source, .. } => source.hints(),
            Self::Table { problem, .. } => problem.hints(),
            Self::Store(error) => error.hints(),
            Self::Shard(error) if !error.hints().is_empty() => error.hints(),
            // What a store answered, below readers and writers that know nothing of stores.
            error => sightline_store::Error::behind(error).map_or_else(Vec::new, Hint::hints),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_column_names_what_is_there_and_what_was_meant() {
        let error = Error::MissingColumn {
            path: "urls.csv".into(),
            column: "url".to_owned(),
            found: vec!["URL".to_owned(), "TEXT".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "table `urls.csv` has no column `url`; its columns are `URL`, `TEXT`"
        );
        assert_eq!(error.hints()[0], "Did you mean `URL`?");
        assert!(error.is_usage());
    }

    #[test]
    fn long_lists_of_columns_are_cut() {
        let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        assert!(list(&names).ends_with("`19` and 980 more"));
    }
}
