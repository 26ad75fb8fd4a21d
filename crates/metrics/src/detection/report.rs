//! Average precision and precision-recall curves of each category, for a page or a table.

use serde::Serialize;

use super::matching::{IOU_THRESHOLDS, IOUS};
use super::metric::{self, BoxItem};
use super::table::{AreaRange, DetectionTable};
use crate::selection::{Chosen, Table};

/// What was found, by category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Overlap thresholds, ascending: 0.50 to 0.95.
    pub ious: Vec<f64>,
    /// Mean over categories of their average precision; `None` when nothing is annotated.
    pub ap: Option<f64>,
    /// The categories asked for, in that order.
    pub categories: Vec<CategoryReport>,
}

/// What was found of one category, objects of any size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryReport {
    /// The category.
    pub category: u32,
    /// Objects to be found, which crowds and ignored annotations are not.
    pub objects: u64,
    /// Mean average precision over all thresholds; `None` when there is no object.
    pub ap: Option<f64>,
    /// Mean recall over all thresholds; `None` when there is no object.
    pub ar: Option<f64>,
    /// One curve for each threshold; none when there is no object.
    pub curves: Vec<PrecisionRecall>,
}

/// A precision-recall curve at one overlap threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrecisionRecall {
    /// The threshold.
    pub iou: f64,
    /// The mean of `precision`.
    pub ap: f64,
    /// The share of objects that was found.
    pub recall: f64,
    /// The highest precision at the recalls 0.00, 0.01, …, 1.00 or above; 0 at recalls that were not
    /// reached.
    pub precision: Vec<f64>,
}

impl CategoryReport {
    /// The curve at the threshold that is `iou`, up to rounding.
    pub fn curve(&self, iou: f64) -> Option<&PrecisionRecall> {
        self.curves
            .iter()
            .find(|curve| (curve.iou - iou).abs() < 1e-6)
    }
}

/// Evaluates `images` for each of `categories`.
pub fn report<I: BoxItem>(images: &[I], categories: &[u32]) -> Report {
    let table = metric::table(images);
    let chosen = Chosen::all(table.len());
    let positives = table.positives(&chosen, AreaRange::All);
    let categories = categories
        .iter()
        .map(|&category| {
            let index = table
                .categories()
                .binary_search_by_key(&category, |known| known.id);
            let objects = index.ok().and_then(|index| {
                let found = positives.binary_search_by_key(&index, |&(category, _)| category);
                Some(positives[found.ok()?])
            });
            match objects {
                Some(objects) => category_report(&table, &chosen, category, objects),
                None => CategoryReport {
                    category,
                    objects: 0,
                    ap: None,
                    ar: None,
                    curves: Vec::new(),
                },
            }
        })
        .collect();
    Report {
        ious: IOU_THRESHOLDS.to_vec(),
        ap: table.mean_average_precision(&chosen, AreaRange::All, metric::AT_ALL, None),
        categories,
    }
}

fn category_report(
    table: &DetectionTable,
    chosen: &Chosen,
    category: u32,
    (index, objects): (usize, u64),
) -> CategoryReport {
    let curves = table.curves(chosen, index, objects);
    let curves: Vec<PrecisionRecall> = (0..IOUS)
        .map(|iou| PrecisionRecall {
            iou: IOU_THRESHOLDS[iou],
            ap: curves.average(iou),
            recall: curves.recall(iou, objects),
            precision: curves.curve(iou).to_vec(),
        })
        .collect();
    let mean = |of: fn(&PrecisionRecall) -> f64| curves.iter().map(of).sum::<f64>() / IOUS as f64;
    CategoryReport {
        category,
        objects,
        ap: Some(mean(|curve| curve.ap)),
        ar: Some(mean(|curve| curve.recall)),
        curves,
    }
}
