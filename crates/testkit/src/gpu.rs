//! Tests that need a device or a program which not every machine has.

use std::env;
use std::fmt::Display;
use std::io::{self, Write as _};

/// The device that was opened; `None`, said aloud, where `is_missing` says of the error that the machine has none.
///
/// # Panics
/// On any other error. Where the environment variable `required` is `1`, on every one: the machine ought to have the
/// device.
pub fn device<D, E: Display>(
    opened: Result<D, E>,
    is_missing: impl FnOnce(&E) -> bool,
    required: &str,
) -> Option<D> {
    let error = match opened {
        Ok(device) => return Some(device),
        Err(error) => error,
    };
    assert!(is_missing(&error), "{error}");
    skip(&error, required);
    None
}

/// Says why a test is skipped.
///
/// # Panics
/// Where the environment variable `required` is `1`.
pub fn skip(reason: &dyn Display, required: &str) {
    let is_required = env::var_os(required).is_some_and(|value| value == "1");
    assert!(!is_required, "{required}=1, but {reason}");
    // Not captured by the test harness, as a macro's output would be: a skip is always seen.
    let _ = writeln!(io::stderr(), "skipped: {reason}");
}
