//! Five English captions of a scene, each in another wording and all of them true.
//!
//! 1. The main one says everything about places: the large object and where each other one is seen
//!    from it, or where it is in the picture when it is alone.
//! 2. All objects with their sizes.
//! 3. How many shapes there are, and the large one.
//! 4. How a small object lies to another one.
//! 5. The background, the large object and the number of small ones.
//!
//! Each has several forms, of which one is drawn at random. The first object that a caption names is
//! the one whose place all its relations describe.

use sightline_core::seed::Rng;

use crate::scene::{Object, Relation, Scene};

/// Captions of a scene.
pub const CAPTIONS: usize = 5;

/// The captions of `scene`, the main one first, without repetition.
pub fn captions(scene: &Scene, rng: &mut Rng) -> [String; CAPTIONS] {
    [
        places(scene, rng),
        listing(scene, rng),
        number(scene, rng),
        neighbours(scene, rng),
        backdrop(scene, rng),
    ]
    .map(|text| sentence(&text))
}

/// The one description of `scene` in a fixed form: the large object and where it is seen from each other one. Whoever sees the scene can
/// write it word for word, but for objects that lie as far apart in one direction as in the other.
pub fn description(scene: &Scene) -> String {
    sentence(&related(scene))
}

/// The English word for a number of objects.
pub(crate) fn number_word(n: usize) -> &'static str {
    match n {
        0 => "no",
        1 => "one",
        2 => "two",
        3 => "three",
        _ => "four",
    }
}

/// "a" or "an" and the words.
pub(crate) fn with_article(words: &str) -> String {
    let is_vowel = words.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {words}", if is_vowel { "an" } else { "a" })
}

/// The words for "`a` is … `b`".
pub(crate) fn phrase(relation: Relation) -> &'static str {
    match relation {
        Relation::Left => "to the left of",
        Relation::Right => "to the right of",
        Relation::Above => "above",
        Relation::Below => "below",
    }
}

/// "large red circle".
fn sized(object: &Object) -> String {
    format!("{} {}", object.size.name(), object.pair())
}

fn a(object: &Object) -> String {
    with_article(&sized(object))
}

fn the(object: &Object) -> String {
    format!("the {}", sized(object))
}

fn places(scene: &Scene, rng: &mut Rng) -> String {
    let large = scene.large();
    let subject = a(large);
    if scene.objects.len() == 1 {
        let place = place(large);
        return match rng.below(3) {
            0 => format!("{subject} {place} of the picture"),
            1 => format!("{subject} is {place}"),
            _ => format!(
                "{subject} {place} of a {} picture",
                scene.background.pattern.adjective()
            ),
        };
    }
    match rng.below(3) {
        0 => format!("{subject} is {}", others(scene)),
        1 => format!("{subject} sits {}", others(scene)),
        _ => related(scene),
    }
}

/// The large object, and where it is seen from the others.
fn related(scene: &Scene) -> String {
    let subject = a(scene.large());
    match scene.objects.len() {
        1 => subject,
        _ => format!("{subject} {}", others(scene)),
    }
}

/// "above a small red star and to the left of a small blue cross".
fn others(scene: &Scene) -> String {
    let large = scene.large();
    let others: Vec<String> = scene.objects[1..]
        .iter()
        .map(|o| format!("{} {}", phrase(Relation::between(large, o)), a(o)))
        .collect();
    and(&others)
}

fn listing(scene: &Scene, rng: &mut Rng) -> String {
    let mut objects: Vec<String> = scene.objects.iter().map(a).collect();
    rng.shuffle(&mut objects);
    let all = and(&objects);
    match rng.below(4) {
        0 => all,
        1 => format!("there is {all}"),
        2 => format!("the picture shows {all}"),
        _ => format!("an image of {all}"),
    }
}

fn number(scene: &Scene, rng: &mut Rng) -> String {
    let (large, n) = (scene.large(), number_word(scene.objects.len()));
    let pair = with_article(&large.pair().to_string());
    match (scene.objects.len(), rng.below(3)) {
        (1, 0) => format!("there is one shape, and it is {}", a(large)),
        (1, 1) => format!("the only shape is {}", a(large)),
        (1, _) => format!("one shape: {}", a(large)),
        (_, 0) => format!("there are {n} shapes, and the largest is {pair}"),
        (_, 1) => format!("{n} shapes, one of them {}", a(large)),
        (_, _) => format!("{} among {n} shapes", a(large)),
    }
}

fn neighbours(scene: &Scene, rng: &mut Rng) -> String {
    let n = scene.objects.len();
    if n == 1 {
        let only = a(scene.large());
        return match rng.below(2) {
            0 => format!("we see {only} and nothing else"),
            _ => format!("nothing but {only}"),
        };
    }
    let i = 1 + rng.below(n as u64 - 1) as usize;
    let j = (i + 1 + rng.below(n as u64 - 1) as usize) % n;
    let (one, other) = (&scene.objects[i], &scene.objects[j]);
    let relation = phrase(Relation::between(one, other));
    match rng.below(4) {
        0 => format!("{} is {relation} {}", the(one), the(other)),
        1 => format!("we see {} {relation} {}", a(one), a(other)),
        2 => format!("{} can be found {relation} {}", a(one), a(other)),
        _ => format!("look at {}, it is {relation} {}", the(one), the(other)),
    }
}

fn backdrop(scene: &Scene, rng: &mut Rng) -> String {
    let large = a(scene.large());
    let back = with_article(scene.background.pattern.adjective());
    let small = match scene.objects.len() - 1 {
        0 => {
            return match rng.below(3) {
                0 => format!("{large} alone on {back} background"),
                1 => format!("{back} background with {large}"),
                _ => format!("on {back} background there is {large}"),
            };
        }
        1 => "one small shape".to_owned(),
        n => format!("{} small shapes", number_word(n)),
    };
    match rng.below(3) {
        0 => format!("{large} and {small} on {back} background"),
        1 => format!("{back} background with {large} and {small}"),
        _ => format!("on {back} background there is {large} with {small}"),
    }
}

/// Where an object is in the picture; the middle fifth of each axis counts as its centre.
fn place(object: &Object) -> String {
    let third = |at: f64, low, high| match at {
        at if at < 0.4 => low,
        at if at > 0.6 => high,
        _ => "",
    };
    let [x, y] = object.centre;
    match (third(y, "top", "bottom"), third(x, "left", "right")) {
        ("", "") => "in the centre".to_owned(),
        ("", one) | (one, "") => format!("at the {one}"),
        (row, column) => format!("at the {row} {column}"),
    }
}

/// "a, b and c".
fn and(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// With a capital at the start and a full stop at the end.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sightline_core::Seed;

    use super::*;
    use crate::splits::{Pairs, Split};

    #[test]
    fn five_captions_differ_and_read_as_sentences() {
        let pairs = Pairs::draw(Seed(4));
        for index in 0..2000 {
            let scene = Split::Test.scene(index, Seed(4), &pairs, 4);
            let captions = captions(&scene, &mut Seed(4).child("c", u64::from(index)).rng());
            let distinct: BTreeSet<&String> = captions.iter().collect();
            assert_eq!(distinct.len(), CAPTIONS, "{captions:?}");
            for caption in &captions {
                assert!(caption.starts_with(|c: char| c.is_ascii_uppercase()));
                assert!(
                    caption.ends_with('.') && !caption.contains("  "),
                    "{caption}"
                );
                assert!(!caption.contains(" a orange") && !caption.contains(" an large"));
            }
        }
    }

    #[test]
    fn a_description_is_one_of_the_forms_of_the_main_caption() {
        let pairs = Pairs::draw(Seed(4));
        let (mut equal, mut related) = (0, 0);
        for index in 0..600 {
            let scene = Split::Test.scene(index, Seed(4), &pairs, 3);
            let description = description(&scene);
            let main = captions(&scene, &mut Seed(4).child("c", u64::from(index)).rng())[0].clone();
            if scene.objects.len() > 1 {
                related += 1;
                let plain = main.replacen(" is ", " ", 1).replacen(" sits ", " ", 1);
                assert_eq!(plain, description);
                equal += u32::from(main == description);
            } else {
                let start = description.trim_end_matches('.');
                assert!(main.starts_with(start), "{main} {description}");
            }
        }
        assert!(
            (related / 4..related / 2).contains(&equal),
            "{equal} of {related}"
        );
    }

    #[test]
    fn lists_and_articles() {
        let words = ["x", "y", "z"].map(str::to_owned);
        assert_eq!(and(&words[..1]), "x");
        assert_eq!(and(&words[..2]), "x and y");
        assert_eq!(and(&words), "x, y and z");
        assert_eq!(with_article("orange star"), "an orange star");
        assert_eq!(with_article("large orange star"), "a large orange star");
        assert_eq!(sentence("two shapes"), "Two shapes.");
    }
}
