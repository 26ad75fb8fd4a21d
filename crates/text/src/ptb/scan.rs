//! The scanner: at each position the longest thing that can start there becomes a token.
//!
//! A thing is measured by its *reach*, the text that had to be looked at: `is` in `isn't` reaches to
//! the end of the word, so it wins over anything shorter and leaves `n't` for the next step. Of two
//! things with one reach the one offered first wins, so the order of offers is part of the rules.
//!
//! Every look-ahead ends with the token, is bounded, or is remembered ([`Memo`]), which makes the
//! scan linear in the length of the line.

use super::address::Memo;
use super::class::{self, Class};
use super::form::Form;

/// Something that can start at a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Where the token ends.
    pub(super) end: usize,
    /// Where the text ends that was looked at; the end of the line counts as one more byte.
    pub(super) reach: usize,
    /// How the token is written.
    pub(super) form: Form,
}

impl Found {
    /// A token that depends on nothing after it.
    pub(super) fn new(end: usize, form: Form) -> Self {
        Self::before(end, end, form)
    }

    /// A token that depends on what stands between `end` and `reach`.
    pub(super) fn before(end: usize, reach: usize, form: Form) -> Self {
        Self { end, reach, form }
    }

    /// Becomes `other` if that reaches farther.
    pub(super) fn offer(&mut self, other: Option<Self>) {
        if let Some(other) = other
            && other.reach > self.reach
        {
            *self = other;
        }
    }
}

/// The farther-reaching of two, the first if they are equal.
pub(super) fn farther(first: Option<Found>, second: Option<Found>) -> Option<Found> {
    match first {
        Some(mut found) => {
            found.offer(second);
            Some(found)
        }
        None => second,
    }
}

/// One line, and what is remembered about it.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    pub(super) text: &'t str,
    pub(super) bytes: &'t [u8],
    /// The lines that follow, which only the rules on sentence ends look at.
    pub(super) following: &'t str,
    pub(super) memo: Memo,
}

impl<'t> Scanner<'t> {
    /// Prepares to scan `text`, one line without its line break.
    pub(super) fn new(text: &'t str, following: &'t str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            following,
            memo: Memo::of(text),
        }
    }

    /// Calls `emit` with each token.
    pub(super) fn run(mut self, emit: &mut impl FnMut(&str)) {
        let mut buffer = String::new();
        let mut at = 0;
        while let Some(&byte) = self.bytes.get(at) {
            if byte == b' ' {
                at = self.run_of_class(at, |class| class == Class::Space);
                continue;
            }
            let found = match self.simple_word(at) {
                Some(end) => Found::new(end, Form::Word),
                None => self.longest(at),
            };
            found
                .form
                .write(&self.text[at..found.end], &mut buffer, emit);
            at = found.end;
        }
    }

    /// The end of a word of ASCII letters to which no rule can apply, most of any caption: one before
    /// a space, the end or a punctuation mark with a space or the end after it.
    fn simple_word(&self, at: usize) -> Option<usize> {
        let end = self.run_of(at, |byte| byte.is_ascii_alphabetic());
        if end == at {
            return None;
        }
        let is_boundary = |at: usize| matches!(self.bytes.get(at), None | Some(b' '));
        let simple = match self.bytes.get(end) {
            None | Some(b' ') => true,
            Some(b',' | b'!' | b'?') => is_boundary(end + 1),
            Some(b'.') => is_boundary(end + 1) && !self.keeps_period(at, end),
            Some(_) => false,
        };
        (simple && self.split_word(at, end).is_none()).then_some(end)
    }

    fn longest(&mut self, at: usize) -> Found {
        let (class, len) = self.at(at);
        let end = at + len;
        let mut found = match class {
            Class::Letter | Class::Mark | Class::Digit | Class::SoftHyphen => self.word(at, class),
            Class::Space | Class::Unknown | Class::Hyphen => Found::new(end, Form::Nothing),
            Class::Symbol => Found::new(end, Form::Word),
            Class::Raised | Class::Lowered => {
                Found::new(self.run_of_class(end, |c| c == class), Form::Word)
            }
            Class::Special => self.symbol(at, end),
        };
        found.offer(self.address(at));
        found
    }

    /// The class and length of the character at `at`; `Unknown` and 0 at the end.
    pub(super) fn at(&self, at: usize) -> (Class, usize) {
        match self.bytes.get(at) {
            None => (Class::Unknown, 0),
            Some(&byte) if byte.is_ascii() => (class::ascii(byte), 1),
            Some(_) => {
                let character = self.char(at);
                (class::of(character), character.len_utf8())
            }
        }
    }

    /// Whether a character of this class is at `at`.
    pub(super) fn is(&self, at: usize, class: Class) -> bool {
        self.at(at).0 == class
    }

    /// Whether white space or the end is at `at`.
    pub(super) fn is_space_or_end(&self, at: usize) -> bool {
        at >= self.bytes.len() || self.is(at, Class::Space)
    }

    /// The character at `at`, U+0000 at the end.
    pub(super) fn char(&self, at: usize) -> char {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.chars().next().unwrap_or('\0')
    }

    /// The byte at `at`, 0 at the end.
    pub(super) fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    /// The byte at `at` in lower case, 0 at the end.
    pub(super) fn lower_byte(&self, at: usize) -> u8 {
        self.byte(at).to_ascii_lowercase()
    }

    /// Whether the text at `at` starts with `prefix`, ASCII case ignored.
    pub(super) fn starts(&self, at: usize, prefix: &str) -> bool {
        let found = self.bytes.get(at..at + prefix.len());
        found.is_some_and(|found| found.eq_ignore_ascii_case(prefix.as_bytes()))
    }

    /// Whether the text from `at` to `end` is `word`, ASCII case ignored.
    pub(super) fn word_is(&self, at: usize, end: usize, word: &str) -> bool {
        end - at == word.len() && self.starts(at, word)
    }

    /// The end of the bytes from `at` on that satisfy `belongs`.
    pub(super) fn run_of(&self, at: usize, belongs: impl Fn(u8) -> bool) -> usize {
        let rest = self.bytes.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|&&byte| belongs(byte)).count()
    }

    /// The end of the characters from `at` on whose class satisfies `belongs`.
    pub(super) fn run_of_class(&self, mut at: usize, belongs: impl Fn(Class) -> bool) -> usize {
        loop {
            let (class, len) = self.at(at);
            if len == 0 || !belongs(class) {
                return at;
            }
            at += len;
        }
    }

    /// The end of the ASCII bytes that satisfy `belongs` and the soft hyphens from `at` on.
    pub(super) fn run_with_soft_hyphens(
        &self,
        mut at: usize,
        belongs: impl Fn(u8) -> bool,
    ) -> usize {
        loop {
            at = self.run_of(at, &belongs);
            if self.char(at) != '\u{AD}' {
                return at;
            }
            at += '\u{AD}'.len_utf8();
        }
    }
}
