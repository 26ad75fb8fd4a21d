//! The twelve COCO numbers, average precision by category and a precision-recall curve.

use std::collections::BTreeMap;

use serde::Deserialize;
use sightline_metrics::detection::{self, Detection, DetectionItem, GroundTruth};
use sightline_metrics::{BoundingBox, Input, Observations, registry};
use sightline_testkit::golden::Report;

use crate::files::{Folder, close};

const TOLERANCE: f64 = 1e-9;

/// Our names of the twelve numbers.
const IDS: &[(&str, &str)] = &[
    ("AP", "coco-ap"),
    ("AP50", "coco-ap50"),
    ("AP75", "coco-ap75"),
    ("APs", "coco-ap.small"),
    ("APm", "coco-ap.medium"),
    ("APl", "coco-ap.large"),
    ("AR1", "coco-ar@1"),
    ("AR10", "coco-ar@10"),
    ("AR100", "coco-ar@100"),
    ("ARs", "coco-ar@100.small"),
    ("ARm", "coco-ar@100.medium"),
    ("ARl", "coco-ar@100.large"),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectionCase {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Annotation>,
    detections: Vec<Found>,
    stats: BTreeMap<String, f64>,
    ap_per_category: BTreeMap<u32, f64>,
    pr_curve_iou50_first_category: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    id: u64,
    #[serde(rename = "width")]
    _width: u32,
    #[serde(rename = "height")]
    _height: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    id: u32,
    #[serde(rename = "name")]
    _name: String,
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
    iscrowd: u8,
    ignore: u8,
    /// Left behind by the program that wrote the file: whether the annotation was ignored in the last
    /// area range it looked at.
    _ignore: Option<u8>,
}

/// A detection in the layout of COCO results.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    pub(crate) image_id: u64,
    category_id: u32,
    bbox: [f64; 4],
    score: f64,
}

impl Found {
    pub(crate) fn detection(&self) -> Result<Detection, String> {
        Ok(Detection {
            category: self.category_id,
            bbox: BoundingBox::new(self.bbox).map_err(|e| e.to_string())?,
            score: self.score,
        })
    }
}

pub(crate) fn run(folder: &Folder, file: &str, report: &mut Report) -> Result<(), String> {
    let cases: Vec<DetectionCase> = folder.json(file)?;
    for (number, case) in cases.iter().enumerate() {
        report.case("detection", &number.to_string(), detection_case(case));
    }
    Ok(())
}

fn detection_case(case: &DetectionCase) -> Result<(), String> {
    let items = items(case)?;
    let categories: Vec<u32> = case.categories.iter().map(|category| category.id).collect();
    let report = detection::report(&items, &categories);
    if case.ap_per_category.len() != categories.len() {
        return Err("not every category has an AP".to_owned());
    }
    for found in &report.categories {
        let expected = case.ap_per_category.get(&found.category);
        let &expected = expected.ok_or_else(|| format!("no AP of {}", found.category))?;
        defined(found.ap, expected).map_err(|e| format!("AP of {}: {e}", found.category))?;
    }
    let first = report.categories.first().ok_or("no category")?;
    let curve = first.curve(0.5).map(|curve| curve.precision.as_slice());
    same_curve(curve, &case.pr_curve_iou50_first_category)?;

    let mut observations = Observations::default();
    observations.set(Input::Detection, items);
    values(&observations, IDS, &case.stats)
}

fn items(case: &DetectionCase) -> Result<Vec<DetectionItem>, String> {
    let mut images: BTreeMap<u64, (Vec<GroundTruth>, Vec<Detection>)> = BTreeMap::new();
    for image in &case.images {
        images.entry(image.id).or_default();
    }
    for annotation in &case.annotations {
        let image = images.get_mut(&annotation.image_id);
        image
            .ok_or("an annotation of no image")?
            .0
            .push(GroundTruth {
                category: annotation.category_id,
                bbox: BoundingBox::new(annotation.bbox).map_err(|e| e.to_string())?,
                area: annotation.area,
                is_crowd: annotation.iscrowd != 0,
                is_ignored: annotation.ignore != 0,
            });
    }
    for found in &case.detections {
        let image = images.get_mut(&found.image_id);
        image
            .ok_or("a detection of no image")?
            .1
            .push(found.detection()?);
    }
    images
        .into_values()
        .map(|(truths, detections)| {
            DetectionItem::new(truths, detections).map_err(|e| e.to_string())
        })
        .collect()
}

/// Every recorded number equals the metric of its id, and every id is recorded.
pub(crate) fn values(
    observations: &Observations,
    ids: &[(&str, &str)],
    recorded: &BTreeMap<String, f64>,
) -> Result<(), String> {
    if recorded.len() != ids.len() {
        return Err(format!(
            "{} numbers instead of {}",
            recorded.len(),
            ids.len()
        ));
    }
    for (name, id) in ids {
        let expected = recorded.get(*name).ok_or_else(|| format!("no `{name}`"))?;
        let metric = registry::metric(id).map_err(|e| e.to_string())?;
        let outcome = metric.evaluate(observations, None);
        let outcome = outcome.map_err(|e| e.to_string())?;
        defined(outcome.value, *expected).map_err(|e| format!("{id}: {e}"))?;
    }
    Ok(())
}

/// Whether a value is the one recorded, where -1 stands for none.
#[expect(clippy::float_cmp, reason = "-1 is written as it is")]
pub(crate) fn defined(value: Option<f64>, expected: f64) -> Result<(), String> {
    match value {
        None if expected == -1.0 => Ok(()),
        value => close(value, expected, TOLERANCE),
    }
}

/// Whether a curve is the one recorded, which is -1 throughout where there is none.
pub(crate) fn same_curve(curve: Option<&[f64]>, expected: &[f64]) -> Result<(), String> {
    if expected.len() != 101 || curve.is_some_and(|curve| curve.len() != 101) {
        return Err("a curve without 101 points".to_owned());
    }
    for (point, &expected) in expected.iter().enumerate() {
        let value = curve.map(|curve| curve[point]);
        defined(value, expected).map_err(|e| format!("point {point} of the curve: {e}"))?;
    }
    Ok(())
}
