//! Preprocessing with a GPU: files are decoded on CPU threads, everything after that is done on the device.
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//!
//! use sightline_core::image_spec::hugging_face::from_hugging_face;
//! use sightline_preprocess::gpu::{Device, OnGpu, Options};
//! use sightline_preprocess::{Limits, Preprocessor};
//!
//! let spec = from_hugging_face(&serde_json::json!({}))?;
//! let preprocessor = Preprocessor::new(spec, Limits::default())?;
//! let device = Device::open(0, Options::default())?;
//! let mut on_gpu = OnGpu::new(preprocessor, device);
//! let files = [std::fs::read("cat.jpg")?];
//! on_gpu.prepare_stream(&files, NonZeroUsize::MIN, |values: Result<&[f32], _>| {
//!     println!("{} values", values.map_or(0, <[f32]>::len));
//! })?;
//! println!("{} on {}", on_gpu.counts().on_gpu, on_gpu.adapter());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod webgpu;

pub use sightline_webgpu::{Adapter, Device, Error, JobError, Options, Statistics, adapters};
pub use webgpu::{Counts, OnGpu};
