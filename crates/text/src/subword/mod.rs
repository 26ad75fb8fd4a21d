//! Tokenizers that cut words into pieces of a fixed vocabulary.
//!
//! | type | reads | reference |
//! | --- | --- | --- |
//! | [`clip::ClipTokenizer`] | `tokenizer.json`, `vocab.json` + `merges.txt`, `bpe_simple_vocab_16e6.txt.gz` | Hugging Face `CLIPTokenizerFast` |
//! | [`word_hash::WordHash`] | nothing | none: ids carry no meaning |
//!
//! Every tokenizer puts a start and an end token around a text and cuts what is too long for the
//! model's context between the two.

pub mod clip;
pub mod encoded;
mod merges;
pub mod word_hash;

pub use encoded::{Encoded, Tokenizer};
