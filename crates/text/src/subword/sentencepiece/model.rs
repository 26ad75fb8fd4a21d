//! The parts of a `.model` file that encoding and decoding need.
//!
//! Field numbers are those of `sentencepiece_model.proto` (SentencePiece 0.2); fields that are not named here do
//! not change ids, or describe the training.

use super::normaliser::Normaliser;
use super::protobuf::{Fields, Value};

/// Why a file is no byte-pair model of SentencePiece that can be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SentencePieceError {
    /// The bytes are no protocol buffer.
    #[error("its message is damaged at byte {offset}")]
    Message {
        /// Where, counted from the start of the message or of the one inside it.
        offset: usize,
    },
    /// A field has another type than its number says.
    #[error("its field {field} of `{message}` is of another type")]
    Field {
        /// The message.
        message: &'static str,
        /// The field's number.
        field: u64,
    },
    /// Another kind of model.
    #[error("its model type is {found}, only byte-pair encoding (2) is read")]
    ModelType {
        /// The number of the kind.
        found: u64,
    },
    /// An option that changes ids and is not followed.
    #[error("it sets `{option}`, which is not supported")]
    Option {
        /// Its name.
        option: &'static str,
    },
    /// A piece that is empty, is there twice, or is of an unsupported kind.
    #[error("its piece {id} is empty, repeated or of an unsupported kind")]
    Piece {
        /// Its id.
        id: u32,
    },
    /// None or several unknown pieces.
    #[error("it has not exactly one unknown piece")]
    Unknown,
    /// The table of the normaliser is damaged.
    #[error("its table of character replacements is damaged: {reason}")]
    Replacements {
        /// What is wrong.
        reason: &'static str,
    },
}

type Result<T> = std::result::Result<T, SentencePieceError>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
}

#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

pub(super) struct Model {
    pub(super) pieces: Vec<Piece>,
    pub(super) unknown_surface: String,
    pub(super) normaliser: Normaliser,
}

impl Model {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let mut pieces = Vec::new();
        let mut trainer = Trainer::default();
        let mut normaliser = Normaliser::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => pieces.push(Piece::read(piece, pieces.len() as u32)?),
                (2, Value::Bytes(spec)) => trainer = Trainer::read(spec)?,
                (3, Value::Bytes(spec)) => normaliser = read_normaliser(spec)?,
                (5, Value::Bytes(spec)) => {
                    let after = read_normaliser(spec)?;
                    if after.has_replacements() {
                        return Err(SentencePieceError::Option {
                            option: "denormalizer_spec",
                        });
                    }
                }
                (field @ (1..=3 | 5), _) => return wrong("ModelProto", field),
                _ => {}
            }
        }
        trainer.check()?;
        Ok(Self {
            pieces,
            unknown_surface: trainer.unknown_surface,
            normaliser,
        })
    }
}

impl Piece {
    fn read(bytes: &[u8], id: u32) -> Result<Self> {
        let unsupported = SentencePieceError::Piece { id };
        let mut piece = Self {
            text: String::new(),
            score: 0.0,
            kind: Kind::Normal,
        };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(bytes)) => {
                    let text = std::str::from_utf8(bytes).map_err(|_| unsupported.clone())?;
                    text.clone_into(&mut piece.text);
                }
                // Both zeros are the same score: adding 0 makes them the same number.
                (2, Value::Fixed32(bits)) => piece.score = f32::from_bits(bits) + 0.0,
                (3, Value::Varint(kind)) => {
                    piece.kind = match kind {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        _ => return Err(unsupported),
                    }
                }
                (field @ 1..=3, _) => return wrong("SentencePiece", field),
                _ => {}
            }
        }
        Ok(piece)
    }
}

struct Trainer {
    model_type: u64,
    space_as_suffix: bool,
    byte_fallback: bool,
    unknown_surface: String,
}

impl Default for Trainer {
    fn default() -> Self {
        Self {
            model_type: 1,
            space_as_suffix: false,
            byte_fallback: false,
            unknown_surface: " \u{2047} ".to_owned(),
        }
    }
}

impl Trainer {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut spec = Self::default();
        for field in Fields::of(bytes) {
            match field? {
                (3, Value::Varint(kind)) => spec.model_type = kind,
                (24, Value::Varint(flag)) => spec.space_as_suffix = flag != 0,
                (35, Value::Varint(flag)) => spec.byte_fallback = flag != 0,
                (44, Value::Bytes(text)) => {
                    spec.unknown_surface = String::from_utf8_lossy(text).into_owned();
                }
                (field @ (3 | 24 | 35 | 44), _) => return wrong("TrainerSpec", field),
                _ => {}
            }
        }
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        if self.model_type != 2 {
            let found = self.model_type;
            return Err(SentencePieceError::ModelType { found });
        }
        for (is_set, option) in [
            (self.space_as_suffix, "treat_whitespace_as_suffix"),
            (self.byte_fallback, "byte_fallback"),
        ] {
            if is_set {
                return Err(SentencePieceError::Option { option });
            }
        }
        Ok(())
    }
}

fn read_normaliser(bytes: &[u8]) -> Result<Normaliser> {
    let mut normaliser = Normaliser::default();
    for field in Fields::of(bytes) {
        match field? {
            (2, Value::Bytes(table)) => normaliser.read_replacements(table)?,
            (3, Value::Varint(flag)) => normaliser.add_dummy_prefix = flag != 0,
            (4, Value::Varint(flag)) => normaliser.remove_extra_whitespaces = flag != 0,
            (5, Value::Varint(0)) => {
                return Err(SentencePieceError::Option {
                    option: "escape_whitespaces: false",
                });
            }
            (5, Value::Varint(_)) => {}
            (field @ 2..=5, _) => return wrong("NormalizerSpec", field),
            _ => {}
        }
    }
    Ok(normaliser)
}

fn wrong<T>(message: &'static str, field: u64) -> Result<T> {
    Err(SentencePieceError::Field { message, field })
}
