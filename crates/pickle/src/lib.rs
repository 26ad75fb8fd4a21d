//! A reader of Python pickles that builds data and calls nothing.
//!
//! A pickle is a program for a stack machine that may call any function of any module. This machine runs the
//! opcodes of protocols 0 to 5 that build data: numbers, texts, bytes, tuples, lists, dictionaries. Whatever goes
//! beyond that is up to the reader, who says through a [`Meaning`] which names it knows, and what a call, a state or
//! a persistent id *becomes*. Nothing is ever imported or run; a name is two texts.
//!
//! What a reader does not know is either refused, and with it the pickle, or becomes [`Value::Opaque`], which can be
//! carried along and used for nothing ([`Foreign`]).
//!
//! Foreign bytes cannot harm:
//!
//! - Values live in one [`Arena`] and refer to each other by place: neither cycles nor depth can leak or overflow
//!   the stack when they are freed.
//! - The number of opcodes is bounded ([`Meaning::OPCODE_LIMIT`]), and with it memory: an opcode takes at most about
//!   100 bytes beside the text that it brings along, and texts are places in the pickle.
//! - Errors say the offset of the opcode, and its name where it is refused.
//!
//! Not read: the extension registry (`EXT1` and its kind) and out-of-band buffers. Numbers of more than 64 bits are
//! opaque. Opcodes are called as in Python's `pickletools`.
//!
//! ```
//! use sightline_pickle::{Plain, Value, read};
//!
//! // pickle.dumps({"a": [1, 2.5]}, 2)
//! let bytes = b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01]q\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00es.";
//! let built = read(bytes, &mut Plain)?;
//! let (key, value) = built.arena.entries(built.root).unwrap().next().unwrap();
//! assert_eq!(built.arena.text(key), Some("a"));
//! assert_eq!(built.arena.list(value).unwrap(), [Value::Int(1), Value::Float(2.5)]);
//!
//! let attack = read(b"cos\nsystem\n(S'ls'\ntR.", &mut Plain).unwrap_err();
//! assert_eq!(attack.to_string(), "it names `os.system` at byte 0");
//! # Ok::<(), sightline_pickle::Error>(())
//! ```

mod arena;
mod error;
mod line;
mod machine;
mod meaning;
mod memo;
mod opcode;

pub use arena::{Arena, Items, Span, Value};
pub use error::{Error, Reason};
pub use machine::{Built, read};
pub use meaning::{Call, Foreign, How, Meaning, Name, Plain};
