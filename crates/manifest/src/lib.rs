//! TOML manifests with spans, validated plans and lock files.
//!
//! People write three kinds of manifest: a *dataset* (which shards, which classes), a *model* (which
//! family, which checkpoint) and a *suite* (which models do which tasks on which datasets). They live
//! together in one folder:
//!
//! ```text
//! manifests/datasets/scenes-test.toml
//! manifests/models/clip.toml
//! manifests/suites/quickstart.toml
//! ```
//!
//! A fourth kind, a *training run*, stands by itself: [`load_train`].
//!
//! [`load_suite`] reads a suite with everything it refers to, checks all of it against a [`Catalog`]
//! of registered names, and answers with a [`Plan`] in which every name is found and every default
//! filled in; or with every problem found, each with the line it stands on. A [`Lock`] then holds the
//! digest of each file that a plan reads.
//!
//! ```no_run
//! use sightline_manifest::{Catalog, Overrides, load_suite};
//!
//! let catalog = Catalog::default(); // built from the registries of families, tasks and formats
//! let suite = "manifests/suites/quickstart.toml".as_ref();
//! let plan = load_suite(suite, &catalog, &Overrides::default())?;
//! assert_eq!(plan.suite, "quickstart");
//! # Ok::<(), sightline_manifest::Error>(())
//! ```

mod card;
pub mod catalog;
mod check;
mod comparison;
mod dataset_card;
mod entries;
mod error;
mod export;
mod folder;
mod image_spec;
pub mod lock;
mod nightly;
mod outside;
pub mod plan;
mod rules;
mod schema;
pub mod span;
pub mod train;
mod validate;

pub use card::{Compared, ModelCard, PaperTarget, Published, RunWith, load_card};
pub use catalog::{Catalog, FamilyInfo, FormFile, FormInfo, SHARDS, TaskInfo};
pub use dataset_card::{Access, DatasetCard, DatasetPublished, DatasetSource, load_dataset_card};
pub use entries::{load_dataset, load_model};
pub use error::{Error, Fault, Lack, Misfit, Problem, Where};
pub use export::{Manifest, json_schema};
pub use folder::{Entry, Listing, list, manifests_folder};
pub use image_spec::{SpecFileError, image_spec_toml, read_image_spec};
pub use lock::{
    Difference, Lock, LockedAdapter, LockedFile, LockedInput, LockedProgram, LockedSource,
    LockedTask, LockedWeights,
};
pub use nightly::{Nightly, NightlySuite, load_nightly};
pub use outside::{ENDPOINT, PROCESS, PlannedEndpoint, PlannedOutside, PlannedProcess};
pub use plan::{
    Bootstrap, Place, Plan, PlannedAnnotations, PlannedComparison, PlannedDataset, PlannedDecode,
    PlannedDemonstrations, PlannedModel, PlannedRow, PlannedTask, Roots, Variables,
};
pub use rules::{MAX_BATCH_SIZE, MAX_RESAMPLES};
pub use schema::SCHEMA;
pub use train::{TrainPlan, TrainableFamilies, load_train};
pub use validate::{Overrides, load_suite};
