//! BLEU-1 to BLEU-4 (Papineni et al. 2002) as the COCO caption tools compute it (pycocoevalcap 1.2).
//!
//! With c and g the clipped matches and the n-grams of the candidate, r the length of the reference
//! closest in length (of two equally close ones the shorter) and l that of the candidate:
//!
//! ```text
//! bleu-k = (∏ₙ₌₁ᵏ (cₙ + 1e-15) / (gₙ + 1e-9))^(1/k) · min(1, exp(1 - 1/ratio))
//! ratio  = (l + 1e-15) / (r + 1e-9)
//! ```
//!
//! Counts and lengths of a corpus are summed first. The two constants are all the smoothing there is: a
//! candidate of ten words without a match of four words has a bleu-4 near 1e-4, not of 0, and one of
//! three words that equals its reference has a bleu-4 of 0.03. An item without references adds nothing
//! and has no value.
//!
//! Words are what stands between white space in the tokenised caption ([`crate::Caption::tokenized`]).

use crate::metric::{Metric, MetricInfo, Stats};
use crate::ngrams::Counted;
use crate::words::{self, Vocabulary};
use crate::{CaptionItem, Input, Resources, Result};

/// Added to matches and to the candidate's length.
const TINY: f64 = 1e-15;
/// Added to n-grams and to the reference's length.
const SMALL: f64 = 1e-9;
/// Words of the longest n-grams.
const LONGEST: usize = 4;

/// `bleu-1`.
pub static BLEU_1: Bleu = Bleu {
    order: 1,
    id: "bleu-1",
    description: "Clipped precision of words with a penalty for short captions, as in the COCO caption tools.",
};

/// `bleu-2`.
pub static BLEU_2: Bleu = Bleu {
    order: 2,
    id: "bleu-2",
    description: "Geometric mean of the clipped precisions of one and two words with a penalty for short captions, as in the COCO caption tools.",
};

/// `bleu-3`.
pub static BLEU_3: Bleu = Bleu {
    order: 3,
    id: "bleu-3",
    description: "Geometric mean of the clipped precisions of one to three words with a penalty for short captions, as in the COCO caption tools.",
};

/// `bleu-4`.
pub static BLEU_4: Bleu = Bleu {
    order: 4,
    id: "bleu-4",
    description: "Geometric mean of the clipped precisions of one to four words with a penalty for short captions, as in the COCO caption tools.",
};

/// BLEU up to n-grams of one length.
#[derive(Debug)]
pub struct Bleu {
    order: usize,
    id: &'static str,
    description: &'static str,
}

/// What BLEU sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Candidates.
    pub items: u64,
    /// Matches of n-grams of one to four words, clipped to the largest count in a reference.
    pub correct: [u64; LONGEST],
    /// n-grams of one to four words in the candidates.
    pub guessed: [u64; LONGEST],
    /// Words of the candidates.
    pub candidate_words: u64,
    /// Words of the references closest in length.
    pub reference_words: u64,
}

impl Stats for Sums {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        for order in 0..LONGEST {
            self.correct[order] += other.correct[order];
            self.guessed[order] += other.guessed[order];
        }
        self.candidate_words += other.candidate_words;
        self.reference_words += other.reference_words;
    }
}

impl Metric for Bleu {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = Sums;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Caption,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "bleu"
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Sums {
        sums(item).unwrap_or_default()
    }

    fn value(&self, sums: &Sums) -> Option<f64> {
        (sums.items > 0).then(|| value(sums, self.order))
    }
}

/// The sums of one item; `None` without references.
fn sums(item: &CaptionItem) -> Option<Sums> {
    let mut vocabulary = Vocabulary::default();
    let candidate: Vec<u32> = words::split(item.candidate.tokenized())
        .map(|word| vocabulary.add(word))
        .collect();
    let mut ngrams = Counted::new(&candidate, LONGEST);
    let mut clipped = vec![0; ngrams.len()];
    let mut closest: Option<(usize, usize)> = None;
    let mut words = Vec::new();
    for reference in &item.references {
        words.clear();
        words.extend(words::split(reference.tokenized()).map(|word| vocabulary.find(word)));
        ngrams.shared_with(&words, |ngram, _, count| {
            clipped[ngram] = count.max(clipped[ngram]);
        });
        let distance = (words.len().abs_diff(candidate.len()), words.len());
        closest = Some(closest.map_or(distance, |other| other.min(distance)));
    }
    let (_, reference_words) = closest?;

    let mut sums = Sums {
        items: 1,
        candidate_words: candidate.len() as u64,
        reference_words: reference_words as u64,
        ..Sums::default()
    };
    for (order, guessed) in sums.guessed.iter_mut().enumerate() {
        *guessed = candidate.len().saturating_sub(order) as u64;
    }
    for (ngram, &count) in clipped.iter().enumerate() {
        sums.correct[ngrams.order(ngram)] += u64::from(count);
    }
    Some(sums)
}

fn value(sums: &Sums, order: usize) -> f64 {
    let precisions: f64 = (0..order)
        .map(|n| (sums.correct[n] as f64 + TINY) / (sums.guessed[n] as f64 + SMALL))
        .product();
    let value = precisions.powf(1.0 / order as f64);
    let ratio = (sums.candidate_words as f64 + TINY) / (sums.reference_words as f64 + SMALL);
    if ratio < 1.0 {
        value * (1.0 - 1.0 / ratio).exp()
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(candidate: &str, references: &[&str]) -> CaptionItem {
        CaptionItem::from_tokens(candidate, references)
    }

    #[test]
    fn counts_are_clipped_by_the_reference_that_has_most() {
        // The example of the paper, section 2.1.
        let sums = sums(&item(
            "the the the the the the the",
            &["the cat is on the mat", "there is a cat on the mat"],
        ))
        .unwrap();
        assert_eq!((sums.correct, sums.guessed), ([2, 0, 0, 0], [7, 6, 5, 4]));
        assert_eq!((sums.candidate_words, sums.reference_words), (7, 7));
        assert!((value(&sums, 1) - 2.0 / 7.0).abs() < 1e-9);
    }

    #[test]
    fn of_two_references_equally_close_in_length_the_shorter_counts() {
        let sums = sums(&item("a b c d", &["a b c d e", "a b c"])).unwrap();
        assert_eq!(sums.reference_words, 3);
    }

    #[test]
    fn a_candidate_shorter_than_any_match_of_four_words_is_not_zero() {
        let sums = sums(&item("a b c", &["a b c"])).unwrap();
        assert_eq!(sums.guessed, [3, 2, 1, 0]);
        assert!((value(&sums, 3) - 1.0).abs() < 1e-8);
        assert!((value(&sums, 4) - 1e-6f64.powf(0.25)).abs() < 1e-8, "0.03");
    }

    #[test]
    fn without_references_there_is_no_value() {
        let none = BLEU_1.stats(&(), &item("a dog", &[]));
        assert_eq!(BLEU_1.value(&none), None);
    }
}
