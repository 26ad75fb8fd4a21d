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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use candle_core::Device;
use serde_json::json;
use sightline_core::{Digest, Progress, SampleKey};
use sightline_manifest::{Lock, LockedFile, PaperTarget, Plan, PlannedTask, Roots};
use sightline_metrics::Resources;
use sightline_models::{Capability, Error as ModelError, Strategy, Way};
use sightline_report::record::{Asked, Cost, Predictions, Record, TaskOutcome, Throughput, Tool};
use sightline_report::{Stored, current, read_records, write_record};

use crate::batches::{AHEAD, Batch, Feed, Item};
use crate::cache::Cache;
use crate::dataset::{CLASSES, Dataset, owner};
use crate::demonstrations::{Demonstrations, Embedded};
use crate::example::{Truth, read_truth};
use crate::forward::Forward;
use crate::measure::{self, Meter};
use crate::models::{Loaded, Planned};
use crate::parts::{Part, of_part, part_path, parts_in};
use crate::predictions::{self, Header, Line, Outcome, Reader, Writer};
use crate::recording::{record_of, same_outcome};
use crate::score::score;
use crate::task::{self, ClassUse, Predictor, Setting, Task, Work, decoding};
use crate::training::Training;
use crate::visuals::Preparer;
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
    /// What others report, by the name of the model.
    pub paper_targets: BTreeMap<String, Vec<PaperTarget>>,
    /// Folder of answers that are kept between runs; `None` for none.
    pub cache: Option<PathBuf>,
    /// What tells this program's code from another's of the same version, for kept answers.
    pub code: String,
    /// Which part of each task's examples to predict; `None` for all, which are then scored and recorded.
    pub part: Option<Part>,
    /// Records folders with parts that are put together instead of predicting anything.
    pub merge: Option<Vec<PathBuf>>,
    /// So many examples of each task are predicted again in other batches, orders and numbers of threads; 0 for none.
    pub self_check: usize,
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
            paper_targets: BTreeMap::new(),
            cache: None,
            code: String::new(),
            part: None,
            merge: None,
            self_check: 0,
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
        let is_whole = |model: &ModelOutcome| {
            matches!(model.state, State::Recorded { .. } | State::Part { .. })
        };
        !self.stopped && self.models.iter().all(is_whole)
    }

    /// Whether a self-check found an answer that depends on the batch, the order or the number of threads.
    pub fn differs_from_itself(&self) -> bool {
        self.models.iter().any(|model| match &model.state {
            State::Recorded { record, .. } => {
                let mut checks = record
                    .tasks
                    .iter()
                    .filter_map(|task| task.self_check.as_ref());
                checks.any(|check| !check.differing.is_empty())
            }
            _ => false,
        })
    }

    /// Examples that something broke for, which no score counts.
    pub fn failed(&self) -> u64 {
        let of = |model: &ModelOutcome| match &model.state {
            State::Recorded { record, .. } => {
                record.tasks.iter().map(|task| task.counts.failed).sum()
            }
            State::Part { tasks } => tasks.iter().map(|task| task.failed).sum(),
            _ => 0,
        };
        self.models.iter().map(of).sum()
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
    /// A part of the examples of all tasks is predicted.
    Part {
        /// Those tasks.
        tasks: Vec<PredictedPart>,
    },
    /// The run was stopped. The predictions made are kept.
    Stopped,
}

/// A part of a task's examples that is predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictedPart {
    /// Its name.
    pub task: String,
    /// Where its predictions are.
    pub path: PathBuf,
    /// Examples of the part.
    pub examples: u64,
    /// Those that something broke for.
    pub failed: u64,
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
        existing,
        ..Run::new(plan, lock, roots, options, progress, stop)
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

pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) lock: &'a Lock,
    pub(crate) roots: &'a Roots,
    pub(crate) options: &'a Options,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: &'a AtomicBool,
    existing: Vec<Stored>,
    /// Samples of the datasets read so far, by name and limit.
    lengths: BTreeMap<(String, Option<u64>), u64>,
}

/// What a task needs beside the examples that it asks about.
pub(crate) struct Beside<'l> {
    /// What it learns from.
    training: Option<Training<'l>>,
    /// What stands before each question.
    pub(crate) shown: Option<Demonstrations>,
}

/// How the predictions of a task ended.
enum Predicted {
    /// Every sample has its line.
    Whole(Truth, Throughput, Option<Cost>),
    /// The run was stopped before.
    Stopped,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        lock: &'a Lock,
        roots: &'a Roots,
        options: &'a Options,
        progress: &'a dyn Progress,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            plan,
            lock,
            roots,
            options,
            progress,
            stop,
            existing: Vec::new(),
            lengths: BTreeMap::new(),
        }
    }
}

impl Run<'_> {
    fn model(&mut self, planned: Planned<'_>) -> Result<State> {
        let device = self.options.device.clone();
        let mut loaded = None;
        let (mut outcomes, mut parts) = (Vec::new(), Vec::new());
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
            let whole = self.options.records.join(&relative);
            let path = match self.options.part {
                Some(part) => part_path(&whole, part),
                None => whole,
            };
            let at = At {
                planned,
                task,
                path: &path,
                relative: &relative,
                header: &header,
            };
            match self.task(at, &mut loaded, &device) {
                Ok(Ended::Scored(outcome)) => outcomes.push(*outcome),
                Ok(Ended::Part(part)) => parts.push(part),
                Ok(Ended::Stopped) => return Ok(State::Stopped),
                Err(error) if error.is_resumable() => incomplete.push(Incomplete {
                    task: task.name.clone(),
                    error,
                }),
                Err(error) => return Err(error),
            }
        }
        if !incomplete.is_empty() {
            return Ok(State::Incomplete { tasks: incomplete });
        }
        if self.options.part.is_some() {
            return Ok(State::Part { tasks: parts });
        }
        self.record(planned, outcomes)
    }

    /// Predicts what is missing of a task, and scores it if that is all of it.
    fn task(&mut self, at: At<'_>, loaded: &mut Option<Loaded>, device: &Device) -> Result<Ended> {
        let At {
            planned,
            task,
            path,
            header,
            ..
        } = at;
        if let Some(folders) = self.options.merge.as_ref().filter(|_| !path.is_file()) {
            predictions::merge(&parts_in(folders, at)?, path, header)?;
        }
        // A model outside the program is asked again about what it left without an answer.
        let asks_again = planned.model.outside.is_some() && self.options.merge.is_none();
        let is_whole =
            path.is_file() && !(asks_again && predictions::set_aside_unanswered(path, header)?);
        let truth = || read_truth(self.plan, self.lock, self.roots, task);
        let predicted = if is_whole {
            if self.options.part.is_some() {
                return Ok(Ended::Part(of_part(at)?));
            }
            Predicted::Whole(truth()?, Throughput::default(), None)
        } else {
            if loaded.is_none() {
                *loaded = Some(planned.load(self.lock, device)?);
            }
            let Some(loaded) = &*loaded else {
                return Ok(Ended::Stopped);
            };
            self.predict(at, loaded, device)?
        };
        let (truth, throughput, cost) = match predicted {
            Predicted::Whole(truth, throughput, cost) => (truth, throughput, cost),
            Predicted::Stopped => return Ok(Ended::Stopped),
        };
        if self.options.part.is_some() {
            return Ok(Ended::Part(of_part(at)?));
        }
        let length = truth.examples.len() as u64;
        self.lengths
            .insert((task.dataset.clone(), task.limit), length);
        let reader = Reader::open(path, header)?;
        let asked = reader.asked().cloned();
        let scored = score(self.plan, task, reader, &truth, &self.options.resources)?;
        let self_check = if self.options.self_check > 0 {
            if loaded.is_none() {
                *loaded = Some(planned.load(self.lock, device)?);
            }
            let loaded = loaded.as_ref();
            loaded
                .map(|loaded| self.self_check(at, loaded, device))
                .transpose()?
        } else {
            None
        };
        let shots = task.demonstrations.as_ref().map(|shown| shown.shots);
        let targets = self.options.paper_targets.get(planned.name);
        let targets = targets.map_or(&[][..], Vec::as_slice);
        let outcome = TaskOutcome {
            task: task.name.clone(),
            kind: task.kind.clone(),
            dataset: task.dataset.clone(),
            protocol: self.plan.protocol(task)?,
            counts: scored.counts,
            reasons: scored.reasons,
            predictions: Predictions {
                path: at.relative.to_owned(),
                lines: scored.lines,
                sha256: scored.sha256,
            },
            scores: scored.scores,
            asked,
            pixel_deviation: planned.deviation(self.lock, task)?,
            self_check,
            shots,
            limit: task.limit,
            paper_targets: measure::targets(targets, task, shots),
            throughput,
            cost,
        };
        // For whoever does not wait for the other tasks; a record is made of all of them.
        let scores = path.with_extension("scores");
        let mut text = serde_json::to_string_pretty(&outcome)?;
        text.push('\n');
        sightline_store::write_atomic(&scores, text.as_bytes())?;
        Ok(Ended::Scored(Box::new(outcome)))
    }

    /// What the predictions of a model at a task are made from.
    pub(crate) fn header(&self, planned: Planned<'_>, task: &PlannedTask) -> Result<Header> {
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
        let own = planned.owner();
        if let Some(adapter) = self.lock.adapters.iter().find(|it| it.owner == own) {
            inputs["adapter"] = serde_json::to_value(adapter)?;
        }
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

    /// Makes the predictions that the file of a task lacks.
    fn predict(&self, at: At<'_>, loaded: &Loaded, device: &Device) -> Result<Predicted> {
        let At {
            planned,
            task,
            path,
            header,
            ..
        } = at;
        let kind = task::task(&task.kind)?;
        let name = planned.name;
        let dataset = Dataset::open(self.plan, self.lock, self.roots, task)?;
        let library = dataset.library(loaded.model.input())?;
        let way = planned.way(kind, &task.name, &self.lock.adapters)?;
        let beside = self.beside(at, loaded, device, &dataset)?;
        let setting = self.setting(at, loaded, &dataset, way, &beside)?;
        let header = &Header {
            asked: asked(kind, way, &setting),
            ..header.clone()
        };
        let mut writer = Writer::open(path, header)?;
        let done = std::mem::take(&mut writer.found);
        let known = predictions::set_aside(path, header)?;
        let cache = self.cache(planned, task, header, &setting)?;
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
            part: self.options.part,
            known: &known,
            cache: cache.as_ref(),
            done: &done,
            path,
            shown: beside.shown.as_ref(),
            stop: self.stop,
        };
        let begin = || {
            let forward = self.forward(at, loaded, &dataset, device);
            let predictor = kind.predictor(forward, way, &setting)?;
            self.progress.start("samples", length.copied());
            self.progress.message(&format!("{name}: {}", task.name));
            self.progress.advance(done.len() as u64);
            Ok(predictor)
        };
        let mut meter = Meter::default();
        let ended = self.consume(&feed, begin, &mut writer, &mut meter);
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
        Ok(Predicted::Whole(
            truth,
            throughput,
            meter.cost(feed.batch_size),
        ))
    }

    /// What a task is planned with, for a model.
    pub(crate) fn setting<'d>(
        &self,
        at: At<'d>,
        loaded: &Loaded,
        dataset: &'d Dataset,
        way: Way,
        beside: &'d Beside<'d>,
    ) -> Result<Setting<'d>> {
        let At { task, .. } = at;
        let kind = task::task(&task.kind)?;
        let generate = loaded.model.generate().filter(|_| writes(way));
        Ok(Setting {
            classes: &dataset.classes.names,
            templates: &task.templates,
            decoding: generate.map(|generate| decoding::of(task.decode.as_ref(), generate)),
            prompt: task
                .prompt
                .clone()
                .unwrap_or_else(|| kind.prompt().to_owned()),
            seed: self.plan.seed.child(&task.name, 0).child("generate", 0),
            training: beside.training.as_ref(),
            task,
        })
    }

    /// What a task needs beside the examples that it asks about.
    pub(crate) fn beside<'l>(
        &'l self,
        at: At<'l>,
        loaded: &'l Loaded,
        device: &Device,
        questions: &Dataset,
    ) -> Result<Beside<'l>> {
        let kind = task::task(&at.task.kind)?;
        Ok(Beside {
            training: self.training(at.planned, at.task, loaded, device)?,
            shown: self.demonstrations(at.task, kind, loaded, device, questions)?,
        })
    }

    /// A model at a task.
    pub(crate) fn forward<'m>(
        &'m self,
        at: At<'m>,
        loaded: &'m Loaded,
        dataset: &'m Dataset,
        device: &'m Device,
    ) -> Forward<'m> {
        Forward {
            name: at.planned.name,
            task: &at.task.name,
            dataset: &dataset.name,
            model: loaded.model.as_ref(),
            preparer: &loaded.preparer,
            device,
            progress: self.progress,
            stop: self.stop,
        }
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
            part: None,
            known: &HashMap::new(),
            cache: None,
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
                .filter_map(|item| item.work.ok())
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
        meter: &mut Meter,
    ) -> Result<Option<(Truth, u64)>> {
        thread::scope(|scope| {
            let (sender, receiver) = mpsc::sync_channel(AHEAD);
            let reader = scope.spawn(move || feed.run(&sender));
            let mut samples = 0;
            let predict_all = || -> Result<()> {
                let mut predictor = begin()?;
                for batch in &receiver {
                    samples += self.batch(batch, feed, predictor.as_mut(), writer, meter)?;
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
        feed: &Feed<'_>,
        predictor: &mut dyn Predictor,
        writer: &mut Writer,
        meter: &mut Meter,
    ) -> Result<u64> {
        let Batch { first, items } = batch;
        let mut works = Vec::new();
        let settled: Vec<(SampleKey, Option<Outcome>, Option<Digest>)> = items
            .into_iter()
            .map(|Item { key, work, request }| match work {
                Ok(work) => {
                    works.push(work);
                    (key, None, request)
                }
                Err(outcome) => (key, Some(outcome), None),
            })
            .collect();
        let samples = works.len();
        let predicted = meter.batch(samples, || outcomes_of(works, feed, predictor))?;
        let mut predicted = predicted.into_iter();
        let mut made = Vec::with_capacity(settled.len());
        let mut kept = Vec::new();
        let lines: Vec<Line> = settled
            .into_iter()
            .filter_map(|(key, outcome, request)| {
                let by_model = outcome.is_none();
                let outcome = outcome.or_else(|| predicted.next())?;
                made.push(by_model && matches!(outcome, Outcome::Predicted(_)));
                kept.push(request);
                Some(Line { key, outcome })
            })
            .collect();
        let from = feed.done.len().saturating_sub(first).min(lines.len());
        let missing = &lines[from..];
        writer.append(missing)?;
        if let Some(cache) = feed.cache {
            let answers = kept[from..].iter().zip(missing);
            let answers = answers.filter_map(|(request, line)| match &line.outcome {
                Outcome::Predicted(answer) => Some(((*request)?, answer)),
                _ => None,
            });
            cache.put(&answers.collect::<Vec<_>>())?;
        }
        self.progress.advance(missing.len() as u64);
        tracing::debug!(first, samples = missing.len(), "batch predicted");
        Ok(made[from..].iter().filter(|made| **made).count() as u64)
    }

    /// Kept answers of a model at a task; `None` where none are to be kept, or nothing says which model it is.
    fn cache(
        &self,
        planned: Planned<'_>,
        task: &PlannedTask,
        header: &Header,
        setting: &Setting<'_>,
    ) -> Result<Option<Cache>> {
        let Some(folder) = &self.options.cache else {
            return Ok(None);
        };
        // What a probe says depends on all that it learned from, whose features are kept on their own.
        if task.train.is_some() {
            return Ok(None);
        }
        let Some(context) = self.context(planned, task, header, setting)? else {
            return Ok(None);
        };
        let is_drawn = setting
            .decoding
            .is_some_and(|it| matches!(it.strategy, Strategy::Nucleus { .. }));
        let seed = is_drawn.then_some(setting.seed);
        Cache::open(folder, &Digest::of_json(&context)?, seed).map(Some)
    }

    /// A record that names the one whose predictions were made again in part, if there is one.
    fn superseding(&self, record: Record) -> Record {
        let is_made_again = |old: &&Stored| {
            let changed = |task: &TaskOutcome| {
                let mut tasks = old.record.tasks.iter().map(|old| &old.predictions);
                tasks.any(|old| {
                    old.path == task.predictions.path && old.sha256 != task.predictions.sha256
                })
            };
            old.record.suite == record.suite
                && old.record.model.name == record.model.name
                && record.tasks.iter().any(changed)
        };
        let all = current(&self.existing);
        let old = all.into_iter().rfind(is_made_again);
        Record {
            supersedes: old.map(|old| old.id),
            ..record
        }
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
        let record = self.superseding(record);
        let path = write_record(&self.options.records, &record)?;
        tracing::info!(model = planned.name, path = %path.display(), "record written");
        Ok(State::Recorded {
            record: Box::new(record),
            path,
            is_new: true,
        })
    }
}

/// A task of a model, and where its predictions are.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) planned: Planned<'a>,
    pub(crate) task: &'a PlannedTask,
    pub(crate) path: &'a Path,
    /// Its path below the records folder, as a whole.
    pub(crate) relative: &'a str,
    pub(crate) header: &'a Header,
}

/// How a task ended.
enum Ended {
    Scored(Box<TaskOutcome>),
    Part(PredictedPart),
    Stopped,
}

/// What becomes of `works`. Where a model outside the program left the batch without an answer, each is asked alone, so
/// that it fails alone.
fn outcomes_of(
    works: Vec<Work>,
    feed: &Feed<'_>,
    predictor: &mut dyn Predictor,
) -> Result<Vec<Outcome>> {
    if works.is_empty() || !matches!(feed.preparer, Preparer::Encoded) {
        return predictor.predict(works);
    }
    match predictor.predict(works.clone()) {
        Err(error) if error.is_unanswered() => {}
        predicted => return predicted,
    }
    let mut outcomes = Vec::with_capacity(works.len());
    for work in works {
        if feed.stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        match predictor.predict(vec![work]) {
            Ok(outcome) => outcomes.extend(outcome),
            Err(Error::Forward { source, .. })
                if matches!(*source, ModelError::Unanswered { .. }) =>
            {
                outcomes.push(Outcome::unanswered(&source.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes)
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
