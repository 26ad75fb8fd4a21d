//! The same values from a card: JPEG files are decoded by its engines, its multiprocessors and the host's threads, which
//! all take from one queue; resize, crop and values are one kernel over a batch.
//!
//! Of the same RGB pixels the kernel makes the same values as the CPU's exact mode, bit for bit. Pixels of files that
//! the card decodes differ from libjpeg-turbo's by some levels where chroma is enlarged; with [`Decode::Host`] all are
//! decoded here, and the values are those of the CPU.

#![expect(
    unsafe_code,
    reason = "names memory of a card, which only the driver knows"
)]

mod pipeline;
mod queue;
mod sizes;
#[cfg(feature = "cuda")]
mod tensor;
mod worker;

pub use pipeline::{Batch, Cuda, CudaOptions, GpuError, Report};
pub use queue::Queue;
pub use sightline_cuda::library::Places;

pub use crate::Decode;
