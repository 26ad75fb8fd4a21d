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
//! observations.set(Input::ClassRank, ranks);
//!
//! let accuracy = registry::metric("accuracy@1")?.evaluate(&observations, None)?;
//! assert_eq!(accuracy.value, Some(0.5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod accuracy;
pub mod average_precision;
pub mod bert_score;
pub mod bleu;
pub mod bootstrap;
pub mod boxes;
pub mod calibration;
pub mod caption;
pub mod caption_exact;
pub mod chair;
pub mod cider;
pub mod clip_score;
mod clipped;
pub mod comparison;
pub mod conformance;
pub mod detection;
pub mod error;
pub mod exact_match;
pub mod grounding;
pub mod keyed;
mod lcs;
pub mod median_rank;
pub mod meteor;
pub mod metric;
mod ngrams;
pub mod nltk;
pub mod observations;
pub mod pairs;
pub mod perplexity;
pub mod pope;
pub mod rank;
mod ranking;
pub mod recall;
pub mod recall_per_class;
pub mod reciprocal_rank;
pub mod registry;
pub mod resources;
pub mod rouge;
pub mod rouge_score;
pub mod sacrebleu;
pub mod selection;
pub mod similarity;
pub mod spice_tuples;
pub mod vqa;
mod words;
pub mod words_in_place;

pub use bootstrap::{Bootstrap, Interval, Method};
pub use boxes::BoundingBox;
pub use caption::{Caption, CaptionItem};
pub use comparison::Comparison;
pub use error::{Error, Result};
pub use metric::{DynMetric, Metric, MetricInfo, Outcome, Stats};
pub use observations::{Input, Item, Observations};
pub use rank::{Rank, TiePolicy};
pub use registry::METRICS;
pub use resources::Resources;
