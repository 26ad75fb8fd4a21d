//! METEOR 1.5's text normaliser: what its option `-norm` does before words are compared.
//!
//! A line goes through these steps, each over the whole line:
//!
//! | step | example |
//! | --- | --- |
//! | spaces around every character that is no letter, no ASCII digit, no ASCII white space and none of `. ' , -` and single quotes | `5%` → `5 %` |
//! | runs of two or more dots stay together, with spaces around | `a...b` → `a ... b` |
//! | commas are detached, but not between two digits | `a,b 1,000` → `a , b 1,000` |
//! | all single quotes become `'`; double quotes and `''` become `"` | `‘a’` → `'a'` |
//! | en dashes and `--` become `-`; a dash between letters or digits becomes a space | `t-shirt` → `t shirt` |
//! | apostrophes are detached; between two letters, or a digit and `s`, they stay with the second | `don't` → `don 't` |
//! | the last dot of a word: see [`Normalizer`] | `U.S. hat.` → `US hat .` |
//! | lower case | `US` → `us` |
//!
//! Letters are those of ASCII, the accented ones up to U+017E, Cyrillic (U+0400 to U+0527, U+A640 to U+A66E,
//! U+A67E to U+A697) and U+1D00 to U+1D7F; every other letter stands alone. The steps replace matches of
//! one character, a mark and one character from left to right, and a character belongs to one match only:
//! in `a-b-c` the second dash stays.
//!
//! Found out by running the program (the jar in pycocoevalcap 1.2, Java 17) on texts, and equal to it on
//! every text tried, with two exceptions. The program marks dot runs with the letters `DOTMULTI` while it
//! works, so that it reads these letters in a text as dots, which this normaliser does not. And Java 17
//! does not know the lower case of letters that came to Unicode after version 13, such as the Vithkuqi
//! alphabet.
//!
//! ```
//! use sightline_text::meteor::{Normalizer, words};
//!
//! let normalizer = Normalizer::new("# titles\nMr\nNo #NUMERIC_ONLY#\n");
//! let normalized = normalizer.normalize("Mr. Brown's T-shirt says No. 5, not 1,000.");
//! assert_eq!(normalized, "mr. brown 's t shirt says no. 5 , not 1,000 .");
//! assert_eq!(words(&normalized).count(), 12);
//! ```

use std::collections::HashMap;
use std::mem;

/// Characters that vanish at the end, though each counts as a word before.
const FOREIGN_SPACES: &[char] = &[
    '\u{a0}', '\u{2000}', '\u{2001}', '\u{2002}', '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}',
    '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}', '\u{202f}', '\u{205f}', '\u{3000}',
];

/// METEOR's `-norm` with lower-casing.
///
/// A word that ends in a dot and has more than the dot loses all its dots if there is another one and a
/// letter (`U.S.`). Else it keeps the dot if it is a non-breaking prefix (`Mr.`), if the next word starts
/// with a lower-case ASCII letter, or if it is a numeric-only prefix (`No.`) and the next word starts with
/// a digit. Else the dot becomes a word of its own.
#[derive(Clone, Debug, Default)]
pub struct Normalizer {
    prefixes: HashMap<String, Prefix>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Always,
    BeforeNumbers,
}

impl Normalizer {
    /// A normaliser with the non-breaking prefixes of `prefixes`, the text of a file like
    /// `nonbreaking/english.prefixes` in METEOR's jar.
    ///
    /// A line that starts with `#` is a comment. Else the first word of a line is a prefix; the second
    /// word `#NUMERIC_ONLY#` makes it one before numbers only, and whatever else follows is not read. Of
    /// two lines with the same prefix the last one counts.
    pub fn new(prefixes: &str) -> Self {
        let entry = |line: &str| {
            let mut words = words(line);
            let prefix = words.next()?.to_owned();
            Some(match words.next() {
                Some("#NUMERIC_ONLY#") => (prefix, Prefix::BeforeNumbers),
                _ => (prefix, Prefix::Always),
            })
        };
        Self {
            prefixes: prefixes
                .split(['\n', '\r'])
                .filter(|line| !line.starts_with('#'))
                .filter_map(entry)
                .collect(),
        }
    }

    /// A normaliser that knows no prefix.
    pub fn without_prefixes() -> Self {
        Self::default()
    }

    /// The words of `line`, normalised, lower-cased and joined by one space. Linear in its length.
    ///
    /// Line ends inside `line` are white space. A vertical tab is white space that does not part words, and is
    /// cut off at the ends with every other ASCII control character there.
    pub fn normalize(&self, line: &str) -> String {
        if is_plain(line) {
            return line.to_owned();
        }
        let mut text = Passes::new(spaced(line));
        text.detach_commas();
        text.split_compounds();
        text.detach_apostrophes();

        let mut out = String::with_capacity(text.now.len());
        let mut words = words(&text.now).peekable();
        while let Some(word) = words.next() {
            if word.starts_with(FOREIGN_SPACES) {
                continue;
            }
            match self.last_dot(word, words.peek().copied()) {
                LastDot::None => push_lower(&mut out, word.chars()),
                LastDot::Dropped => push_lower(&mut out, word.chars().filter(|&c| c != '.')),
                LastDot::Detached(rest) => {
                    push_lower(&mut out, rest.chars());
                    push_lower(&mut out, ['.'].into_iter());
                }
            }
        }
        let trimmed = out.trim_matches(|c| c <= ' ');
        if trimmed.len() < out.len() {
            return trimmed.to_owned();
        }
        out
    }

    /// What happens to the dot that `word` may end in, before the word `next`.
    fn last_dot<'a>(&self, word: &'a str, next: Option<&str>) -> LastDot<'a> {
        let Some(rest) = word.strip_suffix('.').filter(|rest| !rest.is_empty()) else {
            return LastDot::None;
        };
        // Only a run of dots ends in two.
        if rest.ends_with('.') {
            return LastDot::None;
        }
        if rest.contains('.') && rest.contains(is_letter) {
            return LastDot::Dropped;
        }
        let next = next.and_then(|word| word.bytes().next());
        let stays = next.is_some_and(|c| c.is_ascii_lowercase())
            || match self.prefixes.get(rest) {
                Some(Prefix::Always) => true,
                Some(Prefix::BeforeNumbers) => next.is_some_and(|c| c.is_ascii_digit()),
                None => false,
            };
        if stays {
            LastDot::None
        } else {
            LastDot::Detached(rest)
        }
    }
}

/// Whether `line` is lower-case ASCII words and numbers with single spaces between, as most captions are
/// that were tokenised before: then there is nothing to normalise.
fn is_plain(line: &str) -> bool {
    let mut before = b' ';
    line.bytes().all(|byte| {
        let is_plain = match byte {
            b'a'..=b'z' | b'0'..=b'9' => true,
            b' ' => before != b' ',
            _ => false,
        };
        before = byte;
        is_plain
    }) && (before != b' ' || line.is_empty())
}

/// The words of a normalised line, as METEOR splits it: at spaces, tabs and line and page ends of ASCII.
pub fn words(normalized: &str) -> impl Iterator<Item = &str> {
    normalized
        .split([' ', '\t', '\n', '\x0c', '\r'])
        .filter(|word| !word.is_empty())
}

enum LastDot<'a> {
    /// There is none, or it stays.
    None,
    /// With all others of the word.
    Dropped,
    /// From this.
    Detached(&'a str),
}

/// `line` between two spaces, with spaces around symbols and dot runs, and one kind of each quote and dash.
fn spaced(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + line.len() / 4 + 2);
    out.push(' ');
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '.' => {
                let after = rest.as_str().trim_start_matches('.');
                let more = rest.as_str().len() - after.len();
                if more > 0 {
                    out.push(' ');
                    out.extend(std::iter::repeat_n('.', 1 + more));
                    out.push(' ');
                    rest = after.chars();
                } else {
                    out.push('.');
                }
            }
            '`' | '\u{2018}' | '\u{2019}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push_str(" \" "),
            '\u{2013}' => out.push_str(" - "),
            '\'' | ',' | '-' | ' ' | '\t'..='\r' => out.push(c),
            _ if c.is_ascii_digit() || is_letter(c) => out.push(c),
            _ => {
                out.push(' ');
                out.push(c);
                out.push(' ');
            }
        }
    }
    out.push(' ');
    out
}

/// A text that passes change one after the other.
struct Passes {
    now: String,
    next: String,
}

impl Passes {
    fn new(text: String) -> Self {
        Self {
            next: String::with_capacity(text.len() + text.len() / 4),
            now: text,
        }
    }

    fn detach_commas(&mut self) {
        if self.now.contains(',') {
            self.between(is_no_digit, ",", is_no_digit, " , ");
            self.between(is_digit, ",", is_no_digit, " , ");
            self.between(is_no_digit, ",", is_digit, " , ");
        }
    }

    fn split_compounds(&mut self) {
        if self.now.contains('-') {
            self.everywhere("--", "-");
            self.between(is_letter_digit_or_dot, "-", is_letter_or_digit, " ");
        }
    }

    fn detach_apostrophes(&mut self) {
        if self.now.contains('\'') {
            self.everywhere("''", " \" ");
            self.between(is_no_letter, "'", is_no_letter, " ' ");
            self.between(is_no_letter_or_digit, "'", is_letter, " ' ");
            self.between(is_letter, "'", is_no_letter, " ' ");
            self.between(is_letter, "'", is_letter, " '");
            self.between(is_digit, "'", |c| c == 's', " '");
        }
    }

    /// Replaces each `mark` that stands between a character of the class `before` and one of `after`.
    ///
    /// As in a regular expression, a character after one mark is not looked at again as the one before
    /// the next.
    fn between(
        &mut self,
        before: fn(char) -> bool,
        mark: &str,
        after: fn(char) -> bool,
        replacement: &str,
    ) {
        // Bytes that are copied, and bytes that belong to a match.
        let (mut copied, mut matched) = (0, 0);
        self.next.clear();
        for (at, _) in self.now.match_indices(mark) {
            let end = at + mark.len();
            let Some(c) = self.now[matched.min(at)..at].chars().next_back() else {
                continue;
            };
            if let Some(d) = self.now[end..].chars().next()
                && before(c)
                && after(d)
            {
                self.next.push_str(&self.now[copied..at]);
                self.next.push_str(replacement);
                copied = end;
                matched = end + d.len_utf8();
            }
        }
        self.finish(copied);
    }

    /// Replaces each `mark`.
    fn everywhere(&mut self, mark: &str, replacement: &str) {
        let mut copied = 0;
        self.next.clear();
        for (at, _) in self.now.match_indices(mark) {
            self.next.push_str(&self.now[copied..at]);
            self.next.push_str(replacement);
            copied = at + mark.len();
        }
        self.finish(copied);
    }

    /// Copies what is left, if there was anything to change.
    fn finish(&mut self, copied: usize) {
        if copied > 0 {
            self.next.push_str(&self.now[copied..]);
            mem::swap(&mut self.now, &mut self.next);
        }
    }
}

/// Appends a word in lower case, after a space if it is not the first.
fn push_lower(out: &mut String, word: impl Iterator<Item = char>) {
    if !out.is_empty() {
        out.push(' ');
    }
    for c in word {
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            // One by one, because the one letter with two lower cases, the sigma, always stands alone.
            out.extend(c.to_lowercase());
        }
    }
}

fn is_letter(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z'
        | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{17e}'
        | '\u{400}'..='\u{527}' | '\u{a640}'..='\u{a66e}' | '\u{a67e}'..='\u{a697}'
        | '\u{1d00}'..='\u{1d7f}')
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

fn is_no_digit(c: char) -> bool {
    !is_digit(c)
}

fn is_no_letter(c: char) -> bool {
    !is_letter(c)
}

fn is_letter_or_digit(c: char) -> bool {
    is_letter(c) || is_digit(c)
}

fn is_no_letter_or_digit(c: char) -> bool {
    !is_letter_or_digit(c)
}

fn is_letter_digit_or_dot(c: char) -> bool {
    is_letter_or_digit(c) || c == '.'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A list of our own in the format of the published one.
    const PREFIXES: &str =
        "#titles\nMr\n  Dr  \nSt\tsaint\n\nNo #NUMERIC_ONLY# \nBoth\nBoth #NUMERIC_ONLY#\n";

    fn normalize(line: &str) -> String {
        Normalizer::new(PREFIXES).normalize(line)
    }

    #[test]
    fn symbols_stand_alone_and_letters_of_known_scripts_together() {
        for (line, expected) in [
            ("", ""),
            (" \t ", ""),
            ("5% of AT&T", "5 % of at & t"),
            ("a_b \\ ~", "a _ b \\ ~"),
            ("CAFÉ Ångström", "café ångström"),
            ("Москва", "москва"),
            ("ΣΟΣ", "σ ο σ"),
            ("猫\u{1f600}", "猫 \u{1f600}"),
            ("\u{130}x", "i\u{307}x"),
            ("3×4 m²", "3 × 4 m ²"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn commas_stay_between_digits() {
        for (line, expected) in [
            ("a,b 1,000 5,a a,5", "a , b 1,000 5 , a a , 5"),
            // The second comma is the character after the first match, so it is not looked at again.
            ("a,,b", "a , ,b"),
            ("5,,5", "5 , , 5"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn dashes_part_words_but_every_second_one_of_single_letters_stays() {
        for (line, expected) in [
            ("a t-shirt", "a t shirt"),
            ("a-b-c", "a b-c"),
            ("ab-cd-ef", "ab cd ef"),
            ("5- -5", "5- -5"),
            ("a.-b", "a. b"),
            ("a--b a---b", "a b a--b"),
            ("a – b 1–2", "a - b 1 - 2"),
            ("a — b", "a — b"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn apostrophes_stay_with_what_follows_inside_a_word() {
        for (line, expected) in [
            ("don't", "don 't"),
            ("shouldn\u{2019}t", "shouldn 't"),
            ("dogs' 'tis", "dogs ' ' tis"),
            ("1990's 6'2", "1990 's 6 ' 2"),
            ("''quoted`` “x”", "\" quoted \" \" x \""),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_last_dot_depends_on_the_word_and_the_next() {
        for (line, expected) in [
            ("the end.", "the end ."),
            ("the end. a new one.", "the end. a new one ."),
            ("the end. New", "the end . new"),
            ("in the U.S.", "in the us"),
            ("3.5. X", "3.5 . x"),
            (
                "Mr. X, Dr. X, St. X, Jr. X",
                "mr. x , dr. x , st. x , jr . x",
            ),
            ("mr. X", "mr . x"),
            ("No. 5, No. X, No.", "no. 5 , no . x , no ."),
            ("Both. X Both. 5", "both . x both. 5"),
            (".5 .com . x", ".5 .com . x"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
        let line = "Mr. X";
        assert_eq!(Normalizer::without_prefixes().normalize(line), "mr . x");
    }

    #[test]
    fn dot_runs_stay_whole() {
        for (line, expected) in [
            ("so... what..", "so ... what .."),
            ("a...b", "a ... b"),
            ("x.. a", "x .. a"),
            ("Mr... X", "mr ... x"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn spaces_and_control_characters_are_treated_as_in_the_program() {
        for (line, expected) in [
            ("a\u{a0}b\u{3000}c", "a b c"),
            // The no-break space is a word here, so that the next word is not a lower-case one.
            ("a.\u{a0}b", "a . b"),
            ("a\u{b}b", "a\u{b}b"),
            ("\u{1}a\u{1}b\u{1}", "a \u{1} b"),
            ("\u{b}a \u{b}", "a"),
            ("a\u{2028}b\u{85}c", "a \u{2028} b \u{85} c"),
            ("a\r\nb\x0cc", "a b c"),
        ] {
            assert_eq!(normalize(line), expected, "{line:?}");
        }
    }

    #[test]
    fn words_are_parted_by_five_characters() {
        assert!(words(" a\tb\n\rc\x0c\u{b}d ").eq(["a", "b", "c", "\u{b}d"]));
        assert_eq!(words("").count(), 0);
    }

    #[test]
    fn a_line_of_a_megabyte_is_only_a_long_line() {
        for unit in [".", "a.", "'", "a'", ",", "-", "a-", "’", "Mr. ", "猫", " "] {
            let line = unit.repeat((1 << 20) / unit.len());
            assert!(normalize(&line).len() <= 4 * line.len());
        }
    }

    proptest! {
        #[test]
        fn any_line_is_normalised(
            line in "\\PC{0,30}|[a-cA-C0-2.,' -]{0,30}|[\\x00-\u{a0}]{0,30}"
        ) {
            let normalized = normalize(&line);
            prop_assert_eq!(words(&normalized).collect::<Vec<_>>().join(" "), normalized.as_str());
            prop_assert!(!normalized.contains(|c: char| c.is_ascii_uppercase()));
            prop_assert_eq!(normalize(&format!("  {line}\t")), normalized);
        }

        #[test]
        fn plain_words_stay_as_they_are(line in "[a-z0-9]{1,8}( [a-z0-9]{1,8}){0,8}") {
            prop_assert_eq!(normalize(&line), line.as_str());
            prop_assert_eq!(normalize(&line.to_uppercase()), line);
        }
    }
}
