//! The built-in synthetic scenes: images, captions, questions, boxes, classes.
//!
//! A [`scene::Scene`] is a handful of coloured shapes on a muted background. Everything else follows
//! from it: the pixels, what captions say, what questions ask, the boxes, and the class, which is
//! colour and shape of the one large object. Some classes are held out of training, so that a model
//! can be asked for combinations it has never seen.
//!
//! ```
//! use sightline_core::progress::Silent;
//! use sightline_synth::{ScenesSpec, write_scenes};
//!
//! # let dir = tempfile::tempdir()?;
//! let spec = ScenesSpec { train: 8, val: 4, test: 4, ..ScenesSpec::default() };
//! let summary = write_scenes(&spec, dir.path(), &Silent)?;
//! assert_eq!(summary.splits[0].captions, 40);
//! assert!(dir.path().join("images/train/000007.jpg").exists());
//! assert!(write_scenes(&spec, dir.path(), &Silent)?.unchanged);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod annotations;
pub mod captions;
pub mod draw;
mod error;
mod foils;
pub mod proposals;
pub mod questions;
mod record;
pub mod regions;
pub mod samples;
pub mod scene;
mod spec;
pub mod splits;
mod tables;
mod write;

pub use error::{Damage, Difference, Error};
pub use spec::{JPEG_QUALITY, MAX_SCENES, ScenesSpec};
pub use write::{SplitSummary, Summary, write_scenes};
