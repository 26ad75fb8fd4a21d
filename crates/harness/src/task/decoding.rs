//! How texts are written: what a suite says, else what the family's published program does.

use std::sync::atomic::Ordering;

use sightline_manifest::PlannedDecode;
use sightline_models::{Decoding, Generate, Generated, Prompt, Segment, Strategy};

use super::{Setting, Work};
use crate::forward::{Answer, Forward};
use crate::halves::in_halves;
use crate::predictions::Outcome;
use crate::visuals::Prepared;
use crate::{Error, Result};

/// The decoding that `planned` asks for.
pub(crate) fn of(planned: Option<&PlannedDecode>, generate: &dyn Generate) -> Decoding {
    let own = generate.decoding();
    let Some(planned) = planned else {
        return own;
    };
    let strategy = match (planned.strategy.as_str(), planned.width, planned.p) {
        ("greedy", ..) => Strategy::Greedy,
        ("beam", Some(width), _) => Strategy::Beam {
            width: width as usize,
        },
        ("nucleus", _, Some(p)) => Strategy::Nucleus { p: p as f32 },
        ("contrastive", ..) => contrastive(planned).unwrap_or(own.strategy),
        // A plan has no others.
        _ => own.strategy,
    };
    Decoding {
        strategy,
        max_tokens: planned.max_tokens.map(|most| most as usize),
    }
}

fn contrastive(planned: &PlannedDecode) -> Option<Strategy> {
    Some(Strategy::Contrastive {
        candidates: planned.candidates? as usize,
        penalty: planned.penalty? as f32,
        judgement: planned.judgement? as f32,
    })
}

/// The decoding in words, for records.
pub(crate) fn words(decoding: &Decoding) -> String {
    let strategy = match decoding.strategy {
        Strategy::Greedy => "greedy".to_owned(),
        Strategy::Beam { width } => format!("beam of width {width}"),
        Strategy::Nucleus { p } => format!("nucleus of {p}"),
        Strategy::Contrastive {
            candidates,
            penalty,
            judgement,
        } => format!(
            "contrastive search among {candidates}, penalty {penalty}, judgement {judgement}"
        ),
        other => format!("{other:?}"),
    };
    match decoding.max_tokens {
        Some(most) => format!("{strategy}, at most {most} tokens"),
        None => format!("{strategy}, as many tokens as the family's program"),
    }
}

/// A model that writes, at a task.
pub(crate) struct Writer<'m> {
    forward: Forward<'m>,
    generate: &'m dyn Generate,
    decoding: Decoding,
    setting: Seeds,
}

/// What is drawn from, and what stands before the model.
struct Seeds {
    prompt: String,
    seed: sightline_core::Seed,
}

impl<'m> Writer<'m> {
    pub(crate) fn new(forward: Forward<'m>, setting: &Setting<'_>) -> Result<Self> {
        let generate = forward.model.generate();
        let generate = forward.found(generate, sightline_models::Capability::Generate)?;
        Ok(Self {
            forward,
            generate,
            decoding: setting.decoding.unwrap_or_else(|| generate.decoding()),
            setting: Seeds {
                prompt: setting.prompt.clone(),
                seed: setting.seed,
            },
        })
    }

    /// The model, for asking about many examples.
    pub(crate) fn forward(&self) -> Forward<'m> {
        self.forward
    }

    /// What the model writes.
    pub(crate) fn generate(&self) -> &'m dyn Generate {
        self.generate
    }

    /// What the model writes behind `segments`, which name images of `work` by their numbers.
    pub(crate) fn write_behind(
        &self,
        work: &Work,
        segments: &[Segment<'_>],
    ) -> Result<std::result::Result<Generated, Outcome>> {
        let images: Vec<&Prepared> = work.images.iter().collect();
        let images = self.forward.visual(&images)?;
        let prompt = Prompt {
            segments,
            seed: self.setting.seed.child(work.key.as_str(), 0),
        };
        let said = self.generate.generate(&images, &[prompt], &self.decoding);
        let written = self.forward.said(said)?;
        Ok(written.and_then(|mut texts| {
            let nothing = || Outcome::Failed("the model wrote nothing".to_owned());
            texts.pop().ok_or_else(nothing)
        }))
    }

    /// What the model writes about the one image of `work` behind the prompt, whose mark gives place to `text`, or which
    /// `text` follows.
    pub(crate) fn write(
        &self,
        work: &Work,
        text: &str,
    ) -> Result<std::result::Result<Generated, Outcome>> {
        if work.images.len() != 1 {
            return Ok(Err(Outcome::Failed("not one image".to_owned())));
        }
        let asked = behind(&self.setting.prompt, text);
        self.write_behind(work, &segments(0, &asked))
    }

    /// What is told of what [the model writes](Self::write) about each of `works`, with the text that `text` names.
    ///
    /// On the CPU it is asked about one after the other, and what it writes is the same in any batch. A GPU is
    /// asked about all of them at once: alone, a step of its would hardly be work.
    pub(crate) fn write_each(
        &self,
        works: &[Work],
        text: impl Fn(&Work) -> &str + Sync,
        told: impl Fn(Generated) -> Result<Answer> + Sync,
    ) -> Result<Vec<Outcome>> {
        if !self.forward.device.is_cpu() && works.iter().all(|work| work.images.len() == 1) {
            let together = in_halves(works, &Error::is_out_of_memory, &|works| {
                self.write_together(works, &text)
            });
            // What is wrong with one alone is found by asking about each.
            if let Ok(written) = together {
                let outcome = |written| Ok(told(written)?.unwrap_or_else(|outcome| outcome));
                return written.into_iter().map(outcome).collect();
            }
        }
        self.forward
            .each(works, |work| match self.write(work, text(work))? {
                Ok(written) => told(written),
                Err(outcome) => Ok(Err(outcome)),
            })
    }

    /// What the model writes about the first image of each of `works`, at once.
    pub(super) fn write_together(
        &self,
        works: &[Work],
        text: &impl Fn(&Work) -> &str,
    ) -> Result<Vec<Generated>> {
        if self.forward.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let images: Vec<&Prepared> = works
            .iter()
            .filter_map(|work| work.images.first())
            .collect();
        let images = self.forward.visual(&images)?;
        let asked: Vec<String> = works
            .iter()
            .map(|work| behind(&self.setting.prompt, text(work)))
            .collect();
        let segments: Vec<Vec<Segment<'_>>> = asked
            .iter()
            .enumerate()
            .map(|(image, asked)| segments(image, asked))
            .collect();
        let prompts: Vec<Prompt<'_>> = works
            .iter()
            .zip(&segments)
            .map(|(work, segments)| Prompt {
                segments,
                seed: self.setting.seed.child(work.key.as_str(), 0),
            })
            .collect();
        let written = self.generate.generate(&images, &prompts, &self.decoding);
        let written = written.map_err(|source| self.forward.broken(source))?;
        if written.len() == works.len() {
            Ok(written)
        } else {
            Err(Error::Output {
                model: self.forward.name.to_owned(),
                found: vec![written.len()],
                expected: vec![works.len()],
            })
        }
    }
}

/// An image and what is asked about it, if anything is.
fn segments(image: usize, asked: &str) -> Vec<Segment<'_>> {
    let text = Some(Segment::Text(asked)).filter(|_| !asked.is_empty());
    std::iter::once(Segment::Image(image)).chain(text).collect()
}

/// The place of a question in a prompt.
const MARK: &str = "{}";

/// The prompt with `text` at its mark, or behind it.
pub(super) fn behind(prompt: &str, text: &str) -> String {
    if prompt.contains(MARK) {
        return prompt.replace(MARK, text);
    }
    let both = format!("{prompt} {text}");
    both.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_its_place_or_follows() {
        assert_eq!(
            behind("Question: {} Answer:", "why?"),
            "Question: why? Answer:"
        );
        assert_eq!(behind("Say:", "why?"), "Say: why?");
        assert_eq!(behind("", "why?"), "why?");
        assert_eq!(behind("A photo of", ""), "A photo of");
        assert_eq!(behind("", ""), "");
    }

    #[test]
    fn decodings_are_told_in_words() {
        let beam = Decoding {
            strategy: Strategy::Beam { width: 5 },
            max_tokens: Some(20),
        };
        assert_eq!(words(&beam), "beam of width 5, at most 20 tokens");
        let nucleus = Decoding {
            strategy: Strategy::Nucleus { p: 0.9 },
            max_tokens: None,
        };
        assert_eq!(
            words(&nucleus),
            "nucleus of 0.9, as many tokens as the family's program"
        );
    }
}
