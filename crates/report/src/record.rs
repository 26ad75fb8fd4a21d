//! A run record: the immutable outcome of one model on one suite.
//!
//! A record is created once, under a name that holds the digest of its content, and never edited. A
//! correction is a new record that names the one it supersedes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sightline_core::{Decoded, Digest, PixelDeviation, Seed};

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
    /// In what its weights were kept, if they were rounded, for example `int8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Where its checkpoint is from, if that is the hub: `hf:OWNER/NAME@COMMIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How large it is; `None` for one without weights, and in records that were made before this was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ModelSize>,
}

/// How large a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSize {
    /// Floating point numbers in its files of weights; `None` where their form does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// Bytes of its files of weights.
    pub weights_bytes: u64,
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
    /// Digest of what the task asked, whatever the model (`Plan::protocol`). Outcomes can be ranked
    /// together if their protocols and the dataset's files are equal.
    pub protocol: Digest,
    /// What became of every sample.
    pub counts: Counts,
    /// Reasons of failed and skipped samples, with how many had each.
    pub reasons: BTreeMap<String, u64>,
    /// The predictions the scores were computed from.
    pub predictions: Predictions,
    /// Scores in the order of the suite.
    pub scores: Vec<Score>,
    /// How the model was asked, where there are several ways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// How far the pixels of the first images are from those of the reference processor; `None` where they
    /// are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_deviation: Option<PixelDeviation>,
    /// Examples with their answers that stood before each question; `None` where the kind of task has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shots: Option<u32>,
    /// Only the first so many samples were asked about. Such an outcome is never ranked. Records made before this was
    /// kept do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// What others report of the model at this task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paper_targets: Vec<Target>,
    /// What came of asking some of its examples again in other ways; `None` where that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_check: Option<SelfCheck>,
    /// How fast it went. Not part of what `verify` compares.
    pub throughput: Throughput,
    /// What it cost; `None` where the predictions were there already. Not part of what `verify` compares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

/// A value that others report, looked up where it is printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// Metric id.
    pub metric: String,
    /// In the unit of the metric: a share of 0.584 where 58.4 is printed.
    pub value: f64,
    /// Where it is printed.
    pub source: String,
}

/// What a task cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Most samples of a batch.
    pub batch_size: u64,
    /// Batches that the model was given by this process.
    pub batches: u64,
    /// Seconds from a batch of prepared images to its predictions.
    pub batch_seconds: Quantiles,
    /// The same divided by the samples of the batch.
    pub sample_seconds: Quantiles,
    /// The most memory that the process had resident until the end of the task, in bytes: of everything it ran before,
    /// too, and without what a card holds. `None` where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Seconds in which the model was at work: batches, and what it gets ready for a task, such as prompts of classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_seconds: Option<f64>,
    /// Seconds of the task in which it was not: waiting for images, writing predictions, scoring them. Loading the model is
    /// in neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside_seconds: Option<f64>,
    /// By whom image files were decoded, where a card prepared them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<Decoded>,
}

impl Cost {
    /// What the harness adds to the time of the model, as a share of it; `None` in older records.
    pub fn overhead(&self) -> Option<f64> {
        let model = self.model_seconds.filter(|seconds| *seconds > 0.0)?;
        Some(self.beside_seconds? / model)
    }
}

/// Values that so many hundredths of all do not exceed, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// Nine of ten are not above.
    pub p90: f64,
}

/// Examples that were asked again, in ways that must change nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// How many.
    pub examples: u64,
    /// The ways in words: batches, orders and numbers of threads.
    pub ways: Vec<String>,
    /// Keys of those whose answer was another one in some way.
    pub differing: Vec<String>,
}

/// How a model was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What it was asked to do, for example `classify`.
    pub capability: String,
    /// What was computed instead, from something else that the model can do; `None` where it can do what it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How the tokens of a text were chosen; `None` where it wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoding: Option<String>,
    /// What stood before it beside images; `None` where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
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
    /// Items whose contribution to the value depends on the tie rule.
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

/// Records that tests of this crate share.
#[cfg(test)]
pub(crate) mod examples {
    use super::*;

    /// An outcome of a made-up model on two tasks; `constant`, `random` or any other name.
    pub(crate) fn record(model: &str) -> Record {
        let (baseline, shift) = match model {
            "constant" => (true, 0.0),
            "random" => (true, 0.004),
            _ => (false, 0.31),
        };
        Record {
            schema: SCHEMA,
            suite: "quickstart".to_owned(),
            model: ModelInfo {
                name: model.to_owned(),
                family: if baseline { model } else { "clip" }.to_owned(),
                description: format!("The model called {model}."),
                baseline,
                weights: None,
                source: None,
                size: None,
            },
            created: "2026-11-23T17:04:11Z".to_owned(),
            supersedes: None,
            tool: Tool {
                version: "0.1.0".to_owned(),
                commit: Some("425858f0c1d2e3f405162738495a6b7c8d9e0f11".to_owned()),
            },
            machine: Machine {
                platform: "linux-x86_64".to_owned(),
                processor: Some("Example CPU @ 2.20GHz".to_owned()),
                threads: 2,
                device: "cpu".to_owned(),
            },
            command: [
                "sightline",
                "run",
                "manifests/suites/quickstart.toml",
                "--data",
                "out/my data",
            ]
            .map(str::to_owned)
            .to_vec(),
            seed: Seed(17),
            plan: Digest::of(b"plan"),
            lock: Digest::of(b"lock"),
            files: vec![
                file("dataset:scenes-test", "shards/test/00000.tar"),
                file("dataset:scenes-test", "shards/test/00001.tar"),
                file(&format!("model:{model}"), "model.safetensors"),
            ],
            tasks: vec![
                TaskOutcome {
                    scores: vec![
                        score("accuracy@1", 0.1 + shift, 0.02, 1000),
                        score("accuracy@5", 0.45 + shift, 0.03, 1000),
                    ],
                    counts: Counts {
                        attempted: 1003,
                        scored: 1000,
                        failed: 1,
                        skipped: 2,
                    },
                    reasons: [("no label".to_owned(), 2), ("broken image".to_owned(), 1)].into(),
                    ..outcome("zero-shot", model)
                },
                TaskOutcome {
                    scores: ["image-to-text", "text-to-image"]
                        .into_iter()
                        .flat_map(|way| [1, 5, 10].map(|k| (k, format!("recall@{k}.{way}"))))
                        .map(|(k, id)| {
                            let value = f64::from(k) / 1000.0 + shift / 2.0;
                            score(&id, value, value / 4.0, 5000)
                        })
                        .collect(),
                    ..outcome("retrieval", model)
                },
            ],
        }
    }

    /// The same as [`record`] with everything that later versions measure.
    pub(crate) fn measured(model: &str) -> Record {
        let mut record = record(model);
        record.model.size = Some(ModelSize {
            parameters: Some(151_277_313),
            weights_bytes: 605_143_884,
        });
        let task = &mut record.tasks[0];
        task.shots = Some(4);
        task.paper_targets = vec![Target {
            metric: "accuracy@1".to_owned(),
            value: 0.5,
            source: "a paper, table 1".to_owned(),
        }];
        task.cost = Some(Cost {
            batch_size: 32,
            batches: 32,
            batch_seconds: Quantiles {
                p50: 0.08,
                p90: 0.1,
            },
            sample_seconds: Quantiles {
                p50: 0.0025,
                p90: 0.003_125,
            },
            peak_memory_bytes: Some(1 << 30),
            model_seconds: Some(2.5),
            beside_seconds: Some(0.02),
            decoded: None,
        });
        record
    }

    fn outcome(kind: &str, model: &str) -> TaskOutcome {
        TaskOutcome {
            task: format!("{kind}-scenes-test"),
            kind: kind.to_owned(),
            dataset: "scenes-test".to_owned(),
            protocol: Digest::of(kind.as_bytes()),
            counts: Counts {
                attempted: 1000,
                scored: 1000,
                ..Counts::default()
            },
            reasons: BTreeMap::new(),
            predictions: Predictions {
                path: format!("predictions/quickstart/{model}/{kind}-scenes-test.jsonl"),
                lines: 1000,
                sha256: Digest::of(model.as_bytes()),
            },
            scores: Vec::new(),
            asked: None,
            pixel_deviation: None,
            shots: None,
            limit: None,
            paper_targets: Vec::new(),
            self_check: None,
            throughput: Throughput {
                seconds: 3.25,
                samples: 1000,
            },
            cost: None,
        }
    }

    /// A score in `[0, 1]` with an interval of `value ± half`.
    pub(crate) fn score(metric: &str, value: f64, half: f64, items: u64) -> Score {
        Score {
            metric: metric.to_owned(),
            version: 1,
            value: Some(value),
            interval: Some(Interval {
                low: (value - half).max(0.0),
                high: (value + half).min(1.0),
                confidence: 0.95,
                resamples: 1000,
                method: "percentile".to_owned(),
            }),
            range: [0.0, 1.0],
            higher_is_better: true,
            items,
            ties: 0,
        }
    }

    fn file(owner: &str, name: &str) -> File {
        File {
            owner: owner.to_owned(),
            name: name.to_owned(),
            bytes: 1_234_567,
            sha256: Digest::of(name.as_bytes()),
        }
    }
}
