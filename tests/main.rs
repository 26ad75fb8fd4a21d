//! Drives the real program, each test in a fresh folder.

mod bad_input;
mod fetch;
mod help;
mod kill;
mod suite;
mod synth;
mod util;
