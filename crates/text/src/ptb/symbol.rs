//! Punctuation and symbols: brackets, dashes, dots, currency, names with a sign, faces.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner};

/// How brackets are written; in the text these names are tokens too.
const BRACKETS: &[(char, &str)] = &[
    ('(', "-lrb-"),
    (')', "-rrb-"),
    ('[', "-lsb-"),
    (']', "-rsb-"),
    ('{', "-lcb-"),
    ('}', "-rcb-"),
];

/// Dots in one ellipsis.
const ELLIPSIS: std::ops::RangeInclusive<usize> = 3..=5;

impl Scanner<'_> {
    /// What starts with the character of class `Special` between `at` and `after`.
    pub(super) fn symbol(&mut self, at: usize, after: usize) -> Found {
        let character = self.char(at);
        let mut found = match character {
            '\'' => self.single_quote(at),
            '"' => self.double_quote(after),
            '&' => self.ampersand(at),
            '#' => self.topic(at),
            '@' => self.mention(at),
            '.' => self.dots(at),
            '-' => self.hyphens(at),
            '!' | '?' => Found::new(self.run_of(at, |byte| b"!?".contains(&byte)), Form::Word),
            '*' | '_' => Found::new(self.repeats(at), Form::Word),
            '\\' => self.escaped_stars(at),
            '<' | '>' => {
                let is_double = self.char(after) == character;
                Found::new(after + usize::from(is_double), Form::Word)
            }
            _ if super::quote::straightened(character).is_some() => {
                self.typographic_quote(at, after)
            }
            _ => Found::new(after, single(character)),
        };
        match character {
            '+' | '-' | '.' | ',' | ':' | '(' | '\u{66B}' | '\u{66C}' => {
                found.offer(self.number(at));
            }
            '<' => found.offer(self.angle(at)),
            '\u{207A}' | '\u{207B}' | '\u{208A}' | '\u{208B}' => {
                found.offer(self.signed_script(after));
            }
            _ => {}
        }
        found.offer(self.face(at));
        found
    }

    /// The end of the repetitions of the byte at `at`.
    fn repeats(&self, at: usize) -> usize {
        let first = self.byte(at);
        self.run_of(at, |byte| byte == first)
    }

    /// Three to five dots, close together or each after one space, are an ellipsis.
    fn dots(&self, at: usize) -> Found {
        let count = |step: usize, between: bool| {
            (1..*ELLIPSIS.end())
                .take_while(|i| {
                    let dot = at + i * step;
                    self.byte(dot) == b'.' && (!between || self.byte(dot - 1) == b' ')
                })
                .count()
                + 1
        };
        for (step, between) in [(1, false), (2, true)] {
            let dots = count(step, between);
            if ELLIPSIS.contains(&dots) {
                return Found::new(at + (dots - 1) * step + 1, Form::As("..."));
            }
        }
        Found::new(at + 1, Form::Word)
    }

    /// Two to four hyphens are a dash, more stay; or the name of a bracket.
    fn hyphens(&self, at: usize) -> Found {
        let end = self.repeats(at);
        let form = if (2..=4).contains(&(end - at)) {
            Form::As("--")
        } else {
            Form::Word
        };
        let mut found = Found::new(end, form);
        let name = BRACKETS.iter().find(|(_, name)| self.starts(at, name));
        found.offer(name.map(|(_, name)| Found::new(at + name.len(), Form::Word)));
        found
    }

    /// `\*` once or more, or the backslash alone.
    fn escaped_stars(&self, at: usize) -> Found {
        let mut end = at;
        while self.starts(end, "\\*") {
            end += 2;
        }
        Found::new(end.max(at + 1), Form::Word)
    }

    /// `#topic` of letters, or number signs.
    fn topic(&self, at: usize) -> Found {
        let in_topic = |class| matches!(class, Class::Letter | Class::Mark | Class::SoftHyphen);
        let mut end = self.run_of_class(at + 1, in_topic);
        while let Some(next) = self.accented(end) {
            end = self.run_of_class(next, in_topic);
        }
        Found::new(end.max(self.repeats(at)), Form::Verbatim)
    }

    /// `@name` of ASCII letters, digits and low lines, or at signs.
    fn mention(&self, at: usize) -> Found {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let end = if self.byte(at + 1).is_ascii_digit() {
            at + 1
        } else {
            self.run_of(at + 1, in_name)
        };
        Found::new(end.max(self.repeats(at)), Form::Word)
    }

    /// A raised or lowered sign and the digits that start at `after`.
    fn signed_script(&self, after: usize) -> Option<Found> {
        let (script, _) = self.at(after);
        matches!(script, Class::Raised | Class::Lowered).then(|| {
            let end = self.run_of_class(after, |class| class == script);
            Found::new(end, Form::Word)
        })
    }

    /// A face made of punctuation: `:-)`, `^_^`, `(^-^)`.
    pub(super) fn face(&self, at: usize) -> Option<Found> {
        let eye = |at| b"-^x=~<>'".contains(&self.byte(at));
        let bound = |end| Some(Found::new(end, Form::Bound));
        if self.byte(at) == b'(' && eye(at + 1) {
            let middle = self.byte(at + 2);
            // Around a hyphen neither eye is one, and the second may be a backquote.
            let second = if middle == b'-' {
                self.byte(at + 1) != b'-' && b"^x=~<>'`".contains(&self.byte(at + 3))
            } else {
                eye(at + 3)
            };
            if b"_-.".contains(&middle) && second && self.byte(at + 4) == b')' {
                return bound(at + 5);
            }
            if eye(at + 2) && self.byte(at + 3) == b')' {
                return bound(at + 4);
            }
        }
        if eye(at) && self.byte(at + 1) == b'_' && eye(at + 2) {
            return bound(at + 3);
        }
        self.sideways_face(at)
    }

    /// Perhaps a brow, eyes, perhaps a nose, and a mouth that no letter or digit follows.
    fn sideways_face(&self, at: usize) -> Option<Found> {
        let eyes = at + usize::from(b"<>".contains(&self.byte(at)));
        let nose = eyes + 1;
        let mouth = nose + usize::from(b"-o*'".contains(&self.byte(nose)));
        let end = mouth + 1;
        let is_face = b":;=".contains(&self.byte(eyes))
            && b"()[]{|\\@DOPdp".contains(&self.byte(mouth))
            && !self.byte(end).is_ascii_alphanumeric();
        is_face.then(|| Found::before(end, end + self.at(end).1.max(1), Form::Bound))
    }
}

/// How a character that needs nothing around it is written.
fn single(character: char) -> Form {
    if let Some((_, name)) = BRACKETS.iter().find(|(bracket, _)| *bracket == character) {
        return Form::As(name);
    }
    match character {
        '\u{80}' | '\u{A4}' | '\u{20A0}' | '\u{20AC}' => Form::As("$"),
        '\u{A2}' => Form::As("cents"),
        '\u{A3}' => Form::As("#"),
        '\u{85}' | '\u{2026}' => Form::As("..."),
        '\u{96}' | '\u{97}' | '\u{2013}'..='\u{2015}' => Form::As("--"),
        '\u{BC}' => Form::As("1/4"),
        '\u{BD}' => Form::As("1/2"),
        '\u{BE}' => Form::As("3/4"),
        '\u{2153}' => Form::As("1/3"),
        '\u{2154}' => Form::As("2/3"),
        '\u{66B}' | '\u{66C}' => Form::Nothing,
        _ => Form::Word,
    }
}
