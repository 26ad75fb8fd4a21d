//! Places where objects live.

pub mod local;
