//! COCO's captions, `captions_val2017.json`: `{"images": [{"id": 1, "file_name": "…"}], "annotations": [{"image_id":
//! 1, "id": 5, "caption": "…"}]}`. The key is the id of the image; captions are in the order of the file.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Class, Content, Example, captions};

/// The form.
pub(crate) struct CocoCaptions;

#[derive(Deserialize)]
struct Document {
    images: Vec<Image>,
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotation {
    image_id: u64,
    caption: String,
}

impl Form for CocoCaptions {
    fn name(&self) -> &'static str {
        "coco-captions"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "captions",
            is_required: true,
            published: "`captions_val2017.json` of COCO's `annotations_trainval2017.zip`",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("captions") {
            let document: Document = file.json()?;
            let mut of_image: HashMap<u64, Vec<String>> = HashMap::new();
            for image in &document.images {
                of_image.insert(image.id, Vec::new());
            }
            for (annotation, number) in document.annotations.into_iter().zip(1..) {
                let Some(captions) = of_image.get_mut(&annotation.image_id) else {
                    let problem = AnnotationProblem::Unknown {
                        what: "image",
                        id: annotation.image_id.to_string(),
                    };
                    return Err(file.refuse(Spot::Entry("annotations", number), problem));
                };
                captions.push(annotation.caption);
            }
            for (image, number) in document.images.into_iter().zip(1..) {
                let spot = Spot::Entry("images", number);
                let example = Example {
                    key: key(&file, &spot, &image.id.to_string())?,
                    images: vec![image.file_name],
                    content: Content::Sample {
                        class: Class::Missing,
                        captions: captions(of_image.remove(&image.id).unwrap_or_default()),
                    },
                };
                unique(&file, spot, &example, &mut seen)?;
                examples.push(example);
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const CAPTIONS: &str = r#"{"info": {"year": 2017}, "licenses": [],
        "images": [
            {"license": 4, "file_name": "000000397133.jpg", "height": 427, "width": 640, "id": 397133},
            {"license": 1, "file_name": "000000037777.jpg", "height": 230, "width": 352, "id": 37777}],
        "annotations": [
            {"image_id": 37777, "id": 28, "caption": "A small kitchen."},
            {"image_id": 397133, "id": 38, "caption": "A man is in a kitchen."},
            {"image_id": 397133, "id": 182, "caption": "A restaurant kitchen. "}]}"#;

    #[test]
    fn captions_go_to_their_images_in_the_order_of_the_file() {
        let examples = read_as("coco-captions", None, &[("captions", CAPTIONS)]).unwrap();
        let read: Vec<_> = examples
            .iter()
            .map(|e| match &e.content {
                Content::Sample { captions, .. } => {
                    (e.key.as_str(), e.images[0].as_str(), captions.len())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            read,
            [
                ("397133", "000000397133.jpg", 2),
                ("37777", "000000037777.jpg", 1)
            ]
        );
    }

    #[test]
    fn a_caption_of_no_image_and_an_image_twice_are_refused() {
        let stranger = CAPTIONS.replace("\"image_id\": 37777", "\"image_id\": 5");
        let text = refusal("coco-captions", None, &[("captions", &stranger)]);
        assert!(
            text.contains("number 1 of `annotations`: is about image `5`"),
            "{text}"
        );
        let twice = CAPTIONS
            .replace("\"id\": 37777", "\"id\": 397133")
            .replace("\"image_id\": 37777", "\"image_id\": 397133");
        let text = refusal("coco-captions", None, &[("captions", &twice)]);
        assert!(
            text.contains("number 2 of `images`: the example `397133`"),
            "{text}"
        );
        let text = refusal("coco-captions", None, &[("captions", "[1]")]);
        assert!(text.contains("captions_val2017.json"), "{text}");
    }
}
