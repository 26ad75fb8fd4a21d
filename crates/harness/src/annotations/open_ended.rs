//! The open-ended few-shot tasks of Frozen, `open_ended_mi_shots_1_ways_2_all_questions.json` and its like
//! (`real_name_mi`, `fast_vqa`, `guided_vqa`): a list of `{"image_1": "…_image_1.jpg", "caption_1": "…", "image_2": …,
//! "question_image": "…_question.jpg", "question": "…", "answer": "…"}`, with as many numbered images and captions as ways
//! times shots. The key is the name of the question's image.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;
use sightline_preprocess::image_names::canonical;

use super::{AnnotationProblem, Files, Form, Role, Spot, key, unique};
use crate::Result;
use crate::example::{Content, Example};

/// The form.
pub(crate) struct OpenEnded;

#[derive(Deserialize)]
struct Episode {
    question_image: String,
    question: String,
    answer: String,
    /// `image_1`, `caption_1` and so on.
    #[serde(flatten)]
    numbered: BTreeMap<String, Value>,
}

impl Form for OpenEnded {
    fn name(&self) -> &'static str {
        "open-ended"
    }

    fn files(&self) -> &'static [Role] {
        &[Role {
            name: "questions",
            is_required: true,
            published: "`open_ended_mi_shots_1_ways_2_all_questions.json` of Frozen's few-shot benchmarks",
        }]
    }

    fn read(&self, files: &Files) -> Result<Vec<Example>> {
        let (mut examples, mut seen) = (Vec::new(), HashSet::new());
        for file in files.all("questions") {
            let episodes: Vec<Episode> = file.json()?;
            for (episode, number) in episodes.into_iter().zip(1..) {
                let spot = Spot::Entry("questions", number);
                let text = |name: String| match episode.numbered.get(&name) {
                    Some(Value::String(text)) => Some(text.clone()),
                    _ => None,
                };
                let shown =
                    |n: usize| Some((text(format!("image_{n}"))?, text(format!("caption_{n}"))?));
                let pairs: Vec<(String, String)> = (1..).map_while(shown).collect();
                let images = episode.numbered.keys();
                let images = images.filter(|name| name.starts_with("image_")).count();
                if images != pairs.len() || pairs.is_empty() {
                    let problem = AnnotationProblem::Value {
                        what: "the number of images with a caption",
                        found: pairs.len().to_string(),
                        expected: format!("{images}, and not 0"),
                    };
                    return Err(file.refuse(spot, problem));
                }
                let (mut images, texts): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
                let id = canonical(&episode.question_image);
                images.push(episode.question_image);
                let example = Example {
                    key: key(&file, &spot, &id)?,
                    images,
                    content: Content::Episode {
                        texts,
                        question: episode.question,
                        answer: episode.answer,
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

    const QUESTIONS: &str = r#"[{"question_id": 0, "shots": 1,
        "image_1": "open_ended_mi_shots_1_ways_2_id_0_image_1.jpg", "caption_1": "This is a dax.",
        "image_2": "open_ended_mi_shots_1_ways_2_id_0_image_2.jpg", "caption_2": "This is a blicket.",
        "question_image": "open_ended_mi_shots_1_ways_2_id_0_question.jpg", "question": "This is a", "answer": "blicket"}]"#;

    #[test]
    fn an_episode_has_its_images_in_order_and_the_question_last() {
        let examples = read_as("open-ended", None, &[("questions", QUESTIONS)]).unwrap();
        let [example] = &examples[..] else {
            panic!("{examples:?}");
        };
        assert_eq!(
            example.key.as_str(),
            "open_ended_mi_shots_1_ways_2_id_0_question"
        );
        assert_eq!(example.images.len(), 3);
        assert!(example.images[2].ends_with("question.jpg"));
        let content = Content::Episode {
            texts: vec!["This is a dax.".to_owned(), "This is a blicket.".to_owned()],
            question: "This is a".to_owned(),
            answer: "blicket".to_owned(),
        };
        assert_eq!(example.content, content);
    }

    #[test]
    fn an_image_without_a_caption_is_refused() {
        let without = QUESTIONS.replace("caption_2", "caption_3");
        let text = refusal("open-ended", None, &[("questions", &without)]);
        assert!(
            text.contains("number 1 of `questions`: the number of images with a caption is 1"),
            "{text}"
        );
    }
}
