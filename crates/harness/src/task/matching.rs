//! Matching texts with an image: whether a model finds the caption that belongs to it likelier than foils, captions with
//! a mistake (VALSE, Parcalabescu et al. 2022; its "pairwise ranking accuracy").
//!
//! A prediction holds the model's log odds for each text. The first of equal ones is taken; which text stands first
//! depends on the example's id, so that a model that cannot tell them apart is right by chance.
//!
//! ```json
//! {"odds":[0.5,-1.25]}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::{Input, Observations, Rank};
use sightline_models::{Capability, Match, Way};

use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Answer, Forward};
use crate::predictions::Outcome;

/// Matching of texts with an image.
pub(crate) struct Matching;

impl Task for Matching {
    fn kind(&self) -> &'static str {
        "matching"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Match]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["valse"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["accuracy@1"]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        let Content::Choices { choices, .. } = content else {
            return Err("no texts");
        };
        let candidates = choices.first().map_or(&[][..], |choice| &choice.candidates);
        let texts: Vec<String> = candidates.iter().map(|text| text.text.clone()).collect();
        if texts.is_empty() {
            return Err("no texts");
        }
        Ok(Ask {
            texts,
            ..Ask::default()
        })
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        way: Way,
        _: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let matching = forward.found(way.matching(forward.model), Capability::Match)?;
        Ok(Box::new(Matcher { forward, matching }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Ranks::default())
    }
}

struct Matcher<'m> {
    forward: Forward<'m>,
    matching: Box<dyn Match + 'm>,
}

impl Predictor for Matcher<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        self.forward.each(&works, |work| self.odds(work))
    }
}

impl Matcher<'_> {
    fn odds(&self, work: &Work) -> Result<Answer> {
        let [image] = &work.images[..] else {
            return Ok(Err(Outcome::Failed("not one image".to_owned())));
        };
        let texts: Vec<&str> = work.ask.texts.iter().map(String::as_str).collect();
        let visual = self.forward.visual(&vec![image; texts.len()])?;
        let answer = self.matching.match_texts(&visual, &texts);
        Ok(match self.forward.scores(answer, texts.len())? {
            Ok(odds) => Ok(Outcome::Predicted(serde_json::to_value(Matched { odds })?)),
            Err(outcome) => Err(outcome),
        })
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Matched {
    odds: Vec<f64>,
}

#[derive(Default)]
struct Ranks(Vec<Rank>);

impl Observer for Ranks {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Matched { odds } = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Choices { choices, right } = &truth.content else {
            return Ok(Verdict::Skipped("no right text"));
        };
        let expected = choices.first().map_or(0, |choice| choice.candidates.len());
        if odds.len() != expected {
            return Err(LineProblem::Value {
                what: "the number of odds",
                found: odds.len().to_string(),
                expected: expected.to_string(),
            });
        }
        let right = right.first().copied().flatten();
        let Some(rank) = right.and_then(|right| Rank::of(&odds, &[right])) else {
            return Ok(Verdict::Skipped("no right text"));
        };
        self.0.push(rank);
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ClassRank, self.0);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;
    use crate::example::{Choice, Tagged};

    #[test]
    fn the_likeliest_text_is_right_or_wrong() {
        let truth = |right| {
            let choice = Choice {
                candidates: vec![Tagged::default(); 2],
                ..Choice::default()
            };
            let content = Content::Choices {
                choices: vec![choice],
                right: vec![Some(right)],
            };
            example("a", content)
        };
        let mut observer = Matching.observer(&Truth::default());
        for (odds, right) in [
            ([1.0, -1.0], 0),
            ([1.0, -1.0], 1),
            ([0.5, 0.5], 0),
            ([0.5, 0.5], 1),
        ] {
            let verdict = observer
                .add(json!({ "odds": odds }), &truth(right))
                .unwrap();
            assert_eq!(verdict, Verdict::Scored);
        }
        assert!(observer.add(json!({"odds": [1.0]}), &truth(0)).is_err());
        let observations = observer.finish().unwrap();
        let accuracy = registry::metric("accuracy@1").unwrap();
        let outcome = accuracy.evaluate(&observations, None).unwrap();
        assert_eq!((outcome.value, outcome.ties), (Some(0.5), 2));
    }
}
