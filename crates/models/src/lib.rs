//! Capabilities, model families and their registry.
//!
//! A [`Family`] says what its models can do before any weight is read, which files a checkpoint's digest has to
//! cover, and how to load one. A task asks the loaded [`Model`] for the capability it needs and gets a trait
//! object; nothing else about the model concerns it.
//!
//! ```
//! use candle_core::Device;
//! use sightline_core::Seed;
//! use sightline_models::{Model, ModelSpec, family};
//!
//! let floor = family("random")?;
//! let model = (floor.load)(&ModelSpec::without_checkpoint(Seed(1)), &Device::Cpu)?;
//! let embed = model.embed().expect("the family declares it");
//! assert_eq!(embed.embed_texts(&["a photo of a cat"])?.dims(), [1, embed.width()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bert_config;
pub mod capability;
mod check;
pub mod conformance;
pub mod derive;
pub mod detect;
mod encoder;
pub mod error;
pub mod families;
pub mod family;
mod folder;
pub mod generate;
pub mod language;
pub mod loss;
pub mod objective;
pub mod publication;
mod recognise;
pub mod recorded;
pub mod score;
mod yaml;

pub use bert_config::BertConfig;
/// Where a model's tensors are.
pub use candle_core::Device;
pub use capability::{
    Capability, Choose, Classify, Embed, Features, Ground, Match, Model, Phrases, Question,
    TaggedText, Visual, VisualSpec,
};
pub use derive::{RULES, Rule, Way};
pub use detect::{Detect, FindObjects};
pub use error::{Error, Result};
pub use families::{FAMILIES, family};
pub use family::{CheckpointFile, Family, FileRole, ModelSpec, TokenizerChoice};
pub use generate::{Decoding, Generate, Generated, Prompt, Segment, Strategy};
pub use language::LanguageModel;
pub use objective::Objective;
pub use recognise::recognise;
pub use score::Score;
pub use sightline_nn::{DeviceName, Precision, device};
pub use yaml::YamlError;
