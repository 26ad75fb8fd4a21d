//! Calls of libraries that panic on some damaged input.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` gives, or the words of its panic.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let words = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        words.unwrap_or("it gave up").to_owned()
    })
}
