//! Ids from hashes, for checkpoints without a vocabulary.
//!
//! A checkpoint with random weights, as tests use, has an embedding table but no words that belong
//! to its rows. This tokenizer gives every word a row of its own choosing, the same one on every
//! machine. **The ids carry no meaning**: on trained weights they yield noise.

use sightline_core::Digest;

use super::{Encoded, PairTokenizer, Tokenizer};
use crate::{Error, Result};

/// Lower-cases, takes each run of letters and digits as a word (white space and punctuation only
/// separate), and sends a word to `SHA-256(word)`, its first eight bytes as a little-endian number
/// modulo the number of ids other than start and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordHash {
    vocabulary_size: usize,
    start: u32,
    end: u32,
}

impl WordHash {
    /// A tokenizer of ids below `vocabulary_size`, of which `start` and `end` are no words.
    pub fn new(vocabulary_size: usize, start: u32, end: u32) -> Result<Self> {
        let inside = |id: u32| (id as usize) < vocabulary_size;
        if start == end || !inside(start) || !inside(end) || vocabulary_size < 3 {
            return Err(Error::WordHash {
                vocabulary_size,
                start,
                end,
            });
        }
        Ok(Self {
            vocabulary_size,
            start,
            end,
        })
    }

    fn id(&self, word: &str) -> u32 {
        let digest = Digest::of(word.as_bytes());
        let number = digest
            .as_bytes()
            .iter()
            .take(8)
            .rev()
            .fold(0u64, |n, &byte| (n << 8) | u64::from(byte));
        let mut id = (number % (self.vocabulary_size as u64 - 2)) as u32;
        // Step over the two ids that are no words, the lower one first.
        for special in [self.start.min(self.end), self.start.max(self.end)] {
            id += u32::from(id >= special);
        }
        id
    }
}

impl Tokenizer for WordHash {
    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn start(&self) -> u32 {
        self.start
    }

    fn end(&self) -> u32 {
        self.end
    }

    fn encode(&self, text: &str, context_length: usize) -> Result<Encoded> {
        Encoded::between(self.start, self.pieces(text)?, self.end, context_length)
    }
}

impl PairTokenizer for WordHash {
    /// 0, which words may have as well.
    fn pad(&self) -> u32 {
        0
    }

    /// The largest id that is neither start nor end; words may have it as well.
    fn mask(&self) -> u32 {
        let last = self.vocabulary_size as u32 - 1;
        let is_word = |id: &u32| *id != self.start && *id != self.end;
        (0..=last).rev().find(is_word).unwrap_or(0)
    }

    fn pieces(&self, text: &str) -> Result<Vec<u32>> {
        let lower = text.to_lowercase();
        let words = lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty());
        Ok(words.map(|word| self.id(word)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_change() {
        let tokenizer = WordHash::new(99, 97, 98).unwrap();
        let encoded = tokenizer.encode("A red square, a RED circle!", 16).unwrap();
        assert_eq!(encoded.ids, [97, 49, 55, 35, 49, 55, 84, 98]);
    }

    #[test]
    fn every_id_but_the_specials_is_reached() {
        let tokenizer = WordHash::new(12, 5, 0).unwrap();
        let text: Vec<String> = (0..500).map(|i| format!("w{i}")).collect();
        let encoded = tokenizer.encode(&text.join(" "), usize::MAX).unwrap();
        let mut seen = [0; 12];
        for &id in &encoded.ids[1..encoded.len - 1] {
            seen[id as usize] += 1;
        }
        let missed: Vec<usize> = (0..12).filter(|&i| seen[i] == 0).collect();
        assert_eq!(missed, [0, 5]);
    }

    #[test]
    fn a_vocabulary_without_room_is_refused() {
        for (size, start, end) in [(2, 0, 1), (9, 9, 1), (9, 1, 9), (9, 4, 4)] {
            assert!(
                WordHash::new(size, start, end).is_err(),
                "{size} {start} {end}"
            );
        }
        let least = WordHash::new(3, 0, 2).unwrap();
        assert_eq!((least.id("any"), least.mask()), (1, 1));
    }
}
