//! A lock: the digest and size of every file that a plan reads.

use serde::{Deserialize, Serialize};
use sightline_core::Digest;

/// Version of the lock's layout.
pub const SCHEMA: u32 = 1;

/// What a plan reads, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// Digest of the plan.
    pub plan: Digest,
    /// Every file, sorted by owner and name.
    pub files: Vec<LockedFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedFile {
    /// The dataset or model that reads it: `dataset:scenes-test`, `model:clip-vit-b32`.
    pub owner: String,
    /// Path below the owner's place, with `/` between its parts.
    pub name: String,
    /// What it is: `shard`, `classes`, `weights`, `config`, `tokenizer`, `preprocessor`.
    pub role: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Digest,
}
