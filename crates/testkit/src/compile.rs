//! C compiled while a test runs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a C source to a shared library in the folder `to`; warnings are errors. The compiler is `CC`, or else `cc`.
///
/// # Panics
/// If there is no compiler, or it does not take the source.
pub fn compiled(source: impl AsRef<Path>, to: &Path, arguments: &[&str]) -> PathBuf {
    let source = source.as_ref();
    let library = to.join(source.with_extension("so").file_name().unwrap_or_default());
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"])
        .args(["-shared", "-fPIC", "-x", "c"])
        .arg(source)
        .args(arguments)
        .arg("-o")
        .arg(&library)
        .status()
        .unwrap_or_else(|error| panic!("starting `{compiler}`: {error}"));
    assert!(status.success(), "`{}` is no C", source.display());
    library
}
