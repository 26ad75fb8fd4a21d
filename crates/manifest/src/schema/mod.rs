//! What people write: dataset, model and suite manifests, as serde structures.
//!
//! A manifest is a TOML file with `schema = 1` and a name that equals the file's. Fields that a table
//! does not have are refused, and names keep the place they were written at.
//!
//! | manifest | folder | structure |
//! | --- | --- | --- |
//! | dataset | `datasets/` | [`Dataset`] |
//! | model | `models/` | [`Model`] |
//! | suite | `suites/` | [`Suite`] |

mod dataset;
mod model;
mod read;
mod suite;

pub(crate) use dataset::{Annotations, Dataset, WrittenDatasetPublished, WrittenSource};
pub(crate) use model::{Model, WrittenPublished, WrittenTarget};
pub(crate) use read::{Parsed, parse};
pub(crate) use suite::{Decode, Demonstrations, Suite, Task};

/// Version of the manifests' layout.
pub const SCHEMA: u32 = 1;

/// A list whose place and whose items' places are known.
pub(crate) type Names = toml::Spanned<Vec<toml::Spanned<String>>>;
