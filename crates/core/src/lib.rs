//! Words everyone shares: sample, key, digest, image spec, seeds, hints, progress.
//!
//! Every other crate speaks in these types, and this one depends on none of them. Nothing here knows
//! tensors, networks, manifests or files: bytes come in through [`io::ReadAt`], go out through
//! [`io::ObjectSink`], and a person is told about both through [`progress::Progress`].
//!
//! ```
//! use sightline_core::{Digest, SampleKey};
//!
//! let key = SampleKey::new("000000017")?;
//! assert_eq!(key.as_str(), "000000017");
//! assert!(SampleKey::new("../escape").is_err());
//! assert!(Digest::of(b"").to_string().starts_with("e3b0c442"));
//! # Ok::<(), sightline_core::key::KeyError>(())
//! ```

pub mod decoded;
pub mod deviation;
pub mod digest;
pub mod hint;
pub mod hub;
pub mod image_spec;
pub mod io;
pub mod key;
pub mod progress;
pub mod python;
pub mod registry;
pub mod sample;
pub mod seed;
pub mod statistics;
pub mod text;
pub mod theme;

pub use decoded::Decoded;
pub use deviation::PixelDeviation;
pub use digest::Digest;
pub use hint::Hint;
pub use hub::HubName;
pub use image_spec::ImageSpec;
pub use io::{ObjectSink, ObjectSource, ObjectWriter, ReadAt};
pub use key::{SampleKey, ShardId};
pub use progress::Progress;
pub use sample::{EncodedImage, ImageFormat, Metadata, Sample};
pub use seed::Seed;
