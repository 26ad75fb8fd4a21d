//! For tests only: golden files from reference programs, an HTTP server with faults, and a hub of models.

pub mod cache;
pub mod golden;
pub mod http;
pub mod hub;
