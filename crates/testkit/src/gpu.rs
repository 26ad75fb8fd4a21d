//! Tests that need a device which not every machine has.

use std::env;
use std::fmt::Display;
use std::io::{self, Write as _};

/// Says why a test is skipped.
///
/// # Panics
/// Where the environment variable `required` is `1`: the machine ought to have the device.
pub fn skip(required: &str, reason: &dyn Display) {
    assert!(
        env::var_os(required).is_none_or(|value| value != "1"),
        "{required}=1, but {reason}"
    );
    // Not captured by the test harness, as a macro's output would be: a skip is always seen.
    let _ = writeln!(io::stderr(), "skipped: {reason}");
}
