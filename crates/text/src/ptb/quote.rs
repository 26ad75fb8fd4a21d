//! Quotation marks, and the tokens that start with an apostrophe.

use super::apostrophe::is_straight;
use super::form::Form;
use super::scan::{Found, Scanner, farther};

/// Words that start with an apostrophe.
const CLIPPED: &[&str] = &["em", "til", "till", "cause"];

/// Words of which `'t` is a token of its own.
const IT_WORDS: &[&str] = &["tis", "twas"];

impl Scanner<'_> {
    /// What starts with `'`.
    pub(super) fn single_quote(&self, at: usize) -> Found {
        let after = at + 1;
        let mut found = Found::new(after, Form::As("'"));
        if self.byte(after) == b'\'' {
            found.offer(Some(Found::new(after + 1, Form::As("''"))));
        }
        found.offer(self.apostrophe_first(at, after));
        // It opens a quotation before a letter with something else right after it.
        let (next, len) = (self.char(after + 1), self.at(after + 1).1);
        if self.byte(after).is_ascii_alphabetic()
            && len > 0
            && !matches!(next, ' ' | '\t' | '\u{A0}')
        {
            found.offer(Some(Found::before(after, after + 1 + len, Form::As("`"))));
        }
        found
    }

    /// What starts with a double quote that ends at `after`: it opens before a letter, a digit or `$`.
    pub(super) fn double_quote(&self, after: usize) -> Found {
        let next = self.byte(after);
        if next.is_ascii_alphanumeric() || next == b'$' {
            Found::before(after, after + 1, Form::As("``"))
        } else {
            Found::new(after, Form::As("''"))
        }
    }

    /// What starts with a backquote or a typographic quote: up to two of them are a token.
    pub(super) fn typographic_quote(&self, at: usize, after: usize) -> Found {
        let second = self.char(after);
        let end = match straightened(second) {
            Some(_) => after + second.len_utf8(),
            None => after,
        };
        let mut found = Found::new(end, Form::Quotes);
        if self.apostrophe(at).is_some() {
            found.offer(self.apostrophe_first(at, after));
        }
        found
    }

    /// A token that starts with an apostrophe, which ends at `after`: `'s`, `'n'`, `'tis`, `'60s`.
    pub(super) fn apostrophe_first(&self, at: usize, after: usize) -> Option<Found> {
        let found = farther(self.contraction_first(at, after), self.clipped(at, after));
        farther(found, farther(self.and(at, after), self.decade(after)))
    }

    /// `'s`, `'ll` and the like; with a straight apostrophe no letter may follow.
    fn contraction_first(&self, at: usize, after: usize) -> Option<Found> {
        let end = self.contraction(after)?;
        if !is_straight(self.byte(at)) {
            Some(Found::new(end, Form::Contraction))
        } else if self.byte(end).is_ascii_alphabetic() {
            None
        } else {
            let reach = end + self.at(end).1.max(1);
            Some(Found::before(end, reach, Form::Contraction))
        }
    }

    /// `'em`, `'til`, `'cause`, or the first token of `'tis` and `'twas`.
    fn clipped(&self, at: usize, after: usize) -> Option<Found> {
        let longest = |words: &[&str]| {
            let lengths = words.iter().filter(|word| self.starts(after, word));
            lengths.map(|word| after + word.len()).max()
        };
        let whole = longest(CLIPPED).map(|end| Found::new(end, Form::Word));
        if whole.is_some() || !is_straight(self.byte(at)) {
            return whole;
        }
        longest(IT_WORDS).map(|reach| Found::before(after + 1, reach, Form::Word))
    }

    /// `'n'`, or `'n`, which a space must follow if the apostrophe is straight.
    fn and(&self, at: usize, after: usize) -> Option<Found> {
        let end = after + 1;
        if self.lower_byte(after) != b'n' {
            None
        } else if let Some(end) = self.apostrophe(end) {
            Some(Found::new(end, Form::Word))
        } else if !is_straight(self.byte(at)) {
            Some(Found::new(end, Form::Word))
        } else {
            self.is_space_or_end(end)
                .then(|| Found::before(end, end + 1, Form::Word))
        }
    }

    /// `'60s` from the twenties on, or any two digits before a space.
    fn decade(&self, after: usize) -> Option<Found> {
        let (tens, ones, end) = (self.byte(after), self.byte(after + 1), after + 2);
        if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
            None
        } else if tens >= b'2' && ones == b'0' && self.lower_byte(end) == b's' {
            Some(Found::new(end + 1, Form::Word))
        } else {
            (self.is_space_or_end(end) || self.char(end) == '\u{85}')
                .then(|| Found::before(end, end + 1, Form::Word))
        }
    }
}

/// How a backquote or typographic quote is written; low ones stay. `None` for anything else.
pub(super) fn straightened(character: char) -> Option<&'static str> {
    Some(match character {
        '`' | '\u{91}' | '\u{2018}' | '\u{201B}' | '\u{2039}' => "`",
        '\u{92}' | '\u{2019}' | '\u{203A}' => "'",
        '\u{93}' | '\u{AB}' | '\u{201C}' => "``",
        '\u{94}' | '\u{BB}' | '\u{201D}' => "''",
        '\u{201A}' => "\u{201A}",
        '\u{201E}' => "\u{201E}",
        '\u{201F}' => "\u{201F}",
        _ => return None,
    })
}
