//! Boxes that are not those of the annotations, as a network that proposes regions gives them: near an object, or anywhere.
//!
//! A detector learns what is no object from boxes without one, and where an object ends from boxes that lie beside it. Which boxes a scene
//! has depends on the seed of the dataset and the scene alone.

use sightline_core::seed::Rng;
use sightline_imaging::Pixels;

use crate::Error;
use crate::record::Record;
use crate::regions::{edges, feature};
use crate::spec::ScenesSpec;

/// Boxes near each object.
pub const NEAR: usize = 2;
/// Boxes anywhere in a scene.
pub const ANYWHERE: usize = 4;
/// How far an edge of a box near an object lies from the object's, at most, as a share of the object's side. The intersection over union
/// of the two is thus between about 0.3 and 1.
const SHIFT: f32 = 0.25;
/// Sides of a box anywhere, as shares of the image's.
const SIDES: [f32; 2] = [0.125, 0.5];
/// The shortest side of a box in pixels.
const LEAST: f32 = 2.0;

/// A box that says nothing about what it shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
    /// `[CHANNELS, CELLS, CELLS]`, as [`crate::regions::feature`] computes it.
    pub feature: Vec<f32>,
}

/// The proposals of a scene: [`NEAR`] of each object in the order of the scene, then [`ANYWHERE`].
pub(crate) fn proposals(record: &Record, spec: &ScenesSpec) -> Result<Vec<Proposal>, Error> {
    let pixels = record.pixels(spec)?;
    let seed = record.split.scene_seed(record.index, spec.seed);
    let mut rng = seed.child("proposals", 0).rng();
    let side = spec.size as f32;
    let mut all = Vec::new();
    for place in &record.boxes {
        for _ in 0..NEAR {
            all.push(near(edges(place.bbox), side, &mut rng));
        }
    }
    for _ in 0..ANYWHERE {
        all.push(anywhere(side, &mut rng));
    }
    Ok(all
        .into_iter()
        .map(|edges| Proposal::new(edges, &pixels))
        .collect())
}

impl Proposal {
    fn new(edges: [f32; 4], pixels: &Pixels) -> Self {
        Self {
            edges,
            feature: feature(pixels, edges),
        }
    }
}

fn near([left, top, right, bottom]: [f32; 4], side: f32, rng: &mut Rng) -> [f32; 4] {
    let (width, height) = (right - left, bottom - top);
    let mut shifted = |edge: f32, length: f32| edge + length * between(rng, [-SHIFT, SHIFT]);
    let [left, right] = [left, right].map(|edge| shifted(edge, width));
    let [top, bottom] = [top, bottom].map(|edge| shifted(edge, height));
    within([left, top, right, bottom], side)
}

fn anywhere(side: f32, rng: &mut Rng) -> [f32; 4] {
    let width = side * between(rng, SIDES);
    let height = side * between(rng, SIDES);
    let left = (side - width) * between(rng, [0.0, 1.0]);
    let top = (side - height) * between(rng, [0.0, 1.0]);
    within([left, top, left + width, top + height], side)
}

/// A box in an image of `side` pixels, [`LEAST`] wide and high at least.
fn within([left, top, right, bottom]: [f32; 4], side: f32) -> [f32; 4] {
    let axis = |start: f32, end: f32| {
        let start = start.clamp(0.0, side - LEAST);
        (start, end.clamp(start + LEAST, side))
    };
    let ((left, right), (top, bottom)) = (axis(left, right), axis(top, bottom));
    [left, top, right, bottom]
}

fn between(rng: &mut Rng, [low, high]: [f32; 2]) -> f32 {
    rng.between(f64::from(low), f64::from(high)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regions::FEATURE_WIDTH;
    use crate::splits::{Pairs, Split};

    #[test]
    fn boxes_lie_within_the_image_and_depend_on_the_scene_alone() {
        let spec = ScenesSpec::default();
        let pairs = Pairs::draw(spec.seed);
        let records = Record::of_split(Split::Train, 30, &spec, &pairs);
        for record in &records {
            let found = proposals(record, &spec).unwrap();
            assert_eq!(found.len(), NEAR * record.boxes.len() + ANYWHERE);
            for proposal in &found {
                let [left, top, right, bottom] = proposal.edges;
                assert!(0.0 <= left && left + LEAST <= right && right <= 64.0);
                assert!(0.0 <= top && top + LEAST <= bottom && bottom <= 64.0);
                assert_eq!(proposal.feature.len(), FEATURE_WIDTH);
                let is_small = |v: &f32| (-1.0..=1.0).contains(v);
                assert!(proposal.feature.iter().all(is_small));
            }
            assert_eq!(found, proposals(record, &spec).unwrap());
        }
        let [first, second] = [0, 1].map(|at| proposals(&records[at], &spec).unwrap());
        assert_ne!(first[0], second[0]);
    }
}
