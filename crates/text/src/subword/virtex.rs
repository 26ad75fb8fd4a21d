//! VirTex's tokens (Desai and Johnson 2021): captions without capitals and marks, cut by SentencePiece.

use std::path::{Path, PathBuf};

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

use super::sentencepiece::SentencePiece;
use crate::{Error, Result};

const START: &str = "[SOS]";
const END: &str = "[EOS]";
const MASK: &str = "[MASK]";

/// The tokenizer of VirTex's checkpoints, whose file is `datasets/vocab/coco_10k.model` of its model zoo.
///
/// The unknown id (0) is the padding as well.
#[derive(Clone, Debug)]
pub struct VirTexTokenizer {
    pieces: SentencePiece,
    start: u32,
    end: u32,
    mask: u32,
}

impl VirTexTokenizer {
    /// The file that [`Self::from_folder`] reads: the only one whose name ends in `.model`.
    pub fn file(folder: &Path) -> Result<PathBuf> {
        SentencePiece::file(folder)
    }

    /// The tokenizer of a checkpoint folder.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        Self::from_file(&Self::file(folder)?)
    }

    /// Reads a `.model` file, which MUST hold `[SOS]`, `[EOS]` and `[MASK]`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let pieces = SentencePiece::from_file(path)?;
        let id = |token: &'static str| {
            pieces.id(token).ok_or_else(|| Error::MissingToken {
                path: path.to_owned(),
                token,
            })
        };
        Ok(Self {
            start: id(START)?,
            end: id(END)?,
            mask: id(MASK)?,
            pieces,
        })
    }

    /// Every id is below this number.
    pub fn vocabulary_size(&self) -> usize {
        self.pieces.vocabulary_size()
    }

    /// The id of what is no piece, and of padding.
    pub fn unknown(&self) -> u32 {
        self.pieces.unknown()
    }

    /// The id before every caption.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// The id after every caption.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The id that stands for a word to be guessed.
    pub fn mask(&self) -> u32 {
        self.mask
    }

    /// The pieces behind the ids.
    pub fn sentencepiece(&self) -> &SentencePiece {
        &self.pieces
    }

    /// Start, the normalised caption, end; cut to the first `limit` ids, so that a long caption has no end.
    pub fn encode(&self, caption: &str, limit: usize) -> Vec<u32> {
        let mut ids = vec![self.start];
        ids.extend(self.pieces.encode(&normalise_caption(caption)));
        ids.push(self.end);
        ids.truncate(limit);
        ids
    }

    /// The text of `ids`; start, end and mask read as nothing.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.pieces.decode(ids)
    }
}

/// Lower case, compatibility decomposition (NFKD), combining marks dropped.
///
/// Marks are the characters of a combining class other than 0, as Python's `unicodedata.combining` tells them: the
/// vowel signs of Indic scripts stay. Characters newer than Python's tables may differ.
pub fn normalise_caption(caption: &str) -> String {
    let is_mark = |c: &char| canonical_combining_class(*c) != 0;
    let lower = caption.to_lowercase();
    lower.nfkd().filter(|c| !is_mark(c)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn captions_lose_capitals_and_marks() {
        for (caption, expected) in [
            ("Café NAÏVE", "cafe naive"),
            ("½ ﬁne Ｗ", "1⁄2 fine w"),
            // The virama has a combining class, the vowel signs have none.
            ("हिन्दी", "हिनदी"),
            ("", ""),
        ] {
            assert_eq!(normalise_caption(caption), expected);
        }
    }

    #[test]
    fn a_folder_has_one_model() {
        let folder = tempfile::tempdir().unwrap();
        let told = |folder: &Path| VirTexTokenizer::file(folder).unwrap_err().to_string();
        let wanted = "has not exactly one SentencePiece file (`*.model`)";
        assert!(told(folder.path()).ends_with(wanted));
        fs::write(folder.path().join("coco_10k.model"), "").unwrap();
        let only = VirTexTokenizer::file(folder.path()).unwrap();
        assert!(only.ends_with("coco_10k.model"));
        let error = VirTexTokenizer::from_folder(folder.path()).unwrap_err();
        assert!(matches!(error, Error::SentencePiece { .. }), "{error}");
        fs::write(folder.path().join("other.model"), "").unwrap();
        assert!(told(folder.path()).ends_with(wanted));
        assert!(VirTexTokenizer::file(&folder.path().join("nowhere")).is_err());
    }
}
