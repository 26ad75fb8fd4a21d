//! VALSE, `existence.json` and its like: an object of examples by id, `{"existence_7": {"image_file": "v7w_2358356.jpg",
//! "caption": "There are no people in the picture.", "foil": "There are people in the picture.", "mturk": {"caption": 3,
//! …}, …}}`. Examples are in the order of their ids; those that fewer than two of three people found right (`mturk`) are
//! passed over, as in the authors' own evaluation; FOIL's examples, in the same form, have `foils` and no such count.
//!
//! Caption and foil are put in an order that the id decides, so that a model that cannot tell them apart is not right by
//! taking the first.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use sightline_core::Seed;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Choice, Content, Example, Tagged};

/// How many of three people have to agree.
const AGREE: u64 = 2;

/// The form.
pub(crate) struct Valse;

#[derive(Deserialize)]
struct Entry {
    image_file: String,
    caption: String,
    foil: Option<String>,
    #[serde(default)]
    foils: Vec<String>,
    mturk: Option<People>,
}

#[derive(Deserialize)]
struct People {
    caption: u64,
}

impl Form for Valse {
    fn name(&self) -> &'static str {
        "valse"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "examples",
            is_required: true,
            published: "`existence.json` of the folder `data` in Heidelberg-NLP/VALSE",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("examples") {
            let document: BTreeMap<String, Entry> = file.json()?;
            for ((id, entry), number) in document.into_iter().zip(1..) {
                let spot = Spot::Entry("examples", number);
                if entry.mturk.is_some_and(|people| people.caption < AGREE) {
                    continue;
                }
                let foils: Vec<String> = entry.foil.into_iter().chain(entry.foils).collect();
                if foils.is_empty() {
                    let problem = AnnotationProblem::Value {
                        what: "`foil`",
                        found: format!("missing in `{id}`"),
                        expected: "a text".to_owned(),
                    };
                    return Err(file.refuse(spot, problem));
                }
                let key = key(&file, &spot, &id)?;
                let place = Seed(0)
                    .child(key.as_str(), 0)
                    .rng()
                    .below(foils.len() as u64 + 1) as usize;
                let mut texts = foils;
                texts.insert(place, entry.caption);
                let tagged = |text| Tagged {
                    text,
                    tags: Vec::new(),
                };
                let choice = Choice {
                    candidates: texts.into_iter().map(tagged).collect(),
                    ..Choice::default()
                };
                let example = Example {
                    key,
                    images: vec![entry.image_file],
                    content: Content::Choices {
                        choices: vec![choice],
                        right: vec![Some(place)],
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

    const EXAMPLES: &str = r#"{"existence_1": {"dataset": "visual7w", "original_split": "test", "dataset_idx": "v7w_1",
        "linguistic_phenomena": "existence", "image_file": "v7w_1.jpg", "caption": "There are no people.",
        "foil": "There are people.", "classes": "no", "mturk": {"foil": 0, "caption": 3, "other": 0}},
        "existence_2": {"image_file": "v7w_2.jpg", "caption": "c", "foil": "f", "mturk": {"caption": 1}},
        "existence_3": {"image_file": "v7w_3.jpg", "caption": "There is a dog.", "foils": ["There is a cat."]}}"#;

    #[test]
    fn captions_stand_among_their_foils_where_the_id_says() {
        let examples = read_as("valse", None, &[("examples", EXAMPLES)]).unwrap();
        let keys: Vec<&str> = examples.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(
            keys,
            ["existence_1", "existence_3"],
            "people did not agree on the second"
        );
        for example in &examples {
            let Content::Choices { choices, right } = &example.content else {
                panic!("{example:?}");
            };
            let right = right[0].unwrap();
            let text = &choices[0].candidates[right].text;
            assert!(["There are no people.", "There is a dog."].contains(&text.as_str()));
            assert_eq!(choices[0].candidates.len(), 2);
        }
        let again = read_as("valse", None, &[("examples", EXAMPLES)]).unwrap();
        assert_eq!(examples, again);
        let text = refusal(
            "valse",
            None,
            &[(
                "examples",
                &EXAMPLES.replace("\"foil\": \"There", "\"fail\": \"There"),
            )],
        );
        assert!(
            text.contains("`foil` is missing in `existence_1`"),
            "{text}"
        );
    }
}
