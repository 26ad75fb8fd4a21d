//! What came of a run.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;
use serde_json::Value;
use sightline_core::Digest;
use sightline_store::{digest_file, write_atomic};

use super::Run;
use crate::checkpoint::Best;
use crate::log::total_speed;
use crate::{Error, Result};

/// Version of `record.json` and of what `--json` prints.
const SCHEMA: u32 = 1;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Version of this form: 1.
    pub schema: u32,
    /// Name of the run.
    pub train: String,
    /// Family of the model.
    pub family: String,
    /// Digest of `run.json`: settings, data, vocabulary, starts.
    pub settings: Digest,
    /// Digests of the data.
    pub data: BTreeMap<String, Digest>,
    /// Digests of the files in the model's folder but for weights: configuration, vocabulary, whole checkpoints that it holds.
    pub assets: BTreeMap<String, Digest>,
    /// Digests of the checkpoints that it began with, and of the teacher.
    pub start: BTreeMap<String, Digest>,
    /// Numbers of the model.
    pub parameters: u64,
    /// Steps of all stages.
    pub steps: u64,
    /// Samples that were taken, and left out because they were broken.
    pub samples: [u64; 2],
    /// The best measurement of the last stage that has one.
    pub best: Option<Best>,
    /// The last line of metrics.
    pub last: Value,
    /// Digest of the weights in `best`.
    pub weights: Digest,
    /// Version and commit of the program.
    pub tool: BTreeMap<&'static str, Option<String>>,
    /// How long it took; the only part that another run of the same settings does not repeat.
    pub time: Time,
}

/// How long a run took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Time {
    /// Of all steps.
    pub seconds: f64,
    /// Samples in a second.
    pub samples_per_second: f64,
    /// The share of the time in which steps waited for batches.
    pub waited_share: f64,
}

impl Run<'_> {
    /// Writes the record of a run that is complete, and gives it back.
    pub(super) fn record(&self) -> Result<Record> {
        let speed = total_speed(&self.folder.file("speed.jsonl"));
        let path = self.folder.file("metrics.jsonl");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let last = text.lines().rev().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            line.get("loss").is_some().then_some(line)
        });
        let [version, commit] = self.spec.tool.map(|part| part.map(str::to_owned));
        let file = self.stages[self.position.stage].objective.file();
        let weights = digest_file(self.folder.file("best").join(file))?.sha256;
        let record = Record {
            schema: SCHEMA,
            train: self.spec.plan.name.clone(),
            family: self.spec.plan.family.clone(),
            settings: digest_file(self.folder.file("run.json"))?.sha256,
            data: self.settings.data.clone(),
            assets: self.settings.assets.clone(),
            start: self.settings.start.clone(),
            parameters: self.parameters.iter().map(|p| p.values.len() as u64).sum(),
            steps: self.position.step,
            samples: [self.position.sample, self.position.left_out],
            // People count stages from 1, as the metrics do.
            best: self.position.best.map(|best| Best {
                stage: best.stage + 1,
                ..best
            }),
            last: last.unwrap_or_default(),
            weights,
            tool: BTreeMap::from([("version", version), ("commit", commit)]),
            time: Time {
                seconds: (speed.seconds * 1000.0).round() / 1000.0,
                samples_per_second: (speed.samples as f64 / speed.seconds.max(1e-9)).round(),
                waited_share: (1000.0 * speed.waited_seconds / speed.seconds.max(1e-9)).round()
                    / 1000.0,
            },
        };
        let path = self.folder.file("record.json");
        // The first one stays: a run that was done has nothing to add.
        if !path.is_file() {
            let mut text = serde_json::to_vec_pretty(&record)
                .map_err(|error| Error::io("write", &path)(error.into()))?;
            text.push(b'\n');
            write_atomic(&path, &text)?;
        }
        Ok(record)
    }
}
