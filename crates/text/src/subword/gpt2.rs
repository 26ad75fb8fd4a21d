//! GPT-2's byte-level byte-pair encoding (Radford et al. 2019), which OPT, GPT-J and GPT-NeoX use with their own files.
//!
//! A regular expression takes contractions, runs of letters, of digits and of anything else, each with the space before
//! it; each piece's bytes become symbols, and the best-ranked pair is merged until none is left. Nothing is made lower
//! case, no space is lost: decoding gives the text back. Nothing is put around a text.
//!
//! ```no_run
//! use std::path::Path;
//! use sightline_text::Gpt2Tokenizer;
//!
//! let tokenizer = Gpt2Tokenizer::from_folder(Path::new("gpt2"))?;
//! assert_eq!(tokenizer.encode("a picture of")?, [64, 4286, 286]);
//! assert_eq!(tokenizer.decode(&[64, 4286, 286])?, "a picture of");
//! # Ok::<(), sightline_text::Error>(())
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::merges::{read_bounded, read_merges};
use crate::{Error, Result};

const END: &str = "<|endoftext|>";

/// Names of vocabulary and merges: Hugging Face's, and those of OpenAI's release.
const PARTS: [[&str; 2]; 2] = [["vocab.json", "merges.txt"], ["encoder.json", "vocab.bpe"]];

/// GPT-2's tokenizer.
#[derive(Clone, Debug)]
pub struct Gpt2Tokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary_size: usize,
}

impl Gpt2Tokenizer {
    /// The files that [`Self::from_folder`] reads: `tokenizer.json` if it is there, else `vocab.json` and `merges.txt`, or
    /// `encoder.json` and `vocab.bpe`.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let whole = folder.join("tokenizer.json");
        if whole.is_file() {
            return Ok(vec![whole]);
        }
        let parts = PARTS.map(|names| names.map(|name| folder.join(name)));
        let found = parts
            .into_iter()
            .find(|parts| parts.iter().all(|part| part.is_file()));
        found.map(Vec::from).ok_or_else(|| no_tokenizer(folder))
    }

    /// The tokenizer of a checkpoint's folder.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        match Self::files(folder)?.as_slice() {
            [vocabulary, merges] => Self::from_vocabulary(vocabulary, merges),
            [definition, ..] => Self::from_definition(&read_bounded(definition)?, definition),
            [] => Err(no_tokenizer(folder)),
        }
    }

    /// The tokenizer of a vocabulary (JSON, piece to id) and of the merges in their order.
    pub fn from_vocabulary(vocabulary: &Path, merges: &Path) -> Result<Self> {
        let names: Map<String, Value> = serde_json::from_slice(&read_bounded(vocabulary)?)
            .map_err(|source| Error::Vocabulary {
                path: vocabulary.to_owned(),
                source,
            })?;
        let end = names.get(END).and_then(Value::as_u64);
        let special = end.map(|id| {
            json!({
                "id": id, "content": END, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        });
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
        });
        let definition = json!({
            "version": "1.0",
            "added_tokens": special.into_iter().collect::<Vec<_>>(),
            "pre_tokenizer": bytes, "decoder": bytes,
            "model": {
                "type": "BPE", "continuing_subword_prefix": "", "end_of_word_suffix": "",
                "fuse_unk": false, "vocab": names, "merges": read_merges(merges, usize::MAX)?,
            },
        });
        Self::from_definition(definition.to_string().as_bytes(), vocabulary)
    }

    fn from_definition(definition: &[u8], path: &Path) -> Result<Self> {
        let refused = |e: tokenizers::Error| Error::Definition {
            path: path.to_owned(),
            message: e.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(definition).map_err(refused)?;
        // A published file may ask for cutting and padding; both are the caller's business.
        inner.with_truncation(None).map_err(refused)?;
        inner.with_padding(None);
        let largest = inner.get_vocab(true).into_values().max();
        Ok(Self {
            vocabulary_size: largest.map_or(0, |id| id as usize + 1),
            inner,
        })
    }

    /// The ids end below it.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The id of a piece, if it has one.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// The ids of `text`, with nothing around it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoded = self.inner.encode_fast(text, false);
        let encoded = encoded.map_err(|e| Error::Encode {
            len_bytes: text.len(),
            message: e.to_string(),
        })?;
        Ok(encoded.get_ids().to_vec())
    }

    /// The text of `ids`, special tokens left out; bytes that are no UTF-8 become `U+FFFD`, ids that have no piece
    /// nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, true)
    }

    /// As [`Self::decode`] with special tokens.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.decoded(ids, false)
    }

    fn decoded(&self, ids: &[u32], skips_special: bool) -> Result<String> {
        let decoded = self.inner.decode(ids, skips_special);
        decoded.map_err(|e| Error::Decode {
            ids: ids.len(),
            message: e.to_string(),
        })
    }
}

fn no_tokenizer(folder: &Path) -> Error {
    Error::NoTokenizer {
        folder: folder.to_owned(),
        wanted: "neither `tokenizer.json` nor `vocab.json` with `merges.txt` nor `encoder.json` with `vocab.bpe`",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut names: Map<String, Value> = (0u32..)
            .zip(super::super::merges::byte_symbols())
            .map(|(id, symbol)| (symbol.to_string(), id.into()))
            .collect();
        names.insert("Ġa".to_owned(), 256.into());
        names.insert(END.to_owned(), 257.into());
        let vocabulary = serde_json::to_string(&names).unwrap();
        fs::write(folder.path().join("vocab.json"), vocabulary).unwrap();
        fs::write(folder.path().join("merges.txt"), "#version: 0.2\nĠ a\n").unwrap();
        folder
    }

    #[test]
    fn decoding_gives_the_text_back() {
        let folder = folder();
        let tokenizer = Gpt2Tokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 258);
        for text in ["", " a  b \n", "Größe 7", " a a"] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
        assert_eq!(tokenizer.encode(" a a").unwrap(), [256, 256]);
        assert_eq!(tokenizer.id(END), Some(257));
        assert_eq!(tokenizer.decode(&[256, 257, 256]).unwrap(), " a a");
        let with = tokenizer.decode_with_special(&[256, 257]).unwrap();
        assert_eq!(with, " a<|endoftext|>");
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_what_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = Gpt2Tokenizer::from_folder(folder.path()).unwrap_err();
        assert!(error.to_string().contains("`encoder.json`"), "{error}");
        fs::write(folder.path().join("tokenizer.json"), "{").unwrap();
        assert!(Gpt2Tokenizer::from_folder(folder.path()).is_err());
    }
}
