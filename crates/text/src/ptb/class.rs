//! What kind of character the tokenizer takes a character for.

use super::unicode::RANGES;

/// The kind of a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A letter of any alphabet.
    Letter,
    /// A combining mark or another character that continues a plain word only.
    Mark,
    /// A decimal digit of any script.
    Digit,
    /// U+00AD, which joins like a letter and is then removed.
    SoftHyphen,
    /// A hyphen other than `-`, which is only known inside words.
    Hyphen,
    /// White space that separates tokens.
    Space,
    /// A character that stands alone.
    Symbol,
    /// A superscript digit.
    Raised,
    /// A subscript digit.
    Lowered,
    /// A character with rules of its own.
    Special,
    /// A character the reference does not know: it ends a token and leaves no trace.
    Unknown,
}

use Class::{Digit, Hyphen, Letter, SoftHyphen, Space, Special, Unknown};

/// The classes of ASCII.
static ASCII: [Class; 128] = {
    let mut table = [Special; 128];
    let mut byte = 0;
    while byte < 128 {
        let character = byte as u8;
        if character.is_ascii_alphabetic() {
            table[byte] = Letter;
        } else if character.is_ascii_digit() {
            table[byte] = Digit;
        } else if matches!(character, b' ' | b'\t'..=b'\r') {
            table[byte] = Space;
        } else if character.is_ascii_control() {
            table[byte] = Unknown;
        }
        byte += 1;
    }
    table
};

/// The class of an ASCII byte.
pub(super) fn ascii(byte: u8) -> Class {
    ASCII[usize::from(byte & 0x7F)]
}

/// The class of any character.
pub(super) fn of(character: char) -> Class {
    match character {
        '\0'..='\x7F' => ascii(character as u8),
        '\u{AD}' => SoftHyphen,
        '\u{58A}' | '\u{2010}' | '\u{2011}' => Hyphen,
        '\u{A0}' | '\u{2000}'..='\u{200A}' | '\u{3000}' => Space,
        // Quotes, dashes, currency, fractions, separators of Arabic numbers, raised and lowered signs.
        '\u{80}'
        | '\u{85}'
        | '\u{91}'..='\u{94}'
        | '\u{96}'
        | '\u{97}'
        | '\u{A2}'..='\u{A4}'
        | '\u{AB}'
        | '\u{BB}'..='\u{BE}'
        | '\u{66B}'
        | '\u{66C}'
        | '\u{2013}'..='\u{2015}'
        | '\u{2018}'..='\u{201F}'
        | '\u{2026}'
        | '\u{2039}'
        | '\u{203A}'
        | '\u{2044}'
        | '\u{207A}'
        | '\u{207B}'
        | '\u{208A}'
        | '\u{208B}'
        | '\u{20A0}'
        | '\u{20AC}'
        | '\u{2153}'
        | '\u{2154}' => Special,
        '\u{10000}'.. => Unknown,
        _ => {
            let code = character as u32 as u16;
            let after = RANGES.partition_point(|&(first, _, _)| first <= code);
            match after.checked_sub(1).map(|index| RANGES[index]) {
                Some((_, last, class)) if code <= last => class,
                _ => Unknown,
            }
        }
    }
}
