//! What caption metrics compare: the caption a model wrote with those that people wrote.

use rayon::prelude::*;
use sightline_core::seed::Rng;
use sightline_text::ptb;

use crate::Item;
use crate::conformance::Examples;

/// A caption, as it was written and as the tokenizer of the COCO caption tools leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    raw: Box<str>,
    tokenized: Box<str>,
}

impl Caption {
    /// Tokenizes `raw` ([`sightline_text::ptb::caption`]).
    pub fn new(raw: impl Into<Box<str>>) -> Self {
        let raw = raw.into();
        Self {
            tokenized: ptb::caption(&raw).into(),
            raw,
        }
    }

    /// A caption whose tokens are known: `tokenized` holds them with single spaces between.
    pub fn from_tokens(raw: &str, tokenized: &str) -> Self {
        Self {
            raw: raw.into(),
            tokenized: tokenized.into(),
        }
    }

    /// As written.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Lower-case tokens without punctuation, single spaces between; may be empty.
    pub fn tokenized(&self) -> &str {
        &self.tokenized
    }
}

/// One image's candidate and its references, of which there should be at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptionItem {
    /// What the model wrote.
    pub candidate: Caption,
    /// What people wrote.
    pub references: Vec<Caption>,
}

impl CaptionItem {
    /// Tokenizes a candidate and its references.
    pub fn new(candidate: &str, references: &[impl AsRef<str>]) -> Self {
        Self {
            candidate: Caption::new(candidate),
            references: references
                .iter()
                .map(|reference| Caption::new(reference.as_ref()))
                .collect(),
        }
    }

    /// Tokenizes many, on all threads, in order.
    pub fn all<C, R>(captions: Vec<(C, Vec<R>)>) -> Vec<Self>
    where
        C: Into<Box<str>> + Send,
        R: Into<Box<str>> + Send,
    {
        captions
            .into_par_iter()
            .map(|(candidate, references)| Self {
                candidate: Caption::new(candidate),
                references: references.into_iter().map(Caption::new).collect(),
            })
            .collect()
    }
}

#[cfg(test)]
impl CaptionItem {
    /// An item whose captions are tokenised already.
    pub(crate) fn from_tokens(candidate: &str, references: &[impl AsRef<str>]) -> Self {
        let caption = |text: &str| Caption::from_tokens(text, text);
        Self {
            candidate: caption(candidate),
            references: references
                .iter()
                .map(|reference| caption(reference.as_ref()))
                .collect(),
        }
    }
}

impl Item for CaptionItem {}

/// Words of the examples.
const WORDS: [&str; 24] = [
    "a", "the", "two", "dog", "dogs", "cat", "man", "woman", "red", "small", "on", "in", "with",
    "sits", "sitting", "standing", "table", "street", "bench", "ball", "near", "and", "playing",
    "park",
];

impl Examples for CaptionItem {
    fn random(rng: &mut Rng) -> Self {
        let sentence = |rng: &mut Rng, least: u64| {
            let length = least + rng.below(12);
            let words: Vec<&str> = (0..length).map(|_| *rng.pick(&WORDS)).collect();
            words.join(" ")
        };
        let references: Vec<String> = (0..=rng.below(5)).map(|_| sentence(rng, 1)).collect();
        let candidate = match rng.below(6) {
            0 => rng.pick(&references).clone(),
            1 => String::new(),
            _ => sentence(rng, 0),
        };
        Self::new(&candidate, &references)
    }

    /// Twelve different words, so that every n-gram order has something to match.
    fn perfect(rng: &mut Rng) -> Self {
        let mut words = WORDS;
        rng.shuffle(&mut words);
        let sentence = words[..12].join(" ");
        Self::new(&sentence, std::slice::from_ref(&sentence))
    }

    fn empty() -> Option<Self> {
        Some(Self::new("", &["a dog on a bench"]))
    }

    fn with_references_twice(&self) -> Option<Self> {
        let references = self.references.iter().chain(&self.references);
        Some(Self {
            candidate: self.candidate.clone(),
            references: references.cloned().collect(),
        })
    }
}
