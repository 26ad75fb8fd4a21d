//! What predictions and annotations say beside the records: tests between models, and single samples.
//!
//! Records alone give a board. Where predictions and the dataset are still there, whoever has them computes this, and the
//! board shows it; where they are not, `problems` say so in whole sentences.

use sightline_core::Digest;

/// What is known of the main table of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskEvidence {
    /// The suite.
    pub suite: String,
    /// The task.
    pub task: String,
    /// Pairs of records, the better-ranked one first.
    pub pairs: Vec<Pair>,
    /// Some of the samples, in the order of the dataset.
    pub samples: Vec<Shown>,
    /// Samples of the task.
    pub of_samples: u64,
    /// How those that are shown were chosen, as a sentence.
    pub chosen: String,
    /// What could not be found out, each as a sentence.
    pub problems: Vec<String>,
}

/// Two records, compared sample by sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Ids of the records.
    pub records: [Digest; 2],
    /// Samples that both predicted and that can be scored.
    pub paired: u64,
    /// The metrics, in the order of the task.
    pub metrics: Vec<PairMetric>,
}

/// How two records compare by one metric; differences are the second's value minus the first's.
#[derive(Clone, Debug, PartialEq)]
pub struct PairMetric {
    /// Metric id.
    pub metric: String,
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Values over the paired samples.
    pub values: [Option<f64>; 2],
    /// Their difference.
    pub difference: Option<f64>,
    /// Its bootstrap interval, items resampled in pairs.
    pub interval: Option<[f64; 2]>,
    /// p-value of approximate randomisation, two-sided, for this pair and metric alone.
    pub p: Option<f64>,
    /// Items that the second does better, worse and as well.
    pub wins: u64,
    /// See [`Self::wins`].
    pub losses: u64,
    /// See [`Self::wins`].
    pub ties: u64,
    /// Some of the samples whose value changed: key, value by the first, value by the second.
    pub flips: Vec<(String, [f64; 2])>,
}

/// A sample that is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its key.
    pub key: String,
    /// Whether it was chosen because the models differ on it most.
    pub differs: bool,
    /// Its images, or why one is not shown.
    pub images: Vec<Result<Thumbnail, String>>,
    /// What is asked beside the images; empty where nothing is.
    pub asked: String,
    /// What is right, in words.
    pub references: Vec<String>,
    /// What became of it, one for each record that has predictions.
    pub answers: Vec<Answer>,
}

/// An image made small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// A JPEG file.
    pub jpeg: Vec<u8>,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// What became of a sample by one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Id of the record.
    pub record: Digest,
    /// What the model said.
    pub said: Said,
    /// Values of the sample alone, by metric; a metric whose items are not samples has none.
    pub values: Vec<(String, f64)>,
}

/// What a model said about a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its prediction in words.
    This(String),
    /// Something broke.
    Failed(String),
    /// The task does not apply.
    Skipped(String),
}
