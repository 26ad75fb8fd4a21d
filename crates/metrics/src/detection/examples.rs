//! Images for the conformance kit.

use std::sync::Arc;

use sightline_core::seed::Rng;

use super::{
    Detection, DetectionItem, FederatedImage, FederatedItem, Frequencies, Frequency, GroundTruth,
};
use crate::BoundingBox;
use crate::conformance::Examples;

/// A side of a small, a medium and a large object.
const SIDES: [f64; 3] = [20.0, 60.0, 150.0];
/// Two categories of each frequency.
const FREQUENCIES: [Frequency; 6] = [
    Frequency::Rare,
    Frequency::Rare,
    Frequency::Common,
    Frequency::Common,
    Frequency::Frequent,
    Frequency::Frequent,
];

/// The box whose numbers these finite ones are.
fn bbox(xywh: [f64; 4]) -> BoundingBox {
    BoundingBox::new(xywh).expect("examples are made of finite numbers")
}

fn truth(category: u32, side: f64, [x, y]: [f64; 2]) -> GroundTruth {
    GroundTruth {
        category,
        bbox: bbox([x, y, side, side]),
        area: side * side,
        is_crowd: false,
        is_ignored: false,
    }
}

/// One object of each size, each of another category and frequency.
fn three(rng: &mut Rng) -> Vec<GroundTruth> {
    (0..)
        .step_by(2)
        .zip(SIDES)
        .map(|(category, side)| {
            truth(
                category,
                side,
                [rng.between(0.0, 300.0), rng.between(0.0, 300.0)],
            )
        })
        .collect()
}

/// Objects, some of them crowds, and detections near them and anywhere. Scores are different, since equal
/// ones are ordered by the order of images.
fn random(rng: &mut Rng) -> (Vec<GroundTruth>, Vec<Detection>) {
    let mut truths = three(rng);
    for _ in 0..rng.below(6) {
        let corner = [rng.between(0.0, 300.0), rng.between(0.0, 300.0)];
        let side = *rng.pick(&SIDES);
        let mut one = truth(rng.below(6) as u32, side, corner);
        one.is_crowd = rng.below(6) == 0;
        one.is_ignored = rng.below(6) == 0;
        truths.push(one);
    }
    let mut detections = Vec::new();
    for _ in 0..rng.below(25) {
        let near = *rng.pick(&truths);
        let [x, y, width, height] = near.bbox.xywh();
        let spread = *rng.pick(&[0.0, 0.05, 0.3, 2.0]);
        let mut moved = |at: f64, side: f64| at + rng.normal() * spread * side;
        let xywh = [moved(x, width), moved(y, height), width, height];
        let is_known = rng.below(5) > 0;
        detections.push(Detection {
            category: if is_known {
                near.category
            } else {
                rng.below(6) as u32
            },
            bbox: bbox(xywh),
            score: rng.unit(),
        });
    }
    (truths, detections)
}

fn perfect(rng: &mut Rng) -> (Vec<GroundTruth>, Vec<Detection>) {
    let truths = three(rng);
    let detections = truths
        .iter()
        .map(|truth| Detection {
            category: truth.category,
            bbox: truth.bbox,
            score: rng.unit(),
        })
        .collect();
    (truths, detections)
}

fn detection_item((truths, detections): (Vec<GroundTruth>, Vec<Detection>)) -> DetectionItem {
    DetectionItem::new(truths, detections).expect("examples have scores and areas")
}

fn federated_item(image: FederatedImage) -> FederatedItem {
    let frequencies: Frequencies = (0..).zip(FREQUENCIES).collect();
    FederatedItem::new(image, &Arc::new(frequencies))
        .expect("examples have scores, areas and categories")
}

impl Examples for DetectionItem {
    fn random(rng: &mut Rng) -> Self {
        detection_item(random(rng))
    }

    fn perfect(rng: &mut Rng) -> Self {
        detection_item(perfect(rng))
    }

    fn empty() -> Option<Self> {
        let truths = vec![truth(1, SIDES[1], [10.0, 10.0])];
        Some(detection_item((truths, Vec::new())))
    }
}

impl Examples for FederatedItem {
    fn random(rng: &mut Rng) -> Self {
        let (truths, detections) = random(rng);
        federated_item(FederatedImage {
            truths,
            detections,
            absent: vec![rng.below(6) as u32],
            not_exhaustive: vec![rng.below(6) as u32],
        })
    }

    fn perfect(rng: &mut Rng) -> Self {
        let (truths, detections) = perfect(rng);
        federated_item(FederatedImage {
            truths,
            detections,
            ..FederatedImage::default()
        })
    }

    fn empty() -> Option<Self> {
        Some(federated_item(FederatedImage {
            truths: vec![truth(1, SIDES[1], [10.0, 10.0])],
            ..FederatedImage::default()
        }))
    }
}
