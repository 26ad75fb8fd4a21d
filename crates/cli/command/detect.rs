//! `sightline detect`: objects of named classes in images.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};
use sightline_core::text::printable_json;
use sightline_core::{Progress, Seed};
use sightline_harness::direct::{Detector, Direct, DirectError, Picture};
use sightline_models::Capability;
use sightline_models::detect::proposals::{Sliding, sliding};
use sightline_models::detect::{Class, Detection, Proposal, Vocabulary};
use sightline_store::AtomicFile;

use crate::command::inputs::{Broken, Inputs};
use crate::command::model::ModelArgs;
use crate::command::pictures::{Pictures, RegionArgs};
use crate::command::{exits, target};
use crate::exit::{Exit, Failure};
use crate::output::{Bar, print};

/// Arguments of `sightline detect`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("named").required(true).args(["classes", "categories"]))]
pub(crate) struct DetectArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Image files, folders of them, patterns, and shards (.tar); ids with `--regions`
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    /// Names of the classes; they get the ids 1, 2, …
    #[arg(long, num_args = 1.., value_name = "NAME")]
    classes: Vec<String>,

    /// File of annotations in COCO's or LVIS's form, whose categories are the classes (`synonyms` too)
    #[arg(long, value_name = "FILE")]
    categories: Option<PathBuf>,

    /// Classes whose boxes the model was not trained on, by name [default: those that the file calls rare]
    #[arg(long, num_args = 1.., value_name = "NAME")]
    novel: Vec<String>,

    /// Proposals: a line of JSON for each image, {"image": NAME, "boxes": [[left, top, right, bottom], …],
    /// "objectness": […]} [default: windows that slide over the image]
    #[arg(long, value_name = "FILE", conflicts_with = "regions")]
    proposals: Option<PathBuf>,

    /// The most sliding windows of an image
    #[arg(long, value_name = "N", default_value = "1000")]
    windows: NonZeroUsize,

    /// File to write, JSON as COCO's and LVIS's programs take results [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Overwrite a file that holds something else
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    regions: RegionArgs,
}

/// A class with the id that it has in results.
struct Category {
    id: i64,
    names: Vec<String>,
    is_novel: bool,
}

/// What is read of a file of annotations.
#[derive(Deserialize)]
struct Annotations {
    categories: Vec<Annotated>,
}

#[derive(Deserialize)]
struct Annotated {
    id: i64,
    name: String,
    #[serde(default)]
    synonyms: Vec<String>,
    /// LVIS: `r`, `c` or `f`.
    frequency: Option<String>,
}

/// A line of a file of proposals.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposalLine {
    image: String,
    boxes: Vec<[f32; 4]>,
    objectness: Option<Vec<f32>>,
}

pub(crate) fn run(args: &DetectArgs) -> Result<Exit, Failure> {
    let failed = |error: DirectError| Failure::new(exits::direct(&error), "detecting", &error);
    let categories = categories(args)?;
    let proposals = args.proposals.as_deref().map(proposals).transpose()?;
    let model = args.model.open(&[Capability::Detect])?;
    let detector = model.detector().map_err(failed)?;
    let classes: Vec<Class<'_>> = categories
        .iter()
        .map(|category| Class {
            names: category.names.iter().map(String::as_str).collect(),
            is_base: !category.is_novel,
        })
        .collect();
    let vocabulary = detector.vocabulary(&classes).map_err(failed)?;
    let bar = Bar::default();
    bar.start("images", None);
    let (mut results, mut broken) = (Vec::new(), Vec::new());
    let mut found = |image: &str, detections: Vec<Detection>| {
        let results_of = detections.iter().map(|d| result(image, d, &categories));
        results.extend(results_of);
        bar.advance(1);
    };
    if model.takes_regions() {
        in_regions(args, &model, &detector, &vocabulary, &mut found)?;
    } else {
        let scene = Scene {
            args,
            model: &model,
            detector: &detector,
            vocabulary: &vocabulary,
            proposals: proposals.as_ref(),
        };
        broken = scene.in_images(&mut found)?;
    }
    bar.finish();
    write(args, &results)?;
    Ok(if broken.is_empty() {
        Exit::Done
    } else {
        Exit::No
    })
}

fn in_regions(
    args: &DetectArgs,
    model: &Direct,
    detector: &Detector<'_>,
    vocabulary: &Vocabulary,
    found: &mut dyn FnMut(&str, Vec<Detection>),
) -> Result<(), Failure> {
    let failed = |error: DirectError| Failure::new(exits::direct(&error), "detecting", &error);
    let mut pictures = Pictures::open(model, &args.images, &args.regions)?;
    let seed = Seed(args.model.seed);
    while let Some(batch) = pictures.next_batch(model, 1, seed, &mut Vec::new())? {
        for (name, picture) in batch.names.iter().zip(&batch.pictures) {
            if let Picture::Regions(regions) = picture {
                found(
                    name,
                    detector.in_regions(regions, vocabulary).map_err(failed)?,
                );
            }
        }
    }
    Ok(())
}

/// What is asked of each image.
struct Scene<'a> {
    args: &'a DetectArgs,
    model: &'a Direct,
    detector: &'a Detector<'a>,
    vocabulary: &'a Vocabulary,
    proposals: Option<&'a HashMap<String, Vec<Proposal>>>,
}

impl Scene<'_> {
    /// Images that cannot be decoded are told and left out; one without proposals ends the work.
    fn in_images(
        &self,
        found: &mut dyn FnMut(&str, Vec<Detection>),
    ) -> Result<Vec<Broken>, Failure> {
        let failed = |error: DirectError| Failure::new(exits::direct(&error), "detecting", &error);
        let windows = Sliding {
            limit: self.args.windows.get(),
            ..Sliding::default()
        };
        // Region files are for models on regions; this says so.
        let _ = Pictures::open(self.model, &[], &self.args.regions)?;
        let mut broken = Vec::new();
        for input in Inputs::new(&self.args.images)? {
            let input = input?;
            let canvas = match self.model.canvas(&input.bytes).map_err(failed)? {
                Ok(canvas) => canvas,
                Err(error) => {
                    broken.push(Broken::tell(input.name, &error));
                    continue;
                }
            };
            let slid;
            let proposals = if let Some(all) = self.proposals {
                of_image(all, &input.name)?
            } else {
                let [width, height] = canvas.size();
                slid = sliding([width as f32, height as f32], &windows);
                &slid
            };
            let detections = self.detector.in_image(&canvas, proposals, self.vocabulary);
            let detections = detections.map_err(|error| {
                let doing = format!("detecting in `{}`", input.name);
                Failure::new(exits::direct(&error), doing, &error)
            })?;
            found(&input.name, detections);
        }
        Ok(broken)
    }
}

/// The proposals of an image: by its whole name, that of its file, or that without its ending.
fn of_image<'p>(
    all: &'p HashMap<String, Vec<Proposal>>,
    name: &str,
) -> Result<&'p [Proposal], Failure> {
    let path = Path::new(name);
    let part = |part: Option<&std::ffi::OsStr>| part.and_then(|part| all.get(part.to_str()?));
    let found = all.get(name).or_else(|| part(path.file_name()));
    let found = found.or_else(|| part(path.file_stem()));
    found.map(Vec::as_slice).ok_or_else(|| {
        let doing = format!("looking for the proposals of `{name}`");
        Failure::usage(doing, "the file of --proposals has no line for it").with_hint(
            "Name the image there as here, by its file's name, or by that without its ending.",
        )
    })
}

fn categories(args: &DetectArgs) -> Result<Vec<Category>, Failure> {
    let mut categories: Vec<Category> = match &args.categories {
        None => (1..)
            .zip(&args.classes)
            .map(|(id, name)| Category {
                id,
                names: vec![name.clone()],
                is_novel: false,
            })
            .collect(),
        Some(path) => {
            let doing = || format!("reading categories `{}`", path.display());
            let file =
                File::open(path).map_err(|e| Failure::io(doing(), &e).with_exit(exits::io(&e)))?;
            let read: Result<Annotations, _> = serde_json::from_reader(BufReader::new(file));
            let read = read.map_err(|error| Failure::usage(doing(), error.to_string()))?;
            read.categories.into_iter().map(Category::of).collect()
        }
    };
    let known: HashSet<&str> = categories
        .iter()
        .flat_map(|category| category.names.iter().map(String::as_str))
        .collect();
    if let Some(name) = args
        .novel
        .iter()
        .find(|name| !known.contains(name.as_str()))
    {
        let problem = format!("no class is called `{name}`");
        return Err(Failure::usage("reading --novel", problem));
    }
    if !args.novel.is_empty() {
        for category in &mut categories {
            category.is_novel = category.names.iter().any(|name| args.novel.contains(name));
        }
    }
    Ok(categories)
}

impl Category {
    fn of(annotated: Annotated) -> Self {
        let mut names = annotated.synonyms;
        if names.is_empty() {
            names.push(annotated.name);
        }
        Self {
            id: annotated.id,
            names,
            is_novel: annotated.frequency.as_deref() == Some("r"),
        }
    }
}

/// The proposals of each image, by the name that it has in the file.
fn proposals(path: &Path) -> Result<HashMap<String, Vec<Proposal>>, Failure> {
    let doing = || format!("reading proposals `{}`", path.display());
    let failed = |e: &std::io::Error| Failure::io(doing(), e).with_exit(exits::io(e));
    let file = File::open(path).map_err(|e| failed(&e))?;
    let mut all = HashMap::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|e| failed(&e))?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |problem: String| Failure::usage(doing(), format!("line {number}: {problem}"));
        let line: ProposalLine =
            serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let boxes = line.boxes.len();
        let objectness = line.objectness.unwrap_or_else(|| vec![1.0; boxes]);
        if objectness.len() != boxes {
            let found = objectness.len();
            return Err(wrong(format!(
                "objectness of {found} boxes, there are {boxes}"
            )));
        }
        let pairs = line.boxes.into_iter().zip(objectness);
        let proposal = |(edges, objectness)| Proposal { edges, objectness };
        if all
            .insert(line.image.clone(), pairs.map(proposal).collect())
            .is_some()
        {
            return Err(wrong(format!("`{}` has a line already", line.image)));
        }
    }
    Ok(all)
}

/// A detection as COCO's and LVIS's programs read it. An image whose name without its ending is a whole number has that
/// number as its id, as in both data sets; any other has its name.
fn result(image: &str, detection: &Detection, categories: &[Category]) -> Value {
    let stem = Path::new(image).file_stem().and_then(|stem| stem.to_str());
    let id: Option<u64> = stem.and_then(|stem| stem.parse().ok());
    let [left, top, right, bottom] = detection.edges;
    json!({
        "image_id": id.map_or_else(|| Value::from(image), Value::from),
        "category_id": categories[detection.class].id,
        "bbox": [left, top, right - left, bottom - top],
        "score": detection.score,
    })
}

/// A list, one result a line.
fn write(args: &DetectArgs, results: &[Value]) -> Result<(), Failure> {
    let lines: Vec<String> = results
        .iter()
        .map(|result| printable_json(&result.to_string()))
        .collect();
    let text = if lines.is_empty() {
        "[]".to_owned()
    } else {
        format!("[\n{}\n]", lines.join(",\n"))
    };
    let Some(path) = &args.out else {
        return print(&text);
    };
    let content = format!("{text}\n");
    if target::is_to_be_written(path, content.as_bytes(), args.force)? {
        let doing = || format!("writing `{}`", path.display());
        let stored = |e: &sightline_store::Error| Failure::new(exits::store(e), doing(), e);
        let mut file = AtomicFile::create(path).map_err(|e| stored(&e))?;
        file.write_all(content.as_bytes())
            .map_err(|e| Failure::io(doing(), &e))?;
        file.commit().map_err(|e| stored(&e))?;
    }
    Ok(())
}
