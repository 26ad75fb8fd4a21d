//! URL table to polite download to filter to shards, resumable.
//!
//! [`fetch`] reads a table of image URLs ([`InputFormat`]), downloads each image within limits of time and
//! size ([`policy`]), decodes, filters, resizes and encodes it, and writes shards in table order with a
//! status table that has every row ([`status`]), in the layout of img2dataset. It may be stopped or killed
//! at any moment; the same request then makes what is missing, and ends with the same bytes as a run
//! that nobody disturbed.
//!
//! [`hub`] keeps snapshots of model repositories, the other thing that comes over the network.
//!
//! ```no_run
//! use sightline_core::progress::Silent;
//! use sightline_fetch::{FetchSpec, StopFlag, fetch};
//!
//! let mut spec = FetchSpec::new("urls.parquet", "shards");
//! spec.caption_col = Some("caption".to_owned());
//! spec.image.image_size = 384;
//! let summary = fetch(&spec, &Silent, &StopFlag::new())?;
//! assert_eq!(
//!     summary.rows,
//!     summary.successes + summary.failed_to_download + summary.failed_to_resize
//! );
//! # Ok::<(), sightline_fetch::Error>(())
//! ```

mod breaker;
mod client;
mod concurrency;
mod dedup;
mod error;
mod filter;
pub mod hub;
mod join;
mod language;
mod layout;
mod lease;
mod limiter;
mod names;
mod network;
mod pace;
mod pipeline;
mod plan;
pub mod policy;
mod process;
mod resume;
mod robots;
mod spec;
mod stats;
pub mod status;
mod status_columns;
mod status_table;
mod survey;
mod table;
mod window;
mod work;
mod writer;

pub use dedup::{DedupSpec, DuplicateAcross, Likeness};
pub use error::{Error, Result};
pub use filter::RowFilterSpec;
pub use join::{JoinKey, JoinSpec};
pub use language::Language;
pub use network::NetworkSpec;
pub use pipeline::{StopFlag, fetch};
pub use plan::{FetchPlan, PLAN_FILE, PlannedFile, PlannedShard};
pub use resume::shard_names;
pub use spec::{FetchSpec, HashCheck, HashKind, IccMode, IncrementalMode, Reencode};
pub use stats::{FetchSummary, JoinSummary};
pub use status::FetchStatus;
pub use survey::{Survey, survey};
pub use table::{InputFormat, Part, PartProblem, TABLE_THREADS, TableProblem};
pub use work::{
    DUPLICATES_FILE, DatasetIndex, FetchState, INDEX_FILE, IndexedShard, Share, finish, state, work,
};
