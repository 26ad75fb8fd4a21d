//! CUDA for preprocessing, without a toolkit: driver, NVRTC and nvJPEG are opened when they are asked for.
//!
//! | module | what it wraps |
//! | --- | --- |
//! | [`layout`] | what the resize kernel is given |
//! | [`kernels`] | the kernel's source, compiled for the card at hand by [`nvrtc`] |
//! | [`library`] | where NVIDIA's libraries are looked for |
//!
//! Nothing here knows what an image specification is: the crate `preprocess` turns one into tables and jobs.
#![expect(unsafe_code, reason = "calls into the driver and its libraries")]

mod error;
pub mod kernels;
pub mod layout;
pub mod library;
pub mod nvjpeg;
pub mod nvrtc;

pub use error::Error;
