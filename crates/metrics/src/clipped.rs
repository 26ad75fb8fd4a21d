//! Clipped n-gram matches by length: how many n-grams of a candidate its references have, each counted at
//! most as often as the candidate has it. What BLEU and chrF are made of, whatever the symbols.

use crate::ngrams::Counted;
use crate::words::{self, Vocabulary};

/// Matches with one reference by length, 1 first; of `order` lengths.
pub(crate) fn matches(candidate: &mut Counted, reference: &[u32], order: usize) -> Vec<u64> {
    let mut sums = vec![0; order];
    candidate.shared_with(reference, |_, length, count| {
        sums[length] += u64::from(count);
    });
    sums
}

/// How many n-grams of `n` symbols a text of `len` has.
pub(crate) fn possible(len: usize, n: usize) -> u64 {
    (len + 1).saturating_sub(n) as u64
}

/// What BLEU counts of one candidate, whatever the tokenizer.
pub(crate) struct WordCounts {
    /// Matches of n-grams of words by length, 1 first. With several references an n-gram counts as often
    /// as in the one that has it most.
    pub(crate) matches: Vec<u64>,
    /// Words of the candidate.
    pub(crate) candidate_len: usize,
    /// Words of the reference whose length is closest to the candidate's, the shorter of two.
    pub(crate) reference_len: usize,
}

impl WordCounts {
    /// Counts n-grams of 1 to `order` words over texts whose words white space separates. `None` without
    /// references.
    pub(crate) fn new<'a>(
        candidate: &str,
        references: impl Iterator<Item = &'a str>,
        order: usize,
    ) -> Option<Self> {
        let mut vocabulary = Vocabulary::default();
        let candidate: Vec<u32> = words::split(candidate)
            .map(|word| vocabulary.add(word))
            .collect();
        let mut counted = Counted::new(&candidate, order);
        let mut most = vec![0; counted.len()];
        let mut closest: Option<(usize, usize)> = None;
        for reference in references {
            let reference: Vec<u32> = words::split(reference)
                .map(|word| vocabulary.find(word))
                .collect();
            let distance = (reference.len().abs_diff(candidate.len()), reference.len());
            closest = Some(closest.map_or(distance, |closest| closest.min(distance)));
            counted.shared_with(&reference, |ngram, _, count| {
                most[ngram] = count.max(most[ngram]);
            });
        }
        let (_, reference_len) = closest?;
        let mut matches = vec![0; order];
        for (ngram, &count) in most.iter().enumerate() {
            matches[counted.order(ngram)] += u64::from(count);
        }
        Some(Self {
            matches,
            candidate_len: candidate.len(),
            reference_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_words_count_as_often_as_the_best_reference_has_them() {
        let references = ["the cat is on the mat", "there is a cat on the mat"];
        let counts =
            WordCounts::new("the the the the the the the", references.into_iter(), 2).unwrap();
        assert_eq!(counts.matches, [2, 0]);
        assert_eq!((counts.candidate_len, counts.reference_len), (7, 7));
    }

    #[test]
    fn of_two_lengths_at_the_same_distance_the_shorter_counts() {
        let counts =
            |references: &[&'static str]| WordCounts::new("a b c", references.iter().copied(), 4);
        assert_eq!(counts(&["a b c d", "a b"]).unwrap().reference_len, 2);
        assert_eq!(counts(&["a b c d", ""]).unwrap().reference_len, 4);
        assert!(counts(&[]).is_none());
    }

    #[test]
    fn matches_agree_with_counting_windows() {
        let candidate: Vec<u32> = [0, 1, 0, 1, 2, 0, 1, 1, 0].into();
        let reference: Vec<u32> = [1, 0, 1, 2, 3, 0, 1, 0, 1, 1].into();
        let count = |text: &[u32], gram: &[u32]| {
            text.windows(gram.len())
                .filter(|window| *window == gram)
                .count()
        };
        for order in 1..=5 {
            let expected: Vec<u64> = (1..=order)
                .map(|n| {
                    let mut grams: Vec<&[u32]> = candidate.windows(n).collect();
                    grams.sort_unstable();
                    grams.dedup();
                    let clipped = grams
                        .iter()
                        .map(|gram| count(&candidate, gram).min(count(&reference, gram)));
                    clipped.sum::<usize>() as u64
                })
                .collect();
            let mut counted = Counted::new(&candidate, order);
            assert_eq!(matches(&mut counted, &reference, order), expected);
        }
    }
}
