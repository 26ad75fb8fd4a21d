//! Drives the real program, each test in a fresh folder.
#![allow(
    clippy::unwrap_used,
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a test fails by panicking, and names the files it made itself"
)]

mod bad_input;
mod benchmarks;
mod board;
mod browser;
mod datasets;
mod direct;
mod docs;
mod execution;
mod fetch;
mod fetch_ends;
mod fetch_rate;
mod help;
mod hub;
mod kill;
mod models;
mod nightly;
mod objects;
mod outside;
mod preprocess;
mod score;
mod shards;
mod subset;
mod suite;
mod synth;
mod tasks;
mod train;
mod training;
mod util;
mod view;
mod watch;
mod workers;
