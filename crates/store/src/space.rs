//! How much room a disk has.

use std::path::Path;

/// Bytes that may still be written to the file system of `path`, or of the nearest folder above it that exists. `None` where the system does not
/// say.
pub fn free_bytes(path: impl AsRef<Path>) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    free_at(there)
}

#[cfg(unix)]
fn free_at(path: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(path).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

#[cfg(not(unix))]
fn free_at(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_has_the_room_of_its_disk() {
        let dir = tempfile::tempdir().unwrap();
        let free = free_bytes(dir.path().join("a/b/c"));
        assert_eq!(free.is_some(), cfg!(unix));
        assert!(free.is_none_or(|free| free > 0));
    }
}
