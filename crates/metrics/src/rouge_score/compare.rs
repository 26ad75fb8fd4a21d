//! One candidate against its references.

use foldhash::{HashMap, HashSet};

use super::tokens::Text;
use super::{Score, Scores};
use crate::lcs::{Columns, backtrack};
use crate::ngrams::Counted;

/// A candidate prepared for being compared with references.
#[derive(Debug)]
pub(super) struct Candidate {
    text: Text,
    ngrams: Counted,
    columns: Columns<u32>,
}

impl Candidate {
    pub(super) fn new(text: Text) -> Self {
        Self {
            ngrams: Counted::new(&text.words, 2),
            columns: Columns::new(&text.words),
            text,
        }
    }

    pub(super) fn scores(&mut self, reference: &Text) -> Scores {
        let mut common = [0, 0];
        self.ngrams
            .shared_with(&reference.words, |_, order, count| {
                common[order] += count as usize;
            });
        let words = [self.text.words.len(), reference.words.len()];
        let bigrams = words.map(|words| words.saturating_sub(1));
        let longest = self.columns.longest_with(reference.words.iter().copied());
        let in_sentences = if self.text.sentences.len() <= 1 && reference.sentences.len() <= 1 {
            longest
        } else {
            self.common_in_sentences(reference)
        };
        Scores {
            one: Score::of(common[0], words),
            two: Score::of(common[1], bigrams),
            l: Score::of(longest, words),
            lsum: Score::of(in_sentences, words),
        }
    }

    fn common_in_sentences(&self, reference: &Text) -> usize {
        let mut seen = HashSet::default();
        let sentences: Vec<(&[u32], Columns<u32>)> = self
            .text
            .sentences()
            .filter(|sentence| seen.insert(*sentence))
            .map(|sentence| (sentence, Columns::new(sentence)))
            .collect();
        let mut left: HashMap<u32, usize> = HashMap::default();
        for &word in &self.text.words {
            *left.entry(word).or_default() += 1;
        }
        let mut common = 0;
        for rows in reference.sentences() {
            let mut is_common = vec![false; rows.len()];
            for (words, columns) in &sentences {
                backtrack(columns, words, rows, |row| is_common[row] = true);
            }
            for (word, _) in rows.iter().zip(is_common).filter(|(_, common)| *common) {
                if let Some(left) = left.get_mut(word).filter(|left| **left > 0) {
                    *left -= 1;
                    common += 1;
                }
            }
        }
        common
    }
}
