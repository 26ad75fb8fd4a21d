//! Golden files of models: every recorded output of every checkpoint.
//!
//! `SIGHTLINE_DEVICE=cuda:0` computes them on a GPU, in a build with the feature `cuda`.

#[path = "golden/lm.rs"]
mod lm;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use candle_core::Device;
use sightline_models::recorded::{Case, Difference, RecordedError, cases};
use sightline_models::{DeviceName, family};
use sightline_testkit::golden::{Report, Root};
use tempfile::TempDir;

#[test]
fn models_align() {
    run("align");
}

#[test]
fn models_asif() {
    run("asif");
}

#[test]
fn models_clip() {
    run("clip");
}

#[test]
fn models_flamingo() {
    run("flamingo");
}

#[test]
fn models_frozen() {
    run("frozen");
}

#[test]
fn models_lm() {
    lm::run();
}

#[test]
fn models_magic() {
    run("magic");
}

#[test]
fn models_simvlm() {
    run("simvlm");
}

#[test]
fn models_vild() {
    run("vild");
}

#[test]
fn models_virtex() {
    run("virtex");
}

#[test]
fn models_visualbert() {
    run("visualbert");
}

#[test]
fn models_visualgpt() {
    run("visualgpt");
}

/// Where everything is computed. Opened once: tensors of a device opened twice do not go together.
fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| {
        let name = std::env::var("SIGHTLINE_DEVICE");
        let name = name.map(|name| name.parse().expect("SIGHTLINE_DEVICE names a device"));
        let name: DeviceName = name.unwrap_or_default();
        name.open().expect("the device can be opened")
    })
}

/// Compares every output of every case of the area `models/<name>`. What is no case of that family fails.
fn run(name: &str) {
    let area = format!("models/{name}");
    let Some(folder) = Root::find().area(&area) else {
        return;
    };
    let family = family(name).expect("the family is registered");
    let mut report = Report::new(&area);
    let mut paths = cases(&folder).expect("the area's folder can be listed");
    paths.extend(only_here(&folder, &area));
    for path in paths {
        let case_name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut compare =
            |folder: &Path, case_name: &str| match Case::open(folder, Some(family), device()) {
                Ok(case) => {
                    for output in case.outputs() {
                        report.case(case_name, output, outcome(case.compare(output, None)));
                    }
                }
                Err(error) => report.case(case_name, "case", Err(chain(&error))),
            };
        compare(&path, &case_name);
        if let Some(pickled) = pickled(&path) {
            let case_name = format!("{case_name}, {PICKLE}");
            compare(pickled.path(), &case_name);
        }
    }
    report.finish();
}

/// The cases of this repository that `folder` lacks: those whose reference program is here too
/// (`benchmarks/peers/models/golden_frozen.py`).
fn only_here(folder: &Path, area: &str) -> Vec<PathBuf> {
    let own = Path::new("../../tests/fixtures").join(area);
    if !own.is_dir() {
        return Vec::new();
    }
    let mut paths = cases(&own).expect("the area's folder can be listed");
    paths.retain(|path| {
        let name = path.file_name().expect("a case has a name");
        !folder.join(name).exists()
    });
    paths
}

/// Flamingo's weights in the second form in which some cases hold them.
const PICKLE: &str = "checkpoint.pt";

/// The case in `folder` with its pickle instead of the safetensors file of the same tensors, if it has both.
fn pickled(folder: &Path) -> Option<TempDir> {
    let other = "flamingo.safetensors";
    if !folder.join(PICKLE).is_file() || !folder.join(other).is_file() {
        return None;
    }
    let made = tempfile::tempdir().expect("a temporary folder can be made");
    for entry in fs::read_dir(folder).expect("the case can be listed") {
        let entry = entry.expect("the case can be listed");
        if entry.file_name() != other && entry.path().is_file() {
            let copied = fs::copy(entry.path(), made.path().join(entry.file_name()));
            copied.expect("the case can be copied");
        }
    }
    Some(made)
}

fn outcome(compared: Result<Difference, RecordedError>) -> Result<(), String> {
    match compared {
        Ok(difference) if difference.is_within() => Ok(()),
        Ok(difference) => Err(difference.to_string()),
        Err(error) => Err(chain(&error)),
    }
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
