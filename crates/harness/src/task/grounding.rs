//! Grounding phrases of captions: which region of the image a phrase means (Flickr30k Entities, Plummer et al. 2015).
//!
//! A model's regions are those of the dataset's files, whose boxes must be in pixels of the original image. A prediction
//! holds for each phrase the [`TOP`] regions with the greatest shares, equal ones in the order of the file, as `[left,
//! top, right, bottom]`:
//!
//! ```json
//! {"phrases":[{"boxes":[[10.0,20.0,30.0,60.0]],"shares":[0.75]}]}
//! ```
//!
//! Both protocols in use are scored: a region is right if it overlaps any of the phrase's boxes by half, or the box
//! around all of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::grounding::GroundingItem;
use sightline_metrics::{BoundingBox, Input, Observations};
use sightline_models::{Capability, Ground, Phrases, Way};

use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Answer, Forward, NOT_FINITE};
use crate::predictions::Outcome;
use crate::visuals::Prepared;

/// Regions that a prediction holds; no metric looks further down.
const TOP: usize = 10;

/// Grounding of phrases.
pub(crate) struct Grounding;

impl Task for Grounding {
    fn kind(&self) -> &'static str {
        "grounding"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Ground]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["flickr30k-entities"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &[
            "grounding-recall@1.any-box",
            "grounding-recall@5.any-box",
            "grounding-recall@10.any-box",
            "grounding-recall@1.merged-boxes",
            "grounding-recall@5.merged-boxes",
            "grounding-recall@10.merged-boxes",
        ]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        match content {
            Content::Phrases { phrases, .. } if phrases.is_empty() => Err("no phrase with a box"),
            Content::Phrases { caption, phrases } => Ok(Ask {
                phrases: phrases.iter().map(|phrase| phrase.bytes.clone()).collect(),
                ..Ask::text(caption)
            }),
            _ => Err("no phrase with a box"),
        }
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        _: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let ground = forward.found(forward.model.ground(), Capability::Ground)?;
        Ok(Box::new(Grounder { forward, ground }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Found::default())
    }
}

struct Grounder<'m> {
    forward: Forward<'m>,
    ground: &'m dyn Ground,
}

impl Predictor for Grounder<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        self.forward.each(&works, |work| self.ground(work))
    }
}

impl Grounder<'_> {
    fn ground(&self, work: &Work) -> Result<Answer> {
        let failed = |why: &str| Ok(Err(Outcome::Failed(why.to_owned())));
        let [Prepared::Regions(regions)] = &work.images[..] else {
            return failed("no regions");
        };
        let Some(boxes) = &regions.parts().boxes else {
            return failed("the regions have no boxes");
        };
        let visuals = self.forward.visuals(&work.images)?;
        let asked = Phrases {
            caption: work.ask.first(),
            phrases: work.ask.phrases.clone(),
        };
        let said = self.ground.ground(&visuals[0], &[asked]);
        let shares = match self.forward.said(said)? {
            Ok(mut shares) => shares.pop(),
            Err(outcome) => return Ok(Err(outcome)),
        };
        let rows = shares.map(|shares| shares.to_vec2::<f32>()).transpose();
        let rows = match self.forward.said(rows.map_err(Into::into))? {
            Ok(rows) => rows.unwrap_or_default(),
            Err(outcome) => return Ok(Err(outcome)),
        };
        if rows.iter().flatten().any(|share| !share.is_finite()) {
            return failed(NOT_FINITE);
        }
        let phrases = rows.iter().map(|row| ranked(row, boxes)).collect();
        Ok(Ok(Outcome::Predicted(serde_json::to_value(Grounded {
            phrases,
        })?)))
    }
}

/// The best of the regions that are there.
fn ranked(shares: &[f32], boxes: &[[f32; 4]]) -> Ranked {
    let mut order: Vec<usize> = (0..shares.len().min(boxes.len())).collect();
    order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
    order.truncate(TOP);
    Ranked {
        boxes: order.iter().map(|&at| boxes[at].map(f64::from)).collect(),
        shares: order.iter().map(|&at| f64::from(shares[at])).collect(),
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Grounded {
    phrases: Vec<Ranked>,
}

/// The regions of a phrase, best first.
#[derive(Serialize, Deserialize)]
struct Ranked {
    boxes: Vec<[f64; 4]>,
    shares: Vec<f64>,
}

#[derive(Default)]
struct Found(Vec<GroundingItem>);

impl Observer for Found {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Grounded { phrases: found } =
            serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Phrases { phrases, .. } = &truth.content else {
            return Ok(Verdict::Skipped("no phrase with a box"));
        };
        if found.len() != phrases.len() {
            return Err(LineProblem::Value {
                what: "the number of phrases",
                found: found.len().to_string(),
                expected: phrases.len().to_string(),
            });
        }
        let value = |error: sightline_metrics::Error| LineProblem::Value {
            what: "a box",
            found: error.to_string(),
            expected: "four finite numbers".to_owned(),
        };
        for (found, phrase) in found.iter().zip(phrases) {
            let candidates: Result<Vec<BoundingBox>, _> = found
                .boxes
                .iter()
                .map(|[left, top, right, bottom]| {
                    BoundingBox::new([*left, *top, right - left, bottom - top])
                })
                .collect();
            let item = GroundingItem::new(phrase.boxes.clone(), candidates.map_err(value)?);
            self.0.push(item.map_err(value)?);
        }
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::Grounding, self.0);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::Phrase;
    use crate::example::tests::example;

    #[test]
    fn a_phrase_is_found_by_one_of_its_boxes_or_by_the_box_around_them() {
        let bbox = |xywh| BoundingBox::new(xywh).unwrap();
        let phrase = |boxes: &[[f64; 4]]| Phrase {
            bytes: 0..3,
            boxes: boxes.iter().map(|&xywh| bbox(xywh)).collect(),
        };
        let content = Content::Phrases {
            caption: "two men and a dog".to_owned(),
            phrases: vec![
                phrase(&[[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 10.0, 10.0]]),
                phrase(&[[50.0, 50.0, 10.0, 10.0]]),
            ],
        };
        let truth = example("1#0", content);
        let mut observer = Grounding.observer(&Truth::default());
        let said = json!({"phrases": [
            {"boxes": [[20.0, 0.0, 30.0, 10.0], [0.0, 0.0, 30.0, 10.0]], "shares": [0.6, 0.4]},
            {"boxes": [[0.0, 0.0, 1.0, 1.0], [50.0, 50.0, 60.0, 55.0]], "shares": [0.6, 0.4]}]});
        assert_eq!(observer.add(said, &truth).unwrap(), Verdict::Scored);
        assert!(observer.add(json!({"phrases": []}), &truth).is_err());
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value
        };
        // The first phrase: its second box at once, the box around both at the second place. The second: half of its
        // box at the second place.
        assert_eq!(value("grounding-recall@1.any-box"), Some(0.5));
        assert_eq!(value("grounding-recall@5.any-box"), Some(1.0));
        assert_eq!(value("grounding-recall@1.merged-boxes"), Some(0.0));
        assert_eq!(value("grounding-recall@5.merged-boxes"), Some(1.0));
    }

    #[test]
    fn equal_shares_are_in_the_order_of_the_file_and_padding_is_no_region() {
        let boxes = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]];
        let ranked = ranked(&[0.5, 0.5, 0.0], &boxes);
        assert_eq!(ranked.boxes, [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 2.0, 2.0]]);
        assert_eq!(ranked.shares, [0.5, 0.5]);
    }

    #[test]
    fn captions_without_phrases_are_skipped() {
        let content = Content::Phrases {
            caption: "nothing".to_owned(),
            phrases: Vec::new(),
        };
        assert_eq!(Grounding.ask(&content), Err("no phrase with a box"));
    }
}
