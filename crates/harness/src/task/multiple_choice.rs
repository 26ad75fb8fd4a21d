//! Multiple choice by likelihood: the candidate that a model finds the likeliest behind the question.
//!
//! The likelihood of a candidate is taken from the tokens that the question with the candidate has more than the question
//! alone, the end among them: their `sum`, the `mean` of them, or the sum by `byte` of the candidate, as the task's
//! `likelihood` says; without it the sum, as OpenFlamingo classifies. (Where a tokenizer joins the last word of the question
//! and the first of the candidate into one token, that token is the question's.)
//!
//! A prediction holds the likelihood of each candidate. The first of equal ones is taken, and counted as a tie.
//!
//! ```json
//! {"likelihoods":[-3.5,-1.25]}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_metrics::recall_per_class::Label;
use sightline_metrics::{Input, Observations, Rank};
use sightline_models::{Capability, Score, Way};

use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Choice, Content, Example, Truth};
use crate::forward::{Answer, Forward, NOT_FINITE};
use crate::predictions::Outcome;

/// Multiple choice by likelihood.
pub(crate) struct MultipleChoice;

impl Task for MultipleChoice {
    fn kind(&self) -> &'static str {
        "multiple-choice"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Score]
    }

    fn forms(&self) -> &'static [&'static str] {
        &["choices", "valse", "vcr"]
    }

    fn options(&self) -> &'static [&'static str] {
        &["likelihood", "prompt"]
    }

    /// As the question is.
    fn prompt(&self) -> &'static str {
        "{}"
    }

    fn metrics(&self) -> &'static [&'static str] {
        &["accuracy@1"]
    }

    fn more_metrics(&self) -> &'static [&'static str] {
        &["mean-per-class-recall"]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        let Content::Choices { choices, .. } = content else {
            return Err("no candidates");
        };
        // Of VCR the answer; its rationales need a choice that was made.
        let first = choices
            .first()
            .filter(|choice| !choice.candidates.is_empty());
        let choices = vec![first.ok_or("no candidates")?.clone()];
        Ok(Ask {
            choices,
            ..Ask::default()
        })
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        setting: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        let score = forward.found(forward.model.score(), Capability::Score)?;
        let likelihood = match setting.task.likelihood.as_deref() {
            Some("mean") => Likelihood::Mean,
            Some("byte") => Likelihood::Byte,
            _ => Likelihood::Sum,
        };
        Ok(Box::new(Judge {
            forward,
            score,
            likelihood,
            prompt: setting.prompt.clone(),
        }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Ranks::default())
    }
}

/// How the likelihood of a candidate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Likelihood {
    Sum,
    Mean,
    Byte,
}

impl Likelihood {
    /// That of a candidate of so many bytes, whose tokens have these log-probabilities.
    fn of(self, tokens: &[f32], bytes: usize) -> f64 {
        let sum: f64 = tokens.iter().map(|&value| f64::from(value)).sum();
        match self {
            Self::Sum => sum,
            Self::Mean => sum / tokens.len().max(1) as f64,
            Self::Byte => sum / bytes.max(1) as f64,
        }
    }
}

struct Judge<'m> {
    forward: Forward<'m>,
    score: &'m dyn Score,
    likelihood: Likelihood,
    prompt: String,
}

impl Predictor for Judge<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        self.forward.each(&works, |work| self.judge(work))
    }
}

impl Judge<'_> {
    fn judge(&self, work: &Work) -> Result<Answer> {
        let ([image], [choice]) = (&work.images[..], &work.ask.choices[..]) else {
            return Ok(Err(Outcome::Failed("not one image".to_owned())));
        };
        let question = self.question(choice);
        let behind = |candidate: &str| match question.as_str() {
            "" => candidate.to_owned(),
            question => format!("{question} {candidate}"),
        };
        let candidates = choice.candidates.iter().map(|text| text.text.trim());
        let candidates: Vec<&str> = candidates.collect();
        let mut texts: Vec<String> = candidates.iter().map(|text| behind(text)).collect();
        if !question.is_empty() {
            texts.push(question.clone());
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let visual = self.forward.visual(&vec![image; texts.len()])?;
        let tokens = match self.forward.said(self.score.score(&visual, &texts))? {
            Ok(tokens) => tokens,
            Err(outcome) => return Ok(Err(outcome)),
        };
        // The end of the question alone is not there where a candidate follows.
        let before = match tokens.get(candidates.len()) {
            Some(question) => question.len().saturating_sub(1),
            None => 0,
        };
        let likelihoods: Vec<f64> = candidates
            .iter()
            .zip(&tokens)
            .map(|(text, tokens)| {
                let own = tokens.get(before..).unwrap_or_default();
                self.likelihood.of(own, text.len())
            })
            .collect();
        if likelihoods.iter().any(|value| !value.is_finite()) {
            return Ok(Err(Outcome::Failed(NOT_FINITE.to_owned())));
        }
        Ok(Ok(Outcome::Predicted(serde_json::to_value(Judged {
            likelihoods,
        })?)))
    }

    fn question(&self, choice: &Choice) -> String {
        let question = choice.question.text.trim();
        self.prompt.replace("{}", question).trim().to_owned()
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Judged {
    likelihoods: Vec<f64>,
}

#[derive(Default)]
struct Ranks {
    of_candidates: Vec<Rank>,
    labels: Vec<Label>,
}

impl Observer for Ranks {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let Judged { likelihoods } =
            serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let Content::Choices { choices, right } = &truth.content else {
            return Ok(Verdict::Skipped("no right candidate"));
        };
        let expected = choices.first().map_or(0, |choice| choice.candidates.len());
        if likelihoods.len() != expected {
            return Err(LineProblem::Value {
                what: "the number of likelihoods",
                found: likelihoods.len().to_string(),
                expected: expected.to_string(),
            });
        }
        let right = right.first().copied().flatten();
        let Some((right, rank)) =
            right.and_then(|right| Some((right, Rank::of(&likelihoods, &[right])?)))
        else {
            return Ok(Verdict::Skipped("no right candidate"));
        };
        let best = (0..)
            .zip(&likelihoods)
            .reduce(|best, next| if next.1 > best.1 { next } else { best });
        self.of_candidates.push(rank);
        self.labels.push(Label {
            truth: right as u32,
            chosen: best.map(|(number, _)| number),
        });
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let mut observations = Observations::default();
        observations.set(Input::ClassRank, self.of_candidates);
        observations.set(Input::Label, self.labels);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;
    use crate::example::Tagged;
    use crate::example::tests::example;

    #[test]
    fn likelihoods_are_sums_means_or_by_byte() {
        let tokens = [-1.0f32, -2.0, -3.0];
        for (likelihood, expected) in [
            (Likelihood::Sum, -6.0),
            (Likelihood::Mean, -2.0),
            (Likelihood::Byte, -0.5),
        ] {
            let found = likelihood.of(&tokens, 12);
            assert!((found - expected).abs() < 1e-12, "{likelihood:?}: {found}");
            assert!(likelihood.of(&[], 0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_likeliest_candidate_is_right_or_wrong() {
        let choice = Choice {
            candidates: vec![Tagged::default(); 3],
            ..Choice::default()
        };
        let content = Content::Choices {
            choices: vec![choice],
            right: vec![Some(1)],
        };
        let truth = example("a", content);
        let mut observer = MultipleChoice.observer(&Truth::default());
        for likelihoods in [json!([-3.0, -1.0, -2.0]), json!([-1.0, -2.0, -2.0])] {
            let line = json!({ "likelihoods": likelihoods });
            assert_eq!(observer.add(line, &truth).unwrap(), Verdict::Scored);
        }
        assert!(
            observer
                .add(json!({"likelihoods": [-1.0]}), &truth)
                .is_err()
        );
        let observations = observer.finish().unwrap();
        let accuracy = registry::metric("accuracy@1").unwrap();
        assert_eq!(
            accuracy.evaluate(&observations, None).unwrap().value,
            Some(0.5)
        );
    }
}
