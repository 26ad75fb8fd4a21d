//! Zero-shot classification: an image goes to the class whose prompts lie nearest (Radford et al. 2021,
//! section 3.1.4).
//!
//! The vector of a class is the mean of the unit-length embeddings of its prompts, one for each template,
//! scaled to unit length again; the score of a class is the cosine with the image.
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
use sightline_metrics::similarity::dot;
use sightline_metrics::{Input, Observations, Rank};
use sightline_models::{Capability, Way};

use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Class, Content, Example, Truth};
use crate::forward::{Embedder, Forward, NOT_FINITE};
use crate::predictions::Outcome;

/// Classes that a prediction holds; no metric looks further down.
const TOP: usize = 10;

/// The place of the class name in a template.
const MARK: &str = "{}";

/// Zero-shot classification.
pub(crate) struct ZeroShot;

impl Task for ZeroShot {
    fn kind(&self) -> &'static str {
        "zero-shot"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Embed]
    }

    fn forms(&self) -> &'static [&'static str] {
        &[SHARDS]
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Needed
    }

    fn options(&self) -> &'static [&'static str] {
        &["templates"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["accuracy@1", "accuracy@5"]
    }

    fn ask(&self, _: &Content) -> Result<Ask, &'static str> {
        Ok(Ask::default())
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let embedder = forward.embedder()?;
        let prompts = setting.classes.iter().flat_map(|class| {
            let templates = setting.templates.iter();
            templates.map(move |template| template.replace(MARK, class))
        });
        let prompts: Vec<String> = prompts.collect();
        let classes = embedder
            .prompts(&prompts)?
            .chunks(setting.templates.len().max(1))
            .map(class_vector)
            .collect();
        Ok(Box::new(Classifier { embedder, classes }))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        Box::new(Ranks {
            classes: truth.classes,
            ranks: Vec::new(),
        })
    }
}

/// The mean of unit-length vectors, at unit length; summed in `f64` in the order of the templates.
fn class_vector(prompts: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0f64; prompts.first().map_or(0, Vec::len)];
    for prompt in prompts {
        let norm = norm(prompt.iter().map(|&v| f64::from(v)));
        for (sum, &v) in sum.iter_mut().zip(prompt) {
            *sum += f64::from(v) / norm;
        }
    }
    let norm = norm(sum.iter().copied());
    sum.iter().map(|v| (v / norm) as f32).collect()
}

/// Length of a vector; 1 for one of no length, which stays as it is.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    let square: f64 = values.map(|v| v * v).sum();
    if square > 0.0 { square.sqrt() } else { 1.0 }
}

struct Classifier<'m> {
    embedder: Embedder<'m>,
    classes: Vec<Vec<f32>>,
}

impl Predictor for Classifier<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let images = self.embedder.images(&works)?;
        images
            .iter()
            .map(|image| {
                let scores: Vec<f64> = self
                    .classes
                    .iter()
                    .map(|class| f64::from(dot(image, class)))
                    .collect();
                if scores.iter().any(|score| !score.is_finite()) {
                    return Ok(Outcome::Failed(NOT_FINITE.to_owned()));
                }
                Ok(Outcome::Predicted(serde_json::to_value(Ranking::of(
                    &scores,
                ))?))
            })
            .collect()
    }
}

/// What a prediction holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Ranking {
    /// How many classes were compared.
    classes: u32,
    /// The best of them with their scores.
    top: Vec<(u32, f64)>,
    /// Those of the rest that score the same as the last of `top`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tied: Vec<(u32, u32)>,
}

impl Ranking {
    fn of(scores: &[f64]) -> Self {
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

struct Ranks {
    classes: usize,
    ranks: Vec<Rank>,
}

impl Observer for Ranks {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let ranking: Ranking = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        ranking.check(self.classes)?;
        let class = match &truth.content {
            Content::Sample { class, .. } => *class,
            _ => Class::Missing,
        };
        Ok(match class {
            Class::Known(class) => {
                self.ranks.push(ranking.rank(class));
                Verdict::Scored
            }
            Class::Missing => Verdict::Skipped("no class"),
            Class::Unknown => Verdict::Skipped("class is not in the list"),
            Class::Ambiguous => Verdict::Skipped("class name stands for several classes"),
        })
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ClassRank, self.ranks);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;
    use sightline_metrics::TiePolicy;

    use super::*;

    #[test]
    fn a_class_vector_is_the_unit_mean_of_unit_prompts() {
        let vector = class_vector(&[vec![2.0, 0.0], vec![0.0, 0.5]]);
        let half = std::f32::consts::FRAC_1_SQRT_2;
        assert_eq!(vector, [half, half]);
        assert_eq!(class_vector(&[vec![1.0, 0.0], vec![-1.0, 0.0]]), [0.0, 0.0]);
    }

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
        let mut observer = ZeroShot.observer(&truth);
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
