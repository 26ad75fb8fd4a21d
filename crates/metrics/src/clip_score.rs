//! CLIPScore, RefCLIPScore and PAC-S: captions scored by embeddings of image, candidate and references.
//!
//! With c the cosine of the image's and the candidate's embedding, and r the largest cosine of the
//! candidate's and a reference's:
//!
//! | id | item | range | source |
//! | --- | --- | --- | --- |
//! | `clipscore` | S = 2.5 · max(c, 0) | 0 to 2.5 | Hessel et al. 2021, section 3 |
//! | `pac-s` | 2 · max(c, 0) | 0 to 2 | Sarto et al. 2023, equation 5 |
//! | `refclipscore` | harmonic mean of S and max(r, 0), 0 where either is 0 | 0 to 10/7 | Hessel et al., section 3 |
//! | `refclipscore-code` | 2 S r / (S + r) | unbounded | the authors' `clipscore.py` |
//!
//! Each is the mean over images. The authors' program does not clamp r: a negative r gives a negative
//! score, one near −S a score of any size, and S = r = 0 is 0/0. `refclipscore-code` equals it, and refuses
//! what it turns into a number that is none, naming the item. `pac-s` is the formula alone: the scores of
//! its paper also need the paper's fine-tuned weights.
//!
//! Published scores are of CLIP ViT-B/32 with "A photo depicts " before every caption. Scores of
//! another model or prompt have the same ids and cannot be compared; a record has to say which was used.

use sightline_core::seed::Rng;

use crate::conformance::Examples;
use crate::metric::{Mean, Metric, MetricInfo};
use crate::{Error, Input, Item, Resources, Result};

/// What CLIPScore multiplies cosines with.
const CLIP_WEIGHT: f64 = 2.5;
/// What PAC-S multiplies cosines with.
const PAC_WEIGHT: f64 = 2.0;

/// `clipscore`.
pub static CLIP_SCORE: ClipScore = ClipScore {
    formula: Formula::Image {
        weight: CLIP_WEIGHT,
    },
    id: "clipscore",
    description: "Mean over images of 2.5 times the cosine of image and candidate, at least 0.",
};

/// `pac-s`.
pub static PAC_S: ClipScore = ClipScore {
    formula: Formula::Image { weight: PAC_WEIGHT },
    id: "pac-s",
    description: "Mean over images of twice the cosine of image and candidate, at least 0.",
};

/// `refclipscore`.
pub static REF_CLIP_SCORE: ClipScore = ClipScore {
    formula: Formula::Paper,
    id: "refclipscore",
    description: "Mean over images of the harmonic mean of CLIPScore and the best cosine of candidate and reference, at least 0.",
};

/// `refclipscore-code`.
pub static REF_CLIP_SCORE_CODE: ClipScore = ClipScore {
    formula: Formula::Code,
    id: "refclipscore-code",
    description: "RefCLIPScore as the authors' program computes it, with cosines of candidate and reference below 0.",
};

/// The cosines of one image's embeddings: all that these metrics look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarities {
    image: f64,
    reference: Option<f64>,
}

impl Similarities {
    /// From the embeddings of an image, its candidate and the candidate's references, all `[D]` and of
    /// any length but 0. Without references only the metrics that need none have a value.
    pub fn new<T: Copy + Into<f64>>(
        image: &[T],
        candidate: &[T],
        references: &[impl AsRef<[T]>],
    ) -> Result<Self> {
        let candidate = unit(candidate, "the candidate")?;
        let with = |other: &[T], of| {
            let other = unit(other, of)?;
            if other.len() != candidate.len() {
                return Err(Error::EmbeddingWidth {
                    of,
                    width: other.len(),
                    expected: candidate.len(),
                });
            }
            Ok(dot(&other, &candidate))
        };
        let image = with(image, "the image")?;
        let mut best = None;
        for reference in references {
            let cosine = with(reference.as_ref(), "a reference")?;
            best = Some(best.map_or(cosine, |best: f64| best.max(cosine)));
        }
        Ok(Self {
            image,
            reference: best,
        })
    }

    /// The cosine of image and candidate.
    pub fn image(self) -> f64 {
        self.image
    }

    /// The largest cosine of the candidate and a reference, if there are references.
    pub fn reference(self) -> Option<f64> {
        self.reference
    }
}

impl Item for Similarities {}

impl Examples for Similarities {
    /// Of a few numbers, so that cosines of every sign occur; never of two that are both 0.
    fn random(rng: &mut Rng) -> Self {
        let direction = |rng: &mut Rng| -> Vec<f64> { (0..3).map(|_| rng.normal()).collect() };
        let near = |rng: &mut Rng, v: &[f64]| -> Vec<f64> {
            v.iter().map(|x| x + 0.7 * rng.normal()).collect()
        };
        loop {
            let candidate = direction(rng);
            let image = direction(rng);
            let references: Vec<Vec<f64>> =
                (0..=rng.below(4)).map(|_| near(rng, &candidate)).collect();
            if let Ok(item) = Self::new(&image, &candidate, &references)
                && ref_clip_score_code(item.image, item.reference.unwrap_or(0.0)).is_finite()
            {
                return item;
            }
        }
    }

    fn perfect(_: &mut Rng) -> Self {
        Self {
            image: 1.0,
            reference: Some(1.0),
        }
    }
}

/// CLIPScore of the cosine of image and candidate.
pub fn clip_score(image: f64) -> f64 {
    CLIP_WEIGHT * image.max(0.0)
}

/// RefCLIPScore as in the paper, of the cosine of image and candidate and the largest of candidate and
/// reference.
pub fn ref_clip_score(image: f64, reference: f64) -> f64 {
    let (image, reference) = (clip_score(image), reference.max(0.0));
    if image == 0.0 || reference == 0.0 {
        return 0.0;
    }
    2.0 * image * reference / (image + reference)
}

/// RefCLIPScore as the published program computes it, of the same cosines: not a number for two cosines
/// that count as 0, infinite where `reference` is the negative of the CLIPScore.
pub fn ref_clip_score_code(image: f64, reference: f64) -> f64 {
    let image = clip_score(image);
    2.0 * image * reference / (image + reference)
}

/// `v` scaled to length 1.
fn unit<T: Copy + Into<f64>>(v: &[T], of: &'static str) -> Result<Vec<f64>> {
    let v: Vec<f64> = v.iter().map(|&x| x.into()).collect();
    let length = dot(&v, &v).sqrt();
    if length == 0.0 || !length.is_finite() {
        return Err(Error::NoDirection { of });
    }
    Ok(v.into_iter().map(|x| x / length).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// One of the four metrics.
#[derive(Debug)]
pub struct ClipScore {
    formula: Formula,
    id: &'static str,
    description: &'static str,
}

/// What an item scores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Formula {
    Image { weight: f64 },
    Paper,
    Code,
}

impl ClipScore {
    /// The score of an item; `None` where it needs references and there are none.
    fn score(&self, item: Similarities) -> Option<f64> {
        match self.formula {
            Formula::Image { weight } => Some(weight * item.image.max(0.0)),
            Formula::Paper => Some(ref_clip_score(item.image, item.reference?)),
            Formula::Code => Some(ref_clip_score_code(item.image, item.reference?)),
        }
    }
}

impl Metric for ClipScore {
    type Item = Similarities;
    type Corpus = ();
    type Stats = Mean;

    fn info(&self) -> MetricInfo {
        MetricInfo {
            id: self.id,
            version: 1,
            input: Input::Similarity,
            range: match self.formula {
                Formula::Image { weight } => [0.0, weight],
                Formula::Paper => [0.0, 2.0 * CLIP_WEIGHT / (CLIP_WEIGHT + 1.0)],
                Formula::Code => [f64::NEG_INFINITY, f64::INFINITY],
            },
            higher_is_better: true,
            description: self.description,
        }
    }

    /// Refuses items without references where they are needed, and items that the formula divides by
    /// zero.
    fn corpus(&self, items: &[Similarities], _: &Resources) -> Result<()> {
        let refused = items.iter().enumerate().find_map(|(index, &item)| {
            let reason = match self.score(item) {
                None => "it has no references",
                Some(score) if !score.is_finite() => {
                    "its similarities to the image and to the references add up to 0"
                }
                Some(_) => return None,
            };
            Some((index, reason))
        });
        match refused {
            Some((item, reason)) => Err(Error::Undefined {
                metric: self.id,
                item,
                reason,
            }),
            None => Ok(()),
        }
    }

    fn stats(&self, (): &(), item: &Similarities) -> Mean {
        self.score(*item).map_or_else(Mean::default, Mean::of)
    }

    fn value(&self, stats: &Mean) -> Option<f64> {
        stats.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Observations, registry};

    const NONE: [[f64; 2]; 0] = [];

    #[test]
    fn scores_of_a_right_triangle() {
        // The candidate (3, 4)/5 has cosine 0.6 with the image and 0.8 with the better reference.
        let item = Similarities::new(&[2.0, 0.0], &[3.0, 4.0], &[[0.0, 0.5], [0.0, -1.0]]).unwrap();
        assert!((item.image() - 0.6).abs() < 1e-15);
        assert!((item.reference().unwrap() - 0.8).abs() < 1e-15);
        let score = |metric: &ClipScore| metric.score(item).unwrap();
        assert!((score(&CLIP_SCORE) - 1.5).abs() < 1e-15);
        assert!((score(&PAC_S) - 1.2).abs() < 1e-15);
        let harmonic = 2.0 * 1.5 * 0.8 / 2.3;
        assert!((score(&REF_CLIP_SCORE) - harmonic).abs() < 1e-15);
        assert!((score(&REF_CLIP_SCORE_CODE) - harmonic).abs() < 1e-15);
    }

    #[test]
    fn only_the_program_keeps_references_that_point_away() {
        let away = Similarities::new(&[1.0, 0.0], &[1.0, 0.0], &[[-0.5, 0.0]]).unwrap();
        assert_eq!(REF_CLIP_SCORE.score(away), Some(0.0));
        let code = REF_CLIP_SCORE_CODE.score(away).unwrap();
        assert!((code + 2.0 * 2.5 / 1.5).abs() < 1e-14, "{code}");
    }

    #[test]
    fn zero_over_zero_is_an_error_that_names_the_item() {
        assert!(ref_clip_score_code(-0.5, 0.0).is_nan());
        assert_eq!(ref_clip_score(-0.5, 0.0).to_bits(), 0);
        let good = Similarities::new(&[1.0, 0.0], &[1.0, 1.0], &[[1.0, 0.0]]).unwrap();
        let bad = Similarities::new(&[-1.0, 0.0], &[1.0, 0.0], &[[0.0, 1.0]]).unwrap();
        let alone = Similarities::new(&[1.0, 0.0], &[1.0, 1.0], &NONE).unwrap();
        let evaluate = |id: &str, items: Vec<Similarities>| {
            let mut observations = Observations::default();
            observations.set(Input::Similarity, items);
            let metric = registry::metric(id).unwrap();
            metric.evaluate(&observations, None)
        };
        let error = evaluate("refclipscore-code", vec![good, bad]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metric `refclipscore-code` is not defined for item 1, counted from 0: \
             its similarities to the image and to the references add up to 0"
        );
        assert!(evaluate("refclipscore", vec![good, bad]).is_ok());
        let error = evaluate("refclipscore", vec![alone]).unwrap_err();
        assert!(error.to_string().ends_with("it has no references"));
        assert!(evaluate("clipscore", vec![alone]).is_ok());
    }

    #[test]
    fn embeddings_without_direction_or_of_another_space_are_refused() {
        let error = Similarities::new(&[0.0, 0.0], &[1.0, 0.0], &NONE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the embedding of the image has no direction: it is all zeros or not finite"
        );
        assert!(Similarities::new(&[1.0, 0.0], &[f64::NAN, 0.0], &NONE).is_err());
        assert!(Similarities::new::<f64>(&[], &[], &[[]]).is_err());
        let error = Similarities::new(&[1.0, 0.0, 0.0], &[1.0, 0.0], &NONE).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the embedding of the image is 3 wide, expected 2"
        );
    }
}
