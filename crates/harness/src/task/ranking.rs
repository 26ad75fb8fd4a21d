//! Classes in the order of their scores, as classifiers predict them.
//!
//! A prediction holds the [`TOP`] best classes with their scores, best first, equal scores by lower index;
//! and as ranges the classes below these that score the same as the last of them, so that ties within the
//! first places can be counted exactly:
//!
//! ```json
//! {"classes":30,"top":[[4,0.25],[7,0.125]],"tied":[[9,12]]}
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_manifest::SHARDS;
use sightline_metrics::recall_per_class::Label;
use sightline_metrics::{Input, Observations, Rank};

use super::{Observer, Verdict};
use crate::error::LineProblem;
use crate::example::{Class, Content, Example, Truth};
use crate::predictions::Outcome;

/// Forms whose examples have a class.
pub(super) const FORMS: &[&str] = &[SHARDS, "image-folders"];
/// Metrics of a classifier.
pub(super) const METRICS: &[&str] = &["accuracy@1", "accuracy@5"];
/// Metrics of a classifier that a suite has to ask for.
pub(super) const MORE_METRICS: &[&str] = &["mean-per-class-recall"];

/// Classes that a prediction holds; no metric looks further down.
const TOP: usize = 10;

/// What a prediction holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ranking {
    /// How many classes were compared.
    classes: u32,
    /// The best of them with their scores.
    top: Vec<(u32, f64)>,
    /// Those of the rest that score the same as the last of `top`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tied: Vec<(u32, u32)>,
}

impl Ranking {
    /// The ranking of finite `scores`, one for each class.
    pub(super) fn of(scores: &[f64]) -> Self {
        let better = |a: &(u32, f64), b: &(u32, f64)| order(b.1, a.1).then(a.0.cmp(&b.0));
        let mut all: Vec<(u32, f64)> = (0..).zip(scores.iter().copied()).collect();
        if all.len() > TOP {
            all.select_nth_unstable_by(TOP - 1, better);
        }
        let (top, rest) = all.split_at_mut(TOP.min(scores.len()));
        top.sort_unstable_by(better);
        let mut equal: Vec<u32> = rest
            .iter()
            .filter(|(_, score)| top.last().is_some_and(|last| order(last.1, *score).is_eq()))
            .map(|(class, _)| *class)
            .collect();
        equal.sort_unstable();
        let mut tied: Vec<(u32, u32)> = Vec::new();
        for class in equal {
            match tied.last_mut() {
                Some((_, end)) if *end == class => *end += 1,
                _ => tied.push((class, class + 1)),
            }
        }
        Self {
            classes: scores.len() as u32,
            top: top.to_vec(),
            tied,
        }
    }

    /// The rank of `class`. Below the classes listed it is the first place that it could have.
    fn rank(&self, class: u32) -> Rank {
        let last = self.top.last().map_or(f64::NEG_INFINITY, |last| last.1);
        let ties = || self.tied.iter().map(|&(start, end)| start..end);
        let listed = self.top.iter().find(|(listed, _)| *listed == class);
        let score = match listed {
            Some((_, score)) => *score,
            None if ties().any(|range| range.contains(&class)) => last,
            None => {
                let tied: u32 = ties().map(|range| len(&range)).sum();
                return Rank {
                    above: self.top.len() as u32 + tied,
                    ..Rank::default()
                };
            }
        };
        let mut rank = Rank::default();
        for &(other, of_other) in &self.top {
            match order(of_other, score) {
                Ordering::Greater => rank.above += 1,
                Ordering::Equal if other != class => rank.tie(other < class),
                _ => {}
            }
        }
        if order(score, last).is_eq() {
            for range in ties() {
                let split = class.clamp(range.start, range.end);
                rank.tied_before += split - range.start;
                let own = u32::from(range.contains(&class));
                rank.tied_after += range.end - split - own;
            }
        }
        rank
    }

    fn check(&self, classes: usize) -> Result<(), LineProblem> {
        let value = |what, found: String, expected: String| LineProblem::Value {
            what,
            found,
            expected,
        };
        if self.classes as usize != classes {
            let expected = format!("{classes}, as in the dataset");
            return Err(value("`classes`", self.classes.to_string(), expected));
        }
        let places = TOP.min(classes);
        if self.top.len() != places {
            let found = format!("{} classes", self.top.len());
            return Err(value("`top`", found, places.to_string()));
        }
        let ordered = self.top.is_sorted_by(|a, b| match order(a.1, b.1) {
            Ordering::Greater => true,
            Ordering::Equal => a.0 < b.0,
            Ordering::Less => false,
        });
        let known = |class: u32| class < self.classes;
        if !ordered || !self.top.iter().all(|&(class, _)| known(class)) {
            let expected = format!("classes below {classes}, best first");
            return Err(value("`top`", format!("{:?}", self.top), expected));
        }
        let mut end = 0;
        for &(start, next) in &self.tied {
            if start < end || next <= start || next > self.classes {
                let expected = format!("ranges below {classes} in order");
                return Err(value("`tied`", format!("{:?}", self.tied), expected));
            }
            end = next;
        }
        Ok(())
    }
}

/// The order of two finite scores.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn len(range: &Range<u32>) -> u32 {
    range.end - range.start
}

/// Ranks of the true classes, and the classes that were chosen.
pub(super) struct Ranks {
    classes: usize,
    of_classes: Vec<Rank>,
    labels: Vec<Label>,
}

impl Ranks {
    pub(super) fn new(truth: &Truth) -> Self {
        Self {
            classes: truth.classes,
            of_classes: Vec::new(),
            labels: Vec::new(),
        }
    }
}

/// The prediction that scores of the classes are.
pub(super) fn outcome(scores: Result<Vec<f64>, Outcome>) -> crate::Result<Outcome> {
    Ok(match scores {
        Ok(scores) => Outcome::Predicted(serde_json::to_value(Ranking::of(&scores))?),
        Err(outcome) => outcome,
    })
}

impl Observer for Ranks {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let ranking: Ranking = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        ranking.check(self.classes)?;
        Ok(match class_of(&truth.content) {
            Ok(class) => {
                self.of_classes.push(ranking.rank(class));
                self.labels.push(Label {
                    truth: class,
                    chosen: ranking.top.first().map(|(class, _)| *class),
                });
                Verdict::Scored
            }
            Err(why) => Verdict::Skipped(why),
        })
    }

    fn finish(self: Box<Self>) -> crate::Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ClassRank, self.of_classes);
        observations.set(Input::Label, self.labels);
        Ok(observations)
    }
}

/// The class of an example, or why it has none.
pub(super) fn class_of(content: &Content) -> Result<u32, &'static str> {
    let class = match content {
        Content::Sample { class, .. } => *class,
        _ => Class::Missing,
    };
    match class {
        Class::Known(class) => Ok(class),
        Class::Missing => Err("no class"),
        Class::Unknown => Err("class is not in the list"),
        Class::Ambiguous => Err("class name stands for several classes"),
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;
    use sightline_metrics::TiePolicy;

    use super::*;

    #[test]
    fn a_prediction_gives_the_rank_that_all_scores_give() {
        let mut rng = Seed(17).rng();
        for round in 0..300u64 {
            // From no ties at all to nothing but ties.
            let classes = 1 + rng.below(40) as usize;
            let levels = [1, 2, 3, 1000][round as usize % 4];
            let scores: Vec<f64> = (0..classes)
                .map(|_| rng.below(levels) as f64 / 8.0)
                .collect();
            let value = serde_json::to_value(Ranking::of(&scores)).unwrap();
            let text = serde_json::to_string(&value).unwrap();
            let ranking: Ranking = serde_json::from_str(&text).unwrap();
            ranking.check(classes).unwrap();
            for class in 0..classes {
                let exact = Rank::of(&scores, &[class]).unwrap();
                let found = ranking.rank(class as u32);
                for k in 1..=TOP as u32 {
                    let within = |rank: Rank| rank.place(TiePolicy::ByIndex) < k;
                    assert_eq!(within(found), within(exact), "{class} of {scores:?}, {k}");
                    assert_eq!(
                        found.is_decided_by_ties_within(k),
                        exact.is_decided_by_ties_within(k),
                        "{class} of {scores:?}, {k}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_prediction_that_no_model_made_is_refused() {
        let truth = Truth {
            examples: Vec::new(),
            classes: 3,
        };
        let content = Content::Sample {
            class: Class::Known(0),
            captions: Vec::new(),
        };
        let sample = crate::example::tests::example("a", content);
        let mut observer = Ranks::new(&truth);
        let mut add = |text: &str| observer.add(serde_json::from_str(text).unwrap(), &sample);
        for text in [
            r#"{"classes":4,"top":[[0,0.3],[1,0.2],[2,0.1]]}"#,
            r#"{"classes":3,"top":[[0,0.3],[1,0.2]]}"#,
            r#"{"classes":3,"top":[[0,0.3],[1,0.2],[3,0.1]]}"#,
            r#"{"classes":3,"top":[[0,0.1],[1,0.2],[2,0.3]]}"#,
            r#"{"classes":3,"top":[[0,0.3],[1,0.2],[2,0.1]],"tied":[[0,9]]}"#,
            r#"{"classes":3}"#,
        ] {
            assert!(add(text).is_err(), "{text}");
        }
        let good = r#"{"classes":3,"top":[[1,0.3],[0,0.2],[2,0.2]]}"#;
        assert_eq!(add(good).unwrap(), Verdict::Scored);
    }
}
