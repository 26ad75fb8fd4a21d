//! `ImageNet`'s validation images, which lie in one folder (`ILSVRC2012_val_00000001.JPEG`), with their labels in one of two
//! published forms:
//!
//! - `LOC_val_solution.csv`: `ImageId,PredictionString`, and behind it `ILSVRC2012_val_00048981,n03995372 85 1 499 272`,
//!   the class and a box, perhaps several.
//! - `ILSVRC2012_validation_ground_truth.txt` of the development kit: line n is the number of the class of image n. The
//!   numbers are the kit's own: a file `map`, its `map_clsloc.txt`, says which class each is (`n02119789 1 kit_fox`).
//!
//! `synsets` says the order of the classes, as in [`super::image_folders`].

use std::collections::{HashMap, HashSet};

use super::image_folders::synsets;
use super::{AnnotationFile, AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Class, Content, Example};

/// The form.
pub(crate) struct ImageNetVal;

impl Form for ImageNetVal {
    fn name(&self) -> &'static str {
        "imagenet-val"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "labels",
                is_required: true,
                published: "`LOC_val_solution.csv` of ImageNet, or `ILSVRC2012_validation_ground_truth.txt` of its \
                            development kit",
            },
            Role {
                name: "synsets",
                is_required: true,
                published: "`LOC_synset_mapping.txt` of ImageNet",
            },
            Role {
                name: "map",
                is_required: false,
                published: "`map_clsloc.txt` of ImageNet's development kit",
            },
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let mut classes = HashMap::new();
        for file in files.all("synsets") {
            classes = synsets(&file)?;
        }
        let map = match files.all("map").first() {
            Some(file) => Some(numbers(file)?),
            None => None,
        };
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("labels") {
            for (number, name, synset) in labels(&file, map.as_ref())? {
                let spot = Spot::Line(number);
                let Some(&class) = classes.get(&synset) else {
                    let problem = AnnotationProblem::Unknown {
                        what: "class",
                        id: synset,
                    };
                    return Err(file.refuse(spot, problem));
                };
                let example = Example {
                    key: key(&file, &spot, &name)?,
                    images: vec![name],
                    content: Content::Sample {
                        class: Class::Known(class),
                        captions: Vec::new(),
                    },
                };
                unique(&file, spot, &example, &mut seen)?;
                examples.push(example);
            }
        }
        examples.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(examples)
    }
}

/// The line, the name of the image and the class of each label.
fn labels(
    file: &AnnotationFile,
    map: Option<&HashMap<u32, String>>,
) -> Result<Vec<(usize, String, String)>> {
    let text = file.text()?;
    let value = |number, what, found: &str, expected: &str| {
        let problem = AnnotationProblem::Value {
            what,
            found: format!("`{found}`"),
            expected: expected.to_owned(),
        };
        file.refuse(Spot::Line(number), problem)
    };
    let mut all = Vec::new();
    let lines = text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty());
    if text.starts_with("ImageId,") {
        for (line, number) in lines.skip(1) {
            let (name, boxes) = line.split_once(',').unwrap_or((line, ""));
            let Some(synset) = boxes.split_whitespace().next() else {
                return Err(value(
                    number,
                    "the label",
                    line,
                    "a name, a comma and a class",
                ));
            };
            all.push((number, name.to_owned(), synset.to_owned()));
        }
        return Ok(all);
    }
    let Some(map) = map else {
        let what = "`annotations.files`";
        return Err(value(
            1,
            what,
            "without `map`",
            "with the file that numbers the classes",
        ));
    };
    for (line, number) in lines {
        let class = line.trim().parse().ok().and_then(|id: u32| map.get(&id));
        let class = class.ok_or_else(|| value(number, "the label", line, "a number of the map"))?;
        all.push((number, format!("ILSVRC2012_val_{number:08}"), class.clone()));
    }
    Ok(all)
}

/// The class that each number of the development kit stands for.
fn numbers(file: &AnnotationFile) -> Result<HashMap<u32, String>> {
    let text = file.text()?;
    let mut map = HashMap::new();
    for (line, number) in text.lines().zip(1..) {
        let mut words = line.split_whitespace();
        let (synset, id) = (words.next(), words.next().and_then(|id| id.parse().ok()));
        match (synset, id) {
            (None, _) => {}
            (Some(synset), Some(id)) => {
                map.insert(id, synset.to_owned());
            }
            (Some(_), None) => {
                let problem = AnnotationProblem::Value {
                    what: "the line",
                    found: format!("`{line}`"),
                    expected: "a class and its number".to_owned(),
                };
                return Err(file.refuse(Spot::Line(number), problem));
            }
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const SYNSETS: &str = "n01440764 tench, Tinca tinca\nn02119789 kit fox, Vulpes macrotis\n";
    const SOLUTION: &str = "ImageId,PredictionString\n\
        ILSVRC2012_val_00000002,n02119789 85 1 499 272 \n\
        ILSVRC2012_val_00000001,n01440764 1 2 3 4 n01440764 5 6 7 8 \n";

    fn classes(texts: &[(&str, &str)]) -> Vec<(String, Class)> {
        let class = |example: Example| match example.content {
            Content::Sample { class, .. } => (example.images[0].clone(), class),
            other => panic!("{other:?}"),
        };
        let examples = read_as("imagenet-val", None, texts).unwrap();
        examples.into_iter().map(class).collect()
    }

    #[test]
    fn both_published_forms_say_the_same() {
        let solution = classes(&[("labels", SOLUTION), ("synsets", SYNSETS)]);
        let kit = classes(&[
            ("labels", "2\n1\n"),
            ("synsets", SYNSETS),
            ("map", "n02119789 1 kit_fox\nn01440764 2 tench\n"),
        ]);
        assert_eq!(solution, kit);
        let first = ("ILSVRC2012_val_00000001".to_owned(), Class::Known(0));
        assert_eq!(solution[0], first);
        assert_eq!(solution[1].1, Class::Known(1));
    }

    #[test]
    fn labels_that_mean_nothing_are_refused() {
        let told = |labels: &str| {
            refusal(
                "imagenet-val",
                None,
                &[("labels", labels), ("synsets", SYNSETS)],
            )
        };
        let text = told("2\n1\n");
        assert!(text.contains("without `map`"), "{text}");
        let text = told(&SOLUTION.replace("n02119789", "n9"));
        assert!(text.contains("line 2: is about class `n9`"), "{text}");
        let text = told("ImageId,PredictionString\nILSVRC2012_val_00000002,\n");
        assert!(text.contains("line 2: the label"), "{text}");
    }
}
