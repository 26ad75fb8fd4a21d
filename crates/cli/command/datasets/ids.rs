//! `sightline datasets ids`: a list of keys drawn from a dataset, for training and testing on few examples.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{ArgGroup, Args};
use serde::Serialize;
use sightline_core::{Digest, Seed};
use sightline_harness::catalog;
use sightline_harness::prepare::{Amount, Preparing};
use sightline_manifest::{Roots, load_dataset};
use sightline_store::write_atomic;

use super::{SCHEMA, card, failed};
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// Arguments of `sightline datasets ids`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("amount").required(true).args(["share", "count"]))]
pub(crate) struct IdsArgs {
    /// Name of the dataset
    name: String,

    /// So large a share of its examples, for example 0.5%
    #[arg(long, value_name = "PERCENT%", value_parser = parse_share)]
    share: Option<f64>,

    /// So many of its examples
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// The same seed draws the same keys, and those of a smaller share are among those of a larger one
    #[arg(long, value_name = "N", default_value_t = 17)]
    seed: u64,

    /// File for the list, which `ids` of a dataset's manifest names
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Replace a file that is there
    #[arg(long)]
    force: bool,

    /// Folder below which the dataset's files are
    #[arg(long, default_value = ".", value_name = "DIR")]
    data: PathBuf,

    /// Folder of the manifests
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed {
    schema: u32,
    dataset: String,
    keys: u64,
    of: u64,
    seed: u64,
    sha256: Digest,
}

pub(super) fn run(args: &IdsArgs) -> Result<Exit, Failure> {
    let doing = || format!("drawing keys of `{}`", args.name);
    if args.out.exists() && !args.force {
        let cause = format!("`{}` is there already", args.out.display());
        return Err(Failure::usage(doing(), cause)
            .with_hint("Name another file, or replace this one with --force."));
    }
    let card = card(&args.manifests, &args.name)?;
    let dataset = load_dataset(&args.manifests, &args.name, &catalog())
        .map_err(|error| failed(&args.manifests, &error))?;
    let roots = Roots {
        data: args.data.clone(),
        manifests: args.manifests.clone(),
        ..Roots::default()
    };
    let preparing = Preparing {
        card: &card,
        dataset: &dataset,
        roots: &roots,
        from: None,
        stores: None,
        progress: &Bar::default(),
        stop: &AtomicBool::new(false),
    };
    let (amount, asked) = match (args.share, args.count) {
        (Some(share), _) => (Amount::Share(share), format!("--share {}%", share * 100.0)),
        (None, count) => {
            let count = count.unwrap_or(1);
            (Amount::Count(count), format!("--count {count}"))
        }
    };
    let drawn = preparing
        .draw(amount, Seed(args.seed))
        .map_err(|error| Failure::new(exits::harness(&error), doing(), &error))?;
    if drawn.keys.is_empty() {
        let cause = format!(
            "`{}` has no examples below `{}`",
            args.name,
            args.data.display()
        );
        return Err(Failure::usage(doing(), cause)
            .with_hint("`sightline datasets prepare` gets the dataset's files."));
    }
    let (count, of) = (drawn.keys.len() as u64, drawn.of);
    let text = drawn.text(&format!(
        "{count} of {of} keys of {}, drawn by\nsightline datasets ids {} {asked} --seed {}",
        args.name, args.name, args.seed
    ));
    write_atomic(&args.out, text.as_bytes()).map_err(|error| {
        let doing = format!("writing `{}`", args.out.display());
        Failure::new(exits::store(&error), doing, &error)
    })?;
    let printed = Printed {
        schema: SCHEMA,
        dataset: args.name.clone(),
        keys: count,
        of,
        seed: args.seed,
        sha256: Digest::of(text.as_bytes()),
    };
    print_either(args.json, &printed, || {
        format!(
            "{}: {count} of {of} keys, SHA-256 {}",
            args.out.display(),
            printed.sha256
        )
    })?;
    Ok(Exit::Done)
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text
        .strip_suffix('%')
        .and_then(|text| text.trim().parse::<f64>().ok());
    match share {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("expected a share above 0% and at most 100%, for example 0.5%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_percent_and_say_so() {
        assert_eq!(parse_share("50%"), Ok(0.5));
        assert_eq!(parse_share("100 %"), Ok(1.0));
        for text in ["0.5", "0%", "101%", "%", "NaN%"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }
}
