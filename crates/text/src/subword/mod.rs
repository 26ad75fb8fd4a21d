//! Tokenizers that cut words into pieces of a fixed vocabulary.
//!
//! | type | reads | reference |
//! | --- | --- | --- |
//! | [`bert::BertTokenizer`] | `tokenizer.json`, `vocab.txt` | Hugging Face `BertTokenizerFast` |
//! | [`clip::ClipTokenizer`] | `tokenizer.json`, `vocab.json` + `merges.txt`, `bpe_simple_vocab_16e6.txt.gz` | Hugging Face `CLIPTokenizerFast` |
//! | [`gpt2::Gpt2Tokenizer`] | `tokenizer.json`, `vocab.json` + `merges.txt`, `encoder.json` + `vocab.bpe` | Hugging Face `GPT2TokenizerFast` |
//! | [`sentencepiece::SentencePiece`] | a byte-pair `.model` file | SentencePiece 0.2 |
//! | [`virtex::VirTexTokenizer`] | the same, the only one of a folder | VirTex |
//! | [`word_hash::WordHash`] | nothing | none: ids carry no meaning |
//!
//! Every tokenizer but GPT-2's puts a start and an end token around a text and cuts what is too long for the
//! model's context between the two. Those of models that read pairs of texts are [`PairTokenizer`]s as well; VirTex's
//! keeps no end token behind a text that is cut.

pub mod bert;
pub mod clip;
pub mod encoded;
pub mod gpt2;
pub mod learn;
mod merges;
pub mod pair;
pub mod sentencepiece;
pub mod virtex;
pub mod word_hash;

pub use encoded::{Encoded, Tokenizer};
pub use pair::{Pair, PairBatch, PairTokenizer};
