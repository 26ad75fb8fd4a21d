//! What can go wrong with records and the board.

use std::io;
use std::path::PathBuf;

use sightline_core::{Digest, Hint};

use crate::record::SCHEMA;

/// What this crate's functions fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that the system does not let us read or write.
    #[error("`{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record that cannot be written, since its file could not be named or read back.
    #[error("record of model `{model}` on suite `{suite}`: {field} {value:?} {reason}")]
    Unwritable {
        /// Its suite.
        suite: String,
        /// Its model.
        model: String,
        /// What is wrong.
        field: String,
        /// As it is.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// A value that JSON does not hold.
    #[error("a record or board cannot be written as JSON")]
    Json {
        /// Which.
        #[source]
        source: serde_json::Error,
    },
    /// A record that is no JSON of the layout.
    #[error("record `{}` cannot be read", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A record that is longer than any real one.
    #[error("record `{}` is longer than {limit} bytes", path.display())]
    TooLong {
        /// The record.
        path: PathBuf,
        /// Most bytes that a record may have.
        limit: u64,
    },
    /// A record of a layout that this version does not know.
    #[error("record `{}` has schema {found}, this version reads {SCHEMA}", path.display())]
    Schema {
        /// The record.
        path: PathBuf,
        /// Its schema number, or what stands in its place.
        found: String,
    },
    /// A file among the records that is not called like one.
    #[error("`{}` is not called like a record (`<date>-<12 hexadecimal digits>.json`)", path.display())]
    Misnamed {
        /// The file.
        path: PathBuf,
    },
    /// A record whose content is not the one it was written with.
    #[error(
        "record `{}` was changed: its name holds {named}, the digest of its content is {found}",
        path.display()
    )]
    Changed {
        /// The record.
        path: PathBuf,
        /// First digits of the digest it was written with.
        named: String,
        /// Digest of what it holds.
        found: Digest,
    },
    /// The page's template cannot be filled in.
    #[error("the page cannot be made")]
    Template {
        /// Why not.
        #[source]
        source: minijinja::Error,
    },
    /// A metric without exactly one value for each image.
    #[error("metric `{metric}` has {values} values for {images} images")]
    UnevenColumn {
        /// The metric.
        metric: String,
        /// Its values.
        values: usize,
        /// Images of the report.
        images: usize,
    },
    /// Images that are to be ranked by a metric that was not computed.
    #[error(
        "images cannot be ranked by `{metric}`, which is not among {}",
        quoted(known)
    )]
    UnknownRanking {
        /// The metric asked for.
        metric: String,
        /// The metrics of the report.
        known: Vec<String>,
    },
    /// A page in the way that is not a board.
    #[error("`{}` exists and was not written by `sightline board`", path.display())]
    ForeignPage {
        /// The page.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Names in backticks, or that there are none.
fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "the metrics (there are none)".to_owned();
    }
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Schema { .. } => {
                "Use the version of Sightline that wrote the record, or a later one."
            }
            Self::Changed { .. } => {
                "Records are never edited: restore the file, or remove it and run again. A correction is a new \
                 record that names the one it supersedes."
            }
            Self::Unreadable { .. } | Self::TooLong { .. } => {
                "Restore the file, or remove it and run again."
            }
            Self::Misnamed { .. } => "Move the file out of the records folder.",
            Self::ForeignPage { .. } => "Choose another output folder, or remove the page.",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
