//! CLIP's byte-level byte-pair encoding (Radford et al. 2021), as Hugging Face's fast tokenizer has it.
//!
//! Text is brought to NFC, runs of white space become one space, letters become lower case; a regular
//! expression takes contractions, runs of letters, single digits and runs of anything else; each piece's
//! bytes become symbols, the last one with `</w>`, and the best-ranked pair is merged until none is left.
//! There is no repair of broken encodings and no HTML unescaping, which OpenAI's own program does first;
//! the two differ on such texts only.
//!
//! ```no_run
//! use std::path::Path;
//! use sightline_text::{ClipTokenizer, Tokenizer};
//!
//! let tokenizer = ClipTokenizer::from_folder(Path::new("clip-vit-base-patch32"))?;
//! assert_eq!(tokenizer.encode("a photo of a cat", 77)?.ids, [49406, 320, 1125, 539, 320, 2368, 49407]);
//! # Ok::<(), sightline_text::Error>(())
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::merges::{byte_symbols, read_bounded, read_merges};
use super::{Encoded, Tokenizer};
use crate::{Error, Result};

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Merges of `bpe_simple_vocab_16e6.txt` that CLIP uses: 49,152 less 256 bytes and 2 specials.
const OPENAI_MERGES: usize = 48_894;

/// The pieces that are never merged across.
const PIECES: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// CLIP's tokenizer.
#[derive(Clone, Debug)]
pub struct ClipTokenizer {
    inner: tokenizers::Tokenizer,
    vocabulary_size: usize,
    start: u32,
    end: u32,
}

impl ClipTokenizer {
    /// The files that [`Self::from_folder`] reads: `tokenizer.json` if it is there, else `vocab.json`
    /// and `merges.txt`.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
        let whole = folder.join("tokenizer.json");
        let parts = [folder.join("vocab.json"), folder.join("merges.txt")];
        if whole.is_file() {
            Ok(vec![whole])
        } else if parts.iter().all(|part| part.is_file()) {
            Ok(parts.into())
        } else {
            Err(no_tokenizer(folder))
        }
    }

    /// The tokenizer of a checkpoint folder.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        match Self::files(folder)?.as_slice() {
            [vocabulary, merges] => Self::from_vocabulary(vocabulary, merges),
            [definition, ..] => Self::from_definition(&read_bounded(definition)?, definition),
            [] => Err(no_tokenizer(folder)),
        }
    }

    /// The tokenizer of OpenAI's merge file (`bpe_simple_vocab_16e6.txt`, `.gz` or plain), whose
    /// order also gives the ids: bytes, bytes that end a word, merges, start, end.
    pub fn from_openai_merges(path: &Path) -> Result<Self> {
        let merges = read_merges(path, OPENAI_MERGES)?;
        let symbols = byte_symbols();
        let mut names: Vec<String> = symbols.iter().map(char::to_string).collect();
        names.extend(symbols.iter().map(|symbol| format!("{symbol}</w>")));
        names.extend(merges.iter().map(|pair| pair.concat()));
        names.extend([START.to_owned(), END.to_owned()]);
        let vocabulary: Map<String, Value> = (0u32..)
            .zip(names)
            .map(|(id, name)| (name, id.into()))
            .collect();
        Self::assemble(&vocabulary, &merges, path)
    }

    fn from_vocabulary(vocabulary: &Path, merges: &Path) -> Result<Self> {
        let names = serde_json::from_slice(&read_bounded(vocabulary)?).map_err(|source| {
            Error::Vocabulary {
                path: vocabulary.to_owned(),
                source,
            }
        })?;
        Self::assemble(&names, &read_merges(merges, usize::MAX)?, vocabulary)
    }

    /// The same definition as the published `tokenizer.json`, from its parts.
    fn assemble(
        vocabulary: &Map<String, Value>,
        merges: &[[String; 2]],
        path: &Path,
    ) -> Result<Self> {
        let id = |token: &'static str| {
            vocabulary
                .get(token)
                .and_then(Value::as_u64)
                .ok_or_else(|| Error::MissingToken {
                    path: path.to_owned(),
                    token,
                })
        };
        let (start, end) = (id(START)?, id(END)?);
        let special = |id: u64, content: &str| {
            json!({
                "id": id, "content": content, "special": true, "normalized": true,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        };
        let definition = json!({
            "version": "1.0",
            "added_tokens": [special(start, START), special(end, END)],
            "normalizer": { "type": "Sequence", "normalizers": [
                { "type": "NFC" },
                { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
                { "type": "Lowercase" },
            ] },
            "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": PIECES }, "behavior": "Removed", "invert": true },
                { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
            ] },
            "post_processor": {
                "type": "RobertaProcessing", "cls": [START, start], "sep": [END, end],
                "trim_offsets": false, "add_prefix_space": false,
            },
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true },
            "model": {
                "type": "BPE", "unk_token": END, "continuing_subword_prefix": "",
                "end_of_word_suffix": "</w>", "fuse_unk": false,
                "vocab": vocabulary, "merges": merges,
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
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(end);
        Ok(Self {
            vocabulary_size: largest as usize + 1,
            start,
            end,
            inner,
        })
    }
}

fn no_tokenizer(folder: &Path) -> Error {
    Error::NoTokenizer {
        folder: folder.to_owned(),
        wanted: "neither `tokenizer.json` nor `vocab.json` with `merges.txt`",
    }
}

impl Tokenizer for ClipTokenizer {
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
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| Error::Encode {
                len_bytes: text.len(),
                message: e.to_string(),
            })?;
        let ids = encoding.get_ids().iter().copied();
        Encoded::between(self.start, ids, self.end, context_length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn openai_file() -> PathBuf {
        PathBuf::from("../../tests/fixtures/models/tokenizers/vocab/bpe_simple_vocab_16e6.txt.gz")
    }

    fn write(folder: &Path, name: &str, content: &str) {
        fs::write(folder.join(name), content).unwrap();
    }

    #[test]
    fn all_three_kinds_of_files_give_the_same_ids() {
        let openai = ClipTokenizer::from_openai_merges(&openai_file()).unwrap();
        assert_eq!(openai.vocabulary_size(), 49_408);
        assert_eq!((openai.start(), openai.end()), (49_406, 49_407));

        let parts = tempfile::tempdir().unwrap();
        let vocabulary = serde_json::to_string(&openai.inner.get_vocab(true)).unwrap();
        write(parts.path(), "vocab.json", &vocabulary);
        let merges = read_merges(&openai_file(), OPENAI_MERGES).unwrap();
        let lines: Vec<String> = merges.iter().map(|pair| pair.join(" ")).collect();
        write(
            parts.path(),
            "merges.txt",
            &format!("#version: 0.2\n{}\n", lines.join("\n")),
        );
        let from_parts = ClipTokenizer::from_folder(parts.path()).unwrap();

        // With `tokenizer.json` present the parts are not read; cutting and padding in it are undone.
        let whole = tempfile::tempdir().unwrap();
        let mut definition: Value =
            serde_json::from_str(&openai.inner.to_string(false).unwrap()).unwrap();
        definition["truncation"] = json!({
            "max_length": 4, "stride": 0, "strategy": "LongestFirst", "direction": "Right",
        });
        write(whole.path(), "tokenizer.json", &definition.to_string());
        write(whole.path(), "vocab.json", "not read");
        write(whole.path(), "merges.txt", "not read");
        let from_whole = ClipTokenizer::from_folder(whole.path()).unwrap();

        for text in [
            "",
            "A photo of a cat!",
            "it's 42 °C in  Zürich\n",
            "<|endoftext|> x",
        ] {
            let ids = openai.encode(text, usize::MAX).unwrap();
            assert_eq!(from_parts.encode(text, usize::MAX).unwrap(), ids, "{text}");
            assert_eq!(from_whole.encode(text, usize::MAX).unwrap(), ids, "{text}");
        }
    }

    #[test]
    fn a_folder_without_a_tokenizer_says_what_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "vocab.json", "{}");
        let error = ClipTokenizer::from_folder(folder.path()).unwrap_err();
        let message = error
            .to_string()
            .replace(folder.path().to_str().unwrap(), "FOLDER");
        assert_eq!(
            message,
            "`FOLDER` has neither `tokenizer.json` nor `vocab.json` with `merges.txt`"
        );
    }

    #[test]
    fn broken_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let load = || ClipTokenizer::from_folder(folder.path()).unwrap_err();
        write(folder.path(), "vocab.json", "[1]");
        write(folder.path(), "merges.txt", "i n\n");
        assert!(matches!(load(), Error::Vocabulary { .. }));
        write(folder.path(), "vocab.json", r#"{"i": 0, "n": 1, "in": 2}"#);
        assert!(matches!(load(), Error::MissingToken { token: START, .. }));
        // A merge of symbols that the vocabulary lacks.
        let names = r#"{"i": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}"#;
        write(folder.path(), "vocab.json", names);
        assert!(matches!(load(), Error::Definition { .. }));
        write(folder.path(), "tokenizer.json", "{\"version\": \"1.0\"");
        assert!(matches!(load(), Error::Definition { .. }));
        let bare =
            r#"{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
        write(folder.path(), "tokenizer.json", bare);
        assert!(matches!(load(), Error::Specials { .. }));
    }
}
