//! `sightline embed`: images or texts as vectors.

mod on_card;

use std::fs;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use sightline_core::image_spec::Dtype;
use sightline_core::text::printable_json;
use sightline_core::{Decoded, Progress, Seed};
use sightline_dataset::embeddings::EmbeddingTable;
use sightline_harness::direct::{Direct, DirectError};
use sightline_models::Capability;
use sightline_store::AtomicFile;

use crate::command::device::DecodeArg;
use crate::command::inputs::Broken;
use crate::command::model::ModelArgs;
use crate::command::pictures::{Pictures, RegionArgs};
use crate::command::tensor_file::{TensorFile, TensorForm};
use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print, print_either};

/// Arguments of `sightline embed`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["images", "texts", "texts_file"]))]
pub(crate) struct EmbedArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Image files, folders of them, patterns, and shards (.tar)
    #[arg(long, num_args = 1.., value_name = "PATH")]
    images: Vec<PathBuf>,

    /// Texts
    #[arg(long, num_args = 1.., value_name = "TEXT")]
    texts: Vec<String>,

    /// File with a text in each line
    #[arg(long, value_name = "FILE")]
    texts_file: Option<PathBuf>,

    /// File to write: .npy and .safetensors (`embeddings`, in the order given), .parquet and .jsonl (with names)
    /// [default: JSON lines to standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Who decodes JPEG files on --device cuda. With host the vectors are the same again; else pixels differ by some levels,
    /// by who was free; any is the fastest [default: host]
    #[arg(long, value_enum, value_name = "WHO", requires = "images")]
    decode: Option<DecodeArg>,

    /// Leave broken images out instead of writing nothing
    #[arg(long)]
    partial: bool,

    /// Images or texts in a batch; changes speed and memory, vectors by 2e-5 at most
    #[arg(long, value_name = "N", default_value = "32")]
    batch_size: NonZeroUsize,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,

    /// Print what was done as JSON
    #[arg(long, requires = "out")]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    model: &'a str,
    rows: usize,
    /// Values of a vector; 0 if there are none.
    width: usize,
    out: Option<&'a Path>,
    /// From the first image or text read to the last vector.
    seconds: f64,
    /// The share of them in which pixels were waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<f64>,
    /// By whom image files were decoded, where a card prepared them.
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<Decoded>,
    broken: Vec<Broken>,
}

pub(crate) fn run(args: &EmbedArgs) -> Result<Exit, Failure> {
    let card = args.model.device.card(args.decode)?;
    let model = args.model.open(&[Capability::Embed])?;
    let card = card.filter(|_| !args.images.is_empty() && !model.takes_regions());
    let card = card.map(|options| model.on_card(&options)).transpose();
    let card = card.map_err(|error| failed(&error))?;
    let column = if args.images.is_empty() {
        "text"
    } else {
        "image"
    };
    let mut rows = Rows {
        column,
        sink: Sink::Lines,
        path: args.out.as_deref(),
        count: 0,
        width: 0,
    };
    if let Some(path) = &args.out {
        rows.sink = Sink::create(path, column)?;
    }
    let bar = Bar::default();
    let start = Instant::now();
    let images = if args.images.is_empty() {
        let texts = texts(args)?;
        bar.start("texts", Some(texts.len() as u64));
        embed_texts(args, &model, &texts, &mut rows, &bar)?;
        None
    } else {
        bar.start("images", None);
        Some(match &card {
            Some(card) => on_card::embed_images(args, card, &mut rows, &bar)?,
            None => embed_images(args, &model, &mut rows, &bar)?,
        })
    };
    bar.finish();
    let seconds = start.elapsed().as_secs_f64();
    if let Some(images) = &images {
        note(&images.told(rows.count, seconds));
    }
    let waiting = images.as_ref().map(|images| images.share(seconds));
    let Images {
        broken, decoded, ..
    } = images.unwrap_or_default();

    let is_whole = broken.is_empty();
    let (count, width) = (rows.count, rows.width);
    let is_written = is_whole || args.partial;
    if is_written {
        rows.finish(args.force)?;
    } else if args.out.is_some() {
        note(&format!(
            "{} of {} images are broken; nothing was written (--partial leaves them out)",
            broken.len(),
            count + broken.len()
        ));
    }
    let printed = Printed {
        schema: 1,
        model: &args.model.model,
        rows: count,
        width,
        out: args.out.as_deref().filter(|_| is_written),
        seconds,
        waiting,
        decoded,
        broken,
    };
    if let Some(path) = printed.out {
        let text = || {
            format!(
                "embeddings [{count}, {width}] float32 in {}",
                path.display()
            )
        };
        print_either(args.json, &printed, text)?;
    } else if args.json {
        print_either(true, &printed, String::new)?;
    }
    Ok(if is_written && (is_whole || args.out.is_some()) {
        Exit::Done
    } else {
        Exit::No
    })
}

/// The texts that are named, or the lines of their file.
fn texts(args: &EmbedArgs) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.texts_file else {
        return Ok(args.texts.clone());
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::io(format!("reading `{}`", path.display()), &error).with_exit(exits::io(&error))
    })?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn failed(error: &DirectError) -> Failure {
    Failure::new(exits::direct(error), "embedding", error)
}

fn embed_texts(
    args: &EmbedArgs,
    model: &Direct,
    texts: &[String],
    rows: &mut Rows<'_>,
    bar: &Bar,
) -> Result<(), Failure> {
    for batch in texts.chunks(args.batch_size.get()) {
        let asked: Vec<&str> = batch.iter().map(String::as_str).collect();
        let vectors = model.embed_texts(&asked).map_err(|e| failed(&e))?;
        for (text, vector) in batch.iter().zip(&vectors) {
            rows.push(text, vector)?;
        }
        bar.advance(batch.len() as u64);
    }
    Ok(())
}

/// What became of images, beside their vectors.
#[derive(Default)]
struct Images {
    broken: Vec<Broken>,
    /// Time in which pixels were waited for.
    waiting: Duration,
    decoded: Option<Decoded>,
}

impl Images {
    /// The share of so many seconds in which pixels were waited for.
    fn share(&self, seconds: f64) -> f64 {
        self.waiting.as_secs_f64() / seconds.max(f64::MIN_POSITIVE)
    }

    /// How fast it went, for people.
    fn told(&self, vectors: usize, seconds: f64) -> String {
        let by = self.decoded.map(|decoded| format!("; decoded: {decoded}"));
        format!(
            "{:.1} images/s, {:.0} % of the time waiting for pixels{}",
            vectors as f64 / seconds.max(f64::MIN_POSITIVE),
            100.0 * self.share(seconds),
            by.unwrap_or_default()
        )
    }
}

fn embed_images(
    args: &EmbedArgs,
    model: &Direct,
    rows: &mut Rows<'_>,
    bar: &Bar,
) -> Result<Images, Failure> {
    let mut pictures = Pictures::open(model, &args.images, &RegionArgs::default())?;
    let (size, seed, mut images) = (
        args.batch_size.get(),
        Seed(args.model.seed),
        Images::default(),
    );
    loop {
        let start = Instant::now();
        let batch = pictures.next_batch(model, size, seed, &mut images.broken)?;
        images.waiting += start.elapsed();
        let Some(batch) = batch else {
            return Ok(images);
        };
        if batch.pictures.is_empty() {
            continue;
        }
        let vectors = model
            .embed_images(&batch.pictures)
            .map_err(|e| failed(&e))?;
        for (name, vector) in batch.names.iter().zip(&vectors) {
            rows.push(name, vector)?;
        }
        bar.advance(batch.names.len() as u64);
    }
}

/// Where vectors go, row by row.
struct Rows<'a> {
    /// What the rows are named by.
    column: &'static str,
    sink: Sink,
    path: Option<&'a Path>,
    count: usize,
    width: usize,
}

enum Sink {
    /// JSON lines on standard output.
    Lines,
    Jsonl(AtomicFile),
    Parquet(Box<EmbeddingTable<AtomicFile>>),
    /// NPY or safetensors; begun with the first row, which tells the width.
    Tensor(Option<TensorFile>),
}

impl Sink {
    /// By the ending of the file.
    fn create(path: &Path, column: &str) -> Result<Self, Failure> {
        let doing = || writing(path);
        let file = || {
            AtomicFile::create(path)
                .map_err(|error| Failure::new(exits::store(&error), doing(), &error))
        };
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        match &*ending {
            "npy" | "safetensors" => Ok(Self::Tensor(None)),
            "jsonl" => Ok(Self::Jsonl(file()?)),
            "parquet" => {
                let table = EmbeddingTable::new(file()?, column);
                let table = table.map_err(|error| Failure::io(doing(), &error))?;
                Ok(Self::Parquet(Box::new(table)))
            }
            _ => {
                let problem =
                    "the name says none of `.npy`, `.safetensors`, `.parquet` and `.jsonl`";
                Err(Failure::usage(doing(), problem))
            }
        }
    }
}

fn writing(path: &Path) -> String {
    format!("writing `{}`", path.display())
}

impl Rows<'_> {
    fn push(&mut self, name: &str, vector: &[f32]) -> Result<(), Failure> {
        self.count += 1;
        self.width = vector.len();
        let path = self.path.unwrap_or(Path::new("-"));
        let failed =
            |error: io::Error| Failure::io(writing(path), &error).with_exit(exits::io(&error));
        match &mut self.sink {
            Sink::Lines => return print(&line(self.column, name, vector)?),
            Sink::Jsonl(file) => {
                let line = line(self.column, name, vector)?;
                writeln!(file, "{line}").map_err(failed)?;
            }
            Sink::Parquet(table) => table.push(name, vector).map_err(failed)?,
            Sink::Tensor(file) => {
                let file = match file {
                    Some(file) => file,
                    None => file.insert(tensor_file(path, vector.len())?),
                };
                let bytes: Vec<u8> = vector.iter().flat_map(|v| v.to_le_bytes()).collect();
                file.push(&bytes)?;
            }
        }
        Ok(())
    }

    /// Gives the file its name.
    fn finish(self, force: bool) -> Result<(), Failure> {
        let Some(path) = self.path else {
            return Ok(());
        };
        let file = match self.sink {
            Sink::Lines => return Ok(()),
            Sink::Tensor(file) => {
                let file = match file {
                    Some(file) => file,
                    None => tensor_file(path, 0)?,
                };
                return file.finish(force).map(drop);
            }
            Sink::Jsonl(file) => Ok(file),
            Sink::Parquet(table) => table.finish(),
        };
        let flushed = file.and_then(|mut file| file.flush().map(|()| file));
        let file = flushed.map_err(|error| Failure::io(writing(path), &error))?;
        if target::is_to_be_replaced(path, file.path(), force)? {
            let failed = |error| Failure::new(exits::store(&error), writing(path), &error);
            file.commit().map_err(failed)?;
        }
        Ok(())
    }
}

fn tensor_file(path: &Path, width: usize) -> Result<TensorFile, Failure> {
    let form = TensorForm {
        name: "embeddings",
        row: vec![width as u64],
        dtype: Dtype::F32,
    };
    TensorFile::create(path, form)
}

/// `{"image": "a.jpg", "embedding": [..]}`.
fn line(column: &str, name: &str, vector: &[f32]) -> Result<String, Failure> {
    let row = serde_json::json!({ column: name, "embedding": vector });
    let json = serde_json::to_string(&row);
    let json = json.map_err(|e| Failure::io("writing JSON", &e.into()))?;
    Ok(printable_json(&json))
}
