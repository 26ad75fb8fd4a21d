//! Brings a text to the form that pieces are cut from: characters replaced by the model's table, white space as `▁`.
//!
//! The table is a trie in a double array (Darts-clone, as SentencePiece stores it) from texts to places in a list
//! of replacements that end with a zero byte. At each position the longest text in the trie is replaced. Layout
//! of the bytes: the trie's length in bytes as four little-endian bytes, the trie as little-endian `u32`, the list.

use super::{SPACE, SentencePieceError};

/// Longest replacement; the longest of the published tables has 33 bytes. It bounds how much longer a text gets.
const REPLACEMENT_LIMIT_BYTES: usize = 1024;

#[derive(Clone, Debug)]
pub(super) struct Normaliser {
    /// `sentencepiece_model.proto`'s name: a `▁` before the text.
    pub(super) add_dummy_prefix: bool,
    /// No space at the ends, one between words.
    pub(super) remove_extra_whitespaces: bool,
    trie: Vec<u32>,
    replacements: String,
}

impl Default for Normaliser {
    fn default() -> Self {
        Self {
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            trie: Vec::new(),
            replacements: String::new(),
        }
    }
}

impl Normaliser {
    pub(super) fn read_replacements(&mut self, table: &[u8]) -> Result<(), SentencePieceError> {
        let damaged = |reason| SentencePieceError::Replacements { reason };
        if table.is_empty() {
            return Ok(());
        }
        let cut = || damaged("it ends early");
        let (len, rest) = table.split_first_chunk().ok_or_else(cut)?;
        let len = u32::from_le_bytes(*len) as usize;
        let (trie, replacements) = rest.split_at_checked(len).ok_or_else(cut)?;
        let (units, []) = trie.as_chunks() else {
            return Err(damaged("its trie is no row of 32-bit numbers"));
        };
        let replacements = std::str::from_utf8(replacements)
            .map_err(|_| damaged("its replacements are not UTF-8"))?;
        if replacements
            .split('\0')
            .any(|text| text.len() > REPLACEMENT_LIMIT_BYTES)
        {
            return Err(damaged("a replacement is too long"));
        }
        self.trie = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        replacements.clone_into(&mut self.replacements);
        Ok(())
    }

    pub(super) fn has_replacements(&self) -> bool {
        !self.trie.is_empty()
    }

    /// Whether the space before the first word is not the text's own.
    pub(super) fn drops_first_space(&self) -> bool {
        self.add_dummy_prefix || self.remove_extra_whitespaces
    }

    /// `protected` gives the length of what is kept as it is at the start of a text, 0 for nothing.
    pub(super) fn normalise(&self, text: &str, protected: impl Fn(&str) -> usize) -> String {
        let mut rest = text;
        let mut next = move |skip: &mut bool| -> Option<&str> {
            // Leading spaces are dropped before anything else is decided.
            loop {
                let (len, part) = self.start(rest, &protected)?;
                rest = &rest[len..];
                if !(*skip && part == " ") {
                    *skip = false;
                    return Some(part);
                }
            }
        };
        let mut skip = self.remove_extra_whitespaces;
        let mut part = next(&mut skip);
        let mut out = String::with_capacity(text.len() + SPACE.len());
        if part.is_some() && self.add_dummy_prefix {
            out.push_str(SPACE);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some(mut found) = part {
            if after_space {
                found = found.trim_start_matches(' ');
            }
            if !found.is_empty() {
                for (i, words) in found.split(' ').enumerate() {
                    if i > 0 {
                        out.push_str(SPACE);
                    }
                    out.push_str(words);
                }
                after_space = self.remove_extra_whitespaces && found.ends_with(' ');
            }
            part = next(&mut false);
        }
        if self.remove_extra_whitespaces {
            let len = out.trim_end_matches(SPACE).len();
            out.truncate(len);
        }
        out
    }

    /// Bytes at the start of `text` that belong together, and what they become; `None` for an empty text.
    fn start<'a>(
        &'a self,
        text: &'a str,
        protected: impl Fn(&str) -> usize,
    ) -> Option<(usize, &'a str)> {
        let first = text.chars().next()?;
        let len = protected(text);
        if len > 0 {
            return Some((len, &text[..len]));
        }
        Some(self.replacement(text).unwrap_or_else(|| {
            let len = first.len_utf8();
            (len, &text[..len])
        }))
    }

    /// The longest start of `text` that the trie holds, and its replacement.
    fn replacement(&self, text: &str) -> Option<(usize, &str)> {
        let mut longest = None;
        let mut node = offset(*self.trie.first()?) as usize;
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            node ^= usize::from(byte);
            let Some(&unit) = self.trie.get(node) else {
                break;
            };
            // The label of a unit that holds a value has its highest bit set and equals no byte.
            if unit & ((1 << 31) | 0xff) != u32::from(byte) {
                break;
            }
            node ^= offset(unit) as usize;
            let has_value = (unit >> 8) & 1 == 1;
            let len = i + 1;
            if has_value && text.is_char_boundary(len) {
                let value = self.trie.get(node).map(|unit| unit & !(1 << 31));
                let found = value.and_then(|at| self.replacements.get(at as usize..));
                let found = found.and_then(|rest| rest.split('\0').next());
                longest = found.map(|found| (len, found)).or(longest);
            }
        }
        longest
    }
}

/// From a unit to where its children begin, to be combined by exclusive or.
fn offset(unit: u32) -> u32 {
    (unit >> 10) << ((unit & (1 << 9)) >> 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(add_dummy_prefix: bool, remove_extra_whitespaces: bool) -> Normaliser {
        Normaliser {
            add_dummy_prefix,
            remove_extra_whitespaces,
            ..Normaliser::default()
        }
    }

    #[test]
    fn spaces_follow_the_two_options() {
        for (prefix, remove, text, expected) in [
            (true, true, "  a  b ", "▁a▁b"),
            (true, false, " a  b ", "▁▁a▁▁b▁"),
            (false, true, " a  b ", "a▁b"),
            (false, false, "a b", "a▁b"),
            (true, true, "   ", ""),
            (true, false, "", ""),
            (true, false, " ", "▁▁"),
            (true, true, "a▁", "▁a"),
        ] {
            let found = plain(prefix, remove).normalise(text, |_| 0);
            assert_eq!(found, expected, "{prefix} {remove} `{text}`");
        }
    }

    #[test]
    fn user_defined_pieces_are_not_replaced() {
        let found = plain(true, true).normalise("a  b", |rest| usize::from(rest.starts_with(' ')));
        assert_eq!(found, "▁a▁b");
    }

    #[test]
    fn damaged_tables_are_refused() {
        let read = |table: &[u8]| Normaliser::default().read_replacements(table);
        assert_eq!(read(&[]), Ok(()));
        let long = [&[0; 4][..], &[b'a'; 1025]].concat();
        for table in [
            &[0, 0, 0][..],
            &[8, 0, 0, 0, 1, 2, 3, 4],
            &[3, 0, 0, 0, 1, 2, 3, 0],
            &[0, 0, 0, 0, 0xff],
            &long,
        ] {
            assert!(read(table).is_err(), "{table:?}");
        }
    }

    #[test]
    fn any_trie_ends() {
        for unit in [
            0,
            u32::MAX,
            (1 << 9) | (1 << 8),
            0x1ff,
            (1 << 10) | b'a' as u32,
        ] {
            let mut normaliser = Normaliser::default();
            let mut table = 64u32.to_le_bytes().to_vec();
            for _ in 0..16 {
                table.extend(unit.to_le_bytes());
            }
            table.extend(b"x\0y\0");
            normaliser.read_replacements(&table).unwrap();
            normaliser.normalise("aaaa é \u{10ffff}", |_| 0);
        }
    }
}
