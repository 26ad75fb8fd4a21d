//! Files as memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::{Error, Result};

/// A file mapped for reading: opened at once, read page by page as its bytes are used.
///
/// The file must not be changed or cut while it is mapped. [`crate::AtomicFile`] never does: it puts a
/// new file under the name, and the mapped one stays until it is let go.
#[derive(Debug)]
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps the file at `path`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |source| Error::File {
            action: "map",
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        #[expect(
            unsafe_code,
            reason = "mapping a file is unsafe where others may change it"
        )]
        // SAFETY: what is mapped are files of this project's own cache, which are only ever replaced as
        // a whole (`AtomicFile`), so that the mapped bytes stay as they are. A person who truncates one
        // by hand while it is read ends the process with SIGBUS, which corrupts nothing.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_keeps_its_bytes_when_another_takes_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        crate::write_atomic(&path, b"first").unwrap();
        let mapped = Mapped::open(&path).unwrap();
        crate::write_atomic(&path, b"2nd").unwrap();
        assert_eq!(mapped.as_ref(), b"first");
        assert_eq!(Mapped::open(&path).unwrap().as_ref(), b"2nd");
        assert!(Mapped::open(dir.path().join("none")).is_err());
    }
}
