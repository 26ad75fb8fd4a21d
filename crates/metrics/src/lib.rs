//! Scores with intervals: what is computed from predictions and annotations, never from models.
//!
//! A metric turns each item into additive sums, merges them, and takes the value last
//! ([`metric::Metric`]), so that the corpus value, parts of it and every bootstrap resample share one
//! path. Items come from [`Observations`], which a task fills from a predictions file.
//!
//! ```
//! use sightline_metrics::{registry, Input, Observations, Rank};
//!
//! let mut observations = Observations::default();
//! let scores = [[0.9, 0.1, 0.0], [0.2, 0.8, 0.1]];
//! let ranks = scores.iter().filter_map(|row| Rank::of(row, &[0])).collect();
//! observations.set_ranks(Input::ClassRank, ranks);
//!
//! let accuracy = registry::metric("accuracy@1")?.evaluate(&observations, None)?;
//! assert_eq!(accuracy.value, Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accuracy;
pub mod bootstrap;
pub mod conformance;
pub mod error;
pub mod median_rank;
pub mod metric;
pub mod observations;
pub mod rank;
pub mod recall;
pub mod reciprocal_rank;
pub mod registry;
pub mod similarity;

pub use bootstrap::{Bootstrap, Interval, Method};
pub use error::{Error, Result};
pub use metric::{DynMetric, Metric, MetricInfo, Outcome, Stats};
pub use observations::{Input, Observations};
pub use rank::{Rank, TiePolicy};
pub use registry::METRICS;
