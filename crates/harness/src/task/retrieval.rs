//! Image-text retrieval: rank all captions for each image, and all images for each caption.
//!
//! The candidates are those of the whole split, with at most [`CAPTIONS`] captions of an image, the first:
//! Flickr30k and COCO have a few images with more, and protocols drop them. Samples without a caption are
//! skipped, in both directions.
//!
//! A prediction holds the embedding of the image and of each caption, as base64 of little-endian `f32`:
//!
//! ```json
//! {"image":"AACAPwAAAAA=","captions":["AAAAAAAAgD8=","AACAPwAAAAA="]}
//! ```
//!
//! Similarities and ranks are computed from these when scores are made, in an arithmetic that does not
//! depend on how samples were batched ([`sightline_metrics::similarity`]).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_manifest::SHARDS;
use sightline_metrics::similarity::{Rows, cross_ranks};
use sightline_metrics::{Input, Observations};
use sightline_models::{Capability, Way};

use super::{Ask, Observer, Predictor, Setting, Task, Verdict, Work};
use crate::Result;
use crate::error::LineProblem;
use crate::example::{Content, Example, Truth};
use crate::forward::{Embedder, Forward, NOT_FINITE};
use crate::predictions::Outcome;

/// Captions of an image that take part.
const CAPTIONS: usize = 5;

/// Image-text retrieval.
pub(crate) struct Retrieval;

impl Task for Retrieval {
    fn kind(&self) -> &'static str {
        "retrieval"
    }

    fn needs(&self) -> &'static [Capability] {
        &[Capability::Embed]
    }

    fn forms(&self) -> &'static [&'static str] {
        &[SHARDS, "coco-captions", "karpathy"]
    }

    fn metrics(&self) -> &'static [&'static str] {
        &[
            "recall@1.image-to-text",
            "recall@5.image-to-text",
            "recall@10.image-to-text",
            "recall@1.text-to-image",
            "recall@5.text-to-image",
            "recall@10.text-to-image",
            "mrr.image-to-text",
            "mrr.text-to-image",
            "median-rank.image-to-text",
            "median-rank.text-to-image",
        ]
    }

    fn ask(&self, content: &Content) -> Result<Ask, &'static str> {
        let texts: Vec<String> = captions(content).iter().take(CAPTIONS).cloned().collect();
        if texts.is_empty() {
            return Err("no caption");
        }
        Ok(Ask {
            texts,
            ..Ask::default()
        })
    }

    fn predictor<'m>(
        &self,
        forward: Forward<'m>,
        _: Way,
        _: &Setting<'_>,
    ) -> Result<Box<dyn Predictor + 'm>> {
        Ok(Box::new(Both {
            embedder: forward.embedder()?,
        }))
    }

    fn observer(&self, _: &Truth) -> Box<dyn Observer> {
        Box::new(Space::default())
    }
}

/// The captions of what the task asks about.
fn captions(content: &Content) -> &[String] {
    match content {
        Content::Sample { captions, .. } => captions,
        _ => &[],
    }
}

/// Embeds images and captions.
struct Both<'m> {
    embedder: Embedder<'m>,
}

impl Predictor for Both<'_> {
    fn predict(&mut self, works: Vec<Work>) -> Result<Vec<Outcome>> {
        let images = self.embedder.images(&works)?;
        let texts: Vec<Vec<String>> = works.into_iter().map(|work| work.ask.texts).collect();
        let captions = self.embedder.texts(&texts)?;
        let mut outcomes = Vec::with_capacity(images.len());
        for (image, captions) in images.iter().zip(captions) {
            let mut all = captions.iter().chain([image]).flatten();
            outcomes.push(if all.all(|v| v.is_finite()) {
                Outcome::Predicted(serde_json::to_value(Embeddings {
                    image: encode(image),
                    captions: captions.iter().map(|caption| encode(caption)).collect(),
                })?)
            } else {
                Outcome::Failed(NOT_FINITE.to_owned())
            });
        }
        Ok(outcomes)
    }
}

/// What a prediction holds.
#[derive(Serialize, Deserialize)]
struct Embeddings {
    image: String,
    captions: Vec<String>,
}

fn encode(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

/// Appends the values of `text` to `to` and says how many there were.
fn decode(text: &str, to: &mut Vec<f32>) -> Result<usize, LineProblem> {
    let problem = |found: String| LineProblem::Value {
        what: "an embedding",
        found,
        expected: "base64 of finite little-endian f32 values".to_owned(),
    };
    let bytes = STANDARD.decode(text).map_err(|e| problem(e.to_string()))?;
    let (values, rest) = bytes.as_chunks::<4>();
    if values.is_empty() || !rest.is_empty() {
        return Err(problem(format!("{} bytes", bytes.len())));
    }
    for &value in values {
        let value = f32::from_le_bytes(value);
        if !value.is_finite() {
            return Err(problem(value.to_string()));
        }
        to.push(value);
    }
    Ok(values.len())
}

/// All embeddings of a split.
#[derive(Default)]
struct Space {
    width: Option<usize>,
    images: Vec<f32>,
    n_images: u32,
    captions: Vec<f32>,
    /// The image of each caption.
    owner: Vec<u32>,
}

impl Space {
    fn same_width(&mut self, found: usize) -> Result<(), LineProblem> {
        let expected = *self.width.get_or_insert(found);
        if found == expected {
            return Ok(());
        }
        Err(LineProblem::Value {
            what: "the width of an embedding",
            found: found.to_string(),
            expected: format!("{expected}, as in the lines before"),
        })
    }
}

impl Observer for Space {
    fn add(&mut self, prediction: Value, truth: &Example) -> Result<Verdict, LineProblem> {
        let embeddings: Embeddings =
            serde_json::from_value(prediction).map_err(LineProblem::Json)?;
        let expected = captions(&truth.content).len().min(CAPTIONS);
        if embeddings.captions.len() != expected || expected == 0 {
            return Err(LineProblem::Value {
                what: "the number of captions",
                found: embeddings.captions.len().to_string(),
                expected: format!("{expected}, as in the dataset, and not 0"),
            });
        }
        let width = decode(&embeddings.image, &mut self.images)?;
        self.same_width(width)?;
        for caption in &embeddings.captions {
            let width = decode(caption, &mut self.captions)?;
            self.same_width(width)?;
            self.owner.push(self.n_images);
        }
        self.n_images += 1;
        Ok(Verdict::Scored)
    }

    fn finish(self: Box<Self>) -> Result<Observations> {
        let width = self.width.unwrap_or(0);
        let images = Rows::new(&self.images, self.n_images as usize, width)?;
        let captions = Rows::new(&self.captions, self.owner.len(), width)?;
        let ranks = cross_ranks(images, captions, &self.owner)?;
        let mut observations = Observations::default();
        let image_to_text = ranks.image_to_text.into_iter().flatten().collect();
        observations.set(Input::ImageToText, image_to_text);
        observations.set(Input::TextToImage, ranks.text_to_image);
        Ok(observations)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sightline_metrics::registry;

    use super::*;

    fn truth(captions: usize) -> Example {
        let content = Content::Sample {
            class: crate::Class::Missing,
            captions: (0..captions).map(|i| i.to_string()).collect(),
        };
        crate::example::tests::example("a", content)
    }

    /// Images are the axes, so that a caption's values are its scores with each image.
    #[test]
    fn four_by_four_example_agrees_with_counting_by_hand() {
        // Row: a caption, of the image of the same number. Columns: images.
        let captions: [[f32; 4]; 4] = [
            [0.9, 0.1, 0.2, 0.3], // its image is first
            [0.5, 0.4, 0.1, 0.0], // second
            [0.3, 0.3, 0.3, 0.3], // third: ties go to the lower index
            [0.8, 0.7, 0.6, 0.1], // last
        ];
        let mut observer = Retrieval.observer(&Truth::default());
        for (i, caption) in captions.iter().enumerate() {
            let mut image = [0.0f32; 4];
            image[i] = 1.0;
            let line = json!({"image": encode(&image), "captions": [encode(caption)]});
            assert_eq!(observer.add(line, &truth(1)).unwrap(), Verdict::Scored);
        }
        let observations = observer.finish().unwrap();
        let value = |id: &str| {
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None).unwrap().value.unwrap()
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} instead of {b}");
        close(value("recall@1.text-to-image"), 0.25);
        close(value("recall@5.text-to-image"), 1.0);
        close(
            value("mrr.text-to-image"),
            (1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0) / 4.0,
        );
        close(value("median-rank.text-to-image"), 2.5);
        // Columns, from above: image 0 has its caption first, image 1 second (0.7 above 0.4),
        // image 2 second (0.6 above 0.3), image 3 third (0.3 twice above 0.1).
        close(value("recall@1.image-to-text"), 0.25);
        close(
            value("mrr.image-to-text"),
            (1.0 + 0.5 + 0.5 + 1.0 / 3.0) / 4.0,
        );
        close(value("median-rank.image-to-text"), 2.0);
    }

    #[test]
    fn embeddings_round_trip_bit_for_bit() {
        let values = [1.0f32, -0.0, 1e-42, f32::MAX, 0.1];
        let mut back = Vec::new();
        assert_eq!(decode(&encode(&values), &mut back).unwrap(), 5);
        let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
        assert_eq!(bits(&back), bits(&values));
    }

    #[test]
    fn a_prediction_that_no_model_made_is_refused() {
        let one = encode(&[1.0, 0.0]);
        let mut observer = Retrieval.observer(&Truth::default());
        let good = json!({"image": one, "captions": [one]});
        observer.add(good.clone(), &truth(1)).unwrap();
        for (line, captions) in [
            (good, 2),
            (json!({"image": one, "captions": []}), 0),
            (json!({"image": one, "captions": [encode(&[1.0])]}), 1),
            (
                json!({"image": one, "captions": [encode(&[f32::NAN, 0.0])]}),
                1,
            ),
            (json!({"image": one, "captions": [""]}), 1),
            (json!({"image": one, "captions": ["AAA="]}), 1),
            (json!({"image": one, "captions": ["%"]}), 1),
            (json!({"image": one}), 1),
        ] {
            assert!(
                observer.add(line.clone(), &truth(captions)).is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn a_sixth_caption_takes_no_part_and_none_at_all_is_a_skip() {
        let ask = Retrieval.ask(&truth(6).content).unwrap();
        assert_eq!(ask.texts, ["0", "1", "2", "3", "4"]);
        assert_eq!(Retrieval.ask(&truth(0).content), Err("no caption"));
    }
}
