//! NLVR2, `dev.json`, `test1.json`, `test2.json`: a JSON object a line, `{"identifier": "dev-850-0-1", "sentence": "…",
//! "label": "True", …}`. The images of `dev-850-0-1` are `dev-850-0-img0.png` on the left and `dev-850-0-img1.png` on
//! the right. Judgements of one sentence have identifiers that are equal without the third part.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The labels.
pub(crate) const LABELS: [&str; 2] = ["False", "True"];

/// The form.
pub(crate) struct Nlvr2;

#[derive(Deserialize)]
struct Line {
    identifier: String,
    sentence: String,
    label: Option<String>,
}

impl Form for Nlvr2 {
    fn name(&self) -> &'static str {
        "nlvr2"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "examples",
            is_required: true,
            published: "`dev.json` of the folder `nlvr2/data` in lil-lab/nlvr, a JSON object a line",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("examples") {
            for (number, line) in file.json_lines::<Line>()? {
                let spot = Spot::Line(number);
                let value = |what, found: &str, expected: &str| AnnotationProblem::Value {
                    what,
                    found: format!("`{found}`"),
                    expected: expected.to_owned(),
                };
                let parts: Vec<&str> = line.identifier.split('-').collect();
                let [split, set, pair, sentence] = parts[..] else {
                    let expected = "four parts, as `dev-850-0-1` has";
                    return Err(
                        file.refuse(spot, value("`identifier`", &line.identifier, expected))
                    );
                };
                if let Some(label) = line
                    .label
                    .as_ref()
                    .filter(|label| !LABELS.contains(&label.as_str()))
                {
                    return Err(file.refuse(spot, value("`label`", label, "`True` or `False`")));
                }
                let image = |side| format!("{split}-{set}-{pair}-img{side}.png");
                let example = Example {
                    key: key(&file, &spot, &line.identifier)?,
                    images: vec![image(0), image(1)],
                    content: Content::Statement {
                        text: line.sentence,
                        label: line.label,
                        group: Some(format!("{split}-{set}-{sentence}")),
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

    const EXAMPLES: &str = "{\"validation\": {\"54\": \"False\"}, \"sentence\": \"There is a redhead on the right.\", \
        \"left_url\": \"https://example.org/a.jpg\", \"label\": \"False\", \"extra_validations\": {}, \
        \"identifier\": \"dev-850-0-1\", \"right_url\": \"https://example.org/b.jpg\", \"synset\": \"water_buffalo\", \
        \"query\": \"water buffalo0\", \"worker\": \"20\"}\n\
        {\"sentence\": \"One is brown.\", \"label\": \"True\", \"identifier\": \"dev-850-1-1\"}\n";

    #[test]
    fn a_sentence_has_two_images_and_its_group() {
        let examples = read_as("nlvr2", None, &[("examples", EXAMPLES)]).unwrap();
        assert_eq!(
            examples[0].images,
            ["dev-850-0-img0.png", "dev-850-0-img1.png"]
        );
        assert_eq!(
            examples[0].content,
            Content::Statement {
                text: "There is a redhead on the right.".to_owned(),
                label: Some("False".to_owned()),
                group: Some("dev-850-1".to_owned()),
            }
        );
        let group = |example: &Example| match &example.content {
            Content::Statement { group, .. } => group.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(group(&examples[0]), group(&examples[1]));
    }

    #[test]
    fn other_labels_and_identifiers_are_refused_by_line() {
        let text = refusal(
            "nlvr2",
            None,
            &[("examples", &EXAMPLES.replace("\"True\"", "\"yes\""))],
        );
        assert!(
            text.contains("line 2: `label` is `yes`, it must be `True` or `False`"),
            "{text}"
        );
        let text = refusal(
            "nlvr2",
            None,
            &[("examples", &EXAMPLES.replace("dev-850-1-1", "x"))],
        );
        assert!(text.contains("line 2: `identifier` is `x`"), "{text}");
        let text = refusal(
            "nlvr2",
            None,
            &[("examples", &EXAMPLES.replace("dev-850-1-1", "dev-850-0-1"))],
        );
        assert!(
            text.contains("line 2: the example `dev-850-0-1` was there before"),
            "{text}"
        );
        let text = refusal("nlvr2", None, &[("examples", "[]\n")]);
        assert!(text.contains("line 1: "), "{text}");
    }
}
