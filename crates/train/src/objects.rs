//! Objects in images: the boxes with classes by which regions are told what they show.
//!
//! A region shows the object that it overlaps most, if the intersection over union of the two is [`SHOWS`] at least; else it shows
//! none, as in the published program of `ViLD` (Mask R-CNN's rule). From files they are read in the form of COCO's instances:
//! `{"images": [{"id": 1, "file_name": "…"}], "categories": [{"id": 18, "name": "dog"}], "annotations": [{"image_id": 1,
//! "category_id": 18, "bbox": [x, y, width, height], "iscrowd": 0}]}`. Crowds are no objects.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde::Deserialize;
use sightline_models::objective::RegionTarget;
use sightline_preprocess::image_names::canonical;

use crate::{Error, Result};

/// Intersection over union from which on a region shows an object.
const SHOWS: f32 = 0.5;

/// An object in an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Name of its class.
    pub class: String,
    /// Left, top, right and bottom in pixels.
    pub edges: [f32; 4],
}

/// The objects of images, by the images' names.
#[derive(Debug, Default)]
pub struct Objects {
    of_images: HashMap<String, Vec<Object>>,
    classes: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    categories: Vec<Category>,
    annotations: Vec<Instance>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: Option<String>,
    /// What LVIS has instead.
    coco_url: Option<String>,
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
    bbox: [f32; 4],
    #[serde(default)]
    iscrowd: u8,
}

impl Objects {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::Objects {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let document: Document = serde_json::from_reader(BufReader::new(file))
            .map_err(|error| wrong(error.to_string()))?;
        let categories = document.categories.into_iter();
        let categories: HashMap<u64, String> = categories.map(|c| (c.id, c.name)).collect();
        let mut found = Self::default();
        let mut names = HashMap::new();
        for image in document.images {
            let name = match image.file_name.as_ref().or(image.coco_url.as_ref()) {
                Some(name) => canonical(name),
                None => image.id.to_string(),
            };
            found.of_images.entry(name.clone()).or_default();
            names.insert(image.id, name);
        }
        for (number, instance) in document.annotations.into_iter().enumerate() {
            if instance.iscrowd != 0 {
                continue;
            }
            let Instance {
                image_id,
                category_id,
                bbox: [left, top, width, height],
                ..
            } = instance;
            let class = categories.get(&category_id).ok_or_else(|| {
                wrong(format!(
                    "annotation {number} is of category {category_id}, which is none of its {}",
                    categories.len()
                ))
            })?;
            let name = names.get(&image_id).ok_or_else(|| {
                wrong(format!(
                    "annotation {number} is of image {image_id}, which is none of its {}",
                    names.len()
                ))
            })?;
            found.classes.insert(class.clone());
            let object = Object {
                class: class.clone(),
                edges: [left, top, left + width, top + height],
            };
            found
                .of_images
                .entry(name.clone())
                .or_default()
                .push(object);
        }
        Ok(found)
    }

    /// The objects of the image called `name`; `None` if nothing is said about it.
    pub fn of(&self, name: &str) -> Option<&[Object]> {
        self.of_images.get(&canonical(name)).map(Vec::as_slice)
    }

    /// Names of the classes that some object has.
    pub fn classes(&self) -> &BTreeSet<String> {
        &self.classes
    }
}

/// What a region with the box `edges` shows of `objects`.
pub fn target(edges: [f32; 4], objects: &[Object]) -> RegionTarget {
    let shares = objects
        .iter()
        .map(|object| (iou(edges, object.edges), object));
    // Of objects that it overlaps alike the first.
    let best = shares.reduce(|best, next| if next.0 > best.0 { next } else { best });
    let shown = best
        .filter(|(share, _)| *share >= SHOWS)
        .map(|(_, object)| object);
    RegionTarget {
        class: shown.map(|object| object.class.clone()),
        edges,
        object: shown.map(|object| object.edges),
    }
}

/// Intersection over union; 0 where either has no area.
fn iou(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area =
        |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    let either = area(a) + area(b) - both;
    if either > 0.0 { both / either } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_region_shows_the_object_that_it_overlaps_most() {
        let object = |class: &str, edges| Object {
            class: class.to_owned(),
            edges,
        };
        let objects = [
            object("cat", [0.0, 0.0, 10.0, 10.0]),
            object("dog", [0.0, 0.0, 10.0, 8.0]),
        ];
        let shown = |edges| target(edges, &objects).class;
        assert_eq!(shown([0.0, 0.0, 10.0, 10.0]).as_deref(), Some("cat"));
        assert_eq!(shown([0.0, 0.0, 10.0, 7.0]).as_deref(), Some("dog"));
        // Exactly a half is enough, less is not.
        assert_eq!(shown([0.0, 0.0, 5.0, 10.0]).as_deref(), Some("cat"));
        assert_eq!(shown([0.0, 0.0, 4.9, 10.0]), None);
        assert_eq!(target([0.0; 4], &[]).class, None);
        assert!(iou([3.0, 3.0, 1.0, 1.0], [0.0; 4]).abs() < 1e-9);
    }

    #[test]
    fn instances_are_read_and_what_names_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("instances.json");
        let text = r#"{"images": [{"id": 7, "file_name": "a/000000000139.jpg"}, {"id": 8}],
            "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
            "annotations": [
                {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0},
                {"image_id": 7, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1}]}"#;
        fs::write(&path, text).unwrap();
        let objects = Objects::read(&path).unwrap();
        let edges = objects.of("139").unwrap()[0].edges;
        assert_eq!(edges.map(|edge| edge as i32), [1, 2, 4, 6]);
        assert_eq!(objects.of("000000000139").unwrap().len(), 1);
        assert_eq!((objects.of("8"), objects.of("9")), (Some(&[][..]), None));
        assert_eq!(objects.classes().iter().collect::<Vec<_>>(), ["cat"]);

        fs::write(
            &path,
            text.replace("\"category_id\": 1", "\"category_id\": 3"),
        )
        .unwrap();
        let told = Objects::read(&path).unwrap_err().to_string();
        assert!(
            told.contains("annotation 0 is of category 3, which is none of its 2"),
            "{told}"
        );
    }
}
