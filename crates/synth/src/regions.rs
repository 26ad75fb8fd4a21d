//! What an ideal detector would see of a scene: a box and a feature of every object.
//!
//! For models that take regions instead of pixels (`VisualBERT`, `VisualGPT`, the heads of `ViLD`). The boxes are those of the
//! annotations, the larger ones first, as detectors put what they are surest of first; what is in a box is not said.
//!
//! A feature is `[5, 7, 7]` and small enough to be read by eye: over a box lies a grid of [`CELLS`] × [`CELLS`] cells; the first
//! three channels are the mean red, green and blue of a cell, the last two how far to the right and how far down its centre
//! is in the image, all from -1 to 1. Colours are those of the pixels as they were drawn, before any loss of an image format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;
use sightline_imaging::Pixels;

use crate::Error;
use crate::record::Record;
use crate::spec::ScenesSpec;
use crate::splits::Pair;

/// Cells of the grid over a box, in either direction.
pub const CELLS: usize = 7;

/// Red, green, blue, to the right, down.
pub const CHANNELS: usize = 5;

/// Values of a feature: `[CHANNELS, CELLS, CELLS]`.
pub const FEATURE_WIDTH: usize = CHANNELS * CELLS * CELLS;

/// An object as a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// What it shows.
    pub pair: Pair,
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
    /// `[CHANNELS, CELLS, CELLS]`.
    pub feature: Vec<f32>,
}

/// The regions of a scene, the larger boxes first.
pub(crate) fn regions(record: &Record, spec: &ScenesSpec) -> Result<Vec<Region>, Error> {
    let pixels = record.pixels(spec)?;
    let objects = record.scene.objects.iter().zip(&record.boxes);
    let mut all: Vec<Region> = objects
        .map(|(object, place)| Region::new(object.pair(), place.bbox, &pixels))
        .collect();
    let area = |region: &Region| {
        let [left, top, right, bottom] = region.edges;
        (right - left) * (bottom - top)
    };
    // A stable sort: boxes of the same size stay in the order of the scene.
    all.sort_by(|a, b| area(b).total_cmp(&area(a)));
    Ok(all)
}

/// The regions of a split in the table of bottom-up-attention: a line an image, known by the number in its file's name.
pub(crate) fn table(records: &[Record], spec: &ScenesSpec) -> Result<Vec<u8>, Error> {
    let lines: Vec<String> = records
        .par_iter()
        .map(|record| {
            let regions = regions(record, spec)?;
            let boxes = regions.iter().flat_map(|region| region.edges);
            let features = regions.iter().flat_map(|region| &region.feature);
            Ok(format!(
                "{}\t{side}\t{side}\t{}\t{}\t{}\n",
                record.index,
                regions.len(),
                base64(boxes),
                base64(features.copied()),
                side = spec.size,
            ))
        })
        .collect::<Result<_, Error>>()?;
    Ok(lines.concat().into_bytes())
}

fn base64(values: impl Iterator<Item = f32>) -> String {
    let bytes: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    STANDARD.encode(bytes)
}

impl Region {
    fn new(pair: Pair, bbox: [u32; 4], pixels: &Pixels) -> Self {
        let edges = edges(bbox);
        Self {
            pair,
            edges,
            feature: feature(pixels, edges),
        }
    }
}

/// Left, top, right and bottom of a box of left, top, width and height.
pub(crate) fn edges([x, y, width, height]: [u32; 4]) -> [f32; 4] {
    [x, y, x + width, y + height].map(|edge| edge as f32)
}

/// The feature `[CHANNELS, CELLS, CELLS]` of the box with the edges left, top, right and bottom, which MUST lie within the square image
/// `pixels` and have an area.
pub fn feature(pixels: &Pixels, [left, top, right, bottom]: [f32; 4]) -> Vec<f32> {
    let side = pixels.width() as f32;
    let mut feature = vec![0.0; FEATURE_WIDTH];
    for number in 0..CELLS * CELLS {
        let columns = cell(left, right, number % CELLS);
        let rows = cell(top, bottom, number / CELLS);
        // Sums of parts may end a little above 255.
        let colours = mean(pixels, columns, rows);
        let [red, green, blue] = colours.map(|v| (v / 127.5 - 1.0).min(1.0));
        let [x, y] = [columns, rows].map(|[start, end]| (start + end) / side - 1.0);
        for (channel, value) in [red, green, blue, x, y].into_iter().enumerate() {
            feature[channel * CELLS * CELLS + number] = value;
        }
    }
    feature
}

/// From where to where the cell of that number lies between two edges.
fn cell(start: f32, end: f32, number: usize) -> [f32; 2] {
    let at = |number: usize| start + (end - start) * number as f32 / CELLS as f32;
    [at(number), at(number + 1)]
}

/// The mean colour of a rectangle, parts of pixels counted as parts.
fn mean(pixels: &Pixels, columns: [f32; 2], rows: [f32; 2]) -> [f32; 3] {
    let mut sums = [0f32; 3];
    let mut weights = 0f32;
    for y in rows[0] as usize..rows[1].ceil() as usize {
        let row = &pixels.data()[y * pixels.stride()..][..pixels.stride()];
        for x in columns[0] as usize..columns[1].ceil() as usize {
            let weight = overlap(y, rows) * overlap(x, columns);
            for (sum, &value) in sums.iter_mut().zip(&row[x * 3..][..3]) {
                *sum += weight * f32::from(value);
            }
            weights += weight;
        }
    }
    sums.map(|sum| sum / weights)
}

/// How much of pixel `at` lies between two edges.
fn overlap(at: usize, [start, end]: [f32; 2]) -> f32 {
    let at = at as f32;
    (end.min(at + 1.0) - start.max(at)).max(0.0)
}

#[cfg(test)]
mod tests {
    use sightline_imaging::Channels;

    use super::*;
    use crate::splits::{Pairs, Split};

    #[test]
    fn the_mean_of_a_rectangle_counts_parts_of_pixels() {
        let data = vec![0, 0, 0, 100, 0, 0, 200, 0, 0, 40, 0, 0];
        let pixels = Pixels::new(2, 2, Channels::Rgb, data).unwrap();
        let red = |columns, rows| mean(&pixels, columns, rows)[0].to_bits();
        assert_eq!(red([0.0, 2.0], [0.0, 2.0]), 85f32.to_bits());
        assert_eq!(red([0.5, 1.5], [0.0, 1.0]), 50f32.to_bits());
        assert_eq!(red([0.25, 0.75], [1.0, 2.0]), 200f32.to_bits());
    }

    #[test]
    fn every_object_is_a_region_whose_middle_has_its_colour() {
        let spec = ScenesSpec::default();
        let records = Record::of_split(Split::Test, 40, &spec, &Pairs::draw(spec.seed));
        for record in &records {
            let regions = regions(record, &spec).unwrap();
            assert_eq!(regions.len(), record.scene.objects.len());
            assert!(regions[0].pair == record.class());
            for region in &regions {
                assert_eq!(region.feature.len(), FEATURE_WIDTH);
                assert!(region.feature.iter().all(|v| (-1.0..=1.0).contains(v)));
                let objects = &record.scene.objects;
                let object = objects.iter().find(|o| o.pair() == region.pair).unwrap();
                let middle = |channel: usize| region.feature[channel * 49 + 24];
                for (channel, colour) in object.rgb.into_iter().enumerate() {
                    let wanted = f32::from(colour) / 127.5 - 1.0;
                    assert!((middle(channel) - wanted).abs() < 0.02);
                }
                let [left, top, right, bottom] = region.edges;
                assert!((middle(3) - ((left + right) / 64.0 - 1.0)).abs() < 1e-5);
                assert!((middle(4) - ((top + bottom) / 64.0 - 1.0)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_image() {
        let spec = ScenesSpec::default();
        let records = Record::of_split(Split::Val, 3, &spec, &Pairs::draw(spec.seed));
        let table = String::from_utf8(table(&records, &spec).unwrap()).unwrap();
        let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split('\t').collect()).collect();
        assert_eq!(lines.len(), 3);
        for (number, line) in lines.iter().enumerate() {
            let count: usize = line[3].parse().unwrap();
            assert_eq!(line[..3], [number.to_string().as_str(), "64", "64"]);
            assert_eq!(STANDARD.decode(line[4]).unwrap().len(), count * 16);
            assert_eq!(
                STANDARD.decode(line[5]).unwrap().len(),
                count * FEATURE_WIDTH * 4
            );
        }
    }
}
