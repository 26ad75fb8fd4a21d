//! The area `models/preprocess`: what the processors of three model families make of a few images.
//!
//! Its cases are pipelines of the area `preprocess` under other names, so its images and settings are
//! turned into such cases and only the tolerances are its own.

use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sightline_imaging::{DecodeOptions, decode_rgb};
use sightline_testkit::golden::{DiffU8, Report, compare_f32};

use crate::cases::{Case, Output, Values, floats};

/// `meta.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    images: Vec<Image>,
    clip: Map<String, Value>,
    clip_full_size: u32,
    align: Map<String, Value>,
    align_full: AlignFull,
    virtex: Virtex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    file: String,
    width: u32,
    height: u32,
    #[serde(rename = "channels")]
    _channels: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AlignFull {
    resize: [u32; 2],
    crop: [u32; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Virtex {
    shortest_edge: u32,
    crop: u32,
    full: VirtexFull,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VirtexFull {
    shortest_edge: u32,
    crop: u32,
}

/// End of the names of full-size pictures.
const PICTURE: &str = "_full.png";

/// Runs every array and every full-size picture that the folder holds.
pub(crate) fn run(
    folder: &Path,
    report: &mut Report,
    runner: impl Fn(&Case) -> Option<Result<Output, String>>,
) {
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let meta: Meta = serde_json::from_slice(&read("meta.json")).expect("meta.json");
    for image in &meta.images {
        report.case("sizes", &image.file, check_size(&read(&image.file), image));
    }

    let expected = read("expected.safetensors");
    let expected = SafeTensors::deserialize(&expected).expect("expected.safetensors");
    for (name, array) in expected.iter() {
        let outcome = split(name).and_then(|(stem, kind)| {
            let case = case(folder, &meta, stem, kind)?;
            let output = runner(&case).ok_or("no runner")??;
            case.params.all_read()?;
            if output.shape != array.shape() {
                return Err(format!(
                    "shape {:?} instead of {:?}",
                    output.shape,
                    array.shape()
                ));
            }
            compare_values(&meta, kind, &case, &output, &floats(array.data()))
        });
        report.case("tensors", name, outcome);
    }

    let files: Vec<String> = std::fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable folder").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let pictures = files.iter().filter(|file| file.ends_with(PICTURE));
    let images = meta.images.iter().map(|image| &image.file);
    report.listing(
        folder,
        pictures
            .chain(images)
            .map(String::as_str)
            .chain(["expected.safetensors", "meta.json"]),
    );
    for file in &files {
        let Some(name) = file.strip_suffix(PICTURE) else {
            continue;
        };
        let outcome = split(name).and_then(|(stem, kind)| {
            let case = case(folder, &meta, stem, &format!("{kind}_full"))?;
            let output = runner(&case).ok_or("no runner")??;
            case.params.all_read()?;
            let picture = decode_rgb(&read(file), &DecodeOptions::pillow())
                .map_err(|e| e.to_string())?
                .pixels;
            compare_pictures(kind, &case, &output, picture.data())
        });
        report.case("pictures", file, outcome);
    }
}

fn check_size(bytes: &[u8], image: &Image) -> Result<(), String> {
    let decoded = decode_rgb(bytes, &DecodeOptions::pillow()).map_err(|e| e.to_string())?;
    let size = (decoded.stored.width, decoded.stored.height);
    if size == (image.width, image.height) {
        Ok(())
    } else {
        Err(format!("size {size:?}"))
    }
}

fn split(name: &str) -> Result<(&str, &str), String> {
    name.rsplit_once('.')
        .ok_or_else(|| format!("`{name}` names no processor"))
}

/// The case of the area `preprocess` that does the same.
fn case(folder: &Path, meta: &Meta, stem: &str, kind: &str) -> Result<Case, String> {
    let image = meta
        .images
        .iter()
        .find(|image| {
            Path::new(&image.file)
                .file_stem()
                .is_some_and(|s| s == stem)
        })
        .ok_or_else(|| format!("no image `{stem}`"))?;
    let hugging_face = |config: &Map<String, Value>| json!({ "processor": config.get("image_processor_type"), "config": config });
    let smallest = |edge: u32, crop: u32| {
        json!({
            "smallest_max_size": edge, "crop": crop, "interpolation": "linear",
            "mean": IMAGENET_MEAN, "std": IMAGENET_STD,
        })
    };
    let (pipeline, params) = match kind {
        "clip" => ("hf_clip_slow", hugging_face(&meta.clip)),
        "align" => ("hf_align", hugging_face(&meta.align)),
        "virtex" => (
            "virtex",
            smallest(meta.virtex.shortest_edge, meta.virtex.crop),
        ),
        "clip_full" => {
            let mut config = meta.clip.clone();
            config.insert(
                "size".to_owned(),
                json!({ "shortest_edge": meta.clip_full_size }),
            );
            config.insert("crop_size".to_owned(), json!(meta.clip_full_size));
            let mut params = hugging_face(&config);
            params["stage"] = json!("u8 after crop");
            ("clip224_u8", params)
        }
        "align_full" => {
            let sides = |[height, width]: [u32; 2]| json!({ "height": height, "width": width });
            let mut config = meta.align.clone();
            config.insert("size".to_owned(), sides(meta.align_full.resize));
            config.insert("crop_size".to_owned(), sides(meta.align_full.crop));
            let mut params = hugging_face(&config);
            params["stage"] = json!("u8 after crop");
            ("clip224_u8", params)
        }
        "virtex_full" => {
            let full = &meta.virtex.full;
            ("virtex_u8", smallest(full.shortest_edge, full.crop))
        }
        other => return Err(format!("unknown processor `{other}`")),
    };
    let mut case: Case = serde_json::from_value(json!({
        "id": format!("{pipeline}/{stem}"), "pipeline": pipeline, "image": image.file, "params": params,
    }))
    .map_err(|e| e.to_string())?;
    folder.clone_into(&mut case.folder);
    folder.clone_into(&mut case.images);
    Ok(case)
}

const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Largest and mean difference in levels that the fixtures' README allows.
fn allowed(kind: &str, case: &Case) -> (f64, f64) {
    match (case.other_jpeg_decoder(), kind) {
        (true, _) => (2.0, 2.0),
        (false, "virtex") => (1.0, 1.0),
        (false, _) => (1.0, 0.05),
    }
}

fn compare_values(
    meta: &Meta,
    kind: &str,
    case: &Case,
    output: &Output,
    expected: &[f32],
) -> Result<(), String> {
    let Values::F32(actual) = &output.values else {
        return Err("the runner gives no floats".to_owned());
    };
    let (most, mean) = allowed(kind, case);
    let level = level(meta, kind)?;
    // Half a thousandth of a level for the last bits of the arithmetic.
    compare_f32(actual, expected, most * level * 1.0005, 0.0)?;
    let sum: f64 = actual
        .iter()
        .zip(expected)
        .map(|(&a, &e)| (f64::from(a) - f64::from(e)).abs())
        .sum();
    within(sum / expected.len().max(1) as f64 / level, mean)
}

fn compare_pictures(
    kind: &str,
    case: &Case,
    output: &Output,
    expected: &[u8],
) -> Result<(), String> {
    let Values::U8(actual) = &output.values else {
        return Err("the runner gives no bytes".to_owned());
    };
    if actual.len() != expected.len() {
        return Err(format!(
            "{} bytes instead of {}",
            actual.len(),
            expected.len()
        ));
    }
    let (most, mean) = allowed(kind, case);
    let diff = DiffU8::of(actual, expected);
    within(diff.max.into(), most)?;
    within(diff.mean, mean)
}

/// By how much a value of the tensor changes when its byte changes by one.
fn level(meta: &Meta, kind: &str) -> Result<f64, String> {
    let least = |std: &[f64]| std.iter().copied().fold(f64::INFINITY, f64::min);
    let config = match kind {
        "clip" => &meta.clip,
        "align" => &meta.align,
        _ => return Ok(1.0 / 255.0 / least(&IMAGENET_STD)),
    };
    let read = |key: &str| config.get(key).cloned().ok_or(format!("no `{key}`"));
    let factor = read("rescale_factor")?
        .as_f64()
        .ok_or("`rescale_factor` is no number")?;
    if read("do_normalize")? == json!(false) {
        return Ok(factor);
    }
    let std: Vec<f64> =
        serde_json::from_value(read("image_std")?).map_err(|e| format!("`image_std`: {e}"))?;
    Ok(factor / least(&std))
}

fn within(difference: f64, allowed: f64) -> Result<(), String> {
    // A NaN is not within anything.
    if difference <= allowed {
        Ok(())
    } else {
        Err(format!(
            "difference of {difference} levels, allowed {allowed}"
        ))
    }
}
