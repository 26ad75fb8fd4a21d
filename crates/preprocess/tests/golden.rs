//! Compares preprocessing with what the reference processors make of the same images.

mod cases;
mod families;
mod opencv;
mod pillow;

use sightline_imaging::decode::JPEG_DECODER;
use sightline_testkit::golden::{Report, Root};

use cases::{Case, Output};

/// Pipelines in OpenCV's arithmetic.
const OPENCV: &[&str] = &[
    "cv2_resize",
    "cv2_resize_ipp",
    "img2dataset",
    "virtex",
    "virtex_u8",
];

/// Runs a case with whoever knows its pipeline.
fn run(case: &Case) -> Option<Result<Output, String>> {
    if OPENCV.contains(&case.pipeline.as_str()) {
        return Some(opencv::run(case));
    }
    pillow::run(case)
}

#[test]
fn pipelines_equal_their_references() {
    let mut report = Report::new("preprocess");
    if let Some(folder) = Root::find().area("preprocess") {
        println!("JPEG decoder: {JPEG_DECODER:?}");
        let cases = cases::read(&folder);
        cases::check_listing(&folder, &cases, &mut report);
        for case in cases {
            let outcome = match run(&case) {
                Some(outcome) => case.check(outcome),
                None => Err("unknown pipeline".to_owned()),
            };
            let name = case
                .id
                .split_once('/')
                .map_or(case.id.as_str(), |(_, key)| key);
            report.case(&case.pipeline, name, outcome);
        }
        report.finish();
    }
}

#[test]
fn family_processors_equal_their_references() {
    let mut report = Report::new("models/preprocess");
    if let Some(folder) = Root::find().area("models/preprocess") {
        families::run(&folder, &mut report, run);
        report.finish();
    }
}
