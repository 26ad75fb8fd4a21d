//! Prompts of the published evaluation, few-shot ones too, and where its answers are cut. Texts are data: `prompts.json`.
//!
//! A prompt of `k` shots has `k` demonstrations, each an image with its text, `<|endofchunk|>` and the end of a line, and
//! then the query. One of 0 shots has the texts of two demonstrations without their images, as in the paper (section A.2).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::Segment;

/// Ends a demonstration, and what is written.
pub const END_OF_CHUNK: &str = "<|endofchunk|>";
/// Stands for an image in the tokens. No text of a prompt may hold it.
pub const IMAGE: &str = "<image>";
/// Demonstrations of a prompt of no shots.
pub const TEXTS_OF_NO_SHOTS: usize = 2;

static TEMPLATES: LazyLock<BTreeMap<String, Template>> = LazyLock::new(|| {
    // Part of the program, and read by a test.
    serde_json::from_str(include_str!("prompts.json")).unwrap_or_default()
});

/// How a task is asked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What stands behind an image that is asked about; `{text}` gives place to the question.
    pub query: String,
    /// What stands behind that in a demonstration; `{answer}` gives place to the answer.
    pub answer: String,
    /// What is written ends before the first of these words, then before the first of the next ones, and so on.
    pub cuts: Vec<Vec<String>>,
    /// Letters that are taken out.
    pub removed: String,
}

/// An example of a few-shot prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demonstration<'a> {
    /// Its image, by its number among those given with the prompt; not looked at in a prompt of no shots.
    pub image: usize,
    /// The question, if the task has one.
    pub text: &'a str,
    /// What the model is to write.
    pub answer: &'a str,
}

/// A prompt whose texts are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FewShot(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Image(usize),
    Text(String),
}

impl FewShot {
    /// Its images and texts.
    pub fn segments(&self) -> Vec<Segment<'_>> {
        let segment = |part| match part {
            &Part::Image(image) => Segment::Image(image),
            Part::Text(text) => Segment::Text(text),
        };
        self.0.iter().map(segment).collect()
    }
}

impl Template {
    /// The template of that name: `caption`, `vqa` or `hateful-memes`.
    pub fn named(name: &str) -> Option<&'static Self> {
        TEMPLATES.get(name)
    }

    /// What stands behind the image that is asked about.
    pub fn query(&self, text: &str) -> String {
        self.query.replace("{text}", text)
    }

    /// The prompt about `image` with `shots` of `demonstrations`, the first ones; where they are chosen by likeness, the
    /// likest is to be the last. Of fewer demonstrations there are as many as there are.
    pub fn few_shot(
        &self,
        demonstrations: &[Demonstration<'_>],
        shots: usize,
        image: usize,
        text: &str,
    ) -> FewShot {
        let count = if shots == 0 { TEXTS_OF_NO_SHOTS } else { shots };
        let mut parts = Vec::new();
        let mut before = String::new();
        for demonstration in demonstrations.iter().take(count) {
            if shots > 0 {
                if !before.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut before)));
                }
                parts.push(Part::Image(demonstration.image));
            }
            before.push_str(&self.query(demonstration.text.trim()));
            before.push_str(&self.answer.replace("{answer}", demonstration.answer.trim()));
        }
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(Part::Image(image));
        parts.push(Part::Text(self.query(text)));
        FewShot(parts)
    }

    /// The same for a model whose demonstrations end as `end` says.
    #[must_use]
    pub fn with_end(&self, end: &str) -> Self {
        let published = format!("{END_OF_CHUNK}\n");
        Self {
            answer: self.answer.replace(&published, end),
            ..self.clone()
        }
    }

    /// What counts of an answer.
    pub fn cut(&self, written: &str) -> String {
        let mut rest = written;
        for words in &self.cuts {
            let places = words.iter().filter_map(|word| rest.find(word.as_str()));
            rest = &rest[..places.min().unwrap_or(rest.len())];
        }
        let kept = rest.chars().filter(|c| !self.removed.contains(*c));
        kept.collect::<String>().trim().to_owned()
    }

    /// The template whose queries end as `prompt` does.
    pub(super) fn of_prompt(prompt: &str) -> Option<&'static Self> {
        let ending = |template: &&Self| {
            let behind = template.query.rsplit("{text}").next();
            behind.is_some_and(|behind| prompt.trim_end().ends_with(behind.trim_start()))
        };
        TEMPLATES.values().find(ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demonstrations() -> Vec<Demonstration<'static>> {
        let one = |image, answer| Demonstration {
            image,
            text: "what is it?",
            answer,
        };
        vec![one(4, "a dog "), one(5, "a cat"), one(6, "a cow")]
    }

    #[test]
    fn demonstrations_stand_before_the_query_with_their_images() {
        let template = Template::named("vqa").unwrap();
        let prompt = template.few_shot(&demonstrations(), 2, 0, "why?");
        assert_eq!(
            prompt.segments(),
            [
                Segment::Image(4),
                Segment::Text("Question:what is it? Short answer:a dog<|endofchunk|>\n"),
                Segment::Image(5),
                Segment::Text("Question:what is it? Short answer:a cat<|endofchunk|>\n"),
                Segment::Image(0),
                Segment::Text("Question:why? Short answer:"),
            ]
        );
        let many = template.few_shot(&demonstrations(), 32, 0, "why?");
        assert_eq!(many.segments().len(), 8);
    }

    #[test]
    fn no_shots_are_two_texts_without_images() {
        let template = Template::named("caption").unwrap();
        let prompt = template.few_shot(&demonstrations(), 0, 0, "");
        assert_eq!(
            prompt.segments(),
            [
                Segment::Text("Output:a dog<|endofchunk|>\nOutput:a cat<|endofchunk|>\n"),
                Segment::Image(0),
                Segment::Text("Output:"),
            ]
        );
        let bare = template.few_shot(&[], 4, 0, "");
        assert_eq!(bare.segments().len(), 2);
    }

    #[test]
    fn answers_end_where_the_published_evaluation_cuts_them() {
        let cut = |name, written| Template::named(name).unwrap().cut(written);
        assert_eq!(cut("caption", " a \"red\" dog Output: a cat"), "a red dog");
        assert_eq!(cut("vqa", "yes, it is Question: why"), "yes");
        assert_eq!(cut("vqa", " two Short answer: 3"), "two");
        assert_eq!(cut("hateful-memes", " yes "), "yes");
        let of = |prompt| Template::of_prompt(prompt).map(|t| t.query.as_str());
        assert_eq!(of("Output:"), Some("Output:"));
        let vqa = "Question:{text} Short answer:";
        assert_eq!(of("Question:why? Short answer:"), Some(vqa));
        assert_eq!(of("say something"), None);
    }
}
