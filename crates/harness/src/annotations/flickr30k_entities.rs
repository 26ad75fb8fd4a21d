//! Flickr30k Entities: `Sentences/ID.txt` with a caption a line, `[/EN#221796/people Four men] on [/EN#221797/other top]
//! of a tall structure .`; `Annotations/ID.xml` with the boxes of each entity; `test.txt` with the ids of a split, one a
//! line.
//!
//! An example is a caption, `ID#0` to `ID#4`. A phrase is asked about where its entity has a box; an entity without one
//! (`nobndbox`), one that is the whole scene (`scene`) and `EN#0`, which is nothing in the image, are passed over. Boxes
//! are `xmin`, `ymin`, `xmax`, `ymax` in pixels counted from 1, so 1 is taken off each, as the authors' own reader does;
//! sides are the differences.

use std::collections::{HashMap, HashSet};

use sightline_metrics::BoundingBox;
use sightline_preprocess::image_names::canonical;

use super::{AnnotationFile, AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example, Phrase};

/// The form.
pub(crate) struct Flickr30kEntities;

/// Boxes by the id of their entity.
type Boxes = HashMap<String, Vec<BoundingBox>>;

impl Form for Flickr30kEntities {
    fn name(&self) -> &'static str {
        "flickr30k-entities"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "sentences",
                is_required: true,
                published: "`Sentences/*.txt` of Flickr30k Entities",
            },
            Role {
                name: "boxes",
                is_required: true,
                published: "`Annotations/*.xml` of Flickr30k Entities",
            },
            Role {
                name: "list",
                is_required: true,
                published: "`test.txt` of Flickr30k Entities, an image's id a line",
            },
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let by_id = |role| -> HashMap<String, AnnotationFile> {
            let named = |file: AnnotationFile| {
                let stem = file.path().file_stem().unwrap_or_default();
                (canonical(&stem.to_string_lossy()), file)
            };
            files.all(role).into_iter().map(named).collect()
        };
        let (sentences, boxes) = (by_id("sentences"), by_id("boxes"));
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for list in files.all("list") {
            for (id, number) in list.text()?.lines().zip(1..) {
                let id = id.trim();
                if id.is_empty() {
                    continue;
                }
                let lacks = |what| {
                    let id = id.to_owned();
                    list.refuse(Spot::Line(number), AnnotationProblem::Unknown { what, id })
                };
                let name = canonical(id);
                let sentences = sentences
                    .get(&name)
                    .ok_or_else(|| lacks("the file of sentences of image"))?;
                let boxes = boxes
                    .get(&name)
                    .ok_or_else(|| lacks("the file of boxes of image"))?;
                let boxes = entities(boxes)?;
                for (line, number) in sentences.text()?.lines().zip(1..) {
                    if line.trim().is_empty() {
                        continue;
                    }
                    let spot = Spot::Line(number);
                    let content = caption(line, &boxes)
                        .map_err(|problem| sentences.refuse(spot.clone(), problem))?;
                    let example = Example {
                        key: key(sentences, &spot, &format!("{id}#{}", number - 1))?,
                        images: vec![id.to_owned()],
                        content,
                    };
                    unique(sentences, spot, &example, &mut seen)?;
                    examples.push(example);
                }
            }
        }
        Ok(examples)
    }
}

/// A line of sentences as a plain caption with the phrases that have boxes.
fn caption(line: &str, boxes: &Boxes) -> Result<Content, AnnotationProblem> {
    let broken = |at: &str| AnnotationProblem::Value {
        what: "a phrase",
        found: format!("`{}`", at.chars().take(40).collect::<String>()),
        expected: "like `[/EN#221796/people Four men]`".to_owned(),
    };
    let (mut caption, mut phrases) = (String::new(), Vec::new());
    let mut rest = line.trim();
    while let Some((before, from)) = rest.split_once("[/EN#") {
        let (inside, after) = from.split_once(']').ok_or_else(|| broken(rest))?;
        let (entity, text) = inside.split_once(' ').ok_or_else(|| broken(inside))?;
        let id = entity.split('/').next().unwrap_or_default();
        caption.push_str(before);
        let start = caption.len();
        caption.push_str(text.trim());
        if let Some(boxes) = boxes.get(id).filter(|boxes| !boxes.is_empty()) {
            phrases.push(Phrase {
                bytes: start..caption.len(),
                boxes: boxes.clone(),
            });
        }
        rest = after;
    }
    caption.push_str(rest);
    Ok(Content::Phrases { caption, phrases })
}

/// The boxes of each entity of an image: `object` elements, each with the `name`s of its entities and one `bndbox` or
/// none. Nothing else of XML is understood: no attributes, no comments inside of these, no entities.
fn entities(file: &AnnotationFile) -> Result<Boxes> {
    let text = file.text()?;
    let mut boxes = Boxes::new();
    for (object, number) in elements(&text, "object").zip(1..) {
        let spot = || Spot::Entry("object", number);
        let object = object.map_err(|what| file.refuse(spot(), unclosed(what)))?;
        let mut found = Vec::new();
        for inside in elements(object, "bndbox") {
            let inside = inside.map_err(|what| file.refuse(spot(), unclosed(what)))?;
            let number = |name: &'static str| -> Result<f64> {
                let text = elements(inside, name).next().and_then(Result::ok);
                let value = text.and_then(|text| text.trim().parse::<f64>().ok());
                value.filter(|value| value.is_finite()).ok_or_else(|| {
                    let problem = AnnotationProblem::Value {
                        what: name,
                        found: text
                            .map_or_else(|| "missing".to_owned(), |text| format!("`{text}`")),
                        expected: "a number of pixels".to_owned(),
                    };
                    file.refuse(spot(), problem)
                })
            };
            let (x, y) = (number("xmin")? - 1.0, number("ymin")? - 1.0);
            let sides = (number("xmax")? - 1.0 - x, number("ymax")? - 1.0 - y);
            found.push(BoundingBox::new([x, y, sides.0, sides.1])?);
        }
        for name in elements(object, "name") {
            let name = name.map_err(|what| file.refuse(spot(), unclosed(what)))?;
            boxes
                .entry(name.trim().to_owned())
                .or_default()
                .extend(&found);
        }
    }
    Ok(boxes)
}

fn unclosed(what: &str) -> AnnotationProblem {
    AnnotationProblem::Value {
        what: "an element",
        found: format!("`<{what}>` without its end"),
        expected: "closed".to_owned(),
    }
}

/// What stands inside each element called `name`, in order; the name alone for one that does not end.
fn elements<'t>(text: &'t str, name: &'t str) -> impl Iterator<Item = Result<&'t str, &'t str>> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, from) = rest.split_once(open.as_str())?;
        let Some((inside, after)) = from.split_once(close.as_str()) else {
            rest = "";
            return Some(Err(name));
        };
        rest = after;
        Some(Ok(inside))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const SENTENCES: &str = "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] in [/EN#4/scene the yard] .\n\
        [/EN#1/people Two men] and [/EN#0/notvisual it] .\n";

    const BOXES: &str = "<annotation>\n <filename>36979.jpg</filename>\n <size><width>500</width></size>\n \
        <object>\n  <name>1</name>\n  <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>31</xmax><ymax>61</ymax></bndbox>\n </object>\n \
        <object>\n  <name>1</name>\n  <name>2</name>\n  <bndbox>\n   <xmin>101</xmin>\n   <ymin>1</ymin>\n   <xmax>151</xmax>\n   <ymax>51</ymax>\n  </bndbox>\n </object>\n \
        <object>\n  <name>4</name>\n  <scene>1</scene>\n  <nobndbox>0</nobndbox>\n </object>\n</annotation>\n";

    fn files<'t>(
        sentences: &'t str,
        boxes: &'t str,
        list: &'t str,
    ) -> [(&'static str, &'t str); 3] {
        [
            ("sentences:36979.txt", sentences),
            ("boxes:36979.xml", boxes),
            ("list", list),
        ]
    }

    #[test]
    fn phrases_have_the_boxes_of_their_entities() {
        let examples = read_as(
            "flickr30k-entities",
            None,
            &files(SENTENCES, BOXES, "36979\n"),
        )
        .unwrap();
        let keys: Vec<&str> = examples.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["36979#0", "36979#1"]);
        let Content::Phrases { caption, phrases } = &examples[0].content else {
            panic!("{:?}", examples[0]);
        };
        assert_eq!(caption, "Two young guys with shaggy hair in the yard .");
        let read: Vec<_> = phrases
            .iter()
            .map(|p| {
                (
                    &caption[p.bytes.clone()],
                    p.boxes.iter().map(BoundingBox::xywh).collect::<Vec<_>>(),
                )
            })
            .collect();
        let (left, right) = ([10.0, 20.0, 20.0, 40.0], [100.0, 0.0, 50.0, 50.0]);
        assert_eq!(
            read,
            [
                ("Two young guys", vec![left, right]),
                ("shaggy hair", vec![right])
            ],
            "the scene has no box"
        );
    }

    #[test]
    fn broken_phrases_boxes_and_lists_are_refused_and_named() {
        let say = |sentences: &str, boxes: &str, list: &str| {
            refusal("flickr30k-entities", None, &files(sentences, boxes, list))
        };
        let text = say("A man .\n[/EN#1/people Two men\n", BOXES, "36979\n");
        assert!(
            text.starts_with("36979.txt`, line 2: a phrase is `[/EN#1/people Two men`"),
            "{text}"
        );
        let text = say(
            SENTENCES,
            &BOXES.replace("<xmin>11</xmin>", "<xmin>x</xmin>"),
            "36979\n",
        );
        assert!(text.contains("number 1 of `object`: xmin is `x`"), "{text}");
        let text = say(SENTENCES, BOXES, "36979\n12\n");
        assert!(
            text.contains("line 2: is about the file of sentences of image `12`"),
            "{text}"
        );
    }
}
