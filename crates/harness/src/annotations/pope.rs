//! POPE, `coco_pope_random.json` and its like: a JSON object a line, `{"question_id": 1, "image":
//! "COCO_val2014_000000310196.jpg", "text": "Is there a snowboard in the image?", "label": "yes"}`.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The labels.
pub(crate) const LABELS: [&str; 2] = ["no", "yes"];

/// The form.
pub(crate) struct Pope;

#[derive(Deserialize)]
struct Line {
    question_id: u64,
    image: String,
    text: String,
    label: String,
}

impl Form for Pope {
    fn name(&self) -> &'static str {
        "pope"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "questions",
            is_required: true,
            published: "`coco_pope_random.json` of the folder `output/coco` in AoiDragon/POPE, a JSON object a line",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("questions") {
            for (number, line) in file.json_lines::<Line>()? {
                let spot = Spot::Line(number);
                if !LABELS.contains(&line.label.as_str()) {
                    let problem = AnnotationProblem::Value {
                        what: "`label`",
                        found: format!("`{}`", line.label),
                        expected: "`yes` or `no`".to_owned(),
                    };
                    return Err(file.refuse(spot, problem));
                }
                let example = Example {
                    key: key(&file, &spot, &line.question_id.to_string())?,
                    images: vec![line.image],
                    content: Content::Statement {
                        text: line.text,
                        label: Some(line.label),
                        group: None,
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

    const QUESTIONS: &str = "{\"question_id\": 1, \"image\": \"COCO_val2014_000000310196.jpg\", \"text\": \"Is there a \
        snowboard in the image?\", \"label\": \"yes\"}\n\
        {\"question_id\": 2, \"image\": \"COCO_val2014_000000310196.jpg\", \"text\": \"Is there a dining table in the \
        image?\", \"label\": \"no\"}\n";

    #[test]
    fn questions_are_statements_with_yes_or_no() {
        let examples = read_as("pope", None, &[("questions", QUESTIONS)]).unwrap();
        assert_eq!(examples[1].images, ["COCO_val2014_000000310196.jpg"]);
        assert_eq!(
            examples[1].content,
            Content::Statement {
                text: "Is there a dining table in the image?".to_owned(),
                label: Some("no".to_owned()),
                group: None,
            }
        );
        let text = refusal(
            "pope",
            None,
            &[("questions", &QUESTIONS.replace("\"no\"", "\"No\""))],
        );
        assert!(text.contains("line 2: `label` is `No`"), "{text}");
    }
}
