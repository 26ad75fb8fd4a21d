//! Descriptions with one thing wrong.
//!
//! A model that looks at words alone cannot tell a foil from the truth: both are descriptions as scenes have them, and the word that is
//! wrong is as frequent as the one it stands for.

use sightline_core::seed::Rng;

use crate::captions::description;
use crate::scene::{Colour, Object, Scene, Shape};

/// What is wrong in a foil.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// An object's colour.
    Colour,
    /// An object's shape.
    Shape,
    /// Where the large object lies: on the other side.
    Relation,
}

impl Wrong {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Colour => "colour",
            Self::Shape => "shape",
            Self::Relation => "relation",
        }
    }
}

/// The description of `scene` with one word that is not true of it.
pub(crate) fn foil(scene: &Scene, rng: &mut Rng) -> (Wrong, String) {
    let kinds: &[Wrong] = match scene.objects.len() {
        1 => &[Wrong::Colour, Wrong::Shape],
        _ => &[Wrong::Colour, Wrong::Shape, Wrong::Relation],
    };
    let wrong = *rng.pick(kinds);
    let mut other = scene.clone();
    let at = rng.below(other.objects.len() as u64) as usize;
    match wrong {
        Wrong::Colour => {
            let is_new = |colour: &Colour| {
                let object = Object {
                    colour: *colour,
                    ..scene.objects[at].clone()
                };
                scene.objects.iter().all(|o| o.pair() != object.pair())
            };
            let colours: Vec<Colour> = Colour::ALL.into_iter().filter(is_new).collect();
            other.objects[at].colour = *rng.pick(&colours);
        }
        Wrong::Shape => {
            let is_new = |shape: &Shape| {
                let object = Object {
                    shape: *shape,
                    ..scene.objects[at].clone()
                };
                scene.objects.iter().all(|o| o.pair() != object.pair())
            };
            let shapes: Vec<Shape> = Shape::ALL.into_iter().filter(is_new).collect();
            other.objects[at].shape = *rng.pick(&shapes);
        }
        // Seen in a mirror at both axes, every relation is its inverse.
        Wrong::Relation => {
            for object in &mut other.objects {
                object.centre = object.centre.map(|at| 1.0 - at);
            }
        }
    }
    (wrong, description(&other))
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;
    use crate::splits::{Pairs, Split};

    #[test]
    fn foils_differ_from_the_truth_in_one_word_of_every_kind() {
        let pairs = Pairs::draw(Seed(5));
        let mut counts = [0; 3];
        for index in 0..900 {
            let scene = Split::Test.scene(index, Seed(5), &pairs, 2);
            let mut rng = Seed(5).child("f", u64::from(index)).rng();
            let (wrong, foil) = foil(&scene, &mut rng);
            let truth = description(&scene);
            assert_ne!(foil, truth);
            let words = |text: &str| -> Vec<String> {
                let words = text.trim_end_matches('.').split(' ');
                let words = words.filter(|word| !["A", "An", "a", "an"].contains(word));
                words.map(str::to_owned).collect()
            };
            let (right, other) = (words(&truth), words(&foil));
            let differing = right.iter().zip(&other).filter(|(a, b)| a != b).count();
            assert_eq!((differing, right.len()), (1, other.len()), "{truth} {foil}");
            counts[wrong as usize] += 1;
        }
        assert!(counts.iter().all(|&n| n > 100), "{counts:?}");
    }
}
