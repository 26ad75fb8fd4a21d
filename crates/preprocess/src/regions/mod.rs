//! Region features: what a detector found in images, as `VisualBERT` and `VisualGPT` are fed.
//!
//! Such features are computed once and published in files. A [`Form`] knows one kind of file and opens it as a
//! [`Source`]: ids are listed once, then the [`Regions`] of any image can be read, from any thread. [`batch`] pads
//! regions to tensors; [`export`] does so for whole files, which need not fit into memory.
//!
//! | form | written by | an image is |
//! | --- | --- | --- |
//! | `hdf5` | `VisualGPT`, M² transformer | datasets `ID_features`, `ID_boxes`, `ID_cls_prob` |
//! | `lmdb` | MMF | a key with a pickled dictionary |
//! | `npy` | MMF, Pythia | `ID.npy`, beside it `ID_info.npy` or not |
//! | `npz` | bottom-up-attention in PyTorch, MCAN | `ID.npz` |
//! | `safetensors` | Sightline | tensors `features.ID`, `boxes.ID` |
//! | `tsv` | bottom-up-attention, LXMERT | a line |
//!
//! Files are foreign: whatever their bytes are, reading ends with regions or an error. Sizes are compared with
//! [`RegionLimits`] before memory is taken, and no pickle ever calls anything.
//!
//! ```
//! use candle_core::Device;
//! use sightline_preprocess::regions::{BatchSpec, RegionLimits, batch, open};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("regions.tsv");
//! // One region of image 17: box (10, 20, 30, 40), feature (1, 2).
//! std::fs::write(&path, "17\t64\t48\t1\tAAAgQQAAoEEAAPBBAAAgQg==\tAACAPwAAAEA=\n")?;
//!
//! let source = open(&[&path], None, &RegionLimits::default())?;
//! let regions = source.find("17")?;
//! assert_eq!(regions.parts().boxes, Some(vec![[10.0, 20.0, 30.0, 40.0]]));
//!
//! let spec = BatchSpec { regions: 3, ..BatchSpec::default() };
//! let batch = batch(&[regions], &spec, &Device::Cpu)?;
//! assert_eq!(batch.visual_embeds.dims(), [1, 3, 2]);
//! assert_eq!(batch.visual_attention_mask.to_vec2::<f32>()?, [[1.0, 0.0, 0.0]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod array;
mod batch;
mod error;
mod export;
mod fields;
mod hdf5;
mod ids;
mod lmdb;
mod named_files;
mod npy;
mod npz;
mod pickle;
mod record;
mod safetensors;
mod source;
mod tsv;

pub use batch::{BatchSpec, BoxForm, Order, RegionBatch, batch, stack};
pub use error::{Place, Problem, RegionsError};
pub use export::{Exported, export};
pub use ids::Ids;
pub use record::{RegionLimits, RegionParts, Regions};
pub use source::{Candidate, Form, Source, open};

/// Every form, sorted.
pub static FORMS: &[&dyn Form] = &[
    &hdf5::Hdf5,
    &lmdb::Lmdb,
    &npy::Npy,
    &npz::Npz,
    &safetensors::Safetensors,
    &tsv::Tsv,
];
