//! Addresses: with a scheme, with `www.`, with a known last part, mail and file names.
//!
//! The reference takes nearly any characters into them, so one can start at many places and end far
//! away. What holds for a whole stretch of text is found once and remembered.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner, farther};
use super::word::in_part;

/// Last parts of hosts that need neither `www.` nor a scheme.
const TOP_LEVEL: &[&str] = &["com", "edu", "net", "org"];

/// Endings that make a file name of what does not start with a letter.
const EXTENSIONS: &[&str] = &[
    "bat", "bmp", "c", "cgi", "class", "cpp", "dll", "doc", "docx", "exe", "gif", "gz", "h", "htm",
    "html", "jar", "java", "jpeg", "jpg", "mov", "mp3", "pdf", "php", "pl", "png", "ppt", "ps",
    "py", "sql", "tar", "txt", "wav", "x", "xml", "zip",
];

/// What look-ahead found that holds for a stretch of text, so that no text is looked at again and
/// again. Each stretch starts at or before the scanner's position; `*_end` is where it ends.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// Letters, digits, dots and commas.
    pub(super) loose_end: usize,
    /// Before this no `>` is left.
    pub(super) unclosed_end: usize,
    has_mail: bool,
    mail_end: usize,
    mail: Option<Stretch>,
    www_end: usize,
    www_with_path: Option<Stretch>,
    www_alone: Option<Stretch>,
    has_host: bool,
    host_end: usize,
    host_with_path: Option<Stretch>,
    host_alone: Option<Stretch>,
    file_end: usize,
    file: Option<Stretch>,
}

/// The end that any start in a stretch leads to.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The first start.
    first: usize,
    /// Past the last start.
    limit: usize,
    end: usize,
}

impl Stretch {
    /// The end, if `at` is a start.
    fn end_from(self, at: usize) -> Option<usize> {
        (self.first <= at && at < self.limit).then_some(self.end)
    }
}

impl Memo {
    /// Nothing remembered yet about `text`, except whether it can hold mail and hosts at all.
    pub(super) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let is_top_level = |dot: usize| {
            let part = bytes.get(dot + 1..dot + 4).unwrap_or_default();
            TOP_LEVEL
                .iter()
                .any(|top| part.eq_ignore_ascii_case(top.as_bytes()))
        };
        Self {
            has_mail: bytes.contains(&b'@'),
            has_host: (0..bytes.len()).any(|at| bytes[at] == b'.' && is_top_level(at)),
            ..Self::default()
        }
    }
}

/// Characters that end an address.
fn ends_address(character: char) -> bool {
    matches!(
        character,
        '\0' | ' ' | '\t' | '"' | '<' | '>' | '|' | '(' | ')'
    )
}

/// An address less the marks that cannot be its last, and only if two characters are left of it.
fn without_final_marks(address: &str) -> Option<&str> {
    let address = address.trim_end_matches(['!', ',', '-', '.', '?', '{', '}']);
    has_two_characters(address).then_some(address)
}

fn has_two_characters(text: &str) -> bool {
    text.chars().nth(1).is_some()
}

/// Bytes that may stand in a part of a host without `www.`.
fn in_host(byte: u8) -> bool {
    byte.is_ascii_lowercase() || !byte.is_ascii() || b"#%&*+~".contains(&byte)
}

/// Bytes that may stand in a part of a host after `www.`.
fn in_www_host(byte: u8) -> bool {
    !b" \t!\"(),.<>?{|}".contains(&byte)
}

impl Scanner<'_> {
    /// The address that starts at `at`, mail excepted.
    pub(super) fn address(&mut self, at: usize) -> Option<Found> {
        let known = match self.lower_byte(at) {
            b'h' => self.with_scheme(at),
            b'w' => self.with_www(at),
            _ => None,
        };
        let end = known.max(self.host(at))?;
        Some(Found::new(end, Form::Verbatim))
    }

    /// The end of an address that starts with `http://` or `https://`.
    fn with_scheme(&self, at: usize) -> Option<usize> {
        let start = ["http://", "https://"]
            .iter()
            .find(|scheme| self.starts(at, scheme))
            .map(|scheme| at + scheme.len())?;
        let rest = &self.text[start..];
        let len = rest.find(|c| ends_address(c) || matches!(c, '{' | '}'));
        let address = without_final_marks(&rest[..len.unwrap_or(rest.len())])?;
        Some(start + address.len())
    }

    /// The end of a path that starts with a `/` at `at`.
    fn path(&self, at: usize) -> Option<usize> {
        let rest = self.text.get(at..)?.strip_prefix('/')?;
        let len = rest.find(ends_address).unwrap_or(rest.len());
        Some(at + 1 + without_final_marks(&rest[..len])?.len())
    }

    /// The end of `www.`, parts of nearly any characters, a last part of two to four letters, and
    /// perhaps a path.
    fn with_www(&mut self, at: usize) -> Option<usize> {
        if !self.starts(at, "www.") {
            return None;
        }
        if at >= self.memo.www_end {
            self.find_www(at);
        }
        let end = |stretch: Option<Stretch>| stretch.and_then(|stretch| stretch.end_from(at));
        end(self.memo.www_alone).max(end(self.memo.www_with_path))
    }

    fn find_www(&mut self, at: usize) {
        (self.memo.www_with_path, self.memo.www_alone) = (None, None);
        // All paths from here end at the same place, so the first is the only one to look for.
        let mut path = None;
        let mut part = at + 4;
        loop {
            let dot = self.run_of(part, in_www_host);
            self.memo.www_end = dot;
            if dot == part || self.byte(dot) != b'.' {
                return;
            }
            part = dot + 1;
            let letters = self.run_of(part, |byte| byte.is_ascii_alphabetic());
            let stretch = |end| Stretch {
                first: at,
                limit: dot - 4,
                end,
            };
            if letters - part >= 2 {
                self.memo.www_alone = Some(stretch(letters.min(part + 4)));
            }
            if (2..=4).contains(&(letters - part)) && self.byte(letters) == b'/' {
                let end = *path.get_or_insert_with(|| self.path(letters));
                let is_long_enough = |&end: &usize| {
                    self.text
                        .get(letters + 1..end)
                        .is_some_and(has_two_characters)
                };
                if let Some(end) = end.filter(is_long_enough) {
                    self.memo.www_with_path = Some(stretch(end));
                }
            }
        }
    }

    /// The end of parts with a known last one, and perhaps a path.
    fn host(&mut self, at: usize) -> Option<usize> {
        if !self.memo.has_host {
            return None;
        }
        if at >= self.memo.host_end {
            self.find_host(at);
        }
        if !in_host(self.byte(at)) {
            return None;
        }
        let end = |stretch: Option<Stretch>| stretch.and_then(|stretch| stretch.end_from(at));
        end(self.memo.host_with_path).or_else(|| end(self.memo.host_alone))
    }

    fn find_host(&mut self, at: usize) {
        (self.memo.host_with_path, self.memo.host_alone) = (None, None);
        let mut first = at;
        let mut part = at;
        loop {
            let dot = self.run_of(part, in_host);
            self.memo.host_end = dot.max(at + 1);
            if self.byte(dot) != b'.' {
                return;
            }
            if dot == part {
                // No part may be empty, so starts before it lead nowhere beyond it.
                first = dot + 1;
            } else if TOP_LEVEL.iter().any(|top| self.starts(dot + 1, top)) {
                let stretch = |end| Stretch {
                    first,
                    limit: dot,
                    end,
                };
                let end = dot + 4;
                self.memo.host_alone = Some(stretch(end));
                if let Some(end) = self.path(end) {
                    self.memo.host_with_path = Some(stretch(end));
                }
            }
            part = dot + 1;
        }
    }

    /// `name@host` that starts with the letter or digit at `at`; both sides may hold nearly anything.
    pub(super) fn mail(&mut self, at: usize) -> Option<Found> {
        if !self.memo.has_mail || !self.byte(at).is_ascii_alphanumeric() {
            return None;
        }
        if at >= self.memo.mail_end {
            self.find_mail(at);
        }
        let end = self.memo.mail?.end_from(at)?;
        let closed = end + usize::from(self.byte(end) == b'>');
        Some(Found::new(closed, Form::Verbatim))
    }

    fn find_mail(&mut self, at: usize) {
        let rest = &self.text[at..];
        let len = rest.find(|c| ends_address(c) || matches!(c, '{' | '}' | '\u{A0}'));
        let run = &rest.as_bytes()[..len.unwrap_or(rest.len())];
        self.memo.mail_end = at + run.len().max(1);
        // The last sign leads farthest, and to the same place from wherever the name starts.
        let is_sign = |&sign: &usize| {
            run[sign] == b'@' && run.get(sign + 1).is_some_and(|&next| next != b'.')
        };
        self.memo.mail = (1..run.len()).rev().find(is_sign).map(|sign| {
            // A dot must have something else than a dot after it.
            let host = &run[sign + 1..];
            let len = (0..host.len())
                .find(|&i| host[i] == b'.' && matches!(host.get(i + 1), None | Some(b'.')));
            Stretch {
                first: at,
                limit: at + sign,
                end: at + sign + 1 + len.unwrap_or(host.len()),
            }
        });
    }

    /// Parts of letters and digits with a known extension before a space or a punctuation mark:
    /// `5.jpg`. Soft hyphens count as letters and are kept.
    pub(super) fn file_name(&mut self, at: usize) -> Option<Found> {
        if at >= self.memo.file_end {
            self.find_file_name(at);
        }
        let end = self.memo.file?.end_from(at)?;
        let reach = end + self.at(end).1.max(1);
        Some(Found::before(end, reach, Form::Verbatim))
    }

    fn find_file_name(&mut self, at: usize) {
        self.memo.file = None;
        let in_name = |class| in_part(class) || class == Class::SoftHyphen;
        let mut end = self.run_of_class(at, in_name);
        while self.byte(end) == b'.' && in_name(self.at(end + 1).0) {
            let dot = end;
            end = self.run_of_class(dot + 1, in_name);
            let ends = self.is_space_or_end(end)
                || matches!(self.char(end), '.' | ',' | '!' | '?' | '\u{85}');
            if ends
                && EXTENSIONS
                    .iter()
                    .any(|known| self.word_is(dot + 1, end, known))
            {
                self.memo.file = Some(Stretch {
                    first: at,
                    limit: dot,
                    end,
                });
            }
        }
        self.memo.file_end = end.max(at + 1);
    }

    /// A tag, or mail, that starts with the `<` at `at`.
    pub(super) fn angle(&mut self, at: usize) -> Option<Found> {
        farther(self.tag(at), self.mail(at + 1))
    }
}
