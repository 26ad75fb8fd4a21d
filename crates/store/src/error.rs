//! What goes wrong with files.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;

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
            Error::NoMatch { .. } => io::ErrorKind::NotFound,
            Error::Name { .. } | Error::NotUtf8 { .. } | Error::Pattern { .. } => {
                io::ErrorKind::InvalidInput
            }
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
