//! BERT's uncased `WordPiece` (Devlin et al. 2019), as Hugging Face's fast tokenizer has it.
//!
//! Control characters go, white space becomes a space, CJK characters stand alone; accents are stripped after NFD
//! and letters become lower case; words end at white space and punctuation. From the left, the longest piece in the
//! vocabulary is taken, with `##` before pieces inside a word; a word that cannot be cut up, or has more than 100
//! characters, is `[UNK]`. The names of the marks, `[MASK]` for example, are understood in a text.
//!
//! ```no_run
//! use std::path::Path;
//! use sightline_text::{BertTokenizer, PairTokenizer};
//!
//! let tokenizer = BertTokenizer::from_folder(Path::new("bert-base-uncased"))?;
//! let pair = tokenizer.encode_pair("a photo of a cat", Some("yes"), 512)?;
//! assert_eq!(pair.ids, [101, 1037, 6302, 1997, 1037, 4937, 102, 2748, 102]);
//! assert_eq!(tokenizer.decode(&pair.ids)?, "a photo of a cat yes");
//! # Ok::<(), sightline_text::Error>(())
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::merges::read_bounded;
use super::{Encoded, PairTokenizer, Tokenizer};
use crate::{Error, Result};

const START: &str = "[CLS]";
const END: &str = "[SEP]";
const PAD: &str = "[PAD]";
const MASK: &str = "[MASK]";
const UNKNOWN: &str = "[UNK]";

/// Longer words are [`UNKNOWN`].
const WORD_LIMIT: usize = 100;

/// What Hugging Face replaces in a decoded text, in this order: the spaces that decoding puts before punctuation.
const CLEANED: &[(&str, &str)] = &[
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// BERT's tokenizer.
#[derive(Clone, Debug)]
pub struct BertTokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary_size: usize,
    start: u32,
    end: u32,
    pad: u32,
    mask: u32,
    unknown: u32,
}

impl BertTokenizer {
    /// The files that [`Self::from_folder`] reads: `tokenizer.json` if it is there, else `vocab.txt`.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        ["tokenizer.json", "vocab.txt"]
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.is_file())
            .map(|path| vec![path])
            .ok_or_else(|| Error::NoTokenizer {
                folder: folder.to_owned(),
                wanted: "neither `tokenizer.json` nor `vocab.txt`",
            })
    }

    /// The tokenizer of a checkpoint folder.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let files = Self::files(folder)?;
        let path = &files[0];
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            Self::from_definition(&read_bounded(path)?, path)
        } else {
            Self::from_vocabulary(path)
        }
    }

    /// The uncased tokenizer of a `vocab.txt`: a piece on each line, whose number from 0 is its id.
    pub fn from_vocabulary(path: &Path) -> Result<Self> {
        let text = String::from_utf8(read_bounded(path)?).map_err(|e| Error::Read {
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, e),
        })?;
        let vocabulary: Map<String, Value> = (0u32..)
            .zip(text.lines())
            .map(|(id, piece)| (piece.to_owned(), id.into()))
            .collect();
        let special = |token: &'static str| match vocabulary.get(token) {
            Some(id) => Ok(json!({
                "id": id, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })),
            None => Err(Error::MissingToken {
                path: path.to_owned(),
                token,
            }),
        };
        let specials = [PAD, UNKNOWN, START, END, MASK].map(special);
        let specials = specials.into_iter().collect::<Result<Vec<_>>>()?;
        // The same definition as the published `tokenizer.json`.
        let definition = json!({
            "version": "1.0",
            "added_tokens": specials,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": {
                "type": "BertProcessing",
                "sep": [END, vocabulary[END]], "cls": [START, vocabulary[START]],
            },
            "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
            "model": {
                "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
                "max_input_chars_per_word": WORD_LIMIT, "vocab": vocabulary,
            },
        });
        Self::from_definition(definition.to_string().as_bytes(), path)
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

        let empty = inner.encode_fast("", true).map_err(refused)?;
        let &[start, end] = empty.get_ids() else {
            return Err(Error::Specials {
                path: path.to_owned(),
                found: empty.get_ids().iter().copied().take(16).collect(),
            });
        };
        let id = |token: &'static str| {
            inner.token_to_id(token).ok_or_else(|| Error::MissingToken {
                path: path.to_owned(),
                token,
            })
        };
        let (pad, mask, unknown) = (id(PAD)?, id(MASK)?, id(UNKNOWN)?);
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(end);
        Ok(Self {
            vocabulary_size: largest as usize + 1,
            start,
            end,
            pad,
            mask,
            unknown,
            inner,
        })
    }

    /// The id of words that cannot be cut up into pieces.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The text of `ids` without the marks, tidied as Hugging Face does: no space before punctuation. Letters come
    /// back in lower case and without accents.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let text = self.inner.decode(ids, true).map_err(|e| Error::Decode {
            ids: ids.len(),
            message: e.to_string(),
        })?;
        let tidy = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
        Ok(CLEANED.iter().fold(text, tidy))
    }
}

impl Tokenizer for BertTokenizer {
    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn start(&self) -> u32 {
        self.start
    }

    fn end(&self) -> u32 {
        self.end
    }

    fn encode(&self, text: &str, context_length: usize) -> Result<Encoded> {
        Encoded::between(self.start, self.pieces(text)?, self.end, context_length)
    }

    fn unknown_id(&self) -> Option<u32> {
        Some(self.unknown)
    }
}

impl PairTokenizer for BertTokenizer {
    fn pad(&self) -> u32 {
        self.pad
    }

    fn mask(&self) -> u32 {
        self.mask
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false);
        let encoding = encoding.map_err(|e| Error::Encode {
            len_bytes: text.len(),
            message: e.to_string(),
        })?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PIECES: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ncat\n##s\n?\nsit\n##ting\n'\n";

    fn folder(name: &str, content: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), content).unwrap();
        folder
    }

    #[test]
    fn both_files_give_the_same_ids() {
        let parts = folder("vocab.txt", PIECES);
        let from_parts = BertTokenizer::from_folder(parts.path()).unwrap();
        assert_eq!(from_parts.vocabulary_size(), 12);
        assert_eq!((from_parts.start(), from_parts.end()), (2, 3));
        assert_eq!(
            (from_parts.pad(), from_parts.mask(), from_parts.unknown()),
            (0, 4, 1)
        );

        // With `tokenizer.json` present `vocab.txt` is not read; cutting and padding in it are undone.
        let definition = from_parts.inner.to_string(false).unwrap();
        let mut definition: Value = serde_json::from_str(&definition).unwrap();
        definition["truncation"] = json!({
            "max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Right",
        });
        let whole = folder("tokenizer.json", &definition.to_string());
        fs::write(whole.path().join("vocab.txt"), "not read").unwrap();
        let from_whole = BertTokenizer::from_folder(whole.path()).unwrap();

        for (text, ids) in [
            ("", vec![2, 3]),
            ("A cat's SITTING?", vec![2, 5, 6, 11, 1, 9, 10, 8, 3]),
            ("cats [MASK] cät", vec![2, 6, 7, 4, 6, 3]),
            ("catting\u{0}", vec![2, 6, 10, 3]),
        ] {
            assert_eq!(from_parts.encode(text, 77).unwrap().ids, ids, "{text}");
            assert_eq!(from_whole.encode(text, 77).unwrap().ids, ids, "{text}");
        }
        assert_eq!(
            from_parts.encode("a cat a cat", 4).unwrap().ids,
            [2, 5, 6, 3]
        );
        assert_eq!(
            from_parts.decode(&[2, 5, 6, 7, 11, 5, 8, 0]).unwrap(),
            "a cats'a?"
        );
    }

    #[test]
    fn broken_files_are_errors() {
        let load = |name, content: &str| {
            let folder = folder(name, content);
            BertTokenizer::from_folder(folder.path()).unwrap_err()
        };
        let error = load("vocab.json", "{}");
        assert!(
            error
                .to_string()
                .ends_with("has neither `tokenizer.json` nor `vocab.txt`")
        );
        assert!(matches!(
            load("vocab.txt", "a\nb\n"),
            Error::MissingToken { token: PAD, .. }
        ));
        assert!(matches!(load("vocab.txt", ""), Error::MissingToken { .. }));
        assert!(matches!(
            load("tokenizer.json", "{"),
            Error::Definition { .. }
        ));
        let bare = json!({ "version": "1.0", "model": {
            "type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": WORD_LIMIT, "vocab": { "a": 0 },
        } });
        let bare = bare.to_string();
        assert!(matches!(
            load("tokenizer.json", &bare),
            Error::Specials { .. }
        ));
    }
}
