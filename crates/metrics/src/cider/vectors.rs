//! The tf-idf vectors of one item's captions.

use std::f64;

use foldhash::HashMap;

use super::frequencies::Known;
use super::{DocumentFrequencies, LONGEST, SIGMA};
use crate::ngrams::{ROOT, Trie};
use crate::words;

/// The candidate's vectors, and the n-grams of every caption seen so far with their weights.
pub(super) struct Space<'a> {
    frequencies: &'a DocumentFrequencies,
    /// Numbers of words that the frequencies do not have; they follow on those that they do.
    new_words: HashMap<&'a str, u32>,
    trie: Trie,
    ngrams: Vec<Ngram>,
    /// The caption at hand: its words, the n-gram at each so far, and its n-grams by length and then
    /// first position.
    words: Vec<u32>,
    nodes: Vec<u32>,
    present: Vec<u32>,
    /// Number of words of the candidate.
    candidate_words: usize,
    candidate_norms: [f64; LONGEST],
}

struct Ngram {
    /// Number of words less one.
    order: usize,
    /// The same n-gram in the frequencies.
    known: Option<Known>,
    idf: f64,
    /// Count in the caption at hand, 0 between captions.
    count: u32,
    /// Weight in the candidate.
    candidate: f64,
}

/// How alike a candidate and a reference are, as means over the lengths of n-grams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Similarity {
    /// As in CIDEr.
    pub(super) cosine: f64,
    /// As in CIDEr-D.
    pub(super) clipped: f64,
}

impl<'a> Space<'a> {
    /// The space of `candidate`, to be compared with captions of `reference_bytes` together.
    pub(super) fn new(
        frequencies: &'a DocumentFrequencies,
        candidate: &'a str,
        reference_bytes: usize,
    ) -> Self {
        // Captions have about one new n-gram for every two bytes; room for those of usual ones.
        let likely = (candidate.len().saturating_add(reference_bytes) / 2).min(1 << 12);
        let mut space = Self {
            frequencies,
            new_words: HashMap::default(),
            trie: Trie::with_capacity(likely),
            ngrams: Vec::with_capacity(likely),
            words: Vec::new(),
            nodes: Vec::new(),
            present: Vec::new(),
            candidate_words: 0,
            candidate_norms: [0.0; LONGEST],
        };
        space.count(candidate);
        space.candidate_words = space.words.len();
        let mut squares = [0.0; LONGEST];
        for ngram in space.present.drain(..) {
            let ngram = &mut space.ngrams[ngram as usize];
            ngram.candidate = f64::from(ngram.count) * ngram.idf;
            ngram.count = 0;
            squares[ngram.order] += ngram.candidate * ngram.candidate;
        }
        space.candidate_norms = squares.map(f64::sqrt);
        space
    }

    pub(super) fn similarity(&mut self, reference: &'a str) -> Similarity {
        self.count(reference);
        let (mut cosines, mut clipped, mut squares) =
            ([0.0; LONGEST], [0.0; LONGEST], [0.0; LONGEST]);
        for ngram in self.present.drain(..) {
            let ngram = &mut self.ngrams[ngram as usize];
            let weight = f64::from(ngram.count) * ngram.idf;
            ngram.count = 0;
            squares[ngram.order] += weight * weight;
            cosines[ngram.order] += ngram.candidate * weight;
            clipped[ngram.order] += ngram.candidate.min(weight) * weight;
        }
        for order in 0..LONGEST {
            let norms = self.candidate_norms[order] * squares[order].sqrt();
            if norms != 0.0 {
                cosines[order] /= norms;
                clipped[order] /= norms;
            }
        }
        let bigrams = |words: usize| words.saturating_sub(1);
        let difference = bigrams(self.candidate_words).abs_diff(bigrams(self.words.len())) as f64;
        let penalty = (-(difference * difference) / (2.0 * SIGMA * SIGMA)).exp();
        let mean = |values: [f64; LONGEST]| values.iter().sum::<f64>() / LONGEST as f64;
        Similarity {
            cosine: mean(cosines),
            clipped: mean(clipped) * penalty,
        }
    }

    /// Makes `caption` the caption at hand.
    fn count(&mut self, caption: &'a str) {
        self.words.clear();
        for word in words::split(caption) {
            let number = self.frequencies.word(word).unwrap_or_else(|| {
                let next = (self.frequencies.words() + self.new_words.len()) as u32;
                *self.new_words.entry(word).or_insert(next)
            });
            self.words.push(number);
        }
        // Length by length: lookups of one length do not wait for each other, and most of the time goes
        // into waiting for the frequencies.
        self.nodes.clear();
        self.nodes.resize(self.words.len(), ROOT);
        for order in 0..LONGEST {
            for (start, &word) in self.words.iter().skip(order).enumerate() {
                let parent = self.nodes[start];
                let node = self.trie.grow(parent, word);
                self.nodes[start] = node;
                if node as usize == self.ngrams.len() {
                    let known = match self.ngrams.get(parent as usize) {
                        Some(parent) => parent
                            .known
                            .and_then(|known| self.frequencies.longer(order, known, word)),
                        None => self.frequencies.single(word),
                    };
                    self.ngrams.push(Ngram {
                        order,
                        known,
                        idf: self.frequencies.idf(known),
                        count: 0,
                        candidate: 0.0,
                    });
                }
                let ngram = &mut self.ngrams[node as usize];
                if ngram.count == 0 {
                    self.present.push(node);
                }
                ngram.count += 1;
            }
        }
    }
}
