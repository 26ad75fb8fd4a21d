//! VQA (version 1 and 2, and OK-VQA): questions and annotations in two files, for example
//! `v2_OpenEnded_mscoco_val2014_questions.json` (`{"questions": [{"image_id": 262148, "question": "…", "question_id":
//! 262148000}], …}`) and `v2_mscoco_val2014_annotations.json` (`{"annotations": [{"question_id": 262148000, "image_id":
//! 262148, "answers": [{"answer": "down", "answer_id": 1, …}, …], …}], …}`).
//!
//! Images are found by their numbers, which the names of COCO's files end in. Where files are named otherwise, a third file
//! in COCO's form says how: `{"images": [{"id": 262148, "file_name": "…"}, …], …}`.
//!
//! Test sets have no annotations: predictions are made and nothing is scored. Answers are those of the field `answer`,
//! which OK-VQA has as stems.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The form.
pub(crate) struct Vqa;

#[derive(Deserialize)]
struct Questions {
    questions: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    image_id: u64,
    question: String,
    question_id: u64,
}

/// What a file in COCO's form says of its images.
#[derive(Deserialize)]
struct Named {
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct Annotations {
    annotations: Vec<Annotation>,
}

#[derive(Deserialize)]
struct Annotation {
    question_id: u64,
    image_id: u64,
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    answer: String,
}

impl Form for Vqa {
    fn name(&self) -> &'static str {
        "vqa"
    }

    fn files(&self) -> &'static [Role] {
        &[
            Role {
                name: "questions",
                is_required: true,
                published: "`v2_OpenEnded_mscoco_val2014_questions.json` of VQA 2.0",
            },
            Role {
                name: "answers",
                is_required: false,
                published: "`v2_mscoco_val2014_annotations.json` of VQA 2.0",
            },
            Role {
                name: "images",
                is_required: false,
                published: "`captions_val2014.json` of COCO, or any file with its list of images",
            },
        ]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let mut file_names: HashMap<u64, String> = HashMap::new();
        for file in files.all("images") {
            let document: Named = file.json()?;
            let named = document.images.into_iter();
            file_names.extend(named.map(|image| (image.id, image.file_name)));
        }
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        // Number of the example and the image of each question.
        let mut places: HashMap<u64, (usize, u64)> = HashMap::new();
        for file in files.all("questions") {
            let document: Questions = file.json()?;
            for (question, number) in document.questions.into_iter().zip(1..) {
                let spot = Spot::Entry("questions", number);
                let example = Example {
                    key: key(&file, &spot, &question.question_id.to_string())?,
                    images: vec![
                        file_names
                            .get(&question.image_id)
                            .map_or_else(|| question.image_id.to_string(), String::clone),
                    ],
                    content: Content::Question {
                        question: question.question,
                        answers: Vec::new(),
                    },
                };
                unique(&file, spot, &example, &mut seen)?;
                places.insert(question.question_id, (examples.len(), question.image_id));
                examples.push(example);
            }
        }
        for file in files.all("answers") {
            let document: Annotations = file.json()?;
            for (annotation, number) in document.annotations.into_iter().zip(1..) {
                let spot = Spot::Entry("annotations", number);
                let id = annotation.question_id;
                let Some(&(at, image)) = places.get(&id) else {
                    let problem = AnnotationProblem::Unknown {
                        what: "question",
                        id: id.to_string(),
                    };
                    return Err(file.refuse(spot, problem));
                };
                if image != annotation.image_id {
                    let problem = AnnotationProblem::Value {
                        what: "`image_id`",
                        found: annotation.image_id.to_string(),
                        expected: format!("{image}, as in question {id}"),
                    };
                    return Err(file.refuse(spot, problem));
                }
                let Content::Question { answers, .. } = &mut examples[at].content else {
                    continue;
                };
                if !answers.is_empty() {
                    let problem = AnnotationProblem::Twice {
                        what: "an annotation of question",
                        id: id.to_string(),
                    };
                    return Err(file.refuse(spot, problem));
                }
                answers.extend(annotation.answers.into_iter().map(|answer| answer.answer));
            }
        }
        Ok(examples)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const QUESTIONS: &str = r#"{"info": {"version": "2.0"}, "task_type": "Open-Ended", "data_type": "mscoco",
        "license": {"name": "CC BY 4.0"}, "data_subtype": "val2014", "questions": [
        {"image_id": 262148, "question": "Where is he looking?", "question_id": 262148000},
        {"image_id": 393225, "question": "What website copyrighted the picture?", "question_id": 393225000}]}"#;

    const ANNOTATIONS: &str = r#"{"info": {}, "license": {}, "data_subtype": "val2014", "data_type": "mscoco",
        "annotations": [{"question_type": "none of the above", "multiple_choice_answer": "down", "answers": [
            {"answer": "down", "answer_confidence": "yes", "answer_id": 1},
            {"answer": "at table", "answer_confidence": "maybe", "answer_id": 2}],
         "image_id": 262148, "answer_type": "other", "question_id": 262148000}]}"#;

    #[test]
    fn answers_go_to_their_questions_and_test_sets_have_none() {
        let both = [("questions", QUESTIONS), ("answers", ANNOTATIONS)];
        let examples = read_as("vqa", None, &both).unwrap();
        assert_eq!(examples[0].key.as_str(), "262148000");
        assert_eq!(examples[0].images, ["262148"]);
        assert_eq!(
            examples[0].content,
            Content::Question {
                question: "Where is he looking?".to_owned(),
                answers: vec!["down".to_owned(), "at table".to_owned()],
            }
        );
        let named = r#"{"images": [{"id": 262148, "file_name": "street.jpg"}], "annotations": []}"#;
        let named = [both[0], both[1], ("images", named)];
        let named = read_as("vqa", None, &named).unwrap();
        assert_eq!(
            (&named[0].images[..], &named[1].images),
            (&["street.jpg".to_owned()][..], &examples[1].images)
        );
        let alone = read_as("vqa", None, &both[..1]).unwrap();
        assert_eq!(alone.len(), 2);
        assert_eq!(alone[1], examples[1], "nobody answered the second");
    }

    #[test]
    fn annotations_of_other_questions_are_refused_and_named() {
        let say = |annotations: &str| {
            refusal(
                "vqa",
                None,
                &[("questions", QUESTIONS), ("answers", annotations)],
            )
        };
        let text = say(&ANNOTATIONS.replace("\"question_id\": 262148000", "\"question_id\": 7"));
        assert!(
            text.contains("number 1 of `annotations`: is about question `7`"),
            "{text}"
        );
        assert!(
            text.contains("v2_mscoco_val2014_annotations.json"),
            "{text}"
        );
        let text = say(&ANNOTATIONS.replace("\"image_id\": 262148", "\"image_id\": 3"));
        assert!(
            text.contains("`image_id` is 3, it must be 262148"),
            "{text}"
        );
        let text = say(QUESTIONS);
        assert!(text.contains("missing field `annotations`"), "{text}");
        let twice = QUESTIONS.replace("393225000", "262148000");
        let text = refusal("vqa", None, &[("questions", &twice)]);
        assert!(
            text.contains("number 2 of `questions`: the example `262148000`"),
            "{text}"
        );
    }
}
