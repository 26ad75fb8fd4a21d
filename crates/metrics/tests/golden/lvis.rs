//! The thirteen LVIS numbers, values by category and a precision-recall curve.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use sightline_metrics::detection::{
    self, FederatedImage, FederatedItem, Frequencies, Frequency, GroundTruth,
};
use sightline_metrics::{BoundingBox, Input, Observations};
use sightline_testkit::golden::Report;

use crate::detection::{Found, defined, same_curve, values};
use crate::files::{Folder, Header};

/// Our names of the numbers.
const IDS: &[(&str, &str)] = &[
    ("AP", "lvis-ap"),
    ("AP50", "lvis-ap50"),
    ("AP75", "lvis-ap75"),
    ("APs", "lvis-ap.small"),
    ("APm", "lvis-ap.medium"),
    ("APl", "lvis-ap.large"),
    ("APr", "lvis-ap.rare"),
    ("APc", "lvis-ap.common"),
    ("APf", "lvis-ap.frequent"),
    ("AR@300", "lvis-ar@300"),
    ("ARs@300", "lvis-ar@300.small"),
    ("ARm@300", "lvis-ar@300.medium"),
    ("ARl@300", "lvis-ar@300.large"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    header: Header,
    cases: Vec<LvisCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LvisCase {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Annotation>,
    detections: Vec<Found>,
    stats: BTreeMap<String, f64>,
    ap_per_category: BTreeMap<u32, f64>,
    ar_per_category: BTreeMap<u32, f64>,
    pr_curve_iou75_first_category: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    id: u64,
    neg_category_ids: Vec<u32>,
    not_exhaustive_category_ids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    id: u32,
    frequency: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotation {
    #[serde(rename = "id")]
    _id: u64,
    image_id: u64,
    category_id: u32,
    bbox: [f64; 4],
    area: f64,
    ignore: u8,
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let file: File = folder.json(file)?;
    report.case("lvis", "header", file.header.names_its_origin());
    for (number, case) in file.cases.iter().enumerate() {
        report.case("lvis", &number.to_string(), lvis_case(case));
    }
    Ok(())
}

fn lvis_case(case: &LvisCase) -> Result<(), String> {
    let items = items(case)?;
    let categories: Vec<u32> = case.categories.iter().map(|category| category.id).collect();
    let report = detection::report(&items, &categories);
    if [&case.ap_per_category, &case.ar_per_category].map(BTreeMap::len) != [categories.len(); 2] {
        return Err("not every category has an AP and an AR".to_owned());
    }
    for found in &report.categories {
        for (name, value, recorded) in [
            ("AP", found.ap, &case.ap_per_category),
            ("AR", found.ar, &case.ar_per_category),
        ] {
            let expected = recorded.get(&found.category);
            let &expected = expected.ok_or_else(|| format!("no {name} of {}", found.category))?;
            defined(value, expected).map_err(|e| format!("{name} of {}: {e}", found.category))?;
        }
    }
    let first = report.categories.first().ok_or("no category")?;
    let curve = first.curve(0.75).map(|curve| curve.precision.as_slice());
    same_curve(curve, &case.pr_curve_iou75_first_category)?;

    let mut observations = Observations::default();
    observations.set(Input::FederatedDetection, items);
    values(&observations, IDS, &case.stats)
}

fn items(case: &LvisCase) -> Result<Vec<FederatedItem>, String> {
    let frequencies: Frequencies = case
        .categories
        .iter()
        .map(|category| {
            let frequency = Frequency::of_letter(&category.frequency);
            Ok((category.id, frequency.ok_or("an unknown frequency")?))
        })
        .collect::<Result<_, &str>>()?;
    let frequencies = Arc::new(frequencies);
    let mut images: BTreeMap<u64, FederatedImage> = case
        .images
        .iter()
        .map(|image| {
            let federated = FederatedImage {
                absent: image.neg_category_ids.clone(),
                not_exhaustive: image.not_exhaustive_category_ids.clone(),
                ..FederatedImage::default()
            };
            (image.id, federated)
        })
        .collect();
    for annotation in &case.annotations {
        let image = images.get_mut(&annotation.image_id);
        let image = image.ok_or("an annotation of no image")?;
        image.truths.push(GroundTruth {
            category: annotation.category_id,
            bbox: BoundingBox::new(annotation.bbox).map_err(|e| e.to_string())?,
            area: annotation.area,
            is_crowd: false,
            is_ignored: annotation.ignore != 0,
        });
    }
    for found in &case.detections {
        let image = images.get_mut(&found.image_id);
        let image = image.ok_or("a detection of no image")?;
        image.detections.push(found.detection()?);
    }
    images
        .into_values()
        .map(|image| FederatedItem::new(image, &frequencies).map_err(|e| e.to_string()))
        .collect()
}
