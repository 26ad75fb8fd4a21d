//! Compares preprocessing with what the reference processors make of the same images.

mod cases;
mod engine;
mod families;
mod opencv;
mod pillow;

use sightline_imaging::decode::JPEG_DECODER;
use sightline_testkit::golden::{Report, Root};

use cases::{Case, Output};
use engine::{Cpu, Engine};

/// Pipelines in OpenCV's arithmetic.
const OPENCV: &[&str] = &[
    "cv2_resize",
    "cv2_resize_ipp",
    "img2dataset",
    "virtex",
    "virtex_u8",
];

/// Runs a case with whoever knows its pipeline.
fn run(case: &Case, engine: &dyn Engine) -> Option<Result<Output, String>> {
    if OPENCV.contains(&case.pipeline.as_str()) {
        return Some(opencv::run(case));
    }
    pillow::run(case, engine)
}

/// What follows the pipeline in a case's id.
fn name(case: &Case) -> &str {
    let id = case.id.as_str();
    id.split_once('/').map_or(id, |(_, key)| key)
}

#[test]
fn pipelines_equal_their_references() {
    let mut report = Report::new("preprocess");
    if let Some(folder) = Root::find().area("preprocess") {
        println!("JPEG decoder: {JPEG_DECODER:?}");
        let cases = cases::read(&folder);
        cases::check_listing(&folder, &cases, &mut report);
        for case in cases {
            let outcome = match run(&case, &Cpu) {
                Some(outcome) => case.check(outcome),
                None => Err("unknown pipeline".to_owned()),
            };
            report.case(&case.pipeline, name(&case), outcome);
        }
        report.finish();
    }
}

#[test]
fn family_processors_equal_their_references() {
    let mut report = Report::new("models/preprocess");
    if let Some(folder) = Root::find().area("models/preprocess") {
        families::run(&folder, &mut report, |case| run(case, &Cpu));
        report.finish();
    }
}

/// Every case that a GPU can do, on a GPU.
#[cfg(feature = "webgpu")]
mod on_a_gpu {
    use super::*;
    use engine::Gpu;

    #[test]
    fn pipelines_equal_their_references() {
        let (Some(gpu), Some(folder)) = (Gpu::open(), Root::find().area("preprocess")) else {
            return;
        };
        let mut report = Report::new("preprocess (GPU)");
        for case in cases::read(&folder) {
            let before = gpu.images();
            let outcome = run(&case, &gpu).map(|outcome| case.check(outcome));
            // What has not reached the GPU is no case of it: the CPU's test has it.
            if let Some(outcome) = outcome.filter(|_| gpu.images() > before) {
                report.case(&case.pipeline, name(&case), outcome);
            }
        }
        println!("{} images on {}", gpu.images(), gpu.name);
        report.finish();
    }

    #[test]
    fn family_processors_equal_their_references() {
        let (Some(gpu), Some(folder)) = (Gpu::open(), Root::find().area("models/preprocess"))
        else {
            return;
        };
        let mut report = Report::new("models/preprocess (GPU)");
        families::run(&folder, &mut report, |case| run(case, &gpu));
        println!("{} images on {}", gpu.images(), gpu.name);
        assert!(gpu.images() > 0);
        report.finish();
    }
}
