//! CUDA for preprocessing, without a toolkit: driver, NVRTC and nvJPEG are opened when they are asked for.
//!
//! | module | what it wraps |
//! | --- | --- |
//! | [`layout`] | what the resize kernel is given |
//! | [`kernels`] | the kernel's source, compiled for the card at hand by [`nvrtc`] |
//! | [`Card`] | the driver: a card, its memory, the launch of the kernel |
//! | [`nvjpeg`] | JPEG files to pixels in the card's memory |
//! | [`library`] | where NVIDIA's libraries are looked for |
//!
//! Nothing here knows what an image specification is: the crate `preprocess` turns one into tables and jobs.
#![expect(unsafe_code, reason = "calls into the driver and its libraries")]

mod card;
mod error;
pub mod kernels;
pub mod layout;
pub mod library;
mod marker;
mod memory;
pub mod nvjpeg;
pub mod nvrtc;

pub use card::{Addresses, Card, driver};
pub use cudarc::driver::{CudaContext, CudaStream};
pub use error::Error;
pub use marker::{Marker, upload};
pub use memory::{DeviceBuffer, PinnedBuffer};
