//! Questions with candidates as lines of JSON, a plain form for multiple choice: `{"id": "1", "image": "a.jpg", "question":
//! "What is it?", "choices": ["a dog", "a cat"], "answer": 0}`. `answer` is the number of the right candidate from 0; test
//! sets have none.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Choice, Content, Example, Tagged};

/// The form.
pub(crate) struct Choices;

#[derive(Deserialize)]
struct Line {
    id: String,
    image: String,
    #[serde(default)]
    question: String,
    choices: Vec<String>,
    answer: Option<usize>,
}

impl Form for Choices {
    fn name(&self) -> &'static str {
        "choices"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "questions",
            is_required: true,
            published: "lines of JSON with `id`, `image`, `question`, `choices` and `answer`",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("questions") {
            for (number, line) in file.json_lines::<Line>()? {
                let spot = Spot::Line(number);
                let candidates = line.choices.len();
                let is_there = line.answer.is_none_or(|answer| answer < candidates);
                if candidates == 0 || !is_there {
                    let found = line.answer.map_or("`null`".to_owned(), |n| n.to_string());
                    let problem = AnnotationProblem::Value {
                        what: "`answer`",
                        found,
                        expected: format!("the number of one of {candidates} choices"),
                    };
                    return Err(file.refuse(spot, problem));
                }
                let text = |text: String| Tagged {
                    text,
                    tags: Vec::new(),
                };
                let choice = Choice {
                    question: text(line.question),
                    candidates: line.choices.into_iter().map(text).collect(),
                    ..Choice::default()
                };
                let example = Example {
                    key: key(&file, &spot, &line.id)?,
                    images: vec![line.image],
                    content: Content::Choices {
                        choices: vec![choice],
                        right: vec![line.answer],
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

    const LINES: &str = "{\"id\": \"1\", \"image\": \"a.jpg\", \"question\": \"What is it?\", \"choices\": [\"a dog\", \"a cat\"], \"answer\": 1}\n\
        {\"id\": \"2\", \"image\": \"b.jpg\", \"choices\": [\"x\"]}\n";

    #[test]
    fn a_line_is_a_question_with_candidates() {
        let examples = read_as("choices", None, &[("questions", LINES)]).unwrap();
        assert_eq!(examples.len(), 2);
        let Content::Choices { choices, right } = &examples[0].content else {
            panic!("{examples:?}");
        };
        assert_eq!(
            (choices[0].candidates[1].text.as_str(), right),
            ("a cat", &vec![Some(1)])
        );
        assert_eq!(examples[0].images, ["a.jpg"]);
        let other = LINES.replace("\"answer\": 1", "\"answer\": 2");
        let text = refusal("choices", None, &[("questions", &other)]);
        assert!(
            text.contains("line 1: `answer` is 2, it must be the number of one of 2"),
            "{text}"
        );
    }
}
