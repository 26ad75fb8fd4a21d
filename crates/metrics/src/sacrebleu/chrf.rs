//! chrF (Popović 2015) and chrF++ (Popović 2017) as sacrebleu computes them: an F score of n-grams of
//! characters, and of words for chrF++, in percent.
//!
//! Of several references the one with the best score counts, the first of equal ones; its counts are
//! what a corpus sums. N-grams of characters run across words, as white space is removed first.

use super::References;
use super::signature::{VERSION, case, over, yes_no};
use crate::clipped::{matches, possible};
use crate::metric::{Metric, MetricInfo, Stats, merged};
use crate::ngrams::Counted;
use crate::words::{self, Vocabulary};
use crate::{CaptionItem, Input, Resources, Result};

/// What a share of nothing counts as with epsilon smoothing.
const EPSILON: f64 = 1e-16;

/// `sacrebleu-chrf`.
pub static CHRF: ChrfMetric = ChrfMetric {
    settings: Chrf::DEFAULT,
    id: "sacrebleu-chrf",
    description: "chrF2 of sacrebleu 2.6.0 with its default settings: n-grams of one to six \
        characters, recall counts twice.",
};

/// `sacrebleu-chrf++`.
pub static CHRF_PLUS_PLUS: ChrfMetric = ChrfMetric {
    settings: Chrf {
        word_order: 2,
        ..Chrf::DEFAULT
    },
    id: "sacrebleu-chrf++",
    description: "chrF2++ of sacrebleu 2.6.0 with its default settings: n-grams of one to six \
        characters and of one and two words, recall counts twice.",
};

/// Settings of chrF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chrf {
    /// Longest n-grams of characters.
    pub char_order: usize,
    /// Longest n-grams of words: 0 is chrF, 2 is chrF++.
    pub word_order: usize,
    /// How much more recall counts than precision. Signatures do not say it.
    pub beta: u32,
    /// Whether upper and lower case are the same.
    pub lowercase: bool,
    /// Whether white space counts as characters.
    pub whitespace: bool,
    /// Whether orders that a text is too short for count, by a share of 1e-16, as in the authors' own
    /// program; they are left out otherwise.
    pub eps_smoothing: bool,
}

impl Default for Chrf {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Chrf {
    const DEFAULT: Self = Self {
        char_order: 6,
        word_order: 0,
        beta: 2,
        lowercase: false,
        whitespace: false,
        eps_smoothing: false,
    };

    /// What scores depend on, as sacrebleu writes it.
    pub fn signature(&self, references: References) -> String {
        format!(
            "nrefs:{references}|case:{}|eff:{}|nc:{}|nw:{}|space:{}|version:{VERSION}",
            case(self.lowercase),
            yes_no(!self.eps_smoothing),
            self.char_order,
            self.word_order,
            yes_no(self.whitespace),
        )
    }

    /// The counts of one item with its best reference; of nothing if it has no references.
    pub fn counts(&self, item: &CaptionItem) -> ChrfCounts {
        let candidate = self.cased(item.candidate.raw());
        let characters = self.characters(&candidate);
        let mut character_grams = Counted::new(&characters, self.char_order);
        let mut vocabulary = Vocabulary::default();
        let numbers: Vec<u32> = self
            .words(&candidate)
            .into_iter()
            .map(|word| vocabulary.add(word))
            .collect();
        let mut word_grams = Counted::new(&numbers, self.word_order);

        let mut best = ChrfCounts::default();
        let mut best_score = -1.0;
        for reference in &item.references {
            let reference = self.cased(reference.raw());
            let mut orders = order_counts(
                &mut character_grams,
                characters.len(),
                &self.characters(&reference),
                self.char_order,
            );
            let numbers_there: Vec<u32> = self
                .words(&reference)
                .into_iter()
                .map(|word| vocabulary.find(word))
                .collect();
            orders.extend(order_counts(
                &mut word_grams,
                numbers.len(),
                &numbers_there,
                self.word_order,
            ));
            let score = self.f_score(&orders);
            if score > best_score {
                best_score = score;
                best = ChrfCounts { items: 1, orders };
            }
        }
        best
    }

    /// The score of merged counts, in percent; `None` of no items.
    pub fn score(&self, counts: &ChrfCounts) -> Option<f64> {
        (counts.items > 0).then(|| self.f_score(&counts.orders))
    }

    /// The score of items together, `corpus_score` of sacrebleu, in percent.
    pub fn corpus(&self, items: &[CaptionItem]) -> Option<f64> {
        let counts: Vec<ChrfCounts> = items.iter().map(|item| self.counts(item)).collect();
        self.score(&merged(&counts))
    }

    fn cased(&self, text: &str) -> String {
        if self.lowercase {
            text.to_lowercase()
        } else {
            text.to_owned()
        }
    }

    fn characters(&self, text: &str) -> Vec<u32> {
        text.chars()
            .filter(|&c| self.whitespace || !words::is_space(c))
            .map(u32::from)
            .collect()
    }

    /// Words, with one mark of punctuation taken off the end, or else off the start. None where n-grams
    /// of words are not counted.
    fn words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut words = Vec::new();
        if self.word_order == 0 {
            return words;
        }
        for word in words::split(text) {
            let is_mark = |c: char| c.is_ascii_punctuation();
            if word.chars().nth(1).is_none() {
                words.push(word);
            } else if word.ends_with(is_mark) {
                let (word, mark) = word.split_at(word.len() - 1);
                words.extend([word, mark]);
            } else if word.starts_with(is_mark) {
                let (mark, word) = word.split_at(1);
                words.extend([mark, word]);
            } else {
                words.push(word);
            }
        }
        words
    }

    fn f_score(&self, orders: &[OrderCounts]) -> f64 {
        let factor = f64::from(self.beta) * f64::from(self.beta);
        let f = |precision: f64, recall: f64| {
            (1.0 + factor) * precision * recall / (factor * precision + recall)
        };
        let mut smoothed = 0.0;
        let (mut precisions, mut recalls, mut effective) = (0.0, 0.0, 0u32);
        for order in orders {
            let share = |of: u64| {
                if of > 0 {
                    order.matches as f64 / of as f64
                } else {
                    EPSILON
                }
            };
            let (precision, recall) = (share(order.candidate), share(order.reference));
            smoothed += if factor * precision + recall > 0.0 {
                f(precision, recall)
            } else {
                EPSILON
            };
            if order.candidate > 0 && order.reference > 0 {
                precisions += precision;
                recalls += recall;
                effective += 1;
            }
        }
        if self.eps_smoothing {
            return 100.0 * smoothed / (self.char_order + self.word_order).max(1) as f64;
        }
        let effective = f64::from(effective.max(1));
        let (precision, recall) = (precisions / effective, recalls / effective);
        if precision + recall > 0.0 {
            100.0 * f(precision, recall)
        } else {
            0.0
        }
    }
}

/// The counts of one reference by length.
fn order_counts(
    candidate: &mut Counted,
    candidate_len: usize,
    reference: &[u32],
    order: usize,
) -> Vec<OrderCounts> {
    let matches = matches(candidate, reference, order);
    let counts = (1..).zip(matches).map(|(n, matches)| {
        let reference = possible(reference.len(), n);
        let candidate = if reference > 0 {
            possible(candidate_len, n)
        } else {
            0
        };
        OrderCounts {
            candidate,
            reference,
            matches,
        }
    });
    counts.collect()
}

/// What chrF counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChrfCounts {
    /// Items with references.
    pub items: u64,
    /// N-grams of characters by length, then n-grams of words by length; nothing without items.
    pub orders: Vec<OrderCounts>,
}

/// N-grams of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OrderCounts {
    /// Those of candidates, where the reference is long enough to have one.
    pub candidate: u64,
    /// Those of references.
    pub reference: u64,
    /// Clipped matches.
    pub matches: u64,
}

impl Stats for ChrfCounts {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        if self.orders.len() < other.orders.len() {
            self.orders
                .resize(other.orders.len(), OrderCounts::default());
        }
        for (sum, one) in self.orders.iter_mut().zip(&other.orders) {
            sum.candidate += one.candidate;
            sum.reference += one.reference;
            sum.matches += one.matches;
        }
    }
}

/// chrF or chrF++ in the registry.
#[derive(Debug)]
pub struct ChrfMetric {
    settings: Chrf,
    id: &'static str,
    description: &'static str,
}

impl Metric for ChrfMetric {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = ChrfCounts;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Caption,
            range: [0.0, 100.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn signature(&self, items: Option<&[CaptionItem]>) -> Option<String> {
        Some(over(items, |references| {
            self.settings.signature(references)
        }))
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> ChrfCounts {
        self.settings.counts(item)
    }

    fn value(&self, counts: &ChrfCounts) -> Option<f64> {
        self.settings.score(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(chrf: Chrf, candidate: &str, references: &[&str]) -> f64 {
        chrf.corpus(&[CaptionItem::new(candidate, references)])
            .unwrap()
    }

    /// Values of sacrebleu 2.6.0.
    #[test]
    fn scores_agree_with_sacrebleu() {
        let is = |settings, candidate, references, expected: f64| {
            let score = sentence(settings, candidate, references);
            assert!((score - expected).abs() < 1e-9, "{candidate}: {score}");
        };
        let chrf = Chrf::DEFAULT;
        is(chrf, "car", &["automobile"], 3.875_968_992_248_062);
        is(chrf, "!?", &[".", "?!"], 50.0);
        is(
            chrf,
            "a J. P. Morgan sign at 5 a.m. in D.C.",
            &["a jp morgan sign in washington dc at 5 am"],
            30.586_396_346_258_617,
        );
        is(chrf, "", &[""], 0.0);
    }

    #[test]
    fn one_mark_of_punctuation_leaves_a_word() {
        let chrf = CHRF_PLUS_PLUS.settings;
        assert_eq!(
            chrf.words("(hi) \"a ... é! — x"),
            ["(hi", ")", "\"", "a", "..", ".", "é", "!", "—", "x"]
        );
    }

    #[test]
    fn the_first_of_equally_good_references_counts() {
        let counts = Chrf::DEFAULT.counts(&CaptionItem::new("ab", &["cdefg", "cd"]));
        assert_eq!(counts.orders[0].reference, 5);
    }
}
