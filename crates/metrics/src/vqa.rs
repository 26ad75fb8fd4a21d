//! VQA accuracy: how many of the people asked gave the answer that a model gave.
//!
//! With n answers of people, of which m equal the model's, the accuracy of a question is the mean over
//! the n answers of min(1, matches among the other n − 1 answers / 3):
//!
//! | m of 10 | 0 | 1 | 2 | 3 | 4 and more |
//! | --- | --- | --- | --- | --- | --- |
//! | accuracy | 0 | 0.3 | 0.6 | 0.9 | 1 |
//!
//! With fewer than four answers not even agreement with all of them is worth 1: the accuracy then ends
//! at (n − 1)/3, and a single answer is worth 0. min(1, m/3), which many tools compute instead, gives
//! 1/3, 2/3, 1, 1. The metric is the mean over questions, 0 to 1; papers print it times 100. A question
//! without answers has no value.
//!
//! The ids differ in when two answers are equal:
//!
//! | id | before comparing | equal to |
//! | --- | --- | --- |
//! | `vqa-official` | [`answer::clean`]; also [`answer::normalize`] unless the people's cleaned answers are all equal | `vqaEval.py` of the VQA v2 evaluation |
//! | `vqa-evalai` | lower case, `,` and `?` deleted, a space before each `'s`, then [`answer::clean`] and [`answer::normalize`], always | `m4c_evaluators.py` of MMF, used for TextVQA |
//! | `okvqa-stemmed` | of the model's answer [`okvqa::cut`] and [`okvqa::stem`], then as `vqa-official` | OpenFlamingo 2.0.1, as far as [`okvqa`] is |
//!
//! So `Yes` against ten times `yes` is worth 0 for `vqa-official` and 1 for `vqa-evalai`. References of
//! `okvqa-stemmed` are the field `answer` of the OK-VQA annotations, which are stems already.
//!
//! `vqa-classifier` is for models that choose from a fixed vocabulary: the mean over questions of the
//! soft target of the chosen answer, as MMF's `vqa_accuracy` and LXMERT compute it. See [`SoftAnswer`].

use sightline_core::seed::Rng;
use sightline_text::{answer, okvqa};

use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::rank::{comparable, order};
use crate::{Error, Input, Item, Resources, Result};

/// `okvqa-stemmed`.
pub static OKVQA: Vqa = Vqa {
    preparation: Preparation::OkVqa,
    id: "okvqa-stemmed",
    description: "VQA accuracy of the stemmed answer, cut off as OpenFlamingo cuts it, against stemmed answers.",
};

/// `vqa-classifier`.
pub static CLASSIFIER: SoftAccuracy = SoftAccuracy;

/// `vqa-evalai`.
pub static EVALAI: Vqa = Vqa {
    preparation: Preparation::EvalAi,
    id: "vqa-evalai",
    description: "VQA accuracy of answers that are always normalised, as MMF normalises them.",
};

/// `vqa-official`.
pub static OFFICIAL: Vqa = Vqa {
    preparation: Preparation::Official,
    id: "vqa-official",
    description: "VQA accuracy of the official script, which normalises answers unless people agree.",
};

/// The answer a model gave to a question and those that people gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerItem {
    /// Of the model.
    pub candidate: String,
    /// Of the people, as often as they were given; ten in the published sets.
    pub references: Vec<String>,
}

impl AnswerItem {
    /// An item from strings of any kind.
    pub fn new(candidate: &str, references: &[impl AsRef<str>]) -> Self {
        let owned = |reference: &_| AsRef::<str>::as_ref(reference).to_owned();
        Self {
            candidate: candidate.to_owned(),
            references: references.iter().map(owned).collect(),
        }
    }

    /// Both sides after `change`.
    fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self {
            candidate: change(&self.candidate),
            references: self.references.iter().map(|text| change(text)).collect(),
        }
    }
}

impl Item for AnswerItem {}

impl Examples for AnswerItem {
    fn random(rng: &mut Rng) -> Self {
        const ANSWERS: [&str; 9] = [
            "yes", "Yes", "no.", "two", "2", "the dog", "dog", "t-shirt", "",
        ];
        let candidate = *rng.pick(&ANSWERS);
        let usual = *rng.pick(&ANSWERS);
        let references: Vec<&str> = (0..=rng.below(10))
            .map(|_| match rng.below(3) {
                0 => *rng.pick(&ANSWERS),
                1 => candidate,
                _ => usual,
            })
            .collect();
        Self::new(candidate, &references)
    }

    /// Words that no rule changes.
    fn perfect(rng: &mut Rng) -> Self {
        let answer = *rng.pick(&["yes", "dog", "red", "2"]);
        Self::new(answer, &[answer; 10])
    }

    fn empty() -> Option<Self> {
        Some(Self::new("", &["yes"; 10]))
    }
}

/// VQA accuracy.
#[derive(Debug)]
pub struct Vqa {
    preparation: Preparation,
    id: &'static str,
    description: &'static str,
}

/// What happens to answers before they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Preparation {
    Official,
    EvalAi,
    OkVqa,
}

impl Vqa {
    /// The answers of `item` as they are compared.
    pub fn prepare(&self, item: &AnswerItem) -> AnswerItem {
        match self.preparation {
            Preparation::Official => official(item),
            Preparation::EvalAi => item.map(|text| {
                let text = text.to_lowercase().replace([',', '?'], "");
                answer::normalize(&answer::clean(&text.replace("'s", " 's")))
            }),
            Preparation::OkVqa => official(&AnswerItem {
                candidate: okvqa::stem(okvqa::cut(&item.candidate)),
                references: item.references.clone(),
            }),
        }
    }
}

/// The answers of `item`, normalised unless those of the people are all equal.
fn official(item: &AnswerItem) -> AnswerItem {
    let item = item.map(answer::clean);
    if item.references.windows(2).all(|two| two[0] == two[1]) {
        return item;
    }
    item.map(answer::normalize)
}

impl Metric for Vqa {
    type Item = AnswerItem;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Answer,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[AnswerItem], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &AnswerItem) -> Mean {
        let AnswerItem {
            candidate,
            references,
        } = self.prepare(item);
        let matches = references.iter().filter(|r| **r == candidate).count();
        soft_target(matches, references.len()).map_or_else(Mean::default, Mean::of)
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

/// The accuracy of an answer that `matches` of `answers` people gave; `None` without answers.
///
/// Over ten answers these are the soft targets 0.3, 0.6, 0.9 and 1 of VQA classifiers.
pub fn soft_target(matches: usize, answers: usize) -> Option<f64> {
    let worth = |others: usize| (others as f64 / 3.0).min(1.0);
    let matches = matches.min(answers);
    // Each of the matching answers is compared with the others that match, one fewer.
    let own = matches as f64 * worth(matches.saturating_sub(1));
    let other = (answers - matches) as f64 * worth(matches);
    (answers > 0).then(|| (own + other) / answers as f64)
}

/// The soft target of the answer that a classifier chose for one question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftAnswer(f64);

impl SoftAnswer {
    /// The answer of the highest of `scores` `[A]`, the first of equal ones, over a vocabulary of A
    /// answers. `targets` pairs answers with their soft targets, each 0 to 1, as from [`soft_target`];
    /// other answers have the target 0. The answer `unknown` is never chosen: MMF gives it probability 0.
    ///
    /// Scores that are not a number are not chosen either; if nothing can be, that is an error.
    pub fn chosen(
        scores: &[f32],
        targets: &[(usize, f64)],
        unknown: Option<usize>,
    ) -> Result<Self> {
        let (chosen, _) = scores
            .iter()
            .enumerate()
            .filter(|&(index, score)| Some(index) != unknown && !score.is_nan())
            .map(|(index, &score)| (index, comparable(f64::from(score))))
            .reduce(|best, next| {
                if order(next.1, best.1).is_gt() {
                    next
                } else {
                    best
                }
            })
            .ok_or(Error::OutOfRange {
                what: "the number of answers to choose from",
                value: 0.0,
                expected: "at least 1",
            })?;
        let target = targets.iter().find(|(index, _)| *index == chosen);
        Self::new(target.map_or(0.0, |&(_, target)| target))
    }

    /// An answer whose soft target, 0 to 1, is known.
    pub fn new(target: f64) -> Result<Self> {
        if !(0.0..=1.0).contains(&target) {
            return Err(Error::OutOfRange {
                what: "a soft target",
                value: target,
                expected: "0 to 1",
            });
        }
        Ok(Self(target))
    }
}

impl Item for SoftAnswer {}

impl Examples for SoftAnswer {
    fn random(rng: &mut Rng) -> Self {
        Self(soft_target(rng.below(11) as usize, 10).unwrap_or_default())
    }

    fn perfect(_: &mut Rng) -> Self {
        Self(1.0)
    }

    /// The unknown answer.
    fn empty() -> Option<Self> {
        Some(Self(0.0))
    }
}

/// The mean soft target of chosen answers.
#[derive(Debug)]
pub struct SoftAccuracy;

impl Metric for SoftAccuracy {
    type Item = SoftAnswer;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: "vqa-classifier",
            version: 1,
            input: Input::SoftAnswer,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: "Mean soft target of the answers that a classifier over a vocabulary chose.",
        }
    }

    fn corpus(&self, _: &[SoftAnswer], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), answer: &SoftAnswer) -> Mean {
        Mean::of(answer.0)
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(metric: &Vqa, candidate: &str, references: &[&str]) -> Option<f64> {
        metric.value(&metric.stats(&(), &AnswerItem::new(candidate, references)))
    }

    fn near(actual: Option<f64>, expected: f64) {
        let actual = actual.unwrap();
        assert!((actual - expected).abs() < 1e-12, "{actual} {expected}");
    }

    /// `red` m times of ten, the rest `blue`.
    fn reds(m: usize) -> Vec<&'static str> {
        (0..10)
            .map(|i| if i < m { "red" } else { "blue" })
            .collect()
    }

    #[test]
    fn four_of_ten_people_are_enough() {
        for (m, expected) in [0.0, 0.3, 0.6, 0.9, 1.0, 1.0].into_iter().enumerate() {
            near(score(&OFFICIAL, "red", &reds(m)), expected);
            near(soft_target(m, 10), expected);
        }
        near(soft_target(10, 10), 1.0);
    }

    #[test]
    fn with_fewer_than_four_people_full_agreement_is_not_worth_1() {
        near(score(&OFFICIAL, "a", &["a"]), 0.0);
        near(score(&OFFICIAL, "a", &["a", "a"]), 1.0 / 3.0);
        near(score(&OFFICIAL, "a", &["a", "a", "a"]), 2.0 / 3.0);
        near(score(&OFFICIAL, "a", &["a"; 4]), 1.0);
        assert_eq!(score(&OFFICIAL, "a", &[]), None);
        assert_eq!(soft_target(0, 0), None);
        near(soft_target(5, 3), 2.0 / 3.0);
    }

    #[test]
    fn only_the_official_script_skips_normalising_where_people_agree() {
        near(score(&OFFICIAL, "Yes", &["yes"; 10]), 0.0);
        near(score(&EVALAI, "Yes", &["yes"; 10]), 1.0);
        near(score(&OKVQA, "Yes", &["yes"; 10]), 0.0);
        let mut mixed = ["yes"; 10];
        mixed[9] = "no";
        near(score(&OFFICIAL, "Yes", &mixed), 1.0);
        // Agreement is judged after cleaning: a trailing space does not count as another answer.
        mixed[9] = "yes ";
        near(score(&OFFICIAL, "Yes", &mixed), 0.0);
    }

    #[test]
    fn evalai_deletes_commas_before_it_looks_at_digits_and_splits_off_s() {
        let prepared = |metric: &Vqa, text: &str| {
            metric
                .prepare(&AnswerItem::new(text, &["x", "y"]))
                .candidate
        };
        // Between digits the official script deletes commas and, with them, the dash.
        assert_eq!(prepared(&OFFICIAL, "1,000 t-shirts"), "1000 tshirts");
        assert_eq!(prepared(&EVALAI, "1,000 t-shirts"), "1000 t shirts");
        assert_eq!(prepared(&OFFICIAL, "Sam's dog"), "sam's dog");
        assert_eq!(prepared(&EVALAI, "Sam's dog"), "sam 's dog");
        assert_eq!(prepared(&EVALAI, " The two dogs? "), "2 dogs");
    }

    #[test]
    fn okvqa_answers_are_cut_off_and_stemmed() {
        let stems = ["surf"; 10];
        near(
            score(&OKVQA, "surfing, it seems Question: why", &stems),
            1.0,
        );
        near(score(&OFFICIAL, "surfing", &stems), 0.0);
    }

    #[test]
    fn a_classifier_scores_the_soft_target_of_its_best_known_answer() {
        let targets = [(1, 0.3), (3, 0.9)];
        let chosen = |scores: &[f32], unknown| SoftAnswer::chosen(scores, &targets, unknown);
        let target = |scores: &[f32], unknown| chosen(scores, unknown).unwrap();
        assert_eq!(target(&[0.1, 0.7, 0.2, 0.3], None), SoftAnswer(0.3));
        assert_eq!(target(&[9.0, -1.0, -2.0, -0.5], Some(0)), SoftAnswer(0.9));
        // The first of equal ones, which nobody gave.
        assert_eq!(target(&[0.1, 0.1, 0.0, 0.1], None), SoftAnswer(0.0));
        assert_eq!(
            target(&[f32::NAN, f32::NEG_INFINITY], None),
            SoftAnswer(0.3)
        );
        assert!(chosen(&[f32::NAN], None).is_err());
        assert!(chosen(&[1.0], Some(0)).is_err());
        assert!(chosen(&[], None).is_err());
        assert!(SoftAnswer::chosen(&[1.0], &[(0, 1.5)], None).is_err());
        assert!(SoftAnswer::new(f64::NAN).is_err());
    }
}
