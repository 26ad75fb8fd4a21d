//! What can go wrong between a text and its ids.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;

use crate::subword::sentencepiece::SentencePieceError;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a tokenizer could not be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file, or what it unpacks to, is larger than any real one.
    #[error("`{}` holds more than {limit_bytes} bytes, the limit for a tokenizer file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// A folder has none of the files a tokenizer is read from.
    #[error("`{}` has {wanted}", folder.display())]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// What it lacks, as "neither … nor …".
        wanted: &'static str,
    },
    /// A file that should be JSON is not, or not of the expected form.
    #[error("`{}` is not a vocabulary", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A line of a merge file does not hold two symbols.
    #[error("`{}`: line {line} does not hold two symbols", path.display())]
    Merge {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A vocabulary lacks a token that every sequence needs.
    #[error("`{}` has no `{token}`", path.display())]
    MissingToken {
        /// The file.
        path: PathBuf,
        /// The token.
        token: &'static str,
    },
    /// The tokenizer library refused the definition.
    #[error("`{}` does not define a tokenizer: {message}", path.display())]
    Definition {
        /// The file.
        path: PathBuf,
        /// The library's words.
        message: String,
    },
    /// The tokenizer does not put exactly one token before and one after a text.
    #[error("`{}` puts {found:?} around an empty text, a start and an end token are needed", path.display())]
    Specials {
        /// The file.
        path: PathBuf,
        /// The ids of an empty text.
        found: Vec<u32>,
    },
    /// A file is no SentencePiece model that can be followed.
    #[error("`{}` is not a SentencePiece model that can be read", path.display())]
    SentencePiece {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SentencePieceError,
    },
    /// A folder has no SentencePiece file, or several.
    #[error("`{}` has not exactly one SentencePiece file (`*.model`)", folder.display())]
    NoSentencePiece {
        /// The folder.
        folder: PathBuf,
    },
    /// An id that the vocabulary does not have.
    #[error("id {id} is outside the vocabulary of {vocabulary_size}")]
    UnknownId {
        /// The id.
        id: u32,
        /// Number of ids.
        vocabulary_size: usize,
    },
    /// The tokenizer library failed on a text.
    #[error("cannot tokenize a text of {len_bytes} bytes: {message}")]
    Encode {
        /// Length of the text.
        len_bytes: usize,
        /// The library's words.
        message: String,
    },
    /// A context that has no room for the start and the end token.
    #[error("context of {context_length} tokens, the least is 2 (start and end)")]
    Context {
        /// What was asked for.
        context_length: usize,
    },
    /// A context that has no room for the marks around one text or two.
    #[error(
        "context of {context_length} tokens, the least is {least} (start, and an end for each text)"
    )]
    PairContext {
        /// What was asked for.
        context_length: usize,
        /// Number of marks.
        least: usize,
    },
    /// The tokenizer library failed on ids.
    #[error("cannot turn {ids} ids into a text: {message}")]
    Decode {
        /// Number of ids.
        ids: usize,
        /// The library's words.
        message: String,
    },
    /// A word-hash vocabulary without room for words beside its start and end ids.
    #[error(
        "word-hash vocabulary of {vocabulary_size} ids with start {start} and end {end}: \
         both must be different ids of it, and one more is needed for words"
    )]
    WordHash {
        /// Number of ids.
        vocabulary_size: usize,
        /// Start id.
        start: u32,
        /// End id.
        end: u32,
    },
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoTokenizer { .. } => vec![
                "Copy the tokenizer files of the published checkpoint into the folder, or choose \
                 the tokenizer `word-hash` for a checkpoint that has no vocabulary, such as random \
                 weights."
                    .to_owned(),
            ],
            Self::NoSentencePiece { .. } => vec![
                "Copy the published vocabulary, `coco_10k.model` for VirTex, into the folder."
                    .to_owned(),
            ],
            Self::TooLarge { .. }
            | Self::SentencePiece { .. }
            | Self::Vocabulary { .. }
            | Self::Merge { .. }
            | Self::Definition { .. } => {
                vec!["The file may be cut off or of another kind: fetch it again.".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
