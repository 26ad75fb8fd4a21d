//! Questions, what is right and predictions as a person reads them.
//!
//! Predictions are read by their fields, whatever kind of task wrote them; one with fields that are not known here is shown
//! as it is written.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sightline_metrics::average_precision::Presence;
use sightline_metrics::similarity::dot;

use crate::Result;
use crate::compare::Asked;
use crate::example::{Class, Content, Example, Tagged};
use crate::predictions::{Outcome, Reader};
use crate::score::line_of;

/// Most characters of a text that is shown.
const MOST: usize = 400;
/// Best classes, labels and captions that are shown.
const BEST: usize = 3;
/// Most values of embeddings that are kept to find the nearest captions: 256 MiB.
const MAX_VALUES: usize = 64 << 20;

/// Predictions of the chosen samples in words.
pub(super) struct Words(HashMap<usize, String>);

impl Words {
    /// Reads them. `chosen` are numbers of samples in order; `classes` are the names of the dataset's classes.
    pub(super) fn read(
        reader: &mut Reader,
        asked: &Asked,
        chosen: &[(usize, bool)],
        classes: &[String],
    ) -> Result<Self> {
        let mut words = HashMap::new();
        let mut space = Space::default();
        let mut wanted = chosen.iter().map(|&(number, _)| number).peekable();
        for (number, example) in asked.truth.examples.iter().enumerate() {
            let line = line_of(reader, example, number as u64, &asked.truth)?;
            let is_wanted = wanted.next_if_eq(&number).is_some();
            let Outcome::Predicted(prediction) = line.outcome else {
                continue;
            };
            if prediction.get("image").is_some() && prediction.get("captions").is_some() {
                space.add(number, &prediction, is_wanted);
            } else if is_wanted {
                words.insert(number, said(&prediction, example, classes));
            } else if wanted.peek().is_none() && space.is_empty() {
                break;
            }
        }
        words.extend(space.nearest(&asked.truth.examples));
        Ok(Self(words))
    }

    /// What was said about the sample of this number; empty for one that was not chosen.
    pub(super) fn of(&self, number: usize) -> String {
        self.0.get(&number).cloned().unwrap_or_default()
    }
}

/// What a prediction says about an example.
fn said(prediction: &Value, example: &Example, classes: &[String]) -> String {
    let text = |key: &str| prediction.get(key).and_then(Value::as_str);
    let list = |key: &str| prediction.get(key).and_then(Value::as_array);
    let words = if let Some(caption) = text("caption") {
        caption.to_owned()
    } else if let Some(top) = list("top") {
        let name = |class: &Value| {
            let index = class
                .as_u64()
                .and_then(|index| usize::try_from(index).ok())?;
            Some(
                classes
                    .get(index)
                    .cloned()
                    .unwrap_or_else(|| format!("class {index}")),
            )
        };
        ranked(top, name)
    } else if let Some(answer) = text("answer") {
        let labels = list("labels").map(|labels| ranked(labels, own_name));
        match labels {
            Some(labels) if !labels.is_empty() => labels,
            _ => answer.to_owned(),
        }
    } else if let Some(labels) = list("labels") {
        ranked(labels, own_name)
    } else if let Some(odds) = list("odds") {
        chosen_text(odds, &example.content, 0).unwrap_or_else(|| prediction.to_string())
    } else if let Some(logits) = list("logits") {
        let each = logits
            .iter()
            .enumerate()
            .filter_map(|(at, logits)| chosen_text(logits.as_array()?, &example.content, at));
        each.collect::<Vec<_>>().join(" / ")
    } else if let Some(phrases) = list("phrases") {
        grounded(phrases, &example.content)
    } else {
        prediction.to_string()
    };
    short(&words)
}

fn own_name(label: &Value) -> Option<String> {
    label.as_str().map(str::to_owned)
}

/// The first of pairs of a name and a score.
fn ranked(pairs: &[Value], name: impl Fn(&Value) -> Option<String>) -> String {
    let each = pairs.iter().take(BEST).filter_map(|pair| {
        let score = pair.get(1)?.as_f64()?;
        Some(format!("{} ({score:.3})", name(pair.get(0)?)?))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The candidate of question `at` with the largest value.
fn chosen_text(values: &[Value], content: &Content, at: usize) -> Option<String> {
    let values: Vec<f64> = values.iter().map(Value::as_f64).collect::<Option<_>>()?;
    // The first of equal ones, as everywhere.
    let best = (0..values.len())
        .rev()
        .max_by(|&a, &b| values[a].total_cmp(&values[b]))?;
    let Content::Choices { choices, .. } = content else {
        return None;
    };
    let candidate = choices.get(at)?.candidates.get(best)?;
    Some(format!("“{}” ({:.3})", candidate.text, values[best]))
}

fn grounded(phrases: &[Value], content: &Content) -> String {
    let Content::Phrases {
        caption,
        phrases: named,
    } = content
    else {
        return String::new();
    };
    let each = phrases.iter().zip(named).filter_map(|(found, named)| {
        let best = found.get("boxes")?.get(0)?.as_array()?;
        let sides: Vec<String> = best
            .iter()
            .filter_map(Value::as_f64)
            .map(|side| format!("{side:.2}"))
            .collect();
        Some(format!(
            "{} → [{}]",
            caption.get(named.bytes.clone())?,
            sides.join(", ")
        ))
    });
    each.collect::<Vec<_>>().join("; ")
}

/// What is asked beside the images.
pub(super) fn asked(content: &Content) -> String {
    let tagged = |tagged: &Tagged| tagged.text.clone();
    short(&match content {
        Content::Sample { .. }
        | Content::Boxes { .. }
        | Content::Objects { .. }
        | Content::Labels(_) => String::new(),
        Content::Question { question, .. } => question.clone(),
        Content::Statement { text, .. } => text.clone(),
        Content::Choices { choices, .. } => {
            let questions: Vec<String> = choices
                .iter()
                .map(|choice| tagged(&choice.question))
                .collect();
            questions.join(" / ")
        }
        Content::Phrases { caption, .. } => caption.clone(),
        Content::Episode {
            texts, question, ..
        } => format!("{} / {question}", texts.join(" / ")),
    })
}

/// What is right.
pub(super) fn references(content: &Content, classes: &[String]) -> Vec<String> {
    let mut all = match content {
        Content::Sample { class, captions } => {
            let class = match class {
                Class::Known(index) => classes.get(*index as usize).cloned(),
                Class::Missing | Class::Unknown | Class::Ambiguous => None,
            };
            class.into_iter().chain(captions.iter().cloned()).collect()
        }
        Content::Question { answers, .. } => counted(answers),
        Content::Statement { label, .. } => label.iter().cloned().collect(),
        Content::Choices { choices, right } => {
            let each = choices
                .iter()
                .zip(right)
                .filter_map(|(choice, right)| Some(choice.candidates.get((*right)?)?.text.clone()));
            each.collect()
        }
        Content::Phrases { phrases, .. } => phrases
            .iter()
            .map(|phrase| {
                let boxes: Vec<String> = phrase
                    .boxes
                    .iter()
                    .map(|one| format!("{:.0?}", one.xywh()))
                    .collect();
                boxes.join(" ")
            })
            .collect(),
        Content::Boxes { truths, .. } => {
            let names = truths
                .iter()
                .filter_map(|object| classes.get(object.category as usize).cloned());
            counted(&names.collect::<Vec<_>>())
        }
        Content::Objects { present, .. } => present.iter().map(ToString::to_string).collect(),
        Content::Labels(labels) => {
            let named = classes.iter().zip(labels);
            let present = named.filter(|(_, label)| **label == Presence::Positive);
            present.map(|(name, _)| name.clone()).collect()
        }
        Content::Episode { answer, .. } => vec![answer.clone()],
    };
    for one in &mut all {
        *one = short(one);
    }
    all.truncate(10);
    all
}

/// Equal answers once, with how many gave them.
fn counted(answers: &[String]) -> Vec<String> {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for answer in answers {
        match counted.iter_mut().find(|(known, _)| known == answer) {
            Some((_, n)) => *n += 1,
            None => counted.push((answer, 1)),
        }
    }
    counted.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    let each = counted.into_iter();
    each.map(|(answer, n)| match n {
        1 => answer.to_owned(),
        n => format!("{answer} ({n}×)"),
    })
    .collect()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The captions of a split as vectors, to find those nearest to some images.
#[derive(Default)]
struct Space {
    images: Vec<(usize, Vec<f32>)>,
    captions: Vec<f32>,
    /// The sample of each caption, and its number there.
    owner: Vec<(usize, usize)>,
    is_full: bool,
}

impl Space {
    fn is_empty(&self) -> bool {
        self.owner.is_empty()
    }

    fn add(&mut self, number: usize, prediction: &Value, is_wanted: bool) {
        let captions = prediction.get("captions").and_then(Value::as_array);
        for (at, caption) in captions.into_iter().flatten().enumerate() {
            self.is_full |= self.captions.len() > MAX_VALUES;
            if !self.is_full
                && let Some(mut values) = decoded(caption)
            {
                self.captions.append(&mut values);
                self.owner.push((number, at));
            }
        }
        if is_wanted && let Some(image) = prediction.get("image").and_then(decoded) {
            self.images.push((number, image));
        }
    }

    /// For each image the captions that lie nearest, best first.
    fn nearest(self, examples: &[Example]) -> HashMap<usize, String> {
        let text = |&(sample, at): &(usize, usize)| match &examples.get(sample)?.content {
            Content::Sample { captions, .. } => captions.get(at),
            _ => None,
        };
        let mut words = HashMap::new();
        for (number, image) in &self.images {
            let width = image.len();
            // Rows of another width are refused when scores are made.
            if self.is_full || width * self.owner.len() != self.captions.len() {
                words.insert(
                    *number,
                    "too many captions to look for the nearest here".to_owned(),
                );
                continue;
            }
            let mut near: Vec<(f32, usize)> = self
                .captions
                .chunks_exact(width)
                .enumerate()
                .map(|(at, caption)| (dot(image, caption), at))
                .collect();
            near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let best = near.iter().take(BEST).filter_map(|&(score, at)| {
                let owner = self.owner.get(at)?;
                let mark = if owner.0 == *number { "✓" } else { "✗" };
                Some(format!("{mark} “{}” ({score:.3})", text(owner)?))
            });
            let best: Vec<String> = best.collect();
            words.insert(
                *number,
                short(&format!("nearest captions: {}", best.join(", "))),
            );
        }
        words
    }
}

/// An embedding, as base64 of little-endian `f32`.
fn decoded(text: &Value) -> Option<Vec<f32>> {
    let bytes = STANDARD.decode(text.as_str()?).ok()?;
    let (values, rest) = bytes.as_chunks::<4>();
    (!values.is_empty() && rest.is_empty()).then(|| {
        values
            .iter()
            .map(|value| f32::from_le_bytes(*value))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::example::tests::example;

    fn sample() -> Example {
        let content = Content::Sample {
            class: Class::Known(1),
            captions: vec!["a red fox".to_owned()],
        };
        example("a", content)
    }

    #[test]
    fn predictions_of_every_known_form_have_words() {
        let classes = ["cat", "dog"].map(str::to_owned);
        let of = |prediction: Value| said(&prediction, &sample(), &classes);
        assert_eq!(of(json!({"caption": "a fox", "score": -1.0})), "a fox");
        assert_eq!(
            of(json!({"classes": 2, "top": [[1, 0.25], [0, 0.125]]})),
            "dog (0.250), cat (0.125)"
        );
        assert_eq!(of(json!({"answer": "yes"})), "yes");
        assert_eq!(
            of(json!({"answer": "yes", "labels": [["yes", 0.5]]})),
            "yes (0.500)"
        );
        assert_eq!(of(json!({"labels": [["neutral", 1.0]]})), "neutral (1.000)");
        assert_eq!(of(json!({"new": 3})), "{\"new\":3}");
        assert_eq!(
            references(&sample().content, &classes),
            ["dog", "a red fox"]
        );
    }

    #[test]
    fn the_nearest_captions_say_whose_they_are() {
        let encode = |values: [f32; 2]| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            STANDARD.encode(bytes)
        };
        let mut space = Space::default();
        let line = |image, caption| json!({"image": encode(image), "captions": [encode(caption)]});
        space.add(0, &line([1.0, 0.0], [0.0, 1.0]), true);
        space.add(1, &line([0.0, 1.0], [1.0, 0.0]), false);
        let words = space.nearest(&[sample(), sample()]);
        let said = &words[&0];
        assert!(
            said.starts_with("nearest captions: ✗ “a red fox” (1.000), ✓"),
            "{said}"
        );
        assert_eq!(words.len(), 1);
    }

    #[test]
    fn long_texts_are_cut_and_equal_answers_counted() {
        assert_eq!(short(&"é".repeat(500)).chars().count(), MOST + 1);
        let answers = ["no", "yes", "yes"].map(str::to_owned);
        assert_eq!(counted(&answers), ["yes (2×)", "no"]);
    }
}
