//! A page for looking at a dataset in a browser: `sightline shards view`.
//!
//! [`View::serve`] answers on a loopback address only, and only those who name it by a loopback name: a page of a foreign site
//! whose name was made to point here (DNS rebinding) is refused. It answers `GET` and `HEAD`, of a fixed list of paths, never
//! a file by its name; what samples hold is sent as data or as an image, never as a page. Nothing is written.
//!
//! One thread reads all shards once and keeps keys and captions, up to [`MAX_INDEX_BYTES`], so that they can be searched;
//! everything else is read when it is looked at.

mod answer;
mod catalog;
mod index;
mod server;

pub use index::MAX_INDEX_BYTES;
pub use server::{View, bind};
