//! For tests only: golden files from reference programs, and an HTTP server with faults.

pub mod cache;
pub mod golden;
pub mod http;
