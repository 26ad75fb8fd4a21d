//! What goes wrong with whole datasets.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A shard that cannot be read or written.
    #[error(transparent)]
    Shard(#[from] sightline_shard::Error),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// The storage below failed.
    #[error("cannot {action} `{name}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which object.
        name: String,
        /// The storage's answer.
        #[source]
        source: io::Error,
    },
    /// A cursor of something else.
    #[error(transparent)]
    Cursor(#[from] sightline_shard::cursor::CursorError),
    /// An output that somebody else is writing.
    #[error("`{}` is being written by another process", path.display())]
    Busy {
        /// The output.
        path: PathBuf,
    },
    /// A condition that samples do not fit.
    #[error(transparent)]
    Condition(#[from] crate::expression::SyntaxError),
    /// A shard with another number of samples than it, or the list beside it, said at first.
    #[error("shard `{shard}` was counted to hold {counted} samples, it holds {found}")]
    OtherCount {
        /// The shard.
        shard: String,
        /// What was counted.
        counted: u64,
        /// What was read.
        found: u64,
    },
    /// A dataset that changed while it was read.
    #[error("the shards had {samples} samples, and now they have others")]
    Changed {
        /// Samples at first.
        samples: u64,
    },
    /// More samples than can be told apart.
    #[error("there are more than {limit} samples")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// Too little room on a disk.
    #[error(
        "about {needed_bytes} bytes would be written below `{}`, where {free_bytes} are free",
        path.display()
    )]
    Space {
        /// Where.
        path: PathBuf,
        /// What is needed.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// Fewer samples than shards that must hold some.
    #[error("{samples} samples cannot be shared out among {shards} shards")]
    TooFew {
        /// The samples.
        samples: u64,
        /// The shards.
        shards: u64,
    },
    /// A part of a split whose name cannot be that of a folder, or comes twice.
    #[error(
        "the parts of the split must have different names that are names of folders, `{part}` is none"
    )]
    Part {
        /// The name.
        part: String,
    },
    /// Two samples that would be the same file.
    #[error("the file `{name}` is already that of another sample")]
    SameFile {
        /// The file.
        name: String,
    },
    /// An index that keys must be unique for.
    #[error("shard `{shard}`: the key `{key}` is already that of a sample in `{earlier}`")]
    DuplicateKey {
        /// The shard of the second sample.
        shard: String,
        /// The key.
        key: String,
        /// The shard of the first.
        earlier: String,
    },
    /// A shard of another format than the index is for.
    #[error("`{shard}` is no shard of the format that the index `{index}` is for")]
    OtherFormat {
        /// The shard.
        shard: String,
        /// Name of the index.
        index: &'static str,
    },
    /// Something is already there.
    #[error("`{name}` exists")]
    Exists {
        /// What is there.
        name: String,
    },
    /// An output that is its own input, or holds it.
    #[error("the output `{}` holds the input `{}`", output.display(), input.display())]
    HoldsInput {
        /// The output.
        output: PathBuf,
        /// The folder that is read.
        input: PathBuf,
    },
    /// An output that would replace something that no command here wrote.
    #[error("`{}` is not replaced: `{entry}` in it is no part of a dataset", folder.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// What is in it.
        entry: String,
    },
    /// A bucket that would be emptied.
    #[error("everything in `{}` would be removed, which is a whole bucket", path.display())]
    WholeBucket {
        /// The bucket.
        path: PathBuf,
    },
    /// A field that should decide of samples, and none has it.
    #[error("no sample has `{field}` in its metadata")]
    NoField {
        /// Its name.
        field: String,
    },
    /// Parts of a split that do not add up to one.
    #[error("the parts of the split add up to {sum}, not to 1")]
    Split {
        /// Their sum.
        sum: f64,
    },
}

impl Error {
    /// Whether a disk or a store failed, and the same command may succeed later.
    pub fn is_of_environment(&self) -> bool {
        match self {
            Self::Shard(error) => matches!(error, sightline_shard::Error::Io { .. }),
            Self::Store(error) => !error.is_usage(),
            Self::Io { .. } => true,
            _ => false,
        }
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Shard(error) => return error.hints(),
            Self::Store(error) => return error.hints(),
            Self::DuplicateKey { .. } => {
                "Keys must be unique within a dataset: `sightline shards verify` lists all that come again."
            }
            Self::OtherFormat { .. } => "Convert it first: `sightline shards convert`.",
            Self::Exists { .. } => "Choose another folder, or give --force to replace it.",
            Self::Busy { .. } => "Wait for it to end, or end it and run the same command again.",
            Self::HoldsInput { .. } => {
                "Choose another folder with --out; remove the input afterwards."
            }
            Self::Foreign { .. } => "Choose another folder, or remove what is there yourself.",
            Self::WholeBucket { .. } => "Name a folder in it with --out.",
            Self::Condition(_) => {
                "`sightline shards info` lists the metadata; scores come from tables that --scores names."
            }
            Self::NoField { .. } => "`sightline shards info` lists the metadata.",
            Self::OtherCount { .. } => {
                "The list `shards.manifest.json` may be older than the shard: `sightline shards index --kind manifest --force` makes it anew."
            }
            Self::Changed { .. } => "Run the command again when nobody writes into the folder.",
            Self::Cursor(_) => {
                "A cursor goes on with the shards that it was made of, and with their names and numbers of samples."
            }
            Self::Space { .. } => {
                "Free space on that disk, or choose another one with --out or --scratch."
            }
            Self::TooFew { samples: 0, .. } => "`sightline shards info` says what the shards hold.",
            Self::TooFew { .. } => {
                "Ask for fewer ranks, workers or shards, or let `--remainder pad` repeat samples."
            }
            Self::SameFile { .. } => {
                "Keys must differ in more than upper and lower case where the file system does not tell them apart."
            }
            Self::Io { .. } | Self::Split { .. } | Self::Part { .. } | Self::TooMany { .. } => {
                return Vec::new();
            }
        };
        vec![hint.to_owned()]
    }
}
