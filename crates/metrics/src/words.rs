//! Words of captions, and numbers for them.

use foldhash::HashMap;

/// The number of a word that a [`Vocabulary`] does not have.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// Words as Python's `str.split()` takes them: what stands between runs of white space.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// White space of Python's strings: that of Unicode, and the four separators U+001C to U+001F.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Numbers words in order of first appearance. There are never more words than bytes of text, so 32
/// bits are enough for any text that fits in memory beside them.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary<'a> {
    numbers: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    /// The number of `word`, a new one if it has none.
    pub(crate) fn add(&mut self, word: &'a str) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(word).or_insert(next)
    }

    /// The number of `word`, [`UNKNOWN`] if it has none.
    pub(crate) fn find(&self, word: &str) -> u32 {
        self.numbers.get(word).copied().unwrap_or(UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_that_of_python() {
        let text = "\u{1c}a\u{1f}b\u{85}c\u{a0}d\u{3000}e \t\r\n\u{b}\u{c}f\u{200b}g\u{feff} ";
        let words: Vec<&str> = split(text).collect();
        assert_eq!(words, ["a", "b", "c", "d", "e", "f\u{200b}g\u{feff}"]);
        assert_eq!(split(" \u{2028}").next(), None);
    }

    #[test]
    fn equal_words_have_equal_numbers() {
        let mut words = Vocabulary::default();
        let numbers = ["a", "dog", "a"].map(|word| words.add(word));
        assert_eq!(numbers, [0, 1, 0]);
        assert_eq!((words.find("dog"), words.find("cat")), (1, UNKNOWN));
    }
}
