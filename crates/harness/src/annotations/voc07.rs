//! Pascal VOC's image sets: for each class a file `{class}_{split}.txt` in `ImageSets/Main`, whose lines are an image and 1
//! (there), -1 (not there) or 0 (there, but difficult): `000005 -1`.
//!
//! The classes are the files in the order of their names, which the dataset's list of classes has to have; an image that
//! a file leaves out has no object of that class. Images are in the order in which they first stand in the first file.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sightline_metrics::average_precision::Presence;

use super::{AnnotationProblem, Files, Form, Role, Spot, key};
use crate::Result;
use crate::example::{Content, Example};

/// The form.
pub(crate) struct Voc07;

impl Form for Voc07 {
    fn name(&self) -> &'static str {
        "voc07"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "labels",
            is_required: true,
            published: "`ImageSets/Main/*_test.txt` of VOC 2007, a file for each class",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let of_classes = files.all("labels");
        let mut examples: Vec<Example> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for (class, file) in of_classes.iter().enumerate() {
            for (line, number) in file.text()?.lines().zip(1..) {
                let spot = Spot::Line(number);
                let mut words = line.split_whitespace();
                let Some(name) = words.next() else {
                    continue;
                };
                let presence = match (words.next(), words.next()) {
                    (Some("1"), None) => Presence::Positive,
                    (Some("-1"), None) => Presence::Negative,
                    (Some("0"), None) => Presence::Ignored,
                    _ => {
                        let problem = AnnotationProblem::Value {
                            what: "the line",
                            found: format!("`{line}`"),
                            expected: "an image and one of 1, 0 and -1".to_owned(),
                        };
                        return Err(file.refuse(spot, problem));
                    }
                };
                let place = match places.entry(name.to_owned()) {
                    Entry::Occupied(place) => *place.get(),
                    Entry::Vacant(place) => {
                        examples.push(Example {
                            key: key(file, &spot, name)?,
                            images: vec![name.to_owned()],
                            content: Content::Labels(vec![Presence::Negative; of_classes.len()]),
                        });
                        *place.insert(examples.len() - 1)
                    }
                };
                if let Content::Labels(labels) = &mut examples[place].content {
                    labels[class] = presence;
                }
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    #[test]
    fn each_file_is_a_class_and_zero_is_difficult() {
        let texts = [
            (
                "labels:aeroplane_test.txt",
                "000001 -1\n000002  1\n000003  0\n",
            ),
            ("labels:bicycle_test.txt", "000001  1\n000002 -1\n"),
        ];
        let examples = read_as("voc07", None, &texts).unwrap();
        let (yes, no, difficult) = (Presence::Positive, Presence::Negative, Presence::Ignored);
        let expected = [
            ("000001", [no, yes]),
            ("000002", [yes, no]),
            ("000003", [difficult, no]),
        ];
        assert_eq!(examples.len(), 3);
        for (example, (key, labels)) in examples.iter().zip(expected) {
            assert_eq!(example.key.as_str(), key);
            assert_eq!(example.content, Content::Labels(labels.to_vec()));
        }
    }

    #[test]
    fn other_labels_are_refused() {
        let text = refusal(
            "voc07",
            None,
            &[("labels:a_test.txt", "000001 -1\n000002 2\n")],
        );
        assert!(text.contains("line 2: the line is `000002 2`"), "{text}");
    }
}
