//! Turns captions into tokens: byte-pair and `WordPiece` tokenizers, and the words and stems that metrics compare.
//!
//! A model with a text side reads ids, not letters. [`subword`] holds the tokenizers that turn one
//! into the other exactly as the published programs do, behind one trait, [`Tokenizer`].
//!
//! A metric compares words, and each published one first brings texts into a form of its own:
//! [`meteor`] normalises lines for METEOR, [`snowball`] and [`porter`] find the stems that METEOR and
//! rouge-score compare, [`answer`] and [`okvqa`] normalise short answers.
//!
//! ```
//! use sightline_text::{Tokenizer, WordHash};
//!
//! let tokenizer = WordHash::new(1000, 998, 999)?;
//! let encoded = tokenizer.encode("A photo of a cat.", 8)?;
//! assert_eq!((encoded.ids[0], encoded.ids[6], encoded.len), (998, 999, 7));
//! assert_eq!(encoded.padded(8, 0).ids[7], 0);
//! # Ok::<(), sightline_text::Error>(())
//! ```

pub mod answer;
mod answer_data;
pub mod error;
pub mod meteor;
pub mod okvqa;
pub mod porter;
pub mod ptb;
pub mod snowball;
pub mod subword;

pub use error::{Error, Result};
pub use subword::bert::BertTokenizer;
pub use subword::clip::ClipTokenizer;
pub use subword::gpt2::Gpt2Tokenizer;
pub use subword::sentencepiece::SentencePiece;
pub use subword::virtex::{VirTexTokenizer, normalise_caption};
pub use subword::word_hash::WordHash;
pub use subword::{Encoded, Pair, PairBatch, PairTokenizer, Tokenizer};
