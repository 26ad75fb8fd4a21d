//! From a scene to pixels, outlines and boxes.
//!
//! Every shape is a polygon (the circle one of 64 corners). A row of pixels is cut into eight lines;
//! on each the exact length of every pixel inside the polygon counts, which gives 8-line
//! antialiasing at the price of the outline, not of the area.

use sightline_imaging::{Channels, Pixels, PixelsError};

use crate::scene::{Background, Direction, Object, Pattern, Scene, Shape};

/// Lines a row of pixels is cut into.
const LINES: u32 = 8;

/// The least share of a pixel that counts for the box: with a half, the points of a small star would
/// stick out by more than a pixel.
const BOX_COVER: f32 = 0.25;

/// Corners of the polygon that stands for a circle.
const CIRCLE_CORNERS: usize = 64;

/// Cosine and sine of a 64th of a turn, written out because the functions differ between machines.
const CIRCLE_STEP: [f64; 2] = [0.995_184_726_672_196_9, 0.098_017_140_329_560_6];

/// Radius of a circle in units of the circumradius; a little less, to match the other shapes' areas.
const CIRCLE_RADIUS: f64 = 0.9;

const SQUARE: &[[f64; 2]] = &[[-0.7, -0.7], [0.7, -0.7], [0.7, 0.7], [-0.7, 0.7]];

const TRIANGLE: &[[f64; 2]] = &[[0.0, -1.0], [0.866, 0.5], [-0.866, 0.5]];

const DIAMOND: &[[f64; 2]] = &[[0.0, -1.0], [0.64, 0.0], [0.0, 1.0], [-0.64, 0.0]];

/// Five points; the inner corners at 0.46 of the outer radius.
const STAR: &[[f64; 2]] = &[
    [0.0, -1.0],
    [0.2704, -0.3722],
    [0.9511, -0.309],
    [0.4375, 0.1421],
    [0.5878, 0.809],
    [0.0, 0.46],
    [-0.5878, 0.809],
    [-0.4375, 0.1421],
    [-0.9511, -0.309],
    [-0.2704, -0.3722],
];

/// Four arms, as wide as a third of their span.
const CROSS: &[[f64; 2]] = &[
    [-0.31, -0.94],
    [0.31, -0.94],
    [0.31, -0.31],
    [0.94, -0.31],
    [0.94, 0.31],
    [0.31, 0.31],
    [0.31, 0.94],
    [-0.31, 0.94],
    [-0.31, 0.31],
    [-0.94, 0.31],
    [-0.94, -0.31],
    [-0.31, -0.31],
];

/// An object as it lies on the pixels of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// The corners, in pixels from the top left.
    pub outline: Vec<[f64; 2]>,
    /// The smallest box around all pixels of which the object covers at least a quarter: x, y, width,
    /// height.
    pub bbox: [u32; 4],
    /// Pixels covered, parts counted as parts.
    pub area: f64,
    cover: Cover,
}

/// How much of each pixel of a rectangle an object covers, 0 to 1.
#[derive(Clone, Debug, PartialEq)]
struct Cover {
    left: usize,
    top: usize,
    width: usize,
    values: Vec<f32>,
}

impl Drawn {
    /// `object` on an image of `side` by `side` pixels.
    pub fn new(object: &Object, side: u32) -> Self {
        let outline = outline(object, f64::from(side));
        let cover = cover(&outline, side);
        Self {
            bbox: bbox(&cover),
            area: cover.values.iter().map(|&v| f64::from(v)).sum(),
            outline,
            cover,
        }
    }

    fn paint(&self, rgb: [u8; 3], data: &mut [u8], side: usize) {
        for (y, row) in self.cover.values.chunks_exact(self.cover.width).enumerate() {
            let start = ((self.cover.top + y) * side + self.cover.left) * 3;
            let pixels = data[start..start + row.len() * 3].chunks_exact_mut(3);
            for (pixel, &alpha) in pixels.zip(row) {
                if alpha > 0.0 {
                    for (v, colour) in pixel.iter_mut().zip(rgb) {
                        let under = f32::from(*v);
                        *v = (under + (f32::from(colour) - under) * alpha + 0.5) as u8;
                    }
                }
            }
        }
    }
}

/// Draws `scene` with `objects`, its own as they lie on an image of `side` by `side` pixels.
pub fn draw(scene: &Scene, objects: &[Drawn], side: u32) -> Result<Pixels, PixelsError> {
    let mut data = fill(&scene.background, side);
    for (object, drawn) in scene.objects.iter().zip(objects) {
        drawn.paint(object.rgb, &mut data, side as usize);
    }
    Pixels::new(side, side, Channels::Rgb, data)
}

fn outline(object: &Object, side: f64) -> Vec<[f64; 2]> {
    let t = object.tilt;
    let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
    let scale = object.radius * side;
    let put = |&[x, y]: &[f64; 2]| {
        [
            object.centre[0] * side + (x * cos - y * sin) * scale,
            object.centre[1] * side + (x * sin + y * cos) * scale,
        ]
    };
    let corners = match object.shape {
        Shape::Circle => return circle().iter().map(put).collect(),
        Shape::Square => SQUARE,
        Shape::Triangle => TRIANGLE,
        Shape::Star => STAR,
        Shape::Diamond => DIAMOND,
        Shape::Cross => CROSS,
    };
    corners.iter().map(put).collect()
}

fn circle() -> [[f64; 2]; CIRCLE_CORNERS] {
    let [cos, sin] = CIRCLE_STEP;
    let mut point = [CIRCLE_RADIUS, 0.0];
    std::array::from_fn(|_| {
        let [x, y] = point;
        point = [x * cos - y * sin, x * sin + y * cos];
        [x, y]
    })
}

fn cover(outline: &[[f64; 2]], side: u32) -> Cover {
    let limit = f64::from(side);
    let span = |axis: usize| {
        let low = outline.iter().map(|p| p[axis]).fold(limit, f64::min);
        let high = outline.iter().map(|p| p[axis]).fold(0.0, f64::max);
        (
            low.max(0.0).floor() as usize,
            high.min(limit).ceil() as usize,
        )
    };
    let ((left, right), (top, bottom)) = (span(0), span(1));
    let width = right - left;
    let mut values = vec![0.0; width * (bottom - top)];
    let mut crossings = Vec::new();
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        for line in 0..LINES {
            let at = (top + y) as f64 + (f64::from(line) + 0.5) / f64::from(LINES);
            crossings.clear();
            for (i, &[x0, y0]) in outline.iter().enumerate() {
                let [x1, y1] = outline[(i + 1) % outline.len()];
                if (y0 <= at) != (y1 <= at) {
                    crossings.push(x0 + (at - y0) / (y1 - y0) * (x1 - x0) - left as f64);
                }
            }
            crossings.sort_unstable_by(f64::total_cmp);
            for inside in crossings.chunks_exact(2) {
                add_span(row, inside[0], inside[1]);
            }
        }
    }
    Cover {
        left,
        top,
        width,
        values,
    }
}

/// Adds to each pixel of `row` how much of it lies between `from` and `to`, one line's worth.
fn add_span(row: &mut [f32], from: f64, to: f64) {
    let (from, to) = (from.max(0.0), to.min(row.len() as f64));
    let first = from as usize;
    for (i, value) in row.iter_mut().enumerate().skip(first) {
        let x = i as f64;
        if x >= to {
            break;
        }
        *value += ((to.min(x + 1.0) - from.max(x)) / f64::from(LINES)) as f32;
    }
}

fn bbox(cover: &Cover) -> [u32; 4] {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    for (y, row) in cover.values.chunks_exact(cover.width).enumerate() {
        for (x, &value) in row.iter().enumerate() {
            if value >= BOX_COVER {
                (left, right) = (left.min(x), right.max(x + 1));
                (top, bottom) = (top.min(y), bottom.max(y + 1));
            }
        }
    }
    [
        (cover.left + left) as u32,
        (cover.top + top) as u32,
        (right - left) as u32,
        (bottom - top) as u32,
    ]
}

fn fill(background: &Background, side: u32) -> Vec<u8> {
    let n = side as usize;
    let [a, b] = background.tones;
    let mut data = Vec::with_capacity(n * n * 3);
    let mut rng = background.seed.rng();
    let cell = |at: f64| (at * f64::from(background.cells)) as u64 % 2 == 1;
    for y in 0..n {
        for x in 0..n {
            let (u, v) = (
                (x as f64 + 0.5) / f64::from(side),
                (y as f64 + 0.5) / f64::from(side),
            );
            let along = match background.direction {
                Direction::Across => u,
                Direction::Down => v,
                Direction::Diagonal => f64::midpoint(u, v),
            };
            let share = match background.pattern {
                Pattern::Flat => 0.0,
                Pattern::Gradient => along,
                Pattern::Noise => rng.unit(),
                Pattern::Stripes => f64::from(u8::from(cell(along))),
                Pattern::Checker => f64::from(u8::from(cell(u) != cell(v))),
            };
            for (a, b) in a.into_iter().zip(b) {
                let (a, b) = (f64::from(a), f64::from(b));
                data.push((a + (b - a) * share + 0.5) as u8);
            }
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;
    use crate::splits::{Pairs, Split};

    #[test]
    fn circle_step_is_a_64th_of_a_turn() {
        let angle = std::f64::consts::TAU / CIRCLE_CORNERS as f64;
        assert!((CIRCLE_STEP[0] - angle.cos()).abs() < 1e-15);
        assert!((CIRCLE_STEP[1] - angle.sin()).abs() < 1e-15);
    }

    #[test]
    fn outlines_stay_within_the_circumscribed_circle() {
        for corners in [SQUARE, TRIANGLE, STAR, DIAMOND, CROSS] {
            for [x, y] in corners {
                assert!((x * x + y * y).sqrt() <= 1.0001);
            }
        }
    }

    #[test]
    fn the_area_covered_is_the_polygons() {
        let pairs = Pairs::draw(Seed(1));
        for index in 0..200 {
            for object in Split::Test.scene(index, Seed(1), &pairs, 4).objects {
                let drawn = Drawn::new(&object, 64);
                let p = &drawn.outline;
                let twice: f64 = (0..p.len())
                    .map(|i| (p[i], p[(i + 1) % p.len()]))
                    .map(|([x0, y0], [x1, y1])| x0 * y1 - x1 * y0)
                    .sum();
                let exact = twice.abs() / 2.0;
                let off = (drawn.area - exact).abs();
                assert!(
                    off < 0.01 * exact + 0.5,
                    "{object:?}: {} {exact}",
                    drawn.area
                );
            }
        }
    }

    /// What differs between the drawn scene and its background alone must lie in the boxes, up to
    /// the faint edge, and reach each of their sides.
    #[test]
    fn boxes_are_tight_around_changed_pixels() {
        let pairs = Pairs::draw(Seed(2));
        for (index, side) in (0..300).zip([32, 64, 96].into_iter().cycle()) {
            let scene = Split::Val.scene(index, Seed(2), &pairs, 4);
            let objects: Vec<Drawn> = scene.objects.iter().map(|o| Drawn::new(o, side)).collect();
            let with = draw(&scene, &objects, side).unwrap();
            let without = draw(&scene, &[], side).unwrap();
            let change = |x: u32, y: u32| -> i32 {
                let at = (y * side + x) as usize * 3;
                (at..at + 3)
                    .map(|i| i32::from(with.data()[i]) - i32::from(without.data()[i]))
                    .map(i32::abs)
                    .sum()
            };
            let within = |x: u32, y: u32, [l, t, w, h]: [u32; 4], by: u32| {
                x + by >= l && x < l + w + by && y + by >= t && y < t + h + by
            };
            for y in 0..side {
                for x in 0..side {
                    let inside = objects.iter().any(|o| within(x, y, o.bbox, 1));
                    assert!(change(x, y) == 0 || inside, "{index}: {x} {y}");
                }
            }
            for (drawn, object) in objects.iter().zip(&scene.objects) {
                let [l, t, w, h] = drawn.bbox;
                let is_marked = |x: u32, y: u32| {
                    let at = (y * side + x) as usize * 3;
                    let full: i32 = (0..3)
                        .map(|c| i32::from(object.rgb[c]) - i32::from(without.data()[at + c]))
                        .map(i32::abs)
                        .sum();
                    change(x, y) * 4 + 12 >= full
                };
                assert!((l..l + w).any(|x| is_marked(x, t)), "{index} {object:?}");
                assert!(
                    (l..l + w).any(|x| is_marked(x, t + h - 1)),
                    "{index} {object:?}"
                );
                assert!((t..t + h).any(|y| is_marked(l, y)), "{index} {object:?}");
                assert!(
                    (t..t + h).any(|y| is_marked(l + w - 1, y)),
                    "{index} {object:?}"
                );
            }
        }
    }
}
