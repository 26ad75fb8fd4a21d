//! Boxes of objects, as COCO and LVIS publish them.
//!
//! `coco-instances`: `instances_val2017.json`, `{"images": [{"id": 1, "file_name": "…"}], "categories": [{"id": 18, "name":
//! "dog"}], "annotations": [{"image_id": 1, "category_id": 18, "bbox": [x, y, width, height], "area": 1.5, "iscrowd": 0}]}`.
//!
//! `lvis`: `lvis_v1_val.json`, the same with `coco_url` instead of `file_name`, a `frequency` of each category (`r`, `c`,
//! `f`), and of each image `neg_category_ids`, of which nothing is there, and `not_exhaustive_category_ids`.
//!
//! Categories are numbered in the order of their ids, which the dataset's list of classes has to have. `seen` names those
//! whose boxes a detector was trained with; without it they are all but LVIS's rare ones, the protocol of `ViLD`.
//! `evaluated` names those that count: what is found of others is left out, for novel and base categories of COCO's 48/17
//! split.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use sightline_metrics::BoundingBox;
use sightline_metrics::detection::{Frequencies, Frequency, GroundTruth};

use super::{AnnotationFile, AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Categories, Content, Example};

/// COCO's form.
pub(crate) struct CocoInstances;
/// LVIS's form.
pub(crate) struct Lvis;

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    categories: Vec<Category>,
    #[serde(default)]
    annotations: Vec<Instance>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: Option<String>,
    coco_url: Option<String>,
    #[serde(default)]
    neg_category_ids: Vec<u64>,
    #[serde(default)]
    not_exhaustive_category_ids: Vec<u64>,
}

#[derive(Deserialize)]
struct Category {
    id: u64,
    name: String,
    frequency: Option<String>,
}

#[derive(Deserialize)]
struct Instance {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    area: f64,
    #[serde(default)]
    iscrowd: u8,
    #[serde(default)]
    ignore: u8,
}

const SEEN: Role = Role {
    name: "seen",
    is_required: false,
    published: "names of the categories that detectors are trained with, one a line",
};
const EVALUATED: Role = Role {
    name: "evaluated",
    is_required: false,
    published: "names of the categories that count, one a line",
};

impl Form for CocoInstances {
    fn name(&self) -> &'static str {
        "coco-instances"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "instances",
                is_required: true,
                published: "`instances_val2017.json` of COCO's `annotations_trainval2017.zip`",
            },
            SEEN,
            EVALUATED,
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        read(files, false)
    }
}

impl Form for Lvis {
    fn name(&self) -> &'static str {
        "lvis"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "instances",
                is_required: true,
                published: "`lvis_v1_val.json` of LVIS",
            },
            SEEN,
            EVALUATED,
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        read(files, true)
    }
}

fn read(files: &Files, is_federated: bool) -> Result<Vec<Example>> {
    let (mut examples, mut seen) = (Vec::new(), HashSet::new());
    for file in files.all("instances") {
        let mut document: Document = file.json()?;
        document.categories.sort_by_key(|category| category.id);
        let mut numbers: HashMap<u64, u32> = HashMap::new();
        for (category, number) in document.categories.iter().zip(0..) {
            if numbers.insert(category.id, number).is_some() {
                let problem = AnnotationProblem::Twice {
                    what: "the category",
                    id: category.id.to_string(),
                };
                return Err(file.refuse(Spot::File, problem));
            }
        }
        let categories = Arc::new(categories(&file, files, &document, is_federated)?);
        let number = |spot: Spot, id: u64| {
            numbers.get(&id).copied().ok_or_else(|| {
                let problem = AnnotationProblem::Unknown {
                    what: "category",
                    id: id.to_string(),
                };
                file.refuse(spot, problem)
            })
        };
        let mut truths: HashMap<u64, Vec<GroundTruth>> = document
            .images
            .iter()
            .map(|image| (image.id, Vec::new()))
            .collect();
        for (instance, at) in document.annotations.iter().zip(1..) {
            let spot = || Spot::Entry("annotations", at);
            let Some(truths) = truths.get_mut(&instance.image_id) else {
                let problem = AnnotationProblem::Unknown {
                    what: "image",
                    id: instance.image_id.to_string(),
                };
                return Err(file.refuse(spot(), problem));
            };
            let wrong = |found: String| {
                let problem = AnnotationProblem::Value {
                    what: "the box",
                    found,
                    expected: "left, top, width and height, finite and not negative".to_owned(),
                };
                file.refuse(spot(), problem)
            };
            let bbox = BoundingBox::new(instance.bbox).map_err(|e| wrong(e.to_string()))?;
            if !instance.area.is_finite() {
                return Err(wrong(instance.area.to_string()));
            }
            let category = number(spot(), instance.category_id)?;
            if categories.is_evaluated[category as usize] {
                truths.push(GroundTruth {
                    category,
                    bbox,
                    area: instance.area,
                    is_crowd: instance.iscrowd != 0,
                    is_ignored: instance.ignore != 0,
                });
            }
        }
        for (image, at) in document.images.into_iter().zip(1..) {
            let spot = Spot::Entry("images", at);
            let all = |ids: &[u64]| -> Result<Vec<u32>> {
                ids.iter()
                    .map(|&id| number(Spot::Entry("images", at), id))
                    .collect()
            };
            let name = image.file_name.clone().or_else(|| image.coco_url.clone());
            let example = Example {
                key: key(&file, &spot, &image.id.to_string())?,
                images: vec![name.unwrap_or_else(|| image.id.to_string())],
                content: Content::Boxes {
                    truths: truths.remove(&image.id).unwrap_or_default(),
                    absent: all(&image.neg_category_ids)?,
                    not_exhaustive: all(&image.not_exhaustive_category_ids)?,
                    categories: categories.clone(),
                },
            };
            unique(&file, spot, &example, &mut seen)?;
            examples.push(example);
        }
    }
    Ok(examples)
}

/// What the files say of categories.
fn categories(
    file: &AnnotationFile,
    files: &Files,
    document: &Document,
    is_federated: bool,
) -> Result<Categories> {
    let mut frequencies = Frequencies::new();
    for ((category, number), at) in document.categories.iter().zip(0u32..).zip(1..) {
        if !is_federated {
            break;
        }
        let letter = category.frequency.as_deref().unwrap_or_default();
        let frequency = Frequency::of_letter(letter).ok_or_else(|| {
            let problem = AnnotationProblem::Value {
                what: "`frequency`",
                found: format!("`{letter}`"),
                expected: "`r`, `c` or `f`".to_owned(),
            };
            file.refuse(Spot::Entry("categories", at), problem)
        })?;
        frequencies.insert(number, frequency);
    }
    let listed = |role: &str| -> Result<Option<Vec<bool>>> {
        let lists = files.all(role);
        let Some(list) = lists.first() else {
            return Ok(None);
        };
        let mut is_listed = vec![false; document.categories.len()];
        for (line, number) in list.text()?.lines().zip(1..) {
            let name = line.trim();
            if name.is_empty() {
                continue;
            }
            let place = document
                .categories
                .iter()
                .position(|category| category.name == name);
            let place = place.ok_or_else(|| {
                let problem = AnnotationProblem::Unknown {
                    what: "category",
                    id: name.to_owned(),
                };
                list.refuse(Spot::Line(number), problem)
            })?;
            is_listed[place] = true;
        }
        Ok(Some(is_listed))
    };
    let by_frequency = (0..document.categories.len() as u32)
        .map(|number| frequencies.get(&number) != Some(&Frequency::Rare));
    let is_seen = match listed("seen")? {
        Some(is_seen) => is_seen,
        None => by_frequency.collect(),
    };
    let is_evaluated = listed("evaluated")?;
    Ok(Categories {
        frequencies: Arc::new(frequencies),
        is_seen,
        is_evaluated: is_evaluated.unwrap_or_else(|| vec![true; document.categories.len()]),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const COCO: &str = r#"{"images": [{"id": 5, "file_name": "000000000005.jpg", "width": 9, "height": 9}],
        "categories": [{"supercategory": "animal", "id": 18, "name": "dog"}, {"id": 3, "name": "car"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 18, "bbox": [1, 2, 3, 4], "area": 11.5, "iscrowd": 0,
        "segmentation": [[1, 2, 3]]}]}"#;
    const LVIS: &str = r#"{"images": [{"id": 5, "coco_url": "http://images.cocodataset.org/val2017/000000000005.jpg",
        "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}],
        "categories": [{"id": 1, "name": "aerosol_can", "frequency": "c"}, {"id": 2, "name": "anklet", "frequency": "r"}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 7.0}]}"#;

    #[test]
    fn categories_are_numbered_by_their_ids_and_lists_say_which_count() {
        let files = [
            ("instances", COCO),
            ("seen", "car\n"),
            ("evaluated", "dog\n"),
        ];
        let examples = read_as("coco-instances", None, &files).unwrap();
        let Content::Boxes {
            truths, categories, ..
        } = &examples[0].content
        else {
            panic!("{examples:?}");
        };
        assert_eq!((truths[0].category, truths[0].area), (1, 11.5));
        assert_eq!(categories.is_seen, [true, false]);
        assert_eq!(categories.is_evaluated, [false, true]);
        let base = read_as(
            "coco-instances",
            None,
            &[("instances", COCO), ("evaluated", "car\n")],
        );
        let Content::Boxes { truths, .. } = &base.unwrap()[0].content else {
            panic!("no boxes");
        };
        assert!(truths.is_empty(), "{truths:?}");
        let text = refusal(
            "coco-instances",
            None,
            &[("instances", COCO), ("seen", "cat\n")],
        );
        assert!(text.contains("line 1: is about category `cat`"), "{text}");
    }

    #[test]
    fn lvis_says_what_is_absent_and_not_exhaustive() {
        let examples = read_as("lvis", None, &[("instances", LVIS)]).unwrap();
        let Content::Boxes {
            absent,
            not_exhaustive,
            categories,
            ..
        } = &examples[0].content
        else {
            panic!("{examples:?}");
        };
        assert_eq!((&absent[..], &not_exhaustive[..]), (&[1][..], &[0][..]));
        assert_eq!(categories.is_seen, [true, false], "rare ones are novel");
        assert_eq!(categories.frequencies[&1], Frequency::Rare);
        let text = refusal("lvis", None, &[("instances", COCO)]);
        assert!(
            text.contains("number 1 of `categories`: `frequency` is ``"),
            "{text}"
        );
    }
}
