//! `sightline preprocess --regions`: region features in files, as the batch that a model would be fed.

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;
use sightline_core::text::counted;
use sightline_preprocess::regions::{
    BatchSpec, BoxForm, Order, RegionLimits, RegionsError, Source, export, open,
};
use sightline_store::AtomicFile;

use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print_either};

/// Arguments about region features.
#[derive(Debug, Args)]
#[command(next_help_heading = "Region features (instead of images)")]
pub(super) struct RegionArgs {
    /// Files or folders that hold them: TSV, .npy, .npz, LMDB, HDF5 or safetensors
    #[arg(id = "regions", long = "regions", num_args = 1.., value_name = "PATH",
        conflicts_with_all = ["spec", "images", "contact_sheet", "compare", "repeat", "dtype", "layout", "mode", "partial", "threads"])]
    pub(super) paths: Vec<PathBuf>,

    /// Form of the files, if it is not to be recognised: hdf5, lmdb, npy, npz, safetensors, tsv
    #[arg(long = "region-form", value_name = "FORM", requires = "regions")]
    form: Option<String>,

    /// Regions of each image: fewer are padded with zeros, more are cut [default: 100]
    #[arg(
        long = "regions-per-image",
        value_name = "R",
        requires = "regions",
        default_value = "100",
        hide_default_value = true
    )]
    count: NonZeroUsize,

    /// Order of an image's regions, and so which are kept [default: file]
    #[arg(
        long = "region-order",
        value_enum,
        value_name = "ORDER",
        requires = "regions"
    )]
    order: Option<OrderArg>,

    /// Write the boxes too, measured so
    #[arg(
        long = "region-boxes",
        value_enum,
        value_name = "HOW",
        requires = "regions"
    )]
    boxes: Option<BoxArg>,

    /// Values of a feature [default: those of the first image that has a region]
    #[arg(long = "region-width", value_name = "D", requires = "regions")]
    width: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OrderArg {
    /// As in the file
    File,
    /// Most confident first
    Confidence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BoxArg {
    /// Left, top, right, bottom in pixels
    Pixels,
    /// As shares of the image's width and height
    Fractions,
    /// The same with the share of its area as the fifth
    FractionsAndArea,
}

impl From<OrderArg> for Order {
    fn from(order: OrderArg) -> Self {
        match order {
            OrderArg::File => Self::File,
            OrderArg::Confidence => Self::Confidence,
        }
    }
}

impl From<BoxArg> for BoxForm {
    fn from(boxes: BoxArg) -> Self {
        match boxes {
            BoxArg::Pixels => Self::Pixels,
            BoxArg::Fractions => Self::Fractions,
            BoxArg::FractionsAndArea => Self::FractionsAndArea,
        }
    }
}

/// What the files hold and what was written, as JSON.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    schema: u32,
    images: usize,
    first: Option<First<'a>>,
    out: Option<&'a Path>,
    written: Option<Written>,
}

/// The first image of the files.
#[derive(Debug, Serialize)]
struct First<'a> {
    id: &'a str,
    regions: usize,
    width: usize,
    /// What there is beside features, of `size`, `boxes`, `confidence`, `objects` and `attributes`.
    with: Vec<&'static str>,
}

/// The tensors written.
#[derive(Debug, Serialize)]
struct Written {
    /// `[images, regions, width]` of `visual_embeds`.
    shape: [usize; 3],
    /// Images that had more regions.
    cut: usize,
    /// Images without any region.
    empty: usize,
}

/// Opens the files, says what they hold with `explain`, and writes the batch to `out`.
pub(super) fn run(
    args: &RegionArgs,
    out: Option<&Path>,
    explain: bool,
    force: bool,
    json: bool,
) -> Result<Exit, Failure> {
    let source = open(&args.paths, args.form.as_deref(), &RegionLimits::default())
        .map_err(|error| failure("opening region features", &error))?;
    let mut text = Vec::new();
    let first = first(&*source).map_err(|error| failure("reading region features", &error))?;
    if explain {
        text.push(held(source.ids().len(), first.as_ref()));
    }
    let written = out
        .map(|path| write(args, &*source, path, force))
        .transpose()?;
    if let (Some(path), Some(written)) = (out, &written) {
        text.push(told(path, written));
    }
    let printed = Printed {
        schema: 1,
        images: source.ids().len(),
        first,
        out,
        written,
    };
    print_either(json, &printed, || text.join("\n"))?;
    Ok(Exit::Done)
}

fn first(source: &dyn Source) -> Result<Option<First<'_>>, RegionsError> {
    if source.ids().is_empty() {
        return Ok(None);
    }
    let regions = source.read(0)?;
    let parts = regions.parts();
    let with = [
        ("size", parts.size.is_some()),
        ("boxes", parts.boxes.is_some()),
        ("confidence", parts.confidence.is_some()),
        ("objects", parts.objects.is_some()),
        ("attributes", parts.attributes.is_some()),
    ];
    Ok(Some(First {
        id: source.ids().name(0),
        regions: regions.len(),
        width: regions.width(),
        with: with
            .iter()
            .filter(|part| part.1)
            .map(|part| part.0)
            .collect(),
    }))
}

/// What the files hold, in words.
fn held(images: usize, first: Option<&First<'_>>) -> String {
    let images = counted(images, "image");
    let Some(first) = first else {
        return images;
    };
    let with = match &first.with[..] {
        [] => "nothing else".to_owned(),
        with => with.join(", "),
    };
    let (regions, width) = (
        counted(first.regions, "region"),
        counted(first.width, "value"),
    );
    format!(
        "{images}; the first, `{}`, has {regions} of {width}, and {with}",
        first.id
    )
}

/// What was written, in words.
fn told(path: &Path, written: &Written) -> String {
    let [images, regions, width] = written.shape;
    let path = path.display();
    let mut parts = vec![format!(
        "visual_embeds [{images}, {regions}, {width}] float32 in {path}"
    )];
    if written.cut > 0 {
        let cut = counted(written.cut, "image");
        parts.push(format!(
            "{cut} had more than {regions} regions and lost the rest"
        ));
    }
    if written.empty > 0 {
        parts.push(format!("{} had none", counted(written.empty, "image")));
    }
    parts.join("; ")
}

fn write(
    args: &RegionArgs,
    source: &dyn Source,
    path: &Path,
    force: bool,
) -> Result<Written, Failure> {
    let doing = || format!("writing `{}`", path.display());
    if path.extension().is_none_or(|e| e != "safetensors") {
        let problem = "the name does not end in `.safetensors`";
        return Err(Failure::usage(doing(), problem).with_hint(
            "A batch of regions is several tensors, which safetensors holds together.",
        ));
    }
    let inputs: Vec<_> = args
        .paths
        .iter()
        .map(|p| ("--regions", p.as_path()))
        .collect();
    target::refuse_overlap(&[("--out", path)], &inputs)?;
    let spec = BatchSpec {
        regions: args.count.get(),
        order: args.order.map_or(Order::File, Order::from),
        width: args.width.map(NonZeroUsize::get),
        boxes: args.boxes.map(BoxForm::from),
        ..BatchSpec::default()
    };
    let file = AtomicFile::create(path)
        .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    let mut file = BufWriter::new(file);
    let exported =
        export(source, &spec, &mut file, &Bar::default()).map_err(|e| failure(doing(), &e))?;
    let file = file
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    let mut file = file.map_err(|e| Failure::io(doing(), &e))?;
    file.flush().map_err(|e| Failure::io(doing(), &e))?;
    if target::is_to_be_replaced(path, file.path(), force)? {
        file.commit()
            .map_err(|error| Failure::new(exits::store(&error), doing(), &error))?;
    }
    Ok(Written {
        shape: [exported.images, exported.regions, exported.width],
        cut: exported.cut,
        empty: exported.empty,
    })
}

fn failure(doing: impl Into<String>, error: &RegionsError) -> Failure {
    Failure::new(exits::regions(error), doing, error)
}
