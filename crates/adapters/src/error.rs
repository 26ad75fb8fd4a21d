//! Why a model outside the process cannot be used at all.

use std::io;

use sightline_core::Hint;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model outside the process cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program cannot be started.
    #[error("`{command}` cannot be started")]
    Start {
        /// The program.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program did not say hello.
    #[error("`{command}` {reason}")]
    NoHello {
        /// The program.
        command: String,
        /// What it did instead.
        reason: String,
        /// The last lines that it wrote to its standard error.
        said: String,
    },
    /// The program says something about itself that this one does not understand.
    #[error("`{command}` says hello with {problem}")]
    Hello {
        /// The program.
        command: String,
        /// What is wrong.
        problem: String,
    },
    /// The variable that holds the key of a server is not set.
    #[error("the variable `{variable}`, which holds the key of `{url}`, is not set")]
    NoKey {
        /// The variable.
        variable: String,
        /// The server.
        url: String,
    },
    /// A server cannot do what its manifest says.
    #[error("`{url}` {problem}")]
    Server {
        /// The server.
        url: String,
        /// What it does or does not.
        problem: String,
    },
    /// A file or a folder of this side.
    #[error("`{what}` cannot be written")]
    Io {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was planned is no JSON.
    #[error("what was planned cannot be written as JSON")]
    Json {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether the system is at fault, and not what was written.
    pub fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::NoHello { .. } | Self::Io { .. } | Self::Server { .. }
        )
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Start { .. } => {
                "Check `command` and `folder` of the model's manifest: the program is looked for in PATH, or from the folder if its name holds a slash."
                    .to_owned()
            }
            Self::NoHello { said, .. } if !said.is_empty() => {
                format!("The last that it wrote to its standard error: {said}")
            }
            Self::NoHello { .. } | Self::Hello { .. } => {
                "docs/adapters.md says what a program answers to hello.".to_owned()
            }
            Self::NoKey { variable, .. } => format!("Set {variable}; the key is never written down."),
            Self::Server { .. } => {
                "Check `url`, `model` and `capabilities` of the model's manifest, and that the server runs.".to_owned()
            }
            Self::Io { .. } | Self::Json { .. } => return Vec::new(),
        };
        vec![hint]
    }
}

/// What became of one request that has no right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// This one has none; others may.
    Unanswered(String),
    /// No other one will.
    Gone(String),
}

impl Trouble {
    /// No right answer, for a `reason` in few words.
    pub(crate) fn unanswered(reason: impl Into<String>) -> Self {
        Self::Unanswered(reason.into())
    }
}

impl From<Trouble> for sightline_models::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Unanswered(reason) => Self::Unanswered { reason },
            Trouble::Gone(reason) => Self::Gone { reason },
        }
    }
}
