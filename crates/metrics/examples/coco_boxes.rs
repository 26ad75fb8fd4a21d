//! The COCO numbers of a results file, with the time each step takes, as JSON.
//!
//! ```text
//! cargo run --release -p sightline-metrics --example coco_boxes -- ANNOTATIONS RESULTS [RESAMPLES]
//! ```
//!
//! `benchmarks/peers/metrics/boxes.py` runs it beside pycocotools.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;
use std::{env, fs};

use serde::Deserialize;
use serde_json::json;
use sightline_core::Seed;
use sightline_metrics::detection::{self, Detection, DetectionItem, GroundTruth, coco};
use sightline_metrics::{Bootstrap, BoundingBox, DynMetric, Input, METRICS, Method, Observations};

#[derive(Deserialize)]
struct Dataset {
    images: Vec<Id>,
    categories: Vec<Id>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    category_id: u32,
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
}

#[derive(Deserialize)]
struct Found {
    image_id: u64,
    category_id: u32,
    bbox: [f64; 4],
    score: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (annotations, results, resamples) = match arguments.as_slice() {
        [annotations, results] => (annotations, results, None),
        [annotations, results, resamples] => (annotations, results, Some(resamples.parse()?)),
        _ => return Err("give an annotation file, a results file and perhaps resamples".into()),
    };
    let mut seconds = BTreeMap::new();
    let mut clock = Instant::now();
    let mut lap = |step: &'static str| {
        seconds.insert(step, clock.elapsed().as_secs_f64());
        clock = Instant::now();
    };

    let dataset: Dataset = serde_json::from_slice(&fs::read(annotations)?)?;
    let results: Vec<Found> = serde_json::from_slice(&fs::read(results)?)?;
    lap("read");

    let categories = dataset
        .categories
        .iter()
        .map(|category| u32::try_from(category.id))
        .collect::<Result<Vec<_>, _>>()?;
    let items = items(&dataset, &results)?;
    let mut observations = Observations::default();
    observations.set(Input::Detection, items.clone());
    lap("items");

    let metrics = || {
        METRICS
            .iter()
            .filter(|metric| metric.info().input == Input::Detection)
    };
    let mut values = BTreeMap::new();
    for metric in metrics() {
        values.insert(
            metric.info().id,
            metric.evaluate(&observations, None)?.value,
        );
    }
    lap("values");

    for metric in metrics() {
        metric.per_item(&observations)?;
    }
    lap("per-item");

    let report = detection::report(&items, &categories);
    let by_category: BTreeMap<u32, Option<f64>> = report
        .categories
        .iter()
        .map(|category| (category.category, category.ap))
        .collect();
    lap("report");

    let mut intervals = BTreeMap::new();
    if let Some(resamples) = resamples {
        let bootstrap = Bootstrap {
            resamples,
            confidence: 0.95,
            method: Method::Percentile,
            seed: Seed(17),
        };
        for metric in metrics() {
            let id = metric.info().id;
            let outcome = metric.evaluate(&observations, Some(&bootstrap))?;
            intervals.insert(id, outcome.interval);
            lap(id);
        }
        // The same with every second detection missing, as another model.
        let half: Vec<Found> = results.into_iter().step_by(2).collect();
        let mut other = Observations::default();
        other.set(Input::Detection, self::items(&dataset, &half)?);
        lap("items of another model");
        coco::AP.compare(&observations, &other, &bootstrap)?;
        lap("comparison");
    }
    println!(
        "{}",
        json!({
            "values": values,
            "ap_per_category": by_category,
            "intervals": intervals,
            "seconds": seconds,
        })
    );
    Ok(())
}

/// The images in the order of their ids, as pycocotools takes them.
fn items(dataset: &Dataset, results: &[Found]) -> Result<Vec<DetectionItem>, Box<dyn Error>> {
    let mut images: BTreeMap<u64, (Vec<GroundTruth>, Vec<Detection>)> = dataset
        .images
        .iter()
        .map(|image| (image.id, Default::default()))
        .collect();
    for annotation in &dataset.annotations {
        let image = images.get_mut(&annotation.image_id);
        image
            .ok_or("an annotation of no image")?
            .0
            .push(GroundTruth {
                category: annotation.category_id,
                bbox: BoundingBox::new(annotation.bbox)?,
                area: annotation.area,
                is_crowd: annotation.iscrowd != 0,
                is_ignored: false,
            });
    }
    for found in results {
        let image = images.get_mut(&found.image_id);
        image.ok_or("a detection of no image")?.1.push(Detection {
            category: found.category_id,
            bbox: BoundingBox::new(found.bbox)?,
            score: found.score,
        });
    }
    images
        .into_values()
        .map(|(truths, detections)| Ok(DetectionItem::new(truths, detections)?))
        .collect()
}
