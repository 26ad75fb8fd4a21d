//! `sightline models asif`: anchors made, added, deleted and asked.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use sightline_core::{Progress, Seed};
use sightline_models::families::asif::{
    self, Anchors, Asif, AsifConfig, Precision, Relative, Side, VectorFile,
};
use sightline_models::{Error, Model, ModelSpec, VisualSpec};
use sightline_preprocess::{Limits, PrepareError, Preprocessor};

use crate::command::exits;
use crate::command::inputs::{Broken, Inputs};
use crate::command::model::{DeviceArg, TokenizerArg};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// What to do with the anchors of an ASIF model.
#[derive(Debug, Subcommand)]
pub(crate) enum AsifCommand {
    /// Make a model of vectors of images and of texts that belong together
    Build(BuildArgs),
    /// Add pairs to a model; they get the next numbers
    Add(AddArgs),
    /// Take anchors out of a model, by their numbers
    Delete(DeleteArgs),
    /// Rank texts for images, and say which anchors made it so
    Query(QueryArgs),
}

/// Pairs, as vectors.
#[derive(Debug, Args)]
struct PairArgs {
    /// Vectors of the images: .npy or .safetensors of `sightline embed`
    #[arg(long, value_name = "FILE")]
    images: PathBuf,

    /// Vectors of the texts, row by row those of the images
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,

    /// How values are kept; fewer bits take less memory and round
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f16")]
    precision: PrecisionArg,
}

/// How values of anchors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PrecisionArg {
    /// 4 bytes
    F32,
    /// 2 bytes
    F16,
    /// 1 byte, and 4 for each vector
    Int8,
}

impl From<PrecisionArg> for Precision {
    fn from(precision: PrecisionArg) -> Self {
        match precision {
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::F16 => Self::F16,
            PrecisionArg::Int8 => Self::Int8,
        }
    }
}

/// Arguments of `sightline models asif build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Folder for the model
    folder: PathBuf,

    #[command(flatten)]
    pairs: PairArgs,

    /// Checkpoint folder of the encoder that made the vectors of the images
    #[arg(long, value_name = "DIR")]
    image_encoder: PathBuf,

    /// Checkpoint folder of the encoder that made the vectors of the texts
    #[arg(long, value_name = "DIR")]
    text_encoder: PathBuf,

    /// Anchors that count for a vector; all, if there are fewer
    #[arg(long, value_name = "N", default_value_t = AsifConfig::default().k)]
    k: usize,

    /// Power of their cosines
    #[arg(long, value_name = "N", default_value_t = AsifConfig::default().p)]
    p: u32,

    /// Where ids of texts come from while the encoders are looked at
    #[arg(long, value_enum, value_name = "WHAT")]
    tokenizer: Option<TokenizerArg>,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline models asif add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Folder of the model
    folder: PathBuf,

    #[command(flatten)]
    pairs: PairArgs,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline models asif delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Folder of the model
    folder: PathBuf,

    /// Numbers of anchors, counted from 0 in the order in which they were added
    #[arg(required = true, value_name = "N")]
    anchors: Vec<usize>,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `sightline models asif query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// Folder of the model
    folder: PathBuf,

    /// Image files, folders of them, patterns, and shards (.tar)
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    images: Vec<PathBuf>,

    /// Texts to rank
    #[arg(long, required = true, num_args = 1.., value_name = "TEXT")]
    texts: Vec<String>,

    /// Texts to print of each image, the nearest first
    #[arg(long, value_name = "N", default_value = "5")]
    top: NonZeroUsize,

    /// Anchors to name for each text: those with the largest part in the similarity
    #[arg(long, value_name = "N", default_value_t = 0)]
    explain: usize,

    /// File with a name for each anchor, one a line, such as its caption
    #[arg(long, value_name = "FILE", requires = "explain")]
    names: Option<PathBuf>,

    /// Where ids of texts come from, instead of the checkpoint's files
    #[arg(long, value_enum, value_name = "WHAT")]
    tokenizer: Option<TokenizerArg>,

    #[command(flatten)]
    device: DeviceArg,

    /// Images in a batch; changes speed and memory
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,

    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What `build`, `add` and `delete` print as JSON.
#[derive(Debug, Serialize)]
struct Changed<'a> {
    schema: u32,
    model: &'a Path,
    /// Numbers that were given out.
    anchors: usize,
    /// Those of them that are not deleted.
    live: usize,
    image_width: usize,
    text_width: usize,
}

/// What `query --json` prints.
#[derive(Debug, Serialize)]
struct Queried<'a> {
    schema: u32,
    model: &'a Path,
    anchors: usize,
    k: usize,
    p: u32,
    images: Vec<QueriedImage>,
    broken: Vec<Broken>,
}

#[derive(Debug, Serialize)]
struct QueriedImage {
    image: String,
    texts: Vec<QueriedText>,
}

#[derive(Debug, Serialize)]
struct QueriedText {
    text: String,
    similarity: f32,
    anchors: Vec<QueriedAnchor>,
}

#[derive(Debug, Serialize)]
struct QueriedAnchor {
    anchor: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its part in the similarity.
    product: f32,
}

pub(super) fn run(command: &AsifCommand) -> Result<Exit, Failure> {
    match command {
        AsifCommand::Build(args) => build(args),
        AsifCommand::Add(args) => add(args),
        AsifCommand::Delete(args) => delete(args),
        AsifCommand::Query(args) => query(args),
    }
}

fn failure(doing: &str, folder: &Path, error: &Error) -> Failure {
    let doing = format!("{doing} `{}`", folder.display());
    Failure::new(exits::models(error), doing, error)
}

impl PairArgs {
    fn open(&self) -> Result<(VectorFile, VectorFile), Failure> {
        let open = |path: &Path| {
            VectorFile::open(path).map_err(|error| failure("reading vectors", path, &error))
        };
        Ok((open(&self.images)?, open(&self.texts)?))
    }
}

fn build(args: &BuildArgs) -> Result<Exit, Failure> {
    let (mut images, mut texts) = args.pairs.open()?;
    let encoder = |path: &Path| encoder_of(&args.folder, path).map(Some);
    let config = AsifConfig {
        k: args.k,
        p: args.p,
        image_encoder: encoder(&args.image_encoder)?,
        text_encoder: encoder(&args.text_encoder)?,
        ..AsifConfig::default()
    };
    let spec = spec(None, args.tokenizer);
    let rows = (
        &mut images as &mut dyn asif::Rows,
        &mut texts as &mut dyn asif::Rows,
    );
    let precision = args.pairs.precision.into();
    let anchors = asif::build(&args.folder, &config, &spec, precision, rows)
        .map_err(|error| failure("building", &args.folder, &error))?;
    tell(&args.folder, &anchors, args.json)
}

/// How the configuration of the model `folder` names the encoder at `path`. It counts folders from its own place: one that
/// lies beside the model is named from there, so that both can be moved together; else a whole path means the same
/// everywhere.
fn encoder_of(folder: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let whole = fs::canonicalize(path).map_err(|error| {
        let doing = format!("looking for encoder `{}`", path.display());
        Failure::io(doing, &error).with_exit(exits::io(&error))
    })?;
    let above = match folder.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => return Ok(whole),
    };
    // A folder that is not there yet has nothing beside it.
    let above = fs::canonicalize(above).ok();
    Ok(match (whole.parent(), whole.file_name()) {
        (Some(parent), Some(name)) if Some(parent) == above.as_deref() => {
            Path::new("..").join(name)
        }
        _ => whole,
    })
}

fn add(args: &AddArgs) -> Result<Exit, Failure> {
    let (mut images, mut texts) = args.pairs.open()?;
    let precision = args.pairs.precision.into();
    let anchors = Anchors::add(&args.folder, precision, &mut images, &mut texts)
        .map_err(|error| failure("adding to", &args.folder, &error))?;
    tell(&args.folder, &anchors, args.json)
}

fn delete(args: &DeleteArgs) -> Result<Exit, Failure> {
    let anchors = Anchors::delete(&args.folder, &args.anchors)
        .map_err(|error| failure("deleting from", &args.folder, &error))?;
    tell(&args.folder, &anchors, args.json)
}

fn tell(folder: &Path, anchors: &Anchors, json: bool) -> Result<Exit, Failure> {
    let changed = Changed {
        schema: 1,
        model: folder,
        anchors: anchors.rows(),
        live: anchors.live(),
        image_width: anchors.width(Side::Image),
        text_width: anchors.width(Side::Text),
    };
    print_either(json, &changed, || {
        format!(
            "{} anchors ({} deleted) in {}",
            changed.live,
            changed.anchors - changed.live,
            folder.display()
        )
    })?;
    Ok(Exit::Done)
}

fn spec(checkpoint: Option<&Path>, tokenizer: Option<TokenizerArg>) -> ModelSpec {
    ModelSpec {
        checkpoint: checkpoint.map(Path::to_owned),
        tokenizer: tokenizer.map(Into::into).unwrap_or_default(),
        ..ModelSpec::without_checkpoint(Seed(0))
    }
}

fn query(args: &QueryArgs) -> Result<Exit, Failure> {
    let failed = |error: Error| failure("asking", &args.folder, &error);
    let names = names(args)?;
    let device = args.device.open()?;
    let model = Asif::load(&spec(Some(&args.folder), args.tokenizer), &device).map_err(failed)?;
    let unprepared = |error: PrepareError| Failure::new(Exit::Usage, "preparing images", &error);
    let VisualSpec::Pixels(input) = model.input() else {
        let problem = "its image encoder takes region features, not images";
        return Err(Failure::usage("asking the model", problem));
    };
    let preprocessor = Preprocessor::new(input.clone(), Limits::default()).map_err(unprepared)?;
    let asked: Vec<&str> = args.texts.iter().map(String::as_str).collect();
    let texts = model.relative_texts(&asked).map_err(failed)?;

    let mut printed = Queried {
        schema: 1,
        model: &args.folder,
        anchors: model.anchors().live(),
        k: model.config().k,
        p: model.config().p,
        images: Vec::new(),
        broken: Vec::new(),
    };
    let bar = Bar::default();
    bar.start("images", None);
    let mut inputs = Inputs::new(&args.images)?;
    loop {
        let batch = inputs.by_ref().take(args.batch_size.get());
        let batch = batch.collect::<Result<Vec<_>, _>>()?;
        if batch.is_empty() {
            break;
        }
        bar.advance(batch.len() as u64);
        let bytes: Vec<&[u8]> = batch.iter().map(|input| &input.bytes[..]).collect();
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        let prepared = preprocessor.prepare_all(&bytes);
        for (input, values) in batch.into_iter().zip(prepared) {
            match values {
                Ok(values) => {
                    rows.push(values);
                    found.push(input.name);
                }
                Err(error) => printed.broken.push(Broken::tell(input.name, &error)),
            }
        }
        if rows.is_empty() {
            continue;
        }
        let pixels = preprocessor.stack(&rows, &device).map_err(unprepared)?;
        let images = model.relative_images(&pixels).map_err(failed)?;
        for (image, relative) in found.into_iter().zip(&images) {
            let texts = ranked(args, relative, &texts, &names);
            printed.images.push(QueriedImage { image, texts });
        }
    }
    bar.finish();
    let is_whole = printed.broken.is_empty();
    print_either(args.json, &printed, || text(&printed))?;
    Ok(if is_whole { Exit::Done } else { Exit::No })
}

/// The lines of the file of names.
fn names(args: &QueryArgs) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.names else {
        return Ok(Vec::new());
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::io(format!("reading `{}`", path.display()), &error).with_exit(exits::io(&error))
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The texts that are the nearest to an image, of equal ones the first that was named.
fn ranked(
    args: &QueryArgs,
    image: &Relative,
    texts: &[Relative],
    names: &[String],
) -> Vec<QueriedText> {
    let similarities = texts.iter().map(|text| image.similarity(text));
    let mut ranked: Vec<(usize, f32)> = similarities.enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    ranked.truncate(args.top.get());
    let ranked = ranked.into_iter().map(|(number, similarity)| QueriedText {
        text: args.texts[number].clone(),
        similarity,
        anchors: image
            .explain(&texts[number], args.explain)
            .into_iter()
            .map(|share| QueriedAnchor {
                anchor: share.anchor,
                name: names.get(share.anchor).cloned(),
                product: share.product,
            })
            .collect(),
    });
    ranked.collect()
}

/// A line for each text, and below it one for each anchor.
fn text(printed: &Queried<'_>) -> String {
    let mut text = String::new();
    for image in &printed.images {
        for ranked in &image.texts {
            let QueriedText {
                text: of,
                similarity,
                ..
            } = ranked;
            let _ = writeln!(text, "{}\t{similarity:.4}\t{of}", image.image);
            for anchor in &ranked.anchors {
                let name = anchor.name.as_deref().unwrap_or_default();
                let line = format!("  anchor {}\t{:.4}\t{name}", anchor.anchor, anchor.product);
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
    }
    text.trim_end().to_owned()
}
