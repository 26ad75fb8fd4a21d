//! Episodes of fast concept binding (Tsimpoukelli et al. 2021, section 4.3): a model is shown images with their names, and
//! names another one. Open-Ended miniImageNet and Fast-VQA, and with names as they are Real-Name miniImageNet and
//! Guided-VQA.
//!
//! How many names ("ways") and images of each ("inner shots") there are is the dataset's; `repeats` says how often the
//! images are shown again behind the first time, and `prompt` what stands before all ("task induction", for example
//! `Answer with dax or blicket.`): both are in the name of the task, or should be. Behind each text stands the model's end
//! of a shot.
//!
//! What is written ends with its line; it is right if it is the answer, case and punctuation around it not counted. A
//! prediction holds it whole:
//!
//! ```json
//! {"answer":" dax.\n"}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::exact_match::Exactness;
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Segment, Way};

use super::decoding::Writer;
use super::exact::word;
use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::Forward;
use crate::predictions::Outcome;

/// Episodes.
pub(crate) struct Episodes;

impl Task for Episodes {
    fn kind(&self) -> &'static str {
        "episodes"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Answer]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["open-ended"]
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "prompt", "repeats"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["exact-match"]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        let Content::Episode {
            texts, question, ..
        } = content
        else {
            return Err("no episode");
        };
        let texts = texts.iter().chain([question]);
        Ok(Ask {
            texts: texts.cloned().collect(),
            ..Ask::default()
        })
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        Ok(Box::new(Player {
            writer: Writer::new(forward, setting)?,
            repeats: setting.task.repeats.unwrap_or(0) as usize,
            induction: setting.prompt.clone(),
        }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Exact::default())
    }
}

struct Player<'m> {
    writer: Writer<'m>,
    repeats: usize,
    induction: String,
}

impl Predictor for Player<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let this = &*self;
        let end = this.writer.generate().end_of_shot();
        this.writer.forward().each(&works, |work| {
            let [texts @ .., question] = &work.ask.texts[..] else {
                return Ok(Err(Outcome::Failed("no question".to_owned())));
            };
            if work.images.len() != texts.len() + 1 {
                let why = "not one image for each text";
                return Ok(Err(Outcome::Failed(why.to_owned())));
            }
            let ended = |text: &str| format!("{text}{end}");
            let induction = ended(&this.induction);
            let texts: Vec<String> = texts.iter().map(|text| ended(text)).collect();
            let induction = (!this.induction.is_empty()).then_some(induction.as_str());
            let segments = segments(induction, &texts, this.repeats, question);
            Ok(match this.writer.write_behind(work, &segments)? {
                Ok(written) => {
                    let answer = written.text;
                    Ok(Outcome::Predicted(serde_json::to_value(Answer { answer })?))
                }
                Err(outcome) => Err(outcome),
            })
        })
    }
}

/// What stands before the model: the induction, the images with their texts, again as often as `repeats` says, and the last
/// image with the question.
fn segments<'t>(
    induction: Option<&'t str>,
    texts: &'t [String],
    repeats: usize,
    question: &'t str,
) -> Vec<Segment<'t>> {
    let mut segments: Vec<Segment<'t>> = induction.into_iter().map(Segment::Text).collect();
    for _ in 0..=repeats {
        for (image, text) in texts.iter().enumerate() {
            segments.extend([Segment::Image(image), Segment::Text(text)]);
        }
    }
    segments.push(Segment::Image(texts.len()));
    if !question.is_empty() {
        segments.push(Segment::Text(question));
    }
    segments
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Answer {
    answer: String,
}

/// Whether answers are right.
#[derive(Default)]
struct Exact(Vec<Exactness>);

impl Observer for Exact {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Answer { answer } = serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Episode { answer: right, .. } = &truth.content else {
            return Ok(Verdict::Skipped("no right answer"));
        };
        self.0.push(Exactness(word(&answer) == word(right)));
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::Exact, self.0);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::tests::example;

    #[test]
    fn examples_stand_before_the_question_as_often_as_told() {
        let texts = ["a\n".to_owned(), "b\n".to_owned()];
        let (image, text) = (Segment::Image, Segment::Text);
        let once = [image(0), text("a\n"), image(1), text("b\n")];
        let question = [image(2), text("This is a")];
        assert_eq!(
            segments(None, &texts, 0, "This is a"),
            [&once[..], &question].concat()
        );
        let all = [&[text("Go.\n")][..], &once, &once, &question].concat();
        assert_eq!(segments(Some("Go.\n"), &texts, 1, "This is a"), all);
        assert_eq!(segments(None, &[], 0, ""), [image(0)]);
    }

    #[test]
    fn the_first_line_is_the_answer() {
        let mut observer = Episodes.observer(&Truth::default());
        let content = Content::Episode {
            texts: vec!["This is a dax.".to_owned(), "This is a blicket.".to_owned()],
            question: "This is a".to_owned(),
            answer: "dax".to_owned(),
        };
        let truth = example("1", content.clone());
        for answer in [" dax.\nThis is a blicket.", "blicket", "dax or blicket"] {
            let verdict = observer.add(json!({ "answer": answer }), &truth).unwrap();
            assert_eq!(verdict, Verdict::Scored);
        }
        assert!(observer.add(json!({"answer": 1}), &truth).is_err());
        let observations = observer.finish().unwrap();
        let metric = registry::metric("exact-match").unwrap();
        let value = metric.evaluate(&observations, None).unwrap().value.unwrap();
        assert!((value - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(Episodes.ask(&content).unwrap().texts.len(), 3);
    }
}
