//! `sightline caption`: what a model writes about images.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use sightline_core::{Progress, Seed};
use sightline_models::{Capability, Generated};

use crate::command::decoding::{DecodingArgs, words};
use crate::command::exits;
use crate::command::inputs::Broken;
use crate::command::model::ModelArgs;
use crate::command::pictures::{Pictures, RegionArgs};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print, print_either};

/// Arguments of `sightline caption`.
#[derive(Debug, Args)]
pub(crate) struct CaptionArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Image files, folders of them, patterns, and shards (.tar); ids with `--regions`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Text that the caption continues, for models that take one
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,

    /// Images in a batch; changes speed and memory, never a caption
    #[arg(long, value_name = "N", default_value = "8")]
    batch_size: NonZeroUsize,

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
    decoding: String,
    seed: u64,
    captions: Vec<Written>,
    broken: Vec<Broken>,
}

#[derive(Debug, Serialize)]
struct Written {
    image: String,
    caption: String,
    /// How the decoding ranks it: usually the sum of the tokens' log-probabilities.
    score: f32,
    tokens: Vec<u32>,
}

impl Written {
    fn new(image: String, written: Generated) -> Self {
        Self {
            image,
            caption: written.text,
            score: written.score,
            tokens: written.tokens,
        }
    }
}

pub(crate) fn run(args: &CaptionArgs) -> Result<Exit, Failure> {
    let failed = |error| Failure::new(exits::direct(&error), "writing captions", &error);
    let model = args.model.open(&[Capability::Generate])?;
    let decoding = args.decoding.over(model.decoding().map_err(failed)?);
    let mut pictures = Pictures::open(&model, &args.images, &args.regions)?;
    let mut printed = Printed {
        schema: 1,
        model: &args.model.model,
        decoding: words(decoding.strategy),
        seed: args.model.seed,
        captions: Vec::new(),
        broken: Vec::new(),
    };
    let bar = Bar::default();
    bar.start("captions", None);
    let (size, seed) = (args.batch_size.get(), Seed(args.model.seed));
    while let Some(batch) = pictures.next_batch(&model, size, seed, &mut printed.broken)? {
        let prompt = args.prompt.as_deref();
        let written = model
            .generate(&batch.pictures, prompt, &batch.seeds, &decoding)
            .map_err(failed)?;
        bar.advance(written.len() as u64);
        for (image, written) in batch.names.into_iter().zip(written) {
            let caption = Written::new(image, written);
            if args.json {
                printed.captions.push(caption);
            } else {
                print(&format!("{}\t{}", caption.image, caption.caption))?;
            }
        }
    }
    bar.finish();
    let is_whole = printed.broken.is_empty();
    if args.json {
        print_either(true, &printed, String::new)?;
    }
    Ok(if is_whole { Exit::Done } else { Exit::No })
}
