//! What the page is made of.

use sightline_core::{Digest, Seed};

use crate::error::Error;

/// How many images a list shows unless a person chooses.
pub const DEFAULT_IMAGES_SHOWN: usize = 20;
/// The metric that images are ranked by unless a person chooses, if it was computed; else the first.
pub const DEFAULT_RANKING: &str = "cider-d";

/// Scores of a file of captions, and what they were computed from.
#[derive(Clone, Debug)]
pub struct CaptionReport<'a> {
    /// What the page is called.
    pub title: &'a str,
    /// Version of the program that computed the scores.
    pub version: &'a str,
    /// The command that makes this page again, argument by argument.
    pub command: &'a [String],
    /// What people wrote.
    pub references: SourceFile<'a>,
    /// What the model wrote.
    pub predictions: SourceFile<'a>,
    /// What the model wrote that is compared with.
    pub baseline: Option<SourceFile<'a>>,
    /// Document frequencies that CIDEr was given, if it was.
    pub document_frequencies: Option<SourceFile<'a>>,
    /// What the ids of the images are: `image_id`, `filename`.
    pub id_name: &'a str,
    /// How many images were not scored.
    pub left_out: LeftOut,
    /// How the intervals were made, if there are any.
    pub intervals: Option<Intervals<'a>>,
    /// The metrics, in the order in which they are shown.
    pub metrics: Vec<MetricColumn<'a>>,
    /// The images, in the order of the references.
    pub images: Vec<ImageRow<'a>>,
    /// Id of the metric that images are ranked by; [`DEFAULT_RANKING`], or else the first, if `None`.
    pub ranked_by: Option<&'a str>,
    /// How many images each list shows at most; see [`DEFAULT_IMAGES_SHOWN`].
    pub images_shown: usize,
}

/// A file that was read.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// As it was named.
    pub path: &'a str,
    /// Of its bytes.
    pub sha256: Digest,
}

/// How many images were not scored, and what they lacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Images of the references without a caption.
    pub without_references: usize,
    /// What the predictions lacked.
    pub predictions: Unpaired,
    /// What the baseline lacked.
    pub baseline: Option<Unpaired>,
}

/// How many images of one file of predictions were not scored, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unpaired {
    /// Images with references and no prediction.
    pub missing: usize,
    /// Predictions of images without references.
    pub extra: usize,
    /// Images whose prediction failed.
    pub failed: usize,
}

/// How intervals and p-values were made.
#[derive(Clone, Copy, Debug)]
pub struct Intervals<'a> {
    /// Share of resampled values inside an interval, for example 0.95.
    pub confidence: f64,
    /// Resamples drawn.
    pub resamples: u32,
    /// `percentile`, `basic` or `bca`.
    pub method: &'a str,
    /// From which every resample derived.
    pub seed: Seed,
}

/// A metric, its value, and the value of each image.
#[derive(Clone, Debug)]
pub struct MetricColumn<'a> {
    /// Id, for example `cider-d`.
    pub id: &'a str,
    /// Version of its definition.
    pub version: u32,
    /// The definition in a sentence.
    pub description: &'a str,
    /// What the value depends on, as the published program writes it.
    pub signature: Option<&'a str>,
    /// The value over all images; `None` when there is none.
    pub value: Option<f64>,
    /// Lower and upper end of its interval.
    pub interval: Option<[f64; 2]>,
    /// Its standard error.
    pub standard_error: Option<f64>,
    /// The smallest difference that this many images would show: to the baseline if there is one, else
    /// to another model on other images.
    pub detectable: Option<f64>,
    /// Least and largest possible value; may be infinite.
    pub range: [f64; 2],
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The value of each image alone, as many as there are images; `None` where an image has none.
    pub values: Vec<Option<f64>>,
    /// How it compares with the baseline.
    pub comparison: Option<Comparison>,
}

/// How a metric's value compares with that of the baseline on the same images. Each p-value comes with
/// the one corrected for the number of metrics tested (Holm).
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Images with a value on both sides; value, difference, interval and p-values are of them.
    pub images: usize,
    /// The baseline's value.
    pub value: Option<f64>,
    /// The model's value minus the baseline's.
    pub difference: Option<f64>,
    /// Lower and upper end of the difference's interval, images resampled in pairs.
    pub interval: Option<[f64; 2]>,
    /// p-value of the paired bootstrap.
    pub p_bootstrap: Option<f64>,
    /// The same, corrected.
    pub p_bootstrap_corrected: Option<f64>,
    /// p-value of approximate randomisation.
    pub p_randomisation: Option<f64>,
    /// The same, corrected.
    pub p_randomisation_corrected: Option<f64>,
    /// The baseline's value of each image, as many as there are images.
    pub values: Vec<Option<f64>>,
}

/// An image and what was written about it.
#[derive(Clone, Debug)]
pub struct ImageRow<'a> {
    /// Id of the image.
    pub id: &'a str,
    /// What the model wrote.
    pub candidate: Caption<'a>,
    /// What people wrote.
    pub references: Vec<Caption<'a>>,
    /// What the baseline wrote.
    pub baseline: Option<Caption<'a>>,
}

/// A caption.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caption<'a> {
    /// As it was written.
    pub raw: &'a str,
    /// The tokens that metrics see, with single spaces between; may be empty.
    pub tokenized: &'a str,
}

impl CaptionReport<'_> {
    /// Whether every metric has a value for every image.
    pub(super) fn check(&self) -> Result<(), Error> {
        let images = self.images.len();
        for metric in &self.metrics {
            let compared = metric.comparison.as_ref().map(|c| c.values.len());
            for values in [Some(metric.values.len()), compared].into_iter().flatten() {
                if values != images {
                    let metric = metric.id.to_owned();
                    return Err(Error::UnevenColumn {
                        metric,
                        values,
                        images,
                    });
                }
            }
        }
        Ok(())
    }

    /// The metric that images are ranked by; `None` if there is no metric.
    pub(super) fn ranking(&self) -> Result<Option<&MetricColumn<'_>>, Error> {
        let of = |id: &str| self.metrics.iter().find(|metric| metric.id == id);
        let Some(id) = self.ranked_by else {
            return Ok(of(DEFAULT_RANKING).or(self.metrics.first()));
        };
        match of(id) {
            Some(metric) => Ok(Some(metric)),
            None => Err(Error::UnknownRanking {
                metric: id.to_owned(),
                known: self.metrics.iter().map(|m| m.id.to_owned()).collect(),
            }),
        }
    }
}

/// A metric's value of image `row`, if there is one and it is a number.
pub(super) fn value_of(values: &[Option<f64>], row: usize) -> Option<f64> {
    values.get(row).copied().flatten().filter(|v| v.is_finite())
}
