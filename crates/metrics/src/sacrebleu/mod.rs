//! The metrics of sacrebleu 2.6.0 on captions as they were written: [`Bleu`], [`Chrf`], [`Ter`].
//!
//! Four metrics are registered with sacrebleu's default settings: `sacrebleu-bleu`, `sacrebleu-chrf`,
//! `sacrebleu-chrf++` and `sacrebleu-ter`. Other settings are fields of the three structs, which score
//! without the registry; each names its settings in the signature that sacrebleu prints.
//!
//! ```
//! use sightline_metrics::CaptionItem;
//! use sightline_metrics::sacrebleu::{Bleu, References, Tokenizer};
//!
//! let items = [CaptionItem::new("A dog on a bench.", &["A dog sits on a bench."])];
//! let bleu = Bleu { tokenizer: Tokenizer::International, lowercase: true, ..Bleu::default() };
//! assert_eq!(
//!     bleu.signature(References::of(&items)),
//!     "nrefs:1|case:lc|eff:no|tok:intl|smooth:exp|version:2.6.0"
//! );
//! let score = bleu.corpus(&items).ok_or("no items")?;
//! assert_eq!(score.counts.matches, [6, 4, 2, 1]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An item without references, which sacrebleu refuses, has no value and is left out of the corpus.
//! Which characters are punctuation (`intl`) is that of Unicode 16, and lower case that of Rust's standard
//! library; a Python with another version of Unicode can differ in characters that were added since.

mod bleu;
mod chrf;
mod edit_distance;
#[cfg(test)]
mod laws;
mod shifts;
mod signature;
mod ter;
mod tercom;
mod tokenizer;

pub use bleu::{BLEU, Bleu, BleuCounts, BleuMetric, BleuScore, Smoothing};
pub use chrf::{CHRF, CHRF_PLUS_PLUS, Chrf, ChrfCounts, ChrfMetric, OrderCounts};
pub use signature::{References, VERSION};
pub use ter::{TER, Ter, TerCounts, TerMetric};
pub use tokenizer::Tokenizer;
