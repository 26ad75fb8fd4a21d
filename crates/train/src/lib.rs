//! Training: a manifest, shards or drawn scenes in, a folder that loads as a model of the family out.
//!
//! A [`run`] is a list of stages, each with an objective of the model's family and an optimiser. It is deterministic: made twice it
//! gives the same bytes, and so it does when it is killed anywhere and goes on from its last checkpoint.
//!
//! | module | is |
//! | --- | --- |
//! | [`source`], [`loader`] | the row of samples; batches of them made ahead |
//! | [`regions`], [`objects`], [`teacher`], [`kept`] | what samples of models on regions have besides |
//! | [`objective`] | what a step is to make small, by the crate `models` |
//! | [`adamw`], [`schedule`] | how weights move |
//! | [`assets`], [`start`] | configuration and vocabulary; the weights that a run begins with |
//! | [`checkpoint`], [`settings`], [`log`] | what is written |
//! | [`run`] | all of it together |

pub mod adamw;
pub mod assets;
pub mod captions;
mod check;
pub mod checkpoint;
mod error;
pub mod kept;
pub mod loader;
pub mod log;
pub mod objective;
pub mod objects;
pub mod pattern;
pub mod questions;
pub mod regions;
pub mod reward;
mod roots;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod source;
pub mod start;
pub mod teacher;

pub use error::{Error, Result};
pub use roots::Roots;
pub use run::{Outcome, Record, TrainSpec, train};
