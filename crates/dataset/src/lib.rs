//! Tools over whole datasets: of shards, and of what models make of them.
//!
//! ```
//! use sightline_core::io::Memory;
//! use sightline_core::progress::Silent;
//! use sightline_core::{ObjectSource, ShardId};
//! use sightline_dataset::info;
//! use sightline_shard::{ShardFormat, conformance, webdataset::WebDataset};
//!
//! let mut shards = Memory::default();
//! let mut writer = WebDataset.create(&mut shards, ShardId(0))?;
//! for sample in conformance::samples() {
//!     writer.write(&sample)?;
//! }
//! writer.finish()?;
//!
//! let info = info(&WebDataset, &shards, &shards.names(), &Silent);
//! assert_eq!(info.total.samples, 14);
//! assert_eq!(info.damaged, 0);
//! # Ok::<(), sightline_shard::Error>(())
//! ```

pub mod embeddings;
pub mod info;

pub use info::{Info, ShardInfo, info};
