//! Answers to questions: the best label of a classifier, or what a model writes.

use serde::{Deserialize, Serialize};
use sightline_models::{Capability, Way};

use super::decoding::Writer;
use super::label::{Labeller, Wanted};
use super::{Predictor, Setting, Work};
use crate::Result;
use crate::forward::Forward;
use crate::predictions::Outcome;

/// A model that answers.
pub(super) enum Answerer<'m> {
    /// Chooses a label.
    Chooses(Labeller<'m>),
    /// Writes.
    Writes(Writer<'m>),
}

/// What a prediction holds: the best label or what was written, and of a classifier the best labels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) answer: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<(String, f64)>,
}

impl<'m> Answerer<'m> {
    /// A model that goes its `way`; a classifier has the labels that are `wanted`.
    pub(super) fn new(
        forward: Forward<'m>,
        way: Way,
        setting: &Setting<'_>,
        wanted: Wanted,
    ) -> Result<Self> {
        Ok(if way.does == Capability::Answer {
            Self::Writes(Writer::new(forward, setting)?)
        } else {
            Self::Chooses(Labeller::new(forward, way, setting, wanted)?)
        })
    }
}

impl Predictor for Answerer<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let told = |answer: Answer| Ok(Ok(Outcome::Predicted(serde_json::to_value(answer)?)));
        match self {
            Self::Chooses(labeller) => labeller.forward().each(&works, |work| {
                let found = match labeller.label(work, work.ask.first())? {
                    Ok(found) => found,
                    Err(outcome) => return Ok(Err(outcome)),
                };
                let Some((best, _)) = found.labels.first() else {
                    return Ok(Err(Outcome::Failed("no label to choose".to_owned())));
                };
                told(Answer {
                    answer: best.clone(),
                    labels: found.labels,
                })
            }),
            Self::Writes(writer) => writer.write_each(
                &works,
                |work| work.ask.first(),
                |written| {
                    told(Answer {
                        answer: written.text,
                        labels: Vec::new(),
                    })
                },
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use candle_core::Device;
    use serde_json::json;
    use sightline_core::progress::Silent;
    use sightline_core::{SampleKey, Seed};
    use sightline_models::{
        Decoding, Generate, Generated, Model, Prompt, Segment, Strategy, Visual, VisualSpec,
    };
    use sightline_preprocess::regions::{RegionParts, Regions};

    use super::super::vqa::Vqa;
    use super::super::{Ask, Task};
    use super::*;
    use crate::visuals::{Prepared, Preparer};

    /// Writes the text before it, what it was told about decoding, and a line more; nothing behind "silence".
    struct Echo(VisualSpec);

    impl Model for Echo {
        fn input(&self) -> &VisualSpec {
            &self.0
        }

        fn generate(&self) -> Option<&dyn Generate> {
            Some(self)
        }
    }

    impl Generate for Echo {
        fn decoding(&self) -> Decoding {
            Decoding {
                strategy: Strategy::Greedy,
                max_tokens: None,
            }
        }

        fn generate(
            &self,
            images: &Visual,
            prompts: &[Prompt<'_>],
            decoding: &Decoding,
        ) -> sightline_models::Result<Vec<Generated>> {
            assert_eq!(images.batch()?, prompts.len());
            let mut written = Vec::new();
            for (i, prompt) in prompts.iter().enumerate() {
                let [Segment::Image(image), Segment::Text(text)] = prompt.segments else {
                    panic!("{:?}", prompt.segments);
                };
                assert_eq!(*image, i);
                let most = decoding.max_tokens.unwrap_or(0);
                let text = format!("{text} {most}\nmore");
                written.extend((!text.contains("silence")).then_some(Generated {
                    text,
                    tokens: vec![1],
                    score: 0.0,
                }));
            }
            Ok(written)
        }
    }

    #[test]
    fn a_model_that_writes_is_asked_in_the_prompt_and_decodes_as_told() {
        let spec = VisualSpec::Regions {
            width: 1,
            regions: 2,
        };
        let model = Echo(spec);
        let preparer = Preparer::Regions { width: 1, most: 2 };
        let stop = AtomicBool::new(false);
        let forward = Forward {
            name: "echo",
            task: "vqa",
            dataset: "questions",
            model: &model,
            preparer: &preparer,
            device: &Device::Cpu,
            progress: &Silent,
            stop: &stop,
        };
        let setting = Setting {
            classes: &[],
            templates: &[],
            decoding: Some(Decoding {
                strategy: Strategy::Beam { width: 3 },
                max_tokens: Some(5),
            }),
            prompt: Vqa.prompt().to_owned(),
            seed: Seed(1),
            training: None,
            task: &sightline_manifest::PlannedTask::default(),
        };
        let way = Way::to(Vqa.needs(), &[Capability::Answer]).unwrap();
        let mut predictor = Vqa.predictor(forward, way, &setting).unwrap();
        let work = |key: &str, question: &str| Work {
            key: SampleKey::new(key).unwrap(),
            images: vec![Prepared::Regions(
                Regions::new(key, RegionParts::default()).unwrap(),
            )],
            files: Vec::new(),
            ask: Ask::text(question),
        };
        // As a GPU is asked: at once, unless one of them is told from the others.
        let writer = Writer::new(forward, &setting).unwrap();
        let together = |works: &[Work]| {
            let written = writer.write_together(works, &|work: &Work| work.ask.first())?;
            Ok::<_, crate::Error>(written.into_iter().map(|w| w.text).collect::<Vec<_>>())
        };
        let asked = [work("1", "What is it?"), work("2", "Where?")];
        let written =
            ["What is it?", "Where?"].map(|q| format!("Question: {q} Short answer: 5\nmore"));
        assert_eq!(together(&asked).unwrap(), written);
        assert!(together(&[work("1", "What is it?"), work("2", "silence")]).is_err());

        let works = vec![work("1", "What is it?"), work("2", "silence")];
        let outcomes = predictor.predict(works).unwrap();
        let written = "Question: What is it? Short answer: 5\nmore";
        assert_eq!(
            outcomes,
            [
                Outcome::Predicted(json!({ "answer": written })),
                Outcome::Failed("the model wrote nothing".to_owned()),
            ]
        );
    }
}
