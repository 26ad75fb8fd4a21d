//! What the words of a candidate share with its references.

use std::collections::HashMap;

/// The longest n-gram that is looked for, as in `bleu-4` and `cider-d`.
pub(super) const LONGEST: usize = 4;

/// A word of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// The word.
    pub(super) text: &'a str,
    /// The longest n-gram around it that a reference has; `None` if no reference has the word.
    pub(super) shared: Option<Shared>,
}

/// An n-gram that a candidate and a reference have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shared {
    /// Its first word in the candidate.
    pub(super) start: usize,
    /// Its words, 1 to [`LONGEST`].
    pub(super) length: usize,
    /// The first reference that has it.
    pub(super) reference: usize,
}

/// The words of `candidate` with the longest n-grams, up to [`LONGEST`] words, that they share with one
/// of `references`; all are tokens with spaces between. Unlike in BLEU, a word that is repeated counts
/// each time.
pub(super) fn overlap<'a>(candidate: &'a str, references: &[&'a str]) -> Vec<Word<'a>> {
    let texts: Vec<&str> = words(candidate).collect();
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for text in &texts {
        let next = numbers.len();
        numbers.entry(text).or_insert(next);
    }
    let numbered = |text: &'a str| -> Vec<Option<usize>> {
        words(text).map(|word| numbers.get(word).copied()).collect()
    };
    let own = numbered(candidate);
    let references: Vec<Vec<Option<usize>>> = references.iter().map(|r| numbered(r)).collect();

    let mut shared: Vec<Option<Shared>> = vec![None; texts.len()];
    // From long to short, so that the first n-gram found at a word is the longest.
    for length in (1..=LONGEST).rev() {
        let known = first_references(&own, &references, length);
        for (start, ngram) in own.windows(length).enumerate() {
            let Some(reference) = known.get(ngram).copied().flatten() else {
                continue;
            };
            for word in &mut shared[start..start + length] {
                word.get_or_insert(Shared {
                    start,
                    length,
                    reference,
                });
            }
        }
    }
    texts
        .into_iter()
        .zip(shared)
        .map(|(text, shared)| Word { text, shared })
        .collect()
}

/// The n-grams of `own` with the first of `references` that has each. Words are numbers; those that
/// `own` does not have are `None`.
fn first_references<'n>(
    own: &'n [Option<usize>],
    references: &[Vec<Option<usize>>],
    length: usize,
) -> HashMap<&'n [Option<usize>], Option<usize>> {
    let mut known: HashMap<&[Option<usize>], Option<usize>> =
        own.windows(length).map(|ngram| (ngram, None)).collect();
    let mut left = known.len();
    for (reference, words) in references.iter().enumerate() {
        for ngram in words.windows(length) {
            // Nothing is left to find, be the references ever so long.
            if left == 0 {
                return known;
            }
            if ngram.contains(&None) {
                continue;
            }
            if let Some(first @ None) = known.get_mut(ngram) {
                *first = Some(reference);
                left -= 1;
            }
        }
    }
    known
}

/// The words that more than half of `references` have and `candidate` lacks, each with the number of
/// references that have it: the most frequent first, then as they are written.
pub(super) fn missed<'a>(candidate: &str, references: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    // The last reference in which each word was counted, so that a repeated word counts once.
    let mut counted_in: Vec<usize> = Vec::new();
    for (reference, text) in references.iter().enumerate() {
        for word in words(text) {
            let place = *places.entry(word).or_insert_with(|| {
                found.push((word, 0));
                counted_in.push(usize::MAX);
                found.len() - 1
            });
            if counted_in[place] != reference {
                counted_in[place] = reference;
                found[place].1 += 1;
            }
        }
    }
    for word in words(candidate) {
        if let Some(&place) = places.get(word) {
            found[place].1 = 0;
        }
    }
    found.retain(|(_, n)| 2 * n > references.len());
    found.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    found
}

fn words(tokenized: &str) -> impl Iterator<Item = &str> {
    tokenized.split(' ').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of the longest shared n-gram at each word, 0 for none.
    fn lengths(candidate: &str, references: &[&str]) -> Vec<usize> {
        let words = overlap(candidate, references);
        let length = |word: &Word<'_>| word.shared.map_or(0, |shared| shared.length);
        words.iter().map(length).collect()
    }

    #[test]
    fn words_are_marked_by_the_longest_ngram_they_share() {
        let references = ["a man rides a brown horse", "the man is on a horse"];
        assert_eq!(
            lengths("a man rides a horse quickly", &references),
            [4, 4, 4, 4, 2, 0]
        );
        assert_eq!(lengths("horse man", &references), [1, 1]);
        assert_eq!(lengths("on a brown dog", &references), [2, 2, 2, 0]);
    }

    #[test]
    fn ngrams_longer_than_four_are_marked_as_fours() {
        let text = "one two three four five six";
        assert_eq!(lengths(text, &[text]), [4; 6]);
    }

    #[test]
    fn an_ngram_is_of_the_first_reference_that_has_it() {
        let words = overlap("a dog", &["one dog", "a dog", "see a dog"]);
        let shared = Shared {
            start: 0,
            length: 2,
            reference: 1,
        };
        assert_eq!(words[0].shared, Some(shared));
        assert_eq!(words[1].shared, Some(shared), "not the 1-gram of the first");
    }

    #[test]
    fn ngrams_do_not_reach_over_the_end_of_a_reference() {
        assert_eq!(lengths("a b", &["x a", "b y"]), [1, 1]);
    }

    #[test]
    fn nothing_shares_nothing() {
        assert_eq!(lengths("", &["a"]), Vec::<usize>::new());
        assert_eq!(lengths("a  b", &[]), [0, 0]);
        assert_eq!(lengths("a", &["", ""]), [0]);
    }

    #[test]
    fn missed_words_are_those_of_most_references() {
        let references = ["a red red kite", "one red kite", "the kite flies", "a bird"];
        assert_eq!(
            missed("a bird", &references),
            [("kite", 3)],
            "two of four are not most"
        );
        assert_eq!(missed("kite", &references), []);
        assert_eq!(missed("", &["b a", "a b"]), [("b", 2), ("a", 2)]);
        assert_eq!(missed("", &["x y", "y", "y x x x"]), [("y", 3), ("x", 2)]);
        assert_eq!(missed("", &[]), []);
    }
}
