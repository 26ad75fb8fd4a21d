//! What people write: dataset, model, suite and training manifests, as serde structures.
//!
//! A manifest is a TOML file with `schema = 1` and a name that equals the file's. Fields that a table
//! does not have are refused, and names keep the place they were written at.
//!
//! | manifest | folder | structure |
//! | --- | --- | --- |
//! | dataset | `datasets/` | [`Dataset`] |
//! | model | `models/` | [`Model`] |
//! | suite | `suites/` | [`Suite`] |
//! | training run | `train/` | [`Train`] |

mod dataset;
mod model;
mod read;
mod suite;
mod train;

pub(crate) use dataset::{Annotations, Dataset, WrittenDatasetPublished, WrittenSource};
pub(crate) use model::{Model, WrittenCompared, WrittenPublished, WrittenTarget};
pub(crate) use read::{Parsed, parse};
pub(crate) use suite::{Comparison, ComparisonRow, Decode, Demonstrations, Suite, Task};
pub(crate) use train::{
    Train, WrittenData, WrittenGroup, WrittenOptimiser, WrittenScenes, WrittenStage,
    WrittenTrainModel,
};

/// Version of the manifests' layout.
pub const SCHEMA: u32 = 1;

/// A list whose place and whose items' places are known.
pub(crate) type Names = toml::Spanned<Vec<toml::Spanned<String>>>;
