//! Perceptual hashes are those of the reference program (`fixtures/hash/make.py`).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sightline_core::image_spec::{Filter, Size};
use sightline_imaging::hash::{ALIKE, ImageHash, average_hash, dhash, phash};
use sightline_imaging::resize::{PassOrder, resize_pillow};
use sightline_imaging::{DecodeOptions, Pixels, decode_rgb};

/// A line of `cases.jsonl`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The file in base64.
    file: String,
    phash: ImageHash,
    dhash: ImageHash,
    average_hash: ImageHash,
}

fn cases() -> impl Iterator<Item = (Case, Pixels)> {
    include_str!("fixtures/hash/cases.jsonl")
        .lines()
        .map(|line| {
            let case: Case = serde_json::from_str(line).expect("a case");
            let file = BASE64_STANDARD.decode(&case.file).expect("base64");
            let decoded = decode_rgb(&file, &DecodeOptions::pillow()).expect("a PNG");
            (case, decoded.pixels)
        })
}

#[test]
fn hashes_are_those_of_the_reference_program() {
    let mut wrong = Vec::new();
    for (case, pixels) in cases() {
        for (kind, ours, theirs) in [
            ("phash", phash(&pixels), case.phash),
            ("dhash", dhash(&pixels), case.dhash),
            ("average_hash", average_hash(&pixels), case.average_hash),
        ] {
            if ours != theirs {
                wrong.push(format!("{} {kind}: {ours}, not {theirs}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_smaller_copy_is_alike() {
    let scenes = cases().filter(|(case, pixels)| {
        case.name.starts_with("scene") && pixels.width().min(pixels.height()) > 64
    });
    let mut tried = 0;
    for (case, pixels) in scenes {
        let size = Size {
            width: pixels.width() / 2,
            height: pixels.height() / 2,
        };
        let copy = resize_pillow(&pixels, size, Filter::Bilinear, PassOrder::Adaptive, None);
        let distance = phash(&copy.expect("half the size")).distance(case.phash);
        assert!(distance <= ALIKE, "{}: {distance}", case.name);
        tried += 1;
    }
    assert!(tried > 10);
}
