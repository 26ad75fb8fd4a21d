//! Markup: tags and entities.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner};

/// Entities with a form of their own, any case.
const ENTITIES: &[(&str, Form)] = &[
    ("&amp;", Form::As("&")),
    ("&gt;", Form::As(">")),
    ("&lt;", Form::As("<")),
    ("&md;", Form::As("--")),
    ("&mdash;", Form::As("--")),
    ("&nbsp;", Form::Nothing),
    ("&ndash;", Form::As("--")),
];

/// Entities that stay as they are, without `&` and `;`.
const KEPT: &[&str] = &["cdq", "ht", "lr", "odq", "qc", "ql", "qr", "tl", "ur"];

/// Accents that entities name, after a vowel.
const ACCENTS: &[&str] = &["acute;", "grave;", "uml;"];

/// Longer tags are not looked for: one that does not end would be read again at each `<` in it.
const LONGEST_TAG_BYTES: usize = 1024;

impl Scanner<'_> {
    /// The tag, comment or declaration that starts with the `<` at `at`.
    pub(super) fn tag(&mut self, at: usize) -> Option<Found> {
        let end = match self.byte(at + 1) {
            b'!' | b'?' => self.declaration(at)?,
            b'/' => {
                let name = self.tag_name(at + 2)?;
                self.tag_close(name)?
            }
            _ => self.open_tag(at)?,
        };
        Some(Found::new(end, Form::Tag))
    }

    fn declaration(&mut self, at: usize) -> Option<usize> {
        let first = self.byte(at + 2);
        if at < self.memo.unclosed_end || !(first.is_ascii_alphabetic() || first == b'-') {
            return None;
        }
        let close = self.text[at..].find('>');
        if close.is_none() {
            self.memo.unclosed_end = self.bytes.len();
        }
        Some(at + close? + 1)
    }

    fn open_tag(&self, at: usize) -> Option<usize> {
        let mut end = self.tag_name(at + 1)?;
        while end < at + LONGEST_TAG_BYTES {
            if let Some(close) = self.tag_close(end) {
                return Some(close);
            }
            let space = self.spaces(end);
            if self.byte(space) == b'/' {
                return self.tag_close(space + 1);
            }
            if space == end {
                return None;
            }
            end = self.attribute(space)?;
        }
        None
    }

    fn spaces(&self, at: usize) -> usize {
        self.run_of(at, |byte| byte == b' ')
    }

    /// The end of spaces and `>` at `at`.
    fn tag_close(&self, at: usize) -> Option<usize> {
        let close = self.spaces(at);
        (self.byte(close) == b'>').then_some(close + 1)
    }

    fn tag_name(&self, at: usize) -> Option<usize> {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        let end = self.run_of(at, belongs);
        self.byte(at).is_ascii_alphabetic().then_some(end)
    }

    /// The end of a name, perhaps with `=` and a value in quotes.
    fn attribute(&self, at: usize) -> Option<usize> {
        let name = self.tag_name(at)?;
        let equals = self.spaces(name);
        if self.byte(equals) != b'=' {
            return Some(name);
        }
        let open = self.spaces(equals + 1);
        let quote = self.byte(open);
        if !matches!(quote, b'"' | b'\'') {
            return None;
        }
        let close = self.run_of(open + 1, |byte| byte != quote);
        (close < self.bytes.len()).then_some(close + 1)
    }

    /// The end of an entity at `at` that stands for a letter: a vowel with an accent.
    pub(super) fn accented(&self, at: usize) -> Option<usize> {
        let vowel = self.lower_byte(at + 1);
        if self.byte(at) != b'&' || !matches!(vowel, b'a' | b'e' | b'i' | b'o' | b'u') {
            return None;
        }
        let accent = ACCENTS.iter().find(|accent| self.starts(at + 2, accent))?;
        Some(at + 2 + accent.len())
    }

    /// What starts with `&`.
    pub(super) fn ampersand(&mut self, at: usize) -> Found {
        if self.accented(at).is_some() {
            return self.word(at, Class::Mark);
        }
        let mut found = Found::new(at + 1, Form::Word);
        if let Some((entity, form)) = ENTITIES.iter().find(|(entity, _)| self.starts(at, entity)) {
            found.offer(Some(Found::new(at + entity.len(), *form)));
        }
        if self.starts(at, "&lt;") {
            found.offer(self.mail(at + 4));
        }
        found.offer(self.quote_entity(at));
        found.offer(self.kept_entity(at));
        found
    }

    /// `&quot;` or `&apos;`, of which only lower case becomes a quotation mark.
    fn quote_entity(&self, at: usize) -> Option<Found> {
        let end = at + "&quot;".len();
        let is_lower = |entity| self.text[at..].starts_with(entity);
        if self.starts(at, "&quot;") {
            let mut found = self.double_quote(end);
            if !is_lower("&quot;") {
                found.form = Form::Word;
            }
            return Some(found);
        }
        if !self.starts(at, "&apos;") {
            return None;
        }
        let form = if is_lower("&apos;") {
            Form::As("'")
        } else {
            Form::Word
        };
        let mut found = Found::new(end, form);
        found.offer(self.apostrophe_first(at, end));
        Some(found)
    }

    /// `&#39;` and the entities of [`KEPT`].
    fn kept_entity(&self, at: usize) -> Option<Found> {
        let is_numeric = self.byte(at + 1) == b'#' && self.byte(at + 2).is_ascii_digit();
        let end = if is_numeric {
            self.run_of(at + 2, |byte| byte.is_ascii_digit())
        } else {
            let name = KEPT
                .iter()
                .find(|name| self.starts(at + 1, name) && self.byte(at + 1 + name.len()) == b';')?;
            at + 1 + name.len()
        };
        (self.byte(end) == b';').then(|| Found::new(end + 1, Form::Word))
    }
}
