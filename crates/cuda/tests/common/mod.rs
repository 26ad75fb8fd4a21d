//! C compiled for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a file of this crate's folder to a shared library in `to`.
pub(crate) fn compiled(source: &str, to: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let library = to.join("compiled.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"])
        .args(["-shared", "-fPIC", "-x", "c"])
        .arg(&source)
        .arg("-o")
        .arg(&library)
        .status()
        .unwrap_or_else(|error| panic!("starting `{compiler}`: {error}"));
    assert!(status.success(), "{} is no C", source.display());
    library
}
