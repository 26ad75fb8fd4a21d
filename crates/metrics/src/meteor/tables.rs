//! METEOR's tables as one file that is mapped and used as it lies.
//!
//! The file MUST start with the magic bytes, the version of the format, a checksum and the digest of
//! what it was compiled from, followed by a list of sections ([`Section`]), each an array of
//! little-endian numbers or of bytes. [`Tables::open`] checks all of that once; a file that was cut or
//! changed is refused. Written by [`super::compile`].
//!
//! Phrases are paths in a trie whose nodes are numbered breadth first, so that the children of a node
//! are neighbours, sorted by word. A node that ends a phrase owns a run of entries, its paraphrases sorted
//! by their first words: a phrase has hundreds of them, and the words of a caption are looked up there.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use sightline_core::Digest;
use sightline_text::meteor::Normalizer;

use super::compile::{self, Sources};
use super::error::DataError;

pub(super) const MAGIC: [u8; 8] = *b"SLMETEOR";
pub(super) const VERSION: u32 = 2;
/// Magic, version, checksum, digest.
pub(super) const HEADER_LEN_BYTES: usize = 8 + 4 + 4 + 32;

/// The sections, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(dead_code, reason = "sections of a list are found behind its first")]
pub(super) enum Section {
    /// Keys of function words, u32, sorted.
    Functions,
    /// Text of the non-breaking prefixes.
    Prefixes,
    /// For each word of the paraphrase table and one more: where its text starts, u32. Words are sorted;
    /// the position is the word's number.
    WordStarts,
    /// Text of the words.
    WordText,
    /// For each node of the trie the word that leads to it, u16.
    NodeWords,
    /// For each node and one more: its first child, u32.
    NodeChildren,
    /// For each node and one more: its first entry, u32.
    NodeEntries,
    /// For each entry the first word of its paraphrase, u16, by which the entries of a node are sorted.
    EntryWords,
    /// For each entry its number in the order of the published table among those of its node, u16.
    EntryRanks,
    /// For each entry the place of its paraphrase in `Phrases`, u32.
    Entries,
    /// Phrases as u16: the number of words, then the words.
    Phrases,
    /// For each lemma and one more: where its text starts, u32. Lemmas are sorted.
    LemmaStarts,
    /// Text of the lemmas.
    LemmaText,
    /// For each lemma and one more: its first place in `LemmaSynsets`, u32.
    LemmaRuns,
    /// Synonym sets, u32.
    LemmaSynsets,
    /// The same for inflected words: the sets of their base forms.
    ExceptionStarts,
    /// Text of the inflected words.
    ExceptionText,
    /// First places in `ExceptionSynsets`.
    ExceptionRuns,
    /// Synonym sets of the base forms.
    ExceptionSynsets,
}

impl Section {
    pub(super) const COUNT: usize = Self::ExceptionSynsets as usize + 1;
}

/// METEOR's synonyms, paraphrases, function words and prefixes.
pub struct Tables {
    bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    sections: [Range<usize>; Section::COUNT],
    digest: Digest,
    functions: HashSet<u32>,
    normalizer: Normalizer,
}

impl Tables {
    /// Opens compiled tables, for example a mapped file.
    pub fn open(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Self, DataError> {
        let all = (*bytes).as_ref();
        let (sections, digest) = read_header(all)?;
        let text = |section: Section| {
            all.get(sections[section as usize].clone())
                .and_then(|bytes| std::str::from_utf8(bytes).ok())
                .ok_or(DataError::Damaged)
        };
        let normalizer = Normalizer::new(text(Section::Prefixes)?);
        text(Section::LemmaText)?;
        text(Section::ExceptionText)?;
        let functions = U32s(&all[sections[Section::Functions as usize].clone()])
            .iter()
            .collect();
        Ok(Self {
            bytes,
            sections,
            digest,
            functions,
            normalizer,
        })
    }

    /// No synonym, no paraphrase, no function word, no prefix: what `meteor-lite` uses.
    pub fn empty() -> Self {
        Self {
            bytes: Arc::new([]),
            sections: std::array::from_fn(|_| 0..0),
            digest: Digest::of(b""),
            functions: HashSet::new(),
            normalizer: Normalizer::without_prefixes(),
        }
    }

    /// A few entries of our own, for tests and the conformance kit.
    pub fn sample() -> Self {
        let sources = Sources {
            function_words: "a\nthe\non\nin\nof\nwith\nand\n",
            prefixes: "Mr\nDr\nNo #NUMERIC_ONLY#\n",
            synsets: "automobile\n1\nbench\n2 3\ncar\n1 4\ndog\n5\nhound\n5\nman\n6\nmouse\n7\nseat\n3\n",
            exceptions: "mouse\nmice\nman\nmen\n",
            paraphrases: "0.5\nin the park\noutdoors\n0.5\noutdoors\nin the park\n0.1\nred\nbright red\n0.1\nred\nscarlet\n"
                .as_bytes(),
        };
        let bytes =
            compile::compile(sources, Digest::of(b"sample")).expect("the sample is well formed");
        Self::open(Arc::new(bytes)).expect("what was compiled can be opened")
    }

    /// Digest of what the tables were compiled from.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Splits captions into words as METEOR does.
    pub fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    pub(crate) fn is_function(&self, key: u32) -> bool {
        self.functions.contains(&key)
    }

    /// The number of a word in the vocabulary of the paraphrase table, which is asked by text: two
    /// words of one key are two words there.
    pub(crate) fn word_id(&self, word: &str) -> Option<u16> {
        let at = self.position(word, Section::WordStarts)?;
        u16::try_from(at).ok()
    }

    /// The node of no word.
    pub(crate) const ROOT: Node = Node(0);

    /// The node that `word` leads to from `node`.
    pub(crate) fn child(&self, node: Node, word: u16) -> Option<Node> {
        let words = self.u16s(Section::NodeWords);
        let children = self.u32s(Section::NodeChildren);
        let node = node.0 as usize;
        let own = children.get(node) as usize..children.get(node + 1) as usize;
        let at = partition_point(own.clone(), |i| words.get(i) < word);
        (own.contains(&at) && words.get(at) == word).then_some(Node(at as u32))
    }

    /// Whether a phrase ends at `node`.
    pub(crate) fn has_paraphrases(&self, node: Node) -> bool {
        let starts = self.u32s(Section::NodeEntries);
        let node = node.0 as usize;
        starts.get(node) < starts.get(node + 1)
    }

    /// Adds to `found`, in the order of the published table, those paraphrases of the phrase that ends at
    /// `node` that begin with one of `first_words`, which are sorted and differ; none where no phrase ends.
    pub(crate) fn paraphrases<'t>(
        &'t self,
        node: Node,
        first_words: &[u16],
        found: &mut Vec<Paraphrase<'t>>,
    ) {
        let starts = self.u32s(Section::NodeEntries);
        let node = node.0 as usize;
        let mut entries = starts.get(node) as usize..starts.get(node + 1) as usize;
        let words = self.u16s(Section::EntryWords);
        let ranks = self.u16s(Section::EntryRanks);
        let places = self.u32s(Section::Entries);
        let phrases = self.u16s(Section::Phrases);
        let before = found.len();
        for &first_word in first_words {
            entries.start = partition_point(entries.clone(), |i| words.get(i) < first_word);
            while entries.start < entries.end && words.get(entries.start) == first_word {
                found.push(Paraphrase {
                    first_word,
                    rank: ranks.get(entries.start),
                    place: places.get(entries.start),
                    phrases,
                });
                entries.start += 1;
            }
            if entries.is_empty() {
                break;
            }
        }
        found[before..].sort_unstable_by_key(|one| one.rank);
    }

    /// The synonym sets of a lemma.
    pub(crate) fn lemma(&self, word: &str) -> Option<Vec<u32>> {
        self.listed(word, Section::LemmaStarts)
    }

    /// The synonym sets of the base forms of an irregular word.
    pub(crate) fn exception(&self, word: &str) -> Option<Vec<u32>> {
        self.listed(word, Section::ExceptionStarts)
    }

    /// The run of numbers of `word` in the four sections that begin with `starts`.
    fn listed(&self, word: &str, starts: Section) -> Option<Vec<u32>> {
        let at = self.position(word, starts)?;
        let runs = U32s(self.bytes_of(starts as usize + 2));
        let ids = U32s(self.bytes_of(starts as usize + 3));
        let run = runs.get(at) as usize..runs.get(at + 1) as usize;
        Some(run.map(|i| ids.get(i)).collect())
    }

    /// Where `word` stands in a sorted list: the section `starts` and the text behind it.
    fn position(&self, word: &str, starts: Section) -> Option<usize> {
        let text = self.bytes_of(starts as usize + 1);
        let starts = self.u32s(starts);
        let entry = |i: usize| {
            text.get(starts.get(i) as usize..starts.get(i + 1) as usize)
                .unwrap_or_default()
        };
        let count = starts.len().saturating_sub(1);
        let at = partition_point(0..count, |i| entry(i) < word.as_bytes());
        (at < count && entry(at) == word.as_bytes()).then_some(at)
    }

    fn bytes_of(&self, section: usize) -> &[u8] {
        (*self.bytes)
            .as_ref()
            .get(self.sections[section].clone())
            .unwrap_or_default()
    }

    fn u32s(&self, section: Section) -> U32s<'_> {
        U32s(self.bytes_of(section as usize))
    }

    fn u16s(&self, section: Section) -> U16s<'_> {
        U16s(self.bytes_of(section as usize))
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// A node of the trie of phrases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node(u32);

/// A paraphrase: a run of word numbers.
#[derive(Clone, Copy)]
pub(crate) struct Paraphrase<'t> {
    /// Number of its first word.
    pub(crate) first_word: u16,
    rank: u16,
    /// Place of its words in `phrases`.
    place: u32,
    phrases: U16s<'t>,
}

impl Paraphrase<'_> {
    /// Numbers of its words.
    pub(crate) fn words(&self) -> impl ExactSizeIterator<Item = u16> + use<'_> {
        let start = self.place as usize;
        let len = usize::from(self.phrases.get(start));
        (start + 1..start + 1 + len).map(|at| self.phrases.get(at))
    }
}

/// A sorted array's first position at which `is_before` no longer holds.
fn partition_point(range: Range<usize>, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end.max(range.start));
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Little-endian numbers. Beyond the end there are zeros: a checked file never asks for them.
#[derive(Clone, Copy)]
struct U32s<'a>(&'a [u8]);

impl<'a> U32s<'a> {
    fn len(self) -> usize {
        self.0.len() / 4
    }

    fn get(self, index: usize) -> u32 {
        self.0
            .as_chunks()
            .0
            .get(index)
            .map_or(0, |b| u32::from_le_bytes(*b))
    }

    fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b))
    }
}

/// Little-endian numbers. Beyond the end there are zeros.
#[derive(Clone, Copy)]
struct U16s<'a>(&'a [u8]);

impl U16s<'_> {
    fn get(self, index: usize) -> u16 {
        self.0
            .as_chunks()
            .0
            .get(index)
            .map_or(0, |b| u16::from_le_bytes(*b))
    }
}

type Header = ([Range<usize>; Section::COUNT], Digest);

/// Checks everything before the sections, and that the sections lie in the file.
fn read_header(all: &[u8]) -> Result<Header, DataError> {
    if all.get(..8) != Some(&MAGIC) {
        return Err(DataError::NotTables);
    }
    let u32_at = |at: usize| {
        let bytes = all.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let version = u32_at(8).ok_or(DataError::Damaged)?;
    if version != VERSION {
        return Err(DataError::Version {
            found: version,
            known: VERSION,
        });
    }
    let checksum = u32_at(12).ok_or(DataError::Damaged)?;
    let covered = all.get(16..).ok_or(DataError::Damaged)?;
    if crc32fast::hash(covered) != checksum {
        return Err(DataError::Damaged);
    }
    let digest: [u8; 32] = all
        .get(16..HEADER_LEN_BYTES)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DataError::Damaged)?;
    let mut at = HEADER_LEN_BYTES + 4 * Section::COUNT;
    let mut sections = std::array::from_fn(|_| 0..0);
    for (number, section) in sections.iter_mut().enumerate() {
        let len = u32_at(HEADER_LEN_BYTES + 4 * number).ok_or(DataError::Damaged)? as usize;
        let end = at.checked_add(len).filter(|&end| end <= all.len());
        *section = at..end.ok_or(DataError::Damaged)?;
        at = section.end;
    }
    Ok((sections, Digest::from_bytes(digest)))
}
