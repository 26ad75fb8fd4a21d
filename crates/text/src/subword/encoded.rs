//! The trait of all tokenizers, and what they return.

use crate::{Error, Result};

/// Turns a text into the ids of a model's vocabulary.
pub trait Tokenizer: Send + Sync {
    /// Every id is below this number.
    fn vocabulary_size(&self) -> usize;

    /// The id before every text.
    fn start(&self) -> u32;

    /// The id after every text; also the padding of Hugging Face's CLIP tokenizer.
    fn end(&self) -> u32;

    /// `text` between start and end, cut to `context_length` ids in all: the text's first ids stay
    /// and the end token is kept, as Hugging Face truncates.
    fn encode(&self, text: &str, context_length: usize) -> Result<Encoded>;

    /// The id of what the vocabulary has no piece for; `None` where every text can be written.
    fn unknown_id(&self) -> Option<u32> {
        None
    }
}

/// The ids of one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Start, text, end, and then padding if there is any.
    pub ids: Vec<u32>,
    /// How many of the ids are not padding.
    pub len: usize,
}

impl Encoded {
    /// Puts `start` and `end` around `text` within `context_length` ids.
    pub(crate) fn between(
        start: u32,
        text: impl IntoIterator<Item = u32>,
        end: u32,
        context_length: usize,
    ) -> Result<Self> {
        if context_length < 2 {
            return Err(Error::Context { context_length });
        }
        let mut ids = vec![start];
        ids.extend(text.into_iter().take(context_length - 2));
        ids.push(end);
        let len = ids.len();
        Ok(Self { ids, len })
    }

    /// The same ids with `pad` behind them up to `len_padded`; longer ones stay as they are.
    #[must_use]
    pub fn padded(mut self, len_padded: usize, pad: u32) -> Self {
        if self.ids.len() < len_padded {
            self.ids.resize(len_padded, pad);
        }
        self
    }

    /// 1 for each id of the text, 0 for padding.
    pub fn mask(&self) -> Vec<u8> {
        (0..self.ids.len())
            .map(|i| u8::from(i < self.len))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_start_and_end() {
        let cut = Encoded::between(8, [1, 2, 3], 9, 4).unwrap();
        assert_eq!((cut.ids.as_slice(), cut.len), (&[8, 1, 2, 9][..], 4));
        let least = Encoded::between(8, [1, 2, 3], 9, 2).unwrap();
        assert_eq!(least.ids, [8, 9]);
        assert!(matches!(
            Encoded::between(8, [1], 9, 1),
            Err(Error::Context { context_length: 1 })
        ));
    }

    #[test]
    fn padding_is_marked_and_never_shortens() {
        let padded = Encoded::between(8, [1], 9, 77).unwrap().padded(5, 0);
        assert_eq!(padded.ids, [8, 1, 9, 0, 0]);
        assert_eq!(padded.mask(), [1, 1, 1, 0, 0]);
        assert_eq!(padded.clone().padded(2, 0), padded);
    }
}
