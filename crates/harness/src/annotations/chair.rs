//! What CHAIR needs of COCO: the objects of `instances_val2014.json` (`{"images": […], "categories": [{"id": 18, "name":
//! "dog"}], "annotations": [{"image_id": 1, "category_id": 18}]}`), perhaps the captions of `captions_val2014.json`, whose
//! objects count as well, and a list of objects with the words for them, of which [`ObjectNames`] says the form. A category
//! must be in the list.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use sightline_metrics::chair::ObjectNames;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The form.
pub(crate) struct Chair;

#[derive(Deserialize)]
struct Instances {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Instance>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Instance {
    image_id: u64,
    category_id: u64,
}

#[derive(Deserialize)]
struct Captions {
    annotations: Vec<Caption>,
}

#[derive(Deserialize)]
struct Caption {
    image_id: u64,
    caption: String,
}

impl Form for Chair {
    fn name(&self) -> &'static str {
        "chair"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "instances",
                is_required: true,
                published: "`instances_val2014.json` of COCO",
            },
            Role {
                name: "captions",
                is_required: false,
                published: "`captions_val2014.json` of COCO",
            },
            Role {
                name: "names",
                is_required: true,
                published: "a list of objects, one a line, with the other words for each between commas",
            },
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let mut names = ObjectNames::default();
        for file in files.all("names") {
            names = ObjectNames::parse(&file.text()?).map_err(|error| {
                let problem = AnnotationProblem::Value {
                    what: "the list",
                    found: error.to_string(),
                    expected: "objects with their words, each once".to_owned(),
                };
                file.refuse(Spot::File, problem)
            })?;
        }
        let names = Arc::new(names);
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        let mut present: HashMap<u64, BTreeSet<Box<str>>> = HashMap::new();
        let mut images = Vec::new();
        for file in files.all("instances") {
            let document: Instances = file.json()?;
            let mut objects: HashMap<u64, &str> = HashMap::new();
            for (category, number) in document.categories.iter().zip(1..) {
                let object = names.object(&category.name).ok_or_else(|| {
                    let problem = AnnotationProblem::Unknown {
                        what: "the object",
                        id: category.name.clone(),
                    };
                    file.refuse(Spot::Entry("categories", number), problem)
                })?;
                objects.insert(category.id, object);
            }
            for image in &document.images {
                present.entry(image.id).or_default();
            }
            for (instance, number) in document.annotations.iter().zip(1..) {
                let (Some(present), Some(object)) = (
                    present.get_mut(&instance.image_id),
                    objects.get(&instance.category_id),
                ) else {
                    let problem = AnnotationProblem::Unknown {
                        what: "image or category",
                        id: format!("{}, {}", instance.image_id, instance.category_id),
                    };
                    return Err(file.refuse(Spot::Entry("annotations", number), problem));
                };
                present.insert((*object).into());
            }
            let numbered = document.images.into_iter().zip(1..);
            images.extend(numbered.map(|(image, number)| (file.clone(), image, number)));
        }
        for file in files.all("captions") {
            let document: Captions = file.json()?;
            for caption in document.annotations {
                // Captions of other images have nothing to say here.
                if let Some(present) = present.get_mut(&caption.image_id) {
                    present.extend(names.mentions(&caption.caption).into_iter().map(Box::from));
                }
            }
        }
        for (file, image, number) in images {
            let spot = Spot::Entry("images", number);
            let example = Example {
                key: key(&file, &spot, &image.id.to_string())?,
                images: vec![image.file_name],
                content: Content::Objects {
                    names: names.clone(),
                    present: present.remove(&image.id).unwrap_or_default(),
                },
            };
            unique(&file, spot, &example, &mut seen)?;
            examples.push(example);
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const INSTANCES: &str = r#"{"images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        "annotations": [{"id": 7, "image_id": 1, "category_id": 18, "bbox": [0, 0, 1, 1]}]}"#;
    const CAPTIONS: &str =
        r#"{"annotations": [{"image_id": 2, "caption": "A puppy on two benches."}]}"#;
    const NAMES: &str = "dog, puppy\nbench\n";

    #[test]
    fn objects_are_those_of_annotations_and_captions() {
        let texts = [
            ("instances", INSTANCES),
            ("captions", CAPTIONS),
            ("names", NAMES),
        ];
        let examples = read_as("chair", None, &texts).unwrap();
        let present = |number: usize| match &examples[number].content {
            Content::Objects { present, .. } => present.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        };
        let (first, second): (Vec<String>, Vec<String>) = (present(0), present(1));
        assert_eq!(
            (first, second),
            (
                vec!["dog".to_owned()],
                vec!["bench".to_owned(), "dog".to_owned()]
            )
        );
    }

    #[test]
    fn a_category_without_a_word_is_refused() {
        let text = refusal(
            "chair",
            None,
            &[("instances", INSTANCES), ("names", "bench\n")],
        );
        assert!(
            text.contains("number 1 of `categories`: is about the object `dog`"),
            "{text}"
        );
        let text = refusal(
            "chair",
            None,
            &[("instances", INSTANCES), ("names", "dog\ncat, dog\n")],
        );
        assert!(text.contains("the list is"), "{text}");
    }
}
