//! SNLI-VE, `snli_ve_test.jsonl`: a JSON object a line, `{"Flickr30K_ID": "2407214681", "gold_label": "entailment",
//! "pairID": "2407214681.jpg#0r1e", "sentence2": "…", …}`. What is judged is the hypothesis, `sentence2`, against the
//! image; the premise, a caption of the image, is not shown. A `gold_label` of `-`, on which people did not agree, is
//! none.

use std::collections::HashSet;

use serde::Deserialize;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The labels.
pub(crate) const LABELS: [&str; 3] = ["contradiction", "neutral", "entailment"];

/// The form.
pub(crate) struct SnliVe;

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "Flickr30K_ID")]
    image: String,
    gold_label: String,
    #[serde(rename = "pairID")]
    pair: String,
    sentence2: String,
}

impl Form for SnliVe {
    fn name(&self) -> &'static str {
        "snli-ve"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "examples",
            is_required: true,
            published: "`snli_ve_test.jsonl` of necla-ml/SNLI-VE, a JSON object a line",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("examples") {
            for (number, line) in file.json_lines::<Line>()? {
                let spot = Spot::Line(number);
                let label = match line.gold_label.as_str() {
                    "-" => None,
                    label if LABELS.contains(&label) => Some(label.to_owned()),
                    label => {
                        let problem = AnnotationProblem::Value {
                            what: "`gold_label`",
                            found: format!("`{label}`"),
                            expected: "`entailment`, `neutral`, `contradiction` or `-`".to_owned(),
                        };
                        return Err(file.refuse(spot, problem));
                    }
                };
                let example = Example {
                    key: key(&file, &spot, &line.pair)?,
                    images: vec![line.image],
                    content: Content::Statement {
                        text: line.sentence2,
                        label,
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

    const EXAMPLES: &str = "{\"Flickr30K_ID\": \"2407214681\", \"annotator_labels\": [\"neutral\"], \"captionID\": \
        \"2407214681.jpg#0\", \"gold_label\": \"neutral\", \"pairID\": \"2407214681.jpg#0r1n\", \"sentence1\": \
        \"Two women are embracing.\", \"sentence2\": \"The sisters are hugging goodbye.\"}\n\
        {\"Flickr30K_ID\": \"2407214681\", \"gold_label\": \"-\", \"pairID\": \"2407214681.jpg#0r1e\", \"sentence2\": \
        \"Two woman are holding packages.\"}\n";

    #[test]
    fn the_hypothesis_is_judged_and_disagreement_is_no_label() {
        let examples = read_as("snli-ve", None, &[("examples", EXAMPLES)]).unwrap();
        assert_eq!(examples[0].key.as_str(), "2407214681_jpg#0r1n");
        assert_eq!(examples[0].images, ["2407214681"]);
        let label = |example: &Example| match &example.content {
            Content::Statement { label, .. } => label.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(label(&examples[0]).as_deref(), Some("neutral"));
        assert_eq!(label(&examples[1]), None);
        let other = EXAMPLES.replace("\"-\"", "\"maybe\"");
        let text = refusal("snli-ve", None, &[("examples", &other)]);
        assert!(text.contains("line 2: `gold_label` is `maybe`"), "{text}");
    }
}
