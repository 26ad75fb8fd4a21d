//! `sightline shards filter`.

use std::fmt::Write as _;

use clap::Args;
use sightline_dataset::filter;
use sightline_dataset::filter::Reason;

use super::ShardsArgs;
use super::condition::ScoresArgs;
use super::locate::{Located, locate};
use super::subset::{SubsetArgs, kept};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use crate::stores::shown;

/// Arguments of `sightline shards filter`.
#[derive(Debug, Args)]
#[command(after_help = "\
A condition: width >= 256 and clip_score > 0.28 and not caption matches '(?i)stock photo'
Columns are metadata, tables of scores, and key, width, height, bytes, format, caption, caption_length,
captions, shard. Operators: + - * / %, = != < <= > >=, in, between, like, ilike, matches, is null, not, and,
or. Functions: len, words, lower, upper, contains, starts_with, ends_with, abs, min, max, coalesce. A sample
stays where the condition is true; a missing value makes a comparison null, which is not true.")]
pub(crate) struct FilterArgs {
    #[command(flatten)]
    shards: ShardsArgs,

    /// The condition on the samples that stay
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    condition: String,

    #[command(flatten)]
    scores: ScoresArgs,

    #[command(flatten)]
    subset: SubsetArgs,

    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FilterArgs) -> Result<Exit, Failure> {
    let doing = || format!("filtering shards of `{}`", shown(&args.shards.shards));
    let Located { folder, names } = locate(&args.shards)?;
    let output = args.subset.output(&folder, &doing())?;
    let spec = args.scores.spec(&args.condition)?;
    let filtered = filter(&folder, &names, &spec, &output, &Bar::default())
        .map_err(|error| Failure::new(exits::dataset(&error), doing(), &error))?;
    print_either(args.json, &filtered, || {
        let mut text = kept(&filtered.subset, &output);
        for reason in &filtered.reasons {
            let _ = write!(text, "\n{}", fell_out(reason));
        }
        text
    })?;
    for (path, without) in args.scores.scores.iter().zip(&filtered.without_scores) {
        if *without > 0 {
            note(&format!(
                "`{}` has no scores of {without} of {} samples",
                path.display(),
                filtered.subset.read
            ));
        }
    }
    Ok(Exit::Done)
}

/// How many samples fell out at a condition, in words.
fn fell_out(reason: &Reason) -> String {
    let Reason {
        condition,
        is_false,
        is_null,
        is_other,
    } = reason;
    let mut text = format!(
        "  {} fell out at {condition}",
        is_false + is_null + is_other
    );
    let more: Vec<String> = [
        (*is_null, "a value is missing"),
        (*is_other, "a value is of another kind"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, why)| format!("{n} because {why}"))
    .collect();
    if !more.is_empty() {
        let _ = write!(text, " ({})", more.join(", "));
    }
    text
}
