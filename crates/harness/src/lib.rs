//! Tasks, execution, scoring and recording: from a plan and its lock to records.
//!
//! A [`run`] streams each dataset's shards through a model into a predictions file, computes scores
//! from that file and the dataset's annotations alone, and writes an immutable record. Predictions
//! are appended sample by sample in the order of the dataset, so that a run can be stopped or killed
//! anywhere and the same command continues it.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use sightline_core::progress::Silent;
//! use sightline_harness::{Options, catalog, make_lock, run};
//! use sightline_manifest::{Overrides, Roots, load_suite};
//!
//! let suite = "manifests/suites/quickstart.toml".as_ref();
//! let plan = load_suite(suite, &catalog(), &Overrides::default())?;
//! let roots = Roots { data: "data".into(), manifests: "manifests".into(), ..Roots::default() };
//! let lock = make_lock(&plan, &roots, &Silent)?;
//! let outcome = run(&plan, &lock, &roots, &Options::new("records"), &Silent, &AtomicBool::new(false))?;
//! for model in &outcome.models {
//!     println!("{}: {:?}", model.model, model.state);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod annotations;
mod batches;
mod beside;
pub mod bundle;
mod cache;
pub mod captions;
mod catalog;
mod compare;
mod context;
mod dataset;
mod demonstrations;
pub mod direct;
mod environment;
mod error;
mod evidence;
mod example;
mod execute;
mod forward;
mod halves;
mod locking;
mod measure;
mod models;
mod outcome;
mod outlook;
mod outside;
mod parts;
pub mod perf;
mod pixels;
mod predict;
pub mod predictions;
pub mod prepare;
pub mod probe;
mod recording;
mod score;
mod self_check;
mod task;
mod training;
mod verify;
mod visuals;

pub use annotations::{AnnotationProblem, Spot};
pub use catalog::catalog;
pub use compare::{Comparing, Flip, MetricComparison, TaskComparison};
pub use environment::now;
pub use error::{Error, Result};
pub use evidence::{Looking, Thumbnailer, sentence};
pub use example::{Categories, Choice, Class, Content, Example, Phrase, Tagged, Truth, read_truth};
pub use execute::{Options, run};
pub use locking::make_lock;
pub use models::{offers, precision};
pub use outcome::{Incomplete, ModelOutcome, PredictedPart, RunOutcome, State};
pub use outlook::{Inputs, Outlook, Work, outlook};
pub use parts::Part;
pub use pixels::{CardError, CardOptions, Pixels};
pub use recording::recorded;
pub use score::{Scored, score};
pub use verify::{Agreement, VerifiedTask, check_protocols, verify};
