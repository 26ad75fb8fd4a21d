//! Questions about a scene, each with the one answer that is right.
//!
//! A question is only asked where the scene leaves no doubt: the colour of "the star" only of a
//! scene with one star, "where" only where one axis clearly prevails. Yes and no are equally likely.

use serde::{Deserialize, Serialize};
use sightline_core::seed::Rng;

use crate::captions::{phrase, with_article};
use crate::scene::{Colour, Object, ObjectSize, Relation, Scene, Shape};
use crate::splits::Pair;

/// Most questions of a scene; the numbers of questions are derived from it.
pub const MAX_QUESTIONS: usize = 6;

/// A question and its answer, with the two kinds of the VQA v2 files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The answer: a word, a digit, "yes" or "no".
    pub answer: String,
    /// The words the question begins with.
    pub question_type: String,
    /// Of what kind the answer is.
    pub answer_type: AnswerType,
}

/// Of what kind an answer is, in the words of VQA v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AnswerType {
    /// "yes" or "no".
    #[serde(rename = "yes/no")]
    YesNo,
    /// A number in digits.
    #[serde(rename = "number")]
    Number,
    /// A word.
    #[serde(rename = "other")]
    Other,
}

impl Question {
    fn new(start: &str, rest: &str, answer: &str, answer_type: AnswerType) -> Self {
        let mut letters = start.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        let start_of_sentence: String = first.into_iter().chain(letters).collect();
        Self {
            question: format!("{start_of_sentence} {rest}?"),
            answer: answer.to_owned(),
            question_type: start.to_owned(),
            answer_type,
        }
    }

    fn yes_no(start: &str, rest: &str, is_true: bool) -> Self {
        let answer = if is_true { "yes" } else { "no" };
        Self::new(start, rest, answer, AnswerType::YesNo)
    }
}

/// Four to six questions about `scene`: colour, shape, count, presence, and with two objects or more
/// a relation and, where it is clear, a place. Only pairs of `known` are ever named.
pub fn questions(scene: &Scene, known: &[Pair], rng: &mut Rng) -> Vec<Question> {
    let mut all = vec![
        colour(scene, rng),
        shape(scene, rng),
        count(scene, rng),
        presence(scene, known, rng),
    ];
    all.extend(relation(scene, rng));
    all.extend(place(scene, rng));
    all
}

/// The objects that differ from all others of the scene in what `of` says.
fn unique<T: PartialEq>(scene: &Scene, of: impl Fn(&Object) -> T) -> Vec<&Object> {
    let is_unique = |o: &&Object| scene.objects.iter().filter(|p| of(p) == of(o)).count() == 1;
    scene.objects.iter().filter(is_unique).collect()
}

fn colour(scene: &Scene, rng: &mut Rng) -> Question {
    let by_shape = unique(scene, |o| o.shape);
    let (object, name) = if by_shape.is_empty() || rng.below(2) == 0 {
        let large = scene.large();
        let name = *rng.pick(&["shape", large.shape.name()]);
        (large, format!("large {name}"))
    } else {
        let object = *rng.pick(&by_shape);
        (object, object.shape.name().to_owned())
    };
    let answer = object.colour.name();
    Question::new("what colour is the", &name, answer, AnswerType::Other)
}

fn shape(scene: &Scene, rng: &mut Rng) -> Question {
    let by_colour = unique(scene, |o| o.colour);
    let (object, name) = if by_colour.is_empty() || rng.below(2) == 0 {
        let large = scene.large();
        let name = match rng.below(2) {
            0 => "large object".to_owned(),
            _ => format!("large {} object", large.colour.name()),
        };
        (large, name)
    } else {
        let object = *rng.pick(&by_colour);
        (object, format!("{} object", object.colour.name()))
    };
    let answer = object.shape.name();
    Question::new("what shape is the", &name, answer, AnswerType::Other)
}

fn count(scene: &Scene, rng: &mut Rng) -> Question {
    let some = rng.pick(&scene.objects);
    let is_from_scene = rng.below(2) == 0;
    let (what, n) = match rng.below(4) {
        0 => ("shapes".to_owned(), scene.objects.len()),
        1 => {
            let is_small = |o: &&Object| o.size == ObjectSize::Small;
            let n = scene.objects.iter().filter(is_small).count();
            ("small shapes".to_owned(), n)
        }
        2 => {
            let any = *rng.pick(&Colour::ALL);
            let colour = if is_from_scene { some.colour } else { any };
            let n = scene.objects.iter().filter(|o| o.colour == colour).count();
            (format!("{} shapes", colour.name()), n)
        }
        _ => {
            let any = *rng.pick(&Shape::ALL);
            let shape = if is_from_scene { some.shape } else { any };
            let n = scene.objects.iter().filter(|o| o.shape == shape).count();
            (shape.plural().to_owned(), n)
        }
    };
    let rest = format!("{what} are there");
    Question::new("how many", &rest, &n.to_string(), AnswerType::Number)
}

/// Of the pairs that are not there, one that shares colour or shape with an object is asked for.
fn presence(scene: &Scene, known: &[Pair], rng: &mut Rng) -> Question {
    let there = rng.pick(&scene.objects).pair();
    let absent: Vec<Pair> = known
        .iter()
        .filter(|p| p.colour == there.colour || p.shape == there.shape)
        .filter(|p| scene.objects.iter().all(|o| o.pair() != **p))
        .copied()
        .collect();
    let (pair, is_there) = match rng.below(2) {
        1 if !absent.is_empty() => (*rng.pick(&absent), false),
        _ => (there, true),
    };
    Question::yes_no("is there", &with_article(&pair.to_string()), is_there)
}

fn relation(scene: &Scene, rng: &mut Rng) -> Option<Question> {
    let (one, other) = two(scene, rng)?;
    let truth = Relation::between(one, other);
    let is_true = rng.below(2) == 0;
    let asked = if is_true { truth } else { truth.inverse() };
    let rest = format!("{} {} the {}", one.pair(), phrase(asked), other.pair());
    Some(Question::yes_no("is the", &rest, is_true))
}

fn place(scene: &Scene, rng: &mut Rng) -> Option<Question> {
    let (one, other) = two(scene, rng)?;
    let answer = match Relation::clear(one, other)? {
        Relation::Left => "left",
        Relation::Right => "right",
        Relation::Above => "above",
        Relation::Below => "below",
    };
    let rest = format!("{}, seen from the {}", one.pair(), other.pair());
    Some(Question::new(
        "where is the",
        &rest,
        answer,
        AnswerType::Other,
    ))
}

/// Two different objects in random order.
fn two<'a>(scene: &'a Scene, rng: &mut Rng) -> Option<(&'a Object, &'a Object)> {
    let n = scene.objects.len();
    if n < 2 {
        return None;
    }
    let i = rng.below(n as u64) as usize;
    let j = (i + 1 + rng.below(n as u64 - 1) as usize) % n;
    Some((&scene.objects[i], &scene.objects[j]))
}

#[cfg(test)]
mod tests {
    use sightline_core::Seed;

    use super::*;
    use crate::splits::{Pairs, Split};

    #[test]
    fn yes_and_no_are_balanced_and_every_kind_is_asked() {
        let pairs = Pairs::draw(Seed(9));
        let (mut yes, mut no) = (0u32, 0u32);
        let mut kinds = std::collections::BTreeMap::<String, u32>::new();
        for index in 0..2000 {
            let scene = Split::Train.scene(index, Seed(9), &pairs, 4);
            let mut rng = Seed(9).child("q", u64::from(index)).rng();
            let all = questions(&scene, pairs.seen(), &mut rng);
            assert!((4..=MAX_QUESTIONS).contains(&all.len()));
            for question in all {
                yes += u32::from(question.answer == "yes");
                no += u32::from(question.answer == "no");
                *kinds.entry(question.question_type).or_default() += 1;
            }
        }
        assert!(yes.abs_diff(no) * 10 < yes + no, "{yes} yes, {no} no");
        assert_eq!(kinds.len(), 6);
        assert!(kinds.values().all(|&n| n > 500), "{kinds:?}");
    }

    #[test]
    fn the_start_of_a_question_is_its_type() {
        let q = Question::new("how many", "stars are there", "2", AnswerType::Number);
        assert_eq!(q.question, "How many stars are there?");
        assert_eq!(serde_json::to_value(q.answer_type).unwrap(), "number");
    }
}
