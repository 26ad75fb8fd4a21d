//! Open-vocabulary detection: boxes of objects of named classes (`ViLD`, Gu et al. 2022).
//!
//! | kind | protocol |
//! | --- | --- |
//! | `detection` | COCO's: the 100 best of a category and image |
//! | `detection-lvis` | LVIS's: federated, the 300 best of an image |
//!
//! Both score boxes. Papers on LVIS report masks: box AP is another number, and the ids of the metrics say "Box" in their
//! descriptions. A model is asked for all classes of the list, whichever are evaluated; which of them it has seen is what
//! the dataset says. Regions are those of the dataset's `regions`, with boxes in pixels, for models that take features;
//! models that look at crops get sliding windows, which are a weak generator of proposals. A model outside the program
//! gets whole image files and the names of the classes, and finds the objects by itself.
//!
//! A prediction holds number of the class, score, and left, top, width and height of each object:
//!
//! ```json
//! {"objects":[[3,0.75,[10.0,20.0,30.0,40.0]]]}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::detection::{Detection, DetectionItem, FederatedImage, FederatedItem};
use sightline_metrics::{BoundingBox, Input, Observations};
use sightline_models::detect::proposals::{Sliding, sliding};
use sightline_models::detect::{Class, Detection as Object, Vocabulary};
use sightline_models::{Capability, FindObjects, Way};

use super::{Ask, ClassUse, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::direct::Detector;
use crate::direct::DirectError;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Answer, Forward};
use crate::predictions::Outcome;
use crate::visuals::{Prepared, Preparer};
use crate::{Error, Result};

/// `detection`.
pub(crate) static COCO: Detecting = Detecting {
    is_federated: false,
};
/// `detection-lvis`.
pub(crate) static LVIS: Detecting = Detecting { is_federated: true };

/// Detection by one of the protocols.
pub(crate) struct Detecting {
    is_federated: bool,
}

impl Task for Detecting {
    fn kind(&self) -> &'static str {
        if self.is_federated {
            "detection-lvis"
        } else {
            "detection"
        }
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Detect]
    }

    fn forms(&self) -> &'static [&'static str] {
        if self.is_federated {
            &["lvis"]
        } else {
            &["coco-instances"]
        }
    }

    fn classes(&self) -> ClassUse {
        ClassUse::Needed
    }

    fn takes_files(&self) -> bool {
        true
    }

    fn metrics(&self) -> &'static [&'static str] {
        if self.is_federated {
            &[
                "lvis-ap",
                "lvis-ap.rare",
                "lvis-ap.common",
                "lvis-ap.frequent",
                "lvis-ap50",
            ]
        } else {
            &["coco-ap", "coco-ap50", "coco-ap75"]
        }
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        if self.is_federated {
            &[
                "lvis-ap75",
                "lvis-ap.small",
                "lvis-ap.medium",
                "lvis-ap.large",
                "lvis-ar@300",
            ]
        } else {
            &[
                "coco-ap.small",
                "coco-ap.medium",
                "coco-ap.large",
                "coco-ar@100",
            ]
        }
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        let Content::Boxes { categories, .. } = content else {
            return Err("no boxes");
        };
        Ok(Ask {
            is_seen: categories.is_seen.clone(),
            ..Ask::default()
        })
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let classes = setting.classes.to_vec();
        if let Some(objects) = forward.model.find_objects() {
            return Ok(Box::new(WholeFinder {
                forward,
                objects,
                classes,
            }));
        }
        let detect = forward.found(forward.model.detect(), Capability::Detect)?;
        let preprocessor = match forward.preparer {
            Preparer::Pixels(preparer) => Some(preparer.preprocessor()),
            Preparer::Regions { .. } | Preparer::Encoded => None,
        };
        Ok(Box::new(Finder {
            detector: Detector::new(detect, preprocessor, forward.device),
            forward,
            classes,
            vocabulary: None,
        }))
    }

    fn observer(&self, truth: &Truth) -> Box<dyn Observer> {
        Box::new(Found {
            classes: truth.classes,
            is_federated: self.is_federated,
            coco: Vec::new(),
            lvis: Vec::new(),
        })
    }
}

/// The classes as `work` says which of them boxes were seen of.
fn classes_of<'a>(classes: &'a [String], work: &Work) -> Vec<Class<'a>> {
    let is_seen = |number: usize| work.ask.is_seen.get(number).copied().unwrap_or(true);
    let classes = classes.iter().enumerate().map(|(number, name)| Class {
        names: vec![name.as_str()],
        is_base: is_seen(number),
    });
    classes.collect()
}

/// What is written about the objects of one image.
fn written(found: &[Object]) -> Result<Outcome> {
    let objects = found.iter().map(|object| {
        let [left, top, right, bottom] = object.edges.map(f64::from);
        let bbox = [left, top, right - left, bottom - top];
        (object.class as u32, f64::from(object.score), bbox)
    });
    let objects = Objects {
        objects: objects.collect(),
    };
    Ok(Outcome::Predicted(serde_json::to_value(objects)?))
}

/// A model that looks at whole images.
struct WholeFinder<'m> {
    forward: Forward<'m>,
    objects: &'m dyn FindObjects,
    classes: Vec<String>,
}

impl Predictor for WholeFinder<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let this = &*self;
        this.forward.each(&works, |work| {
            let [image] = &work.images[..] else {
                return Ok(Err(Outcome::Failed("not one image".to_owned())));
            };
            let image = this.forward.visual(&[image])?;
            let classes = classes_of(&this.classes, work);
            let found = this.objects.find_objects(&image, &classes);
            Ok(match this.forward.said(found)? {
                Ok(found) => Ok(written(found.first().map_or(&[], Vec::as_slice))?),
                Err(outcome) => Err(outcome),
            })
        })
    }
}

/// A model that judges regions.
struct Finder<'m> {
    forward: Forward<'m>,
    detector: Detector<'m>,
    classes: Vec<String>,
    /// Of which classes boxes were seen is known with the first example.
    vocabulary: Option<Vocabulary>,
}

impl Predictor for Finder<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        if let (None, Some(work)) = (&self.vocabulary, works.first()) {
            let classes = classes_of(&self.classes, work);
            let vocabulary = self.detector.vocabulary(&classes);
            self.vocabulary = Some(vocabulary.map_err(|error| self.broken(error))?);
        }
        let Some(vocabulary) = &self.vocabulary else {
            return Ok(Vec::new());
        };
        let this = &*self;
        this.forward
            .each(&works, |work| this.find(work, vocabulary))
    }
}

impl Finder<'_> {
    fn find(&self, work: &Work, vocabulary: &Vocabulary) -> Result<Answer> {
        let found = match (&work.images[..], &work.files[..]) {
            ([Prepared::Regions(regions)], _) => self.detector.in_regions(regions, vocabulary),
            (_, [file]) => match self.detector.canvas(file) {
                Ok(Ok(canvas)) => {
                    let size = canvas.size().map(|side| side as f32);
                    let proposals = sliding(size, &Sliding::default());
                    self.detector.in_image(&canvas, &proposals, vocabulary)
                }
                Ok(Err(error)) => {
                    let why = format!("image: {}", error.class());
                    return Ok(Err(Outcome::Failed(why)));
                }
                Err(error) => Err(error),
            },
            _ => return Ok(Err(Outcome::Failed("not one image".to_owned()))),
        };
        let found = match found {
            Ok(found) => found,
            // What is wrong with the regions of one image alone.
            Err(error @ (DirectError::RegionPart { .. } | DirectError::Proposals { .. })) => {
                return Ok(Err(Outcome::Failed(error.to_string())));
            }
            Err(error) => return Err(self.broken(error)),
        };
        Ok(Ok(written(&found)?))
    }

    fn broken(&self, error: DirectError) -> Error {
        match error {
            DirectError::Model(source) => Error::Forward {
                model: self.forward.name.to_owned(),
                task: self.forward.task.to_owned(),
                source: Box::new(source),
            },
            DirectError::Prepare(source) => Error::Preprocess {
                model: self.forward.name.to_owned(),
                source,
            },
            DirectError::Tensor(source) => Error::Forward {
                model: self.forward.name.to_owned(),
                task: self.forward.task.to_owned(),
                source: Box::new(source.into()),
            },
            _ => Error::Input {
                model: self.forward.name.to_owned(),
            },
        }
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Objects {
    objects: Vec<(u32, f64, [f64; 4])>,
}

struct Found {
    classes: usize,
    is_federated: bool,
    coco: Vec<DetectionItem>,
    lvis: Vec<FederatedItem>,
}

impl Observer for Found {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Objects { objects } = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Boxes {
            truths,
            absent,
            not_exhaustive,
            categories,
        } = &truth.content
        else {
            return Ok(Verdict::Skipped("no boxes"));
        };
        let wrong = |found: String, expected: String| LineProblem::Value {
            what: "an object",
            found,
            expected,
        };
        let mut detections = Vec::with_capacity(objects.len());
        for (category, score, xywh) in objects {
            let Some(&counts) = categories.is_evaluated.get(category as usize) else {
                let expected = format!("of a class below {}", self.classes);
                return Err(wrong(format!("of class {category}"), expected));
            };
            let bbox = BoundingBox::new(xywh)
                .map_err(|error| wrong(error.to_string(), "a box".to_owned()))?;
            if counts {
                detections.push(Detection {
                    category,
                    bbox,
                    score,
                });
            }
        }
        let truths = truths.clone();
        let score = |error: sightline_metrics::Error| {
            wrong(error.to_string(), "a box with a score".to_owned())
        };
        if self.is_federated {
            let image = FederatedImage {
                truths,
                detections,
                absent: absent.clone(),
                not_exhaustive: not_exhaustive.clone(),
            };
            let item = FederatedItem::new(image, &categories.frequencies);
            self.lvis.push(item.map_err(score)?);
        } else {
            let item = DetectionItem::new(truths, detections);
            self.coco.push(item.map_err(score)?);
        }
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        if self.is_federated {
            observations.set(Input::FederatedDetection, self.lvis);
        } else {
            observations.set(Input::Detection, self.coco);
        }
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use sightline_metrics::detection::{Frequency, GroundTruth};
    use sightline_metrics::registry;

    use super::*;
    use crate::example::Categories;
    use crate::example::tests::example;

    fn boxes(evaluated: [bool; 2]) -> Example {
        let truth = |category, left: f64| GroundTruth {
            category,
            bbox: BoundingBox::new([left, 0.0, 10.0, 10.0]).unwrap(),
            area: 100.0,
            is_crowd: false,
            is_ignored: false,
        };
        let truths = vec![truth(0, 0.0), truth(1, 50.0)];
        let kept = truths
            .into_iter()
            .filter(|truth| evaluated[truth.category as usize]);
        let frequencies = [(0, Frequency::Rare), (1, Frequency::Frequent)].into();
        let content = Content::Boxes {
            truths: kept.collect(),
            absent: Vec::new(),
            not_exhaustive: Vec::new(),
            categories: Arc::new(Categories {
                frequencies: Arc::new(frequencies),
                is_seen: vec![false, true],
                is_evaluated: evaluated.to_vec(),
            }),
        };
        example("1", content)
    }

    fn value(task: &Detecting, evaluated: [bool; 2], metric: &str) -> Option<f64> {
        let truth = Truth {
            examples: Vec::new(),
            classes: 2,
        };
        let mut observer = task.observer(&truth);
        // The first is right; of the second class the box is elsewhere.
        let line = json!({"objects": [[0, 0.9, [0.0, 0.0, 10.0, 10.0]], [1, 0.8, [90.0, 90.0, 5.0, 5.0]]]});
        observer.add(line, &boxes(evaluated)).unwrap();
        for line in [
            json!({"objects": [[2, 0.9, [0.0, 0.0, 1.0, 1.0]]]}),
            json!({"objects": [[0, 0.9, [0.0]]]}),
        ] {
            assert!(observer.add(line, &boxes(evaluated)).is_err());
        }
        let observations = observer.finish().unwrap();
        let metric = registry::metric(metric).unwrap();
        metric.evaluate(&observations, None).unwrap().value
    }

    #[test]
    fn categories_that_are_not_evaluated_do_not_count() {
        for (task, evaluated, metric, expected) in [
            (&COCO, [true, true], "coco-ap50", 0.5),
            (&COCO, [true, false], "coco-ap50", 1.0),
            (&COCO, [false, true], "coco-ap50", 0.0),
            (&LVIS, [true, true], "lvis-ap.rare", 1.0),
            (&LVIS, [true, true], "lvis-ap.frequent", 0.0),
        ] {
            let found = value(task, evaluated, metric).unwrap();
            assert!((found - expected).abs() < 1e-12, "{metric}: {found}");
        }
        assert!(LVIS.ask(&boxes([true, true]).content).unwrap().is_seen == [false, true]);
    }
}
