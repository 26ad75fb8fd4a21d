//! Visual commonsense reasoning: the right of four answers to a question, and given that, the right of four rationales
//! (Zellers et al. 2019).
//!
//! Words that name objects name regions: region k + 1 where the files have one region more than the annotations have
//! objects, the first being the whole image; region k where they have as many. A model sees the regions of the objects
//! that the texts mention. Models of pixels see the image and read the names. A prediction holds the logits of the
//! candidates, for the answer and for the rationale:
//!
//! ```json
//! {"logits":[[0.5,1.25,-0.5,0.0],[0.0,0.25,3.5,1.0]]}
//! ```
//!
//! Test sets do not say the right answer: only the answer is predicted, and nothing is scored.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::pairs::RationaleChoice;
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Choose, Question, Way};
use sightline_preprocess::regions::{RegionParts, Regions};

use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Choice, Content, Example, Truth};
use crate::forward::{Answer, Forward};
use crate::predictions::Outcome;
use crate::visuals::Prepared;

/// Visual commonsense reasoning.
pub(crate) struct Vcr;

impl Task for Vcr {
    fn kind(&self) -> &'static str {
        "vcr"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Choose]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["vcr"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["vcr-q-a", "vcr-qa-r", "vcr-q-ar"]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        match content {
            Content::Choices { choices, .. } => Ok(Ask {
                choices: choices.clone(),
                ..Ask::default()
            }),
            _ => Err("no candidates"),
        }
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        way: Way,
        _: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let choose = forward.found(way.choose(forward.model), Capability::Choose)?;
        Ok(Box::new(Chooser { forward, choose }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Choices::default())
    }
}

struct Chooser<'m> {
    forward: Forward<'m>,
    choose: Box<dyn Choose + 'm>,
}

impl Predictor for Chooser<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        self.forward.each(&works, |work| self.choose(work))
    }
}

impl Chooser<'_> {
    fn choose(&self, work: &Work) -> Result<Answer> {
        let [image] = &work.images[..] else {
            return Ok(Err(Outcome::Failed("not one image".to_owned())));
        };
        let mut logits = Vec::with_capacity(work.ask.choices.len());
        for choice in &work.ask.choices {
            let Some((image, first)) = shown(image, choice) else {
                let why = "the regions are not those of the annotated objects";
                return Ok(Err(Outcome::Failed(why.to_owned())));
            };
            let visuals = self.forward.visuals(&[image])?;
            let question = question(choice, first);
            let answer = self.choose.choose(&visuals[0], &[question]);
            match self.forward.scores(answer, choice.candidates.len())? {
                Ok(scores) => logits.push(scores),
                Err(outcome) => return Ok(Err(outcome)),
            }
        }
        Ok(Ok(Outcome::Predicted(serde_json::to_value(Chosen {
            logits,
        })?)))
    }
}

/// A choice as a model takes it; without regions words name nothing.
fn question(choice: &Choice, first: Option<usize>) -> Question<'_> {
    let candidates = choice.candidates.iter();
    Question {
        question: choice.question.with_regions(first),
        candidates: candidates.map(|text| text.with_regions(first)).collect(),
    }
}

/// The image as a model sees it for `choice`, and the region that the first object shown is; `None` if the regions are
/// of something else.
fn shown(image: &Prepared, choice: &Choice) -> Option<(Prepared, Option<usize>)> {
    let regions = match image {
        Prepared::Pixels(_) | Prepared::Encoded(_) => return Some((image.clone(), None)),
        Prepared::Regions(regions) => regions,
    };
    let first = match regions.len().checked_sub(choice.objects)? {
        0 => 0,
        1 => 1,
        _ => return None,
    };
    let whole = (0..first).chain(choice.shown.iter().map(|object| first + object));
    let features: Vec<f32> = whole
        .flat_map(|row| regions.feature(row).to_vec())
        .collect();
    let parts = RegionParts {
        width: regions.width(),
        features,
        ..RegionParts::default()
    };
    let regions = Regions::new(regions.id(), parts).ok()?;
    Some((Prepared::Regions(regions), Some(first)))
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Chosen {
    logits: Vec<Vec<f64>>,
}

#[derive(Default)]
struct Choices(Vec<RationaleChoice>);

impl Observer for Choices {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Chosen { logits } = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Choices { choices, right } = &truth.content else {
            return Ok(Verdict::Skipped("no right answer"));
        };
        let lens: Vec<usize> = logits.iter().map(Vec::len).collect();
        let expected: Vec<usize> = choices
            .iter()
            .map(|choice| choice.candidates.len())
            .collect();
        if lens != expected {
            return Err(LineProblem::Value {
                what: "the number of logits",
                found: format!("{lens:?}"),
                expected: format!("{expected:?}"),
            });
        }
        let [Some(answer), Some(rationale)] = right[..] else {
            return Ok(Verdict::Skipped("no right answer"));
        };
        self.0.push(RationaleChoice {
            answer: best(&logits[0]) == Some(answer),
            rationale: best(&logits[1]) == Some(rationale),
        });
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::RationaleChoice, self.0);
        Ok(observations)
    }
}

/// The first of the greatest.
fn best(logits: &[f64]) -> Option<usize> {
    let better = |best: usize, next: usize| {
        if logits[next] > logits[best] {
            next
        } else {
            best
        }
    };
    (0..logits.len()).reduce(better)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::Tagged;
    use crate::example::tests::example;

    fn choice() -> Choice {
        Choice {
            question: Tagged {
                text: "Why is Riley here ?".to_owned(),
                tags: vec![(7..12, 1)],
            },
            candidates: vec![Tagged::default(); 4],
            objects: 3,
            shown: vec![0, 2],
        }
    }

    fn truth(right: [Option<usize>; 2]) -> Example {
        let content = Content::Choices {
            choices: vec![choice(), choice()],
            right: right.to_vec(),
        };
        example("val-0", content)
    }

    #[test]
    fn answers_and_rationales_are_scored_apart_and_together() {
        let mut observer = Vcr.observer(&Truth::default());
        let said = json!({"logits": [[0.0, 1.0, 1.0, -1.0], [0.0, 0.0, 0.0, 2.0]]});
        let mut add = |right| observer.add(said.clone(), &truth(right)).unwrap();
        assert_eq!(add([Some(1), Some(3)]), Verdict::Scored);
        // Of equal ones the first.
        assert_eq!(add([Some(2), Some(3)]), Verdict::Scored);
        assert_eq!(add([Some(1), Some(0)]), Verdict::Scored);
        assert_eq!(add([Some(0), Some(0)]), Verdict::Scored);
        assert_eq!(add([None, None]), Verdict::Skipped("no right answer"));
        let short = json!({"logits": [[0.0, 1.0]]});
        assert!(observer.add(short, &truth([Some(1), Some(3)])).is_err());
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value
        };
        assert_eq!(value("vcr-q-a"), Some(0.5));
        assert_eq!(value("vcr-qa-r"), Some(0.5));
        assert_eq!(value("vcr-q-ar"), Some(0.25));
    }

    #[test]
    fn a_model_sees_the_regions_of_the_objects_behind_the_whole_image() {
        let regions = |rows: usize| {
            let parts = RegionParts {
                width: 1,
                features: (0..rows).map(|row| row as f32).collect(),
                ..RegionParts::default()
            };
            Prepared::Regions(Regions::new("a", parts).unwrap())
        };
        let seen = |rows| {
            let (image, first) = shown(&regions(rows), &choice())?;
            let Prepared::Regions(regions) = image else {
                return None;
            };
            Some((regions.parts().features.clone(), first))
        };
        assert_eq!(seen(4), Some((vec![0.0, 1.0, 3.0], Some(1))));
        assert_eq!(seen(3), Some((vec![0.0, 2.0], Some(0))));
        assert_eq!(seen(2), None);
        assert_eq!(seen(5), None);
        let choice = choice();
        assert_eq!(question(&choice, Some(1)).question.tags, [(7..12, 2)]);
        assert!(question(&choice, None).question.tags.is_empty());
    }
}
