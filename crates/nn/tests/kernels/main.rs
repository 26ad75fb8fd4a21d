//! The kernels for GPUs of NVIDIA's compiled as C++ for this machine, against the same formulas in `f64`: what a GPU
//! would compute, on machines that have none. `host/host.h` says how their threads run.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "calls what was compiled")]

mod attention;
mod element;
mod fused;
mod library;
mod mask;
#[expect(clippy::float_cmp, reason = "what is moved keeps its bits")]
mod step;
