//! Which words and phrases of a candidate and a reference could be aligned.

use super::tables::{Paraphrase, Tables};
use super::word::{Phrase, Text, Word};

/// Why two words or phrases match, in the order of the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// The same word.
    Exact,
    /// Different words of one stem.
    Stem,
    /// Different words of one synonym set.
    Synonym,
    /// Two phrases of the paraphrase table.
    Paraphrase,
}

impl Module {
    /// Every module, in order.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Stem, Self::Synonym, Self::Paraphrase];

    /// The name in explanations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Stem => "stem",
            Self::Synonym => "synonym",
            Self::Paraphrase => "paraphrase",
        }
    }

    /// What one matched word counts in the score (METEOR 1.5, English).
    pub fn weight(self) -> f64 {
        [1.0, 0.6, 0.8, 0.6][self as usize]
    }
}

/// A word or phrase of the candidate and one of the reference that could be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// First word in the candidate.
    pub candidate: u32,
    /// Number of words in the candidate.
    pub candidate_len: u16,
    /// First word in the reference.
    pub reference: u32,
    /// Number of words in the reference.
    pub reference_len: u16,
    /// Why they match.
    pub module: Module,
}

impl Match {
    fn of_words(candidate: usize, reference: usize, module: Module) -> Self {
        Self {
            candidate: candidate as u32,
            candidate_len: 1,
            reference: reference as u32,
            reference_len: 1,
            module,
        }
    }

    /// Positions in the candidate.
    pub(super) fn in_candidate(&self) -> std::ops::Range<usize> {
        let start = self.candidate as usize;
        start..start + usize::from(self.candidate_len)
    }

    /// Positions in the reference.
    pub(super) fn in_reference(&self) -> std::ops::Range<usize> {
        let start = self.reference as usize;
        start..start + usize::from(self.reference_len)
    }
}

/// Every match, by the position in the reference at which it starts; in each list those of the exact
/// module first, then stems, synonyms, and the paraphrases of the reference and of the candidate. A
/// match may be listed twice: that changes which are certain.
pub(super) fn all(candidate: &Text<'_>, reference: &Text<'_>, tables: &Tables) -> Vec<Vec<Match>> {
    let (a, b) = (&candidate.words, &reference.words);
    let mut lists: Vec<Vec<Match>> = vec![Vec::new(); b.len()];
    words(a, b, &mut lists, Module::Exact, |a, b| a.key == b.key);
    let is_identical = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key);
    if is_identical {
        return lists;
    }
    words(a, b, &mut lists, Module::Stem, |a, b| {
        a.stem == b.stem && a.key != b.key
    });
    words(a, b, &mut lists, Module::Synonym, |a, b| {
        a.is_synonym_of(b) && a.key != b.key
    });
    paraphrases(reference, a, tables, |phrase, at, len| {
        lists[phrase.start].push(Match {
            candidate: at as u32,
            candidate_len: len as u16,
            reference: phrase.start as u32,
            reference_len: phrase.len as u16,
            module: Module::Paraphrase,
        });
    });
    paraphrases(candidate, b, tables, |phrase, at, len| {
        lists[at].push(Match {
            candidate: phrase.start as u32,
            candidate_len: phrase.len as u16,
            reference: at as u32,
            reference_len: len as u16,
            module: Module::Paraphrase,
        });
    });
    lists
}

fn words(
    candidate: &[&Word],
    reference: &[&Word],
    lists: &mut [Vec<Match>],
    module: Module,
    is_match: impl Fn(&Word, &Word) -> bool,
) {
    for (j, (word, list)) in reference.iter().zip(lists).enumerate() {
        for (i, other) in candidate.iter().enumerate() {
            if is_match(other, word) {
                list.push(Match::of_words(i, j, module));
            }
        }
    }
}

/// Calls `found` with each phrase of the table in `text` and (start, length) of each place in `other`
/// where a paraphrase of it stands.
fn paraphrases(
    text: &Text<'_>,
    other: &[&Word],
    tables: &Tables,
    mut found: impl FnMut(&Phrase, usize, usize),
) {
    let words = WordSet::of(other);
    for phrase in text.phrases {
        for paraphrase in tables.paraphrases(phrase.node) {
            if !words.may_contain(paraphrase.first_word) {
                continue;
            }
            for at in 0..other.len() {
                if let Some(len) = stands_at(&paraphrase, &other[at..]) {
                    found(phrase, at, len);
                }
            }
        }
    }
}

/// The number of words of `paraphrase`, if `text` begins with it.
fn stands_at(paraphrase: &Paraphrase<'_>, text: &[&Word]) -> Option<usize> {
    if text.first()?.id != Some(paraphrase.first_word) {
        return None;
    }
    let words = paraphrase.words();
    let len = words.len();
    let is_it = words.zip(text).all(|(id, word)| word.id == Some(id));
    (len <= text.len() && is_it).then_some(len)
}

/// Tells quickly that a word is not in a text: one bit for each number modulo 256.
struct WordSet([u64; 4]);

impl WordSet {
    fn of(text: &[&Word]) -> Self {
        let mut bits = [0; 4];
        for id in text.iter().filter_map(|word| word.id) {
            bits[usize::from(id) / 64 % 4] |= 1u64 << (id % 64);
        }
        Self(bits)
    }

    fn may_contain(&self, id: u16) -> bool {
        self.0[usize::from(id) / 64 % 4] >> (id % 64) & 1 == 1
    }
}
