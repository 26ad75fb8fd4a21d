//! Why there is no snapshot.

use std::io;
use std::path::PathBuf;

use sightline_core::{Digest, Hint, HubName};

/// The result of this module.
pub type Result<T, E = HubError> = std::result::Result<T, E>;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// An address of the hub that is none.
    #[error("the hub's address `{endpoint}` is not an http or https URL")]
    Endpoint {
        /// As given.
        endpoint: String,
    },
    /// It is not in the cache, and nothing else is allowed.
    #[error("`{name}` is not in the cache `{}`, and the network is not to be used", folder.display())]
    Offline {
        /// What was wanted.
        name: HubName,
        /// Where it would be.
        folder: PathBuf,
    },
    /// The hub has no such repository or revision, or shows it to nobody without a token.
    #[error("the hub does not show `{name}` ({status})")]
    NotFound {
        /// What was wanted.
        name: HubName,
        /// What it answers.
        status: u16,
    },
    /// A repository without weights that can be read.
    #[error("`{name}` has no weights that can be read")]
    Nothing {
        /// What was wanted.
        name: HubName,
    },
    /// Another answer than expected.
    #[error("`{url}` answers {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The answer.
        status: u16,
    },
    /// The network failed.
    #[error("`{url}` cannot be read: {reason}")]
    Network {
        /// What was asked.
        url: String,
        /// Why not.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("`{url}` {reason}")]
    Redirect {
        /// What was asked.
        url: String,
        /// Why not.
        reason: &'static str,
    },
    /// An answer that means nothing.
    #[error("`{url}` answers {problem}")]
    Malformed {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A file whose end did not come.
    #[error("`{file}` ended behind {found} of {expected} bytes")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes that came.
        found: u64,
        /// Bytes that it has.
        expected: u64,
    },
    /// A file with other bytes than the hub says.
    #[error("`{file}` has the SHA-256 {found}, the hub says {expected}")]
    Digest {
        /// The file.
        file: String,
        /// The digest of what came.
        found: Digest,
        /// What the hub says.
        expected: String,
    },
    /// Another process downloads the same file.
    #[error("another process is downloading `{}`", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The user asked to stop.
    #[error("interrupted while downloading `{file}`")]
    Stopped {
        /// The file.
        file: String,
    },
    /// A file of the cache cannot be read or written.
    #[error("cannot use `{}` of the cache", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The same, from below.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// The system gives no means to use the network.
    #[error("cannot use the network")]
    Runtime {
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl HubError {
    /// Whether what was asked for is wrong, rather than the network or the disk.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Endpoint { .. } | Self::NotFound { .. } | Self::Nothing { .. }
        )
    }

    /// Whether the hub did not answer, so that the cache may stand in.
    pub(super) fn is_unreachable(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// Whether trying again may help.
    pub(super) fn is_retryable(&self) -> bool {
        self.is_unreachable() || matches!(self, Self::Truncated { .. })
    }
}

impl Hint for HubError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Offline { .. } => {
                "Run the same command once with the network, without --offline and HF_HUB_OFFLINE."
            }
            Self::NotFound { .. } => {
                "Check owner, name and revision; private and gated repositories cannot be read."
            }
            Self::Network { .. } | Self::Truncated { .. } | Self::Stopped { .. } => {
                "Run the same command again: the download continues where it ended."
            }
            Self::Digest { .. } => {
                "The bytes were thrown away; run the same command again, and distrust a proxy between."
            }
            Self::Busy { .. } => "Wait until the other process has ended.",
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
