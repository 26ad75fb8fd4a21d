//! Where the program keeps what it made once.

use std::env;
use std::path::PathBuf;

use crate::exit::Failure;

/// `SIGHTLINE_CACHE`, else `sightline` in `XDG_CACHE_HOME` or in `~/.cache`.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let of = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    of("SIGHTLINE_CACHE")
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("sightline")))
        .or_else(|| Some(of("HOME")?.join(".cache/sightline")))
        .ok_or_else(|| {
            Failure::usage(
                "looking for the cache folder",
                "none of SIGHTLINE_CACHE, XDG_CACHE_HOME and HOME is set",
            )
        })
}
