//! Which pairs of colour and shape are held out of training, and which scenes a split holds.
//!
//! One pair of every colour is held out, so that each colour and each shape is learnt in other
//! company. Every fourth scene of validation and test has a held-out pair as its large object; the
//! other scenes of all splits have no object of such a pair.

use serde::{Deserialize, Serialize};
use sightline_core::Seed;

use crate::scene::{Colour, Scene, Shape};

const SHAPES: usize = Shape::ALL.len();
const PAIRS: usize = Colour::ALL.len() * SHAPES;

static ALL_PAIRS: [Pair; PAIRS] = all_pairs();

const fn all_pairs() -> [Pair; PAIRS] {
    let mut pairs = [Pair {
        colour: Colour::Red,
        shape: Shape::Circle,
    }; PAIRS];
    let mut i = 0;
    while i < PAIRS {
        pairs[i] = Pair {
            colour: Colour::ALL[i / SHAPES],
            shape: Shape::ALL[i % SHAPES],
        };
        i += 1;
    }
    pairs
}

/// A colour and a shape: a class of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    /// The colour.
    pub colour: Colour,
    /// The shape.
    pub shape: Shape,
}

impl Pair {
    /// Every pair, in the order of the classes.
    pub fn all() -> &'static [Self] {
        &ALL_PAIRS
    }

    /// Its place in [`Pair::all`]: the class label.
    pub fn index(self) -> usize {
        self.colour as usize * SHAPES + self.shape as usize
    }
}

/// The class name: "red circle".
impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.colour.name(), self.shape.name())
    }
}

/// All pairs, told apart by whether training may see them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    seen: Vec<Pair>,
    held_out: Vec<Pair>,
}

impl Pairs {
    /// Holds out one pair of each colour; no shape more than twice.
    pub fn draw(seed: Seed) -> Self {
        let mut rng = seed.child("held-out", 0).rng();
        let (mut colours, mut shapes) = (Colour::ALL, Shape::ALL);
        rng.shuffle(&mut colours);
        rng.shuffle(&mut shapes);
        let mut held_out: Vec<Pair> = colours
            .into_iter()
            .zip(shapes.into_iter().cycle())
            .map(|(colour, shape)| Pair { colour, shape })
            .collect();
        held_out.sort_unstable();
        let seen = Pair::all()
            .iter()
            .filter(|pair| !held_out.contains(pair))
            .copied()
            .collect();
        Self { seen, held_out }
    }

    /// What training sees, in the order of the classes.
    pub fn seen(&self) -> &[Pair] {
        &self.seen
    }

    /// What training never sees, in the order of the classes.
    pub fn held_out(&self) -> &[Pair] {
        &self.held_out
    }

    /// Whether training never sees `pair`.
    pub fn is_held_out(&self, pair: Pair) -> bool {
        self.held_out.contains(&pair)
    }
}

/// A part of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Split {
    /// To learn from; without the held-out pairs.
    Train,
    /// To choose by.
    Val,
    /// To report.
    Test,
}

impl Split {
    /// Every split, in the order they are written.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name in paths and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// Whether scene `index` is one with a held-out pair.
    pub fn is_held_out(self, index: u32) -> bool {
        self != Self::Train && index % 4 == 1
    }

    /// The number of scene `index` in the whole dataset, from 1: splits are a million apart, so that
    /// it does not depend on how many scenes each has.
    pub fn scene_id(self, index: u32) -> u64 {
        self as u64 * 1_000_000 + u64::from(index) + 1
    }

    /// Scene `index`, which does not depend on how many there are.
    pub fn scene(self, index: u32, seed: Seed, pairs: &Pairs, max_objects: u32) -> Scene {
        let seed = self.scene_seed(index, seed);
        Scene::generate(seed, pairs, self.is_held_out(index), max_objects)
    }

    /// What everything about scene `index` is derived from.
    pub(crate) fn scene_seed(self, index: u32, seed: Seed) -> Seed {
        seed.child(self.name(), u64::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_of_each_colour_is_held_out() {
        for seed in 0..50 {
            let pairs = Pairs::draw(Seed(seed));
            assert_eq!(pairs.seen().len() + pairs.held_out().len(), PAIRS);
            for colour in Colour::ALL {
                let n = pairs.held_out().iter().filter(|p| p.colour == colour);
                assert_eq!(n.count(), 1);
            }
            for shape in Shape::ALL {
                let n = pairs.held_out().iter().filter(|p| p.shape == shape);
                assert!((1..=2).contains(&n.count()));
            }
        }
        assert_ne!(Pairs::draw(Seed(1)), Pairs::draw(Seed(2)));
    }

    #[test]
    fn classes_are_numbered_in_order() {
        for (i, pair) in Pair::all().iter().enumerate() {
            assert_eq!(pair.index(), i);
        }
        assert_eq!(Pair::all()[0].to_string(), "red circle");
        assert_eq!(Pair::all()[47].to_string(), "white cross");
    }
}
