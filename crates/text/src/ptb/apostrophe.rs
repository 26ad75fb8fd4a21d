//! Words with an apostrophe inside or at their end: contractions, elisions, names.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner};
use super::word::in_part;

/// What follows an apostrophe in a contraction.
const CONTRACTIONS: &[&str] = &["d", "ll", "m", "re", "s", "ve"];

/// Words that no rule makes: before and after the apostrophe, and whether a typographic one will do.
const LISTED: &[(&str, &str, bool)] = &[
    ("c", "est", true),
    ("c", "mon", false),
    ("cap", "n", true),
    ("e", "er", false),
    ("ev", "ry", false),
    ("li", "l", false),
    ("nat", "l", false),
    ("nor", "easter", false),
    ("s", "mores", false),
];

/// Words that an apostrophe ends.
const ELIDED: &[&str] = &["d", "dunkin", "j", "l", "ol", "somethin"];

/// Whether an apostrophe that starts with this byte is the ASCII one.
pub(super) fn is_straight(byte: u8) -> bool {
    byte == b'\''
}

fn is_vowel(byte: u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u')
}

impl Scanner<'_> {
    /// The position after an apostrophe at `at`: `'`, a typographic one or its entity.
    pub(super) fn apostrophe(&self, at: usize) -> Option<usize> {
        match self.char(at) {
            '&' => self.starts(at, "&apos;").then_some(at + 6),
            character @ ('\'' | '\u{92}' | '\u{2019}') => Some(at + character.len_utf8()),
            _ => None,
        }
    }

    /// The position after an apostrophe, or an opening quote in its place, at `at`.
    fn any_apostrophe(&self, at: usize) -> Option<usize> {
        match self.char(at) {
            character @ ('`' | '\u{91}' | '\u{2018}' | '\u{201B}') => {
                Some(at + character.len_utf8())
            }
            _ => self.apostrophe(at),
        }
    }

    /// The end of a contraction's letters at `at`, just after its apostrophe.
    pub(super) fn contraction(&self, at: usize) -> Option<usize> {
        let found = CONTRACTIONS
            .iter()
            .find(|letters| self.starts(at, letters))?;
        Some(at + found.len())
    }

    /// The part of the word `at..plain` before `n't`, or the word `at..thing` before `'s` and the like.
    pub(super) fn before_contraction(
        &self,
        at: usize,
        plain: usize,
        thing: usize,
    ) -> Option<Found> {
        if plain > at + 1
            && self.lower_byte(plain - 1) == b'n'
            && self.text[at..plain - 1]
                .trim_end_matches('\u{AD}')
                .bytes()
                .next_back()
                .is_some_and(|last| !last.eq_ignore_ascii_case(&b'n'))
            && let Some(after) = self.any_apostrophe(plain)
            && self.lower_byte(after) == b't'
            && self.run_with_soft_hyphens(at, |byte| byte.is_ascii_alphabetic()) == plain
        {
            return Some(Found::before(plain - 1, after + 1, Form::Word));
        }
        let reach = self.contraction(self.apostrophe(thing)?)?;
        Some(Found::before(thing, reach, Form::Word))
    }

    /// `n't` at `at`.
    pub(super) fn negation(&self, at: usize) -> Option<Found> {
        if self.lower_byte(at) != b'n' {
            return None;
        }
        let after = self.any_apostrophe(at + 1)?;
        (self.lower_byte(after) == b't').then(|| Found::new(after + 1, Form::Contraction))
    }

    /// The end of a word with an apostrophe inside: `B'nai`, `ma'am`, `li'l`.
    pub(super) fn word_with_apostrophe(&self, at: usize) -> Option<usize> {
        let letters = self.run_of_class(at, |class| class == Class::Letter);
        let after = self.any_apostrophe(letters)?;
        let next = self.byte(after);
        let ruled = match &self.bytes[at..letters] {
            // `o'o` goes on with digits too.
            [b'o' | b'O'] if matches!(next, b'o' | b'O') => {
                return Some(self.run_of_class(after, in_part));
            }
            [b'A'..=b'H' | b'J'..=b'X' | b'Z' | b'n'] => {
                let second = after + self.at(after).1;
                self.is(after, Class::Letter) && self.is(second, Class::Letter)
            }
            [_, .., last] => {
                (is_vowel(*last) || last.eq_ignore_ascii_case(&b'y'))
                    && (is_vowel(next) || next.is_ascii_uppercase())
            }
            _ => false,
        };
        let tail = || self.run_of_class(after, |class| class == Class::Letter);
        ruled.then(tail).max(self.listed(at, letters))
    }

    /// The end of a word of [`LISTED`].
    fn listed(&self, at: usize, letters: usize) -> Option<usize> {
        let straight = is_straight(self.byte(letters));
        let after = self.apostrophe(letters)?;
        let (_, tail, _) = LISTED.iter().find(|&&(head, tail, any)| {
            (straight || any) && self.word_is(at, letters, head) && self.starts(after, tail)
        })?;
        Some(after + tail.len())
    }

    /// The end of `d'`, `l'` or `o'` at `at` that joins the two or more letters or digits after it.
    pub(super) fn prefix(&self, at: usize) -> Option<usize> {
        if !matches!(self.lower_byte(at), b'd' | b'l' | b'o') {
            return None;
        }
        let after = self.any_apostrophe(at + 1)?;
        let (first, len) = self.at(after);
        let (second, _) = self.at(after + len);
        (in_part(first) && in_part(second)).then_some(after)
    }

    /// A word of [`ELIDED`] with its apostrophe, or `y'` before a letter.
    pub(super) fn elision(&self, at: usize) -> Option<Found> {
        let letters = self.run_of(at, |byte| byte.is_ascii_alphabetic());
        let after = self.apostrophe(letters)?;
        if ELIDED.iter().any(|word| self.word_is(at, letters, word)) {
            return Some(Found::new(after, Form::Word));
        }
        let (class, len) = self.at(after);
        (self.word_is(at, letters, "y") && class == Class::Letter)
            .then(|| Found::before(after, after + len, Form::Word))
    }
}
