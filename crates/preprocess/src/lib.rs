//! An image specification and encoded images in, a pixel batch out; [`regions`] of images for models that are fed
//! those.
//!
//! A [`Preprocessor`] does what the processor of a model does to its images, in the same arithmetic:
//! decode to RGB, resize, crop, rescale, normalise. References ignore the EXIF orientation and drop
//! alpha, so this does too. A broken image is an error of its own and never spoils its batch.
//!
//! ```
//! use serde_json::json;
//! use sightline_core::ImageFormat;
//! use sightline_core::image_spec::hugging_face::from_hugging_face;
//! use sightline_imaging::{Channels, EncodeSpec, Limits, Pixels, encode};
//! use sightline_preprocess::Preprocessor;
//!
//! let spec = from_hugging_face(&json!({ "size": 32, "crop_size": 32 }))?;
//! let preprocessor = Preprocessor::new(spec, Limits::default())?;
//! let black = Pixels::filled(48, 40, Channels::Rgb, &[0, 0, 0])?;
//! let png = encode(&black, &EncodeSpec::lossless(ImageFormat::Png))?;
//!
//! let rows = preprocessor.prepare_all(&[&png, b"not an image"]);
//! assert!(rows[1].is_err());
//! let pixels = rows[0].as_ref().unwrap();
//! assert_eq!(pixels.len(), 3 * 32 * 32);
//! assert!((pixels[0] + 0.48145466 / 0.26862954).abs() < 1e-6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod crops;
#[cfg(feature = "cuda-kernels")]
pub mod cuda;
mod decode;
mod element;
mod error;
mod fast;
mod fingerprint;
pub mod image_names;
mod pipeline;
mod plan;
pub mod regions;
mod stream;
mod table;
#[cfg(feature = "webgpu")]
pub mod webgpu;
mod whole;
mod workspace;

pub use crops::Canvas;
pub use decode::Decode;
pub use element::Element;
pub use error::PrepareError;
pub use fast::Mode;
pub use pipeline::Preprocessor;
pub use sightline_imaging::Limits;
pub use table::Table;
pub use workspace::{Timings, Workspace};
