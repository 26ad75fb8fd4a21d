//! Resize, crop and values of image batches on any GPU that Vulkan, Metal or DX12 can use, in the CPU's integer
//! arithmetic.
//!
//! A [`Device`] takes decoded images of any sizes and, for each, two [`Taps`]: which pixels each target pixel along an
//! axis is the sum of. It sums bytes in 32-bit integers that wrap and rounds after each axis, in the order the job asks
//! for; then looks up what each byte stands for in a [`Table`] of bit patterns. So the tensors are those of a CPU that
//! does the same, bit for bit, in `f32`, `f16` or `bf16`, whatever the GPU thinks of floats.
//!
//! All images of a batch are in one submission. One that a driver's limits or memory do not allow is split; an image
//! that is too large alone is an error of its own.
//!
//! ```no_run
//! use sightline_core::image_spec::{Layout, Size};
//! use sightline_webgpu::{Channels, Device, Job, Options, Table, Taps, Tensors};
//!
//! let mut device = Device::open(0, Options::default())?;
//! println!("{}", device.adapter());
//! // Two pixels become one, the mean of both.
//! let across = Taps { spans: vec![(0, 2)], stride: 2, weights: vec![1, 1], bits: 1 };
//! let down = Taps { spans: vec![(0, 1)], stride: 1, weights: vec![2], bits: 1 };
//! let pixels = [10, 20, 30, 20, 40, 60];
//! let job = Job {
//!     pixels: &pixels,
//!     channels: Channels::Rgb,
//!     size: Size { width: 2, height: 1 },
//!     across: &across,
//!     down: &down,
//!     vertical_first: false,
//!     place: (0, 0),
//! };
//! let levels = Table::Bits32(Box::new([std::array::from_fn(|v| (v as f32).to_bits()); 3]));
//! let tensors = Tensors {
//!     size: Size { width: 1, height: 1 },
//!     layout: Layout::Nchw,
//!     fill: [0; 3],
//!     table: &levels,
//! };
//! device.run(&tensors, &[job], |_, tensor| {
//!     let bytes: Vec<u8> = [15.0f32, 30.0, 45.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
//!     assert_eq!(tensor.unwrap(), bytes);
//! })?;
//! # Ok::<(), sightline_webgpu::Error>(())
//! ```

mod adapter;
mod block_on;
mod buffers;
mod device;
mod error;
mod job;
mod pack;

pub use adapter::{Adapter, adapters};
pub use device::{Device, Options, Statistics};
pub use error::{Error, JobError};
pub use job::{Channels, Job, Table, Taps, Tensors};
