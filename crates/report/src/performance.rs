//! How fast a model answers: a record of its own kind, apart from scores.
//!
//! Such a record lives at `<records>/<suite>/<model>/performance/<date>-<id>.json`, a folder in which readers of run records
//! do not look: a number of speed is never taken for a score, nor the other way.

use serde::{Deserialize, Serialize};
use sightline_core::Digest;

use crate::record::{Machine, Tool};

/// Version of the layout.
pub const SCHEMA: u32 = 1;

/// Folder below that of a model.
pub const FOLDER: &str = "performance";

/// Least duration of a measurement by `MLPerf` Inference, in seconds.
const MLPERF_SECONDS: f64 = 600.0;
/// Least queries of its single-stream scenario.
const MLPERF_QUERIES: u64 = 1024;
/// Least samples of its offline scenario.
const MLPERF_SAMPLES: u64 = 24_576;

/// How queries are made, as `MLPerf` Inference defines it (Reddi et al. 2020, table II).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One sample is asked about as soon as the one before is answered: its latencies count.
    SingleStream,
    /// All samples are there from the beginning: their number in a second counts.
    Offline,
}

/// How fast a model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `performance`, whatever else is read from a file by mistake.
    pub kind: String,
    /// Name of the suite.
    pub suite: String,
    /// Name of the model.
    pub model: String,
    /// Name of the task.
    pub task: String,
    /// When it ended, RFC 3339 in UTC, to the second.
    pub created: String,
    /// The program.
    pub tool: Tool,
    /// The machine.
    pub machine: Machine,
    /// The command, argument by argument.
    pub command: Vec<String>,
    /// Digest of the lock.
    pub lock: Digest,
    /// What was asked for.
    pub settings: Settings,
    /// What came of it.
    pub measured: Measured,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How queries are made.
    pub scenario: Scenario,
    /// Seconds of queries that are not counted.
    pub warm_up_seconds: f64,
    /// Seconds at least of those that are.
    pub seconds: f64,
    /// Queries at least.
    pub queries: u64,
    /// Samples of a query of the offline scenario.
    pub batch_size: usize,
    /// Different samples in memory, of which queries are drawn with replacement.
    pub samples: u64,
    /// From which they are drawn.
    pub seed: u64,
    /// What is not timed: reading and preparing images is done before.
    pub untimed: String,
    /// Threads of this process.
    pub threads: usize,
}

/// What came of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Queries that were counted.
    pub queries: u64,
    /// Samples of these.
    pub samples: u64,
    /// Samples that the model did not answer.
    pub failed: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Samples in a second.
    pub samples_per_second: f64,
    /// Time of a query.
    pub latency: Latency,
    /// Reading and preparing the samples in memory, which is not in the times above.
    pub preparation: Preparation,
    /// Most memory of this process in bytes, where the system says it.
    pub peak_memory_bytes: Option<u64>,
    /// Energy of the processors.
    pub energy: Energy,
    /// Whether duration and counts are those that `MLPerf` asks for.
    pub meets_mlperf: bool,
}

/// Percentiles by nearest rank, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Queries that they are of.
    pub count: u64,
    /// Mean.
    pub mean_ms: f64,
    /// Half of the queries took no longer.
    pub p50_ms: f64,
    /// Nine in ten.
    pub p90_ms: f64,
    /// 99 in a hundred.
    pub p99_ms: f64,
    /// All of them.
    pub max_ms: f64,
}

/// Reading and preparing samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Preparation {
    /// Samples.
    pub samples: u64,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Energy over the counted queries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Energy {
    /// Of all processor packages, by their own counters (RAPL).
    Joules(f64),
    /// Not known, for this reason.
    Unknown(String),
}

impl Latency {
    /// Of the times of queries in seconds.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let count = seconds.len();
        let Some(&max) = seconds.last() else {
            return Self::default();
        };
        let at = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            seconds[rank.clamp(1, count) - 1] * 1e3
        };
        Self {
            count: count as u64,
            mean_ms: seconds.iter().sum::<f64>() / count as f64 * 1e3,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: max * 1e3,
        }
    }
}

impl Scenario {
    /// Whether so long a measurement of so much is one that `MLPerf` would take.
    pub fn meets_mlperf(self, seconds: f64, queries: u64, samples: u64) -> bool {
        seconds >= MLPERF_SECONDS
            && match self {
                Self::SingleStream => queries >= MLPERF_QUERIES,
                Self::Offline => samples >= MLPERF_SAMPLES,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latency = Latency::of((1..=200).rev().map(|i| f64::from(i) / 1e3).collect());
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert_eq!(latency.count, 200);
        assert!(close(latency.p50_ms, 100.0) && close(latency.p90_ms, 180.0));
        assert!(close(latency.p99_ms, 198.0) && close(latency.max_ms, 200.0));
        assert!(close(latency.mean_ms, 100.5));
        let one = Latency::of(vec![0.25]);
        assert!(close(one.p50_ms, 250.0) && close(one.p99_ms, 250.0));
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn mlperf_asks_for_ten_minutes_and_enough_of_it() {
        assert!(Scenario::SingleStream.meets_mlperf(600.0, 1024, 1024));
        assert!(!Scenario::SingleStream.meets_mlperf(599.0, 9000, 9000));
        assert!(!Scenario::Offline.meets_mlperf(700.0, 9000, 24_575));
        assert!(Scenario::Offline.meets_mlperf(700.0, 1, 24_576));
    }
}
