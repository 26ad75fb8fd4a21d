//! C and C++ compiled while a test runs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::gpu::skip;

/// Compiles a C source to a shared library in the folder `to`; warnings are errors. The compiler is `CC`, or else `cc`.
///
/// # Panics
/// If there is no compiler, or it does not take the source.
pub fn compiled(source: impl AsRef<Path>, to: &Path, arguments: &[&str]) -> PathBuf {
    let arguments = [&["-x", "c"], arguments].concat();
    compile(&compiler("CC", "cc"), source.as_ref(), to, &arguments)
        .unwrap_or_else(|error| panic!("starting a C compiler: {error}"))
}

/// As [`compiled`], a source of C++17 with the compiler `CXX`, or else `c++`. Where there is none, the test is skipped.
///
/// # Panics
/// If the compiler does not take the source, or there is none and `SIGHTLINE_REQUIRE_CXX` is `1`.
pub fn compiled_cxx(source: impl AsRef<Path>, to: &Path, arguments: &[&str]) -> Option<PathBuf> {
    let arguments = [&["-x", "c++", "-std=c++17"], arguments].concat();
    compile(&compiler("CXX", "c++"), source.as_ref(), to, &arguments)
        .inspect_err(|error| {
            let reason = format!("no C++ compiler starts: {error}");
            skip(&reason, "SIGHTLINE_REQUIRE_CXX");
        })
        .ok()
}

fn compiler(variable: &str, usual: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| usual.to_owned())
}

/// The library; an error if the compiler does not start.
fn compile(compiler: &str, source: &Path, to: &Path, arguments: &[&str]) -> io::Result<PathBuf> {
    let library = to.join(source.with_extension("so").file_name().unwrap_or_default());
    let status = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas"])
        .args(["-shared", "-fPIC"])
        .args(arguments)
        .arg(source)
        .arg("-o")
        .arg(&library)
        .status()?;
    assert!(
        status.success(),
        "`{compiler}` does not take `{}`",
        source.display()
    );
    Ok(library)
}
