//! Numbers: signs and separators, dates, fractions, telephone numbers.

use super::class::Class;
use super::form::Form;
use super::scan::{Found, Scanner, farther};

/// A separator in a telephone number or before a fraction, and its length.
fn separator(character: char) -> Option<usize> {
    matches!(character, ' ' | '-' | '\u{A0}').then(|| character.len_utf8())
}

impl Scanner<'_> {
    /// The end of the digits at `at`.
    fn digits(&self, at: usize) -> usize {
        self.run_of_class(at, |class| class == Class::Digit)
    }

    /// The number of digits at `at`, at most `limit`, and where those end.
    fn count_digits(&self, mut at: usize, limit: usize) -> (usize, usize) {
        let mut count = 0;
        while count < limit && self.is(at, Class::Digit) {
            at += self.at(at).1;
            count += 1;
        }
        (count, at)
    }

    /// The number that starts with the digit, sign, separator or bracket at `at`.
    pub(super) fn number(&self, at: usize) -> Option<Found> {
        let plain = self.plain_number(at).map(|end| Found::new(end, Form::Word));
        let date = self.date(at).map(|end| Found::new(end, Form::Word));
        let bound = self.fraction(at).max(self.telephone(at));
        let bound = bound.map(|end| Found::new(end, Form::Bound));
        farther(farther(plain, date), bound)
    }

    /// Digits in groups separated by `.`, `,` or `:`, perhaps with a sign or a leading separator.
    fn plain_number(&self, at: usize) -> Option<usize> {
        let start = match self.char(at) {
            '+' | '-' => at + 1,
            '\u{AD}' if self.is(at + 2, Class::Digit) => at + 2,
            _ => at,
        };
        let mut end = self.digits(start);
        while let c @ ('.' | ',' | ':' | '\u{AD}' | '\u{66B}' | '\u{66C}') = self.char(end) {
            let after = end + c.len_utf8();
            let next = self.digits(after);
            if next == after {
                break;
            }
            end = next;
        }
        (end > start).then_some(end)
    }

    /// One or two digits, one or two and two to four, separated by `-` or `/`.
    fn date(&self, at: usize) -> Option<usize> {
        let mut end = at;
        for _ in 0..2 {
            let (count, next) = self.count_digits(end, 2);
            if count == 0 || !matches!(self.byte(next), b'-' | b'/') {
                return None;
            }
            end = next + 1;
        }
        let (count, end) = self.count_digits(end, 4);
        (count >= 2).then_some(end)
    }

    /// `1/2`, or with a whole number before it `3 1/2` or `3-1/2`; no part has more than four digits.
    fn fraction(&self, at: usize) -> Option<usize> {
        let (count, end) = self.count_digits(at, 5);
        if count == 0 || count > 4 {
            return None;
        }
        let next = separator(self.char(end)).map(|len| end + len);
        self.simple_fraction(at)
            .or_else(|| self.simple_fraction(next?))
    }

    fn simple_fraction(&self, at: usize) -> Option<usize> {
        let (count, end) = self.count_digits(at, 5);
        if count == 0 || count > 4 {
            return None;
        }
        let denominator = match self.char(end) {
            '\\' if self.byte(end + 1) == b'/' => end + 2,
            slash @ ('/' | '\u{2044}') => end + slash.len_utf8(),
            _ => return None,
        };
        let (count, end) = self.count_digits(denominator, 4);
        (count > 0).then_some(end)
    }

    /// A telephone number: an area code, in brackets or perhaps with a country code before it, and
    /// two groups.
    fn telephone(&self, at: usize) -> Option<usize> {
        if self.byte(at) == b'(' {
            let (count, close) = self.count_digits(at + 1, 3);
            if count < 2 || self.byte(close) != b')' {
                return None;
            }
            let start = match self.char(close + 1) {
                space @ (' ' | '\u{A0}') => close + 1 + space.len_utf8(),
                _ => close + 1,
            };
            return self.local_number(start);
        }
        let second = self.code(at + usize::from(self.byte(at) == b'+'))?;
        let third = self.code(second).and_then(|third| self.local_number(third));
        self.local_number(second).max(third)
    }

    /// The position after two to four digits and a separator at `at`.
    fn code(&self, at: usize) -> Option<usize> {
        let (count, end) = self.count_digits(at, 4);
        let len = separator(self.char(end))?;
        (count >= 2).then_some(end + len)
    }

    /// Three or four digits and three to five, perhaps with a separator between them.
    fn local_number(&self, at: usize) -> Option<usize> {
        let group = |start| {
            let (count, end) = self.count_digits(start, 5);
            (count >= 3).then_some(end)
        };
        let (count, _) = self.count_digits(at, 4);
        (3..=count)
            .filter_map(|first| {
                let (_, middle) = self.count_digits(at, first);
                let separated = separator(self.char(middle)).map(|len| middle + len);
                group(middle).max(separated.and_then(group))
            })
            .max()
    }
}
