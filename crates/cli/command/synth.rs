//! `sightline synth`: synthetic datasets.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sightline_core::Seed;
use sightline_synth::{ScenesSpec, Summary, write_scenes};

use crate::args::ImageFormatArg;
use crate::command::exits;
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// Kinds of synthetic data.
#[derive(Debug, Subcommand)]
pub(crate) enum SynthCommand {
    /// Coloured shapes in simple relations, with captions, questions, boxes and classes
    Scenes(ScenesArgs),
}

/// Arguments of `sightline synth scenes`.
#[derive(Debug, Args)]
pub(crate) struct ScenesArgs {
    /// Folder for the dataset
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Images of the training split
    #[arg(long, default_value_t = ScenesSpec::default().train, value_name = "N")]
    train: u32,

    /// Images of the validation split
    #[arg(long, default_value_t = ScenesSpec::default().val, value_name = "N")]
    val: u32,

    /// Images of the test split
    #[arg(long, default_value_t = ScenesSpec::default().test, value_name = "N")]
    test: u32,

    /// Width and height of the images in pixels
    #[arg(long, default_value_t = ScenesSpec::default().size, value_name = "PIXELS")]
    size: u32,

    /// Most shapes in a scene
    #[arg(long, default_value_t = ScenesSpec::default().max_objects, value_name = "N")]
    max_objects: u32,

    /// The same seed gives the same bytes
    #[arg(long, default_value_t = ScenesSpec::default().seed.0, value_name = "N")]
    seed: u64,

    /// Format of the images
    #[arg(long, value_enum, default_value = "jpg")]
    image_format: ImageFormatArg,

    /// Where the images will be served; the URL tables name it
    #[arg(long, default_value_t = ScenesSpec::default().base_url, value_name = "URL")]
    base_url: String,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &SynthCommand) -> Result<Exit, Failure> {
    let SynthCommand::Scenes(args) = command;
    let spec = ScenesSpec {
        train: args.train,
        val: args.val,
        test: args.test,
        size: args.size,
        seed: Seed(args.seed),
        format: args.image_format.into(),
        base_url: args.base_url.clone(),
        max_objects: args.max_objects,
    };
    let summary = write_scenes(&spec, &args.out, &Bar::default()).map_err(|error| {
        let doing = format!("making scenes in `{}`", args.out.display());
        Failure::new(exits::synth(&error), doing, &error)
    })?;
    print_either(args.json, &summary, || text(&summary, args))?;
    Ok(Exit::Done)
}

fn text(summary: &Summary, args: &ScenesArgs) -> String {
    let what = if summary.unchanged {
        "already complete, left as it is"
    } else {
        "written"
    };
    format!(
        "{}: {} images, {} files, {} bytes, {what}",
        args.out.display(),
        args.train as u64 + args.val as u64 + args.test as u64,
        summary.files,
        summary.bytes,
    )
}
