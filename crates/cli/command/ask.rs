//! `sightline ask`: a model's answer to a question about an image.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sightline_core::Seed;
use sightline_harness::direct::{ANSWERS, Answer, Ask, CHOICES};

use crate::command::decoding::DecodingArgs;
use crate::command::exits;
use crate::command::model::ModelArgs;
use crate::command::pictures::{Pictures, RegionArgs};
use crate::exit::{Exit, Failure};
use crate::output::{note, print_either};

/// Most images that a question can be about.
const MOST_IMAGES: usize = 64;

/// Arguments of `sightline ask`.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Image file, or id with `--regions`; two for models that compare a pair
    #[arg(required = true, num_args = 1.., value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Question, or a statement that is true or false
    #[arg(required = true, value_name = "QUESTION")]
    question: String,

    /// Answers among which the model chooses; one that embeds, or tells how likely texts are, ranks them too
    #[arg(long, num_args = 1.., value_name = "ANSWER")]
    candidates: Vec<String>,

    /// Show so many answers of a model that chooses
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,

    /// Print as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    decoding: DecodingArgs,

    #[command(flatten)]
    regions: RegionArgs,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    model: &'a str,
    images: Vec<String>,
    question: &'a str,
    answers: Vec<Shown>,
    /// By which rule candidates were ranked, where the model has no way of its own to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Shown {
    answer: String,
    /// Of the probability of all answers; `null` where the model wrote the answer.
    share: Option<f32>,
}

impl From<Answer> for Shown {
    fn from(answer: Answer) -> Self {
        Self {
            answer: answer.text,
            share: answer.share,
        }
    }
}

pub(crate) fn run(args: &AskArgs) -> Result<Exit, Failure> {
    let failed = |error| Failure::new(exits::direct(&error), "asking the model", &error);
    let wanted = if args.candidates.is_empty() {
        ANSWERS
    } else {
        CHOICES
    };
    let model = args.model.open(wanted)?;
    let mut pictures = Pictures::open(&model, &args.images, &args.regions)?;
    let (seed, mut broken) = (Seed(args.model.seed), Vec::new());
    let batch = pictures.next_batch(&model, MOST_IMAGES, seed, &mut broken)?;
    // What is broken was told.
    let (true, Some(batch)) = (broken.is_empty(), batch) else {
        return Ok(Exit::No);
    };
    let decoding = if args.decoding.is_default() {
        None
    } else {
        Some(args.decoding.over(model.decoding().map_err(failed)?))
    };
    let ask = Ask {
        question: &args.question,
        candidates: &args.candidates,
        decoding,
        seed: batch.seeds.first().copied().unwrap_or(seed),
    };
    let answers = model.answer(&batch.pictures, &ask).map_err(failed)?;
    let printed = Printed {
        schema: 1,
        model: &args.model.model,
        images: batch.names,
        question: &args.question,
        rule: answers.rule.map(|rule| rule.words),
        answers: answers
            .answers
            .into_iter()
            .take(args.top)
            .map(Shown::from)
            .collect(),
    };
    if let Some(rule) = printed.rule {
        note(&format!("ranked by a rule: {rule}"));
    }
    print_either(args.json, &printed, || text(&printed.answers))?;
    Ok(Exit::Done)
}

/// An answer a line, with its share where it has one.
fn text(answers: &[Shown]) -> String {
    let line = |shown: &Shown| match shown.share {
        Some(share) => format!("{share:.4}  {}", shown.answer),
        None => shown.answer.clone(),
    };
    answers.iter().map(line).collect::<Vec<_>>().join("\n")
}
