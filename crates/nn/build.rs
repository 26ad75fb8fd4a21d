//! With the feature `cuda`: compiles the kernels for GPUs to PTX.

use std::path::PathBuf;
use std::process::Command;

const SOURCES: [&str; 3] = ["attention", "fused", "step"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/kernel/cuda");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo::rerun-if-env-changed=CUDA_COMPUTE_CAP");
    // The driver compiles it for the card that is there, which may be newer.
    let oldest = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it"));
    for name in SOURCES {
        let source = format!("src/kernel/cuda/{name}.cu");
        let status = Command::new("nvcc")
            .arg("--ptx")
            .arg(format!("-arch=compute_{oldest}"))
            .args(["-std=c++17", "-O3", "-o"])
            .arg(out.join(name).with_extension("ptx"))
            .arg(&source)
            .status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("nvcc ended with {status} on {source}"),
            Err(error) => panic!("nvcc cannot be started ({error}): see `just cuda-toolchain`"),
        }
    }
}
