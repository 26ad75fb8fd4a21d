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
    #[error("the new shard `{shard}` would hold two samples with the key `{key}`")]
    DuplicateKey {
        /// The shard's name.
        shard: String,
        /// The key.
        key: SampleKey,
    },
    /// A sample whose file would be a folder of another one's, or the other way round.
    #[error(
        "the new shard `{shard}`: `{path}` would be a file of one sample and a folder of another, with the sample `{key}`"
    )]
    FileAndFolder {
        /// The shard's name.
        shard: String,
        /// The second of the samples.
        key: SampleKey,
        /// The path, in the shard's folder.
        path: String,
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
    /// A shard that must be held in memory until it is finished, and is too large for that.
    #[error(
        "shard `{shard}`: with sample `{key}` it would be longer than {limit_bytes} bytes, the limit of this format"
    )]
    ShardTooLarge {
        /// The shard's name.
        shard: String,
        /// The sample that does not fit.
        key: SampleKey,
        /// The limit.
        limit_bytes: u64,
    },
    /// A number that is none of a shard's samples.
    #[error("shard `{shard}` has {samples} samples, there is no number {row}")]
    NoSample {
        /// The shard's name.
        shard: String,
        /// The number, counted from 0.
        row: u64,
        /// How many samples there are.
        samples: u64,
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
    /// A compressed stream that is damaged.
    #[error("the compressed data are damaged: {0}")]
    Compression(io::Error),
    /// A record whose checksum is wrong.
    #[error("the checksum of its {what} is wrong")]
    RecordChecksum {
        /// What the checksum is of.
        what: &'static str,
    },
    /// A record that is no `tf.train.Example`.
    #[error("the data are no `tf.train.Example`")]
    Example,
    /// An offset that cannot be true.
    #[error("the offset {offset} comes after {before}")]
    Offset {
        /// The offset.
        offset: u32,
        /// What it must not be smaller than.
        before: u32,
    },
    /// A sample whose values do not fill it, or do not have the length of their type.
    #[error("its values do not have the lengths that they should have")]
    Columns,
    /// A description of the shard that is wrong.
    #[error("the shard describes itself wrongly: {what}")]
    Head {
        /// What is wrong.
        what: &'static str,
    },
    /// A variant of the format that is not read.
    #[error("this is {what}, which is not supported")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// A file that is listed, but not there.
    #[error("the file is listed, but it is not there")]
    MissingMember,
    /// A file with another length than its list says.
    #[error("the file is {len_bytes} bytes, its list says {listed}")]
    MemberLength {
        /// Its length.
        len_bytes: u64,
        /// The length in the list.
        listed: u64,
    },
    /// A file with another digest than its list says.
    #[error("the file is not the one that was listed, its SHA-256 differs")]
    MemberDigest,
    /// A Parquet file that cannot be read.
    #[error("the Parquet file cannot be read here: {0}")]
    Parquet(parquet::errors::ParquetError),
    /// Arrow batches that cannot be read.
    #[error("the Arrow batches cannot be read here: {0}")]
    Arrow(arrow_schema::ArrowError),
    /// Metadata that are JSON, but not an object.
    #[error("the metadata are JSON, but not an object")]
    NotAnObject,
}

impl Error {
    /// The same error of the sample `row` that was read by itself from offset `start` on.
    pub(crate) fn moved(mut self, start: u64, row: u64) -> Self {
        if let Self::Damaged { place, .. } = &mut self {
            place.offset = place.offset.saturating_add(start);
            place.samples = row;
        }
        self
    }

    /// The error that `problem` in the index `name` is.
    pub(crate) fn damaged_index(name: &str, problem: Problem) -> Self {
        Self::Damaged {
            place: Box::new(Place {
                shard: name.to_owned(),
                member: None,
                offset: 0,
                samples: 0,
            }),
            problem,
        }
    }
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
            } => "Copy or fetch the shard again, or `sightline shards repair` what is whole.",
            Self::Damaged {
                problem: Problem::DataAfterEnd,
                ..
            } => {
                "Tar files that were joined with `cat` lose all but the first; join them with `tar --concatenate`."
            }
            Self::Damaged {
                problem: Problem::Limit { .. },
                ..
            } => {
                "Every tool here has this limit; `sightline shards repair` writes the shard anew without what is beyond it."
            }
            Self::Damaged {
                problem: Problem::Unsupported { .. },
                ..
            } => "Have the program that wrote it write it again without that.",
            Self::Damaged {
                problem:
                    Problem::Compression(_)
                    | Problem::RecordChecksum { .. }
                    | Problem::MemberLength { .. }
                    | Problem::MemberDigest
                    | Problem::MissingMember
                    | Problem::Parquet(_)
                    | Problem::Arrow(_),
                ..
            } => "Copy or fetch the shard again.",
            Self::NoSample { .. } => {
                "The shards changed since they were counted; run `sightline shards index --kind manifest --force` again."
            }
            Self::ShardTooLarge { .. } => "Put fewer samples into a shard.",
            Self::DuplicateKey { .. } => {
                "Keys must be unique within a dataset: `sightline shards verify` lists all that come again."
            }
            Self::FileAndFolder { .. } => {
                "Only plain files need keys that are paths of one tree: rename one of the samples, or choose another format."
            }
            Self::ReservedField { .. } => "Rename that column.",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
