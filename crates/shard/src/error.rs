//! What goes wrong with shards, and where.

use std::fmt;
use std::io;

use sightline_core::key::KeyError;
use sightline_core::{Hint, SampleKey};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage below failed.
    #[error("cannot {action} shard `{shard}`")]
    Io {
        /// What was tried: "open", "read", "write", "create", "commit".
        action: &'static str,
        /// The shard's name.
        shard: String,
        /// The storage's answer.
        #[source]
        source: io::Error,
    },
    /// A shard that cannot be read further.
    #[error("{place}: {problem}")]
    Damaged {
        /// Where.
        place: Box<Place>,
        /// What is wrong there.
        problem: Problem,
    },
    /// A second sample with the key of an earlier one.
    #[error("shard `{shard}`: two samples have the key `{key}`")]
    DuplicateKey {
        /// The shard's name.
        shard: String,
        /// The key.
        key: SampleKey,
    },
    /// A key that readers would take for a comment and pass over.
    #[error("shard `{shard}`: readers pass over keys that begin with `__…__`, as `{key}` does")]
    HiddenKey {
        /// The shard's name.
        shard: String,
        /// The key.
        key: SampleKey,
    },
    /// Metadata under a name that the format uses itself.
    #[error("shard `{shard}`: sample `{key}` has metadata under the reserved name `{field}`")]
    ReservedField {
        /// The shard's name.
        shard: String,
        /// The sample.
        key: SampleKey,
        /// The reserved name.
        field: &'static str,
    },
    /// A part of a sample that readers would refuse.
    #[error("shard `{shard}`: member `{member}` is {len_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// The shard's name.
        shard: String,
        /// The member.
        member: String,
        /// Its length.
        len_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A writer that was used further after it had failed.
    #[error("shard `{shard}` cannot be finished, an earlier write to it failed")]
    WriterFailed {
        /// The shard's name.
        shard: String,
    },
}

/// A place in a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The shard's name.
    pub shard: String,
    /// The member, where its name is known.
    pub member: Option<String>,
    /// Offset of the member's first header, or of the data that are missing or wrong.
    pub offset: u64,
    /// Whole samples before the damage.
    pub samples: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard `{}`", self.shard)?;
        if let Some(member) = &self.member {
            write!(f, ": member `{}`", member.escape_debug())?;
        }
        let plural = if self.samples == 1 { "" } else { "s" };
        write!(
            f,
            " at byte {}, after {} whole sample{plural}",
            self.offset, self.samples
        )
    }
}

/// Why a shard cannot be read further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The shard ends before its end mark.
    #[error("the shard ends here without an end mark, it is truncated")]
    Truncated,
    /// Data follow the end mark, where readers stop.
    #[error("more data follow the end mark, where every reader stops")]
    DataAfterEnd,
    /// A header whose checksum is wrong.
    #[error("this is no tar header, its checksum is wrong")]
    Checksum,
    /// A number in a header that cannot be read.
    #[error("the {field} in the header is not a number")]
    Number {
        /// Which number.
        field: &'static str,
    },
    /// An extended header that cannot be read.
    #[error("the extended header is malformed")]
    ExtendedHeader,
    /// A member stored with holes.
    #[error("the member is stored as a sparse file, which is not supported")]
    Sparse,
    /// A member's name that is not UTF-8.
    #[error("the name is not UTF-8")]
    NameEncoding,
    /// A member's name that makes no sample key.
    #[error("the name is refused: {0}")]
    Key(KeyError),
    /// Something longer or more numerous than the limit.
    #[error("{what} is {value}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// How large it may be.
        limit: u64,
    },
    /// Two members of a sample with the same extension.
    #[error("the sample has a second member with this extension")]
    DuplicateMember,
    /// Text that is not UTF-8.
    #[error("the text is not UTF-8, from its byte {valid_up_to} on")]
    Text {
        /// Bytes before the first wrong one.
        valid_up_to: usize,
    },
    /// Metadata that are not JSON.
    #[error("the metadata are not JSON: {0}")]
    Json(serde_json::Error),
    /// Metadata that are JSON, but not an object.
    #[error("the metadata are JSON, but not an object")]
    NotAnObject,
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "Free space on that disk and run the same command again."
            }
            Self::Damaged {
                problem: Problem::Truncated,
                ..
            } => {
                "Copy or fetch the shard again; `shards info` shows how many whole samples it holds."
            }
            Self::Damaged {
                problem: Problem::DataAfterEnd,
                ..
            } => {
                "Tar files that were joined with `cat` lose all but the first; join them with `tar --concatenate`."
            }
            Self::DuplicateKey { .. } => "Keys must be unique within a dataset.",
            Self::ReservedField { .. } => "Rename that column.",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
