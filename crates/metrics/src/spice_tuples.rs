//! F1 over scene-graph tuples that the caller supplies.
//!
//! A tuple is an object, an object with an attribute, or a subject with a relation and an object. With C
//! the set of the candidate's tuples and R that of all references together, P = |C ∩ R| / |C|,
//! R = |C ∩ R| / |R| and the item scores 2 P R / (P + R), which is 2 |C ∩ R| / (|C| + |R|). The metric is
//! the mean over items, 0 to 1. An item whose references have no tuples has no value.
//!
//! **This is not SPICE.** SPICE (Anderson et al. 2016) makes the tuples, with a dependency parser, rules and
//! lemmas of its own, and lets words match that share a WordNet synset. None of that happens here: who
//! supplies the tuples of another parser gets another score, and even with the tuples that the SPICE program
//! prints the score is lower than its own, by the matches of synonyms.
//!
//! `spice-tuples` takes phrases as equal if they are after lower-casing, the white space around and
//! between words aside. `spice-tuples-stem` compares the stems of their words instead
//! ([`snowball::stem`]), so that `dogs` matches `dog`.

use std::collections::BTreeSet;

use sightline_core::seed::Rng;
use sightline_text::snowball;

use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Input, Item, Resources, Result};

/// `spice-tuples`.
pub static EXACT: SpiceTuples = SpiceTuples {
    stem: false,
    id: "spice-tuples",
    description: "Mean over images of the F1 of given scene-graph tuples, equal words only; not SPICE.",
};

/// `spice-tuples-stem`.
pub static STEMMED: SpiceTuples = SpiceTuples {
    stem: true,
    id: "spice-tuples-stem",
    description: "Mean over images of the F1 of given scene-graph tuples, equal stems only; not SPICE.",
};

/// A tuple of a scene graph.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tuple {
    /// Something that is there: `dog`.
    Object(Box<str>),
    /// How it is: `dog`, `brown`.
    Attribute(Box<str>, Box<str>),
    /// How two things relate: `dog`, `sits on`, `bench`.
    Relation(Box<str>, Box<str>, Box<str>),
}

impl Tuple {
    /// The tuple of one, two or three phrases; `None` of any other number.
    pub fn new(phrases: &[impl AsRef<str>]) -> Option<Self> {
        let phrase = |index: usize| Box::from(phrases[index].as_ref());
        match phrases.len() {
            1 => Some(Self::Object(phrase(0))),
            2 => Some(Self::Attribute(phrase(0), phrase(1))),
            3 => Some(Self::Relation(phrase(0), phrase(1), phrase(2))),
            _ => None,
        }
    }

    /// The tuple whose phrases are those of `self` after `change`.
    fn map(&self, change: impl Fn(&str) -> Box<str>) -> Self {
        match self {
            Self::Object(object) => Self::Object(change(object)),
            Self::Attribute(object, attribute) => {
                Self::Attribute(change(object), change(attribute))
            }
            Self::Relation(subject, relation, object) => {
                Self::Relation(change(subject), change(relation), change(object))
            }
        }
    }
}

/// The tuples of one image; repeated ones count once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuples {
    /// Of the candidate.
    pub candidate: Vec<Tuple>,
    /// Of all references together.
    pub references: Vec<Tuple>,
}

impl Item for Tuples {}

impl Examples for Tuples {
    fn random(rng: &mut Rng) -> Self {
        let tuples = |rng: &mut Rng, least: u64| -> Vec<Tuple> {
            const WORDS: [&str; 4] = ["dog", "Dog", "brown", "bench "];
            (0..least + rng.below(6))
                .filter_map(|_| {
                    let words: Vec<&str> = (0..=rng.below(3)).map(|_| *rng.pick(&WORDS)).collect();
                    Tuple::new(&words)
                })
                .collect()
        };
        Self {
            candidate: tuples(rng, 0),
            references: tuples(rng, 1),
        }
    }

    fn perfect(rng: &mut Rng) -> Self {
        let mut references = vec![
            Tuple::Object("dog".into()),
            Tuple::Attribute("dog".into(), "brown".into()),
            Tuple::Relation("dog".into(), "on".into(), "bench".into()),
        ];
        let candidate = references.clone();
        rng.shuffle(&mut references);
        Self {
            candidate,
            references,
        }
    }

    fn empty() -> Option<Self> {
        Some(Self {
            candidate: Vec::new(),
            references: vec![Tuple::Object("dog".into())],
        })
    }
}

/// F1 over tuples.
#[derive(Debug)]
pub struct SpiceTuples {
    stem: bool,
    id: &'static str,
    description: &'static str,
}

impl SpiceTuples {
    /// A phrase as it is compared: lower-case words or their stems, single spaces between.
    fn phrase(&self, text: &str) -> Box<str> {
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| {
                let word = word.to_lowercase();
                if self.stem {
                    snowball::stem(&word).into_owned()
                } else {
                    word
                }
            })
            .collect();
        words.join(" ").into()
    }
}

impl Metric for SpiceTuples {
    type Item = Tuples;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Tuples,
            range: [0.0, 1.0],
            higher_is_better: true,
            description: self.description,
        }
    }

    fn corpus(&self, _: &[Tuples], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &Tuples) -> Mean {
        let set = |tuples: &[Tuple]| -> BTreeSet<Tuple> {
            tuples.iter().map(|t| t.map(|p| self.phrase(p))).collect()
        };
        let (candidate, references) = (set(&item.candidate), set(&item.references));
        if references.is_empty() {
            return Mean::default();
        }
        let matched = candidate.intersection(&references).count();
        Mean::of((2 * matched) as f64 / (candidate.len() + references.len()) as f64)
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuples(phrases: &[&[&str]]) -> Vec<Tuple> {
        phrases.iter().map(|p| Tuple::new(p).unwrap()).collect()
    }

    fn score(candidate: &[&[&str]], references: &[&[&str]]) -> Option<f64> {
        score_by(&EXACT, candidate, references)
    }

    fn score_by(
        metric: &SpiceTuples,
        candidate: &[&[&str]],
        references: &[&[&str]],
    ) -> Option<f64> {
        let item = Tuples {
            candidate: tuples(candidate),
            references: tuples(references),
        };
        metric.value(&metric.stats(&(), &item))
    }

    #[test]
    fn the_f1_of_sets_counted_by_hand() {
        // 2 of 3 and 2 of 5: 2 · (2/3)(2/5) / (2/3 + 2/5) = 1/2.
        let candidate: [&[&str]; 4] = [
            &["Dog"],
            &["dog", " brown"],
            &["dog "],
            &["dog", "sits  on", "chair"],
        ];
        let references: [&[&str]; 6] = [
            &["dog"],
            &["dog"],
            &["bench"],
            &["dog", "brown"],
            &["dog", "small"],
            &["dog", "sits on", "bench"],
        ];
        assert_eq!(score(&candidate, &references), Some(0.5));
    }

    #[test]
    fn kinds_of_tuples_are_not_mixed_and_words_not_joined() {
        assert_eq!(score(&[&["dog", "brown"]], &[&["dog brown"]]), Some(0.0));
    }

    #[test]
    fn stems_match_only_where_asked_for() {
        let candidate: [&[&str]; 2] = [&["Dogs"], &["dog", "sitting on", "bench"]];
        let references: [&[&str]; 2] = [&["dog"], &["dogs", "sits on", "benches"]];
        assert_eq!(score(&candidate, &references), Some(0.0));
        assert_eq!(score_by(&STEMMED, &candidate, &references), Some(1.0));
    }

    #[test]
    fn nothing_said_scores_0_and_nothing_to_say_has_no_value() {
        assert_eq!(score(&[], &[&["dog"]]), Some(0.0));
        assert_eq!(score(&[&["dog"]], &[]), None);
        assert_eq!(Tuple::new(&[""; 0]), None);
        assert_eq!(Tuple::new(&["a", "b", "c", "d"]), None);
    }
}
