//! Snapshots of model repositories on Hugging Face's hub, in the cache that its own tools use.
//!
//! ```text
//! CACHE/models--OWNER--NAME/blobs/ETAG                  a file's bytes
//! CACHE/models--OWNER--NAME/blobs/ETAG.incomplete       the beginning of one, which the next run continues
//! CACHE/models--OWNER--NAME/snapshots/COMMIT/PATH       a link to a blob
//! CACHE/models--OWNER--NAME/refs/REVISION               the commit that a branch or a tag named last
//! ```
//!
//! [`snapshot`] asks the hub which commit a revision is and which files it has, downloads those that are wanted and are
//! not in the cache, and says the commit. A commit whose files are in the cache is not asked about at all, and without
//! the network ([`HubSpec::offline`]) nothing is. A blob gets its name when it is whole: all its bytes are there, and
//! where the hub says their SHA-256 (for every file in its large storage, which weights are), they have that. A link
//! comes after its blob, a reference after all links.
//!
//! Only http and https are followed. Where the hub sends a download elsewhere, that has to be a public address, unless
//! [`HubSpec::allow_private_addresses`] says otherwise, and never goes from https to http. There is no token: private and
//! gated repositories cannot be read.

mod cache;
mod client;
mod error;

use std::path::PathBuf;
use std::time::Duration;

use sightline_core::{HubName, Progress};

pub use error::{HubError, Result};

use crate::StopFlag;
use cache::Repository;
use client::{Client, Source};

/// Where the hub is.
pub const ENDPOINT: &str = "https://huggingface.co";

/// Where snapshots come from and where they are kept.
#[derive(Clone, Debug)]
pub struct HubSpec {
    /// The hub's address, without a slash at its end.
    pub endpoint: String,
    /// The folder that holds `models--OWNER--NAME`.
    pub cache: PathBuf,
    /// Whether nothing is asked of the network.
    pub offline: bool,
    /// Longest time without a byte.
    pub timeout: Duration,
    /// How often a download that broke off is continued.
    pub retries: u32,
    /// Whether the hub may be, and may send downloads to, an address that is not public.
    pub allow_private_addresses: bool,
}

impl HubSpec {
    /// The public hub with the cache in `cache`: 30 seconds, 3 retries.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: ENDPOINT.to_owned(),
            cache: cache.into(),
            offline: false,
            timeout: Duration::from_secs(30),
            retries: 3,
            allow_private_addresses: false,
        }
    }
}

/// Which files of a repository are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their paths in the repository.
    pub files: Vec<String>,
    /// Whether a model can be loaded from them. Without it there is nothing to download, and a snapshot in the cache is
    /// not enough.
    pub is_enough: bool,
}

/// Says which of the files of a repository, by their paths, are wanted.
pub type Choose<'a> = &'a dyn Fn(&[String]) -> Wanted;

/// A folder with the files of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder.
    pub folder: PathBuf,
    /// The commit.
    pub commit: String,
    /// Bytes that came over the network.
    pub downloaded_bytes: u64,
}

/// The snapshot that `name` means, with the files that `choose` wants. Blocks until it is there; `stop` ends a download,
/// which the next call continues.
pub fn snapshot(
    name: &HubName,
    spec: &HubSpec,
    choose: Choose<'_>,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Snapshot> {
    let repository = Repository::new(&spec.cache, name.repo());
    let cached = repository.cached(name.revision(), choose)?;
    if let Some(cached) = &cached
        && (spec.offline || name.is_commit())
    {
        return Ok(cached.clone());
    }
    if spec.offline {
        return Err(HubError::Offline {
            name: name.clone(),
            folder: repository.folder().to_owned(),
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| HubError::Runtime { source })?;
    let asked = runtime.block_on(async {
        let client = Client::new(spec)?;
        let listing = client.listing(name).await?;
        let mut snapshot = repository.snapshot(&listing.commit);
        let wanted = choose(&listing.files);
        if !wanted.is_enough {
            return Err(HubError::Nothing { name: name.clone() });
        }
        let source = Source {
            name,
            commit: &listing.commit,
            repository: &repository,
            progress,
            stop,
        };
        for file in &wanted.files {
            snapshot.downloaded_bytes += client.file(&source, file).await?;
        }
        if !name.is_commit() {
            repository.refer(name.revision(), &listing.commit)?;
        }
        Ok(snapshot)
    });
    match (asked, cached) {
        // What was current last time is better than nothing, and the commit says what it is.
        (Err(error), Some(cached)) if error.is_unreachable() => {
            tracing::warn!(%name, commit = cached.commit, %error, "the hub cannot be reached, the cache is used");
            Ok(cached)
        }
        (asked, _) => asked,
    }
}
