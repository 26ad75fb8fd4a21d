//! How sacrebleu's BLEU splits a caption into words.
//!
//! Every rule of the reference program is one left-to-right pass of a regular expression that takes
//! one or two characters; the passes below do the same without the expressions. A character that a
//! match has taken is not looked at again in the same pass: `a..b` keeps its second dot.

use std::str::FromStr;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

use crate::words;

/// A tokenizer of sacrebleu.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tokenizer {
    /// `13a`, that of the script `mteval-v13a`: punctuation of ASCII stands alone, points and commas
    /// between digits stay.
    #[default]
    V13a,
    /// `intl`, that of `mteval-v14`: the same for all punctuation and symbols of Unicode.
    International,
    /// `char`: every character is a word.
    Characters,
    /// `none`: words are what white space separates.
    None,
}

impl Tokenizer {
    /// The name in signatures.
    pub fn name(self) -> &'static str {
        match self {
            Self::V13a => "13a",
            Self::International => "intl",
            Self::Characters => "char",
            Self::None => "none",
        }
    }

    /// The text with white space between words, which may be any white space and any number of it.
    pub fn tokenize(self, text: &str) -> String {
        match self {
            Self::V13a => separate_marks(&separate_ascii(&format!(" {} ", unescaped(text)))),
            Self::International => {
                let text = detach_from_left(text, |c| !is_number(c), is_punctuation);
                let text = detach_from_right(&text, is_punctuation, |c| !is_number(c));
                surround(&text, is_symbol)
            }
            Self::Characters => surround(text, |c| !words::is_space(c)),
            Self::None => text.to_owned(),
        }
    }
}

impl FromStr for Tokenizer {
    type Err = UnknownTokenizer;

    fn from_str(name: &str) -> Result<Self, UnknownTokenizer> {
        [
            Self::V13a,
            Self::International,
            Self::Characters,
            Self::None,
        ]
        .into_iter()
        .find(|tokenizer| tokenizer.name() == name)
        .ok_or_else(|| UnknownTokenizer {
            name: name.to_owned(),
        })
    }
}

/// A name that is none of [`Tokenizer`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no tokenizer is called `{name}`, known are 13a, intl, char and none")]
pub struct UnknownTokenizer {
    /// The name.
    pub name: String,
}

/// What `13a` does before it looks at punctuation: lines are joined, a dash at the end of a line goes,
/// four XML entities become characters.
fn unescaped(text: &str) -> String {
    let joined = text
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    without_entities(joined)
}

/// The four XML entities that sacrebleu knows as characters, one after another: `&amp;lt;` becomes
/// `<`.
pub(super) fn without_entities(text: String) -> String {
    if !text.contains('&') {
        return text;
    }
    text.replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
}

/// Puts spaces around punctuation of ASCII, but `'`, `,`, `-` and `.`.
pub(super) fn separate_ascii(text: &str) -> String {
    surround(
        text,
        |c| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/'),
    )
}

/// Detaches points and commas that have no digit on a side, and dashes from a digit before them.
pub(super) fn separate_marks(text: &str) -> String {
    let is_mark = |c| matches!(c, '.' | ',');
    let text = detach_from_left(text, |c| !c.is_ascii_digit(), is_mark);
    let text = detach_from_right(&text, is_mark, |c| !c.is_ascii_digit());
    detach_from_left(&text, |c| c.is_ascii_digit(), |c| c == '-')
}

/// Puts spaces around every character of a set.
pub(super) fn surround(text: &str, set: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for c in text.chars() {
        if set(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// Where `before` and then `mark` hold: a space on both sides of the second.
fn detach_from_left(
    text: &str,
    before: impl Fn(char) -> bool,
    mark: impl Fn(char) -> bool,
) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if before(c)
            && let Some(mark) = chars.next_if(|&next| mark(next))
        {
            out.extend([' ', mark, ' ']);
        }
    }
    out
}

/// Where `mark` and then `after` hold: a space on both sides of the first.
fn detach_from_right(
    text: &str,
    mark: impl Fn(char) -> bool,
    after: impl Fn(char) -> bool,
) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if mark(c)
            && let Some(next) = chars.next_if(|&next| after(next))
        {
            out.extend([' ', c, ' ', next]);
        } else {
            out.push(c);
        }
    }
    out
}

/// Sorted ranges of the characters of a general category.
type Ranges = Vec<(char, char)>;

static NUMBERS: LazyLock<Ranges> = LazyLock::new(|| category(r"\p{N}"));
static PUNCTUATION: LazyLock<Ranges> = LazyLock::new(|| category(r"\p{P}"));
static SYMBOLS: LazyLock<Ranges> = LazyLock::new(|| category(r"\p{S}"));

fn is_number(c: char) -> bool {
    c.is_ascii_digit() || !c.is_ascii() && contains(&NUMBERS, c)
}

fn is_punctuation(c: char) -> bool {
    !c.is_ascii_alphanumeric() && contains(&PUNCTUATION, c)
}

fn is_symbol(c: char) -> bool {
    !c.is_ascii_alphanumeric() && contains(&SYMBOLS, c)
}

fn contains(ranges: &Ranges, c: char) -> bool {
    let next = ranges.partition_point(|&(_, last)| last < c);
    ranges.get(next).is_some_and(|&(first, _)| first <= c)
}

/// The characters of a class of a regular expression; none if it is not a class, which a test excludes.
fn category(class: &str) -> Ranges {
    match regex_syntax::parse(class).map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(class))) => class
            .iter()
            .map(|range| (range.start(), range.end()))
            .collect(),
        _ => Ranges::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokenizer: Tokenizer, text: &str) -> String {
        let text = tokenizer.tokenize(text);
        words::split(&text).collect::<Vec<_>>().join(" ")
    }

    /// Right sides are sacrebleu's.
    #[test]
    fn v13a_separates_ascii_punctuation_and_keeps_numbers_whole() {
        let is = |text, expected| assert_eq!(tokens(Tokenizer::V13a, text), expected);
        is("a dog, 1,000.5 cats.", "a dog , 1,000.5 cats .");
        is("it's 5-6 a-b 3.", "it's 5 - 6 a-b 3 .");
        is("a..b ,. .5", "a . . b , . . 5");
        is(
            "&amp;lt; &quot;x&quot; <skipped>co-\nop\nto",
            "< \" x \" coop to",
        );
        is("“a” café…", "“a” café…");
    }

    #[test]
    fn international_separates_all_punctuation_and_symbols() {
        let is = |text, expected| assert_eq!(tokens(Tokenizer::International, text), expected);
        is("a dog, 1,000.5 cats.", "a dog , 1,000.5 cats .");
        is("“a” €5 ½.", "“ a ” € 5 ½.");
        is("in 1999.", "in 1999.");
        is("a 😺 on", "a 😺 on");
    }

    #[test]
    fn characters_stand_alone() {
        assert_eq!(tokens(Tokenizer::Characters, "a é\t😺b"), "a é 😺 b");
    }

    #[test]
    fn classes_of_characters_are_there() {
        assert!(is_number('½') && is_number('Ⅻ') && is_number('٣') && !is_number('a'));
        assert!(is_punctuation('—') && is_punctuation('!') && !is_punctuation('$'));
        assert!(is_symbol('$') && is_symbol('€') && is_symbol('😺') && !is_symbol('!'));
    }

    #[test]
    fn names_are_read_back() {
        assert_eq!("intl".parse(), Ok(Tokenizer::International));
        assert!("zh".parse::<Tokenizer>().is_err());
    }
}
