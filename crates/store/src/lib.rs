//! Bytes at rest: local files read at offsets and written atomically.
//!
//! A [`Folder`] is where objects are read from and written to by relative name. Whatever is written
//! goes to a temporary name in the same folder, is flushed to the disk and renamed, so that a file
//! under its final name is always whole, whenever the process ends.
//!
//! ```
//! use std::io::Write;
//! use sightline_core::{ObjectSink, ObjectSource};
//! use sightline_store::Folder;
//!
//! # let dir = tempfile::tempdir()?;
//! let mut folder = Folder::create(dir.path())?;
//! let mut writer = folder.create("shards/00000.tar")?;
//! writer.write_all(b"bytes")?;
//! writer.commit()?;
//! assert_eq!(folder.expand(&["shards/*.tar"])?, ["shards/00000.tar"]);
//! assert_eq!(folder.object("shards/00000.tar")?.len()?, 5);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod atomic;
pub mod backend;
pub mod digest;
mod error;
pub mod glob;
pub mod mmap;

pub use atomic::{AtomicFile, Durability, remove_stale_temporaries, write_atomic};
pub use backend::local::{FileAt, Folder};
pub use digest::{FileDigest, digest_file};
pub use error::{Error, Result};
pub use mmap::Mapped;
