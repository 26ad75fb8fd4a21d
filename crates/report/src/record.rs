//! A run record: the immutable outcome of one model on one suite.
//!
//! A record is created once, under a name that holds the digest of its content, and never edited. A
//! correction is a new record that names the one it supersedes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Seed};

/// Version of the record's layout.
pub const SCHEMA: u32 = 1;

/// The outcome of one model on one suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the suite.
    pub suite: String,
    /// The model.
    pub model: ModelInfo,
    /// When the run ended, RFC 3339 in UTC, to the second.
    pub created: String,
    /// Record that this one replaces.
    pub supersedes: Option<Digest>,
    /// The program that ran.
    pub tool: Tool,
    /// The machine it ran on.
    pub machine: Machine,
    /// The command that makes this record again, argument by argument.
    pub command: Vec<String>,
    /// From which every random choice derived.
    pub seed: Seed,
    /// Digest of the plan.
    pub plan: Digest,
    /// Digest of the lock.
    pub lock: Digest,
    /// Every file that was read.
    pub files: Vec<File>,
    /// Outcomes in the order of the suite.
    pub tasks: Vec<TaskOutcome>,
}

/// The model of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Name in the manifest.
    pub name: String,
    /// Family.
    pub family: String,
    /// What it is, as written in the manifest.
    pub description: String,
    /// Whether it is a floor to compare with, not a trained model.
    pub baseline: bool,
}

/// The program of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Version of the program.
    pub version: String,
    /// Commit it was built from, with `-dirty` appended when the tree had changes; `None` when unknown.
    pub commit: Option<String>,
}

/// The machine of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and architecture, for example `linux-x86_64`.
    pub platform: String,
    /// Model of the processor, when the system tells.
    pub processor: Option<String>,
    /// Hardware threads.
    pub threads: usize,
    /// Device the model ran on, for example `cpu`.
    pub device: String,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The dataset or model that reads it.
    pub owner: String,
    /// Path below the owner's place.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// One task's outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOutcome {
    /// Name within the suite.
    pub task: String,
    /// Kind of task.
    pub kind: String,
    /// Dataset.
    pub dataset: String,
    /// What became of every sample.
    pub counts: Counts,
    /// Reasons of failed and skipped samples, with how many had each.
    pub reasons: BTreeMap<String, u64>,
    /// The predictions the scores were computed from.
    pub predictions: Predictions,
    /// Scores in the order of the suite.
    pub scores: Vec<Score>,
    /// How fast it went. Not part of what `verify` compares.
    pub throughput: Throughput,
}

/// Every sample is scored, failed or skipped: `attempted = scored + failed + skipped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Samples read.
    pub attempted: u64,
    /// Samples that a score counts.
    pub scored: u64,
    /// Samples that something broke for. A failure is never a zero.
    pub failed: u64,
    /// Samples the task does not apply to, for example without a label.
    pub skipped: u64,
}

/// A predictions file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predictions {
    /// Path below the records folder.
    pub path: String,
    /// Lines in it.
    pub lines: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// One metric's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Metric id, for example `recall@5.image-to-text`.
    pub metric: String,
    /// Version of the metric's definition.
    pub version: u32,
    /// The value; `None` when no sample could be scored.
    pub value: Option<f64>,
    /// Bootstrap interval.
    pub interval: Option<Interval>,
    /// Least and largest possible value.
    pub range: [f64; 2],
    /// Whether more is better.
    pub higher_is_better: bool,
    /// Items the value is computed from (queries, samples).
    pub items: u64,
    /// Items whose rank was decided by the tie rule.
    pub ties: u64,
}

/// A bootstrap interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// For example 0.95.
    pub confidence: f64,
    /// Resamples drawn.
    pub resamples: u32,
    /// `percentile`, `basic` or `bca`.
    pub method: String,
}

/// How fast a task went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Wall time in seconds, of this process, without samples resumed from an earlier one.
    pub seconds: f64,
    /// Samples predicted in that time.
    pub samples: u64,
}

impl Throughput {
    /// Samples per second; `None` when nothing was predicted.
    pub fn samples_per_second(&self) -> Option<f64> {
        (self.samples > 0 && self.seconds > 0.0).then(|| self.samples as f64 / self.seconds)
    }
}
