//! Running a plan: every model at every task, from shards to records.
//!
//! For each model and task: shards are read and pixels prepared on other threads, a bounded number of
//! batches ahead of the model; predictions are appended in the order of the dataset; when all are there,
//! scores are computed from the file and the annotations. A model with scores for all its tasks gets a record.
//!
//! What is there already is taken up: a whole predictions file is scored without loading the model, a part of
//! one is continued, and a record with the same outcome is not written twice. Predictions are found again by
//! the digest of what they were made from, so that a change to one model, dataset or prompt throws away no
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use candle_core::Device;
use serde_json::json;
use sightline_core::{Digest, Progress, SampleKey};
use sightline_manifest::{Lock, LockedFile, Plan, PlannedTask, Roots};
use sightline_metrics::Resources;
use sightline_models::{Capability, Way};
use sightline_report::record::{Asked, Predictions, Record, TaskOutcome, Throughput, Tool};
use sightline_report::{Stored, read_records, write_record};

use crate::batches::{AHEAD, Batch, Feed};
use crate::dataset::{CLASSES, Dataset, owner};
use crate::demonstrations::{Demonstrations, Embedded};
use crate::example::{Truth, read_truth};
use crate::forward::Forward;
use crate::models::{Loaded, Planned};
use crate::predictions::{self, Header, Line, Outcome, Reader, Writer};
use crate::recording::{record_of, same_outcome};
use crate::score::score;
use crate::task::{self, ClassUse, Predictor, Setting, Task, Work, decoding};
use crate::training::Training;
use crate::{Error, Result};

/// Folder of the predictions below that of a model.
const PREDICTIONS: &str = "predictions";
/// Folder of the features of training images below that of a model.
const FEATURES: &str = "features";
/// The metric that scores with tables of its own.
const METEOR: &str = "meteor";

/// Where a run writes, and what it says about itself in its records.
#[derive(Clone, Debug)]
pub struct Options {
    /// The records folder.
    pub records: PathBuf,
    /// The program.
    pub tool: Tool,
    /// The command that makes the records again, argument by argument.
    pub command: Vec<String>,
    /// Tables that some metrics need.
    pub resources: Resources,
    /// Where the models are computed.
    pub device: Device,
}

impl Options {
    /// Records go to `records`; the program is this library's version, run by no command.
    pub fn new(records: impl Into<PathBuf>) -> Self {
        Self {
            records: records.into(),
            tool: Tool {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: None,
            },
            command: Vec::new(),
            resources: Resources::default(),
            device: Device::Cpu,
        }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct RunOutcome {
    /// Models in the order of their first task; those after a stop are missing.
    pub models: Vec<ModelOutcome>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

impl RunOutcome {
    /// Whether every model has its record.
    pub fn is_complete(&self) -> bool {
        let recorded = |model: &ModelOutcome| matches!(model.state, State::Recorded { .. });
        !self.stopped && self.models.iter().all(recorded)
    }
}

/// What a model came to.
#[derive(Debug)]
pub struct ModelOutcome {
    /// Its name.
    pub model: String,
    /// What it came to.
    pub state: State,
}

/// What a model came to.
#[derive(Debug)]
pub enum State {
    /// All tasks are scored.
    Recorded {
        /// The record.
        record: Box<Record>,
        /// Its file.
        path: PathBuf,
        /// Whether this run wrote it; else it was there with the same outcome.
        is_new: bool,
    },
    /// Some tasks could not be finished. The predictions made are kept; there is no record.
    Incomplete {
        /// Those tasks.
        tasks: Vec<Incomplete>,
    },
    /// The run was stopped. The predictions made are kept.
    Stopped,
}

/// A task that could not be finished.
#[derive(Debug)]
pub struct Incomplete {
    /// Its name.
    pub task: String,
    /// Why not: the shard, and how many whole samples it has.
    pub error: Error,
}

/// Runs `plan` on the files of `lock`, until the end or until `stop` is set.
///
/// A shard that cannot be read to its end leaves its model incomplete, and the run goes on; anything else
/// that is wrong with a plan, its files or a model ends the run.
pub fn run(
    plan: &Plan,
    lock: &Lock,
    roots: &Roots,
    options: &Options,
    progress: &dyn Progress,
    stop: &AtomicBool,
) -> Result<RunOutcome> {
    if lock.plan != plan.digest()? {
        return Err(Error::OtherPlan {
            locked: lock.suite.clone(),
            planned: plan.suite.clone(),
        });
    }
    check_tables(plan, &options.resources)?;
    std::fs::create_dir_all(&options.records).map_err(|source| Error::Io {
        path: options.records.clone(),
        source,
    })?;
    // Read before hours of work, so that a damaged record is told now.
    let existing = read_records(&options.records)?;
    let mut run = Run {
        plan,
        lock,
        roots,
        options,
        progress,
        stop,
        existing,
        lengths: BTreeMap::new(),
    };
    let mut outcome = RunOutcome {
        models: Vec::new(),
        stopped: false,
    };
    let mut seen = BTreeSet::new();
    for task in &plan.tasks {
        for name in &task.models {
            if !seen.insert(name) {
                continue;
            }
            let state = run.model(Planned::find(plan, roots, name, &task.name)?)?;
            outcome.stopped = matches!(state, State::Stopped);
            outcome.models.push(ModelOutcome {
                model: name.clone(),
                state,
            });
            if outcome.stopped {
                return Ok(outcome);
            }
        }
    }
    Ok(outcome)
}

/// Checks before hours of work that every metric will have its tables.
fn check_tables(plan: &Plan, resources: &Resources) -> Result<()> {
    for task in &plan.tasks {
        if resources.meteor.is_none() && task.metrics.iter().any(|id| id == METEOR) {
            return Err(Error::NoTables {
                task: task.name.clone(),
                metric: METEOR.to_owned(),
            });
        }
    }
    Ok(())
}

struct Run<'a> {
    plan: &'a Plan,
    lock: &'a Lock,
    roots: &'a Roots,
    options: &'a Options,
    progress: &'a dyn Progress,
    stop: &'a AtomicBool,
    existing: Vec<Stored>,
    /// Samples of the datasets read so far, by name and limit.
    lengths: BTreeMap<(String, Option<u64>), u64>,
}

/// How the predictions of a task ended.
enum Predicted {
    /// Every sample has its line.
    Whole(Truth, Throughput),
    /// The run was stopped before.
    Stopped,
}

impl Run<'_> {
    fn model(&mut self, planned: Planned<'_>) -> Result<State> {
        let device = self.options.device.clone();
        let mut loaded = None;
        let mut outcomes = Vec::new();
        let mut incomplete = Vec::new();
        let plan = self.plan;
        let own = |task: &&PlannedTask| task.models.iter().any(|name| name == planned.name);
        for task in plan.tasks.iter().filter(own) {
            tracing::info!(model = planned.name, task = task.name, "task begins");
            let header = self.header(planned, task)?;
            let relative = format!(
                "{}/{}/{PREDICTIONS}/{}/{}.jsonl",
                plan.suite,
                planned.name,
                header.inputs.short(),
                task.name
            );
            let path = self.options.records.join(&relative);
            let predicted = if path.is_file() {
                let truth = read_truth(plan, self.lock, self.roots, task);
                truth.map(|truth| Predicted::Whole(truth, Throughput::default()))
            } else {
                if loaded.is_none() {
                    loaded = Some(planned.load(self.lock, &device)?);
                }
                let Some(loaded) = &loaded else { continue };
                self.predict(planned, task, loaded, &device, &path, &header)
            };
            let (truth, throughput) = match predicted {
                Ok(Predicted::Whole(truth, throughput)) => (truth, throughput),
                Ok(Predicted::Stopped) => return Ok(State::Stopped),
                Err(error @ Error::Shard { .. }) => {
                    incomplete.push(Incomplete {
                        task: task.name.clone(),
                        error,
                    });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let length = truth.examples.len() as u64;
            self.lengths
                .insert((task.dataset.clone(), task.limit), length);
            let reader = Reader::open(&path, &header)?;
            let asked = reader.asked().cloned();
            let scored = score(plan, task, reader, &truth, &self.options.resources)?;
            outcomes.push(TaskOutcome {
                task: task.name.clone(),
                kind: task.kind.clone(),
                dataset: task.dataset.clone(),
                protocol: plan.protocol(task)?,
                counts: scored.counts,
                reasons: scored.reasons,
                predictions: Predictions {
                    path: relative,
                    lines: scored.lines,
                    sha256: scored.sha256,
                },
                scores: scored.scores,
                asked,
                pixel_deviation: planned.deviation(self.lock, task)?,
                throughput,
            });
        }
        if !incomplete.is_empty() {
            return Ok(State::Incomplete { tasks: incomplete });
        }
        self.record(planned, outcomes)
    }

    /// What the predictions of a model at a task are made from.
    fn header(&self, planned: Planned<'_>, task: &PlannedTask) -> Result<Header> {
        let reads_classes = task::task(&task.kind)?.classes() != ClassUse::No;
        let mut owners = vec![planned.owner(), owner(&task.dataset)];
        owners.extend(task.other_datasets().map(|name| owner(name)));
        if let Some(name) = task.chooser() {
            owners.push(Planned::find(self.plan, self.roots, name, &task.name)?.owner());
        }
        let mut files: Vec<&LockedFile> = self
            .lock
            .files
            .iter()
            .filter(|file| owners.contains(&file.owner))
            .filter(|file| reads_classes || file.role != CLASSES)
            .collect();
        files.sort();
        let mut inputs = json!({
            "schema": predictions::SCHEMA,
            "numerics": predictions::NUMERICS,
            "tool": self.options.tool.version,
            "protocol": self.plan.protocol(task)?,
            "family": planned.model.family,
            "tokenizer": planned.model.tokenizer,
            "pixels": planned.model.pixels,
            "files": files,
        });
        if let Some(weights) = &planned.model.weights {
            inputs["weights"] = weights.as_str().into();
        }
        if !self.options.device.is_cpu() {
            // A GPU's sums have another order: what it predicted is not continued on a CPU, nor the other way.
            inputs["device"] = "cuda".into();
        }
        let inputs = Digest::of_json(&inputs)?;
        Ok(Header {
            schema: predictions::SCHEMA,
            suite: self.plan.suite.clone(),
            model: planned.name.to_owned(),
            task: task.name.clone(),
            kind: task.kind.clone(),
            inputs,
            asked: None,
        })
    }

    /// Makes the predictions that the file `path` lacks.
    fn predict(
        &self,
        planned: Planned<'_>,
        task: &PlannedTask,
        loaded: &Loaded,
        device: &Device,
        path: &Path,
        header: &Header,
    ) -> Result<Predicted> {
        let kind = task::task(&task.kind)?;
        let name = planned.name;
        let dataset = Dataset::open(self.plan, self.lock, self.roots, task)?;
        let library = dataset.library(loaded.model.input())?;
        let way = planned.way(kind, &task.name)?;
        let training = self.training(planned, task, loaded, device)?;
        let shown = self.demonstrations(task, kind, loaded, device, &dataset)?;
        let setting = Setting {
            classes: &dataset.classes.names,
            templates: &task.templates,
            decoding: writes(way)
                .then(|| Some(decoding::of(task.decode.as_ref(), loaded.model.generate()?)))
                .flatten(),
            prompt: task
                .prompt
                .clone()
                .unwrap_or_else(|| kind.prompt().to_owned()),
            seed: self.plan.seed.child(&task.name, 0).child("generate", 0),
            training: training.as_ref(),
            task,
        };
        let header = &Header {
            asked: asked(kind, way, &setting),
            ..header.clone()
        };
        let mut writer = Writer::open(path, header)?;
        let done = std::mem::take(&mut writer.found);
        let length = self.lengths.get(&(task.dataset.clone(), task.limit));

        let start = Instant::now();
        let feed = Feed {
            dataset: &dataset,
            task: kind,
            library: &library,
            preparer: &loaded.preparer,
            model: name,
            batch_size: task.batch_size.max(1),
            limit: task.limit,
            done: &done,
            path,
            shown: shown.as_ref(),
            stop: self.stop,
        };
        let begin = || {
            let forward = Forward {
                name,
                task: &task.name,
                dataset: &dataset.name,
                model: loaded.model.as_ref(),
                preparer: &loaded.preparer,
                device,
                progress: self.progress,
                stop: self.stop,
            };
            let predictor = kind.predictor(forward, way, &setting)?;
            self.progress.start("samples", length.copied());
            self.progress.message(&format!("{name}: {}", task.name));
            self.progress.advance(done.len() as u64);
            Ok(predictor)
        };
        let ended = self.consume(&feed, begin, &mut writer);
        self.progress.finish();
        let (truth, samples) = match ended {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Error::Stopped) => return Ok(Predicted::Stopped),
            Err(error) => return Err(error),
        };
        writer.finish()?;
        let throughput = Throughput {
            seconds: start.elapsed().as_secs_f64(),
            samples,
        };
        Ok(Predicted::Whole(truth, throughput))
    }

    /// What a task learns from.
    fn training<'l>(
        &'l self,
        planned: Planned<'l>,
        task: &PlannedTask,
        loaded: &'l Loaded,
        device: &Device,
    ) -> Result<Option<Training<'l>>> {
        let Some(name) = &task.train else {
            return Ok(None);
        };
        let dataset = Dataset::open_beside(self.plan, self.lock, self.roots, task, name)?;
        let library = dataset.library(loaded.model.input())?;
        let folder = format!("{}/{}/{FEATURES}", self.plan.suite, planned.name);
        Ok(Some(Training {
            inputs: self.features_of(planned, name, device)?,
            dataset,
            library,
            preparer: &loaded.preparer,
            model: planned.name,
            batch_size: task.batch_size.max(1),
            folder: self.options.records.join(folder),
            progress: self.progress,
            stop: self.stop,
        }))
    }

    /// What features of a dataset's images are made from.
    fn features_of(&self, planned: Planned<'_>, dataset: &str, device: &Device) -> Result<Digest> {
        let owners = [planned.owner(), owner(dataset)];
        let files = self.lock.files.iter();
        let mut files: Vec<&LockedFile> =
            files.filter(|file| owners.contains(&file.owner)).collect();
        files.sort();
        Ok(Digest::of_json(&json!({
            "what": FEATURES,
            "numerics": predictions::NUMERICS,
            "tool": self.options.tool.version,
            "model": planned.model,
            "seed": self.plan.seed,
            "dataset": self.plan.datasets.get(dataset),
            "cpu": device.is_cpu(),
            "files": files,
        }))?)
    }

    /// What stands before each question.
    fn demonstrations(
        &self,
        task: &PlannedTask,
        kind: &dyn Task,
        loaded: &Loaded,
        device: &Device,
        questions: &Dataset,
    ) -> Result<Option<Demonstrations>> {
        let Some(planned) = &task.demonstrations else {
            return Ok(None);
        };
        let dataset =
            Dataset::open_beside(self.plan, self.lock, self.roots, task, &planned.dataset)?;
        let library = dataset.library(loaded.model.input())?;
        // The same for every model, and for every number of shots.
        let seed = self
            .plan
            .seed
            .child("demonstrations", 0)
            .child(&planned.dataset, 0);
        let embedded = match &planned.by {
            Some(name) => {
                let chooser = Planned::find(self.plan, self.roots, name, &task.name)?;
                let own = chooser.load(self.lock, device)?;
                let embed = |dataset: &Dataset, limit| {
                    self.embedded(chooser, &own, task, kind, device, (dataset, limit))
                };
                Some((embed(&dataset, None)?, embed(questions, task.limit)?))
            }
            None => None,
        };
        Demonstrations::read(planned, kind, &dataset, library, seed, embedded).map(Some)
    }

    /// The embeddings of a dataset's images; those that cannot be prepared have none.
    fn embedded(
        &self,
        chooser: Planned<'_>,
        loaded: &Loaded,
        task: &PlannedTask,
        kind: &dyn Task,
        device: &Device,
        (dataset, limit): (&Dataset, Option<u64>),
    ) -> Result<Embedded> {
        let library = dataset.library(loaded.model.input())?;
        let feed = Feed {
            dataset,
            task: kind,
            library: &library,
            preparer: &loaded.preparer,
            model: chooser.name,
            batch_size: task.batch_size.max(1),
            limit,
            done: &[],
            path: &self.options.records,
            shown: None,
            stop: self.stop,
        };
        let forward = Forward {
            name: chooser.name,
            task: &task.name,
            dataset: &dataset.name,
            model: loaded.model.as_ref(),
            preparer: &loaded.preparer,
            device,
            progress: self.progress,
            stop: self.stop,
        };
        let embedder = forward.embedder()?;
        let mut all = Embedded::new();
        self.progress.start("images to choose by", None);
        feed.each(|batch| {
            let works: Vec<Work> = batch
                .items
                .into_iter()
                .filter_map(|(_, work)| work.ok())
                .collect();
            self.progress.advance(works.len() as u64);
            let vectors = embedder.images(&works)?;
            all.extend(works.into_iter().map(|work| work.key).zip(vectors));
            Ok(())
        })?;
        self.progress.finish();
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        Ok(all)
    }

    /// Predicts batch after batch and writes the lines that are missing. Returns the annotations and how
    /// many samples were predicted, or `None` when stopped.
    fn consume<'m>(
        &self,
        feed: &Feed<'_>,
        begin: impl FnOnce() -> Result<Box<dyn Predictor + 'm>>,
        writer: &mut Writer,
    ) -> Result<Option<(Truth, u64)>> {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let reader = scope.spawn(move || feed.run(&sender));
            let mut samples = 0;
            let predict_all = || -> Result<()> {
                let mut predictor = begin()?;
                for batch in &receiver {
                    samples += self.batch(batch, feed.done, predictor.as_mut(), writer)?;
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(())
            };
            let predicted = predict_all();
            // Whoever still sends learns that nobody listens.
            drop(receiver);
            let read = match reader.join() {
                Ok(read) => read,
                Err(panicked) => panic::resume_unwind(panicked),
            };
            predicted?;
            let truth = read?;
            Ok((!self.stop.load(Ordering::Relaxed)).then_some((truth, samples)))
        })
    }

    /// Predicts one batch, writes the lines after those that are done, and says how many the model made.
    fn batch(
        &self,
        batch: Batch,
        done: &[SampleKey],
        predictor: &mut dyn Predictor,
        writer: &mut Writer,
    ) -> Result<u64> {
        let Batch { first, items } = batch;
        let mut works = Vec::new();
        let settled: Vec<(SampleKey, Option<Outcome>)> = items
            .into_iter()
            .map(|(key, work)| match work {
                Ok(work) => {
                    works.push(work);
                    (key, None)
                }
                Err(outcome) => (key, Some(outcome)),
            })
            .collect();
        let mut predicted = predictor.predict(works)?.into_iter();
        let lines: Vec<Line> = settled
            .into_iter()
            .filter_map(|(key, outcome)| {
                let outcome = outcome.or_else(|| predicted.next())?;
                Some(Line { key, outcome })
            })
            .collect();
        let missing = &lines[done.len().saturating_sub(first).min(lines.len())..];
        writer.append(missing)?;
        self.progress.advance(missing.len() as u64);
        tracing::debug!(first, samples = missing.len(), "batch predicted");
        let made = |line: &&Line| matches!(line.outcome, Outcome::Predicted(_));
        Ok(missing.iter().filter(made).count() as u64)
    }

    /// Writes the record of a model, unless one with the same outcome is there.
    fn record(&self, planned: Planned<'_>, tasks: Vec<TaskOutcome>) -> Result<State> {
        let record = record_of(planned, self.lock, self.options, tasks)?;
        let mut existing = self.existing.iter();
        if let Some(old) = existing.find(|old| same_outcome(&old.record, &record)) {
            return Ok(State::Recorded {
                path: old.folder.join(&old.path),
                record: Box::new(old.record.clone()),
                is_new: false,
            });
        }
        let path = write_record(&self.options.records, &record)?;
        tracing::info!(model = planned.name, path = %path.display(), "record written");
        Ok(State::Recorded {
            record: Box::new(record),
            path,
            is_new: true,
        })
    }
}

/// How a model is asked, where that can be done in several ways: embeddings are what they are.
fn asked(kind: &dyn Task, way: Way, setting: &Setting<'_>) -> Option<Asked> {
    (way.does != Capability::Embed).then(|| Asked {
        capability: way.does.name().to_owned(),
        rule: way
            .by
            .map(|rule| format!("from `{}`: {}", rule.from.name(), rule.words)),
        decoding: setting.decoding.as_ref().map(decoding::words),
        prompt: (writes(way) && kind.options().contains(&"prompt") && !setting.prompt.is_empty())
            .then(|| setting.prompt.clone()),
    })
}

/// Whether a model that goes this way writes.
fn writes(way: Way) -> bool {
    matches!(way.does, Capability::Generate | Capability::Answer)
}
