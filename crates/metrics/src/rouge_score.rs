//! ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum as rouge-score 0.1.2 computes them.
//!
//! Captions are read as they were written, not through the tokenizer of the COCO tools: lower-cased,
//! words being runs of `a` to `z` and `0` to `9`; with `-stem` in the id, words of more than three
//! characters are reduced by nltk's Porter stemmer. With c common n-grams (each as often as in the text
//! that has it less often) or a longest common subsequence of c words, precision is c over the
//! candidate's number, recall c over the reference's, and the value is F1, 0 where nothing is common.
//!
//! `rouge-score-lsum` takes lines as sentences: c counts the words of each sentence of the reference
//! that are in a longest common subsequence with any sentence of the candidate, no word more often than
//! the candidate has it. Of several such subsequences the published program's choice is taken
//! (one walk back through the table, columns first). For one line against one line it equals
//! `rouge-score-l`.
//!
//! Of several references the best counts, for each measure by itself. The value of a corpus is the mean
//! over candidates. An item without references adds nothing and has no value.
//!
//! Time for two texts grows at worst with the product of their lengths divided by 64, for Lsum also with
//! the number of lines of the reference times that of different lines of the candidate.
//!
//! ```
//! use sightline_metrics::rouge_score::{Words, score};
//!
//! let scores = score("The dog sat.", &["A cat sat", "the dog slept, and sat"], Words::AsWritten);
//! let l = scores.ok_or("no reference")?.l;
//! assert_eq!((l.precision, l.recall), (1.0, 0.6));
//! # Ok::<(), &str>(())
//! ```

mod compare;
mod tokens;

use compare::Candidate;
use tokens::Numbers;

use crate::metric::{Metric, MetricInfo, Stats};
use crate::{Caption, CaptionItem, Input, Resources, Result};

/// `rouge-score-1`.
pub static ONE: RougeScore = RougeScore {
    words: Words::AsWritten,
    measure: |scores| scores.one,
    id: "rouge-score-1",
    description: "F1 of common words, as rouge1 of rouge-score.",
};

/// `rouge-score-1-stem`.
pub static ONE_STEM: RougeScore = RougeScore {
    words: Words::Stemmed,
    measure: |scores| scores.one,
    id: "rouge-score-1-stem",
    description: "F1 of common stems, as rouge1 of rouge-score with its stemmer.",
};

/// `rouge-score-2`.
pub static TWO: RougeScore = RougeScore {
    words: Words::AsWritten,
    measure: |scores| scores.two,
    id: "rouge-score-2",
    description: "F1 of common pairs of words, as rouge2 of rouge-score.",
};

/// `rouge-score-2-stem`.
pub static TWO_STEM: RougeScore = RougeScore {
    words: Words::Stemmed,
    measure: |scores| scores.two,
    id: "rouge-score-2-stem",
    description: "F1 of common pairs of stems, as rouge2 of rouge-score with its stemmer.",
};

/// `rouge-score-l`.
pub static L: RougeScore = RougeScore {
    words: Words::AsWritten,
    measure: |scores| scores.l,
    id: "rouge-score-l",
    description: "F1 of the longest common subsequence of words, as rougeL of rouge-score.",
};

/// `rouge-score-l-stem`.
pub static L_STEM: RougeScore = RougeScore {
    words: Words::Stemmed,
    measure: |scores| scores.l,
    id: "rouge-score-l-stem",
    description: "F1 of the longest common subsequence of stems, as rougeL of rouge-score with its stemmer.",
};

/// `rouge-score-lsum`.
pub static LSUM: RougeScore = RougeScore {
    words: Words::AsWritten,
    measure: |scores| scores.lsum,
    id: "rouge-score-lsum",
    description: "F1 of the longest common subsequences of lines, united, as rougeLsum of rouge-score.",
};

/// `rouge-score-lsum-stem`.
pub static LSUM_STEM: RougeScore = RougeScore {
    words: Words::Stemmed,
    measure: |scores| scores.lsum,
    id: "rouge-score-lsum-stem",
    description: "F1 of the longest common subsequences of the stems of lines, united, as rougeLsum of rouge-score with its stemmer.",
};

/// One measure of rouge-score.
#[derive(Debug)]
pub struct RougeScore {
    words: Words,
    measure: fn(&Scores) -> Score,
    id: &'static str,
    description: &'static str,
}

/// What words are compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// Themselves, in lower case.
    AsWritten,
    /// Their Porter stems.
    Stemmed,
}

/// How much of the candidate is in the reference, how much of the reference in the candidate, and both
/// in one; each 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Share of the candidate.
    pub precision: f64,
    /// Share of the reference.
    pub recall: f64,
    /// Harmonic mean of both, 0 where both are.
    pub f1: f64,
}

/// All four measures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// rouge1.
    pub one: Score,
    /// rouge2.
    pub two: Score,
    /// rougeL.
    pub l: Score,
    /// rougeLsum.
    pub lsum: Score,
}

/// What all four sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// Candidates.
    pub items: u64,
    /// Sums of the candidates' scores.
    pub scores: Scores,
}

/// The scores of a candidate, each with the reference that gives the largest F1 (of equal ones the
/// first); `None` without references.
pub fn score(candidate: &str, references: &[impl AsRef<str>], words: Words) -> Option<Scores> {
    let candidate = candidate.to_lowercase();
    let references: Vec<String> = references
        .iter()
        .map(|reference| reference.as_ref().to_lowercase())
        .collect();
    let mut numbers = Numbers::new(words);
    let mut candidate = Candidate::new(numbers.text(&candidate));
    references
        .iter()
        .map(|reference| candidate.scores(&numbers.text(reference)))
        .reduce(|best, other| Scores {
            one: best.one.or_better(other.one),
            two: best.two.or_better(other.two),
            l: best.l.or_better(other.l),
            lsum: best.lsum.or_better(other.lsum),
        })
}

impl Score {
    /// The score for `common` of the candidate's and the reference's `totals`.
    fn of(common: usize, totals: [usize; 2]) -> Self {
        let [precision, recall] = totals.map(|total| common as f64 / total.max(1) as f64);
        let sum = precision + recall;
        let f1 = if sum > 0.0 {
            2.0 * precision * recall / sum
        } else {
            0.0
        };
        Self {
            precision,
            recall,
            f1,
        }
    }

    fn or_better(self, other: Self) -> Self {
        if other.f1 > self.f1 { other } else { self }
    }

    fn add(&mut self, other: &Self) {
        self.precision += other.precision;
        self.recall += other.recall;
        self.f1 += other.f1;
    }

    fn divided(self, by: f64) -> Self {
        Self {
            precision: self.precision / by,
            recall: self.recall / by,
            f1: self.f1 / by,
        }
    }
}

impl Sums {
    /// Mean precision, recall and F1; `None` of nothing.
    pub fn mean(&self) -> Option<Scores> {
        let items = self.items as f64;
        (self.items > 0).then(|| Scores {
            one: self.scores.one.divided(items),
            two: self.scores.two.divided(items),
            l: self.scores.l.divided(items),
            lsum: self.scores.lsum.divided(items),
        })
    }
}

impl Stats for Sums {
    fn merge(&mut self, other: &Self) {
        self.items += other.items;
        self.scores.one.add(&other.scores.one);
        self.scores.two.add(&other.scores.two);
        self.scores.l.add(&other.scores.l);
        self.scores.lsum.add(&other.scores.lsum);
    }
}

impl Metric for RougeScore {
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
        match self.words {
            Words::AsWritten => "rouge-score",
            Words::Stemmed => "rouge-score-stem",
        }
    }

    fn corpus(&self, _: &[CaptionItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &CaptionItem) -> Sums {
        let references: Vec<&str> = item.references.iter().map(Caption::raw).collect();
        match score(item.candidate.raw(), &references, self.words) {
            Some(scores) => Sums { items: 1, scores },
            None => Sums::default(),
        }
    }

    fn value(&self, sums: &Sums) -> Option<f64> {
        sums.mean().map(|scores| (self.measure)(&scores).f1)
    }
}
