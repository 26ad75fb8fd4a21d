//! Words: letters and digits, and what may join them.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner};

/// Words that are two tokens, three letters being the first.
const SPLIT: &[&str] = &["cannot", "gimme", "gonna", "gotta", "lemme", "wanna"];

/// Prefixes that keep a hyphen with nothing after it.
const PREFIXES: &[&str] = &["anti", "pro"];

/// Whether a character of this class may start a plain word.
fn starts_word(class: Class) -> bool {
    matches!(class, Class::Letter | Class::Mark | Class::SoftHyphen)
}

/// Whether a character of this class may stand in a part of a hyphenated word.
pub(super) fn in_part(class: Class) -> bool {
    matches!(class, Class::Letter | Class::Digit)
}

impl Scanner<'_> {
    /// What starts with the letter, mark, digit or soft hyphen at `at`.
    pub(super) fn word(&mut self, at: usize, class: Class) -> Found {
        let is_number = class == Class::Digit;
        let plain = if is_number {
            self.run_of_class(at, in_part)
        } else {
            self.plain_word(at)
        };
        let as_word = |end| Found::new(end, Form::Word);
        let mut found = as_word(plain);
        found.offer(self.currency_prefix(at).map(as_word));
        let split = self.split_word(at, plain);
        found.offer(split.map(|end| Found::before(end, plain + 1, Form::Word)));
        found.offer(self.mail(at));

        // The longest of the things that may keep a period before a comma.
        let mut thing = plain;
        if !is_number {
            thing = self.joined(plain);
            found.offer(Some(as_word(thing)));
            found.offer(self.before_contraction(at, plain, thing));
            found.offer(self.abbreviation(at));
            let capitals = self.joined_capitals(at);
            thing = thing.max(capitals.unwrap_or(at));
            found.offer(capitals.map(|end| Found::new(end, Form::Ampersand)));
        }
        thing = thing.max(self.hyphenated(at));
        found.offer(self.bare_prefix(at, plain).map(as_word));
        found.offer(self.non_american(at));
        found.offer(Some(as_word(thing)));

        found.offer(self.word_with_apostrophe(at).map(as_word));
        found.offer(self.negation(at));
        found.offer(self.elision(at));
        found.offer(self.slashed(at).map(as_word));
        found.offer(self.programming_language(at).map(as_word));
        if matches!(class, Class::Digit | Class::SoftHyphen) {
            found.offer(self.number(at));
        }
        found.offer(self.file_name(at));
        found.offer(self.before_pause(thing));
        found.offer(self.face(at));
        found
    }

    /// The end of the plain word at `at`: letters, marks and digits.
    fn plain_word(&self, at: usize) -> usize {
        let mut end = at;
        loop {
            end = self.run_of_class(end, |class| starts_word(class) || class == Class::Digit);
            match self.accented(end) {
                Some(next) => end = next,
                None => return end,
            }
        }
    }

    /// The end of the first token of a word that is written as one but is two.
    pub(super) fn split_word(&self, at: usize, end: usize) -> Option<usize> {
        let may_be =
            matches!(end - at, 5 | 6) && matches!(self.lower_byte(at), b'c' | b'g' | b'l' | b'w');
        (may_be && SPLIT.iter().any(|word| self.word_is(at, end, word))).then_some(at + 3)
    }

    /// The end of words that single dots, exclamation or question marks join to the one that ends
    /// at `plain`, each starting with a letter: `file.name`, `end.The`, `yahoo!s`.
    fn joined(&self, plain: usize) -> usize {
        let mut end = plain;
        while matches!(self.byte(end), b'.' | b'!' | b'?') {
            let next = end + 1;
            if !starts_word(self.at(next).0) && self.accented(next).is_none() {
                break;
            }
            end = self.plain_word(next);
        }
        end
    }

    /// The end of two or more capitals or runs of them joined by `&` or `+`: `AT&T`.
    fn joined_capitals(&self, at: usize) -> Option<usize> {
        let capitals = |at| self.run_of(at, |byte| byte.is_ascii_uppercase());
        let mut end = capitals(at);
        let mut joined = None;
        while end > at && matches!(self.byte(end), b'&' | b'+') {
            let is_entity = self.starts(end, "&amp;") && self.byte(end + 5).is_ascii_uppercase();
            let next = if is_entity { end + 5 } else { end + 1 };
            end = capitals(next);
            if end == next {
                break;
            }
            joined = Some(end);
        }
        joined
    }

    /// The end of parts of letters and digits joined by `-` or `_`. Joined by `-`, the first part may
    /// hold dots and commas and the others may be acronyms: `U.S.-led`, `ex-U.S.`.
    fn hyphenated(&mut self, at: usize) -> usize {
        let part = self.run_of_class(at, in_part);
        let mut end = self.tails(part);
        if let Some(part) = self.prefixed_part(at) {
            end = end.max(self.tails(part));
        }
        if self.bytes[at].is_ascii_alphanumeric() {
            let loose = self.loose_part(at);
            let with_tails = self.loose_tails(loose);
            if with_tails > loose {
                end = end.max(with_tails);
            }
        }
        end
    }

    /// The end of a word of [`PREFIXES`] and its hyphen.
    fn bare_prefix(&self, at: usize, plain: usize) -> Option<usize> {
        let is_prefix = || {
            PREFIXES
                .iter()
                .any(|prefix| self.word_is(at, plain, prefix))
        };
        (self.byte(plain) == b'-' && is_prefix()).then_some(plain + 1)
    }

    /// The end of the parts that `-` or `_` joins to what ends at `at`.
    fn tails(&self, at: usize) -> usize {
        let mut end = at;
        loop {
            let next = match self.at(end) {
                (Class::Hyphen, len) => end + len,
                _ if matches!(self.byte(end), b'-' | b'_') => end + 1,
                _ => return end,
            };
            let prefixed = self.prefixed_part(next);
            let tail = prefixed.unwrap_or_else(|| self.run_of_class(next, in_part));
            if tail == next {
                return end;
            }
            end = tail;
        }
    }

    /// The end of the part at `at`, if it starts with `d'`, `l'` or `o'`.
    fn prefixed_part(&self, at: usize) -> Option<usize> {
        let start = self.prefix(at)?;
        Some(self.run_of_class(start, in_part))
    }

    /// The end of the ASCII letters, digits, dots and commas from `at` on.
    fn loose_part(&mut self, at: usize) -> usize {
        if at >= self.memo.loose_end {
            let belongs = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b',');
            self.memo.loose_end = self.run_with_soft_hyphens(at, belongs);
        }
        self.memo.loose_end
    }

    /// The end of the ASCII parts and acronyms that `-` joins to what ends at `at`.
    fn loose_tails(&self, at: usize) -> usize {
        let mut end = at;
        while self.byte(end) == b'-' {
            let next = end + 1;
            let part = || self.run_with_soft_hyphens(next, |byte| byte.is_ascii_alphanumeric());
            let tail = self.acronym(next).unwrap_or_else(part);
            if tail == next {
                break;
            }
            end = tail;
        }
        end
    }

    /// `non-U.S.`, the one hyphenated acronym that may end a sentence, and that may lack its period.
    fn non_american(&mut self, at: usize) -> Option<Found> {
        let end = at + "non-U.S".len();
        if !self.starts(at, "non-U.S") {
            None
        } else if self.byte(end) == b'.' {
            Some(self.sentence_final_acronym(end + 1))
        } else {
            self.is_space_or_end(end)
                .then(|| Found::before(end, end + 1, Form::Word))
        }
    }

    /// The end of two or three parts joined by `/` or `\/`: `and/or`, `red-and-white/blue`.
    fn slashed(&self, at: usize) -> Option<usize> {
        let mut end = self.slash_part(at)?;
        let mut parts = 1;
        while parts < 3 {
            let slash = match (self.byte(end), self.byte(end + 1)) {
                (b'/', _) => end + 1,
                (b'\\', b'/') => end + 2,
                _ => break,
            };
            let Some(next) = self.slash_part(slash) else {
                break;
            };
            end = next;
            parts += 1;
        }
        (parts > 1).then_some(end)
    }

    /// The end of ASCII letters and digits with at most two hyphened tails of letters.
    fn slash_part(&self, at: usize) -> Option<usize> {
        let mut end = self.run_of(at, |byte| byte.is_ascii_alphanumeric());
        if end == at {
            return None;
        }
        for _ in 0..2 {
            if self.byte(end) == b'-' && self.byte(end + 1).is_ascii_alphabetic() {
                end = self.run_of(end + 1, |byte| byte.is_ascii_alphabetic());
            }
        }
        Some(end)
    }

    /// The end of `C#`, `F#` or `C++`.
    fn programming_language(&self, at: usize) -> Option<usize> {
        match self.lower_byte(at) {
            b'c' | b'f' if self.byte(at + 1) == b'#' => Some(at + 2),
            b'c' if self.starts(at + 1, "++") => Some(at + 3),
            _ => None,
        }
    }

    /// The end of capitals and `$`: `US$`.
    fn currency_prefix(&self, at: usize) -> Option<usize> {
        let end = self.run_of(at, |byte| byte.is_ascii_uppercase());
        (end > at && self.byte(end) == b'$').then_some(end + 1)
    }

    /// A word that ends at `end` keeps its period before a comma, colon or semicolon.
    fn before_pause(&self, end: usize) -> Option<Found> {
        let pause = self.char(end + 1);
        (self.byte(end) == b'.' && matches!(pause, ',' | ';' | ':' | '\u{3001}'))
            .then(|| Found::before(end + 1, end + 1 + pause.len_utf8(), Form::Word))
    }
}
