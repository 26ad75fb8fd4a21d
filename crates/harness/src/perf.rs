//! Performance mode: how fast a model answers, apart from what it answers.
//!
//! Samples are read and prepared before and kept in memory; queries are then drawn from them with replacement, from a
//! seed. Nothing is written while it measures, and no answer is kept: what is timed is what a run asks of the model, with
//! the same code between task and model. Scenarios are those of `MLPerf` Inference.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use sightline_core::seed::Rng;
use sightline_core::{Digest, Progress};
use sightline_manifest::{Lock, Plan, PlannedTask, Roots};
use sightline_models::device::describe;
use sightline_report::performance::{
    Energy, FOLDER, Latency, Measured, Performance, Preparation, SCHEMA, Scenario, Settings,
};

use crate::batches::{AHEAD, Feed};
use crate::beside::Beside;
use crate::dataset::Dataset;
use crate::execute::{At, Options, Run};
use crate::measure::peak_memory;
use crate::models::{Loaded, Planned};
use crate::predictions::Outcome;
use crate::task::{self, Predictor, Work};
use crate::{Error, Result, environment};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Measure {
    /// How queries are made.
    pub scenario: Scenario,
    /// Queries that are not counted.
    pub warm_up: Duration,
    /// Time of those that are, at least.
    pub duration: Duration,
    /// Their number, at least.
    pub queries: u64,
    /// Samples in memory, at most.
    pub samples: u64,
}

/// Measures every model of `plan` at every task and writes a record of each; `told` hears of each with its file.
#[expect(
    clippy::too_many_arguments,
    reason = "what a run takes, and what to measure"
)]
pub fn measure(
    plan: &Plan,
    lock: &Lock,
    roots: &Roots,
    options: &Options,
    measure: &Measure,
    progress: &dyn Progress,
    stop: &AtomicBool,
    mut told: impl FnMut(&Performance, &Path),
) -> Result<()> {
    let run = Run::new(plan, lock, roots, options, progress, stop);
    for task in &plan.tasks {
        for name in &task.models {
            let planned = Planned::find(plan, roots, name, &task.name)?;
            // The samples wait in the host's memory.
            let loaded = planned.load(lock, &options.device, None)?;
            let measured = run.measure(planned, task, &loaded, measure)?;
            let record = record(planned, task, lock, options, measure, measured)?;
            let path = write(&options.records, &record)?;
            told(&record, &path);
        }
    }
    Ok(())
}

impl Run<'_> {
    fn measure(
        &self,
        planned: Planned<'_>,
        task: &PlannedTask,
        loaded: &Loaded,
        measure: &Measure,
    ) -> Result<Measured> {
        let kind = task::task(&task.kind)?;
        let dataset = Dataset::open(self.plan, self.lock, self.roots, task)?;
        let way = planned.way(kind, &task.name, &self.lock.adapters)?;
        let header = self.header(planned, task)?;
        let at = At {
            planned,
            task,
            path: Path::new(""),
            relative: "",
            header: &header,
        };
        let beside = self.beside(at, loaded, &self.options.device, &dataset)?;
        let setting = self.setting(at, loaded, &dataset, way, &beside)?;
        let begun = Instant::now();
        let works = self.samples(at, loaded, &dataset, &beside, measure.samples)?;
        let preparation = Preparation {
            samples: works.len() as u64,
            seconds: begun.elapsed().as_secs_f64(),
        };
        if works.is_empty() {
            return Err(Error::NothingToMeasure {
                task: task.name.clone(),
            });
        }
        let forward = self.forward(at, loaded, &dataset, &self.options.device);
        let mut predictor = kind.predictor(forward, way, &setting)?;
        let mut queries = Queries {
            works: &works,
            size: match measure.scenario {
                Scenario::SingleStream => 1,
                Scenario::Offline => task.batch_size.max(1),
            },
            rng: self.plan.seed.child("performance", 0).rng(),
            stop: self.stop,
        };
        self.progress.start("warming up", None);
        queries.ask(predictor.as_mut(), measure.warm_up, 0, self.progress)?;
        self.progress.start("samples", None);
        let before = energy();
        let begun = Instant::now();
        let (seconds, failed) = queries.ask(
            predictor.as_mut(),
            measure.duration,
            measure.queries,
            self.progress,
        )?;
        let elapsed = begun.elapsed().as_secs_f64();
        let energy = used(before, energy());
        self.progress.finish();
        let count = seconds.len() as u64;
        let samples = count * queries.size as u64;
        Ok(Measured {
            queries: count,
            samples,
            failed,
            seconds: elapsed,
            samples_per_second: samples as f64 / elapsed,
            latency: Latency::of(seconds),
            preparation,
            peak_memory_bytes: peak_memory(),
            energy,
            meets_mlperf: measure.scenario.meets_mlperf(elapsed, count, samples),
        })
    }

    /// The first samples of a task that a model can be asked about, prepared.
    fn samples(
        &self,
        at: At<'_>,
        loaded: &Loaded,
        dataset: &Dataset,
        beside: &Beside<'_>,
        most: u64,
    ) -> Result<Vec<Work>> {
        let library = dataset.library(loaded.model.input())?;
        let feed = Feed {
            dataset,
            task: task::task(&at.task.kind)?,
            library: &library,
            preparer: &loaded.preparer,
            model: at.planned.name,
            batch_size: at.task.batch_size.max(1),
            limit: Some(at.task.limit.unwrap_or(u64::MAX).min(most)),
            part: None,
            known: &HashMap::new(),
            cache: None,
            done: &[],
            path: at.path,
            shown: beside.shown.as_ref(),
            stop: self.stop,
        };
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let feed = &feed;
            let reader = scope.spawn(move || feed.run(&sender));
            let items = receiver.into_iter().flat_map(|batch| batch.items);
            let works = items.filter_map(|item| item.work.ok()).collect();
            match reader.join() {
                Ok(read) => read.map(|_| works),
                Err(panicked) => std::panic::resume_unwind(panicked),
            }
        })
    }
}

/// Queries about samples in memory.
struct Queries<'a> {
    works: &'a [Work],
    /// Samples of a query.
    size: usize,
    rng: Rng,
    stop: &'a AtomicBool,
}

impl Queries<'_> {
    /// Asks for so long and so often at least. Returns the time of each query in seconds, and how many samples failed.
    fn ask(
        &mut self,
        predictor: &mut dyn Predictor,
        duration: Duration,
        least: u64,
        progress: &dyn Progress,
    ) -> Result<(Vec<f64>, u64)> {
        let begun = Instant::now();
        let (mut seconds, mut failed) = (Vec::new(), 0);
        while begun.elapsed() < duration || (seconds.len() as u64) < least {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let draw = |_| self.works[self.rng.below(self.works.len() as u64) as usize].clone();
            let query: Vec<Work> = (0..self.size).map(draw).collect();
            let asked = Instant::now();
            let outcomes = predictor.predict(query)?;
            seconds.push(asked.elapsed().as_secs_f64());
            let is_failed = |outcome: &&Outcome| !matches!(outcome, Outcome::Predicted(_));
            failed += outcomes.iter().filter(is_failed).count() as u64;
            progress.advance(self.size as u64);
        }
        Ok((seconds, failed))
    }
}

fn record(
    planned: Planned<'_>,
    task: &PlannedTask,
    lock: &Lock,
    options: &Options,
    measure: &Measure,
    measured: Measured,
) -> Result<Performance> {
    let outside = planned.model.outside.is_some();
    Ok(Performance {
        schema: SCHEMA,
        kind: FOLDER.to_owned(),
        suite: planned.plan.suite.clone(),
        model: planned.name.to_owned(),
        task: task.name.clone(),
        created: environment::now(),
        tool: options.tool.clone(),
        machine: environment::machine(&describe(&options.device)),
        command: options.command.clone(),
        lock: lock.digest()?,
        settings: Settings {
            scenario: measure.scenario,
            warm_up_seconds: measure.warm_up.as_secs_f64(),
            seconds: measure.duration.as_secs_f64(),
            queries: measure.queries,
            batch_size: match measure.scenario {
                Scenario::SingleStream => 1,
                Scenario::Offline => task.batch_size.max(1),
            },
            samples: measure.samples,
            seed: planned.plan.seed.0,
            untimed: if outside {
                "reading images; the memory of the program outside is not counted"
            } else {
                "reading, decoding and preparing images"
            }
            .to_owned(),
            threads: rayon::current_num_threads(),
        },
        measured,
    })
}

/// Writes a record under a name of its date and digest.
fn write(records: &Path, record: &Performance) -> Result<PathBuf> {
    let folder = records.join(&record.suite).join(&record.model).join(FOLDER);
    fs::create_dir_all(&folder).map_err(|source| Error::Io {
        path: folder.clone(),
        source,
    })?;
    let mut value = serde_json::to_value(record)?;
    value.sort_all_objects();
    let id = Digest::of_json(&value)?;
    let mut text = serde_json::to_string_pretty(&value)?;
    text.push('\n');
    let path = folder.join(format!("{}-{}.json", &record.created[..10], id.short()));
    sightline_store::write_atomic(&path, text.as_bytes())?;
    Ok(path)
}

/// Counters of the processor packages in microjoules, with where each begins again.
type Counters = std::result::Result<Vec<(u64, u64)>, String>;

fn energy() -> Counters {
    energy_in(Path::new("/sys/class/powercap"))
}

fn energy_in(folder: &Path) -> Counters {
    let entries = fs::read_dir(folder).map_err(|e| format!("no counters of energy: {e}"))?;
    let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let mut counters = Vec::new();
    for zone in names {
        let name = zone
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Packages only: their parts (`intel-rapl:0:0`) are counted in them.
        if !name.starts_with("intel-rapl:") || name.matches(':').count() != 1 {
            continue;
        }
        let read = |file: &str| {
            let path = zone.join(file);
            let text = fs::read_to_string(&path);
            let text = text.map_err(|e| format!("`{}` cannot be read: {e}", path.display()))?;
            let number = text.trim().parse::<u64>();
            number.map_err(|_| format!("`{}` holds no number", path.display()))
        };
        counters.push((read("energy_uj")?, read("max_energy_range_uj")?));
    }
    if counters.is_empty() {
        return Err("the system has no counters of energy".to_owned());
    }
    Ok(counters)
}

/// The energy between two readings, each counter having begun again once at most.
fn used(before: Counters, after: Counters) -> Energy {
    let (before, after) = match (before, after) {
        (Ok(before), Ok(after)) if before.len() == after.len() => (before, after),
        (Err(why), _) | (_, Err(why)) => return Energy::Unknown(why),
        _ => return Energy::Unknown("the counters of energy changed".to_owned()),
    };
    let each = before.iter().zip(&after);
    let microjoules: f64 = each
        .map(|(&(from, range), &(to, _))| {
            if to >= from {
                (to - from) as f64
            } else {
                range.saturating_sub(from) as f64 + to as f64
            }
        })
        .sum();
    Energy::Joules(microjoules / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_that_of_all_packages_and_counters_begin_again() {
        let dir = tempfile::tempdir().unwrap();
        let zone = |name: &str, energy: u64| {
            let folder = dir.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("energy_uj"), format!("{energy}\n")).unwrap();
            fs::write(folder.join("max_energy_range_uj"), "10000000\n").unwrap();
        };
        zone("intel-rapl:0", 1_000_000);
        zone("intel-rapl:1", 9_500_000);
        zone("intel-rapl:0:0", 7);
        let before = energy_in(dir.path());
        zone("intel-rapl:0", 2_500_000);
        zone("intel-rapl:1", 1_000_000);
        let after = energy_in(dir.path());
        assert_eq!(used(before, after.clone()), Energy::Joules(3.0));
        let nothing = energy_in(&dir.path().join("none"));
        assert!(
            matches!(used(nothing, after), Energy::Unknown(why) if why.starts_with("no counters"))
        );
    }
}
