//! A vocabulary made of texts: every word of theirs becomes one id, as far as there is room.
//!
//! Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909, algorithm 1) is carried on until no word has two symbols or the
//! vocabulary is full: the most frequent pair of neighbours is merged, of equally frequent ones the first in the order of their
//! characters. Equal texts, in any order, give equal files. The files are those that the tokenizers of this crate read; what is in none
//! of the texts is written in bytes or characters, never lost, except that [`Form::SentencePiece`], [`Form::VirTex`] and [`Form::Bert`] know the
//! characters of the texts only.
//!
//! ```
//! use sightline_text::subword::learn::{Form, learn};
//! use sightline_text::Gpt2Tokenizer;
//!
//! let folder = tempfile::tempdir()?;
//! for (name, bytes) in learn(Form::Gpt2, ["A red circle.", "A blue circle."], 1000) {
//!     std::fs::write(folder.path().join(name), bytes)?;
//! }
//! let tokenizer = Gpt2Tokenizer::from_folder(folder.path())?;
//! assert_eq!(tokenizer.encode("A blue circle.")?.len(), 4);
//! assert_eq!(tokenizer.id("<|endoftext|>"), Some(0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::merges::byte_symbols;
use super::virtex::normalise_caption;

/// Which tokenizer the files are for, and which ids its own symbols get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// CLIP's: `<|startoftext|>` is 0, `<|endoftext|>` 1.
    Clip,
    /// GPT-2's: `<|endoftext|>` is 0.
    Gpt2,
    /// `SentencePiece`'s: `<pad>` is 0, `<s>` 1, `</s>` 2, `<unk>` 3.
    SentencePiece,
    /// `VirTex`'s: `<unk>` is 0, `[SOS]` 1, `[EOS]` 2, `[MASK]` 3.
    VirTex,
    /// BERT's uncased one: `[PAD]` is 0, `[UNK]` 1, `[CLS]` 2, `[SEP]` 3, `[MASK]` 4.
    Bert,
}

/// What stands behind the last symbol of a word in CLIP's vocabulary.
const WORD_END: &str = "</w>";
/// What stands for a space in `SentencePiece`'s.
const SPACE: char = '\u{2581}';

/// The files of a vocabulary of at most `limit` ids, whose words are those of `texts`. The symbols that every vocabulary of the form has are there also
/// where the limit is lower.
pub fn learn<'a>(
    form: Form,
    texts: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Vec<(&'static str, Vec<u8>)> {
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        for word in split(form, text) {
            *words.entry(word).or_default() += 1;
        }
    }
    match form {
        Form::Clip => byte_level(
            &words,
            &["<|startoftext|>", "<|endoftext|>"],
            WORD_END,
            limit,
        ),
        Form::Gpt2 => byte_level(&words, &["<|endoftext|>"], "", limit),
        Form::SentencePiece => {
            let own = [("<pad>", 3), ("<s>", 3), ("</s>", 3), ("<unk>", 2)];
            vec![("tokenizer.model", sentencepiece(&words, &own, limit))]
        }
        Form::VirTex => {
            let own = [("<unk>", 2), ("[SOS]", 3), ("[EOS]", 3), ("[MASK]", 3)];
            vec![("tokenizer.model", sentencepiece(&words, &own, limit))]
        }
        Form::Bert => vec![("vocab.txt", word_pieces(&words, limit))],
    }
}

/// The parts of a text that are never merged across, as the tokenizers of the form cut it, contractions aside.
fn split(form: Form, text: &str) -> Vec<String> {
    let text = match form {
        Form::Clip | Form::Bert => text.to_lowercase(),
        Form::VirTex => normalise_caption(text),
        Form::Gpt2 | Form::SentencePiece => text.to_owned(),
    };
    let keeps_space = matches!(form, Form::Gpt2 | Form::SentencePiece | Form::VirTex);
    let mut words: Vec<String> = Vec::new();
    let mut last = None;
    // SentencePiece puts a space before the text.
    let mut space = matches!(form, Form::SentencePiece | Form::VirTex);
    for c in text.chars() {
        if c.is_whitespace() {
            space = keeps_space;
            last = None;
            continue;
        }
        let kind = match c {
            c if c.is_alphabetic() => 0,
            c if c.is_numeric() => 1,
            _ => 2,
        };
        // CLIP takes digits, BERT marks of punctuation, one by one.
        let is_single = (form == Form::Clip && kind == 1) || (form == Form::Bert && kind == 2);
        match words.last_mut() {
            Some(word) if last == Some(kind) && !is_single => word.push(c),
            _ => {
                let before = match (std::mem::take(&mut space), form) {
                    (true, Form::Gpt2) => " ",
                    (true, _) => "\u{2581}",
                    (false, _) => "",
                };
                words.push(format!("{before}{c}"));
            }
        }
        last = Some(kind);
    }
    words
}

/// Symbols of words with how often each word is there, and the merges that were made.
struct Merging {
    words: Vec<(Vec<String>, u64)>,
    merges: Vec<[String; 2]>,
}

impl Merging {
    /// Merges until `most` merges are made or nothing is left to merge.
    fn run(words: Vec<(Vec<String>, u64)>, most: usize) -> Self {
        let mut merging = Self {
            words,
            merges: Vec::new(),
        };
        while merging.merges.len() < most
            && let Some(pair) = merging.most_frequent()
        {
            for (symbols, _) in &mut merging.words {
                merge(symbols, &pair);
            }
            merging.merges.push(pair);
        }
        merging
    }

    fn most_frequent(&self) -> Option<[String; 2]> {
        let mut pairs: BTreeMap<[&str; 2], u64> = BTreeMap::new();
        for (symbols, count) in &self.words {
            for pair in symbols.windows(2) {
                *pairs.entry([&pair[0], &pair[1]]).or_default() += count;
            }
        }
        // Of equal ones the last of the reversed order is the first.
        let best = pairs.into_iter().rev().max_by_key(|(_, count)| *count)?;
        Some(best.0.map(str::to_owned))
    }
}

/// Merges each place where `pair` stands, from the left.
fn merge(symbols: &mut Vec<String>, pair: &[String; 2]) {
    let mut at = 0;
    while at + 1 < symbols.len() {
        if symbols[at] == pair[0] && symbols[at + 1] == pair[1] {
            let second = symbols.remove(at + 1);
            symbols[at].push_str(&second);
        }
        at += 1;
    }
}

/// `vocab.json` and `merges.txt`, whose symbols are bytes.
fn byte_level(
    words: &BTreeMap<String, u64>,
    own: &[&str],
    end: &str,
    limit: usize,
) -> Vec<(&'static str, Vec<u8>)> {
    let symbols = byte_symbols();
    // The order of the symbols is not that of the bytes.
    let mut of_byte = ['\0'; 256];
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut others = symbols[188..].iter();
    for byte in 0..=255u8 {
        of_byte[usize::from(byte)] = if printable(byte) {
            char::from(byte)
        } else {
            others.next().copied().unwrap_or('\0')
        };
    }
    let words = words.iter().map(|(word, count)| {
        let mut cut: Vec<String> = word
            .bytes()
            .map(|byte| of_byte[usize::from(byte)].to_string())
            .collect();
        if let Some(last) = cut.last_mut() {
            last.push_str(end);
        }
        (cut, *count)
    });
    let mut names: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
    names.extend(symbols.iter().map(char::to_string));
    if !end.is_empty() {
        names.extend(symbols.iter().map(|symbol| format!("{symbol}{end}")));
    }
    let merging = Merging::run(words.collect(), limit.saturating_sub(names.len()));
    let mut known: BTreeSet<String> = names.iter().cloned().collect();
    for pair in &merging.merges {
        let name = pair.concat();
        if known.insert(name.clone()) {
            names.push(name);
        }
    }
    let vocabulary: Map<String, Value> = (0u32..)
        .zip(names)
        .map(|(id, name)| (name, id.into()))
        .collect();
    let mut merges = "#version: 0.2\n".to_owned();
    for pair in &merging.merges {
        merges.push_str(&pair.join(" "));
        merges.push('\n');
    }
    let vocabulary = Value::Object(vocabulary).to_string();
    vec![
        ("vocab.json", vocabulary.into_bytes()),
        ("merges.txt", merges.into_bytes()),
    ]
}

/// A `.model` file: the form's own symbols with their kinds, merges from the best score down, characters last.
fn sentencepiece(words: &BTreeMap<String, u64>, own: &[(&str, u8)], limit: usize) -> Vec<u8> {
    let mut characters: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    characters.insert(SPACE);
    let room = limit.saturating_sub(own.len() + characters.len());
    let words = words.iter().map(|(word, count)| {
        let cut: Vec<String> = word.chars().map(String::from).collect();
        (cut, *count)
    });
    let merging = Merging::run(words.collect(), room);
    let mut known = BTreeSet::new();
    let merged = merging.merges.iter().map(|pair| pair.concat());
    let normal = merged.chain(characters.iter().map(char::to_string));
    let normal: Vec<String> = normal.filter(|name| known.insert(name.clone())).collect();

    let mut model = Vec::new();
    let mut piece = |text: &str, score: f32, kind: u8| {
        // SentencePiece { piece = 1, score = 2, type = 3 }.
        let mut message = Vec::new();
        field(&mut message, 1, text.as_bytes());
        message.push(2 << 3 | 5);
        message.extend(score.to_le_bytes());
        message.extend([3 << 3, kind]);
        field(&mut model, 1, &message);
    };
    for (text, kind) in own {
        piece(text, 0.0, *kind);
    }
    for (rank, text) in normal.iter().enumerate() {
        piece(text, -(rank as f32), 1);
    }
    // TrainerSpec { model_type = 3: byte-pair encoding }.
    field(&mut model, 2, &[3 << 3, 2]);
    model
}

/// Appends a field of bytes to a protocol buffer.
fn field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    let mut len = bytes.len();
    while len >= 0x80 {
        message.push(len as u8 | 0x80);
        len >>= 7;
    }
    message.push(len as u8);
    message.extend(bytes);
}

/// A `vocab.txt`: characters, alone and inside words, then words, the most frequent first.
fn word_pieces(words: &BTreeMap<String, u64>, limit: usize) -> Vec<u8> {
    let own = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let characters: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    let mut names: Vec<String> = own.map(str::to_owned).into();
    names.extend(characters.iter().map(char::to_string));
    names.extend(characters.iter().map(|c| format!("##{c}")));
    let mut frequent: Vec<(&String, &u64)> = words.iter().collect();
    frequent.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
    let known: BTreeSet<String> = names.iter().cloned().collect();
    let room = limit.saturating_sub(names.len());
    let new = frequent.into_iter().map(|(word, _)| word.clone());
    names.extend(new.filter(|word| !known.contains(word)).take(room));
    names.push(String::new());
    names.join("\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BertTokenizer, ClipTokenizer, SentencePiece, Tokenizer, VirTexTokenizer};

    const TEXTS: [&str; 3] = [
        "A large red circle is to the left of a small blue square.",
        "There are two shapes, and the largest is a green heart.",
        "the other one: 12 rings",
    ];

    fn folder(form: Form, limit: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in learn(form, TEXTS, limit) {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn every_word_becomes_one_id() {
        let text = TEXTS[0];
        let clip = ClipTokenizer::from_folder(folder(Form::Clip, 10_000).path()).unwrap();
        let encoded = clip.encode(text, 77).unwrap();
        assert_eq!((encoded.len, encoded.ids[0], clip.end()), (16, 0, 1));

        let pieces = folder(Form::SentencePiece, 10_000);
        let path = pieces.path().join("tokenizer.model");
        let pieces = SentencePiece::from_file(&path).unwrap();
        let ids = pieces.encode(text);
        assert_eq!(ids.len(), 14, "{:?}", pieces.pieces(text));
        assert_eq!(pieces.decode(&ids).unwrap(), text);
        assert_eq!((pieces.id("</s>"), pieces.unknown()), (Some(2), 3));
        assert_eq!(pieces.encode("\u{e9}"), [pieces.id("\u{2581}").unwrap(), 3]);

        let virtex = VirTexTokenizer::from_folder(folder(Form::VirTex, 10_000).path()).unwrap();
        assert_eq!(virtex.encode(text, 99).len(), 16);
        assert_eq!((virtex.unknown(), virtex.mask()), (0, 3));

        let bert = BertTokenizer::from_folder(folder(Form::Bert, 10_000).path()).unwrap();
        let encoded = bert.encode(text, 99).unwrap();
        assert_eq!((encoded.len, encoded.ids[0], bert.unknown()), (16, 2, 1));
    }

    #[test]
    fn a_full_vocabulary_has_parts_of_words_and_order_does_not_count() {
        let small = folder(Form::SentencePiece, 60);
        let pieces = SentencePiece::from_file(&small.path().join("tokenizer.model")).unwrap();
        assert_eq!(pieces.vocabulary_size(), 60);
        assert_eq!(pieces.decode(&pieces.encode(TEXTS[0])).unwrap(), TEXTS[0]);
        for form in [
            Form::Clip,
            Form::Gpt2,
            Form::SentencePiece,
            Form::VirTex,
            Form::Bert,
        ] {
            let reversed = TEXTS.iter().rev().copied();
            assert_eq!(
                learn(form, TEXTS, 700),
                learn(form, reversed, 700),
                "{form:?}"
            );
        }
    }
}
