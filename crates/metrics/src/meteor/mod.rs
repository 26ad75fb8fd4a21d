//! METEOR 1.5 for English captions, as the COCO caption tools compute it, without Java.
//!
//! A candidate is aligned with each reference: the same word, the same stem, a synonym or a paraphrase.
//! What is matched gives precision and recall, how scattered it is a penalty; the best reference counts
//! (Denkowski and Lavie 2014, "Meteor Universal"; METEOR 1.5, `-l en -norm`, as patched in
//! pycocoevalcap 1.2). The value of a corpus comes from summed statistics and is not the mean of its
//! captions' values.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `tables` | synonyms, paraphrases, function words and prefixes as one mapped file |
//! | `compile` | that file from the published data |
//! | `word` | words looked up |
//! | `matches` | what an alignment is made of |
//! | `find` | what could be aligned |
//! | `align` | what is aligned |
//! | `stats` | sums and score |
//! | `metric` | `meteor` and `meteor-lite` |
//! | `explain` | an alignment for people |

mod align;
mod compile;
mod error;
mod explain;
mod find;
mod matches;
mod metric;
mod stats;
mod tables;
mod word;

pub use compile::{file_name, from_wheel, published_digest};
pub use error::DataError;
pub use explain::{Alignment, align_words, alignment};
pub use matches::{Match, Module};
pub use metric::{LITE, MAX_WORDS, METEOR, Meteor};
pub use stats::{Matched, Side, Sums};
pub use tables::Tables;
pub use word::Lexicon;
