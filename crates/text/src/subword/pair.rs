//! Sequences of BERT's form: one text or two, between marks, with a type for each position.

use super::Tokenizer;
use crate::{Error, Result};

/// A tokenizer of models that read one text or two and fill in masked positions.
///
/// A sequence is `start text end`, all of type 0, or `start first end second end`, where the second text and the end
/// behind it have type 1.
pub trait PairTokenizer: Tokenizer {
    /// The id that fills sequences up.
    fn pad(&self) -> u32;

    /// The id that stands for a hidden word.
    fn mask(&self) -> u32;

    /// The ids of `text` alone, without marks, however many there are.
    fn pieces(&self, text: &str) -> Result<Vec<u32>>;

    /// The sequence of one text or two, cut to `context_length` ids in all as [`Self::frame`] cuts.
    fn encode_pair(
        &self,
        first: &str,
        second: Option<&str>,
        context_length: usize,
    ) -> Result<Pair> {
        let second = second.map(|text| self.pieces(text)).transpose()?;
        self.frame(self.pieces(first)?, second, context_length)
    }

    /// The sequence of pieces, cut to `context_length` ids in all. Pieces are taken from the end of the longer text
    /// first, and when the texts are equally long from both (Hugging Face's `longest_first`).
    fn frame(
        &self,
        mut first: Vec<u32>,
        second: Option<Vec<u32>>,
        context_length: usize,
    ) -> Result<Pair> {
        let marks = if second.is_some() { 3 } else { 2 };
        let room = context_length
            .checked_sub(marks)
            .ok_or(Error::PairContext {
                context_length,
                least: marks,
            })?;
        let (first_len, second_len) =
            longest_first(first.len(), second.as_ref().map_or(0, Vec::len), room);
        first.truncate(first_len);
        let mut ids = vec![self.start()];
        ids.append(&mut first);
        ids.push(self.end());
        let mut types = vec![0; ids.len()];
        if let Some(mut second) = second {
            second.truncate(second_len);
            ids.append(&mut second);
            ids.push(self.end());
            types.resize(ids.len(), 1);
        }
        Ok(Pair {
            ids,
            types,
            first_len,
            second_len,
        })
    }
}

/// The ids of one text or two between marks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Start, first text, end, and then the second text and an end if there is one.
    pub ids: Vec<u32>,
    /// 0 up to the first end, 1 behind it.
    pub types: Vec<u32>,
    /// Pieces of the first text; they stand from position 1 on.
    pub first_len: usize,
    /// Pieces of the second text; they stand from position `first_len + 2` on.
    pub second_len: usize,
}

/// Sequences of one length, as a model reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairBatch {
    /// Ids, padding behind them.
    pub ids: Vec<Vec<u32>>,
    /// Types, 0 for padding.
    pub types: Vec<Vec<u32>>,
    /// 1 for an id of a text, 0 for padding.
    pub present: Vec<Vec<u8>>,
    /// How many ids of each are not padding.
    pub lens: Vec<usize>,
}

impl PairBatch {
    /// Pads every sequence to the longest with the id `pad` (Hugging Face's `padding=True`).
    pub fn new(pairs: Vec<Pair>, pad: u32) -> Self {
        let lens: Vec<usize> = pairs.iter().map(|pair| pair.ids.len()).collect();
        let longest = lens.iter().copied().max().unwrap_or(0);
        let padded = |mut row: Vec<u32>, pad| {
            row.resize(longest, pad);
            row
        };
        let (ids, types) = pairs
            .into_iter()
            .map(|pair| (padded(pair.ids, pad), padded(pair.types, 0)))
            .unzip();
        let present = lens
            .iter()
            .map(|&len| (0..longest).map(|i| u8::from(i < len)).collect())
            .collect();
        Self {
            ids,
            types,
            present,
            lens,
        }
    }

    /// The length of every sequence.
    pub fn longest(&self) -> usize {
        self.ids.first().map_or(0, Vec::len)
    }
}

/// Lengths of two texts cut to `room` in all. When both must be cut, each gets a half, and the longer one what is odd.
fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    let (shorter, longer) = (first.min(second), first.max(second));
    if shorter.saturating_add(longer) <= room {
        return (first, second);
    }
    let (short, long) = if shorter <= room / 2 {
        (shorter, room - shorter)
    } else {
        (room / 2, room - room / 2)
    };
    if first <= second {
        (short, long)
    } else {
        (long, short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WordHash;

    fn tokenizer() -> WordHash {
        WordHash::new(100, 98, 99).unwrap()
    }

    #[test]
    fn two_texts_have_two_types() {
        let pair = tokenizer()
            .encode_pair("a red square", Some("yes"), 77)
            .unwrap();
        assert_eq!((pair.first_len, pair.second_len), (3, 1));
        assert_eq!((pair.ids[0], pair.ids[4], pair.ids[6]), (98, 99, 99));
        assert_eq!(pair.types, [0, 0, 0, 0, 0, 1, 1]);
        let one = tokenizer().encode_pair("a red square", None, 77).unwrap();
        assert_eq!(one.ids, pair.ids[..5]);
        assert_eq!(one.types, [0; 5]);
        let none = tokenizer().encode_pair("", Some(""), 77).unwrap();
        assert_eq!(
            (none.ids.as_slice(), none.types.as_slice()),
            (&[98, 99, 99][..], &[0, 0, 1][..])
        );
    }

    #[test]
    fn a_batch_is_as_long_as_its_longest_sequence() {
        let tokenizer = tokenizer();
        let pairs = vec![
            tokenizer.encode_pair("a", Some("b"), 77).unwrap(),
            tokenizer.encode_pair("", None, 77).unwrap(),
        ];
        let batch = PairBatch::new(pairs, 7);
        assert_eq!((batch.longest(), batch.lens.as_slice()), (5, &[5, 2][..]));
        assert_eq!(batch.ids[1], [98, 99, 7, 7, 7]);
        assert_eq!(batch.types, [[0, 0, 0, 1, 1], [0; 5]]);
        assert_eq!(batch.present, [[1; 5], [1, 1, 0, 0, 0]]);
        assert_eq!(PairBatch::new(Vec::new(), 7).longest(), 0);
    }

    #[test]
    fn the_longer_text_is_cut_first() {
        for ((first, second), room, expected) in [
            ((3, 4), 7, (3, 4)),
            ((3, 4), 6, (3, 3)),
            ((4, 3), 6, (3, 3)),
            ((3, 9), 7, (3, 4)),
            ((9, 3), 7, (4, 3)),
            ((5, 9), 7, (3, 4)),
            ((9, 5), 7, (4, 3)),
            ((5, 5), 7, (3, 4)),
            ((0, 9), 4, (0, 4)),
            ((9, 0), 0, (0, 0)),
        ] {
            assert_eq!(longest_first(first, second, room), expected);
        }
    }

    #[test]
    fn a_context_without_room_for_the_marks_is_refused() {
        let error = tokenizer().encode_pair("a", Some("b"), 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "context of 2 tokens, the least is 3 (start, and an end for each text)"
        );
        assert!(tokenizer().encode_pair("a", None, 2).is_ok());
        assert!(tokenizer().encode_pair("a", None, 1).is_err());
    }
}
