//! Where the program keeps what it made once.

use std::env;
use std::path::PathBuf;

/// The folder that `sightline` uses: `SIGHTLINE_CACHE`, else `sightline` in `XDG_CACHE_HOME` or in
/// `~/.cache`. `None` where none of them is set.
pub fn folder() -> Option<PathBuf> {
    let of = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    of("SIGHTLINE_CACHE")
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("sightline")))
        .or_else(|| Some(of("HOME")?.join(".cache/sightline")))
}
