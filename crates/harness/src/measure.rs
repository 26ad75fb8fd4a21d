//! What a task costs, measured while it runs, and how large its model is.
//!
//! Nothing here is part of what `verify` compares: it is the same outcome however long it took. Batches are timed around
//! the model alone; reading and preparing images happens on other threads, and shows where the model has to wait for it. For figures
//! to compare machines by, with warm-up and a fixed duration, a run is the wrong place.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use sightline_manifest::{Lock, PaperTarget, PlannedTask};
use sightline_report::record::{Cost, ModelSize, Quantiles, Target};

use crate::Result;
use crate::models::Planned;

/// Role of a file of weights in a lock.
const WEIGHTS: &str = "weights";
/// Longest header of a safetensors file in bytes, as its readers have it.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// What papers print of a share: hundredths.
const PRINTED: f64 = 100.0;

/// The times of a task's batches.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    batches: Vec<f64>,
    samples: Vec<f64>,
    ready: f64,
}

impl Meter {
    /// Does the `work` of a batch of `samples` and keeps how long it took. A batch of none is not counted.
    pub(crate) fn batch<T>(&mut self, samples: usize, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        let seconds = start.elapsed().as_secs_f64();
        if samples > 0 {
            self.batches.push(seconds);
            self.samples.push(seconds / samples as f64);
        }
        done
    }

    /// Makes a model ready for a task, and adds how long it took.
    pub(crate) fn ready<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = work();
        self.ready += start.elapsed().as_secs_f64();
        done
    }

    /// What the task cost, with batches of at most `batch_size`; `None` if the model did nothing.
    pub(crate) fn cost(self, batch_size: usize) -> Option<Cost> {
        Some(Cost {
            batch_size: batch_size as u64,
            batches: self.batches.len() as u64,
            model_seconds: Some(self.ready + self.batches.iter().sum::<f64>()),
            beside_seconds: None,
            batch_seconds: quantiles(self.batches)?,
            sample_seconds: quantiles(self.samples)?,
            peak_memory_bytes: peak_memory(),
            decoded: None,
        })
    }
}

/// `cost` with what of the task's `seconds` the model did not take.
pub(crate) fn beside(cost: Cost, seconds: f64) -> Cost {
    let model = cost.model_seconds;
    Cost {
        beside_seconds: model.map(|model| (seconds - model).max(0.0)),
        ..cost
    }
}

/// Nearest-rank quantiles: values that occurred. `None` of nothing.
fn quantiles(mut values: Vec<f64>) -> Option<Quantiles> {
    values.sort_by(f64::total_cmp);
    let at = |hundredths: usize| {
        let rank = (values.len() * hundredths).div_ceil(100);
        values.get(rank.max(1) - 1).copied()
    };
    Some(Quantiles {
        p50: at(50)?,
        p90: at(90)?,
    })
}

/// The most memory that this process has had resident so far, where the system tells (Linux: `VmHWM`).
pub(crate) fn peak_memory() -> Option<u64> {
    high_water_mark(&fs::read_to_string("/proc/self/status").ok()?)
}

fn high_water_mark(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// How large a model is by its files; `None` for one that reads no weights.
pub(crate) fn size(planned: Planned<'_>, lock: &Lock) -> Result<Option<ModelSize>> {
    let owner = planned.owner();
    let own = lock
        .files
        .iter()
        .filter(|file| file.owner == owner && file.role == WEIGHTS);
    let weights: Vec<_> = own.collect();
    if weights.is_empty() {
        return Ok(None);
    }
    let files = planned.files()?;
    let paths = files.iter().filter(|file| file.role == WEIGHTS);
    // One file that does not tell leaves the sum unknown.
    let parameters = paths.map(|file| parameters(&file.path)).sum();
    Ok(Some(ModelSize {
        parameters,
        weights_bytes: weights.iter().map(|file| file.bytes).sum(),
    }))
}

/// Floating point numbers in a safetensors file; `None` of any other file.
fn parameters(path: &Path) -> Option<u64> {
    if path.extension()? != "safetensors" {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return None;
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header).ok()?;
    let header: Value = serde_json::from_slice(&header).ok()?;
    let mut total: u64 = 0;
    for (name, tensor) in header.as_object()? {
        let kind = tensor.get("dtype").and_then(Value::as_str);
        if name == "__metadata__" || !kind.is_some_and(|kind| kind.contains('F')) {
            continue;
        }
        let shape = tensor.get("shape")?.as_array()?.iter();
        let elements = shape
            .map(Value::as_u64)
            .try_fold(1_u64, |product, n| product.checked_mul(n?));
        total = total.checked_add(elements?)?;
    }
    Some(total)
}

/// What others report of a model that `task` measures too, in the unit of its metrics. Values that nobody has looked up
/// are not among them.
pub(crate) fn targets(all: &[PaperTarget], task: &PlannedTask, shots: Option<u32>) -> Vec<Target> {
    let is_it = |target: &&PaperTarget| {
        target.verified
            && target.compare.as_ref().is_some_and(|here| {
                here.kind == task.kind
                    && here.dataset == task.dataset
                    && here.shots == shots
                    && task.limit.is_none()
                    && task.metrics.contains(&here.metric)
            })
    };
    all.iter()
        .filter(is_it)
        .filter_map(|target| {
            Some(Target {
                metric: target.compare.as_ref()?.metric.clone(),
                value: target.value / PRINTED,
                source: target.source.clone(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let of = |values: &[f64]| quantiles(values.to_vec()).map(|q| (q.p50, q.p90));
        assert_eq!(of(&hundred), Some((50.0, 90.0)));
        assert_eq!(of(&[3.0]), Some((3.0, 3.0)));
        assert_eq!(of(&[2.0, 1.0]), Some((1.0, 2.0)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn batches_without_samples_are_not_counted() {
        let mut meter = Meter::default();
        assert_eq!(meter.batch(0, || 5), 5);
        meter.batch(4, || ());
        let cost = meter.cost(8).unwrap();
        assert_eq!((cost.batches, cost.batch_size), (1, 8));
        assert!(cost.sample_seconds.p50 <= cost.batch_seconds.p50);
        assert!(cost.model_seconds.unwrap() >= cost.batch_seconds.p50);
        assert!(Meter::default().cost(8).is_none());
    }

    #[test]
    fn the_peak_is_that_of_the_status_file() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t   1234 kB\n";
        assert_eq!(high_water_mark(status), Some(1234 * 1024));
        assert_eq!(high_water_mark("VmHWM: many kB"), None);
        assert_eq!(high_water_mark(""), None);
    }

    #[test]
    fn floating_point_numbers_of_safetensors_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let header = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},"ids":{"dtype":"I64","shape":[7],"data_offsets":[12,68]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(parameters(&path), Some(6));
        fs::write(&path, &bytes[..20]).unwrap();
        assert_eq!(parameters(&path), None);
        assert_eq!(parameters(Path::new("weights.pth")), None);
    }
}
