//! The sums of METEOR and the score they give.

use super::matches::{Match, Module};
use super::word::Word;
use crate::Stats;

/// Balance of precision and recall: α of METEOR 1.5, English, task "rank".
const ALPHA: f64 = 0.85;
/// Exponent of the fragmentation: β.
const BETA: f64 = 0.2;
/// Weight of the fragmentation: γ.
const GAMMA: f64 = 0.6;
/// Weight of a content word; a function word has the rest: δ.
const DELTA: f64 = 0.75;

/// Matched words of one module on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Content words.
    pub content: u64,
    /// Function words.
    pub function: u64,
}

/// One side of an alignment, or of many: the candidate or the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Words.
    pub words: u64,
    /// Function words among them.
    pub function_words: u64,
    /// Matched words by module.
    pub matched: [Matched; 4],
}

impl Side {
    fn new(words: &[&Word]) -> Self {
        Self {
            words: words.len() as u64,
            function_words: words.iter().filter(|word| word.is_function).count() as u64,
            matched: Default::default(),
        }
    }

    fn count(&mut self, module: Module, words: &[&Word]) {
        let matched = &mut self.matched[module as usize];
        for word in words {
            if word.is_function {
                matched.function += 1;
            } else {
                matched.content += 1;
            }
        }
    }

    /// Matched words.
    pub fn total(&self) -> u64 {
        self.matched.iter().map(|m| m.content + m.function).sum()
    }

    /// The share of the words that is matched, words and modules weighed; 0 without words.
    fn share(&self) -> f64 {
        let weigh =
            |content: u64, function: u64| DELTA * content as f64 + (1.0 - DELTA) * function as f64;
        let matched: f64 = Module::ALL
            .into_iter()
            .zip(self.matched)
            .map(|(module, m)| module.weight() * weigh(m.content, m.function))
            .sum();
        if matched == 0.0 {
            return 0.0;
        }
        matched / weigh(self.words - self.function_words, self.function_words)
    }

    fn merge(&mut self, other: &Self) {
        self.words += other.words;
        self.function_words += other.function_words;
        for (own, other) in self.matched.iter_mut().zip(other.matched) {
            own.content += other.content;
            own.function += other.function;
        }
    }
}

/// The sums METEOR is computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// The candidate.
    pub candidate: Side,
    /// The reference that scores best.
    pub reference: Side,
    /// Runs of matched words that stand together and in one order on both sides.
    pub chunks: u64,
    /// Chunks of segments that are not perfect: what the score of many segments counts.
    pub fragments: u64,
    segments: u64,
}

impl Sums {
    /// The sums of one alignment, whose matches are in the order of the reference.
    pub(super) fn new(candidate: &[&Word], reference: &[&Word], taken: &[Match]) -> Self {
        let mut sums = Self {
            candidate: Side::new(candidate),
            reference: Side::new(reference),
            segments: 1,
            ..Self::default()
        };
        let mut end = None;
        for one in taken {
            sums.candidate
                .count(one.module, &candidate[one.in_candidate()]);
            sums.reference
                .count(one.module, &reference[one.in_reference()]);
            let start = (one.in_candidate().start, one.in_reference().start);
            sums.chunks += u64::from(end != Some(start));
            end = Some((one.in_candidate().end, one.in_reference().end));
        }
        sums.fragments = if sums.is_perfect() { 0 } else { sums.chunks };
        sums
    }

    /// Whether every word of both sides is matched in one chunk.
    fn is_perfect(&self) -> bool {
        self.chunks == 1
            && self.candidate.total() == self.candidate.words
            && self.reference.total() == self.reference.words
    }

    /// Weighed share of the candidate that is matched, from 0 to 1.
    pub fn precision(&self) -> f64 {
        self.candidate.share()
    }

    /// Weighed share of the reference that is matched, from 0 to 1.
    pub fn recall(&self) -> f64 {
        self.reference.share()
    }

    /// What the score loses because matches are scattered, from 0 to 1.
    pub fn penalty(&self) -> f64 {
        let average = (self.candidate.total() + self.reference.total()) as f64 / 2.0;
        if self.is_perfect() || average == 0.0 {
            return 0.0;
        }
        GAMMA * (self.fragments as f64 / average).powf(BETA)
    }

    /// The score, from 0 to 1; `None` of no segment. It is 0 where nothing is matched.
    pub fn score(&self) -> Option<f64> {
        if self.segments == 0 {
            return None;
        }
        let f = 1.0 / ((1.0 - ALPHA) / self.precision() + ALPHA / self.recall());
        let score = f * (1.0 - self.penalty());
        // Without a match both quotients are infinite, and the score is 0 as it should be.
        Some(score.max(0.0))
    }

    /// The 23 numbers of the reference program, in its order: lengths, function words, matches by
    /// module and side, chunks, matched words.
    pub fn line(&self) -> [u64; 23] {
        let mut line = [0; 23];
        line[..4].copy_from_slice(&[
            self.candidate.words,
            self.reference.words,
            self.candidate.function_words,
            self.reference.function_words,
        ]);
        for module in 0..4 {
            let (candidate, reference) = (
                self.candidate.matched[module],
                self.reference.matched[module],
            );
            line[4 + 4 * module..8 + 4 * module].copy_from_slice(&[
                candidate.content,
                reference.content,
                candidate.function,
                reference.function,
            ]);
        }
        line[20..].copy_from_slice(&[self.chunks, self.candidate.total(), self.reference.total()]);
        line
    }
}

impl Stats for Sums {
    fn merge(&mut self, other: &Self) {
        self.candidate.merge(&other.candidate);
        self.reference.merge(&other.reference);
        self.chunks += other.chunks;
        self.fragments += other.fragments;
        self.segments += other.segments;
    }
}
