//! The annotations of a split in the forms of COCO (captions, instances), VQA v2 and VALSE.
//!
//! An image's id is its scene's. Ids of captions, objects and questions are ten times the image's id
//! plus their place among its own, from 1: none is 0, which COCO's own tools take for "no match".

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::Error;
use crate::questions::{AnswerType, Question};
use crate::record::Record;
use crate::scene::{Colour, Object, ObjectSize, Shape};
use crate::spec::ScenesSpec;
use crate::splits::{Pair, Split};

/// Answers to a question, all equal: VQA v2 has ten people answer.
const ANSWERS: u32 = 10;

/// Room between the ids of two images.
const IDS_PER_IMAGE: u64 = 10;

#[derive(Serialize)]
struct CocoFile<'a, A> {
    info: Value,
    licenses: Value,
    images: Vec<CocoImage>,
    annotations: Vec<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    categories: Option<&'a Value>,
}

#[derive(Serialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    coco_url: String,
    width: u32,
    height: u32,
    license: u32,
}

#[derive(Serialize)]
struct CocoCaption {
    id: u64,
    image_id: u64,
    caption: String,
}

#[derive(Serialize)]
struct Foiled<'a> {
    dataset: &'static str,
    original_split: &'static str,
    linguistic_phenomena: &'static str,
    image_file: String,
    caption: &'a str,
    foil: &'a str,
}

#[derive(Serialize)]
struct Instance<'a> {
    id: u64,
    image_id: u64,
    category_id: usize,
    bbox: [u32; 4],
    area: f64,
    iscrowd: u8,
    segmentation: [&'a [f64]; 1],
    attributes: Attributes,
}

#[derive(Serialize)]
struct Attributes {
    colour: Colour,
    size: ObjectSize,
}

#[derive(Serialize)]
struct QuestionFile<'a> {
    info: Value,
    task_type: &'static str,
    data_type: &'static str,
    data_subtype: &'static str,
    license: Value,
    questions: Vec<Asked<'a>>,
}

#[derive(Serialize)]
struct Asked<'a> {
    image_id: u64,
    question: &'a str,
    question_id: u64,
}

#[derive(Serialize)]
struct AnswerFile<'a> {
    info: Value,
    data_type: &'static str,
    data_subtype: &'static str,
    license: Value,
    annotations: Vec<Answered<'a>>,
}

#[derive(Serialize)]
struct Answered<'a> {
    question_id: u64,
    image_id: u64,
    question_type: &'a str,
    answer_type: AnswerType,
    multiple_choice_answer: &'a str,
    answers: Vec<Reply<'a>>,
}

#[derive(Serialize)]
struct Reply<'a> {
    answer: &'a str,
    answer_confidence: &'static str,
    answer_id: u32,
}

/// The annotation files of a split: name below the folder and bytes.
pub(crate) fn annotations(
    split: Split,
    records: &[Record],
    spec: &ScenesSpec,
) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let name = |kind: &str| format!("annotations/{kind}_{}.json", split.name());
    Ok(vec![
        file(
            name("captions"),
            &captions(records, spec, |record| record.captions.to_vec()),
        )?,
        file(
            name("descriptions"),
            &captions(records, spec, |record| vec![record.description.clone()]),
        )?,
        file(
            name("names"),
            &captions(records, spec, |record| vec![record.class().to_string()]),
        )?,
        file(name("foils"), &foils(records, spec))?,
        file(
            name("instances"),
            &instances(records, spec, &shapes(), |object| object.shape as usize),
        )?,
        file(
            name("objects"),
            &instances(records, spec, &pairs(), |object| object.pair().index()),
        )?,
        file(name("questions"), &questions(split, records))?,
        file(name("answers"), &answers(split, records))?,
    ])
}

fn file(name: String, content: &impl Serialize) -> Result<(String, Vec<u8>), Error> {
    let mut bytes = serde_json::to_vec(content).map_err(Error::table(&name))?;
    bytes.push(b'\n');
    Ok((name, bytes))
}

fn captions<'a>(
    records: &'a [Record],
    spec: &ScenesSpec,
    texts: impl Fn(&Record) -> Vec<String>,
) -> CocoFile<'a, CocoCaption> {
    let of_record = |record: &'a Record| {
        texts(record)
            .into_iter()
            .zip(ids(record))
            .map(|(caption, id)| CocoCaption {
                id,
                image_id: record.scene_id(),
                caption,
            })
    };
    CocoFile {
        info: info(),
        licenses: json!([license()]),
        images: images(records, spec),
        annotations: records.iter().flat_map(of_record).collect(),
        categories: None,
    }
}

/// Descriptions with their foils, by what is wrong and the image's id.
fn foils<'a>(records: &'a [Record], spec: &ScenesSpec) -> BTreeMap<String, Foiled<'a>> {
    let foiled = |record: &'a Record| {
        let (wrong, foil) = &record.foil;
        let id = format!("{}_{:07}", wrong.name(), record.scene_id());
        let entry = Foiled {
            dataset: "synthetic-scenes",
            original_split: record.split.name(),
            linguistic_phenomena: wrong.name(),
            image_file: record.file_name(spec),
            caption: &record.description,
            foil,
        };
        (id, entry)
    };
    records.iter().map(foiled).collect()
}

fn instances<'a>(
    records: &'a [Record],
    spec: &ScenesSpec,
    categories: &'a Value,
    category: impl Fn(&Object) -> usize + Copy,
) -> CocoFile<'a, Instance<'a>> {
    let of_record = move |record: &'a Record| {
        let objects = record.scene.objects.iter().zip(&record.boxes);
        objects
            .zip(ids(record))
            .map(move |((object, place), id)| Instance {
                id,
                image_id: record.scene_id(),
                category_id: category(object) + 1,
                bbox: place.bbox,
                area: place.area,
                iscrowd: 0,
                segmentation: [&place.outline],
                attributes: Attributes {
                    colour: object.colour,
                    size: object.size,
                },
            })
    };
    CocoFile {
        info: info(),
        licenses: json!([license()]),
        images: images(records, spec),
        annotations: records.iter().flat_map(of_record).collect(),
        categories: Some(categories),
    }
}

fn questions(split: Split, records: &[Record]) -> QuestionFile<'_> {
    let of_record = |record| {
        let asked = Record::questions_with_ids(record);
        asked.map(|(question, question_id)| Asked {
            image_id: record.scene_id(),
            question: &question.question,
            question_id,
        })
    };
    QuestionFile {
        info: info(),
        task_type: "Open-Ended",
        data_type: "synthetic-scenes",
        data_subtype: split.name(),
        license: license(),
        questions: records.iter().flat_map(of_record).collect(),
    }
}

fn answers(split: Split, records: &[Record]) -> AnswerFile<'_> {
    let of_record = |record| {
        let asked = Record::questions_with_ids(record);
        asked.map(|(question, question_id)| Answered {
            question_id,
            image_id: record.scene_id(),
            question_type: &question.question_type,
            answer_type: question.answer_type,
            multiple_choice_answer: &question.answer,
            answers: (1..=ANSWERS)
                .map(|answer_id| Reply {
                    answer: &question.answer,
                    answer_confidence: "yes",
                    answer_id,
                })
                .collect(),
        })
    };
    AnswerFile {
        info: info(),
        data_type: "synthetic-scenes",
        data_subtype: split.name(),
        license: license(),
        annotations: records.iter().flat_map(of_record).collect(),
    }
}

impl Record {
    fn questions_with_ids(&self) -> impl Iterator<Item = (&Question, u64)> {
        self.questions.iter().zip(ids(self))
    }
}

/// The ids of what belongs to the record's image, in order.
fn ids(record: &Record) -> impl Iterator<Item = u64> + use<> {
    let first = record.scene_id() * IDS_PER_IMAGE + 1;
    first..first + IDS_PER_IMAGE - 1
}

fn images(records: &[Record], spec: &ScenesSpec) -> Vec<CocoImage> {
    records
        .iter()
        .map(|record| CocoImage {
            id: record.scene_id(),
            file_name: record.file_name(spec),
            coco_url: record.url(spec),
            width: spec.size,
            height: spec.size,
            license: 1,
        })
        .collect()
}

/// The categories of `instances`: shapes alone.
fn shapes() -> Value {
    Shape::ALL
        .iter()
        .map(|shape| json!({"id": *shape as usize + 1, "name": shape.name(), "supercategory": "shape"}))
        .collect()
}

/// The categories of `objects`: the classes of the dataset, by which scenes are held out of training.
fn pairs() -> Value {
    Pair::all()
        .iter()
        .map(|pair| json!({"id": pair.index() + 1, "name": pair.to_string(), "supercategory": pair.shape.name()}))
        .collect()
}

fn info() -> Value {
    json!({"description": "Sightline synthetic scenes", "version": "1"})
}

fn license() -> Value {
    json!({"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"})
}
