//! What goes wrong with files.

use std::io;
use std::path::{Path, PathBuf};

use sightline_core::Hint;

use crate::location::AddressProblem;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation on a file or folder.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried: "open", "write", "rename", ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A name that is not a relative path inside its folder.
    #[error("object name {name:?} is not a relative path inside its folder")]
    Name {
        /// The refused name.
        name: String,
    },
    /// An object store refused or failed an operation.
    #[error("cannot {action} `{address}`")]
    Remote {
        /// What was tried: "open", "write", "list", ….
        action: &'static str,
        /// The object, without what may be secret.
        address: String,
        /// What the store answered, if it did.
        #[source]
        problem: RemoteProblem,
    },
    /// An address that cannot be.
    #[error("address `{address}`: {problem}")]
    Address {
        /// The address, without its query.
        address: String,
        /// What is wrong with it.
        problem: AddressProblem,
    },
    /// A step that needs a file of this machine, on an object of a store.
    #[error("`{}` is no local file, and this step needs one", path.display())]
    NotLocal {
        /// The object's address.
        path: PathBuf,
    },
    /// A file whose name is not UTF-8.
    #[error("the name of `{}` is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// A pattern that cannot be read.
    #[error("pattern `{pattern}`: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: PatternProblem,
    },
    /// A pattern that no file matches.
    #[error("no file matches `{pattern}` in `{}`", folder.display())]
    NoMatch {
        /// The pattern, or the one of its brace alternatives that nothing matches.
        pattern: String,
        /// Where files were looked for.
        folder: PathBuf,
    },
}

/// What an object store answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteProblem {
    /// No object of that name.
    #[error("there is no such object")]
    NotFound,
    /// No bucket of that name.
    #[error("there is no such bucket")]
    NoBucket,
    /// The credentials are wrong or do not allow it.
    #[error("the store refuses it: {words}")]
    Denied {
        /// The store's words.
        words: String,
    },
    /// There are no credentials.
    #[error("there are no credentials for it, and this machine has none of its own")]
    NoCredentials,
    /// An object was replaced while it was read.
    #[error("it was replaced while it was read")]
    Changed,
    /// An object that must not be there is there.
    #[error("there is an object of that name")]
    Exists,
    /// Web servers are read only.
    #[error("a web server is only read from")]
    ReadOnly,
    /// Web servers list nothing.
    #[error("a web server does not list its files")]
    Unlistable,
    /// A server that gives whole files only.
    #[error("the server does not give parts of files")]
    NoRanges,
    /// A store that lacks what is needed.
    #[error("the store cannot do that: {words}")]
    Unsupported {
        /// The store's words.
        words: String,
    },
    /// An object that is larger than can be.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The store failed again and again.
    #[error("the store fails, also when it is asked again: {words}")]
    Failing {
        /// The store's words.
        words: String,
    },
    /// Nobody answers.
    #[error("the store does not answer, also when it is asked again: {words}")]
    Unreachable {
        /// What the connection's end says.
        words: String,
    },
    /// Anything else.
    #[error("{words}")]
    Other {
        /// The store's words.
        words: String,
    },
}

impl RemoteProblem {
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NotFound => io::ErrorKind::NotFound,
            Self::Denied { .. } | Self::NoCredentials => io::ErrorKind::PermissionDenied,
            Self::Exists => io::ErrorKind::AlreadyExists,
            Self::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            Self::Unlistable | Self::NoRanges | Self::Unsupported { .. } => {
                io::ErrorKind::Unsupported
            }
            Self::Unreachable { .. } => io::ErrorKind::HostUnreachable,
            _ => io::ErrorKind::Other,
        }
    }

    fn hint(&self, address: &str) -> Option<String> {
        let variables = match address.split("://").next() {
            Some("s3") => {
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN where they are temporary), or \
                 AWS_SKIP_SIGNATURE=true for a public bucket"
            }
            Some("gs") => {
                "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for a public bucket"
            }
            Some("az") => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
            _ => "",
        };
        Some(match self {
            Self::Denied { .. } | Self::NoCredentials if !variables.is_empty() => {
                format!("Set {variables}; docs/object-stores.md lists what each command must be allowed to do.")
            }
            Self::NoBucket => {
                "Make the bucket first, or mend its name, the region (AWS_REGION) or the server (AWS_ENDPOINT_URL)."
                    .to_owned()
            }
            Self::ReadOnly => "Write to a folder, or to s3://, gs:// or az://.".to_owned(),
            Self::Unlistable => "Name each file, or use a folder, s3://, gs:// or az://.".to_owned(),
            Self::Failing { .. } | Self::Unreachable { .. } => {
                "Finished shards are kept: run the same command again when the store answers.".to_owned()
            }
            Self::Changed => "Run the same command again when nobody writes there.".to_owned(),
            _ => return None,
        })
    }
}

/// What is wrong with a pattern.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatternProblem {
    /// A brace without its partner.
    #[error("a brace at byte {at} has no partner")]
    Unbalanced {
        /// Where.
        at: usize,
    },
    /// Too many alternatives.
    #[error("it stands for more than {limit} names")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A wildcard that the glob syntax does not know.
    #[error(transparent)]
    Glob(#[from] glob::PatternError),
}

impl Error {
    /// An error of an operation on `path`, which may be one of this crate that went through [`io::Error`].
    pub(crate) fn from_io(action: &'static str, path: &Path, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::file(action, path)(error),
        }
    }

    /// The error of this crate that `error` is or comes from.
    ///
    /// Readers and writers of shards see [`io::Error`]s, in which what a store answered lies hidden.
    pub fn behind<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut error = Some(error);
        while let Some(here) = error {
            if let Some(found) = here.downcast_ref::<Self>() {
                return Some(found);
            }
            if let Some(io) = here.downcast_ref::<io::Error>() {
                let inner = io
                    .get_ref()
                    .map(|inner| inner as &(dyn std::error::Error + 'static));
                if let Some(found) = inner.and_then(Self::behind) {
                    return Some(found);
                }
            }
            error = here.source();
        }
        None
    }

    /// Whether what a person named cannot be or is not there, and neither machine nor store is at fault.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            Self::Remote { problem, .. } => matches!(
                problem,
                RemoteProblem::NotFound | RemoteProblem::ReadOnly | RemoteProblem::Unlistable
            ),
            _ => true,
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}

/// Keeps the kind, so that a caller of the traits in `sightline-core` can tell "not found" from
/// other errors.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::File { source, .. } => source.kind(),
            Error::Remote { problem, .. } => problem.kind(),
            Error::NoMatch { .. } => io::ErrorKind::NotFound,
            Error::NotLocal { .. } => io::ErrorKind::Unsupported,
            Error::Name { .. }
            | Error::NotUtf8 { .. }
            | Error::Pattern { .. }
            | Error::Address { .. } => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                vec!["Free space on that disk and run the same command again.".to_owned()]
            }
            Self::Remote {
                address, problem, ..
            } => problem.hint(address).into_iter().collect(),
            Self::NoMatch { .. } => vec![
                "Patterns are relative to the folder; quote them so that the shell leaves them alone."
                    .to_owned(),
            ],
            Self::Pattern { .. } => vec![
                "Patterns know `*`, `?`, `[abc]`, `**`, `{one,two}` and `{00000..00017}`.".to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}
