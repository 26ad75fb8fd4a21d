//! Colours with a profile become those of Pillow's `ImageCms` in sRGB, within levels.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sightline_imaging::icc::to_srgb;
use sightline_imaging::{Channels, Pixels};

/// Largest and mean difference of a channel over all colours of a profile. Curves are rounded to other numbers of bits.
const MOST: u8 = 1;
const MEAN: f64 = 0.1;

#[test]
fn colours_are_those_of_lcms2_within_levels() {
    let cases = include_str!("fixtures/icc/cases.jsonl");
    let mut seen = 0;
    for line in cases.lines().skip(1) {
        let case: Value = serde_json::from_str(line).unwrap();
        let bytes = |name: &str| STANDARD.decode(case[name].as_str().unwrap()).unwrap();
        let (input, expected) = (bytes("input"), bytes("srgb"));
        // Decoding gives grey pictures three equal channels.
        let input = match case["mode"].as_str().unwrap() {
            "RGB" => input,
            "L" => input.iter().flat_map(|&level| [level; 3]).collect(),
            mode => panic!("unknown mode {mode}"),
        };
        let pixels = Pixels::new(input.len() as u32 / 3, 1, Channels::Rgb, input).unwrap();
        let converted = to_srgb(pixels, &bytes("profile"));
        let differences = || {
            let pairs = converted.data().iter().zip(&expected);
            pairs.map(|(a, b)| a.abs_diff(*b))
        };
        let most = differences().max().unwrap();
        let mean = differences().map(f64::from).sum::<f64>() / expected.len() as f64;
        println!("{}: at most {most}, on average {mean:.3}", case["name"]);
        assert!(
            most <= MOST && mean <= MEAN,
            "{}: at most {most}, on average {mean:.3}",
            case["name"]
        );
        seen += 1;
    }
    assert!(seen >= 10, "{seen} profiles");
}
