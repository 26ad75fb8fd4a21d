//! Which words and phrases of a candidate and a reference could be aligned.

use std::ops::Range;

use foldhash::HashMap;

use super::matches::{Lists, Match, Module};
use super::tables::{Node, Paraphrase, Tables};
use super::word::{Outline, Phrase, Text, Word};

/// Finds the matches of one candidate with its references. References of one image share most of their
/// words and phrases, so what was found for one is kept for the next.
pub(super) struct Finder<'a> {
    candidate: &'a Text<'a>,
    tables: &'a Tables,
    /// Outlines of the candidate's words.
    outlines: Vec<Outline>,
    /// Numbers of the candidate's words, sorted.
    candidate_words: Vec<u16>,
    /// Phrases of the candidate with those of their paraphrases whose first word some reference holds.
    paraphrased: Vec<(&'a Phrase, Paraphrase<'a>)>,
    /// For each word of a reference by number, where in `words` its matches are.
    words_of: HashMap<u32, Range<usize>>,
    /// Room for the positions in the candidate that one word may match.
    likely: Vec<u32>,
    /// Positions in the candidate, and why they match.
    words: Vec<(u32, Module)>,
    /// For each phrase of a reference, where in `phrases` its matches are.
    phrases_of: HashMap<Node, Range<usize>>,
    /// First words and lengths in the candidate.
    phrases: Vec<(u32, u16)>,
    /// Room for the paraphrases of one phrase.
    found: Vec<Paraphrase<'a>>,
}

impl<'a> Finder<'a> {
    /// Of `candidate`, to be asked about `references` only.
    pub(super) fn new(
        candidate: &'a Text<'a>,
        references: &[Text<'_>],
        tables: &'a Tables,
    ) -> Self {
        let reference_words = numbers(references.iter().flat_map(|text| &text.words));
        let mut found = Vec::new();
        let mut paraphrased = Vec::new();
        for phrase in candidate.phrases {
            tables.paraphrases(phrase.node, &reference_words, &mut found);
            paraphrased.extend(found.drain(..).map(|paraphrase| (phrase, paraphrase)));
        }
        Self {
            candidate,
            tables,
            outlines: candidate.words.iter().map(|word| word.outline()).collect(),
            candidate_words: numbers(&candidate.words),
            paraphrased,
            words_of: HashMap::default(),
            likely: Vec::new(),
            words: Vec::new(),
            phrases_of: HashMap::default(),
            phrases: Vec::new(),
            found,
        }
    }

    /// Every match with `reference`; in each list those of the exact module first, then stems, synonyms,
    /// and the paraphrases of the reference and of the candidate. A match may be listed twice: that
    /// changes which are certain.
    pub(super) fn matches(&mut self, reference: &Text<'_>) -> Lists {
        let (a, b) = (&self.candidate.words, &reference.words);
        let is_identical = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key);
        let mut matches = Vec::with_capacity(2 * b.len());
        let mut phrases = reference.phrases.iter().peekable();
        for (position, &number) in reference.numbers.iter().enumerate() {
            for at in self.words_matching(number, b[position]) {
                let (candidate, module) = self.words[at];
                if module == Module::Exact || !is_identical {
                    matches.push(Match {
                        candidate,
                        candidate_len: 1,
                        reference: position as u32,
                        reference_len: 1,
                        module,
                    });
                }
            }
            while let Some(phrase) = phrases.next_if(|phrase| phrase.start == position) {
                if is_identical {
                    continue;
                }
                for at in self.phrases_matching(phrase.node) {
                    let (candidate, candidate_len) = self.phrases[at];
                    matches.push(Match {
                        candidate,
                        candidate_len,
                        reference: position as u32,
                        reference_len: phrase.len as u16,
                        module: Module::Paraphrase,
                    });
                }
            }
        }
        if !is_identical {
            self.push_paraphrases_of_candidate(b, &mut matches);
        }
        Lists::new(matches, b.len())
    }

    /// Where in [`Self::words`] the matches of a word are, module by module.
    fn words_matching(&mut self, number: u32, word: &Word) -> Range<usize> {
        let (candidate, words) = (self.candidate, &mut self.words);
        let (outlines, likely) = (&self.outlines, &mut self.likely);
        self.words_of
            .entry(number)
            .or_insert_with(|| {
                let outline = word.outline();
                let outlines = (0u32..).zip(outlines);
                likely.clear();
                likely.extend(
                    outlines
                        .filter(|(_, other)| outline.may_match(other))
                        .map(|(position, _)| position),
                );
                let start = words.len();
                let mut add = |module, is_match: &dyn Fn(&Word) -> bool| {
                    for &position in &*likely {
                        if is_match(candidate.words[position as usize]) {
                            words.push((position, module));
                        }
                    }
                };
                add(Module::Exact, &|other| other.key == word.key);
                add(Module::Stem, &|other| {
                    other.stem == word.stem && other.key != word.key
                });
                add(Module::Synonym, &|other| {
                    other.key != word.key && other.is_synonym_of(word)
                });
                start..words.len()
            })
            .clone()
    }

    /// Where in [`Self::phrases`] the places are at which a paraphrase of the phrase that ends at `node`
    /// stands in the candidate.
    fn phrases_matching(&mut self, node: Node) -> Range<usize> {
        if let Some(known) = self.phrases_of.get(&node) {
            return known.clone();
        }
        let start = self.phrases.len();
        let words = &self.candidate_words;
        self.tables.paraphrases(node, words, &mut self.found);
        for paraphrase in self.found.drain(..) {
            self.phrases
                .extend(places(&paraphrase, &self.candidate.words));
        }
        let known = start..self.phrases.len();
        self.phrases_of.insert(node, known.clone());
        known
    }

    fn push_paraphrases_of_candidate(&self, reference: &[&Word], matches: &mut Vec<Match>) {
        let reference_words = WordSet::of(reference);
        for (phrase, paraphrase) in &self.paraphrased {
            if !reference_words.may_contain(paraphrase.first_word) {
                continue;
            }
            for (position, reference_len) in places(paraphrase, reference) {
                matches.push(Match {
                    candidate: phrase.start as u32,
                    candidate_len: phrase.len as u16,
                    reference: position,
                    reference_len,
                    module: Module::Paraphrase,
                });
            }
        }
    }
}

/// Start and length of each place in `text` at which `paraphrase` stands.
fn places(paraphrase: &Paraphrase<'_>, text: &[&Word]) -> impl Iterator<Item = (u32, u16)> {
    let first_word = Some(paraphrase.first_word);
    (0..text.len()).filter_map(move |start| {
        let text = &text[start..];
        if text[0].id != first_word {
            return None;
        }
        let words = paraphrase.words();
        let len = words.len();
        let is_it = len <= text.len() && words.zip(text).all(|(id, word)| word.id == Some(id));
        is_it.then_some((start as u32, len as u16))
    })
}

/// The numbers of `words` in the table, sorted and without repeats.
fn numbers<'a>(words: impl IntoIterator<Item = &'a &'a Word>) -> Vec<u16> {
    let mut numbers: Vec<u16> = words.into_iter().filter_map(|word| word.id).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Tells quickly that a word is not in a text: one bit for each number modulo 1024.
struct WordSet([u64; 16]);

impl WordSet {
    fn of<'a>(words: impl IntoIterator<Item = &'a &'a Word>) -> Self {
        let mut bits = [0; 16];
        for id in words.into_iter().filter_map(|word| word.id) {
            bits[usize::from(id) / 64 % 16] |= 1u64 << (id % 64);
        }
        Self(bits)
    }

    fn may_contain(&self, id: u16) -> bool {
        self.0[usize::from(id) / 64 % 16] >> (id % 64) & 1 == 1
    }
}
