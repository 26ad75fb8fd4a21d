//! The contact sheet: originals, what the model sees, and where two specifications differ.

use std::path::Path;

use sightline_core::image_spec::{Filter, Size};
use sightline_core::{Digest, ImageFormat};
use sightline_imaging::resize::{PassOrder, resize_pillow};
use sightline_imaging::sizes::thumbnail;
use sightline_imaging::{Channels, DecodeOptions, EncodeSpec, Pixels, decode_rgb, encode};
use sightline_preprocess::Preprocessor;
use sightline_report::contact_sheet::{
    ContactSheet, Picture, PictureDifference, SheetImage, SheetSpec, contact_sheet, kilobytes,
};

use crate::command::inputs::{Input, Inputs};
use crate::exit::{Exit, Failure};

/// Images on a sheet; the page holds every picture.
const MOST_IMAGES: usize = 200;
/// Longest side of an original as it is shown.
const ORIGINAL_SIDE: u32 = 320;
/// By how much differences are multiplied: one level can be seen, and 16 are white.
const GAIN: u32 = 16;

/// A specification by the name of its file.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) preprocessor: Preprocessor,
}

impl Named {
    /// `preprocessor`, which follows the specification in `file`.
    pub(super) fn new(file: &Path, preprocessor: Preprocessor) -> Self {
        let name = file.display().to_string();
        Self { name, preprocessor }
    }
}

/// The page about the first images of `inputs`; also how many of them are broken.
pub(super) fn html(specs: &[Named], inputs: Inputs) -> Result<(String, usize), Failure> {
    let steps: Vec<Vec<String>> = specs
        .iter()
        .map(|spec| spec.preprocessor.spec().steps())
        .collect();
    let mut inputs_shown = Vec::new();
    for input in inputs.take(MOST_IMAGES) {
        inputs_shown.push(input?);
    }
    let images: Vec<SheetImage<'_>> = inputs_shown
        .iter()
        .map(|input| image(specs, input))
        .collect();
    let broken = images
        .iter()
        .filter(|image| image.seen.iter().any(Result::is_err));
    let broken = broken.count();
    let command: Vec<String> = std::env::args_os()
        .enumerate()
        .map(|(at, argument)| match at {
            0 => "sightline".to_owned(),
            _ => argument.to_string_lossy().into_owned(),
        })
        .collect();
    let sheet = ContactSheet {
        version: env!("CARGO_PKG_VERSION"),
        command: &command,
        specs: specs
            .iter()
            .zip(&steps)
            .map(|(spec, steps)| SheetSpec {
                name: &spec.name,
                steps,
                digest: Digest::of_json(spec.preprocessor.spec())
                    .unwrap_or_else(|_| Digest::of(b"")),
            })
            .collect(),
        images,
    };
    let page = contact_sheet(&sheet)
        .map_err(|error| Failure::new(Exit::Environment, "making the contact sheet", &error))?;
    Ok((page, broken))
}

fn image<'a>(specs: &[Named], input: &'a Input) -> SheetImage<'a> {
    let original = decode_rgb(&input.bytes, &DecodeOptions::sane());
    let about = match &original {
        Ok(decoded) => format!(
            "{}, {}×{}, {}",
            decoded.format.extension(),
            decoded.stored.width,
            decoded.stored.height,
            kilobytes(input.bytes.len())
        ),
        Err(_) => kilobytes(input.bytes.len()),
    };
    let fitted: Vec<Result<Pixels, String>> = specs
        .iter()
        .map(|spec| {
            spec.preprocessor
                .fit_bytes(&input.bytes)
                .map_err(|error| error.to_string())
        })
        .collect();
    let difference = match fitted.as_slice() {
        [Ok(a), Ok(b), ..] => difference(a, b),
        _ => None,
    };
    SheetImage {
        name: &input.name,
        about,
        original: original.ok().and_then(|decoded| small(&decoded.pixels)),
        seen: fitted
            .into_iter()
            .map(|fitted| {
                fitted
                    .and_then(|pixels| picture(&pixels).ok_or_else(|| "cannot be shown".to_owned()))
            })
            .collect(),
        difference,
    }
}

fn small(pixels: &Pixels) -> Option<Picture> {
    let within = Size::square(ORIGINAL_SIDE);
    let size = thumbnail(pixels.size(), within);
    picture(&resize_pillow(pixels, size, Filter::Bicubic, PassOrder::Adaptive, None).ok()?)
}

fn picture(pixels: &Pixels) -> Option<Picture> {
    Some(Picture {
        png: encode(pixels, &EncodeSpec::lossless(ImageFormat::Png)).ok()?,
        width: pixels.width(),
        height: pixels.height(),
    })
}

/// `None` where the sizes differ.
fn difference(a: &Pixels, b: &Pixels) -> Option<PictureDifference> {
    if a.size() != b.size() || a.data().len() != b.data().len() {
        return None;
    }
    let levels: Vec<u8> = a
        .data()
        .iter()
        .zip(b.data())
        .map(|(a, b)| a.abs_diff(*b))
        .collect();
    let sum: u64 = levels.iter().map(|&level| u64::from(level)).sum();
    let differing = levels.iter().filter(|&&level| level != 0).count();
    let count = levels.len().max(1) as f64;
    let max = levels.iter().copied().max().unwrap_or(0);
    let shown = levels
        .iter()
        .map(|&level| (u32::from(level) * GAIN).min(255) as u8)
        .collect();
    let shown = Pixels::new(a.width(), a.height(), Channels::Rgb, shown).ok()?;
    Some(PictureDifference {
        picture: picture(&shown)?,
        gain: GAIN,
        mean: sum as f64 / count,
        max,
        share: differing as f64 / count,
    })
}
