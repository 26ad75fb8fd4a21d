//! What can be wrong with METEOR's data.

use std::io;

use sightline_core::{Digest, Hint};

/// Why METEOR's tables could not be made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file that is no compiled table.
    #[error("not a file of compiled METEOR tables")]
    NotTables,
    /// Compiled by another version of this program.
    #[error("compiled METEOR tables of format {found}, this program reads {known}")]
    Version {
        /// Format of the file.
        found: u32,
        /// Format this program reads and writes.
        known: u32,
    },
    /// A file that was cut or changed.
    #[error("the compiled METEOR tables are damaged")]
    Damaged,
    /// A wheel or an archive in it that cannot be read.
    #[error("`{name}` cannot be read as an archive")]
    Archive {
        /// The archive.
        name: &'static str,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// Reading failed.
    #[error("`{name}` cannot be read")]
    Read {
        /// What was read.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the data is larger than the published one could be.
    #[error("`{name}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        name: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A file of the data differs from the published one.
    #[error("`{name}` has sha256 {found}, that of the published data is {expected}")]
    NotPublished {
        /// The file.
        name: &'static str,
        /// Digest of the file.
        found: Digest,
        /// Digest of the published file.
        expected: Digest,
    },
    /// A line that does not follow its format.
    #[error("`{name}` line {line}: {problem}")]
    Line {
        /// The file.
        name: &'static str,
        /// Number of the line, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// More of something than the format has room for.
    #[error("more than {limit} {what}")]
    Room {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
}

impl Hint for DataError {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotTables | Self::Version { .. } | Self::Damaged => {
                vec!["Make the tables again with `sightline metrics setup`.".to_owned()]
            }
            Self::Archive { .. }
            | Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::NotPublished { .. } => {
                vec!["Give the wheel of pycocoevalcap 1.2 as it is on PyPI.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
