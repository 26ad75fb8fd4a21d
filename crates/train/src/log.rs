//! What a run writes about itself: `metrics.jsonl`, which depends on nothing but settings and data, `speed.jsonl`, and the page made of the first.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sightline_manifest::TrainPlan;
use sightline_report::train_page::{Curve, Plot, TrainPage, train_page};
use sightline_store::write_atomic;

use crate::{Error, Result};

/// Appends lines of JSON to a file.
pub struct Lines {
    path: PathBuf,
    file: File,
}

impl Lines {
    /// The file at `path`, cut to its first `len_bytes` bytes: what was written after the checkpoint from which the run goes on is written again.
    pub fn open(path: &Path, len_bytes: Option<u64>) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(Error::io("open", path))?;
        let there = file.metadata().map_err(Error::io("read", path))?.len();
        if let Some(len) = len_bytes {
            if there < len {
                return Err(Error::Damaged {
                    path: path.to_owned(),
                    reason: format!("it has {there} bytes, the checkpoint was written after {len}"),
                });
            }
            file.set_len(len).map_err(Error::io("cut", path))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends a line.
    pub fn append(&mut self, line: &Value) -> Result<()> {
        let text = format!("{line}\n");
        self.file
            .write_all(text.as_bytes())
            .map_err(Error::io("write", &self.path))
    }

    /// Bytes of the file, flushed to the disk.
    pub fn flushed_len_bytes(&self) -> Result<u64> {
        self.file
            .sync_all()
            .and_then(|()| self.file.metadata())
            .map(|meta| meta.len())
            .map_err(Error::io("flush", &self.path))
    }
}

/// How fast the steps of a piece of the run were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// The last step.
    pub step: u64,
    /// Steps.
    pub steps: u64,
    /// Samples of them.
    pub samples: u64,
    /// How long they took, measurements on held-out samples and checkpoints aside.
    pub seconds: f64,
    /// How long of that they waited for batches.
    pub waited_seconds: f64,
}

/// The sum of all lines of `speed.jsonl`. Lines that were cut short are left out.
pub fn total_speed(path: &Path) -> Speed {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines.fold(Speed::default(), |sum, line: Speed| Speed {
        step: line.step.max(sum.step),
        steps: sum.steps + line.steps,
        samples: sum.samples + line.samples,
        seconds: sum.seconds + line.seconds,
        waited_seconds: sum.waited_seconds + line.waited_seconds,
    })
}

/// Writes the page of the lines of `metrics` to `to`.
pub fn write_page(plan: &TrainPlan, metrics: &Path, to: &Path, steps: u64) -> Result<()> {
    let text = fs::read_to_string(metrics).map_err(Error::io("read", metrics))?;
    let lines: Vec<Map<String, Value>> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let number = |line: &Map<String, Value>, pointer: &str| {
        let value = Value::Object(line.clone());
        value.pointer(pointer).and_then(Value::as_f64)
    };
    let curve = |name: &str, pointer: &str, is_dotted| {
        let points = lines
            .iter()
            .filter_map(|line| Some((number(line, "/step")?, number(line, pointer)?)));
        Curve {
            name: name.to_owned(),
            points: points.collect(),
            is_dotted,
        }
    };
    let ends: Vec<f64> = lines
        .windows(2)
        .filter(|pair| pair[0].get("stage") != pair[1].get("stage"))
        .filter_map(|pair| number(&pair[0], "/step"))
        .collect();
    let plot = |title: &str, is_logarithmic, curves| Plot {
        title: title.to_owned(),
        is_logarithmic,
        curves,
        ends: ends.clone(),
    };
    let mut names: Vec<String> = Vec::new();
    for line in &lines {
        for name in line
            .get("terms")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::keys)
        {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let losses = vec![
        curve("training, mean of the steps before", "/loss", false),
        curve("held out", "/held_out/loss", true),
    ];
    let losses = losses.into_iter().filter(|curve| !curve.points.is_empty());
    let losses: Vec<Curve> = losses.collect();
    // Losses fall by orders of magnitude, and what happens at the end is what people look for. Rewards may be below zero.
    let falls = |curves: &[Curve]| {
        let mut points = curves.iter().flat_map(|curve| &curve.points);
        points.all(|(_, value)| *value > 0.0)
    };
    let mut plots = vec![plot("Loss", falls(&losses), losses)];
    if names.len() > 1 {
        let terms = names
            .iter()
            .map(|name| curve(name, &format!("/terms/{name}"), false));
        let terms: Vec<Curve> = terms.collect();
        plots.push(plot("Terms of the loss", falls(&terms), terms));
    }
    plots.push(plot(
        "Learning rate",
        false,
        vec![curve("learning rate", "/lr", false)],
    ));
    let gradient = vec![curve("before it is cut", "/gradient", false)];
    plots.push(plot("Length of the gradient", true, gradient));

    let best = lines.iter().filter_map(|line| {
        let is_best = line.get("is_best").and_then(Value::as_bool)?;
        is_best.then(|| number(line, "/held_out/loss")).flatten()
    });
    let mut facts = vec![("family", plan.family.clone())];
    let objectives: Vec<&str> = plan.stages.iter().map(|s| s.objective.as_str()).collect();
    facts.push(("objective", objectives.join(", then ")));
    let done = lines.last().and_then(|line| number(line, "/step"));
    facts.push(("steps", format!("{} of {steps}", done.unwrap_or(0.0))));
    if let Some(best) = best.reduce(|_, later| later) {
        facts.push(("best held-out loss", format!("{best:.4}")));
    }
    let page = train_page(&TrainPage {
        version: env!("CARGO_PKG_VERSION"),
        name: &plan.name,
        description: &plan.description,
        facts,
        plots,
    })?;
    Ok(write_atomic(to, page.as_bytes())?)
}

/// A line about steps.
pub fn steps_line(step: u64, stage: usize, fields: Value) -> Value {
    let mut line = json!({ "step": step, "stage": stage + 1 });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}
