//! What a scene is: a background and one to four coloured shapes, exactly one of them large.
//!
//! Places are fractions of the side of the image, so a scene does not depend on the size it is drawn
//! at. Objects never overlap, and no two objects of a scene share both colour and shape, so that "the
//! red circle" always names one object.
//!
//! Only additions, multiplications, divisions and square roots decide what a scene holds: they give
//! the same bits on every machine, which sines and logarithms do not.

use serde::{Deserialize, Serialize};
use sightline_core::Seed;
use sightline_core::seed::Rng;

use crate::splits::{Pair, Pairs};

/// Free space between two objects and between an object and the edge of the image.
const GAP: f64 = 0.03;

/// How often a place is looked for before the scene goes without a further object.
const PLACE_TRIES: usize = 200;

/// Circumradius of large objects.
const LARGE: [f64; 2] = [0.205, 0.25];

/// Circumradius of small objects.
const SMALL: [f64; 2] = [0.1, 0.125];

/// Smallest distance, in RGB, of an object's colour to either tone of the background.
const CONTRAST: f64 = 85.0;

/// How far a channel of an object's colour may lie from its palette's.
const COLOUR_JITTER: u64 = 12;

/// A colour that captions name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say all")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    Pink,
    White,
}

impl Colour {
    /// Every colour, in the order of the classes.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::White,
    ];

    /// The English word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::Pink => "pink",
            Self::White => "white",
        }
    }

    /// Red, green and blue before jitter.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [214, 36, 36],
            Self::Orange => [245, 132, 20],
            Self::Yellow => [245, 222, 40],
            Self::Green => [36, 172, 66],
            Self::Blue => [40, 92, 228],
            Self::Purple => [138, 54, 194],
            Self::Pink => [250, 142, 194],
            Self::White => [243, 243, 243],
        }
    }
}

/// A shape that captions name; also the category of its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say all")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Diamond,
    Cross,
}

impl Shape {
    /// Every shape, in the order of the classes.
    pub const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Star,
        Self::Diamond,
        Self::Cross,
    ];

    /// The English word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
        }
    }

    /// The English word for several.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Circle => "circles",
            Self::Square => "squares",
            Self::Triangle => "triangles",
            Self::Star => "stars",
            Self::Diamond => "diamonds",
            Self::Cross => "crosses",
        }
    }
}

/// One of the two sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectSize {
    /// Exactly one object of a scene.
    Large,
    /// All others, at most two thirds as wide.
    Small,
}

impl ObjectSize {
    /// The English word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Large => "large",
            Self::Small => "small",
        }
    }
}

/// A coloured shape at a place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its shape.
    pub shape: Shape,
    /// The name of its colour.
    pub colour: Colour,
    /// Its size.
    pub size: ObjectSize,
    /// The colour it is drawn in: the palette's with a little jitter.
    pub rgb: [u8; 3],
    /// Centre of its circumscribed circle, as fractions of the side: to the right, downwards.
    pub centre: [f64; 2],
    /// Radius of that circle, as a fraction of the side.
    pub radius: f64,
    /// Tangent of half the angle it is turned by.
    pub tilt: f64,
}

impl Object {
    /// Its colour and shape.
    pub fn pair(&self) -> Pair {
        Pair {
            colour: self.colour,
            shape: self.shape,
        }
    }
}

/// Where one object is, seen from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say all")]
pub enum Relation {
    Left,
    Right,
    Above,
    Below,
}

impl Relation {
    /// Where `a` is seen from `b`, along the axis on which they lie further apart.
    pub fn between(a: &Object, b: &Object) -> Self {
        let [dx, dy] = offset(a, b);
        match (dx.abs() >= dy.abs(), dx < 0.0, dy < 0.0) {
            (true, true, _) => Self::Left,
            (true, false, _) => Self::Right,
            (false, _, true) => Self::Above,
            (false, _, false) => Self::Below,
        }
    }

    /// Like [`Relation::between`], but only where the other axis could not be meant as well.
    pub fn clear(a: &Object, b: &Object) -> Option<Self> {
        let [dx, dy] = offset(a, b).map(f64::abs);
        (dx.max(dy) >= 1.5 * dx.min(dy)).then(|| Self::between(a, b))
    }

    /// The relation the other way round.
    #[must_use]
    pub fn inverse(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }
}

fn offset(a: &Object, b: &Object) -> [f64; 2] {
    [a.centre[0] - b.centre[0], a.centre[1] - b.centre[1]]
}

/// How the background is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pattern {
    /// One tone.
    Flat,
    /// From one tone to the other.
    Gradient,
    /// Each pixel between the two tones at random.
    Noise,
    /// Bands of the two tones in turn.
    Stripes,
    /// Squares of the two tones in turn.
    Checker,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 5] = [
        Self::Flat,
        Self::Gradient,
        Self::Noise,
        Self::Stripes,
        Self::Checker,
    ];

    /// The adjective captions use.
    pub fn adjective(self) -> &'static str {
        match self {
            Self::Flat => "plain",
            Self::Gradient => "shaded",
            Self::Noise => "grainy",
            Self::Stripes => "striped",
            Self::Checker => "checkered",
        }
    }
}

/// Along which line a background changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Direction {
    /// From left to right.
    Across,
    /// From top to bottom.
    Down,
    /// From the top left to the bottom right.
    Diagonal,
}

/// What stands behind the objects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Background {
    /// How it is filled.
    pub pattern: Pattern,
    /// Its two tones; a flat one has only the first.
    pub tones: [[u8; 3]; 2],
    /// Along which line it changes.
    pub direction: Direction,
    /// Stripes or squares along a side.
    pub cells: u32,
    /// What the noise is drawn from.
    pub seed: Seed,
}

/// A background and its objects; the large one is the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// What stands behind the objects.
    pub background: Background,
    /// One to four objects.
    pub objects: Vec<Object>,
}

impl Scene {
    /// The scene of `seed` with up to `max_objects` objects. Its large object has one of the
    /// held-out pairs when `is_held_out` is set and the others have any pair; no object has one of
    /// them when it is not.
    pub fn generate(seed: Seed, pairs: &Pairs, is_held_out: bool, max_objects: u32) -> Self {
        let mut rng = seed.child("objects", 0).rng();
        let wanted = 1 + rng.below(u64::from(max_objects)) as usize;
        let mut objects: Vec<Object> = Vec::with_capacity(wanted);
        while objects.len() < wanted {
            let (size, choice) = match (objects.is_empty(), is_held_out) {
                (true, true) => (ObjectSize::Large, pairs.held_out()),
                (true, false) => (ObjectSize::Large, pairs.seen()),
                (false, true) => (ObjectSize::Small, Pair::all()),
                (false, false) => (ObjectSize::Small, pairs.seen()),
            };
            let pair = *rng.pick(choice);
            if objects.iter().any(|o| o.pair() == pair) {
                continue;
            }
            let Some(object) = place(pair, size, &objects, &mut rng) else {
                break;
            };
            objects.push(object);
        }
        Self {
            background: background(seed.child("background", 0), &objects),
            objects,
        }
    }

    /// The large object, of which every scene has one.
    pub fn large(&self) -> &Object {
        &self.objects[0]
    }
}

fn place(pair: Pair, size: ObjectSize, others: &[Object], rng: &mut Rng) -> Option<Object> {
    let [low, high] = match size {
        ObjectSize::Large => LARGE,
        ObjectSize::Small => SMALL,
    };
    let radius = rng.between(low, high);
    let margin = radius + GAP / 2.0;
    let rgb = pair.colour.rgb().map(|v| {
        let moved = u64::from(v) + rng.below(2 * COLOUR_JITTER + 1);
        moved.saturating_sub(COLOUR_JITTER).min(255) as u8
    });
    let tilt = rng.between(-0.07, 0.07);
    for _ in 0..PLACE_TRIES {
        let centre = [
            rng.between(margin, 1.0 - margin),
            rng.between(margin, 1.0 - margin),
        ];
        let is_free = others.iter().all(|o| {
            let (dx, dy) = (o.centre[0] - centre[0], o.centre[1] - centre[1]);
            (dx * dx + dy * dy).sqrt() >= o.radius + radius + GAP
        });
        if is_free {
            return Some(Object {
                shape: pair.shape,
                colour: pair.colour,
                size,
                rgb,
                centre,
                radius,
                tilt,
            });
        }
    }
    None
}

/// Two muted tones that stand off from every object, in some pattern.
fn background(seed: Seed, objects: &[Object]) -> Background {
    let mut rng = seed.rng();
    let pattern = *rng.pick(&Pattern::ALL);
    let direction = *rng.pick(&[Direction::Across, Direction::Down, Direction::Diagonal]);
    let cells = 4 + rng.below(6) as u32;
    let mut best = ([[0; 3]; 2], -1.0);
    for _ in 0..32 {
        let tones = tones(&mut rng);
        let contrast = objects
            .iter()
            .flat_map(|o| tones.map(|tone| distance(o.rgb, tone)))
            .fold(f64::INFINITY, f64::min);
        if contrast > best.1 {
            best = (tones, contrast);
        }
        if contrast >= CONTRAST {
            break;
        }
    }
    Background {
        pattern,
        tones: best.0,
        direction,
        cells,
        seed: seed.child("noise", 0),
    }
}

fn tones(rng: &mut Rng) -> [[u8; 3]; 2] {
    let level = 40 + rng.below(75);
    let step = 16 + rng.below(16);
    let tint = [rng.below(25), rng.below(25), rng.below(25)];
    let mut tones = [
        tint.map(|t| (level + t) as u8),
        tint.map(|t| (level + t + step) as u8),
    ];
    rng.shuffle(&mut tones);
    tones
}

/// Euclidean distance in RGB.
fn distance(a: [u8; 3], b: [u8; 3]) -> f64 {
    let squares: f64 = a
        .iter()
        .zip(b)
        .map(|(&x, y)| f64::from(x) - f64::from(y))
        .map(|d| d * d)
        .sum();
    squares.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(is_held_out: bool) -> Vec<Scene> {
        let pairs = Pairs::draw(Seed(17));
        (0..2000)
            .map(|i| Scene::generate(Seed(3).child("t", i), &pairs, is_held_out, 4))
            .collect()
    }

    #[test]
    fn one_object_is_large_and_none_touch() {
        let mut counts = [0u32; 5];
        for scene in scenes(false) {
            counts[scene.objects.len()] += 1;
            for (i, a) in scene.objects.iter().enumerate() {
                assert_eq!(a.size == ObjectSize::Large, i == 0);
                for side in a.centre {
                    assert!(side - a.radius > 0.0 && side + a.radius < 1.0);
                }
                for b in &scene.objects[i + 1..] {
                    let [dx, dy] = offset(a, b);
                    assert!((dx * dx + dy * dy).sqrt() >= a.radius + b.radius + GAP);
                    assert_ne!(a.pair(), b.pair());
                }
            }
        }
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|&n| n > 400), "{counts:?}");
    }

    #[test]
    fn held_out_pairs_stay_where_they_belong() {
        let pairs = Pairs::draw(Seed(17));
        let has = |s: &Scene| s.objects.iter().any(|o| pairs.is_held_out(o.pair()));
        assert!(!scenes(false).iter().any(has));
        for scene in scenes(true) {
            assert!(pairs.is_held_out(scene.large().pair()));
        }
    }

    #[test]
    fn objects_stand_off_from_the_background() {
        let mut worst = f64::INFINITY;
        for scene in scenes(true).iter().chain(&scenes(false)) {
            for object in &scene.objects {
                for tone in scene.background.tones {
                    worst = worst.min(distance(object.rgb, tone));
                }
            }
        }
        assert!(worst >= 70.0, "{worst}");
    }

    #[test]
    fn relations_follow_the_longer_axis() {
        let scene = &scenes(false)[0];
        let at = |x: f64, y: f64| Object {
            centre: [x, y],
            ..scene.large().clone()
        };
        let middle = at(0.5, 0.5);
        for (x, y, relation, is_clear) in [
            (0.2, 0.4, Relation::Left, true),
            (0.8, 0.6, Relation::Right, true),
            (0.5, 0.1, Relation::Above, true),
            (0.3, 0.75, Relation::Below, false),
        ] {
            let object = at(x, y);
            assert_eq!(Relation::between(&object, &middle), relation);
            assert_eq!(Relation::between(&middle, &object), relation.inverse());
            assert_eq!(Relation::clear(&object, &middle).is_some(), is_clear);
        }
    }
}
