//! `sightline preprocess`: exactly the tensors that a model would be fed.

mod inputs;
mod sheet;
mod tensor_file;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use sightline_core::image_spec::{Dtype, ImageSpec, Layout};
use sightline_core::{Digest, Progress};
use sightline_imaging::Limits;
use sightline_manifest::{image_spec_toml, read_image_spec};
use sightline_preprocess::Preprocessor;
use sightline_store::write_atomic;

use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use inputs::{Input, Inputs};
use sheet::Named;
use tensor_file::TensorFile;

/// Arguments of `sightline preprocess`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, not a state"
)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["out", "explain", "contact_sheet"]))]
pub(crate) struct PreprocessArgs {
    /// Image specification: `preprocessor_config.json`, `open_clip_config.json`, timm's `config.json`, or TOML
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,

    /// Image files, folders of them, and shards (.tar)
    #[arg(long, num_args = 1.., value_name = "PATH", required_unless_present = "explain")]
    images: Vec<PathBuf>,

    /// File for `pixel_values`, .safetensors or .npy, in the order given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Type of the values instead of the specification's
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<DtypeArg>,

    /// Order of the axes instead of the specification's
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<LayoutArg>,

    /// Leave broken images out instead of writing nothing
    #[arg(long)]
    partial: bool,

    /// Say each step that the specification asks for, and show it in TOML
    #[arg(long)]
    explain: bool,

    /// Write a page with the originals and what the model sees
    #[arg(long, value_name = "FILE.html")]
    contact_sheet: Option<PathBuf>,

    /// A second specification for the contact sheet: where the two differ
    #[arg(long, value_name = "FILE", requires = "contact_sheet")]
    compare: Option<PathBuf>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DtypeArg {
    F32,
    F16,
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LayoutArg {
    Nchw,
    Nhwc,
}

impl From<DtypeArg> for Dtype {
    fn from(dtype: DtypeArg) -> Self {
        match dtype {
            DtypeArg::F32 => Self::F32,
            DtypeArg::F16 => Self::F16,
            DtypeArg::Bf16 => Self::Bf16,
        }
    }
}

impl From<LayoutArg> for Layout {
    fn from(layout: LayoutArg) -> Self {
        match layout {
            LayoutArg::Nchw => Self::Nchw,
            LayoutArg::Nhwc => Self::Nhwc,
        }
    }
}

/// Images that are in memory at once.
const BATCH: usize = 64;

/// What was done, as JSON.
#[derive(Debug, Serialize)]
struct Printed {
    schema: u32,
    image_spec: Digest,
    /// Digest of what a picture within the program becomes.
    fingerprint: Digest,
    images: usize,
    broken: Vec<Broken>,
    out: Option<PathBuf>,
    contact_sheet: Option<PathBuf>,
    steps: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct Broken {
    name: String,
    class: &'static str,
    message: String,
}

pub(crate) fn run(args: &PreprocessArgs) -> Result<Exit, Failure> {
    let preprocessor = preprocessor(args, &args.spec)?;
    let spec = preprocessor.spec();
    let mut printed = Printed {
        schema: 1,
        image_spec: Digest::of_json(spec).map_err(|e| Failure::io("writing JSON", &e.into()))?,
        fingerprint: preprocessor
            .fingerprint()
            .map_err(|e| Failure::new(Exit::Environment, "preparing the test picture", &e))?,
        images: 0,
        broken: Vec::new(),
        out: args.out.clone(),
        contact_sheet: args.contact_sheet.clone(),
        steps: args.explain.then(|| spec.steps()),
    };
    let mut text = Vec::new();
    if args.explain {
        text.push(explained(spec, &printed)?);
    }
    if let Some(path) = &args.out {
        text.extend(write_tensors(args, &preprocessor, path, &mut printed)?);
    }
    let mut broken = printed.broken.len();
    if let Some(path) = &args.contact_sheet {
        broken = broken.max(write_sheet(args, preprocessor, path)?);
        text.push(path.display().to_string());
    }
    print_either(args.json, &printed, || text.join("\n"))?;
    Ok(if broken > 0 && !args.partial {
        Exit::No
    } else {
        Exit::Done
    })
}

/// The specification in words and in TOML.
fn explained(spec: &ImageSpec, printed: &Printed) -> Result<String, Failure> {
    let mut text = String::new();
    for (number, step) in (1..).zip(spec.steps()) {
        let _ = writeln!(text, "{number}. {step}");
    }
    let toml = image_spec_toml(spec)
        .map_err(|e| Failure::usage("writing the specification as TOML", e.to_string()))?;
    let _ = write!(
        text,
        "\n# digest {}\n# a test picture becomes {}\n{}",
        printed.image_spec,
        printed.fingerprint,
        toml.trim_end()
    );
    Ok(text)
}

/// Prepares every image into the file at `path`; says what the file holds, unless nothing was written.
fn write_tensors(
    args: &PreprocessArgs,
    preprocessor: &Preprocessor,
    path: &Path,
    printed: &mut Printed,
) -> Result<Option<String>, Failure> {
    let mut file = TensorFile::create(path, preprocessor.spec())?;
    let mut inputs = Inputs::new(&args.images)?;
    let bar = Bar::default();
    bar.start("images", None);
    loop {
        let batch: Vec<Input> = inputs.by_ref().take(BATCH).collect::<Result<_, _>>()?;
        if batch.is_empty() {
            break;
        }
        let bytes: Vec<&[u8]> = batch.iter().map(|input| input.bytes.as_slice()).collect();
        for (input, row) in batch.iter().zip(preprocessor.prepare_all(&bytes)) {
            match row {
                Ok(row) => {
                    printed.images += 1;
                    let row: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
                    file.push(&row)?;
                }
                Err(error) => {
                    let doing = format!("preparing `{}`", input.name);
                    note(&Failure::new(Exit::No, doing, &error).to_string());
                    printed.broken.push(Broken {
                        name: input.name.clone(),
                        class: error.class(),
                        message: error.to_string(),
                    });
                }
            }
            bar.advance(1);
        }
    }
    bar.finish();
    let (images, broken) = (printed.images, printed.broken.len());
    if broken > 0 && !args.partial {
        printed.out = None;
        note(&format!(
            "{broken} of {} images are broken; nothing was written (--partial leaves them out)",
            images + broken
        ));
        return Ok(None);
    }
    file.finish(args.force).map(Some)
}

/// Writes the contact sheet; says how many of its images are broken.
fn write_sheet(
    args: &PreprocessArgs,
    preprocessor: Preprocessor,
    path: &Path,
) -> Result<usize, Failure> {
    let named = |file: &Path, preprocessor| Named {
        name: file.display().to_string(),
        preprocessor,
    };
    let mut specs = vec![named(&args.spec, preprocessor)];
    if let Some(file) = &args.compare {
        specs.push(named(file, self::preprocessor(args, file)?));
    }
    let (page, broken) = sheet::html(&specs, Inputs::new(&args.images)?)?;
    if target::is_to_be_written(path, page.as_bytes(), args.force)? {
        let doing = || format!("writing `{}`", path.display());
        write_atomic(path, page.as_bytes())
            .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    }
    Ok(broken)
}

fn preprocessor(args: &PreprocessArgs, file: &Path) -> Result<Preprocessor, Failure> {
    let doing = || format!("reading specification `{}`", file.display());
    let text =
        fs::read_to_string(file).map_err(|e| Failure::io(doing(), &e).with_exit(exits::io(&e)))?;
    let mut spec = read_image_spec(&file.to_string_lossy(), &text)
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))?;
    spec.dtype = args.dtype.map_or(spec.dtype, Dtype::from);
    spec.layout = args.layout.map_or(spec.layout, Layout::from);
    Preprocessor::new(spec, Limits::default())
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))
}
