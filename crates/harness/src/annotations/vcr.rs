//! VCR, `val.jsonl`: a JSON object a line, of which are read `annot_id`, `img_fn`, `objects`, `question`,
//! `answer_choices`, `answer_label`, `rationale_choices` and `rationale_label`. Texts are lists of words, in which a
//! list of numbers means objects: `["Why", "is", [0], "pointing", "at", [1], "?"]`.
//!
//! Texts are put together as in the authors' own reader (`dataloaders/vcr.py` of rowanz/r2c), which VisualBERT took
//! over: words with single spaces between; a person is called by a name from [`NAMES`], everything else by its class;
//! the question for the rationale is the question followed by the right answer. A model is shown the objects that the
//! texts mention, all people where one of the words is *everyone* or no object is mentioned. The first region is the
//! whole image in that reader, so that an object's name is that of its place, counted from 1.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AnnotationFile, AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Choice, Content, Example, Tagged};

/// What people are called.
const NAMES: [&str; 15] = [
    "Casey", "Riley", "Jessie", "Jackie", "Avery", "Jaime", "Peyton", "Kerry", "Jody", "Kendall",
    "Peyton", "Skyler", "Frankie", "Pat", "Quinn",
];

/// The class of people.
const PERSON: &str = "person";

/// The form.
pub(crate) struct Vcr;

#[derive(Deserialize)]
struct Line {
    annot_id: String,
    img_fn: String,
    objects: Vec<String>,
    question: Vec<Word>,
    answer_choices: Vec<Vec<Word>>,
    answer_label: Option<usize>,
    rationale_choices: Vec<Vec<Word>>,
    rationale_label: Option<usize>,
}

/// A word, or objects in its place.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Word {
    Plain(String),
    Objects(Vec<i64>),
}

impl Form for Vcr {
    fn name(&self) -> &'static str {
        "vcr"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "examples",
            is_required: true,
            published: "`val.jsonl` of VCR's `vcr1annots.zip`, a JSON object a line",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("examples") {
            for (number, line) in file.json_lines::<Line>()? {
                let example = line.example(&file, number)?;
                unique(&file, Spot::Line(number), &example, &mut seen)?;
                examples.push(example);
            }
        }
        Ok(examples)
    }
}

impl Line {
    fn example(self, file: &AnnotationFile, number: usize) -> Result<Example> {
        let spot = Spot::Line(number);
        for (what, label, candidates) in [
            ("`answer_label`", self.answer_label, &self.answer_choices),
            (
                "`rationale_label`",
                self.rationale_label,
                &self.rationale_choices,
            ),
        ] {
            if candidates.is_empty() || label.is_some_and(|label| label >= candidates.len()) {
                let problem = AnnotationProblem::Value {
                    what,
                    found: label
                        .map_or_else(|| "of no choices".to_owned(), |label| label.to_string()),
                    expected: format!("below the number of choices, {}", candidates.len()),
                };
                return Err(file.refuse(spot, problem));
            }
        }
        let mut choices = vec![self.choice(&self.question, &self.answer_choices)];
        let mut right = vec![self.answer_label];
        // Without the right answer nothing can be asked about its reason.
        if let Some(label) = self.answer_label {
            let question = [&self.question[..], &self.answer_choices[label]].concat();
            choices.push(self.choice(&question, &self.rationale_choices));
            right.push(self.rationale_label);
        }
        let choices = choices.into_iter().collect::<Result<Vec<_>, _>>();
        let content = Content::Choices {
            choices: choices.map_err(|problem| file.refuse(spot.clone(), problem))?,
            right,
        };
        Ok(Example {
            key: key(file, &spot, &self.annot_id)?,
            images: vec![self.img_fn],
            content,
        })
    }

    fn choice(
        &self,
        question: &[Word],
        candidates: &[Vec<Word>],
    ) -> Result<Choice, AnnotationProblem> {
        let mut is_shown = vec![false; self.objects.len()];
        let people: Vec<bool> = self.objects.iter().map(|object| object == PERSON).collect();
        for word in candidates.iter().flatten().chain(question) {
            match word {
                Word::Objects(objects) => {
                    for &object in objects {
                        let known = usize::try_from(object).ok();
                        let place = known.and_then(|object| is_shown.get_mut(object));
                        *place.ok_or_else(|| AnnotationProblem::Unknown {
                            what: "object",
                            id: object.to_string(),
                        })? = true;
                    }
                }
                Word::Plain(word) => {
                    if matches!(word.to_lowercase().as_str(), "everyone" | "everyones") {
                        for (shown, person) in is_shown.iter_mut().zip(&people) {
                            *shown |= person;
                        }
                    }
                }
            }
        }
        if !is_shown.contains(&true) {
            is_shown = people;
        }
        let shown: Vec<usize> = (0..is_shown.len())
            .filter(|&object| is_shown[object])
            .collect();
        Ok(Choice {
            question: self.tagged(question, &shown),
            candidates: candidates
                .iter()
                .map(|words| self.tagged(words, &shown))
                .collect(),
            objects: self.objects.len(),
            shown,
        })
    }

    /// `words` as one text; every object of theirs is among `shown`.
    fn tagged(&self, words: &[Word], shown: &[usize]) -> Tagged {
        let mut tagged = Tagged::default();
        let mut push = |text: &str, object: Option<usize>| {
            if !tagged.text.is_empty() {
                tagged.text.push(' ');
            }
            let start = tagged.text.len();
            tagged.text.push_str(text);
            tagged
                .tags
                .extend(object.map(|object| (start..tagged.text.len(), object)));
        };
        for word in words {
            match word {
                Word::Plain(word) => push(word, None),
                Word::Objects(objects) => {
                    for object in objects {
                        let place = shown
                            .iter()
                            .position(|shown| i64::try_from(*shown) == Ok(*object));
                        let Some(place) = place else { continue };
                        let class = self.objects[shown[place]].as_str();
                        let name = if class == PERSON {
                            NAMES[(place + 1) % NAMES.len()]
                        } else {
                            class
                        };
                        push(name, Some(place));
                    }
                }
            }
        }
        tagged
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{read_as, refusal};
    use super::*;

    const EXAMPLES: &str = r#"{"movie": "1054_Harry", "objects": ["person", "person", "cup", "person"], "interesting_scores": [0], "img_fn": "lsmdc_1054/1054_00.01.02.345-00.01.05.678@0.jpg", "metadata_fn": "m.json", "question": ["Why", "is", [3], "pointing", "at", [0, 2], "?"], "answer_choices": [["No", "."], [[3], "is", "thirsty", "."], ["Yes", "."], ["It", "."]], "answer_label": 1, "rationale_choices": [["Because", "."], ["So", "."], ["A", "."], [[2], "is", "full", "."]], "rationale_label": 3, "img_id": "val-0", "question_number": 0, "annot_id": "val-0"}
{"objects": ["cup", "person"], "img_fn": "a/b@1.jpg", "question": ["What", "?"], "answer_choices": [["x"], ["y"]], "rationale_choices": [["z"], ["w"]], "annot_id": "test-1"}"#;

    #[test]
    fn people_have_names_and_tags_are_places_among_what_is_shown() {
        let examples = read_as("vcr", None, &[("examples", EXAMPLES)]).unwrap();
        let Content::Choices { choices, right } = &examples[0].content else {
            panic!("{:?}", examples[0]);
        };
        assert_eq!(right, &[Some(1), Some(3)]);
        assert_eq!(
            (&choices[0].shown[..], choices[0].objects),
            (&[0, 2, 3][..], 4)
        );
        // Objects 0, 2 and 3 are places 1, 2 and 3 behind the whole image.
        let question = &choices[0].question;
        assert_eq!(question.text, "Why is Jackie pointing at Riley cup ?");
        let named: Vec<_> = question
            .tags
            .iter()
            .map(|(b, o)| (&question.text[b.clone()], *o))
            .collect();
        assert_eq!(named, [("Jackie", 2), ("Riley", 0), ("cup", 1)]);
        assert_eq!(choices[0].candidates[1].text, "Jackie is thirsty .");
        assert_eq!(
            choices[1].question.text,
            "Why is Jackie pointing at Riley cup ? Jackie is thirsty ."
        );
        assert_eq!(choices[1].candidates[3].tags, [(0..3, 1)]);

        // Nothing is mentioned: the people are shown. The test set has no answer, and so no reason.
        let Content::Choices { choices, right } = &examples[1].content else {
            panic!("{:?}", examples[1]);
        };
        assert_eq!(
            (choices.len(), &choices[0].shown[..], &right[..]),
            (1, &[1][..], &[None][..])
        );
    }

    #[test]
    fn objects_and_labels_that_are_not_there_are_refused_by_line() {
        let text = refusal(
            "vcr",
            None,
            &[("examples", &EXAMPLES.replace("[0, 2]", "[0, 9]"))],
        );
        assert!(text.contains("line 1: is about object `9`"), "{text}");
        let text = refusal(
            "vcr",
            None,
            &[(
                "examples",
                &EXAMPLES.replace("\"answer_label\": 1", "\"answer_label\": 4"),
            )],
        );
        assert!(text.contains("line 1: `answer_label` is 4"), "{text}");
    }
}
