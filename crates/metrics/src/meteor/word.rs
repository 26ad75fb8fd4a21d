//! What METEOR knows of a word.
//!
//! Words are compared by a key, the 32-bit hash that the reference program uses, so that two words of
//! one key are one word here as there. Its tables are asked by text.

use std::cell::{RefCell, RefMut};
use std::sync::Arc;

use foldhash::HashMap;
use sightline_text::snowball;
use thread_local::ThreadLocal;

use super::tables::{Node, Tables};

/// Hash of a word: `31 · h + unit` over its UTF-16 units, modulo 2³².
pub(crate) fn key(word: &str) -> u32 {
    word.encode_utf16().fold(0, |hash: u32, unit| {
        hash.wrapping_mul(31).wrapping_add(u32::from(unit))
    })
}

/// A word, looked up.
#[derive(Debug)]
pub(crate) struct Word {
    /// Key of the word itself.
    pub(crate) key: u32,
    /// Key of its stem.
    pub(crate) stem: u32,
    /// Its synonym sets, sorted.
    synsets: Box<[u32]>,
    /// One bit for each of its synonym sets modulo 256: words without a common bit have no common set.
    signature: [u64; 4],
    /// Its number in the vocabulary of the paraphrase table, if it has one.
    pub(crate) id: Option<u16>,
    /// Where the phrases that begin with it are.
    pub(crate) phrases: Option<Node>,
    /// Whether it is a function word.
    pub(crate) is_function: bool,
}

impl Word {
    fn new(word: &str, tables: &Tables) -> Self {
        let key = key(word);
        let synsets = synsets(word, tables);
        let id = tables.word_id(word);
        Self {
            key,
            stem: self::key(&snowball::stem(word)),
            signature: signature(&synsets),
            synsets: synsets.into(),
            id,
            phrases: id.and_then(|id| tables.child(Tables::ROOT, id)),
            is_function: tables.is_function(key),
        }
    }

    /// What tells most words that do not match from those that do.
    pub(crate) fn outline(&self) -> Outline {
        Outline {
            key: self.key,
            stem: self.stem,
            signature: self.signature,
        }
    }

    /// Whether both words are in one synonym set.
    pub(crate) fn is_synonym_of(&self, other: &Self) -> bool {
        self.outline().shares_bits_with(&other.outline())
            && self
                .synsets
                .iter()
                .any(|id| other.synsets.binary_search(id).is_ok())
    }
}

/// The part of a word that is compared with every word of the other caption: small, so that those of a
/// caption lie side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outline {
    key: u32,
    stem: u32,
    signature: [u64; 4],
}

impl Outline {
    /// Whether words of these outlines could match as words: false is certain.
    pub(crate) fn may_match(&self, other: &Self) -> bool {
        self.key == other.key || self.stem == other.stem || self.shares_bits_with(other)
    }

    fn shares_bits_with(&self, other: &Self) -> bool {
        let bits = self.signature.iter().zip(&other.signature);
        bits.fold(0, |all, (own, other)| all | own & other) != 0
    }
}

fn signature(synsets: &[u32]) -> [u64; 4] {
    let mut bits = [0; 4];
    for id in synsets {
        bits[*id as usize / 64 % 4] |= 1 << (id % 64);
    }
    bits
}

/// The synonym sets of `word`: its own, and those of its base forms, which are listed for irregular
/// words and found by their ending for all others.
fn synsets(word: &str, tables: &Tables) -> Vec<u32> {
    let mut ids: Vec<u32> = tables.lemma(word).unwrap_or_default();
    ids.extend(match tables.exception(word) {
        Some(of_base_forms) => of_base_forms,
        None => of_regular_form(word, tables).unwrap_or_default(),
    });
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Endings of inflected words and those of their base forms, in the order in which they are tried
/// (morphy of `WordNet`: nouns, verbs, adjectives).
const ENDINGS: [(&str, &str); 20] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("s", ""),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
];

/// The synonym sets of the first base form that has any.
fn of_regular_form(word: &str, tables: &Tables) -> Option<Vec<u32>> {
    if word.ends_with("ss") || word.encode_utf16().count() <= 2 {
        return tables.lemma(word);
    }
    ENDINGS.iter().find_map(|(ending, base)| {
        let stem = word.strip_suffix(ending)?;
        tables.lemma(&format!("{stem}{base}"))
    })
}

/// Words looked up so far, for each thread its own, so that none waits for another. Looking up is a pure
/// function: who asks first changes nothing.
#[derive(Debug)]
pub struct Lexicon {
    tables: Arc<Tables>,
    known: ThreadLocal<RefCell<Known>>,
}

impl Lexicon {
    /// Knows no word yet.
    pub(crate) fn new(tables: Arc<Tables>) -> Self {
        Self {
            tables,
            known: ThreadLocal::new(),
        }
    }

    /// What the words are looked up in.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What this thread knows.
    pub(crate) fn known(&self) -> RefMut<'_, Known> {
        self.known.get_or_default().borrow_mut()
    }
}

/// Words of one thread; a word's number is its place in `words`.
#[derive(Debug, Default)]
pub(crate) struct Known {
    numbers: HashMap<Box<str>, u32>,
    words: Vec<Word>,
    /// Where words lead in the trie of phrases: the same few steps are taken again and again.
    children: HashMap<(Node, u16), Option<Node>>,
}

/// A caption: its words by number, and the phrases of the table in it.
#[derive(Debug, Default)]
pub(crate) struct Line {
    numbers: Vec<u32>,
    phrases: Vec<Phrase>,
}

/// A phrase of the table in a caption.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phrase {
    /// First word.
    pub(crate) start: usize,
    /// Number of words.
    pub(crate) len: usize,
    /// Where its paraphrases are.
    pub(crate) node: Node,
}

/// A caption, ready to be aligned.
pub(crate) struct Text<'a> {
    pub(crate) words: Vec<&'a Word>,
    /// The number of each word: words of one number are one word.
    pub(crate) numbers: &'a [u32],
    /// In the order of their first words, shorter ones first.
    pub(crate) phrases: &'a [Phrase],
}

impl Known {
    /// The words of a line, normalised.
    pub(crate) fn line(&mut self, line: &str, tables: &Tables) -> Line {
        let normalized = tables.normalizer().normalize(line);
        self.line_of(sightline_text::meteor::words(&normalized), tables)
    }

    /// The line of `words`, which must be normalised.
    pub(crate) fn line_of<'a>(
        &mut self,
        words: impl Iterator<Item = &'a str>,
        tables: &Tables,
    ) -> Line {
        let numbers: Vec<u32> = words.map(|word| self.number(word, tables)).collect();
        let mut phrases = Vec::new();
        for start in 0..numbers.len() {
            let mut node = self.words[numbers[start] as usize].phrases;
            let mut len = 1;
            while let Some(ends) = node {
                if tables.has_paraphrases(ends) {
                    phrases.push(Phrase {
                        start,
                        len,
                        node: ends,
                    });
                }
                node = numbers
                    .get(start + len)
                    .and_then(|&next| self.words[next as usize].id)
                    .and_then(|word| self.child(ends, word, tables));
                len += 1;
            }
        }
        Line { numbers, phrases }
    }

    /// `line`, ready to be aligned.
    pub(crate) fn text<'a>(&'a self, line: &'a Line) -> Text<'a> {
        let words = line.numbers.iter();
        Text {
            words: words.map(|&number| &self.words[number as usize]).collect(),
            numbers: &line.numbers,
            phrases: &line.phrases,
        }
    }

    /// The number of `word`, which must be in lower case.
    fn number(&mut self, word: &str, tables: &Tables) -> u32 {
        if let Some(&number) = self.numbers.get(word) {
            return number;
        }
        let number = self.words.len() as u32;
        self.words.push(Word::new(word, tables));
        self.numbers.insert(word.into(), number);
        number
    }

    fn child(&mut self, node: Node, word: u16, tables: &Tables) -> Option<Node> {
        *self
            .children
            .entry((node, word))
            .or_insert_with(|| tables.child(node, word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_java_string_hashes() {
        assert_eq!(key(""), 0);
        assert_eq!(key("a"), 97);
        assert_eq!(key("hello"), 99_162_322);
        assert_eq!(key("Aa"), key("BB"));
        assert_eq!(key("\u{1f600}"), 0xd83d * 31 + 0xde00);
    }

    #[test]
    fn base_forms_are_found_by_ending_or_listed() {
        let tables = Tables::sample();
        let is_synonym =
            |a: &str, b: &str| Word::new(a, &tables).is_synonym_of(&Word::new(b, &tables));
        assert!(is_synonym("car", "automobile"));
        assert!(is_synonym("cars", "automobile"));
        assert!(is_synonym("men", "man"));
        assert!(is_synonym("mice", "mouse"));
        assert!(!is_synonym("mice", "car"));
        assert!(!is_synonym("unknown", "unknown"));
    }
}
