//! A model outside the process as tasks see it: answers are asked for in requests of the size that the model wants, and
//! checked.

use std::sync::Arc;

use bytes::Bytes;
use candle_core::{Device, Tensor};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sightline_models::detect::{Class, Detection};
use sightline_models::{
    Classify, Decoding, Embed, Error as ModelError, FindObjects, Generate, Generated, Match, Model,
    Prompt, Result, Score, Segment, Strategy, Visual, VisualSpec,
};

use crate::error::Trouble;
use crate::gate::side_by_side;
use crate::protocol::{Detected, Hello, Op};

/// What answers requests: a program or a server. Answers are those of the protocol; they are checked by who asks.
pub(crate) trait Backend: Send + Sync {
    fn hello(&self) -> &Hello;

    /// Requests that are made at once.
    fn at_once(&self) -> usize;

    fn embed_images(&self, images: &[Bytes]) -> Result<Value, Trouble>;

    fn embed_texts(&self, texts: &[&str]) -> Result<Value, Trouble>;

    fn score(&self, images: &[Bytes], texts: &[&str]) -> Result<Value, Trouble>;

    fn logprob(&self, images: &[Bytes], texts: &[&str]) -> Result<Value, Trouble>;

    fn generate(
        &self,
        images: &[Bytes],
        prompts: &[Prompt<'_>],
        how: &Decoding,
    ) -> Result<Value, Trouble>;

    /// `images`: the k-th of all samples in the k-th place.
    fn classify(&self, images: &[&[Bytes]], texts: &[&str]) -> Result<Value, Trouble>;

    fn detect(&self, image: &Bytes, classes: &[Vec<&str>]) -> Result<Value, Trouble>;
}

/// A part of a prompt, with its image.
pub(crate) enum OwnedSegment<'a> {
    Image(&'a Bytes),
    Text(&'a str),
}

/// The parts of a prompt about some of `images`.
pub(crate) fn prompt_of<'a>(
    images: &'a [Bytes],
    prompt: &Prompt<'a>,
) -> Result<Vec<OwnedSegment<'a>>, Trouble> {
    let parts = prompt.segments.iter().map(|segment| match segment {
        Segment::Text(text) => Ok(OwnedSegment::Text(text)),
        Segment::Image(number) => {
            let file = images.get(*number).map(OwnedSegment::Image);
            file.ok_or_else(|| Trouble::unanswered("a prompt names an image that is not there"))
        }
    });
    parts.collect()
}

/// A model outside the process.
pub(crate) struct Outside {
    backend: Arc<dyn Backend>,
    input: VisualSpec,
    labels: Vec<String>,
}

impl Outside {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        let labels = backend.hello().classify.clone();
        Self {
            backend,
            input: VisualSpec::Encoded,
            labels: labels.map(|it| it.labels).unwrap_or_default(),
        }
    }

    fn can(&self, op: Op) -> bool {
        self.backend.hello().can(op)
    }

    /// What `ask` answers about samples `0..count`, asked for in parts of the size that the model wants.
    fn in_parts<R: Send>(
        &self,
        count: usize,
        ask: impl Fn(std::ops::Range<usize>) -> Result<Vec<R>, Trouble> + Sync,
    ) -> Result<Vec<R>> {
        let most = self.backend.hello().batch;
        let starts: Vec<usize> = (0..count).step_by(most).collect();
        let parts = side_by_side(&starts, self.backend.at_once(), |&start| {
            ask(start..count.min(start + most))
        })?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Vectors `[count, width]` of unit length.
    fn vectors(
        &self,
        count: usize,
        ask: impl Fn(std::ops::Range<usize>) -> Result<Value, Trouble> + Sync,
    ) -> Result<Tensor> {
        let width = self.width();
        let rows = self.in_parts(count, |part| {
            let wanted = part.len();
            let rows: Vec<Vec<f32>> = list(ask(part)?, "embeddings", wanted)?;
            rows.into_iter().map(|row| unit(row, width)).collect()
        })?;
        let values: Vec<f32> = rows.into_iter().flatten().collect();
        Ok(Tensor::from_vec(values, (count, width), &Device::Cpu)?)
    }
}

/// The list that an answer has under `key`, of the length `wanted`.
fn list<T: DeserializeOwned>(
    mut answer: Value,
    key: &str,
    wanted: usize,
) -> Result<Vec<T>, Trouble> {
    let value = answer.get_mut(key).map(Value::take);
    let value = value.ok_or_else(|| Trouble::unanswered(format!("answered without `{key}`")))?;
    let items: Vec<T> = serde_json::from_value(value)
        .map_err(|_| Trouble::unanswered(format!("answered `{key}` of another form")))?;
    if items.len() != wanted {
        let found = items.len();
        return Err(Trouble::unanswered(format!(
            "answered {found} `{key}` instead of {wanted}"
        )));
    }
    Ok(items)
}

/// `row` at unit length.
fn unit(row: Vec<f32>, width: usize) -> Result<Vec<f32>, Trouble> {
    if row.len() != width {
        let found = row.len();
        return Err(Trouble::unanswered(format!(
            "answered a vector of {found} values instead of {width}"
        )));
    }
    let length = row
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(Trouble::unanswered("answered a vector without a direction"));
    }
    Ok(row
        .into_iter()
        .map(|v| (f64::from(v) / length) as f32)
        .collect())
}

/// A vector of unit length for each text, all of one width.
pub(crate) fn text_vectors(
    backend: &dyn Backend,
    texts: &[&str],
) -> Result<Vec<Vec<f32>>, Trouble> {
    let rows: Vec<Vec<f32>> = list(backend.embed_texts(texts)?, "embeddings", texts.len())?;
    let width = rows.first().map_or(0, Vec::len);
    rows.into_iter().map(|row| unit(row, width)).collect()
}

/// Refuses values that are infinite or none.
fn finite(values: &[f32]) -> Result<(), Trouble> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(Trouble::unanswered("answered a value that is not finite"))
}

impl Model for Outside {
    fn input(&self) -> &VisualSpec {
        &self.input
    }

    fn at_once(&self) -> Option<usize> {
        Some(self.backend.at_once())
    }

    fn embed(&self) -> Option<&dyn Embed> {
        (self.can(Op::EmbedImage) && self.can(Op::EmbedText)).then_some(self)
    }

    fn classify(&self) -> Option<&dyn Classify> {
        self.can(Op::Classify).then_some(self)
    }

    fn matching(&self) -> Option<&dyn Match> {
        self.can(Op::Score).then_some(self)
    }

    fn generate(&self) -> Option<&dyn Generate> {
        self.can(Op::Generate).then_some(self)
    }

    fn find_objects(&self) -> Option<&dyn FindObjects> {
        self.can(Op::Detect).then_some(self)
    }

    fn score(&self) -> Option<&dyn Score> {
        self.can(Op::Logprob).then_some(self)
    }
}

impl Embed for Outside {
    fn width(&self) -> usize {
        self.backend.hello().embed.map_or(0, |space| space.width)
    }

    fn embed_images(&self, _: &Tensor) -> Result<Tensor> {
        Err(ModelError::Visual {
            wanted: "image files",
            found: "pixels",
        })
    }

    fn embed_visual(&self, images: &Visual) -> Result<Tensor> {
        let files = images.encoded()?;
        self.vectors(files.len(), |part| self.backend.embed_images(&files[part]))
    }

    fn embed_texts(&self, texts: &[&str]) -> Result<Tensor> {
        self.vectors(texts.len(), |part| self.backend.embed_texts(&texts[part]))
    }

    fn scale(&self) -> f32 {
        self.backend.hello().embed.map_or(1.0, |space| space.scale)
    }
}

impl Match for Outside {
    fn match_texts(&self, images: &Visual, texts: &[&str]) -> Result<Tensor> {
        let files = same_number(images, texts)?;
        let scores = self.in_parts(texts.len(), |part| {
            let wanted = part.len();
            let answer = self.backend.score(&files[part.clone()], &texts[part])?;
            let scores: Vec<f32> = list(answer, "scores", wanted)?;
            finite(&scores)?;
            Ok(scores)
        })?;
        Ok(Tensor::from_vec(scores, texts.len(), &Device::Cpu)?)
    }
}

impl Score for Outside {
    fn score(&self, images: &Visual, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let files = same_number(images, texts)?;
        self.in_parts(texts.len(), |part| {
            let wanted = part.len();
            let answer = self.backend.logprob(&files[part.clone()], &texts[part])?;
            let all: Vec<Vec<f32>> = list(answer, "logprobs", wanted)?;
            for tokens in &all {
                finite(tokens)?;
                if tokens.iter().any(|&logprob| logprob > 0.0) {
                    return Err(Trouble::unanswered("answered a log-probability above 0"));
                }
            }
            Ok(all)
        })
    }
}

impl Classify for Outside {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn images(&self) -> usize {
        let labels = self.backend.hello().classify.as_ref();
        labels.map_or(1, |labels| labels.images)
    }

    fn classify(&self, images: &[Visual], texts: &[&str]) -> Result<Tensor> {
        let files: Vec<&[Bytes]> = images
            .iter()
            .map(|of_place| same_number(of_place, texts))
            .collect::<Result<_>>()?;
        let labels = self.labels.len();
        let rows = self.in_parts(texts.len(), |part| {
            let shown: Vec<&[Bytes]> = files.iter().map(|files| &files[part.clone()]).collect();
            let answer = self.backend.classify(&shown, &texts[part.clone()])?;
            let rows: Vec<Vec<f32>> = list(answer, "scores", part.len())?;
            for row in &rows {
                finite(row)?;
                if row.len() != labels {
                    let found = row.len();
                    return Err(Trouble::unanswered(format!(
                        "answered scores of {found} labels instead of {labels}"
                    )));
                }
            }
            Ok(rows)
        })?;
        let values: Vec<f32> = rows.into_iter().flatten().collect();
        Ok(Tensor::from_vec(
            values,
            (texts.len(), labels),
            &Device::Cpu,
        )?)
    }
}

impl FindObjects for Outside {
    fn find_objects(&self, images: &Visual, classes: &[Class<'_>]) -> Result<Vec<Vec<Detection>>> {
        let files = images.encoded()?;
        let names: Vec<Vec<&str>> = classes.iter().map(|class| class.names.clone()).collect();
        // One image a request, whatever the size of a batch: boxes are many, and a line has a limit.
        let found = side_by_side(files, self.backend.at_once(), |file| {
            objects(self.backend.detect(file, &names)?, classes.len())
        })?;
        Ok(found)
    }
}

/// The objects that an answer has, the surest first; each is a box with an area of one of so many classes.
fn objects(mut answer: Value, classes: usize) -> Result<Vec<Detection>, Trouble> {
    let found = answer.get_mut("detections").map(Value::take);
    let found = found.ok_or_else(|| Trouble::unanswered("answered without `detections`"))?;
    let found: Vec<Detected> = serde_json::from_value(found)
        .map_err(|_| Trouble::unanswered("answered `detections` of another form"))?;
    let is_right = |one: &Detected| {
        let [left, top, right, bottom] = one.edges;
        let is_finite = one.edges.iter().all(|edge| edge.is_finite()) && one.score.is_finite();
        one.class < classes && is_finite && left < right && top < bottom
    };
    if !found.iter().all(is_right) {
        return Err(Trouble::unanswered(
            "answered a detection that is no box of a class",
        ));
    }
    let mut objects: Vec<Detection> = found
        .into_iter()
        .map(|one| Detection {
            class: one.class,
            score: one.score,
            edges: one.edges,
        })
        .collect();
    objects.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(objects)
}

impl Generate for Outside {
    fn decoding(&self) -> Decoding {
        Decoding {
            strategy: Strategy::Greedy,
            max_tokens: None,
        }
    }

    fn reads_text(&self) -> bool {
        self.backend.hello().reads_text
    }

    fn generate(
        &self,
        images: &Visual,
        prompts: &[Prompt<'_>],
        decoding: &Decoding,
    ) -> Result<Vec<Generated>> {
        let files = images.encoded()?;
        self.in_parts(prompts.len(), |part| {
            let wanted = part.len();
            let mut answer = self.backend.generate(files, &prompts[part], decoding)?;
            let scores = answer.get_mut("scores").map(Value::take);
            let texts: Vec<String> = list(answer, "texts", wanted)?;
            let scores: Vec<f32> = match scores {
                Some(scores) => list(serde_json::json!({ "scores": scores }), "scores", wanted)?,
                None => vec![0.0; wanted],
            };
            finite(&scores)?;
            let all = texts.into_iter().zip(scores);
            let all = all.map(|(text, score)| Generated {
                text,
                tokens: Vec::new(),
                score,
            });
            Ok(all.collect())
        })
    }
}

/// The image files, of which there must be as many as texts.
fn same_number<'v>(images: &'v Visual, texts: &[&str]) -> Result<&'v [Bytes]> {
    let files = images.encoded()?;
    if files.len() == texts.len() {
        return Ok(files);
    }
    Err(ModelError::Count {
        what: "image files",
        found: files.len(),
        wanted: texts.len(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told<T: std::fmt::Debug>(result: Result<T, Trouble>) -> String {
        match result.unwrap_err() {
            Trouble::Unanswered(reason) | Trouble::Gone(reason) => reason,
        }
    }

    #[test]
    fn answers_of_another_form_are_told_in_few_words() {
        let texts = |value: Value| list::<String>(value, "texts", 2);
        assert_eq!(texts(json!({"texts": ["a", "b"]})).unwrap(), ["a", "b"]);
        assert_eq!(told(texts(json!({}))), "answered without `texts`");
        assert_eq!(
            told(texts(json!({"texts": ["a"]}))),
            "answered 1 `texts` instead of 2"
        );
        assert_eq!(
            told(texts(json!({"texts": [1, 2]}))),
            "answered `texts` of another form"
        );
    }

    #[test]
    fn objects_are_boxes_of_known_classes_the_surest_first() {
        let one = |class: usize, score: f32, edges: [f32; 4]| json!({"class": class, "score": score, "box": edges});
        let found = |all: Vec<Value>| objects(json!({ "detections": all }), 2);
        let edges = [1.0, 2.0, 3.0, 4.0];
        let both = found(vec![one(0, 0.25, edges), one(1, 0.5, edges)]).unwrap();
        let classes: Vec<usize> = both.iter().map(|object| object.class).collect();
        assert_eq!(classes, [1, 0]);
        assert!(found(Vec::new()).unwrap().is_empty());
        for wrong in [
            one(2, 0.5, edges),
            one(0, 0.5, [3.0, 2.0, 1.0, 4.0]),
            one(0, 0.5, [1.0, 2.0, 3.0, 2.0]),
        ] {
            let told = told(found(vec![wrong]));
            assert_eq!(told, "answered a detection that is no box of a class");
        }
        assert_eq!(told(objects(json!({}), 2)), "answered without `detections`");
        let other = objects(json!({"detections": [{"box": [1]}]}), 2);
        assert_eq!(told(other), "answered `detections` of another form");
    }

    #[test]
    fn vectors_are_of_unit_length_or_refused() {
        assert_eq!(unit(vec![3.0, 4.0], 2).unwrap(), [0.6, 0.8]);
        assert_eq!(
            told(unit(vec![1.0], 2)),
            "answered a vector of 1 values instead of 2"
        );
        for row in [
            vec![0.0, 0.0],
            vec![f32::INFINITY, 1.0],
            vec![f32::NAN, 1.0],
        ] {
            assert_eq!(told(unit(row, 2)), "answered a vector without a direction");
        }
    }
}
