//! Perceptual hashes: 64 bits that are equal, or differ in a few places, when two images look alike.
//!
//! The values are those of the Python package `ImageHash` (4.3) on the same pixels, so that hashes computed here and
//! there can be compared. It is told to hash what `Image.open(file)` gives; the same is [`crate::decode_rgb`] with
//! [`crate::DecodeOptions::pillow`]. Images that are hashed otherwise (upright, over white, at another scale) have hashes of
//! their own, a few bits away.
//!
//! A duplicate is an image whose hash is at most [`ALIKE`] bits from that of an earlier one; [`NearIndex`] finds it among
//! millions. Who removes duplicates goes through the images in the order that says which of two stays, asks
//! [`NearIndex::find`] for each, and enters those that it keeps with [`NearIndex::insert`]: then no two that are kept are
//! alike, and each that is not is like one that is.
//!
//! ```
//! use sightline_imaging::hash::{ALIKE, NearIndex, phash};
//! use sightline_imaging::{Channels, Pixels};
//!
//! let light = Pixels::filled(64, 48, Channels::Rgb, &[200, 200, 200])?;
//! let dark = Pixels::filled(80, 60, Channels::Rgb, &[90, 90, 90])?;
//! let mut kept = NearIndex::new(ALIKE);
//! kept.insert(phash(&light));
//! assert_eq!(kept.find(phash(&dark)).map(|near| near.id), Some(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dct;
mod near;
mod perceptual;

pub use near::{MAX_DISTANCE, Near, NearIndex};
pub use perceptual::{ALIKE, ImageHash, ParseHashError, average_hash, dhash, phash};
