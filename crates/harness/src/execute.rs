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
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use candle_core::Device;
use serde_json::json;
use sightline_core::{Digest, Progress};
use sightline_manifest::{Lock, LockedFile, PaperTarget, Plan, PlannedTask, Roots};
use sightline_metrics::Resources;
use sightline_models::{Capability, Way};
use sightline_preprocess::Decode;
use sightline_report::record::{Asked, Predictions, Record, TaskOutcome, Throughput, Tool};
use sightline_report::{Stored, current, read_records, write_record};

use crate::beside::Beside;
use crate::cache::limit::make_room;
use crate::dataset::{CLASSES, Dataset, owner};
use crate::example::read_truth;
use crate::forward::Forward;
use crate::measure;
use crate::models::{Loaded, Planned};
use crate::outcome::{Incomplete, ModelOutcome, PredictedPart, RunOutcome, State};
use crate::parts::{Part, of_part, part_path, parts_in};
use crate::pixels::CardOptions;
use crate::predict::Predicted;
use crate::predictions::{self, Header, Reader};
use crate::recording::{record_of, same_outcome};
use crate::score::score;
use crate::task::{self, ClassUse, Setting, Task, decoding};
use crate::{Error, Result};

/// Folder of the predictions below that of a model.
const PREDICTIONS: &str = "predictions";
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
    /// How a device that is a card prepares images as well; `None`: the CPU does.
    pub card: Option<CardOptions>,
    /// What others report, by the name of the model.
    pub paper_targets: BTreeMap<String, Vec<PaperTarget>>,
    /// Folder of answers that are kept between runs; `None` for none.
    pub cache: Option<PathBuf>,
    /// Most bytes of kept answers, of which those used longest ago go when a run begins and ends; `None` for no limit.
    pub cache_limit: Option<u64>,
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
            card: None,
            paper_targets: BTreeMap::new(),
            cache: None,
            cache_limit: None,
            code: String::new(),
            part: None,
            merge: None,
            self_check: 0,
        }
    }

    /// Who decodes images, where pixels are not those that the host decodes.
    pub(crate) fn other_decoder(&self) -> Option<&'static str> {
        let card = self.card.filter(|_| !self.device.is_cpu())?;
        card.other_decoder().map(Decode::name)
    }
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
    let room = || match (&options.cache, options.cache_limit) {
        (Some(folder), Some(limit)) => make_room(folder, limit).map(|_| ()),
        _ => Ok(()),
    };
    room()?;
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
                room()?;
                return Ok(outcome);
            }
        }
    }
    room()?;
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
    pub(crate) lengths: BTreeMap<(String, Option<u64>), u64>,
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
        let card = self.options.card.as_ref();
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
                *loaded = Some(planned.load(self.lock, device, card)?);
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
        let begun = Instant::now();
        let scored = score(self.plan, task, reader, &truth, &self.options.resources)?;
        let scoring = begun.elapsed().as_secs_f64();
        let self_check = if self.options.self_check > 0 {
            if loaded.is_none() {
                *loaded = Some(planned.load(self.lock, device, card)?);
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
            pixel_deviation: planned.deviation(self.lock, task, card.map(|card| (device, card)))?,
            self_check,
            shots,
            limit: task.limit,
            paper_targets: measure::targets(targets, task, shots),
            throughput,
            cost: cost.map(|cost| measure::beside(cost, throughput.seconds + scoring)),
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
        if let Some(decoder) = self.options.other_decoder() {
            inputs["decode"] = decoder.into();
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

/// How a model is asked, where that can be done in several ways: embeddings are what they are.
pub(crate) fn asked(kind: &dyn Task, way: Way, setting: &Setting<'_>) -> Option<Asked> {
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
