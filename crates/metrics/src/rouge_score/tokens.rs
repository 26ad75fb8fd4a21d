//! Texts as numbered words.

use std::ops::Range;

use foldhash::HashMap;

use sightline_text::porter;

use super::Words;

/// Stems are taken of longer words only.
const LONGEST_UNSTEMMED: usize = 3;

/// A text as numbers of words.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) words: Vec<u32>,
    /// The lines that have words.
    pub(super) sentences: Vec<Range<usize>>,
}

impl Text {
    /// Each sentence's words.
    pub(super) fn sentences(&self) -> impl Iterator<Item = &[u32]> {
        self.sentences
            .iter()
            .map(|range| &self.words[range.clone()])
    }
}

/// Numbers words so that two have the same number if they, or their stems, are equal.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    kind: Words,
    by_word: HashMap<&'a str, u32>,
    by_stem: HashMap<String, u32>,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(kind: Words) -> Self {
        Self {
            kind,
            by_word: HashMap::default(),
            by_stem: HashMap::default(),
        }
    }

    /// The words of a text in lower case.
    pub(super) fn text(&mut self, lower: &'a str) -> Text {
        let mut text = Text::default();
        for line in lower.split('\n') {
            let start = text.words.len();
            let words = line.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
            for word in words.filter(|word| !word.is_empty()) {
                text.words.push(self.number(word));
            }
            if text.words.len() > start {
                text.sentences.push(start..text.words.len());
            }
        }
        text
    }

    fn number(&mut self, word: &'a str) -> u32 {
        if let Some(&number) = self.by_word.get(word) {
            return number;
        }
        let number = match self.kind {
            Words::AsWritten => self.by_word.len() as u32,
            Words::Stemmed => {
                let stem = if word.len() > LONGEST_UNSTEMMED {
                    porter::stem(word)
                } else {
                    word.to_owned()
                };
                let next = self.by_stem.len() as u32;
                *self.by_stem.entry(stem).or_insert(next)
            }
        };
        self.by_word.insert(word, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_and_lines_without_any_are_no_sentences() {
        let lower = "A 2nd caf\u{e9}_x.\n\n--\n\u{212a}ing \u{130}o's".to_lowercase();
        let mut numbers = Numbers::new(Words::AsWritten);
        let text = numbers.text(&lower);
        let mut words: Vec<(u32, &str)> = numbers
            .by_word
            .iter()
            .map(|(&word, &n)| (n, word))
            .collect();
        words.sort_unstable();
        let words: Vec<&str> = words.into_iter().map(|(_, word)| word).collect();
        // The Kelvin sign and the dotted capital I have lower-case forms among a to z.
        assert_eq!(words, ["a", "2nd", "caf", "x", "king", "i", "o", "s"]);
        assert_eq!(text.sentences, [0..4, 4..8]);
    }

    #[test]
    fn words_of_up_to_three_characters_are_not_stemmed() {
        let numbers = |text| Numbers::new(Words::Stemmed).text(text).words;
        assert_eq!(numbers("sitting sits sit"), [0, 0, 0]);
        assert_eq!(numbers("has ha"), [0, 1]);
    }
}
