//! Bytes at rest: objects of local folders and of object stores, read at offsets and written whole.
//!
//! A [`Folder`] is where objects are read from and written to by relative name: a local one, or one of S3, Google Cloud
//! Storage, Azure or a web server, which [`Stores`] opens by what a person typed ([`Location`]). Whatever is written
//! appears under its name when it is whole, whenever the process ends: local files are written under a temporary name,
//! flushed to the disk and renamed; uploads in parts are completed by their last request.
//!
//! Requests to stores are asynchronous inside this crate, on two threads of its own, and plain calls outside it.
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
mod folder;
pub mod glob;
pub mod lease;
mod location;
pub mod mmap;
pub mod space;
mod stores;

pub use atomic::{AtomicFile, Durability, remove_stale_temporaries, write_atomic};
pub use backend::Entry;
pub use backend::local::FileAt;
pub use digest::{FileDigest, digest_file};
pub use error::{Error, RemoteProblem, Result};
pub use folder::Folder;
pub use lease::Leases;
pub use location::{Address, AddressProblem, Location, Scheme, is_address};
pub use mmap::Mapped;
pub use space::free_bytes;
pub use stores::{Kind, Stores};
