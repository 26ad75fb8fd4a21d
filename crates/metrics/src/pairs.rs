//! Accuracies of tasks whose questions come in groups: NLVR2 and VCR.
//!
//! | id | value |
//! | --- | --- |
//! | `nlvr2-accuracy` | right judgements / judgements |
//! | `nlvr2-consistency` | sentences judged right for every one of their image pairs / sentences |
//! | `vcr-q-a` | right answers / questions |
//! | `vcr-qa-r` | right rationales, the right answer being given / questions |
//! | `vcr-q-ar` | questions whose answer and rationale are both right / questions |
//!
//! All are shares, from 0 to 1. NLVR2 is scored as by `nlvr2/eval/metrics.py` of the dataset's
//! repository (Suhr et al. 2019): judgements belong to one sentence if their identifiers
//! (`dev-850-0-1`) are equal without the third part; that script calls the accuracy "precision". VCR is
//! scored as in Zellers et al. 2019, section 3. Resampling draws whole sentences and whole questions,
//! whose judgements are not independent.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Metric, MetricInfo, Stats};
use crate::{Input, Item, Resources, Result};

/// `nlvr2-accuracy`.
pub static NLVR2_ACCURACY: Nlvr2 = Nlvr2 {
    consistency: false,
    id: "nlvr2-accuracy",
    description: "Share of image pairs for which a sentence was rightly judged true or false.",
};

/// `nlvr2-consistency`.
pub static NLVR2_CONSISTENCY: Nlvr2 = Nlvr2 {
    consistency: true,
    id: "nlvr2-consistency",
    description: "Share of sentences that were judged rightly for every one of their image pairs.",
};

/// `vcr-q-a`.
pub static VCR_ANSWER: Vcr = Vcr {
    part: Part::Answer,
    id: "vcr-q-a",
    description: "Share of questions for which the right answer of four was chosen.",
};

/// `vcr-q-ar`.
pub static VCR_BOTH: Vcr = Vcr {
    part: Part::Both,
    id: "vcr-q-ar",
    description: "Share of questions for which both the right answer and the right rationale were chosen.",
};

/// `vcr-qa-r`.
pub static VCR_RATIONALE: Vcr = Vcr {
    part: Part::Rationale,
    id: "vcr-qa-r",
    description: "Share of questions for which the right rationale was chosen, the right answer given.",
};

/// How many image pairs of one sentence were judged rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentencePairs {
    right: u32,
    pairs: u32,
}

impl SentencePairs {
    /// One sentence, from whether each of its judgements is right. A sentence without any plays no part.
    pub fn new(judgements: &[bool]) -> Self {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            right: count(judgements.iter().filter(|&&right| right).count()),
            pairs: count(judgements.len()),
        }
    }
}

impl Item for SentencePairs {}

impl Examples for SentencePairs {
    fn random(rng: &mut Rng) -> Self {
        let judgements: Vec<bool> = (0..=rng.below(5)).map(|_| rng.below(3) > 0).collect();
        Self::new(&judgements)
    }

    fn perfect(_: &mut Rng) -> Self {
        Self::new(&[true; 4])
    }

    fn empty() -> Option<Self> {
        Some(Self::default())
    }
}

/// Whether the answer and the rationale of one question were right, each chosen of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RationaleChoice {
    /// The answer, given the question.
    pub answer: bool,
    /// The rationale, given the question and the right answer.
    pub rationale: bool,
}

impl Item for RationaleChoice {}

impl Examples for RationaleChoice {
    fn random(rng: &mut Rng) -> Self {
        Self {
            answer: rng.below(3) > 0,
            rationale: rng.below(3) > 0,
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self {
            answer: true,
            rationale: true,
        }
    }
}

/// Accuracy or consistency of NLVR2.
#[derive(Debug)]
pub struct Nlvr2 {
    consistency: bool,
    id: &'static str,
    description: &'static str,
}

/// Counts over sentences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgements {
    right: u64,
    pairs: u64,
    consistent: u64,
    sentences: u64,
}

impl Stats for Judgements {
    fn merge(&mut self, other: &Self) {
        self.right += other.right;
        self.pairs += other.pairs;
        self.consistent += other.consistent;
        self.sentences += other.sentences;
    }
}

impl Metric for Nlvr2 {
    type Item = SentencePairs;
    type Corpus = ();
    type Stats = Judgements;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::SentencePairs,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "nlvr2"
    }

    fn corpus(&self, _: &[SentencePairs], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), sentence: &SentencePairs) -> Judgements {
        Judgements {
            right: u64::from(sentence.right),
            pairs: u64::from(sentence.pairs),
            consistent: u64::from(sentence.pairs > 0 && sentence.right == sentence.pairs),
            sentences: u64::from(sentence.pairs > 0),
        }
    }

    fn value(&self, stats: &Judgements) -> Option<f64> {
        if self.consistency {
            share(stats.consistent, stats.sentences)
        } else {
            share(stats.right, stats.pairs)
        }
    }
}

/// One of the three accuracies of VCR.
#[derive(Debug)]
pub struct Vcr {
    part: Part,
    id: &'static str,
    description: &'static str,
}

/// What must be right.
#[derive(Clone, Copy, Debug)]
enum Part {
    Answer,
    Rationale,
    Both,
}

/// Counts over questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    answers: u64,
    rationales: u64,
    both: u64,
    questions: u64,
}

impl Stats for Choices {
    fn merge(&mut self, other: &Self) {
        self.answers += other.answers;
        self.rationales += other.rationales;
        self.both += other.both;
        self.questions += other.questions;
    }
}

impl Metric for Vcr {
    type Item = RationaleChoice;
    type Corpus = ();
    type Stats = Choices;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::RationaleChoice,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "vcr"
    }

    fn corpus(&self, _: &[RationaleChoice], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), choice: &RationaleChoice) -> Choices {
        Choices {
            answers: u64::from(choice.answer),
            rationales: u64::from(choice.rationale),
            both: u64::from(choice.answer && choice.rationale),
            questions: 1,
        }
    }

    fn value(&self, stats: &Choices) -> Option<f64> {
        let right = match self.part {
            Part::Answer => stats.answers,
            Part::Rationale => stats.rationales,
            Part::Both => stats.both,
        };
        share(right, stats.questions)
    }
}

/// `part / whole`; `None` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn a_sentence_is_consistent_only_if_all_of_its_pairs_are_right() {
        let sentences = [
            SentencePairs::new(&[true, true, true, true]),
            SentencePairs::new(&[true, true, false, true]),
            SentencePairs::new(&[false, false]),
            SentencePairs::new(&[]),
        ];
        let stats: Vec<Judgements> = sentences
            .iter()
            .map(|sentence| NLVR2_ACCURACY.stats(&(), sentence))
            .collect();
        assert_eq!(NLVR2_ACCURACY.value(&merged(&stats)), Some(0.7));
        assert_eq!(NLVR2_CONSISTENCY.value(&merged(&stats)), Some(1.0 / 3.0));
        assert_eq!(NLVR2_CONSISTENCY.value(&stats[3]), None);
    }

    #[test]
    fn both_is_not_the_product_of_the_parts() {
        let choices = [(true, true), (true, false), (false, true), (false, false)];
        let stats: Vec<Choices> = choices
            .into_iter()
            .chain([(true, true)])
            .map(|(answer, rationale)| VCR_BOTH.stats(&(), &RationaleChoice { answer, rationale }))
            .collect();
        let sum = merged(&stats);
        assert_eq!(VCR_ANSWER.value(&sum), Some(0.6));
        assert_eq!(VCR_RATIONALE.value(&sum), Some(0.6));
        assert_eq!(VCR_BOTH.value(&sum), Some(0.4));
    }
}
