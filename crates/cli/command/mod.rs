//! One module per command: its arguments, its calls into the libraries, what it prints.

pub(crate) mod board;
pub(crate) mod exits;
pub(crate) mod fetch;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod preprocess;
pub(crate) mod run;
pub(crate) mod score;
pub(crate) mod shards;
pub(crate) mod suite;
pub(crate) mod synth;
pub(crate) mod target;
