//! BLEU (Papineni et al. 2002) as sacrebleu computes it: on its own tokens, with one of four ways to
//! smooth a precision of nothing, in percent.
//!
//! A corpus of short captions can lack 4-grams altogether and then scores 0. Sentences are therefore
//! scored over the orders they are long enough for ("effective order"), as `sentence_bleu` of
//! sacrebleu does and its command line does not; items of the registered metric are sentences.

use std::fmt;
use std::str::FromStr;

use super::signature::{VERSION, case, over, yes_no};
use super::{References, Tokenizer};
use crate::clipped::{WordCounts, possible};
use crate::metric::{Metric, MetricInfo, Stats, merged};
use crate::words;
use crate::{CaptionItem, Input, Resources, Result};

/// Longest n-grams counted.
const ORDER: usize = 4;

/// Stands in for the logarithm of 0.
const LOG_OF_ZERO: f64 = -9_999_999_999.0;

/// `sacrebleu-bleu`.
pub static BLEU: BleuMetric = BleuMetric {
    settings: Bleu::DEFAULT,
};

/// Settings of BLEU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bleu {
    /// What splits captions into words.
    pub tokenizer: Tokenizer,
    /// Whether upper and lower case are the same.
    pub lowercase: bool,
    /// What a precision of nothing counts as.
    pub smoothing: Smoothing,
    /// Whether orders that the candidate is too short for are left out.
    pub effective_order: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Bleu {
    const DEFAULT: Self = Self {
        tokenizer: Tokenizer::V13a,
        lowercase: false,
        smoothing: Smoothing::Exponential,
        effective_order: false,
    };

    /// What scores depend on, as sacrebleu writes it.
    pub fn signature(&self, references: References) -> String {
        format!(
            "nrefs:{references}|case:{}|eff:{}|tok:{}|smooth:{}|version:{VERSION}",
            case(self.lowercase),
            yes_no(self.effective_order),
            self.tokenizer.name(),
            self.smoothing,
        )
    }

    /// The counts of one item; of nothing if it has no references.
    pub fn counts(&self, item: &CaptionItem) -> BleuCounts {
        let candidate = self.words(item.candidate.raw());
        let references: Vec<String> = item
            .references
            .iter()
            .map(|reference| self.words(reference.raw()))
            .collect();
        let references = references.iter().map(String::as_str);
        let Some(counted) = WordCounts::new(&candidate, references, ORDER) else {
            return BleuCounts::default();
        };
        let mut counts = BleuCounts {
            items: 1,
            candidate_len: counted.candidate_len as u64,
            reference_len: counted.reference_len as u64,
            ..BleuCounts::default()
        };
        for (n, matches) in counted.matches.into_iter().enumerate().take(ORDER) {
            counts.matches[n] = matches;
            counts.possible[n] = possible(counted.candidate_len, n + 1);
        }
        counts
    }

    /// The score of merged counts; `None` of no items.
    pub fn score(&self, counts: &BleuCounts) -> Option<BleuScore> {
        (counts.items > 0).then(|| self.defined_score(counts))
    }

    /// The score of items together, `corpus_score` of sacrebleu.
    pub fn corpus(&self, items: &[CaptionItem]) -> Option<BleuScore> {
        let counts: Vec<BleuCounts> = items.iter().map(|item| self.counts(item)).collect();
        self.score(&merged(&counts))
    }

    /// The text with white space between words.
    fn words(&self, text: &str) -> String {
        let text = text.trim_end_matches(words::is_space);
        if self.lowercase {
            self.tokenizer.tokenize(&text.to_lowercase())
        } else {
            self.tokenizer.tokenize(text)
        }
    }

    fn defined_score(&self, counts: &BleuCounts) -> BleuScore {
        let (candidate, reference) = (counts.candidate_len as f64, counts.reference_len as f64);
        let brevity_penalty = match counts.candidate_len {
            0 if counts.reference_len > 0 => 0.0,
            shorter if shorter < counts.reference_len => (1.0 - reference / candidate).exp(),
            _ => 1.0,
        };
        let mut score = BleuScore {
            score: 0.0,
            precisions: [0.0; ORDER],
            brevity_penalty,
            counts: *counts,
        };
        if counts.matches == [0; ORDER] {
            return score;
        }

        let mut halvings = 1.0;
        let mut orders = ORDER;
        for n in 0..ORDER {
            let added = match self.smoothing {
                Smoothing::AddK(k) if n > 0 => k,
                _ => 0.0,
            };
            let matches = counts.matches[n] as f64 + added;
            let possible = counts.possible[n] as f64 + added;
            if possible == 0.0 {
                break;
            }
            if self.effective_order {
                orders = n + 1;
            }
            score.precisions[n] = match self.smoothing {
                _ if matches != 0.0 => 100.0 * matches / possible,
                Smoothing::Exponential => {
                    halvings *= 2.0;
                    100.0 / (halvings * possible)
                }
                Smoothing::Floor(floor) => 100.0 * floor / possible,
                Smoothing::AddK(_) | Smoothing::None => 0.0,
            };
        }
        let logarithms: f64 = score.precisions[..orders].iter().copied().map(log).sum();
        score.score = brevity_penalty * (logarithms / orders as f64).exp();
        score
    }
}

fn log(precision: f64) -> f64 {
    if precision == 0.0 {
        LOG_OF_ZERO
    } else {
        precision.ln()
    }
}

/// What a precision of nothing counts as (Chen and Cherry 2014).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Smoothing {
    /// `exp`: the k-th precision of nothing is a match of 1/2^k.
    #[default]
    Exponential,
    /// `floor`: that many matches; sacrebleu's own value is 0.1.
    Floor(f64),
    /// `add-k`: that much is added to matches and numbers of n-grams of two words and more;
    /// sacrebleu's own value is 1.
    AddK(f64),
    /// `none`: 0, and so is the score.
    None,
}

impl fmt::Display for Smoothing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exponential => f.write_str("exp"),
            Self::Floor(value) => write!(f, "floor[{value:.2}]"),
            Self::AddK(value) => write!(f, "add-k[{value:.2}]"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for Smoothing {
    type Err = UnknownSmoothing;

    /// Reads what signatures write, with any number of decimals; without a value it is sacrebleu's own.
    fn from_str(text: &str) -> Result<Self, UnknownSmoothing> {
        let unknown = || UnknownSmoothing {
            name: text.to_owned(),
        };
        let (name, value) = match text.strip_suffix(']').and_then(|text| text.split_once('[')) {
            Some((name, value)) => {
                let value: f64 = value.parse().map_err(|_| unknown())?;
                if !value.is_finite() || value < 0.0 {
                    return Err(unknown());
                }
                (name, Some(value))
            }
            None => (text, None),
        };
        match (name, value) {
            ("exp", None) => Ok(Self::Exponential),
            ("none", None) => Ok(Self::None),
            ("floor", value) => Ok(Self::Floor(value.unwrap_or(0.1))),
            ("add-k", value) => Ok(Self::AddK(value.unwrap_or(1.0))),
            _ => Err(unknown()),
        }
    }
}

/// A name that is none of [`Smoothing`]'s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no smoothing is called `{name}`, known are exp, floor[VALUE], add-k[VALUE] and none")]
pub struct UnknownSmoothing {
    /// The name.
    pub name: String,
}

/// What BLEU counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuCounts {
    /// Items with references.
    pub items: u64,
    /// Words of candidates.
    pub candidate_len: u64,
    /// Words of the references closest in length.
    pub reference_len: u64,
    /// Clipped matches of n-grams of one to four words.
    pub matches: [u64; ORDER],
    /// N-grams of candidates.
    pub possible: [u64; ORDER],
}

impl Stats for BleuCounts {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.candidate_len += other.candidate_len;
        self.reference_len += other.reference_len;
        for n in 0..ORDER {
            self.matches[n] += other.matches[n];
            self.possible[n] += other.possible[n];
        }
    }
}

/// BLEU and its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BleuScore {
    /// In percent. Rounding lets a perfect score pass 100 by 4e-14.
    pub score: f64,
    /// Smoothed precisions of n-grams of one to four words, in percent; all 0 where nothing matches.
    pub precisions: [f64; ORDER],
    /// At most 1, less where candidates are shorter than references.
    pub brevity_penalty: f64,
    /// What it was computed from.
    pub counts: BleuCounts,
}

/// BLEU in the registry.
#[derive(Debug)]
pub struct BleuMetric {
    settings: Bleu,
}

impl Metric for BleuMetric {
    type Item = CaptionItem;
    type Corpus = ();
    type Stats = BleuCounts;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "sacrebleu-bleu",
            version: 1,
            input: Input::Caption,
            range: [0.0, 100.0],
            higher_is_better: true,
            description: "BLEU of sacrebleu 2.6.0 with its default settings: words of `13a`, \
                exponential smoothing; items with effective order.",
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

    fn stats(&self, (): &(), item: &CaptionItem) -> BleuCounts {
        self.settings.counts(item)
    }

    fn value(&self, counts: &BleuCounts) -> Option<f64> {
        self.settings.score(counts).map(|score| score.score)
    }

    fn item_value(&self, counts: &BleuCounts) -> Option<f64> {
        let sentence = Bleu {
            effective_order: true,
            ..self.settings
        };
        sentence.score(counts).map(|score| score.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(smoothing: Smoothing, candidate: &str, references: &[&str]) -> f64 {
        let bleu = Bleu {
            smoothing,
            effective_order: true,
            ..Bleu::DEFAULT
        };
        let item = CaptionItem::new(candidate, references);
        bleu.corpus(&[item]).unwrap().score
    }

    /// Values of sacrebleu 2.6.0.
    #[test]
    fn each_smoothing_gives_its_own_score_to_a_sentence_without_bigrams() {
        let is = |smoothing: &str, expected: f64| {
            let score = sentence(smoothing.parse().unwrap(), "!?", &[".", "?!"]);
            assert!((score - expected).abs() < 1e-9, "{smoothing}: {score}");
        };
        is("exp", 70.710_678_118_654_78);
        is("floor", 31.622_776_601_683_803);
        is("floor[0.01]", 10.000_000_000_000_002);
        is("add-k", 84.089_641_525_371_45);
        is("add-k[0.5]", 75.983_568_565_159_26);
        is("none", 0.0);
    }

    #[test]
    fn short_candidates_score_as_sentences_and_not_as_a_corpus() {
        let item = CaptionItem::new("a cat", &["a cat"]);
        let counts = BLEU.stats(&(), &item);
        assert!((BLEU.item_value(&counts).unwrap() - 100.0).abs() < 1e-9);
        assert_eq!(BLEU.value(&counts), Some(0.0));
    }

    #[test]
    fn items_without_references_have_no_value_and_leave_the_corpus_as_it_is() {
        let lonely = CaptionItem::new("a cat on a mat", &[""; 0]);
        let item = CaptionItem::new("a cat on a mat", &["a cat sat on a mat"]);
        assert_eq!(BLEU.item_value(&BLEU.stats(&(), &lonely)), None);
        assert_eq!(
            Bleu::DEFAULT.corpus(&[lonely, item.clone()]),
            Bleu::DEFAULT.corpus(&[item])
        );
    }

    #[test]
    fn signatures_round_as_python_does() {
        let is = |value, expected: &str| assert_eq!(Smoothing::Floor(value).to_string(), expected);
        is(0.1, "floor[0.10]");
        is(0.125, "floor[0.12]");
        is(0.375, "floor[0.38]");
        assert_eq!("floor[0.01]".parse(), Ok(Smoothing::Floor(0.01)));
        for unknown in [
            "floor[",
            "floor[x]",
            "floor[-1]",
            "add-k[nan]",
            "exp[1]",
            "",
            "]",
        ] {
            assert!(unknown.parse::<Smoothing>().is_err(), "{unknown}");
        }
    }
}
