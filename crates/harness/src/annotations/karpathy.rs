//! Karpathy's splits, `dataset_coco.json` and `dataset_flickr30k.json`: `{"images": [{"filename": "…", "split":
//! "test", "cocoid": 1, "sentences": [{"raw": "…"}]}], "dataset": "coco"}`.
//!
//! The key is `cocoid`, or the name of the file where there is none. Flickr30k and COCO have images with more than five
//! captions; a task says how many it takes.

use std::collections::{BTreeSet, HashSet};

use serde::Deserialize;
use sightline_preprocess::image_names::canonical;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Class, Content, Example, captions};

/// The form.
pub(crate) struct Karpathy;

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    filename: String,
    split: String,
    cocoid: Option<u64>,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

impl Form for Karpathy {
    fn name(&self) -> &'static str {
        "karpathy"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "dataset",
            is_required: true,
            published: "`dataset_coco.json` or `dataset_flickr30k.json` of Karpathy's `caption_datasets.zip`",
        }]
    }

    fn has_splits(&self) -> bool {
        true
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let wanted = files.split.clone().unwrap_or_default();
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("dataset") {
            let document: Document = file.json()?;
            let before = examples.len();
            let mut splits = BTreeSet::new();
            for (image, number) in document.images.into_iter().zip(1..) {
                if image.split != wanted {
                    splits.insert(image.split);
                    continue;
                }
                let spot = Spot::Entry("images", number);
                let id = match image.cocoid {
                    Some(id) => id.to_string(),
                    None => canonical(&image.filename),
                };
                let raw = image.sentences.into_iter().map(|sentence| sentence.raw);
                let example = Example {
                    key: key(&file, &spot, &id)?,
                    images: vec![image.filename],
                    content: Content::Sample {
                        class: Class::Missing,
                        captions: captions(raw.collect()),
                    },
                };
                unique(&file, spot, &example, &mut seen)?;
                examples.push(example);
            }
            if examples.len() == before {
                let splits: Vec<String> = splits.into_iter().collect();
                let problem = AnnotationProblem::Value {
                    what: "`split` of the dataset's manifest",
                    found: format!("`{wanted}`"),
                    expected: format!("one of {}", splits.join(", ")),
                };
                return Err(file.refuse(Spot::File, problem));
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const DATASET: &str = r#"{"images": [
        {"filepath": "val2014", "sentids": [770337, 771687], "filename": "COCO_val2014_000000391895.jpg", "imgid": 0,
         "split": "test", "sentences": [
            {"tokens": ["a", "man"], "raw": "A man with a red helmet on a small moped.", "imgid": 0, "sentid": 770337},
            {"tokens": ["man"], "raw": "Man riding a motor bike.", "imgid": 0, "sentid": 771687}], "cocoid": 391895},
        {"filepath": "val2014", "sentids": [1], "filename": "COCO_val2014_000000060623.jpg", "imgid": 1,
         "split": "restval", "sentences": [{"tokens": [], "raw": "x", "imgid": 1, "sentid": 1}], "cocoid": 60623},
        {"sentids": [2], "imgid": 2, "filename": "1007129816.jpg", "split": "test",
         "sentences": [{"tokens": ["the"], "raw": "The man.", "imgid": 2, "sentid": 2}]}], "dataset": "coco"}"#;

    #[test]
    fn a_split_is_read_with_ids_or_names_of_files_as_keys() {
        let examples = read_as("karpathy", Some("test"), &[("dataset", DATASET)]).unwrap();
        let keys: Vec<&str> = examples.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["391895", "1007129816"]);
        assert_eq!(examples[0].images, ["COCO_val2014_000000391895.jpg"]);
        assert_eq!(
            examples[0].content,
            Content::Sample {
                class: Class::Missing,
                captions: vec![
                    "A man with a red helmet on a small moped.".to_owned(),
                    "Man riding a motor bike.".to_owned(),
                ],
            }
        );
    }

    #[test]
    fn a_split_that_is_not_there_is_told_with_those_that_are() {
        let text = refusal("karpathy", Some("tset"), &[("dataset", DATASET)]);
        assert!(
            text.contains("is `tset`, it must be one of restval, test"),
            "{text}"
        );
    }
}
