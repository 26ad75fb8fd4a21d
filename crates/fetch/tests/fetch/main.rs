//! Whole runs against a local server: layout, formats, faults, resumption.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod dedup;
mod faults;
mod filter;
mod hub;
mod join;
mod layout;
mod order;
mod resume;
mod stores;
mod table;
mod util;
