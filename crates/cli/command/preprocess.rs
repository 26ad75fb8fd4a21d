//! `sightline preprocess`: exactly the tensors that a model would be fed.

mod engine;
mod regions;
mod sheet;
mod timing;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use half::{bf16, f16};
use serde::Serialize;
use sightline_core::image_spec::{Dtype, ImageSpec, Layout};
use sightline_core::{Digest, PixelDeviation, Progress};
use sightline_imaging::Limits;
use sightline_manifest::{image_spec_toml, read_image_spec};
use sightline_preprocess::{Element, Mode, Preprocessor};
use sightline_store::write_atomic;

use crate::command::device::{DecodeArg, DeviceName};
use crate::command::inputs::{Broken, Inputs};
use crate::command::tensor_file::{TensorFile, TensorForm};
use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, note, print_either};
use engine::{Engine, PrintedGpu};
use regions::RegionArgs;
use sheet::Named;
use timing::Timed;

/// Arguments of `sightline preprocess`.
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, not a state"
)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["out", "explain", "contact_sheet", "repeat"]))]
pub(crate) struct PreprocessArgs {
    /// Image specification: `preprocessor_config.json`, `open_clip_config.json`, timm's `config.json`, or TOML
    #[arg(long, value_name = "FILE", required_unless_present = "regions")]
    spec: Option<PathBuf>,

    /// Image files, folders of them, patterns, and shards (.tar)
    #[arg(long, num_args = 1.., value_name = "PATH", required_unless_present_any = ["explain", "regions"])]
    images: Vec<PathBuf>,

    /// File for `pixel_values`, .safetensors or .npy, in the order given; for regions, .safetensors
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Type of the values instead of the specification's
    #[arg(long, value_enum, value_name = "TYPE")]
    dtype: Option<DtypeArg>,

    /// Order of the axes instead of the specification's
    #[arg(long, value_enum, value_name = "LAYOUT")]
    layout: Option<LayoutArg>,

    /// Pixels equal to the reference's, or nearly and sooner: JPEG decoded at a smaller scale, weights of 15 bits
    #[arg(long, value_enum, default_value = "exact")]
    mode: ModeArg,

    /// What resizes the images: cpu, cuda (cuda:N), or webgpu (webgpu:N), any GPU that Vulkan, Metal or DX12 can use
    #[arg(
        long,
        value_name = "DEVICE",
        default_value_t,
        conflicts_with = "regions"
    )]
    device: DeviceName,

    /// Who decodes JPEG files on --device cuda [default: any]
    #[arg(long, value_enum, value_name = "WHO", conflicts_with = "regions")]
    decode: Option<DecodeArg>,

    /// Leave broken images out instead of writing nothing
    #[arg(long)]
    partial: bool,

    /// Say each step that the specification asks for, and show it in TOML; of regions, what the files hold
    #[arg(long)]
    explain: bool,

    /// Write a page with the originals and what the model sees
    #[arg(long, value_name = "FILE.html")]
    contact_sheet: Option<PathBuf>,

    /// A second specification for the contact sheet: where the two differ
    #[arg(long, value_name = "FILE", requires = "contact_sheet")]
    compare: Option<PathBuf>,

    /// Prepare all images N times from memory and say how long each stage takes
    #[arg(long, value_name = "N", conflicts_with_all = ["out", "explain", "contact_sheet"], value_parser = clap::value_parser!(u32).range(1..))]
    repeat: Option<u32>,

    /// Threads [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Print what was done as JSON
    #[arg(long)]
    json: bool,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    regions: RegionArgs,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    Exact,
    Fast,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Exact => Self::Exact,
            ModeArg::Fast => Self::Fast,
        }
    }
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

/// What was done, as JSON.
#[derive(Debug, Serialize)]
struct Printed {
    schema: u32,
    image_spec: Digest,
    /// Digest of what a picture within the program becomes.
    fingerprint: Digest,
    mode: &'static str,
    device: String,
    /// The GPU and what it did, if the device is one.
    gpu: Option<PrintedGpu>,
    /// How far the fast mode is from the exact one, on the first images.
    deviation: Option<PixelDeviation>,
    images: usize,
    broken: Vec<Broken>,
    out: Option<PathBuf>,
    contact_sheet: Option<PathBuf>,
    steps: Option<Vec<String>>,
}

pub(crate) fn run(args: &PreprocessArgs) -> Result<Exit, Failure> {
    let Some(spec_file) = &args.spec else {
        let out = args.out.as_deref();
        return regions::run(&args.regions, out, args.explain, args.force, args.json);
    };
    let threads = match args.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let preprocessor = preprocessor(args, spec_file)?;
    let mut engine = Engine::open(preprocessor, args.device, args.decode, threads)?;
    if let Some(repeat) = args.repeat {
        let inputs = Inputs::new(&args.images)?;
        let timed = Timed::measure(&mut engine, inputs, repeat as usize, threads)?;
        print_either(args.json, &timed, || timed.text())?;
        return Ok(Exit::Done);
    }
    let preprocessor = engine.preprocessor().clone();
    let spec = preprocessor.spec();
    let mut printed = Printed {
        schema: 1,
        image_spec: Digest::of_json(spec).map_err(|e| Failure::io("writing JSON", &e.into()))?,
        fingerprint: preprocessor
            .fingerprint()
            .map_err(|e| Failure::new(Exit::Environment, "preparing the test picture", &e))?,
        mode: preprocessor.mode().name(),
        device: args.device.to_string(),
        gpu: engine.printed(),
        deviation: None,
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
        let write = match spec.dtype {
            Dtype::F32 => write_tensors::<f32>,
            Dtype::F16 => write_tensors::<f16>,
            Dtype::Bf16 => write_tensors::<bf16>,
        };
        text.extend(write(args, &mut engine, path, threads, &mut printed)?);
    }
    printed.gpu = engine.printed();
    for remark in printed.gpu.iter().flat_map(PrintedGpu::remarks) {
        note(&remark);
    }
    let is_near = preprocessor.mode() == Mode::Fast || matches!(args.device, DeviceName::Cuda(_));
    if is_near && !args.images.is_empty() {
        let first = first_images(Inputs::new(&args.images)?)?;
        if let Some(deviation) = engine.deviation(&first)? {
            text.push(format!(
                "{}, on {} images: {:.3} levels from the exact mode on the CPU, at most {}",
                match args.device {
                    DeviceName::Cpu => "fast mode",
                    _ => "pixels that the card decodes",
                },
                deviation.images,
                deviation.mean_levels,
                deviation.max_levels
            ));
            printed.deviation = Some(deviation);
        }
    }
    let mut broken = printed.broken.len();
    if let Some(path) = &args.contact_sheet {
        let named = Named::new(spec_file, preprocessor);
        broken = broken.max(write_sheet(args, named, path)?);
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
    if let Some(gpu) = &printed.gpu {
        let _ = writeln!(text, "\n# {} is {gpu}", printed.device);
    }
    let _ = write!(
        text,
        "\n# digest {}\n# a test picture becomes {}\n{}",
        printed.image_spec,
        printed.fingerprint,
        toml.trim_end()
    );
    Ok(text)
}

/// The tensor of images.
fn of_images(spec: &ImageSpec) -> TensorForm {
    let (width, height) = (u64::from(spec.size.width), u64::from(spec.size.height));
    TensorForm {
        name: "pixel_values",
        row: match spec.layout {
            Layout::Nchw => vec![3, height, width],
            Layout::Nhwc => vec![height, width, 3],
        },
        dtype: spec.dtype,
    }
}

/// Prepares every image into the file at `path`; says what the file holds, unless nothing was written.
fn write_tensors<T: Element>(
    args: &PreprocessArgs,
    engine: &mut Engine,
    path: &Path,
    threads: NonZeroUsize,
    printed: &mut Printed,
) -> Result<Option<String>, Failure> {
    let mut file = TensorFile::create(path, of_images(engine.preprocessor().spec()))?;
    let bar = Bar::default();
    bar.start("images", None);
    // Names of the images in flight; what ends the stream before its end.
    let names = RefCell::new(VecDeque::new());
    let failure = RefCell::new(None);
    let mut inputs = Inputs::new(&args.images)?;
    let images = std::iter::from_fn(|| {
        let input = inputs.next().filter(|_| failure.borrow().is_none())?;
        let input = input
            .map_err(|error| *failure.borrow_mut() = Some(error))
            .ok()?;
        names.borrow_mut().push_back(input.name);
        Some(input.bytes)
    });
    let mut row = Vec::new();
    let streamed = engine.prepare_stream::<T, _>(images, threads, |values| {
        let name = names.borrow_mut().pop_front().unwrap_or_default();
        match values {
            Ok(values) => {
                row.clear();
                T::write_le(values, &mut row);
                printed.images += 1;
                if let Err(error) = file.push(&row) {
                    failure.borrow_mut().get_or_insert(error);
                }
            }
            Err(error) => printed.broken.push(Broken::tell(name, &error)),
        }
        bar.advance(1);
    });
    bar.finish();
    if let Some(failure) = failure.into_inner() {
        return Err(failure);
    }
    streamed?;
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

/// The images on which deviations are measured.
fn first_images(inputs: Inputs) -> Result<Vec<Vec<u8>>, Failure> {
    let first = inputs.take(Preprocessor::COMPARED);
    first.map(|input| input.map(|input| input.bytes)).collect()
}

/// Writes the contact sheet; says how many of its images are broken.
fn write_sheet(args: &PreprocessArgs, first: Named, path: &Path) -> Result<usize, Failure> {
    let mut specs = vec![first];
    if let Some(file) = &args.compare {
        specs.push(Named::new(file, preprocessor(args, file)?));
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
        .map(|preprocessor| preprocessor.with_mode(args.mode.into()))
        .map_err(|error| Failure::new(Exit::Usage, doing(), &error))
}
