//! nltk's BLEU with the smoothing functions of Chen and Cherry (2014), `method0` to `method7`.
//!
//! n-grams of one to four words count a quarter each. A candidate without any word of the references
//! scores 0 whatever the smoothing. nltk counts an order that the candidate is too short for as no match
//! out of one.
//!
//! `corpus_bleu` of nltk smooths the sums of a corpus, and so do `method0` to `method4` here. The others
//! look into a sentence: `corpus_bleu` then looks into the last one of the corpus, so that the score
//! depends on the order of the items. Their value here is the mean over items instead. `method6` raises
//! an error for candidates without a trigram of the references; such an item has no value
//! ([`Undefined::NoTrigram`]) and is left out of the mean.

use crate::clipped::{WordCounts, possible};
use crate::metric::{Mean, Metric, MetricInfo, Stats};
use crate::{Caption, CaptionItem, Input, Resources, Result};

/// Longest n-grams that the score is made of.
const ORDER: usize = 4;
/// What `method1` takes for no match.
const EPSILON: f64 = 0.1;
/// `k` of `method4`.
const K: f64 = 5.0;
/// `alpha` of `method6`.
const ALPHA: f64 = 5.0;

/// Largest value of `method5` and `method7`, that of a perfect candidate: the fourth root of
/// 4/3 · 10/9 · 28/27 · 82/81.
const LARGEST_AVERAGED: f64 = 1.116_747_096_418_018;

/// `method6` stays below. Precisions p1 to p4 of a candidate of N words have p2·p4 at most max(1, p3²),
/// and p3 at most (N - 2 + 5/p1)/(N + 3), where p1 is at least 3/N as a trigram matches: the product of
/// all four is then at most 2.06, for N = 9. `a a b a` scores 1.04 with the references `a a b` and `a b a`.
const LARGEST_WITH_PRIOR: f64 = 1.2;

/// `nltk-bleu-method0`.
pub static BLEU_METHOD0: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method0,
    id: "nltk-bleu-method0",
    description: "BLEU of nltk 3.10.4 without smoothing; a corpus by `corpus_bleu`.",
};

/// `nltk-bleu-method1`.
pub static BLEU_METHOD1: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method1,
    id: "nltk-bleu-method1",
    description: "BLEU of nltk 3.10.4, no match counts as 0.1; a corpus by `corpus_bleu`.",
};

/// `nltk-bleu-method2`.
pub static BLEU_METHOD2: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method2,
    id: "nltk-bleu-method2",
    description: "BLEU of nltk 3.10.4, one match more of every n-gram of two words and more; a \
        corpus by `corpus_bleu`.",
};

/// `nltk-bleu-method3`.
pub static BLEU_METHOD3: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method3,
    id: "nltk-bleu-method3",
    description: "BLEU of nltk 3.10.4, the k-th order without match counts as 1/2^k; a corpus by \
        `corpus_bleu`.",
};

/// `nltk-bleu-method4`.
pub static BLEU_METHOD4: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method4,
    id: "nltk-bleu-method4",
    description: "BLEU of nltk 3.10.4, no match counts less in short candidates; a corpus by \
        `corpus_bleu`.",
};

/// `nltk-bleu-method5`.
pub static BLEU_METHOD5: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method5,
    id: "nltk-bleu-method5",
    description: "BLEU of nltk 3.10.4, each precision averaged with its neighbours; a corpus by the \
        mean over items, as `corpus_bleu` would look at the last item only.",
};

/// `nltk-bleu-method6`.
pub static BLEU_METHOD6: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method6,
    id: "nltk-bleu-method6",
    description: "BLEU of nltk 3.10.4, trigrams and longer ones with a prior from shorter ones; no \
        value without a matching trigram, a corpus by the mean over items that have one.",
};

/// `nltk-bleu-method7`.
pub static BLEU_METHOD7: BleuMetric = BleuMetric {
    smoothing: Smoothing::Method7,
    id: "nltk-bleu-method7",
    description: "BLEU of nltk 3.10.4, `method4` and then `method5`; a corpus by the mean over \
        items, as `corpus_bleu` would look at the last item only.",
};

/// A smoothing function of nltk, with nltk's own parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Smoothing {
    /// None: no match counts as the smallest normal number.
    Method0,
    /// No match counts as 0.1.
    Method1,
    /// One is added to matches and to n-grams, except for single words.
    Method2,
    /// The k-th order without match counts as 1/2^k.
    Method3,
    /// The k-th order without match counts as ln(length)/(5·2^k).
    Method4,
    /// Each precision becomes the mean of itself, the one before as averaged already, and the next.
    Method5,
    /// From trigrams on, matches get five of what the two orders before make likely.
    Method6,
    /// `method4`, then `method5`.
    Method7,
}

impl Smoothing {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Method0,
        Self::Method1,
        Self::Method2,
        Self::Method3,
        Self::Method4,
        Self::Method5,
        Self::Method6,
        Self::Method7,
    ];

    /// nltk's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method0 => "method0",
            Self::Method1 => "method1",
            Self::Method2 => "method2",
            Self::Method3 => "method3",
            Self::Method4 => "method4",
            Self::Method5 => "method5",
            Self::Method6 => "method6",
            Self::Method7 => "method7",
        }
    }
}

/// Why nltk raises an error instead of giving a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undefined {
    /// There is nothing to compare with.
    #[error("a sentence without references has no score")]
    NoReferences,
    /// `method6` divides by what trigrams match; nltk raises `AssertionError`.
    #[error("smoothing method6 needs a trigram that a reference has")]
    NoTrigram,
}

/// What nltk counts of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentenceBleu {
    /// Words of the candidate.
    pub candidate_len: u64,
    /// Words of the reference closest in length, the shorter of two.
    pub reference_len: u64,
    /// Clipped matches of n-grams of one to five words; `method5` looks at the fifth.
    pub matches: [u64; ORDER + 1],
    /// N-grams of the candidate, at least 1.
    pub possible: [u64; ORDER + 1],
}

impl SentenceBleu {
    /// Counts over tokenized captions.
    pub fn new(item: &CaptionItem) -> Result<Self, Undefined> {
        let references = item.references.iter().map(Caption::tokenized);
        let counted = WordCounts::new(item.candidate.tokenized(), references, ORDER + 1)
            .ok_or(Undefined::NoReferences)?;
        let mut sentence = Self {
            candidate_len: counted.candidate_len as u64,
            reference_len: counted.reference_len as u64,
            matches: [0; ORDER + 1],
            possible: [1; ORDER + 1],
        };
        for (n, matches) in counted.matches.into_iter().enumerate().take(ORDER + 1) {
            sentence.matches[n] = matches;
            sentence.possible[n] = possible(counted.candidate_len, n + 1).max(1);
        }
        Ok(sentence)
    }

    /// `sentence_bleu` of nltk.
    pub fn score(&self, smoothing: Smoothing) -> Result<f64, Undefined> {
        if self.matches[0] == 0 {
            return Ok(0.0);
        }
        let fifth = self.matches[ORDER] as f64 / self.possible[ORDER] as f64;
        let mut precisions = Precisions {
            matches: first(&self.matches),
            possible: first(&self.possible),
            candidate_len: self.candidate_len,
        };
        let smoothed = match smoothing {
            Smoothing::Method5 => averaged(&precisions.plain(), fifth),
            Smoothing::Method6 => {
                // The prior weighs against the n-grams there are, which may be none.
                for (n, possible) in precisions.possible.iter_mut().enumerate() {
                    *possible = possible
                        .min(crate::clipped::possible(self.candidate_len as usize, n + 1) as f64);
                }
                precisions.with_prior()?
            }
            Smoothing::Method7 => averaged(&precisions.method4(), fifth),
            Smoothing::Method0
            | Smoothing::Method1
            | Smoothing::Method2
            | Smoothing::Method3
            | Smoothing::Method4 => precisions.smoothed(smoothing),
        };
        Ok(brevity_penalty(self.candidate_len, self.reference_len) * geometric_mean(&smoothed))
    }
}

fn first(counts: &[u64; ORDER + 1]) -> [f64; ORDER] {
    std::array::from_fn(|n| counts[n] as f64)
}

/// Matches of a sentence or of a corpus, to be smoothed.
struct Precisions {
    matches: [f64; ORDER],
    possible: [f64; ORDER],
    candidate_len: u64,
}

impl Precisions {
    fn plain(&self) -> [f64; ORDER] {
        std::array::from_fn(|n| self.matches[n] / self.possible[n])
    }

    /// By the methods that look at nothing but sums; unsmoothed for others.
    fn smoothed(&self, smoothing: Smoothing) -> [f64; ORDER] {
        match smoothing {
            Smoothing::Method0 => self.with_zeros(|_, _| f64::MIN_POSITIVE),
            Smoothing::Method1 => self.with_zeros(|_, possible| EPSILON / possible),
            Smoothing::Method2 => std::array::from_fn(|n| {
                let added = f64::from(u8::from(n > 0));
                (self.matches[n] + added) / (self.possible[n] + added)
            }),
            Smoothing::Method3 => self.with_zeros(|k, possible| 1.0 / (2f64.powi(k) * possible)),
            Smoothing::Method4 => self.method4(),
            Smoothing::Method5 | Smoothing::Method6 | Smoothing::Method7 => self.plain(),
        }
    }

    fn method4(&self) -> [f64; ORDER] {
        if self.candidate_len <= 1 {
            return self.plain();
        }
        let length = (self.candidate_len as f64).ln();
        self.with_zeros(|k, possible| 1.0 / (2f64.powi(k) * K / length) / possible)
    }

    /// Replaces each precision of nothing, given which one it is, from 1, and how many n-grams there are.
    fn with_zeros(&self, smoothed: impl Fn(i32, f64) -> f64) -> [f64; ORDER] {
        let mut zeros = 0;
        std::array::from_fn(|n| {
            if self.matches[n] == 0.0 {
                zeros += 1;
                smoothed(zeros, self.possible[n])
            } else {
                self.matches[n] / self.possible[n]
            }
        })
    }

    /// `method6`.
    fn with_prior(&self) -> Result<[f64; ORDER], Undefined> {
        if self.matches[2] == 0.0 {
            return Err(Undefined::NoTrigram);
        }
        let mut smoothed = self.plain();
        for n in 2..ORDER {
            // A trigram that matches brings a word and a bigram that match.
            let prior = smoothed[n - 1] * smoothed[n - 1] / smoothed[n - 2];
            smoothed[n] = (self.matches[n] + ALPHA * prior) / (self.possible[n] + ALPHA);
        }
        Ok(smoothed)
    }
}

/// `method5` on precisions of one to four words and that of five.
fn averaged(precisions: &[f64; ORDER], fifth: f64) -> [f64; ORDER] {
    let mut before = precisions[0] + 1.0;
    std::array::from_fn(|n| {
        let next = precisions.get(n + 1).copied().unwrap_or(fifth);
        before = (before + precisions[n] + next) / 3.0;
        before
    })
}

/// Precisions of nothing that are left do not count.
fn geometric_mean(precisions: &[f64; ORDER]) -> f64 {
    let logarithms = precisions.iter().filter(|&&precision| precision > 0.0);
    let sum: f64 = logarithms.map(|precision| 0.25 * precision.ln()).sum();
    sum.exp()
}

fn brevity_penalty(candidate_len: u64, reference_len: u64) -> f64 {
    if candidate_len > reference_len {
        1.0
    } else if candidate_len == 0 {
        0.0
    } else {
        (1.0 - reference_len as f64 / candidate_len as f64).exp()
    }
}

/// What nltk's metrics of this family sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BleuSums {
    /// Items with references.
    pub items: u64,
    /// Words of candidates.
    pub candidate_len: u64,
    /// Words of the references closest in length.
    pub reference_len: u64,
    /// Clipped matches of n-grams of one to four words.
    pub matches: [u64; ORDER],
    /// N-grams of candidates, at least 1 for each candidate.
    pub possible: [u64; ORDER],
    /// Scores by `method5`, `method6` and `method7` of the items that have one.
    pub sentences: [Mean; 3],
}

impl BleuSums {
    /// The sums of one item; of nothing if it has no references.
    pub fn new(item: &CaptionItem) -> Self {
        let Ok(sentence) = SentenceBleu::new(item) else {
            return Self::default();
        };
        let mean = |smoothing| {
            sentence
                .score(smoothing)
                .map_or_else(|_| Mean::default(), Mean::of)
        };
        Self {
            items: 1,
            candidate_len: sentence.candidate_len,
            reference_len: sentence.reference_len,
            matches: std::array::from_fn(|n| sentence.matches[n]),
            possible: std::array::from_fn(|n| sentence.possible[n]),
            sentences: [
                mean(Smoothing::Method5),
                mean(Smoothing::Method6),
                mean(Smoothing::Method7),
            ],
        }
    }

    /// The score of merged sums: `corpus_bleu` of nltk by the first five methods, the mean of sentences
    /// by the others. `None` where no item has one.
    pub fn score(&self, smoothing: Smoothing) -> Option<f64> {
        match smoothing {
            Smoothing::Method5 => self.sentences[0].value(),
            Smoothing::Method6 => self.sentences[1].value(),
            Smoothing::Method7 => self.sentences[2].value(),
            Smoothing::Method0
            | Smoothing::Method1
            | Smoothing::Method2
            | Smoothing::Method3
            | Smoothing::Method4 => (self.items > 0).then(|| self.corpus_score(smoothing)),
        }
    }

    fn corpus_score(&self, smoothing: Smoothing) -> f64 {
        if self.matches[0] == 0 {
            return 0.0;
        }
        let precisions = Precisions {
            matches: self.matches.map(|count| count as f64),
            possible: self.possible.map(|count| count as f64),
            candidate_len: self.candidate_len,
        };
        brevity_penalty(self.candidate_len, self.reference_len)
            * geometric_mean(&precisions.smoothed(smoothing))
    }
}

impl Stats for BleuSums {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.candidate_len += other.candidate_len;
        self.reference_len += other.reference_len;
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.possible[n] += other.possible[n];
        }
        for (sum, one) in self.sentences.iter_mut().zip(&other.sentences) {
            sum.merge(one);
        }
    }
}

/// nltk's BLEU in the registry.
#[derive(Debug)]
pub struct BleuMetric {
    smoothing: Smoothing,
    id: &'static str,
    description: &'static str,
}

impl Metric for BleuMetric {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = BleuSums;

    fn info(&self) -> MetricInfo {
        let largest = match self.smoothing {
            Smoothing::Method5 | Smoothing::Method7 => LARGEST_AVERAGED,
            Smoothing::Method6 => LARGEST_WITH_PRIOR,
            _ => 1.0,
        };
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Caption,
            range: [0.0, largest],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "nltk-bleu"
    }

    /// A perfect candidate is 1 by `method6`, an odd one more.
    fn shortfall(&self) -> f64 {
        match self.smoothing {
            Smoothing::Method6 => LARGEST_WITH_PRIOR - 1.0,
            _ => 0.0,
        }
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> BleuSums {
        BleuSums::new(item)
    }

    fn value(&self, sums: &BleuSums) -> Option<f64> {
        sums.score(self.smoothing)
    }

    fn is_counted(&self, sums: &BleuSums) -> bool {
        self.value(sums).is_some()
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;
    use crate::{Bootstrap, DynMetric, Method, Observations};

    fn item(candidate: &str, references: &[&str]) -> CaptionItem {
        CaptionItem {
            candidate: Caption::from_tokens(candidate, candidate),
            references: references
                .iter()
                .map(|reference| Caption::from_tokens(reference, reference))
                .collect(),
        }
    }

    #[test]
    fn models_are_compared_on_the_items_that_both_have_a_value_for() {
        let references = &["a dog runs on the grass"];
        let observed = |candidates: &[&str]| {
            let items: Vec<CaptionItem> = candidates.iter().map(|c| item(c, references)).collect();
            let mut observations = Observations::default();
            observations.set(Input::Caption, items);
            observations
        };
        let (good, bad, none) = (
            "a dog runs on the grass",
            "a dog runs on a lawn",
            "a red dog",
        );
        let (a, b) = (
            observed(&[none, bad, bad, none]),
            observed(&[good, none, good, good]),
        );
        let settings = Bootstrap {
            resamples: 0,
            confidence: 0.95,
            method: Method::Percentile,
            seed: Seed(17),
        };
        let metric: &dyn DynMetric = &BLEU_METHOD6;
        let compared = metric.compare(&a, &b, &settings).unwrap();
        assert_eq!(compared.items, 1, "the third alone");
        let of = |observations| metric.per_item(observations).unwrap()[2];
        assert_eq!((compared.a, compared.b), (of(&a), of(&b)));
        assert_eq!(metric.evaluate(&a, None).unwrap().undefined, 2);
        let none = metric.compare(&observed(&[none]), &observed(&[good]), &settings);
        let none = none.unwrap();
        assert_eq!((none.items, none.difference), (0, None));
    }

    const CHURCH: [&str; 4] = [
        "a traffic light hanging from a wire above a street",
        "an empty street with a building with a tower at the corner",
        "the bright lights are shining on the street",
        "a tall church tower sitting on the corner of a street",
    ];

    /// Values of nltk 3.10.4.
    #[test]
    fn a_single_word_is_smoothed_by_every_method_but_the_sixth() {
        let sentence = SentenceBleu::new(&item("a", &CHURCH)).unwrap();
        let expected = [
            Some(1.661_295_735_445_513e-234),
            Some(0.000_162_158_092_373_141_85),
            Some(0.000_542_208_260_740_048_4),
            Some(0.000_322_398_960_742_658_1),
            Some(0.000_911_881_965_554_516_2),
            Some(0.000_175_491_766_094_021_67),
            None,
            Some(0.000_175_491_766_094_021_67),
        ];
        for (smoothing, expected) in Smoothing::ALL.into_iter().zip(expected) {
            let score = sentence.score(smoothing);
            match expected {
                None => assert_eq!(score, Err(Undefined::NoTrigram)),
                Some(expected) => {
                    let score = score.unwrap();
                    assert!(
                        (score - expected).abs() <= 1e-12 * expected,
                        "{}: {score}",
                        smoothing.name()
                    );
                }
            }
        }
    }

    #[test]
    fn without_any_word_every_method_gives_zero_and_without_references_none_does() {
        let stranger = SentenceBleu::new(&item("dogs", &CHURCH)).unwrap();
        for smoothing in Smoothing::ALL {
            assert_eq!(stranger.score(smoothing), Ok(0.0));
        }
        assert_eq!(
            SentenceBleu::new(&item("dogs", &[])),
            Err(Undefined::NoReferences)
        );
    }

    #[test]
    fn items_without_value_are_left_out_of_the_mean() {
        let mut sums = BleuSums::new(&item("a b c d", &["a b c d"]));
        sums.merge(&BleuSums::new(&item("a b", &["a b c d"])));
        assert_eq!(sums.items, 2);
        assert_eq!(sums.sentences[1].count, 1);
        assert_eq!(sums.score(Smoothing::Method6), Some(1.0));
    }

    #[test]
    fn the_sixth_method_can_pass_one() {
        let sentence = SentenceBleu::new(&item("a a b a", &["a a b", "a b a"])).unwrap();
        let score = sentence.score(Smoothing::Method6).unwrap();
        assert!((score - 1.043_603_541_600_024_4).abs() < 1e-12, "{score}");
    }

    #[test]
    fn largest_value_is_that_of_a_perfect_candidate() {
        let perfect = item("a b c d e", &["a b c d e"]);
        let score = SentenceBleu::new(&perfect)
            .unwrap()
            .score(Smoothing::Method5);
        assert!((score.unwrap() - LARGEST_AVERAGED).abs() < 1e-12);
    }
}
