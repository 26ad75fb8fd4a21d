//! Tools over whole datasets: of shards, and of what models make of them.
//!
//! ```
//! use sightline_core::io::Memory;
//! use sightline_core::progress::Silent;
//! use sightline_core::{ObjectSource, ShardId};
//! use sightline_dataset::{NamedShard, info};
//! use sightline_shard::{ShardFormat, conformance, webdataset::WebDataset};
//!
//! let mut shards = Memory::default();
//! let mut writer = WebDataset.create(&mut shards, ShardId(0))?;
//! for sample in conformance::samples() {
//!     writer.write(&sample)?;
//! }
//! writer.finish()?;
//!
//! let names: [NamedShard; 1] = [("00000.tar".to_owned(), &WebDataset)];
//! let info = info(&shards, &names, &Silent);
//! assert_eq!(info.total.samples, 14);
//! assert_eq!(info.damaged, 0);
//! # Ok::<(), sightline_shard::Error>(())
//! ```

pub mod cache;
pub mod convert;
pub mod count;
mod cut;
pub mod dedup;
pub mod embeddings;
mod error;
pub mod export;
pub mod expression;
pub mod filter;
pub mod index;
pub mod info;
mod passed_over;
pub mod reader;
pub mod repair;
pub mod reshard;
pub mod scores;
pub mod select;
mod shuffle;
pub mod split;
mod spool;
pub mod staging;
pub mod subset;
pub mod verify;
pub mod view;

pub use cache::Cache;
pub use convert::{ConvertSpec, Converted, NamedShard, convert};
pub use count::count;
pub use dedup::{DedupSpec, Deduplicated, dedup};
pub use error::{Error, Result};
pub use export::{ExportSpec, Exported, export};
pub use filter::{FilterSpec, Filtered, filter};
pub use index::{INDEXES, Index, IndexSpec};
pub use info::{Info, ShardInfo, info};
pub use passed_over::PassedOver;
pub use reader::{ReadSpec, Reader};
pub use repair::{Repaired, repair};
pub use reshard::{Cut, Plan, ReshardSpec, Resharded, reshard};
pub use select::{All, Select};
pub use split::{Split, SplitSpec, split};
pub use staging::Target;
pub use subset::Output;
pub use verify::{Verified, VerifySpec, verify};
