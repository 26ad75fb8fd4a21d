//! CHAIR: objects that a caption mentions and the image does not show (Rohrbach et al. 2018, "Object
//! Hallucination in Image Captioning", section 2).
//!
//! | id | value |
//! | --- | --- |
//! | `chair-i` | mentions of objects that are not there / mentions of objects; no value without mentions |
//! | `chair-s` | captions with such a mention / captions |
//!
//! Both run from 0 to 1, lower being better; a caption that mentions nothing is perfect for `chair-s`.
//! As in the authors' `chair.py`, an object named twice is mentioned twice, and a caption is one
//! sentence however long it is. (That program gives a single caption without mentions 0 for `chair-i`.)
//!
//! What is an object, and by which words, is the caller's: [`ObjectNames`] reads a list and finds the
//! mentions, for captions and for the references from which objects in the image are learned. With
//! another list, and no list is part of this crate, values cannot be compared. The program singularises with a
//! library and has rules of its own for COCO; [`ObjectNames`] knows regular plurals, and the rest is
//! written into the list.

use std::collections::{BTreeSet, HashMap};

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Metric, MetricInfo, Stats};
use crate::pairs::share;
use crate::{Error, Input, Item, Resources, Result};

/// `chair-i`.
pub static INSTANCES: Chair = Chair {
    sentences: false,
    id: "chair-i",
    description: "Share of mentioned objects that are not in the image.",
};

/// `chair-s`.
pub static SENTENCES: Chair = Chair {
    sentences: true,
    id: "chair-s",
    description: "Share of captions that mention an object that is not in the image.",
};

/// The objects that one caption mentions and those in its image, by the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMentions {
    /// Each mention, in any order.
    pub mentioned: Vec<Box<str>>,
    /// What is in the image: from its annotations, its references, or both.
    pub present: BTreeSet<Box<str>>,
}

impl Item for ObjectMentions {}

impl Examples for ObjectMentions {
    fn random(rng: &mut Rng) -> Self {
        const OBJECTS: [&str; 6] = ["dog", "cat", "person", "bench", "hot dog", "car"];
        Self {
            mentioned: (0..rng.below(6))
                .map(|_| Box::from(*rng.pick(&OBJECTS)))
                .collect(),
            present: (0..rng.below(5))
                .map(|_| Box::from(*rng.pick(&OBJECTS)))
                .collect(),
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self {
            mentioned: vec!["dog".into(), "dog".into(), "bench".into()],
            present: ["dog".into(), "bench".into(), "car".into()].into(),
        }
    }

    fn empty() -> Option<Self> {
        Some(Self {
            mentioned: Vec::new(),
            present: ["dog".into()].into(),
        })
    }
}

/// One of the two shares.
#[derive(Debug)]
pub struct Chair {
    sentences: bool,
    id: &'static str,
    description: &'static str,
}

/// Counts over captions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    hallucinated: u64,
    mentioned: u64,
    hallucinating: u64,
    captions: u64,
}

impl Stats for Counts {
    fn merge(&mut self, other: &Self) {
        self.hallucinated += other.hallucinated;
        self.mentioned += other.mentioned;
        self.hallucinating += other.hallucinating;
        self.captions += other.captions;
    }
}

impl Metric for Chair {
    type Item = ObjectMentions;
    type Corpus = ();
    type Stats = Counts;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::ObjectMentions,
            range: [0.0, 1.0],
            higher_is_better: false,
            description: self.description,
        }
    }

    fn family(&self) -> &'static str {
        "chair"
    }

    fn corpus(&self, _: &[ObjectMentions], _: &Resources) -> Result<()> {
        Ok(())
    }

    fn stats(&self, (): &(), item: &ObjectMentions) -> Counts {
        let absent = item
            .mentioned
            .iter()
            .filter(|object| !item.present.contains(*object));
        let hallucinated = absent.count() as u64;
        Counts {
            hallucinated,
            mentioned: item.mentioned.len() as u64,
            hallucinating: u64::from(hallucinated > 0),
            captions: 1,
        }
    }

    fn value(&self, stats: &Counts) -> Option<f64> {
        if self.sentences {
            share(stats.hallucinating, stats.captions)
        } else {
            share(stats.hallucinated, stats.mentioned)
        }
    }
}

/// Objects and the names by which captions mention them.
///
/// The list is text, one object a line: its own name, then the other names for it, between commas.
/// Lines that are blank or begin with `#` say nothing. A name is one or more words; a word is a run of
/// letters and digits, compared without case, and whatever else stands between words does not matter.
/// No name may belong to two objects, and none may be without words.
///
/// In a caption the longest name that begins at a word is taken, and the search goes on behind it, so
/// that `hot dog` is no dog. The last word of a name may be in the plural: `s` or `es` added, `y` turned
/// to `ies`, `f` or `fe` to `ves`, `man` to `men`. Other plurals are names like any other.
///
/// ```
/// use sightline_metrics::chair::ObjectNames;
///
/// let names = ObjectNames::parse("
///     # a phrase that is longer wins over the words in it
///     person, man, woman, people
///     dog, puppy
///     hot dog
///     toilet, toilet seat
/// ")?;
/// let caption = "Two men with hot dogs, a puppy and a Toilet-Seat.";
/// assert_eq!(names.mentions(caption), ["person", "hot dog", "dog", "toilet"]);
/// assert_eq!(names.object("PUPPY"), Some("dog"));
/// # Ok::<(), sightline_metrics::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectNames {
    objects: Vec<Box<str>>,
    /// Index into `objects` by name: lower-case words, single spaces between.
    by_name: HashMap<Box<str>, usize>,
    /// The most words of a name.
    words: usize,
    /// The most bytes of a name.
    bytes: usize,
}

impl ObjectNames {
    /// Reads a list.
    pub fn parse(list: &str) -> Result<Self> {
        let mut names = Self::default();
        for (index, line) in list.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |reason| Error::ObjectNames {
                line: index + 1,
                reason,
            };
            let object = names.objects.len();
            for name in line.split(',') {
                let words = Words::of(name);
                if words.ends.is_empty() {
                    return Err(refuse("a name without words"));
                }
                if names.objects.len() == object {
                    names.objects.push(words.text.as_str().into());
                }
                names.words = names.words.max(words.ends.len());
                names.bytes = names.bytes.max(words.text.len());
                let before = names.by_name.insert(words.text.into(), object);
                if before.is_some_and(|before| before != object) {
                    return Err(refuse("a name that belongs to another object already"));
                }
            }
        }
        Ok(names)
    }

    /// The object that `name`, all of it, is a name of.
    pub fn object(&self, name: &str) -> Option<&str> {
        let words = Words::of(name);
        self.find(&words.text).map(|object| &*self.objects[object])
    }

    /// The objects that `caption` mentions, in order, one for each mention.
    pub fn mentions(&self, caption: &str) -> Vec<&str> {
        let words = Words::of(caption);
        let mut mentions = Vec::new();
        let mut word = 0;
        while word < words.ends.len() {
            let start = if word == 0 {
                0
            } else {
                words.ends[word - 1] + 1
            };
            let last = words.ends.len().min(word + self.words);
            let found = (word..last)
                .rev()
                .find_map(|last| Some((last, self.find(&words.text[start..words.ends[last]])?)));
            word = match found {
                Some((last, object)) => {
                    mentions.push(&*self.objects[object]);
                    last + 1
                }
                None => word + 1,
            };
        }
        mentions
    }

    /// The object of a name in the singular or plural, its words as [`Words`] leaves them.
    fn find(&self, name: &str) -> Option<usize> {
        // Longer than every plural: nothing to look up, however long a word of a caption is.
        if name.len() > self.bytes + 2 {
            return None;
        }
        self.by_name.get(name).copied().or_else(|| {
            PLURALS.iter().find_map(|(plural, singular)| {
                let stem = name.strip_suffix(plural)?;
                self.by_name.get(&*format!("{stem}{singular}")).copied()
            })
        })
    }
}

/// Endings of plurals and of their singulars.
const PLURALS: [(&str, &str); 6] = [
    ("es", ""),
    ("s", ""),
    ("ies", "y"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
];

/// The words of a text.
#[derive(Default)]
struct Words {
    /// Lower-case, single spaces between.
    text: String,
    /// Where each word ends in `text`.
    ends: Vec<usize>,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self::default();
        for word in text.split(|c: char| !c.is_alphanumeric()) {
            if word.is_empty() {
                continue;
            }
            if !words.ends.is_empty() {
                words.text.push(' ');
            }
            words.text.push_str(&word.to_lowercase());
            words.ends.push(words.text.len());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::merged;

    const LIST: &str =
        "person, man, woman\n\n# animals\ndog, puppy\nhot dog\nknife\nbus\nberry\nhorse\n";

    fn item(mentioned: &[&str], present: &[&str]) -> ObjectMentions {
        ObjectMentions {
            mentioned: mentioned.iter().map(|&name| name.into()).collect(),
            present: present.iter().map(|&name| name.into()).collect(),
        }
    }

    #[test]
    fn mentions_and_captions_are_counted() {
        let items = [
            item(&["dog", "cat", "dog"], &["dog"]),
            item(&["car", "car"], &["dog"]),
            item(&["dog"], &["dog", "car"]),
            item(&[], &["dog"]),
        ];
        let stats: Vec<Counts> = items.iter().map(|i| INSTANCES.stats(&(), i)).collect();
        let sum = merged(&stats);
        assert_eq!(INSTANCES.value(&sum), Some(0.5), "3 of 6 mentions");
        assert_eq!(SENTENCES.value(&sum), Some(0.5), "2 of 4 captions");
        assert_eq!(INSTANCES.value(&stats[3]), None);
        assert_eq!(SENTENCES.value(&stats[3]), Some(0.0));
    }

    #[test]
    fn longest_names_and_regular_plurals_are_found() {
        let names = ObjectNames::parse(LIST).unwrap();
        for (caption, mentions) in [
            (
                "A dog, a HOT-DOG and hot dogs.",
                vec!["dog", "hot dog", "hot dog"],
            ),
            ("dogs hot", vec!["dog"]),
            ("two women's knives", vec!["person", "knife"]),
            ("buses, horses and berries", vec!["bus", "horse", "berry"]),
            ("a doghouse", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(names.mentions(caption), mentions, "{caption}");
        }
        assert_eq!(names.object("Hot  Dogs"), Some("hot dog"));
        assert_eq!(names.object("hot"), None);
    }

    #[test]
    fn bad_lists_name_the_line() {
        let error = ObjectNames::parse("dog\ncat, dog\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2 of the object names: a name that belongs to another object already"
        );
        let error = ObjectNames::parse("dog,, puppy").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 1 of the object names: a name without words"
        );
        assert!(ObjectNames::parse("dog, Dog").is_ok());
        let none = ObjectNames::parse("").unwrap();
        assert!(none.mentions("a dog").is_empty());
    }

    #[test]
    fn a_caption_of_one_long_word_or_many_short_ones_is_read_in_linear_time() {
        let names = ObjectNames::parse(LIST).unwrap();
        assert!(names.mentions(&"x".repeat(1 << 20)).is_empty());
        assert_eq!(names.mentions(&"dog ".repeat(1 << 18)).len(), 1 << 18);
    }
}
