//! SentencePiece's byte-pair encoding (Kudo and Richardson 2018, arXiv 1808.06226), from its `.model` file.
//!
//! A text is normalised by the table in the file, white space becomes `▁`, and the result is cut into
//! characters; of all neighbours whose concatenation is a piece, the pair with the best score is merged (the
//! leftmost of equal ones) until none is left. What is no piece becomes the unknown id, once for a whole run.
//! Ids and texts equal SentencePiece 0.2.
//!
//! The file is a protocol buffer. MUST: `trainer_spec.model_type` is byte-pair encoding; pieces are normal,
//! unknown (exactly one), control or user-defined, not empty and unique; white space is escaped. Files of
//! unigram models, with byte fallback, unused pieces or a denormaliser are refused.
//!
//! ```no_run
//! use std::path::Path;
//! use sightline_text::SentencePiece;
//!
//! let tokenizer = SentencePiece::from_file(Path::new("coco_10k.model"))?;
//! let ids = tokenizer.encode("a photo of a cat");
//! assert_eq!(tokenizer.decode(&ids)?, "a photo of a cat");
//! # Ok::<(), sightline_text::Error>(())
//! ```

mod merge;
mod model;
mod normaliser;
mod protobuf;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use self::model::{Kind, Model};
use self::normaliser::Normaliser;
use super::merges::read_bounded;
use crate::{Error, Result};

pub use self::model::SentencePieceError;

/// What stands for a space inside pieces: U+2581.
const SPACE: &str = "\u{2581}";

/// A byte-pair model of SentencePiece.
#[derive(Clone, Debug)]
pub struct SentencePiece {
    pieces: Vec<model::Piece>,
    ids: HashMap<String, u32>,
    unknown: u32,
    unknown_surface: String,
    /// Lengths in bytes of the user-defined pieces, the longest first.
    user_lengths: Vec<usize>,
    normaliser: Normaliser,
}

/// A part of a text and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The normalised text, `▁` for a space.
    pub text: String,
    /// Its id.
    pub id: u32,
}

impl SentencePiece {
    /// The only file of `folder` whose name ends in `.model`.
    pub fn file(folder: &Path) -> Result<PathBuf> {
        let read = |source| Error::Read {
            path: folder.to_owned(),
            source,
        };
        let entries = std::fs::read_dir(folder)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(read)?;
        let mut found = entries
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "model"));
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Error::NoSentencePiece {
                folder: folder.to_owned(),
            }),
        }
    }

    /// Reads a `.model` file.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&read_bounded(path)?).map_err(|source| Error::SentencePiece {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the bytes of a `.model` file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SentencePieceError> {
        let model = Model::read(bytes)?;
        let of_kind = |kind| {
            let pieces = model.pieces.iter().enumerate();
            pieces.filter(move |(_, piece)| piece.kind == kind)
        };
        let mut unknown = of_kind(Kind::Unknown).map(|(id, _)| id as u32);
        let (Some(unknown), None) = (unknown.next(), unknown.next()) else {
            return Err(SentencePieceError::Unknown);
        };
        let mut user_lengths: Vec<usize> = of_kind(Kind::UserDefined)
            .map(|(_, piece)| piece.text.len())
            .collect();
        user_lengths.sort_unstable_by(|a, b| b.cmp(a));
        user_lengths.dedup();

        let mut ids = HashMap::with_capacity(model.pieces.len());
        for (id, piece) in (0u32..).zip(&model.pieces) {
            if piece.text.is_empty() || ids.insert(piece.text.clone(), id).is_some() {
                return Err(SentencePieceError::Piece { id });
            }
        }
        Ok(Self {
            pieces: model.pieces,
            ids,
            unknown,
            unknown_surface: model.unknown_surface,
            user_lengths,
            normaliser: model.normaliser,
        })
    }

    /// Every id is below this number.
    pub fn vocabulary_size(&self) -> usize {
        self.pieces.len()
    }

    /// The id of what is no piece.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The id of the piece that reads exactly `piece`, control symbols included.
    pub fn id(&self, piece: &str) -> Option<u32> {
        self.ids.get(piece).copied()
    }

    /// The ids of `text`. Text never yields a control symbol.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.pieces(text)
            .into_iter()
            .map(|piece| piece.id)
            .collect()
    }

    /// The pieces of `text` with their ids.
    pub fn pieces(&self, text: &str) -> Vec<Piece> {
        let normalised = self
            .normaliser
            .normalise(text, |rest| self.user_defined(rest));
        let mut pieces: Vec<Piece> = Vec::new();
        for part in self.merge(&normalised) {
            let id = self.ids.get(part).copied().unwrap_or(self.unknown);
            match pieces.last_mut() {
                // A run of unknown parts is one unknown piece.
                Some(last) if id == self.unknown && last.id == id => last.text.push_str(part),
                _ => pieces.push(Piece {
                    text: part.to_owned(),
                    id,
                }),
            }
        }
        pieces
    }

    /// The text of `ids`: control symbols vanish, the unknown id reads ` ⁇ `, the space before the first word is
    /// dropped.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        let mut text = String::new();
        for &id in ids {
            let piece = self.pieces.get(id as usize).ok_or(Error::UnknownId {
                id,
                vocabulary_size: self.pieces.len(),
            })?;
            match piece.kind {
                Kind::Control => {}
                Kind::Unknown => text.push_str(&self.unknown_surface),
                Kind::Normal | Kind::UserDefined => {
                    let at_start = text.is_empty() && self.normaliser.drops_first_space();
                    let piece = match piece.text.strip_prefix(SPACE) {
                        Some(rest) if at_start => rest,
                        _ => &piece.text,
                    };
                    text.push_str(&piece.replace(SPACE, " "));
                }
            }
        }
        Ok(text)
    }

    /// Length in bytes of the longest user-defined piece with which `text` begins; 0 for none.
    fn user_defined(&self, text: &str) -> usize {
        let is_user_defined = |&len: &usize| {
            let piece = text.get(..len).and_then(|start| self.ids.get(start));
            piece.is_some_and(|&id| self.pieces[id as usize].kind == Kind::UserDefined)
        };
        let mut lengths = self.user_lengths.iter().copied();
        lengths.find(is_user_defined).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field of type 2.
    fn bytes_field(field: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).unwrap();
        assert!(len < 0x80, "one byte of length is enough here");
        [&[(field << 3) | 2, len][..], bytes].concat()
    }

    fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let score = score.to_le_bytes();
        let fields = [
            &bytes_field(1, text.as_bytes())[..],
            &[0x15],
            &score,
            &[0x18, kind],
        ];
        bytes_field(1, &fields.concat())
    }

    /// A trainer specification of a byte-pair model.
    const BYTE_PAIR: &[u8] = &[0x12, 2, 0x18, 2];

    fn model() -> Vec<u8> {
        let pieces = [
            piece("<unk>", 0.0, 2),
            piece("[SOS]", 0.0, 3),
            piece("ab", -1.0, 1),
            piece("bc", -0.0, 1),
            piece("abc", -2.0, 1),
            piece("▁", -3.0, 1),
            piece("a", -4.0, 1),
            piece("b", -5.0, 1),
            piece("c", -6.0, 1),
            piece("<x>", -7.0, 4),
        ];
        [&pieces.concat()[..], BYTE_PAIR].concat()
    }

    fn read(bytes: &[u8]) -> SentencePiece {
        SentencePiece::from_bytes(bytes).unwrap()
    }

    #[test]
    fn the_best_pair_is_merged_first_and_of_equal_ones_the_leftmost() {
        let tokenizer = read(&model());
        let pieces = |text: &str| -> Vec<String> {
            let pieces = tokenizer.pieces(text).into_iter();
            pieces.map(|piece| piece.text).collect()
        };
        // `bc` is better than `ab`, and then `a` with `bc` is a piece as well.
        assert_eq!(pieces("abc"), ["▁", "abc"]);
        assert_eq!(pieces("abb"), ["▁", "ab", "b"]);
        assert_eq!(pieces("bcbcc"), ["▁", "bc", "bc", "c"]);
        assert_eq!(pieces("a<x>b"), ["▁", "a", "<x>", "b"]);
        assert_eq!(pieces(""), [""; 0]);
    }

    #[test]
    fn unknown_runs_are_one_and_control_symbols_come_from_no_text() {
        let tokenizer = read(&model());
        assert_eq!(tokenizer.encode("aöü!b"), [5, 6, 0, 7]);
        assert_eq!(tokenizer.encode("[SOS]"), [5, 0]);
        assert_eq!(tokenizer.id("[SOS]"), Some(1));
        assert_eq!(tokenizer.id("zz"), None);
        assert_eq!(tokenizer.vocabulary_size(), 10);
    }

    #[test]
    fn decoding_drops_control_symbols_and_the_first_space() {
        let tokenizer = read(&model());
        let decode = |ids: &[u32]| tokenizer.decode(ids).unwrap();
        assert_eq!(decode(&[1, 5, 4, 5, 0, 6, 1, 1]), "abc  \u{2047} a");
        assert_eq!(decode(&[]), "");
        assert_eq!(
            tokenizer.decode(&[10]).unwrap_err().to_string(),
            "id 10 is outside the vocabulary of 10"
        );
    }

    #[test]
    fn models_that_cannot_be_followed_are_refused() {
        let refused = |bytes: Vec<u8>| SentencePiece::from_bytes(&bytes).unwrap_err();
        let unknown = piece("<unk>", 0.0, 2);
        let with = |rest: &[u8]| [&unknown[..], rest].concat();
        assert_eq!(
            refused(unknown.clone()),
            SentencePieceError::ModelType { found: 1 }
        );
        assert_eq!(refused(BYTE_PAIR.to_vec()), SentencePieceError::Unknown);
        let piece_error = |id| SentencePieceError::Piece { id };
        for second in [piece("<unk>", 0.0, 1), piece("", 0.0, 1)] {
            assert_eq!(
                refused(with(&[&second[..], BYTE_PAIR].concat())),
                piece_error(1)
            );
        }
        for kind in [0, 5, 6] {
            let second = piece("x", 0.0, kind);
            assert_eq!(refused(with(&second)), piece_error(1), "kind {kind}");
        }
        for (bytes, option) in [
            (&[0x12, 5, 0x18, 2, 0x98, 2, 1][..], "byte_fallback"),
            (
                &[0x12, 5, 0x18, 2, 0xc0, 1, 1][..],
                "treat_whitespace_as_suffix",
            ),
            (&[0x1a, 2, 0x28, 0][..], "escape_whitespaces: false"),
        ] {
            assert_eq!(
                refused(with(bytes)),
                SentencePieceError::Option { option },
                "{option}"
            );
        }
    }

    #[test]
    fn no_changed_byte_panics() {
        let whole = model();
        let mut still_read = 0;
        for at in 0..whole.len() {
            for value in [0x00, 0x7f, 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                if let Ok(tokenizer) = SentencePiece::from_bytes(&bytes) {
                    let ids = tokenizer.encode("abc ab cab [SOS] ö<x>");
                    tokenizer.decode(&ids).unwrap();
                    still_read += 1;
                }
            }
            assert!(SentencePiece::from_bytes(&whole[..at]).is_err());
        }
        assert!(still_read > whole.len() / 4, "{still_read}");
    }

    proptest! {
        #[test]
        fn any_text_is_cut_into_itself(text in "[abc <>xö▁]{0,40}") {
            let tokenizer = read(&model());
            let pieces = tokenizer.pieces(&text);
            let whole: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            let spaced = whole.replace('▁', " ");
            let found: Vec<&str> = spaced.split_whitespace().collect();
            let words: Vec<&str> = text.split([' ', '▁']).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(found, words);
            for piece in &pieces {
                prop_assert_eq!(tokenizer.id(&piece.text).unwrap_or(0), piece.id);
            }
        }
    }
}
