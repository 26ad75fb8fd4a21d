//! A page that shows what preprocessing makes of images.
//!
//! For each image the original, what the model sees, and — between two specifications — where the two
//! differ. Pictures are inside the page, so that it can be moved and opened anywhere.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;
use sightline_core::Digest;
use sightline_core::text::{count, counted, printable};

use crate::error::Error;
use crate::format::command;
use crate::page::{hash, style};

const TEMPLATE: &str = include_str!("templates/contact_sheet.html");
static STYLE: LazyLock<String> =
    LazyLock::new(|| style(include_str!("templates/contact_sheet.css")));

/// What the page shows.
#[derive(Clone, Debug)]
pub struct ContactSheet<'a> {
    /// Version of the program.
    pub version: &'a str,
    /// The command line, program first.
    pub command: &'a [String],
    /// One specification, or two that are compared.
    pub specs: Vec<SheetSpec<'a>>,
    /// In the order in which they are shown.
    pub images: Vec<SheetImage<'a>>,
}

/// A specification.
#[derive(Clone, Debug)]
pub struct SheetSpec<'a> {
    /// Its file.
    pub name: &'a str,
    /// Its steps in words.
    pub steps: &'a [String],
    /// Digest of its fields.
    pub digest: Digest,
}

/// One image.
#[derive(Clone, Debug)]
pub struct SheetImage<'a> {
    /// Its file.
    pub name: &'a str,
    /// What it is: `JPEG, 500×375, 41 kB`.
    pub about: String,
    /// The original, perhaps made smaller.
    pub original: Option<Picture>,
    /// For each specification what the model sees, or why there is nothing.
    pub seen: Vec<Result<Picture, String>>,
    /// Between the first two specifications.
    pub difference: Option<PictureDifference>,
}

/// A PNG file.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The file's bytes.
    pub png: Vec<u8>,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// How two pictures of one size differ, in levels of 0 to 255.
#[derive(Clone, Debug)]
pub struct PictureDifference {
    /// Brighter where they differ more.
    pub picture: Picture,
    /// By how much differences are multiplied in it.
    pub gain: u32,
    /// Mean over all channels of all pixels.
    pub mean: f64,
    /// The largest.
    pub max: u8,
    /// Share of the values that differ at all.
    pub share: f64,
}

#[derive(Serialize)]
struct SheetView {
    style: &'static str,
    style_hash: String,
    version: String,
    command: String,
    images: String,
    broken: Option<String>,
    has_difference: bool,
    specs: Vec<SpecView>,
    rows: Vec<RowView>,
}

#[derive(Serialize)]
struct SpecView {
    name: String,
    digest: String,
    steps: Vec<String>,
}

#[derive(Serialize)]
struct RowView {
    name: String,
    about: String,
    original: Option<PictureView>,
    seen: Vec<SeenView>,
    difference: Option<DifferenceView>,
}

#[derive(Serialize)]
struct SeenView {
    spec: String,
    picture: Option<PictureView>,
    problem: Option<String>,
}

#[derive(Serialize)]
struct PictureView {
    data: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct DifferenceView {
    picture: PictureView,
    gain: u32,
    mean: String,
    max: u8,
    share: String,
}

/// The page for `sheet`.
pub fn contact_sheet(sheet: &ContactSheet<'_>) -> Result<String, Error> {
    let template = |source| Error::Template { source };
    let mut environment = Environment::new();
    environment
        .add_template("contact_sheet.html", TEMPLATE)
        .map_err(template)?;
    let page = environment
        .get_template("contact_sheet.html")
        .map_err(template)?;
    page.render(Value::from(Serde(view(sheet))))
        .map_err(template)
}

fn view(sheet: &ContactSheet<'_>) -> SheetView {
    let is_broken = |image: &&SheetImage<'_>| image.seen.iter().any(Result::is_err);
    let broken = sheet.images.iter().filter(is_broken).count();
    SheetView {
        style: &STYLE,
        style_hash: hash(&STYLE),
        version: printable(sheet.version),
        command: printable(&command(sheet.command)),
        images: counted(sheet.images.len(), "image"),
        broken: (broken > 0).then(|| counted(broken, "image")),
        has_difference: sheet.images.iter().any(|image| image.difference.is_some()),
        specs: sheet
            .specs
            .iter()
            .map(|spec| SpecView {
                name: printable(spec.name),
                digest: spec.digest.to_string(),
                steps: spec.steps.iter().map(|step| printable(step)).collect(),
            })
            .collect(),
        rows: sheet.images.iter().map(|image| row(image, sheet)).collect(),
    }
}

fn row(image: &SheetImage<'_>, sheet: &ContactSheet<'_>) -> RowView {
    RowView {
        name: printable(image.name),
        about: printable(&image.about),
        original: image.original.as_ref().map(picture),
        seen: image
            .seen
            .iter()
            .zip(&sheet.specs)
            .map(|(seen, spec)| SeenView {
                spec: printable(spec.name),
                picture: seen.as_ref().ok().map(picture),
                problem: seen.as_ref().err().map(|problem| printable(problem)),
            })
            .collect(),
        difference: image.difference.as_ref().map(|difference| DifferenceView {
            picture: picture(&difference.picture),
            gain: difference.gain,
            mean: format!("{:.3}", difference.mean),
            max: difference.max,
            share: format!("{:.1} %", 100.0 * difference.share),
        }),
    }
}

fn picture(picture: &Picture) -> PictureView {
    PictureView {
        data: BASE64_STANDARD.encode(&picture.png),
        width: picture.width,
        height: picture.height,
    }
}

/// `41 kB`, for [`SheetImage::about`].
pub fn kilobytes(bytes: usize) -> String {
    format!("{} kB", count(bytes.div_ceil(1000) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(byte: u8) -> Picture {
        Picture {
            png: vec![byte; 3],
            width: 2,
            height: 1,
        }
    }

    #[test]
    fn pictures_are_inside_and_names_are_text() {
        let steps = ["Decode <b>".to_owned()];
        let spec = |name| SheetSpec {
            name,
            steps: &steps,
            digest: Digest::of(b"spec"),
        };
        let page = contact_sheet(&ContactSheet {
            version: "0.1.0",
            command: &["sightline".to_owned(), "preprocess".to_owned()],
            specs: vec![spec("a.json"), spec("b.toml")],
            images: vec![
                SheetImage {
                    name: "<img onerror=x>",
                    about: "JPEG".to_owned(),
                    original: Some(picture(1)),
                    seen: vec![Ok(picture(2)), Ok(picture(3))],
                    difference: Some(PictureDifference {
                        picture: picture(4),
                        gain: 16,
                        mean: 0.25,
                        max: 3,
                        share: 0.125,
                    }),
                },
                SheetImage {
                    name: "broken.jpg",
                    about: String::new(),
                    original: None,
                    seen: vec![
                        Err("file is empty".to_owned()),
                        Err("file is empty".to_owned()),
                    ],
                    difference: None,
                },
            ],
        })
        .unwrap();
        for byte in 1..=4u8 {
            let data = BASE64_STANDARD.encode([byte; 3]);
            assert!(page.contains(&format!("data:image/png;base64,{data}")));
        }
        assert!(!page.contains("<img onerror") && page.contains("&lt;img onerror"));
        assert!(page.contains("mean 0.250") && page.contains("12.5 %"));
        assert!(page.contains("file is empty"));
        assert!(page.replace("&#x2f;", "/").contains(&hash(&STYLE)));
    }
}
