//! Captioning and question answering behind demonstrations, in OpenFlamingo's prompts.
//!
//! | kind | a demonstration | the question |
//! | --- | --- | --- |
//! | `few-shot-caption` | `<image>Output:{first caption}` and the end of a shot | `<image>Output:` |
//! | `few-shot-vqa` | `<image>Question:{} Short answer:{first answer}` and the end of a shot | `<image>Question:{} Short answer:` |
//!
//! The end of a shot is the model's: `<|endofchunk|>` and a line's end for Flamingo, a line's end for others. Of 0 shots with
//! `texts = 2` the texts of two demonstrations stand there without their images, as Flamingo's "0-shot" prompts have it;
//! without `texts` nothing does. `prompt` stands in the place of `Output:` or of `Question:{} Short answer:`, for models that
//! have never read these words; `""` puts the answers behind their images and nothing between. What counts of an answer is cut as OpenFlamingo cuts it: a caption before the word
//! "Output", an answer before the first "Question", "Answer" or "Short", and then before the first ", ".
//!
//! Predictions are those of `caption` and `vqa`, uncut.

use serde_json::{Value, json};
use sightline_metrics::Observations;
use sightline_models::families::flamingo::prompts::{Demonstration, Template};
use sightline_models::{Capability, Way};

use super::caption::{self, Captions};
use super::decoding::{Writer, behind};
use super::vqa::Answers;
use super::{Ask, Observer, Predictor, Setting, Shot, Task, Verdict, Work};
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Forward, NOT_FINITE};
use crate::predictions::Outcome;
use crate::{Error, Result};

/// `few-shot-caption`.
pub(crate) static CAPTION: FewShot = FewShot {
    kind: "few-shot-caption",
    writes: Writes::Captions,
};

/// `few-shot-vqa`.
pub(crate) static VQA: FewShot = FewShot {
    kind: "few-shot-vqa",
    writes: Writes::Answers,
};

/// A task behind demonstrations.
pub(crate) struct FewShot {
    kind: &'static str,
    writes: Writes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Captions,
    Answers,
}

impl Writes {
    /// The name of the prompts, and of what is written in a prediction.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Captions => ("caption", "caption"),
            Self::Answers => ("vqa", "answer"),
        }
    }

    fn template(self) -> Result<&'static Template> {
        let (name, _) = self.names();
        Template::named(name).ok_or_else(|| Error::UnknownName {
            source: sightline_core::registry::UnknownName::among("prompt", name, []),
        })
    }

    /// The published prompts, with `prompt` between an image and its answer: its `{}` gives place to the question, or the
    /// question follows.
    fn asked(self, prompt: &str) -> Result<Template> {
        let query = match self {
            Self::Captions => prompt.to_owned(),
            Self::Answers => behind(prompt, "{text}"),
        };
        Ok(Template {
            query,
            ..self.template()?.clone()
        })
    }
}

impl Task for FewShot {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Answer]
    }

    fn forms(&self) -> &'static [&'static str] {
        match self.writes {
            Writes::Captions => caption::FORMS,
            Writes::Answers => &["vqa"],
        }
    }

    fn options(&self) -> &'static [&'static str] {
        &["decode", "demonstrations", "prompt"]
    }

    fn needs_options(&self) -> &'static [&'static str] {
        &["demonstrations"]
    }

    fn prompt(&self) -> &'static str {
        match self.writes {
            Writes::Captions => "Output:",
            Writes::Answers => "Question:{} Short answer:",
        }
    }

    fn demonstration(&self, content: &Content) -> Option<Shot> {
        let (text, answer) = match (self.writes, content) {
            (Writes::Captions, Content::Sample { captions, .. }) => ("", captions.first()?),
            (Writes::Answers, Content::Question { question, answers }) => {
                (question.as_str(), answers.first()?)
            }
            _ => return None,
        };
        Some(Shot {
            text: text.to_owned(),
            answer: answer.clone(),
        })
    }

    fn metrics(&self) -> &'static [&'static str] {
        match self.writes {
            Writes::Captions => caption::METRICS,
            Writes::Answers => &["vqa-official"],
        }
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        match self.writes {
            Writes::Captions => caption::MORE_METRICS,
            Writes::Answers => &["okvqa-stemmed", "vqa-classifier", "vqa-evalai"],
        }
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        match (self.writes, content) {
            (Writes::Captions, _) => Ok(Ask::text("")),
            (Writes::Answers, Content::Question { question, .. }) => Ok(Ask::text(question)),
            (Writes::Answers, _) => Err("no question"),
        }
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let writer = Writer::new(forward, setting)?;
        let end = writer.generate().end_of_shot();
        let shown = setting.task.demonstrations.as_ref();
        Ok(Box::new(Prompted {
            template: self.writes.asked(&setting.prompt)?.with_end(end),
            shots: shown.map_or(0, |shown| shown.shots as usize),
            writes: self.writes,
            writer,
        }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        let inner: Box<dyn Observer> = match self.writes {
            Writes::Captions => Box::new(Captions::default()),
            Writes::Answers => Box::new(Answers::default()),
        };
        Box::new(Cut {
            inner,
            writes: self.writes,
        })
    }
}

struct Prompted<'m> {
    writer: Writer<'m>,
    template: Template,
    shots: usize,
    writes: Writes,
}

impl Predictor for Prompted<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let this = &*self;
        this.writer.forward().each(&works, |work| {
            let shots = &work.ask.shots;
            if work.images.len() != this.shots + 1 || shots.len() < this.shots {
                let why = "not one image, or not one of each demonstration";
                return Ok(Err(Outcome::Failed(why.to_owned())));
            }
            let demonstrations: Vec<Demonstration<'_>> = (0..)
                .zip(shots)
                .map(|(image, shot)| Demonstration {
                    image,
                    text: &shot.text,
                    answer: &shot.answer,
                })
                .collect();
            let text = work.ask.first();
            let prompt = (this.template).few_shot(&demonstrations, this.shots, this.shots, text);
            let written = match this.writer.write_behind(work, &prompt.segments())? {
                Ok(written) if written.score.is_finite() => written,
                Ok(_) => return Ok(Err(Outcome::Failed(NOT_FINITE.to_owned()))),
                Err(outcome) => return Ok(Err(outcome)),
            };
            Ok(Ok(Outcome::Predicted(match this.writes {
                Writes::Captions => serde_json::to_value(caption::Written {
                    caption: written.text,
                    score: f64::from(written.score),
                    tokens: written.tokens.len(),
                })?,
                Writes::Answers => json!({ "answer": written.text }),
            })))
        })
    }
}

/// Hands on what counts of what was written.
struct Cut {
    inner: Box<dyn Observer>,
    writes: Writes,
}

impl Observer for Cut {
    fn add(&mut self, mut prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let (_, field) = self.writes.names();
        if let (Some(Value::String(text)), Ok(template)) =
            (prediction.get_mut(field), self.writes.template())
        {
            *text = template.cut(text);
        }
        self.inner.add(prediction, truth)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        self.inner.finish()
    }
}

#[cfg(test)]
mod tests {
    use sightline_metrics::registry;
    use sightline_models::Segment;

    use super::*;
    use crate::example::tests::example;

    #[test]
    fn answers_are_cut_before_they_are_scored() {
        let mut observer = VQA.observer(&Truth::default());
        let content = Content::Question {
            question: "What is it?".to_owned(),
            answers: vec!["a dog".to_owned(); 10],
        };
        let line = json!({"answer": " a dog, sitting Question: What"});
        observer.add(line, &example("1", content.clone())).unwrap();
        let observations = observer.finish().unwrap();
        let metric = registry::metric("vqa-official").unwrap();
        assert_eq!(
            metric.evaluate(&observations, None).unwrap().value,
            Some(1.0)
        );
        let shot = VQA.demonstration(&content).unwrap();
        assert_eq!(
            (shot.text.as_str(), shot.answer.as_str()),
            ("What is it?", "a dog")
        );
        assert_eq!(CAPTION.demonstration(&content), None);
    }

    #[test]
    fn a_prompt_stands_in_the_place_of_the_published_words() {
        for task in [&CAPTION, &VQA] {
            let published = task.writes.template().unwrap();
            assert_eq!(task.writes.asked(task.prompt()).unwrap(), *published);
        }
        for (prompt, query) in [("Q: {} A:", "Q: {text} A:"), ("", "{text}")] {
            assert_eq!(Writes::Answers.asked(prompt).unwrap().query, query);
        }
        let bare = Writes::Captions.asked("").unwrap().with_end("\n");
        let demonstration = Demonstration {
            image: 0,
            text: "",
            answer: "A red circle.",
        };
        let prompt = bare.few_shot(&[demonstration], 1, 1, "");
        let texts = prompt
            .segments()
            .into_iter()
            .filter_map(|segment| match segment {
                Segment::Text(text) => Some(text.to_owned()),
                Segment::Image(_) => None,
            });
        assert_eq!(texts.collect::<String>(), "A red circle.\n");
    }
}
