//! What a tag holds, and how Python shows it.

use std::fmt::{self, Display, Write as _};

use sightline_core::python::float_repr;

use super::words::Words;

/// Numbers that are shown of a list that has more than [`LONG`] of them.
const SHOWN: usize = 20;
/// Longest list that is shown whole.
const LONG: u32 = 50;

/// What a tag holds.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// An ASCII field that is UTF-8.
    Text(&'a str),
    /// Another ASCII field.
    Bytes(&'a [u8]),
    /// Any other field.
    Numbers(Vec<Number>),
}

/// Where a value leads that stands for the position of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pointer {
    /// There.
    To(i64),
    /// To no directory: it is no integer.
    Nowhere,
    /// There is no value.
    Missing,
    /// To no directory and into an exception: it is a fraction over zero.
    Broken,
}

impl Value<'_> {
    pub(super) fn pointer(&self) -> Pointer {
        match self {
            Self::Text("") => Pointer::Missing,
            Self::Text(_) => Pointer::Nowhere,
            Self::Bytes(bytes) => bytes
                .first()
                .map_or(Pointer::Missing, |&b| Pointer::To(b.into())),
            Self::Numbers(numbers) => match numbers.first() {
                None => Pointer::Missing,
                Some(Number::Integer(at)) => Pointer::To(*at),
                Some(Number::Ratio { denominator: 0, .. }) => Pointer::Broken,
                Some(_) => Pointer::Nowhere,
            },
        }
    }

    /// Bytes of text or count of numbers.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// As `str` shows it, the value of a field that declares `count` items.
    pub(super) fn plain(&self, count: u32) -> String {
        let is_cut = count > LONG && self.len() > SHOWN;
        match self {
            Self::Text(text) => (*text).to_owned(),
            Self::Bytes(bytes) if is_cut => cut(&bytes_repr(&bytes[..SHOWN])),
            Self::Bytes(bytes) => bytes_repr(bytes),
            Self::Numbers(numbers) if is_cut => cut(&list(&numbers[..SHOWN])),
            Self::Numbers(numbers) => match &numbers[..] {
                [one] if count == 1 => one.to_string(),
                numbers => list(numbers),
            },
        }
    }

    /// The printable ones of its characters, or the numbers in a row when there are none.
    pub(super) fn letters(&self) -> String {
        let printable = |number: i64| match u8::try_from(number) {
            Ok(byte @ 32..) => Some(char::from(byte)),
            _ => None,
        };
        let text = match self {
            // Characters of a text are no numbers, so none of them counts.
            Self::Text(text) => (*text).to_owned(),
            // These hold a byte of 128 or more, which counts as a letter of Latin-1.
            Self::Bytes(bytes) => bytes.iter().filter_map(|&b| printable(b.into())).collect(),
            Self::Numbers(numbers) => {
                let letters: String = numbers
                    .iter()
                    .filter_map(Number::integer)
                    .filter_map(printable)
                    .collect();
                if letters.is_empty() {
                    digits(numbers)
                } else {
                    letters
                }
            }
        };
        text.trim_matches([' ', '\0']).to_owned()
    }

    /// Each item in the words of a table, or as `repr` shows it.
    pub(super) fn words(&self, words: Words) -> String {
        let mut shown = String::new();
        let mut push = |number: &Number| {
            let word = number.key().and_then(|key| {
                let at = words.binary_search_by_key(&key, |word| word.0).ok()?;
                Some(words[at].1)
            });
            match word {
                Some(word) => shown.push_str(word),
                // Writing to a string cannot fail.
                None => drop(write!(shown, "{number}")),
            }
        };
        match self {
            Self::Text(text) => text
                .chars()
                .for_each(|letter| letter_repr(&mut shown, letter)),
            Self::Bytes(bytes) => bytes.iter().for_each(|&b| push(&Number::Integer(b.into()))),
            Self::Numbers(numbers) => numbers.iter().for_each(push),
        }
        shown
    }
}

/// One number of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i64),
    /// A fraction in lowest terms; over zero as it was read.
    Ratio {
        numerator: i64,
        denominator: i64,
    },
    Float(f64),
}

impl Number {
    /// The fraction `numerator` / `denominator`.
    pub(super) fn ratio(numerator: i64, denominator: i64) -> Self {
        let divisor = match denominator {
            0 => 1,
            _ => greatest_common_divisor(numerator, denominator) * denominator.signum(),
        };
        Self::Ratio {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        }
    }

    fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The integer that it equals.
    fn key(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            Self::Ratio {
                numerator,
                denominator: 1,
            } => Some(*numerator),
            _ => None,
        }
    }
}

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Ratio {
                numerator,
                denominator: 1,
            } => write!(f, "{numerator}"),
            Self::Ratio {
                numerator,
                denominator,
            } => write!(f, "{numerator}/{denominator}"),
            Self::Float(float) => write!(f, "({},)", float_repr(*float)),
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn list(numbers: &[Number]) -> String {
    let mut shown = "[".to_owned();
    for (at, number) in numbers.iter().enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(shown, "{separator}{number}");
    }
    shown.push(']');
    shown
}

/// All numbers without separators; nothing when they are zeros.
fn digits(numbers: &[Number]) -> String {
    let digits: String = numbers.iter().map(Number::to_string).collect();
    if digits.bytes().all(|byte| byte == b'0') {
        return String::new();
    }
    digits
}

/// What the beginning of a longer value becomes: its last character makes room for dots.
fn cut(shown: &str) -> String {
    format!("{}, ... ]", &shown[..shown.len() - 1])
}

/// `repr` of a text of one letter.
fn letter_repr(shown: &mut String, letter: char) {
    let quote = if letter == '\'' { '"' } else { '\'' };
    let code = letter as u32;
    shown.push(quote);
    // Writing to a string cannot fail.
    let _ = match letter {
        '\\' => write!(shown, "\\\\"),
        '\t' => write!(shown, "\\t"),
        '\n' => write!(shown, "\\n"),
        '\r' => write!(shown, "\\r"),
        letter if is_printable(letter) => write!(shown, "{letter}"),
        '\0'..='\u{ff}' => write!(shown, "\\x{code:02x}"),
        '\u{100}'..='\u{ffff}' => write!(shown, "\\u{code:04x}"),
        _ => write!(shown, "\\U{code:08x}"),
    };
    shown.push(quote);
}

/// Whether Python's `repr` shows a letter as it is: Rust leaves the same categories alone behind another
/// letter. Python 3.11 knows Unicode 14, so letters that are newer differ.
fn is_printable(letter: char) -> bool {
    if letter.is_ascii() {
        return matches!(letter, ' '..='~');
    }
    let text = String::from_iter(['a', letter]);
    text.escape_debug().eq(text.chars())
}

/// `repr` of bytes.
fn bytes_repr(bytes: &[u8]) -> String {
    let is_in_double = bytes.contains(&b'\'') && !bytes.contains(&b'"');
    let quote = if is_in_double { '"' } else { '\'' };
    let mut shown = format!("b{quote}");
    for &byte in bytes {
        // Writing to a string cannot fail.
        let _ = match byte {
            b'\\' => write!(shown, "\\\\"),
            b'\t' => write!(shown, "\\t"),
            b'\n' => write!(shown, "\\n"),
            b'\r' => write!(shown, "\\r"),
            b' '..=b'~' if char::from(byte) == quote => write!(shown, "\\{quote}"),
            b' '..=b'~' => write!(shown, "{}", char::from(byte)),
            _ => write!(shown, "\\x{byte:02x}"),
        };
    }
    shown.push(quote);
    shown
}
