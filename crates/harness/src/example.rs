//! What a dataset says: the things that a task asks about, and what is right.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use sightline_core::{Sample, SampleKey};
use sightline_manifest::{Lock, Plan, PlannedTask, Roots};
use sightline_metrics::BoundingBox;
use sightline_metrics::average_precision::Presence;
use sightline_metrics::chair::ObjectNames;
use sightline_metrics::detection::{Frequencies, GroundTruth};
use sightline_models::TaggedText;

use crate::Result;
use crate::dataset::{Classes, Dataset, Name};

/// The annotations of a task, in the order of the dataset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    /// One entry for each line of predictions.
    pub examples: Vec<Example>,
    /// Number of classes; 0 for tasks that need none.
    pub classes: usize,
}

/// One thing that a task asks about.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its key, that of its line of predictions.
    pub key: SampleKey,
    /// Names of the images that it is about, in the order in which a model sees them.
    pub images: Vec<String>,
    /// What is asked, and what is right.
    pub content: Content,
}

/// What is asked about images, and what is right.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// An image that has captions, or a class.
    Sample {
        /// Its class.
        class: Class,
        /// Its captions, see [`captions`].
        captions: Vec<String>,
    },
    /// An image and the boxes of its objects.
    Boxes {
        /// The objects of categories that are evaluated.
        truths: Vec<GroundTruth>,
        /// Categories of which nothing is in the image, where annotations are federated.
        absent: Vec<u32>,
        /// Categories of which more may be in the image than is annotated.
        not_exhaustive: Vec<u32>,
        /// The categories of the dataset.
        categories: Arc<Categories>,
    },
    /// An image and the objects in it, by the names of a list.
    Objects {
        /// The list.
        names: Arc<ObjectNames>,
        /// What is in the image.
        present: BTreeSet<Box<str>>,
    },
    /// An image in which several classes are present or not.
    Labels(Vec<Presence>),
    /// Images that are shown with their texts, and a question about the last one (Tsimpoukelli et al. 2021).
    Episode {
        /// What is said of each image but the last.
        texts: Vec<String>,
        /// What is asked about the last one.
        question: String,
        /// The right answer.
        answer: String,
    },
    /// A question in plain words.
    Question {
        /// The question.
        question: String,
        /// What people answered, as often as they did; none where it is not published.
        answers: Vec<String>,
    },
    /// A statement, or a question that has one of few labels.
    Statement {
        /// The statement.
        text: String,
        /// The right label; `None` where it is not published.
        label: Option<String>,
        /// What examples that are scored together have in common.
        group: Option<String>,
    },
    /// Questions that bring their own candidates: in VCR one for the answer and one for the rationale.
    Choices {
        /// The questions.
        choices: Vec<Choice>,
        /// The right candidate of each; `None` where it is not published.
        right: Vec<Option<usize>>,
    },
    /// A caption whose phrases mean parts of the image.
    Phrases {
        /// The caption.
        caption: String,
        /// Its phrases that have a box.
        phrases: Vec<Phrase>,
    },
}

/// The categories of a dataset of boxes, by their numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Categories {
    /// How frequent each is; empty where nobody says it.
    pub frequencies: Arc<Frequencies>,
    /// Whether detectors are trained with boxes of it.
    pub is_seen: Vec<bool>,
    /// Whether it counts.
    pub is_evaluated: Vec<bool>,
}

/// A question with candidates.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// The question.
    pub question: Tagged,
    /// The candidates.
    pub candidates: Vec<Tagged>,
    /// How many objects are annotated in the image.
    pub objects: usize,
    /// The objects that a model is shown, in order; tags are positions among them.
    pub shown: Vec<usize>,
}

/// A text, some of whose words name objects of the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tagged {
    /// The text.
    pub text: String,
    /// Which bytes of it name which of the objects that are shown.
    pub tags: Vec<(Range<usize>, usize)>,
}

impl Tagged {
    /// As a model takes it, the objects being the regions from number `first` on; `None` for a model that sees no
    /// regions.
    pub(crate) fn with_regions(&self, first: Option<usize>) -> TaggedText<'_> {
        let tags = first.into_iter().flat_map(|first| {
            let tags = self.tags.iter();
            tags.map(move |(bytes, object)| (bytes.clone(), first + object))
        });
        TaggedText {
            text: &self.text,
            tags: tags.collect(),
        }
    }
}

/// A phrase of a caption.
#[derive(Clone, Debug, PartialEq)]
pub struct Phrase {
    /// Its bytes.
    pub bytes: Range<usize>,
    /// The boxes that it means, at least one.
    pub boxes: Vec<BoundingBox>,
}

/// What is said about a sample's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// This one of the dataset's classes.
    Known(u32),
    /// Nothing.
    Missing,
    /// Something that the dataset's classes do not have.
    Unknown,
    /// A name that several of the dataset's classes have.
    Ambiguous,
}

/// Reads the annotations of a task's dataset from its locked files, images unseen.
pub fn read_truth(plan: &Plan, lock: &Lock, roots: &Roots, task: &PlannedTask) -> Result<Truth> {
    let dataset = Dataset::open(plan, lock, roots, task)?;
    let mut examples = Vec::new();
    for read in dataset.examples(task.limit) {
        examples.push(read?.example);
    }
    Ok(Truth {
        examples,
        classes: dataset.classes.names.len(),
    })
}

/// The captions of a sample that say something. Downloaders store an empty text for a row without a caption.
pub(crate) fn captions(captions: Vec<String>) -> Vec<String> {
    captions
        .into_iter()
        .filter(|caption| !caption.trim().is_empty())
        .collect()
}

impl Classes {
    /// The example that `sample` is.
    pub(crate) fn example(&self, sample: Sample) -> Example {
        let field = self.field.as_deref();
        Example {
            images: vec![sample.key.to_string()],
            key: sample.key,
            content: Content::Sample {
                class: self.class(field.and_then(|field| sample.meta.get(field))),
                captions: captions(sample.captions),
            },
        }
    }

    /// The class that a metadata value names: an index, or a name of the list.
    fn class(&self, value: Option<&Value>) -> Class {
        match value {
            None | Some(Value::Null) => Class::Missing,
            Some(Value::String(name)) => match self.named(name) {
                Some(Name::Of(index)) => Class::Known(index),
                Some(Name::Ambiguous) => Class::Ambiguous,
                None => Class::Unknown,
            },
            Some(value) => value
                .as_u64()
                .and_then(|index| u32::try_from(index).ok())
                .filter(|&index| (index as usize) < self.names.len())
                .map_or(Class::Unknown, Class::Known),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// An example of one image with this content.
    pub(crate) fn example(key: &str, content: Content) -> Example {
        Example {
            key: SampleKey::new(key).unwrap(),
            images: vec![key.to_owned()],
            content,
        }
    }

    #[test]
    fn a_class_is_an_index_or_a_name_of_the_list() {
        let names = ["circle", "square", "7", "crane", "crane"]
            .map(str::to_owned)
            .to_vec();
        let classes = Classes::new(Some("class".to_owned()), names);
        let class = |value: Value| classes.class(Some(&value));
        assert_eq!(class(json!(1)), Class::Known(1));
        assert_eq!(class(json!("square")), Class::Known(1));
        assert_eq!(class(json!("7")), Class::Known(2));
        for unknown in [
            json!(5),
            json!(-1),
            json!(1.5),
            json!("2"),
            json!("Square"),
            json!([1]),
        ] {
            assert_eq!(class(unknown.clone()), Class::Unknown, "{unknown}");
        }
        assert_eq!(class(json!("crane")), Class::Ambiguous);
        assert_eq!(class(json!(4)), Class::Known(4));
        assert_eq!(class(json!(null)), Class::Missing);
        assert_eq!(classes.class(None), Class::Missing);
    }
}
