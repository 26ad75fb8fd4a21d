//! POPE: whether a model says that objects are in an image when they are (Li et al. 2023, "Evaluating
//! Object Hallucination in Large Vision-Language Models", section 5).
//!
//! Each question asks for one object; the answer is read as yes or no by [`says_yes`]. With TP answers
//! yes to objects that are there, FP yes to ones that are not, TN and FN likewise for no:
//!
//! | id | value |
//! | --- | --- |
//! | `pope-accuracy` | (TP + TN) / all |
//! | `pope-precision` | TP / (TP + FP), no value where nothing was answered yes |
//! | `pope-recall` | TP / (TP + FN), no value where yes is never right |
//! | `pope-f1` | 2 TP / (2 TP + FP + FN) |
//! | `pope-yes-ratio` | (TP + FP) / all |
//!
//! All are shares, from 0 to 1. `evaluate.py` of the authors' repository divides by zero and stops where
//! TP is 0; `pope-f1` is then 0, the limit of its formula, or has no value if only right answers no were
//! seen. The yes-ratio has no better end: it should be near the share of questions whose answer is yes
//! (one half in the published sets), and a model far above it says yes to everything.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Metric, MetricInfo, Stats};
use crate::pairs::share;
use crate::{Input, Item, Resources, Result};

/// `pope-accuracy`.
pub static ACCURACY: Pope = Pope {
    part: Part::Accuracy,
    id: "pope-accuracy",
    description: "Share of questions about objects that were answered rightly.",
};

/// `pope-f1`.
pub static F1: Pope = Pope {
    part: Part::F1,
    id: "pope-f1",
    description: "Harmonic mean of the precision and recall of the answer yes.",
};

/// `pope-precision`.
pub static PRECISION: Pope = Pope {
    part: Part::Precision,
    id: "pope-precision",
    description: "Share of answers yes that are about objects in the image.",
};

/// `pope-recall`.
pub static RECALL: Pope = Pope {
    part: Part::Recall,
    id: "pope-recall",
    description: "Share of objects in the image that were answered yes.",
};

/// `pope-yes-ratio`.
pub static YES_RATIO: Pope = Pope {
    part: Part::YesRatio,
    id: "pope-yes-ratio",
    description: "Share of answers yes, to be compared with the share of questions whose answer is yes; more is not better.",
};

/// Whether an answer says yes, by the rule of the published script.
///
/// Only the text before the first full stop counts, without its commas. It says no if one of its words,
/// split at single spaces and compared with their case, is `No`, `no` or `not`. Anything else says yes:
/// an empty answer, `NO`, `there isn't`, and `no` beside a line break or a question mark.
///
/// | answer | says |
/// | --- | --- |
/// | `No, there is no dog.` | no |
/// | `I do not see one. Yes!` | no |
/// | `Yes. It is not small.` | yes |
/// | `NO` | yes |
/// | `I cannot tell` | yes |
pub fn says_yes(answer: &str) -> bool {
    let sentence = answer.split('.').next().unwrap_or_default();
    let sentence = sentence.replace(',', "");
    !sentence
        .split(' ')
        .any(|word| matches!(word, "No" | "no" | "not"))
}

/// What a model said to one question, and what is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct YesNo {
    /// Whether the model said yes.
    pub said_yes: bool,
    /// Whether the object is in the image.
    pub is_there: bool,
}

impl Item for YesNo {}

impl Examples for YesNo {
    fn random(rng: &mut Rng) -> Self {
        Self {
            said_yes: rng.below(2) == 0,
            is_there: rng.below(2) == 0,
        }
    }

    /// Precision, recall and the nominal better end of the yes-ratio are all reached by this one.
    fn perfect(_: &mut Rng) -> Self {
        Self {
            said_yes: true,
            is_there: true,
        }
    }

    fn empty() -> Option<Self> {
        Some(Self {
            said_yes: says_yes(""),
            is_there: false,
        })
    }
}

/// One of the five values.
#[derive(Debug)]
pub struct Pope {
    part: Part,
    id: &'static str,
    description: &'static str,
}

/// Which value.
#[derive(Clone, Copy, Debug)]
enum Part {
    Accuracy,
    Precision,
    Recall,
    F1,
    YesRatio,
}

/// Answers by what was said and what is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    true_yes: u64,
    false_yes: u64,
    true_no: u64,
    false_no: u64,
}

impl Stats for Confusion {
    fn merge(&mut self, other: &Self) {
        self.true_yes += other.true_yes;
        self.false_yes += other.false_yes;
        self.true_no += other.true_no;
        self.false_no += other.false_no;
    }
}

impl Metric for Pope {
    type Item = YesNo;
    type Corpus = ();
    type Stats = Confusion;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::YesNo,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "pope"
    }

    fn corpus(&self, _: &[YesNo], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &YesNo) -> Confusion {
        Confusion {
            true_yes: u64::from(item.said_yes && item.is_there),
            false_yes: u64::from(item.said_yes && !item.is_there),
            true_no: u64::from(!item.said_yes && !item.is_there),
            false_no: u64::from(!item.said_yes && item.is_there),
        }
    }

    fn value(&self, stats: &Confusion) -> Option<f64> {
        let Confusion {
            true_yes,
            false_yes,
            true_no,
            false_no,
        } = *stats;
        let all = true_yes + false_yes + true_no + false_no;
        match self.part {
            Part::Accuracy => share(true_yes + true_no, all),
            Part::Precision => share(true_yes, true_yes + false_yes),
            Part::Recall => share(true_yes, true_yes + false_no),
            Part::F1 => share(2 * true_yes, 2 * true_yes + false_yes + false_no),
            Part::YesRatio => share(true_yes + false_yes, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    #[test]
    fn answers_are_read_as_the_published_script_reads_them() {
        for no in [
            "no",
            "No",
            "No, there is no dog.",
            "I do not see one. Yes!",
            "There is no, dog",
        ] {
            assert!(!says_yes(no), "{no}");
        }
        for yes in [
            "yes",
            "Yes. It is not small.",
            "",
            "NO",
            "no\nno?",
            "I cannot tell",
            ". no",
            "nothing",
        ] {
            assert!(says_yes(yes), "{yes}");
        }
    }

    #[test]
    fn values_of_a_confusion_counted_by_hand() {
        let stats = Confusion {
            true_yes: 3,
            false_yes: 1,
            true_no: 4,
            false_no: 2,
        };
        assert_eq!(ACCURACY.value(&stats), Some(0.7));
        assert_eq!(PRECISION.value(&stats), Some(0.75));
        assert_eq!(RECALL.value(&stats), Some(0.6));
        assert_eq!(F1.value(&stats), Some(6.0 / 9.0));
        assert_eq!(YES_RATIO.value(&stats), Some(0.4));
    }

    #[test]
    fn shares_of_nothing_have_no_value() {
        let no_to_absent = ACCURACY.stats(
            &(),
            &YesNo {
                said_yes: false,
                is_there: false,
            },
        );
        let no_to_present = ACCURACY.stats(
            &(),
            &YesNo {
                said_yes: false,
                is_there: true,
            },
        );
        assert_eq!(ACCURACY.value(&no_to_absent), Some(1.0));
        assert_eq!(PRECISION.value(&no_to_absent), None);
        assert_eq!(RECALL.value(&no_to_absent), None);
        assert_eq!(F1.value(&no_to_absent), None);
        let sum = merged(&[no_to_absent, no_to_present]);
        assert_eq!(PRECISION.value(&sum), None);
        assert_eq!((RECALL.value(&sum), F1.value(&sum)), (Some(0.0), Some(0.0)));
    }
}
