//! Makes the compiled tables from METEOR's published data.
//!
//! The data stay where they are published: in the wheel of pycocoevalcap 1.2, partly in the Java archive
//! inside it. [`from_wheel`] reads them there, checks that each is the published one, and compiles them.
//! Nothing of the Java program is run or read but its data files.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::ops::Range;

use sightline_core::digest::Hasher;
use sightline_core::{Digest, Progress};
use zip::ZipArchive;

use super::error::DataError;
use super::tables::{MAGIC, Section, VERSION};
use super::word::key;

const JAR: &str = "pycocoevalcap/meteor/meteor-1.5.jar";
const PARAPHRASES: &str = "pycocoevalcap/meteor/data/paraphrase-en.gz";
const FUNCTION_WORDS: &str = "function/english.words";
const PREFIXES: &str = "nonbreaking/english.prefixes";
const SYNSETS: &str = "synonym/english.synsets";
const EXCEPTIONS: &str = "synonym/english.exceptions";

/// Most bytes of a file of the data; the published ones have 61.8 MB at most.
const MAX_FILE_LEN_BYTES: u64 = 128 << 20;
/// Most bytes of the unpacked paraphrase table; the published one has 272 MB.
const MAX_TABLE_LEN_BYTES: u64 = 1 << 30;
/// Most words of a phrase.
const MAX_PHRASE_WORDS: usize = 255;
/// Paraphrases between two reports of progress.
const REPORT_EVERY: u64 = 1 << 16;
/// Paraphrases in the published table.
const PUBLISHED_PARAPHRASES: u64 = 5_274_084;

/// Digests of the published files.
const PUBLISHED: [(&str, &str); 5] = [
    (
        FUNCTION_WORDS,
        "2ae0d5b8c29e2993a0f442b065b946d1a17fbfe8538e66bf5931c4a248cf4c3a",
    ),
    (
        PREFIXES,
        "bd909f364224748976f9b8b7cdeb4f9be3bf7c8e66a10f1ed268b12d904ab876",
    ),
    (
        SYNSETS,
        "20b7cf6ae1cba2395d714d8c2ec2992e88c6d1c75c7c30aa480c6a2a9bb8fef9",
    ),
    (
        EXCEPTIONS,
        "5feb8fcb5b349d035df1a448149c2ccc860bf32e4b9eea8c8e4f113e90a5a962",
    ),
    (
        PARAPHRASES,
        "c147ac7d2c91f2fbb3ad31e4b352235061eb83145e0434daf217ee9ca5975f48",
    ),
];

/// Digest of the published data: that of the list of the files and their digests. Compiled tables carry
/// it, so that a score can say what it was computed with.
pub fn published_digest() -> Digest {
    let mut hasher = Hasher::new();
    for (name, digest) in PUBLISHED {
        hasher.update(format!("{digest}  {name}\n").as_bytes());
    }
    hasher.finish()
}

/// The name of the file of compiled tables: another one for other data or another format.
pub fn file_name() -> String {
    format!("meteor-1.5-en-{}.v{VERSION}", published_digest().short())
}

/// The texts that tables are compiled from.
pub(super) struct Sources<'a, R> {
    /// A function word a line.
    pub(super) function_words: &'a str,
    /// A prefix a line, as [`sightline_text::meteor::Normalizer::new`] reads them.
    pub(super) prefixes: &'a str,
    /// Two lines an entry: a lemma and its synonym sets.
    pub(super) synsets: &'a str,
    /// Two lines an entry: a base form and its inflected words.
    pub(super) exceptions: &'a str,
    /// Three lines an entry: a probability, which is not used, a phrase and its paraphrase.
    pub(super) paraphrases: R,
}

/// Compiles the data in a wheel of pycocoevalcap 1.2 into the bytes that [`super::Tables::open`] takes.
pub fn from_wheel(wheel: impl Read + Seek, progress: &dyn Progress) -> Result<Vec<u8>, DataError> {
    let mut wheel = archive("the wheel", wheel)?;
    let mut jar = archive(JAR, Cursor::new(file(&mut wheel, JAR)?))?;
    let mut text = |name| {
        let bytes = file(&mut jar, name)?;
        published(name, &bytes)?;
        String::from_utf8(bytes).map_err(|_| DataError::Line {
            name,
            line: 1,
            problem: "the file is not UTF-8",
        })
    };
    let (function_words, prefixes) = (text(FUNCTION_WORDS)?, text(PREFIXES)?);
    let (synsets, exceptions) = (text(SYNSETS)?, text(EXCEPTIONS)?);
    let packed = file(&mut wheel, PARAPHRASES)?;
    published(PARAPHRASES, &packed)?;
    let unpacked = flate2::read::GzDecoder::new(packed.as_slice()).take(MAX_TABLE_LEN_BYTES);
    progress.start("paraphrases", Some(PUBLISHED_PARAPHRASES));
    let compiled = compile_with(
        Sources {
            function_words: &function_words,
            prefixes: &prefixes,
            synsets: &synsets,
            exceptions: &exceptions,
            paraphrases: BufReader::with_capacity(1 << 18, unpacked),
        },
        published_digest(),
        progress,
    );
    progress.finish();
    compiled
}

fn archive<R: Read + Seek>(name: &'static str, reader: R) -> Result<ZipArchive<R>, DataError> {
    ZipArchive::new(reader).map_err(|source| DataError::Archive { name, source })
}

fn file(
    archive: &mut ZipArchive<impl Read + Seek>,
    name: &'static str,
) -> Result<Vec<u8>, DataError> {
    let entry = archive
        .by_name(name)
        .map_err(|source| DataError::Archive { name, source })?;
    let mut bytes = Vec::new();
    entry
        .take(MAX_FILE_LEN_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| DataError::Read { name, source })?;
    if bytes.len() as u64 > MAX_FILE_LEN_BYTES {
        return Err(DataError::TooLarge {
            name,
            limit: MAX_FILE_LEN_BYTES,
        });
    }
    Ok(bytes)
}

fn published(name: &'static str, bytes: &[u8]) -> Result<(), DataError> {
    let found = Digest::of(bytes);
    match PUBLISHED.iter().find(|(known, _)| *known == name) {
        Some((_, digest)) if found.to_string() == *digest => Ok(()),
        Some((_, digest)) => Err(DataError::NotPublished {
            name,
            found,
            expected: digest.parse().unwrap_or(found),
        }),
        None => Ok(()),
    }
}

/// Compiles `sources`.
pub(super) fn compile(
    sources: Sources<'_, impl BufRead>,
    digest: Digest,
) -> Result<Vec<u8>, DataError> {
    compile_with(sources, digest, &sightline_core::progress::Silent)
}

fn compile_with(
    sources: Sources<'_, impl BufRead>,
    digest: Digest,
    progress: &dyn Progress,
) -> Result<Vec<u8>, DataError> {
    let mut functions: Vec<u32> = sources.function_words.lines().map(key).collect();
    functions.sort_unstable();

    let synsets = lemmas(sources.synsets)?;
    let exceptions = base_forms(sources.exceptions, &synsets)?;
    let table = ParaphraseTable::read(sources.paraphrases, progress)?;
    let trie = Trie::new(&table)?;

    let [word_starts, word_text] = sorted_texts(table.vocabulary.iter().map(String::as_bytes))?;
    let mut sections: Vec<Vec<u8>> = vec![
        u32s(functions),
        sources.prefixes.as_bytes().to_vec(),
        word_starts,
        word_text,
        u16s(trie.words),
        u32s(trie.children),
        u32s(trie.entries),
        u16s(trie.paraphrases.iter().map(|one| one.first_word)),
        u16s(trie.paraphrases.iter().map(|one| one.rank)),
        u32s(trie.paraphrases.iter().map(|one| one.place)),
        u16s(table.phrases.iter().copied()),
    ];
    sections.extend(listed(&synsets)?);
    sections.extend(listed(&exceptions)?);
    assemble(&sections, digest)
}

/// The file: header, lengths, sections.
fn assemble(sections: &[Vec<u8>], digest: Digest) -> Result<Vec<u8>, DataError> {
    debug_assert_eq!(sections.len(), Section::COUNT);
    let mut covered = digest.as_bytes().to_vec();
    for section in sections {
        covered.extend(room("bytes of a section", section.len())?.to_le_bytes());
    }
    for section in sections {
        covered.extend(section);
    }
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend(crc32fast::hash(&covered).to_le_bytes());
    file.extend(covered);
    Ok(file)
}

fn u32s(values: impl IntoIterator<Item = u32>) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn u16s(values: impl IntoIterator<Item = u16>) -> Vec<u8> {
    values.into_iter().flat_map(u16::to_le_bytes).collect()
}

fn room(what: &'static str, count: usize) -> Result<u32, DataError> {
    u32::try_from(count).map_err(|_| DataError::Room {
        what,
        limit: u64::from(u32::MAX),
    })
}

type Listed = BTreeMap<Vec<u8>, Vec<u32>>;

/// Synonym sets by lemma.
fn lemmas(text: &str) -> Result<Listed, DataError> {
    let mut found = Listed::new();
    for (number, [lemma, ids]) in pairs(text, SYNSETS)? {
        let ids = ids
            .split_ascii_whitespace()
            .map(|id| {
                id.parse().map_err(|_| DataError::Line {
                    name: SYNSETS,
                    line: number + 1,
                    problem: "a synonym set is not a number",
                })
            })
            .collect::<Result<Vec<u32>, _>>()?;
        found.insert(lemma.into(), ids);
    }
    Ok(found)
}

/// Synonym sets of the base forms of each inflected word.
fn base_forms(text: &str, lemmas: &Listed) -> Result<Listed, DataError> {
    let mut found = Listed::new();
    for (_, [base, inflected]) in pairs(text, EXCEPTIONS)? {
        for word in inflected.split_ascii_whitespace() {
            let ids = found.entry(word.into()).or_default();
            ids.extend(lemmas.get(base.as_bytes()).into_iter().flatten());
        }
    }
    Ok(found)
}

/// Entries of two lines, each with the number of its first line.
fn pairs<'a>(
    text: &'a str,
    name: &'static str,
) -> Result<impl Iterator<Item = (u64, [&'a str; 2])>, DataError> {
    let lines: Vec<&str> = text.lines().collect();
    let (pairs, rest) = lines.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(DataError::Line {
            name,
            line: lines.len() as u64,
            problem: "an entry of one line",
        });
    }
    let pairs: Vec<[&str; 2]> = pairs.to_vec();
    Ok((1..).step_by(2).zip(pairs))
}

/// The two sections of a sorted list of texts: starts, text.
fn sorted_texts<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Result<[Vec<u8>; 2], DataError> {
    let (mut starts, mut text) = (vec![0], Vec::new());
    for one in texts {
        text.extend(one);
        starts.push(room("bytes of words", text.len())?);
    }
    Ok([u32s(starts), text])
}

/// The four sections of a sorted list with numbers: starts, text, runs, numbers.
fn listed(entries: &Listed) -> Result<[Vec<u8>; 4], DataError> {
    let [starts, text] = sorted_texts(entries.keys().map(Vec::as_slice))?;
    let (mut runs, mut ids) = (vec![0], Vec::new());
    for of_word in entries.values() {
        ids.extend(of_word);
        runs.push(room("synonym sets", ids.len())?);
    }
    Ok([starts, text, u32s(runs), u32s(ids)])
}

/// Two places in `phrases`.
#[derive(Clone, Copy)]
struct Entry {
    phrase: u32,
    paraphrase: u32,
}

/// The paraphrase table with words and phrases numbered.
struct ParaphraseTable {
    /// Words, sorted: the position is the word's number.
    vocabulary: Vec<String>,
    /// The number of words of a phrase, then the words.
    phrases: Vec<u16>,
    /// Phrases in the order of their words, equal ones in the order of the table.
    entries: Vec<Entry>,
}

impl ParaphraseTable {
    fn read(mut reader: impl BufRead, progress: &dyn Progress) -> Result<Self, DataError> {
        let mut numbers: HashMap<String, u16> = HashMap::new();
        let mut known: HashMap<Box<[u16]>, u32> = HashMap::new();
        let mut phrases = Vec::new();
        let mut entries = Vec::new();
        let mut line = String::new();
        let mut number = 0u64;
        let mut next = |line: &mut String| {
            line.clear();
            number += 1;
            let read = reader.read_line(line).map_err(|source| DataError::Read {
                name: PARAPHRASES,
                source,
            })?;
            Ok::<_, DataError>((read > 0, number))
        };
        while next(&mut line)?.0 {
            let mut phrase = |line: &mut String| {
                let (is_there, number) = next(line)?;
                let problem = |problem| DataError::Line {
                    name: PARAPHRASES,
                    line: number,
                    problem,
                };
                let words = line
                    .split_ascii_whitespace()
                    .map(|word| {
                        if let Some(&known) = numbers.get(word) {
                            return Some(known);
                        }
                        let new = u16::try_from(numbers.len()).ok()?;
                        numbers.insert(word.to_owned(), new);
                        Some(new)
                    })
                    .collect::<Option<Box<[u16]>>>()
                    .ok_or(DataError::Room {
                        what: "different words in the paraphrase table",
                        limit: u64::from(u16::MAX) + 1,
                    })?;
                if !is_there || words.is_empty() {
                    return Err(problem("a phrase is missing"));
                }
                if words.len() > MAX_PHRASE_WORDS {
                    return Err(problem("a phrase has more than 255 words"));
                }
                if let Some(&place) = known.get(&words) {
                    return Ok(place);
                }
                let place = room("words of phrases", phrases.len())?;
                phrases.push(words.len() as u16);
                phrases.extend(&words);
                known.insert(words, place);
                Ok(place)
            };
            entries.push(Entry {
                phrase: phrase(&mut line)?,
                paraphrase: phrase(&mut line)?,
            });
            room("paraphrases", entries.len())?;
            if (entries.len() as u64).is_multiple_of(REPORT_EVERY) {
                progress.advance(REPORT_EVERY);
            }
        }
        Ok(Self::sorted(numbers, phrases, entries))
    }

    /// Numbers words by their order and sorts the entries.
    fn sorted(
        numbers: HashMap<String, u16>,
        mut phrases: Vec<u16>,
        mut entries: Vec<Entry>,
    ) -> Self {
        let mut numbers: Vec<(String, u16)> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let mut renumbered = vec![0u16; numbers.len()];
        for (new, (_, old)) in numbers.iter().enumerate() {
            renumbered[usize::from(*old)] = new as u16;
        }
        let vocabulary = numbers.into_iter().map(|(word, _)| word).collect();
        let mut at = 0;
        while let Some(&len) = phrases.get(at) {
            let end = at + 1 + usize::from(len);
            for word in &mut phrases[at + 1..end] {
                *word = renumbered[usize::from(*word)];
            }
            at = end;
        }
        let mut table = Self {
            vocabulary,
            phrases,
            entries: Vec::new(),
        };
        entries.sort_by(|a, b| table.words(a.phrase).cmp(table.words(b.phrase)));
        table.entries = entries;
        table
    }

    fn words(&self, place: u32) -> &[u16] {
        let place = place as usize;
        let len = usize::from(self.phrases[place]);
        &self.phrases[place + 1..=place + len]
    }
}

/// The trie over the phrases of a sorted table, nodes breadth first; node 0 is the root.
struct Trie {
    /// The word that leads to each node.
    words: Vec<u16>,
    /// The first child of each node, and of one more.
    children: Vec<u32>,
    /// The first of each node's paraphrases in `paraphrases`, and of one more.
    entries: Vec<u32>,
    /// Those of a node sorted.
    paraphrases: Vec<Ranked>,
}

/// A paraphrase of a node; in the order in which they are searched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    first_word: u16,
    /// Number among the node's paraphrases in the order of the table.
    rank: u16,
    /// Place of its words.
    place: u32,
}

impl Trie {
    fn new(table: &ParaphraseTable) -> Result<Self, DataError> {
        let mut trie = Self {
            words: vec![0],
            children: Vec::new(),
            entries: Vec::new(),
            paraphrases: Vec::new(),
        };
        let words = |entry: usize| table.words(table.entries[entry].phrase);
        let mut depth = 0;
        // For each node of a level the entries whose phrase begins with the node's words.
        let mut level: Vec<Range<usize>> = std::iter::once(0..table.entries.len()).collect();
        while !level.is_empty() {
            let mut below = Vec::new();
            for node in level {
                let mut start = node.start;
                trie.entries
                    .push(room("paraphrases", trie.paraphrases.len())?);
                let first = trie.paraphrases.len();
                while start < node.end && words(start).len() == depth {
                    let place = table.entries[start].paraphrase;
                    let rank = trie.paraphrases.len() - first;
                    trie.paraphrases.push(Ranked {
                        first_word: table.words(place)[0],
                        rank: u16::try_from(rank).map_err(|_| DataError::Room {
                            what: "paraphrases of one phrase",
                            limit: u64::from(u16::MAX) + 1,
                        })?,
                        place,
                    });
                    start += 1;
                }
                trie.paraphrases[first..].sort_unstable();
                trie.children.push(room("nodes", trie.words.len())?);
                while start < node.end {
                    let word = words(start)[depth];
                    let run = (start..node.end).take_while(|&entry| words(entry)[depth] == word);
                    let end = start + run.count();
                    trie.words.push(word);
                    below.push(start..end);
                    start = end;
                }
            }
            level = below;
            depth += 1;
        }
        trie.entries
            .push(room("paraphrases", trie.paraphrases.len())?);
        trie.children.push(room("nodes", trie.words.len())?);
        Ok(trie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meteor::Tables;

    fn sources(paraphrases: &str) -> Sources<'_, &[u8]> {
        Sources {
            function_words: "the\n",
            prefixes: "",
            synsets: "car\n1\n",
            exceptions: "",
            paraphrases: paraphrases.as_bytes(),
        }
    }

    fn tables(paraphrases: &str) -> Tables {
        let bytes = compile(sources(paraphrases), Digest::of(b"")).unwrap();
        Tables::open(std::sync::Arc::new(bytes)).unwrap()
    }

    /// The paraphrases of `phrase`, as texts.
    fn found(tables: &Tables, phrase: &str) -> Vec<String> {
        let words = ["a", "b", "c", "d", "z"];
        let text = |id| {
            words
                .into_iter()
                .find(|word| tables.word_id(word) == Some(id))
        };
        let node = phrase.split(' ').try_fold(Tables::ROOT, |node, word| {
            tables.child(node, tables.word_id(word)?)
        });
        let ids: Vec<u16> = words
            .into_iter()
            .filter_map(|word| tables.word_id(word))
            .collect();
        let mut paraphrases = Vec::new();
        if let Some(node) = node {
            tables.paraphrases(node, &ids, &mut paraphrases);
        }
        paraphrases
            .into_iter()
            .map(|paraphrase| {
                assert_eq!(paraphrase.words().next(), Some(paraphrase.first_word));
                let words: Option<Vec<&str>> = paraphrase.words().map(text).collect();
                words.unwrap().join(" ")
            })
            .collect()
    }

    #[test]
    fn paraphrases_come_in_the_order_of_the_table() {
        let tables = tables("1\na b\nz\n1\na\nc d\n1\nb\na\n1\na\nb\n1\na b\na\n");
        assert_eq!(found(&tables, "a"), ["c d", "b"]);
        assert_eq!(found(&tables, "a b"), ["z", "a"]);
        assert_eq!(found(&tables, "b"), ["a"]);
        for none in ["c d", "c", "z", "unknown a", "a b c"] {
            assert!(found(&tables, none).is_empty(), "{none}");
        }
        assert!(found(&Tables::empty(), "a").is_empty());
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let whole = compile(sources("1\na\nb\n"), Digest::of(b"")).unwrap();
        for len in 0..whole.len() {
            assert!(Tables::open(std::sync::Arc::new(whole[..len].to_vec())).is_err());
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(Tables::open(std::sync::Arc::new(changed)).is_err(), "{at}");
        }
        assert!(Tables::open(std::sync::Arc::new(whole)).is_ok());
    }

    #[test]
    fn malformed_data_are_named_with_their_line() {
        let error = |paraphrases| compile(sources(paraphrases), Digest::of(b"")).unwrap_err();
        assert_eq!(
            error("1\na\n").to_string(),
            "`pycocoevalcap/meteor/data/paraphrase-en.gz` line 3: a phrase is missing"
        );
        assert!(error("1\na\n\n").to_string().contains("line 3"));
        let unknown = Sources {
            synsets: "car\nx\n",
            ..sources("")
        };
        let error = compile(unknown, Digest::of(b"")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("line 2: a synonym set is not a number")
        );
    }
}
