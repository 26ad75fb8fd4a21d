//! For tests only: golden files from reference programs, an HTTP server with faults, one that chats, a hub of models, and devices that
//! are missing.

pub mod cache;
pub mod chat;
mod compile;
pub mod golden;
pub mod gpu;
pub mod http;
pub mod hub;

pub use compile::{compiled, compiled_cxx};
