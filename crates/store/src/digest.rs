//! Digest and length of files.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sightline_core::Digest;

use crate::{Error, Result};

/// What identifies the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Length in bytes.
    pub len_bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: Digest,
}

/// The digest of the file `path`, read in bounded pieces.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("a");
/// sightline_store::write_atomic(&path, b"abc")?;
/// let digest = sightline_store::digest_file(&path)?;
/// assert_eq!((digest.len_bytes, digest.sha256.short()), (3, "ba7816bf8f01".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn digest_file(path: impl AsRef<Path>) -> Result<FileDigest> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file("open", path))?;
    let (sha256, len_bytes) = Digest::of_reader(file).map_err(Error::file("read", path))?;
    Ok(FileDigest { len_bytes, sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_buffer_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..200_001u32).map(|i| i as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let digest = digest_file(&path).unwrap();
        assert_eq!(digest.len_bytes, 200_001);
        assert_eq!(digest.sha256, Digest::of(&bytes));
    }

    #[test]
    fn a_missing_file_or_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = digest_file(dir.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert!(digest_file(dir.path()).is_err());
    }
}
