//! A run: everything is checked, then steps are done, measured and kept until all stages are done or somebody asks for an end.
//!
//! What a step does is a function of the settings, the data, the weights before it and its number: the samples by their place in the row of
//! epochs, random choices by the seed's child of the step. A run that goes on from a checkpoint therefore writes the bytes that it would have
//! written undisturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor, Var};
use serde::Serialize;
use serde_json::{Value, json};
use sightline_core::{Digest, Progress, Sample};
use sightline_manifest::TrainPlan;
use sightline_manifest::train::{Length, PlannedStage};
use sightline_models::VisualSpec;
use sightline_models::objective::{Loss, Need, Objective, Reward, Tensors, TrainingBatch};
use sightline_nn::{Dropout, Weights};
use sightline_preprocess::{Limits, Preprocessor};
use sightline_shard::order::OrderSpec;
use sightline_store::{digest_file, free_bytes, write_atomic};

use crate::adamw::{AdamW, Moments, Rates, clip_factor, norm};
use crate::assets::Texts;
use crate::captions::Captions;
use crate::checkpoint::{Best, Kept, Parameter, Position, RunFolder, Window, len_bytes};
use crate::kept::KeptTensors;
use crate::loader::{Loader, Prepared, Preparing};
use crate::log::{Lines, Speed, steps_line, total_speed, write_page};
use crate::objective::{Form, Support, asks, batch_of};
use crate::regions::RegionFeed;
use crate::reward::CiderReward;
use crate::schedule::{Schedule, Shape};
use crate::settings::Settings;
use crate::source::Data;
use crate::start::{digests as start_digests, parameters};
use crate::teacher::{Asked, Teacher};
use crate::{Error, Result, Roots, assets, check, pattern, teacher};

/// Version of `record.json` and of what `--json` prints.
const SCHEMA: u32 = 1;
/// Lines of metrics that a stage has, about.
const LINES_OF_STAGE: u64 = 200;
/// Checkpoints that are on the disk at once: the last, the best, the one that is being written.
const CHECKPOINTS: u64 = 3;
/// Threads that fetch samples of shards.
const FETCHERS: usize = 2;

/// Opens an objective, with what the run has for it.
pub type Open<'a> = dyn Fn(&PlannedStage, &Path, Support<'_>) -> Result<Box<dyn Objective>> + 'a;

/// What to train, where, and how it is watched.
pub struct TrainSpec<'a> {
    /// The plan.
    pub plan: &'a TrainPlan,
    /// Where its places are.
    pub roots: &'a Roots,
    /// The run's folder.
    pub out: &'a Path,
    /// Whether a run that is there is thrown away.
    pub overwrite: bool,
    /// Where tensors are.
    pub device: &'a Device,
    /// Version and commit of the program.
    pub tool: [Option<&'a str>; 2],
    /// Opens the objective of a stage for the model whose folder, but for weights, is given.
    pub open: &'a Open<'a>,
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// All is done.
    Complete(Box<Record>),
    /// Somebody asked for an end; the same call goes on.
    Stopped {
        /// Steps that were done.
        step: u64,
        /// Steps of all stages.
        steps: u64,
    },
}

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

/// Trains until all is done or `stop` is set.
pub fn train(spec: &TrainSpec<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Outcome> {
    let folder = RunFolder::new(spec.out);
    let _lock = take(spec.out, spec.overwrite)?;
    let data = Data::open(&spec.plan.data, spec.roots, progress)?;
    let plan = spec.plan;
    let mut stages = plan.stages.iter();
    let texts = Texts {
        samples: &data.train,
        captions: &Captions::of(&plan.data),
        questions: stages.any(|stage| asks(&plan.family, &stage.objective)),
    };
    let files = assets::assets(&plan.family, &plan.model, spec.roots, texts)?;
    let parts = assets::parts(&plan.model, spec.roots)?;
    let settings = Settings {
        schema: crate::settings::SCHEMA,
        plan: plan.clone(),
        data: data.digests()?,
        assets: assets::digests(&files, &parts),
        start: start_digests(&spec.plan.model, spec.roots)?,
    };
    settle(&folder, &settings)?;
    folder.tidy()?;
    let home = folder.file("assets");
    assets::write(&files, &parts, &home)?;
    let mut run = Run::prepare(spec, data, settings, folder, home)?;
    if !run.teach(progress, stop)? {
        return Ok(run.stopped());
    }
    run.go(progress, stop)
}

/// The run's folder with a lock on it; what was there is removed where that was asked for and it is a run.
fn take(out: &Path, overwrite: bool) -> Result<File> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let path = out.join(".lock");
    let is_run = out.join("run.json").is_file();
    let mut entries = fs::read_dir(out).map_err(Error::io("read", out))?;
    // What a run leaves that ended before its first step: the lock, assets, a teacher's vectors, temporary files.
    let is_ours = |name: &str| name.starts_with('.') || ["assets", teacher::FOLDER].contains(&name);
    let is_empty =
        entries.all(|entry| entry.is_ok_and(|e| is_ours(&e.file_name().to_string_lossy())));
    if !is_run && !is_empty {
        return Err(Error::NotARun {
            path: out.to_owned(),
        });
    }
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        return Err(Error::Busy {
            path: out.to_owned(),
        });
    }
    if overwrite {
        for entry in fs::read_dir(out).map_err(Error::io("read", out))? {
            let entry = entry.map_err(Error::io("read", out))?;
            let path = entry.path();
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if entry.file_name() == ".lock" {
                continue;
            }
            let removed = if is_folder {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(Error::io("remove", path))?;
        }
    }
    Ok(lock)
}

/// Checks that what is asked for is what was asked for before, if anything was.
fn settle(folder: &RunFolder, settings: &Settings) -> Result<()> {
    let path = folder.file("run.json");
    let there = match fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let Some(bytes) = there else {
        return Ok(());
    };
    let before: Settings = serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
        path,
        reason: error.to_string(),
    })?;
    let changes = settings.changes(&before);
    if changes.is_empty() {
        return Ok(());
    }
    Err(Error::Changed {
        path: folder.root().to_owned(),
        changes,
    })
}

/// A stage with its objective.
pub(crate) struct Stage<'a> {
    pub(crate) plan: &'a PlannedStage,
    pub(crate) objective: Box<dyn Objective>,
    steps: u64,
    log_every: u64,
    /// Names of its model's tensors.
    tensors: BTreeSet<String>,
}

struct Run<'a> {
    spec: &'a TrainSpec<'a>,
    data: Data,
    settings: Settings,
    folder: RunFolder,
    home: PathBuf,
    stages: Vec<Stage<'a>>,
    preprocessor: Option<Arc<Preprocessor>>,
    /// Regions of what is learned from, and of what is measured on.
    feeds: [Option<Arc<RegionFeed>>; 2],
    teacher: Option<Teacher>,
    position: Position,
    parameters: Vec<Parameter>,
}

/// Sums of losses, each weighted by its number of predictions.
#[derive(Default)]
struct Losses {
    weight: f64,
    total: f64,
    terms: BTreeMap<String, f64>,
}

impl Losses {
    /// Adds a loss; its weight.
    fn add(&mut self, loss: &Loss) -> Result<f64> {
        let weight = loss.predictions.max(1) as f64;
        self.weight += weight;
        self.total += weight * scalar(&loss.total)?;
        for (name, term) in &loss.terms {
            *self.terms.entry((*name).to_owned()).or_default() += weight * scalar(term)?;
        }
        Ok(weight)
    }

    fn mean(mut self) -> Self {
        self.total /= self.weight;
        self.terms
            .values_mut()
            .for_each(|term| *term /= self.weight);
        self.weight = 1.0;
        self
    }
}

impl<'a> Run<'a> {
    /// Everything up to the first step: whatever does not fit is refused here.
    fn prepare(
        spec: &'a TrainSpec<'a>,
        data: Data,
        settings: Settings,
        folder: RunFolder,
        home: PathBuf,
    ) -> Result<Self> {
        let mut stages = Vec::new();
        let cider = Arc::new(CiderReward::default());
        let reward: Arc<dyn Reward> = cider.clone();
        let kept = KeptTensors::new(folder.file(teacher::FOLDER), spec.device);
        for plan in &spec.plan.stages {
            let support = Support {
                reward: &reward,
                keep: &kept,
            };
            let objective = (spec.open)(plan, &home, support)?;
            if objective.needs().contains(&Need::Reward) {
                cider.count(&data.train, &Captions::of(&spec.plan.data))?;
            }
            let steps = match plan.length {
                Length::Steps(steps) => steps,
                Length::Epochs(epochs) => {
                    epochs.saturating_mul(data.train.len()).div_ceil(plan.batch)
                }
            };
            stages.push(Stage {
                plan,
                objective,
                steps,
                log_every: (steps / LINES_OF_STAGE).max(1),
                tensors: BTreeSet::new(),
            });
        }
        let mut input = None;
        for stage in &stages {
            if let Some(VisualSpec::Pixels(image)) = stage.objective.input() {
                let other = input.get_or_insert_with(|| image.clone());
                debug_assert!(other == image, "a model takes images of one kind");
            }
        }
        let feeds = check::feeds(&stages, &data)?;
        check::data(&stages, &data, &feeds, spec.plan)?;
        let teacher = check::teacher(&stages, spec)?;
        let prepare = |image| Preprocessor::new(image, Limits::default()).map(Arc::new);
        let preprocessor = input.map(prepare).transpose()?;
        let mut run = Self {
            spec,
            data,
            settings,
            folder,
            home,
            stages,
            preprocessor,
            feeds,
            teacher,
            position: Position::default(),
            parameters: Vec::new(),
        };
        let path = run.folder.file("run.json");
        if let Some((position, parameters)) = run.folder.read_last()? {
            run.position = position;
            run.parameters = parameters;
        } else {
            run.parameters = run.fresh()?;
        }
        run.name_tensors()?;
        if run.position.step == 0 && run.position.stage_step == 0 {
            run.enter_stage()?;
        }
        run.check_space()?;
        if !path.is_file() {
            let mut text = serde_json::to_vec_pretty(&run.settings)
                .map_err(|error| Error::io("write", &path)(error.into()))?;
            text.push(b'\n');
            write_atomic(&path, &text)?;
        }
        Ok(run)
    }

    /// The weights that the run begins with: those of every stage's model.
    fn fresh(&self) -> Result<Vec<Parameter>> {
        let (plan, seed) = (&self.spec.plan.model, self.spec.plan.seed);
        let mut all: BTreeMap<String, Parameter> = BTreeMap::new();
        for stage in &self.stages {
            let objective = &*stage.objective;
            let some = parameters(objective, plan, self.spec.roots, seed, self.spec.device)?;
            for parameter in some {
                all.entry(parameter.name.clone()).or_insert(parameter);
            }
        }
        Ok(all.into_values().collect())
    }

    /// Notes which tensors each stage's model has.
    fn name_tensors(&mut self) -> Result<()> {
        let all: Tensors = self
            .parameters
            .iter()
            .map(|p| Ok((p.name.clone(), self.tensor(&p.values, &p.shape)?)))
            .collect::<Result<_>>()?;
        for stage in &mut self.stages {
            let weights = Weights::of_tensors(all.clone(), self.spec.device);
            let built = stage.objective.build(&weights);
            let unused = weights.finish()?;
            built?;
            let names = all.keys().filter(|name| !unused.contains(name));
            stage.tensors = names.cloned().collect();
        }
        Ok(())
    }

    /// Has the teacher look at every region, if there is one and that was not done before; whether it came to its end.
    fn teach(&mut self, progress: &dyn Progress, stop: &AtomicBool) -> Result<bool> {
        let Some(teacher) = self.teacher.take().filter(|_| !self.position.is_complete) else {
            return Ok(true);
        };
        for ((name, samples, _), feed) in self.data.parts().zip(&mut self.feeds) {
            let Some(regions) = feed.take() else { continue };
            let asked = Asked {
                samples,
                regions: &regions,
                digest: self.settings.data.get(&format!("{name}_regions")).copied(),
                run: self.folder.root(),
                name,
            };
            let Some(vectors) = teacher.vectors(asked, progress, stop)? else {
                return Ok(false);
            };
            *feed = Arc::into_inner(regions).map(|feed| Arc::new(feed.with_vectors(vectors)));
        }
        Ok(true)
    }

    /// Makes the parameters those of the stage that begins: what it trains has moments that have seen nothing.
    fn enter_stage(&mut self) -> Result<()> {
        let stage = &self.stages[self.position.stage];
        let plan = stage.plan;
        for group in &plan.optimiser.groups {
            check::patterns("group", &group.tensors, &self.parameters)?;
        }
        check::patterns("trained", &plan.trained, &self.parameters)?;
        let mut is_any = false;
        for parameter in &mut self.parameters {
            let group = group_of(plan, &parameter.name);
            let is_trained = stage.tensors.contains(&parameter.name)
                && stage.objective.is_trained(&parameter.name)
                && pattern::any(&plan.trained, &parameter.name)
                && !group.is_some_and(|group| group.frozen);
            is_any |= is_trained;
            // The average of the stage before is what that stage has made of the weights.
            if let Some(average) = parameter.average.take() {
                parameter.values = average;
            }
            parameter.moments = is_trained.then(|| Moments::zero(parameter.values.len()));
            parameter.average =
                (is_trained && plan.optimiser.ema.is_some()).then(|| parameter.values.clone());
        }
        if is_any {
            return Ok(());
        }
        Err(Error::NothingTrained {
            stage: self.position.stage + 1,
        })
    }

    fn check_space(&self) -> Result<()> {
        let needed_bytes = CHECKPOINTS * len_bytes(&self.parameters);
        match free_bytes(self.folder.root()) {
            Some(free_bytes) if free_bytes < needed_bytes => Err(Error::NoSpace {
                path: self.folder.root().to_owned(),
                free_bytes,
                needed_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn preparing(&self, stage: &Stage<'_>, regions: Option<&Arc<RegionFeed>>) -> Preparing {
        let needs = stage.objective.needs();
        Preparing {
            preprocessor: self
                .preprocessor
                .clone()
                .filter(|_| needs.contains(&Need::Pixels)),
            needs: needs.to_vec(),
            captions: Captions::of(&self.spec.plan.data),
            images: stage.objective.images_of_document(),
            choose: self
                .spec
                .plan
                .data
                .random_captions
                .then(|| self.spec.plan.seed.child("captions", 0)),
            regions: regions.filter(|_| needs.contains(&Need::Regions)).cloned(),
            answers: check::answers(&*stage.objective),
        }
    }

    fn batch(&self, prepared: &Prepared, range: Range<usize>) -> Result<TrainingBatch> {
        let objective = &self.stages[self.position.stage].objective;
        let form = Form {
            preprocessor: self.preprocessor.as_deref(),
            regions: self.feeds[0].as_ref().map(|feed| feed.wanted()),
            images: objective.images_of_document(),
        };
        batch_of(prepared, range, form, self.spec.device)
    }

    fn steps(&self) -> u64 {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    fn go(mut self, progress: &dyn Progress, stop: &AtomicBool) -> Result<Outcome> {
        let metrics = self.folder.file("metrics.jsonl");
        let mut lines = Lines::open(&metrics, Some(self.position.metrics_len_bytes))?;
        let mut speeds = Lines::open(&self.folder.file("speed.jsonl"), None)?;
        let samples = |stage: &Stage<'_>| stage.steps * stage.plan.batch;
        let total = self.stages.iter().map(samples).sum();
        progress.start("samples", Some(total));
        progress.advance(self.position.sample.min(total));
        while !self.position.is_complete {
            let was_stopped = self.stage(&mut lines, &mut speeds, progress, stop)?;
            self.write_page()?;
            if was_stopped {
                progress.finish();
                return Ok(self.stopped());
            }
        }
        progress.finish();
        let record = self.record()?;
        Ok(Outcome::Complete(Box::new(record)))
    }

    fn stopped(&self) -> Outcome {
        Outcome::Stopped {
            step: self.position.step,
            steps: self.steps(),
        }
    }

    fn write_page(&self) -> Result<()> {
        write_page(
            self.spec.plan,
            &self.folder.file("metrics.jsonl"),
            &self.folder.file("loss.html"),
            self.steps(),
        )
    }

    /// The rest of the present stage; whether somebody asked for an end.
    fn stage(
        &mut self,
        lines: &mut Lines,
        speeds: &mut Lines,
        progress: &dyn Progress,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let number = self.position.stage;
        let (steps, log_every) = (self.stages[number].steps, self.stages[number].log_every);
        let plan = self.stages[number].plan;
        let evaluation = self.spec.plan.evaluation.clone();
        let order = OrderSpec {
            seed: self.spec.plan.seed.child("order", 0),
            shuffle: true,
            lanes: self.spec.plan.data.lanes,
            window: self.spec.plan.data.window,
        };
        let from = self.position.sample;
        let epochs = self.data.train.epochs(order, from, FETCHERS);
        let preparing = self.preparing(&self.stages[number], self.feeds[0].as_ref());
        let mut loader = Loader::start(epochs, from, plan.batch as usize, preparing);
        let mut variables = self.variables()?;
        let mut speed = Speed::default();
        let mut waited = Duration::ZERO;
        loop {
            let began = Instant::now();
            let prepared = loader.take()?;
            self.step(&prepared, &mut variables)?;
            speed.steps += 1;
            speed.samples += plan.batch;
            speed.seconds += began.elapsed().as_secs_f64();
            progress.advance(plan.batch);
            let is_over = self.position.stage_step == steps;

            if self.position.stage_step.is_multiple_of(log_every) || is_over {
                speed.waited_seconds = loader.waited().saturating_sub(waited).as_secs_f64();
                waited = loader.waited();
                self.log(lines, speeds, &mut speed, progress)?;
            }
            let mut is_best = false;
            let mut has_patience = true;
            if let Some(evaluation) = &evaluation
                && (self.position.stage_step.is_multiple_of(evaluation.every) || is_over)
            {
                is_best = self.evaluate(lines, evaluation.batches, progress)?;
                has_patience = evaluation
                    .patience
                    .is_none_or(|patience| self.position.since_best < patience);
            }
            let is_asked = stop.load(Ordering::Relaxed);
            let ends = is_over || !has_patience;
            let every = self.spec.plan.checkpoint_every;
            let is_due = self.position.stage_step.is_multiple_of(every);
            if !(ends || is_asked || is_best || is_due) {
                continue;
            }
            self.position.metrics_len_bytes = lines.flushed_len_bytes()?;
            if ends {
                self.leave_stage()?;
            }
            // Where nothing is held out, the newest is as good as any.
            let is_best = is_best || evaluation.is_none();
            let kept = Kept {
                assets: &self.home,
                file: self.stages[number].objective.file(),
                in_half: self.spec.plan.weights == "f16",
                tensors: &self.stages[number].tensors,
            };
            self.folder
                .write(&self.position, &self.parameters, &kept, is_best)?;
            if ends || is_asked {
                return Ok(!ends);
            }
            self.write_page()?;
        }
    }

    /// The position and the parameters at the beginning of the next stage, or at the end.
    fn leave_stage(&mut self) -> Result<()> {
        if self.position.stage + 1 == self.stages.len() {
            self.position.is_complete = true;
            return Ok(());
        }
        self.position.stage += 1;
        self.position.stage_step = 0;
        self.position.best = None;
        self.position.since_best = 0;
        self.position.window = Window::default();
        self.enter_stage()
    }

    fn tensor(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, shape, self.spec.device)?)
    }

    /// A variable for each trained tensor, a plain tensor for each other.
    fn variables(&self) -> Result<Variables> {
        let mut variables = Variables::default();
        for (at, parameter) in self.parameters.iter().enumerate() {
            let tensor = self.tensor(&parameter.values, &parameter.shape)?;
            let tensor = if parameter.moments.is_some() {
                let variable = Var::from_tensor(&tensor)?;
                let tensor = variable.as_tensor().clone();
                variables.trained.push((at, variable));
                tensor
            } else {
                tensor
            };
            variables.all.insert(parameter.name.clone(), tensor);
        }
        Ok(variables)
    }

    /// One step.
    fn step(&mut self, prepared: &Prepared, variables: &mut Variables) -> Result<()> {
        let number = self.position.step;
        let stage = &self.stages[self.position.stage];
        let count = prepared.examples.len();
        if count == 0 {
            return Err(Error::EmptyBatch {
                step: number + 1,
                samples: stage.plan.batch,
            });
        }
        let weights = Weights::of_tensors(variables.all.clone(), self.spec.device);
        let seed = self.spec.plan.seed.child("step", number);
        let mut sums = Losses::default();
        let mut gradients: Vec<Option<Vec<f32>>> = vec![None; variables.trained.len()];
        let part_len = part_len(count, stage);
        for (part, from) in (0..count).step_by(part_len).enumerate() {
            let piece = self.batch(prepared, from..count.min(from + part_len))?;
            let seed = seed.child("part", part as u64);
            let weights = match stage.plan.dropout {
                0.0 => weights.clone(),
                share => weights
                    .clone()
                    .with_dropout(Dropout::new(share, seed.child("dropout", 0))),
            };
            let loss = stage.objective.loss(&weights, &piece, seed)?;
            let weight = sums.add(&loss)?;
            if !sums.total.is_finite() {
                return Err(self.diverged("the loss"));
            }
            let found = loss.total.backward()?;
            for ((_, variable), gradient) in variables.trained.iter().zip(&mut gradients) {
                let Some(new) = found.get(variable.as_tensor()) else {
                    continue;
                };
                let mut new = new.flatten_all()?.to_vec1::<f32>()?;
                if part_len < count {
                    for value in &mut new {
                        *value *= weight as f32;
                    }
                }
                match gradient {
                    None => *gradient = Some(new),
                    Some(sum) => sum.iter_mut().zip(&new).for_each(|(sum, new)| *sum += new),
                }
            }
        }
        if part_len < count {
            let all = sums.weight as f32;
            let gradients = gradients.iter_mut().flatten().flatten();
            gradients.for_each(|value| *value /= all);
        }
        let length = norm(gradients.iter().flatten().map(Vec::as_slice));
        if !length.is_finite() {
            let at = gradients.iter().position(|gradient| {
                let values = gradient.iter().flatten();
                values.copied().any(|value| !value.is_finite())
            });
            let name = at.map(|at| &self.parameters[variables.trained[at].0].name);
            let name = name.map_or_else(String::new, |name| format!(" of `{name}`"));
            return Err(self.diverged(&format!("the gradient{name}")));
        }
        self.apply(&mut gradients, length, variables)?;
        self.count(&sums.mean(), length, prepared.left_out);
        Ok(())
    }

    /// Moves the weights.
    fn apply(
        &mut self,
        gradients: &mut [Option<Vec<f32>>],
        length: f64,
        variables: &Variables,
    ) -> Result<()> {
        let stage = &self.stages[self.position.stage];
        let optimiser = &stage.plan.optimiser;
        let factor = match optimiser.clip_grad_norm {
            Some(most) => clip_factor(length, most),
            None => 1.0,
        };
        let adamw = AdamW {
            betas: optimiser.betas,
            eps: optimiser.eps,
        };
        let schedule = schedule(stage).factor(self.position.stage_step);
        for ((at, variable), gradient) in variables.trained.iter().zip(gradients) {
            let Some(gradient) = gradient else { continue };
            if factor < 1.0 {
                for value in gradient.iter_mut() {
                    *value *= factor;
                }
            }
            let parameter = &mut self.parameters[*at];
            let group = group_of(stage.plan, &parameter.name);
            let (lr, weight_decay) = group.map_or((optimiser.lr, optimiser.weight_decay), |g| {
                (g.lr, g.weight_decay)
            });
            let rates = Rates {
                lr: lr * schedule,
                weight_decay,
            };
            if let Some(moments) = &mut parameter.moments {
                adamw.step(&mut parameter.values, gradient, moments, rates);
            }
            if let (Some(average), Some(decay)) = (&mut parameter.average, optimiser.ema) {
                let rest = (1.0 - decay) as f32;
                for (average, value) in average.iter_mut().zip(&parameter.values) {
                    *average += rest * (value - *average);
                }
            }
            let shape = parameter.shape.as_slice();
            variable.set(&Tensor::from_slice(
                &parameter.values,
                shape,
                variable.device(),
            )?)?;
        }
        Ok(())
    }

    fn count(&mut self, losses: &Losses, length: f64, left_out: u64) {
        let stage = &self.stages[self.position.stage];
        let position = &mut self.position;
        position.sample += stage.plan.batch;
        position.step += 1;
        position.stage_step += 1;
        position.left_out += left_out;
        let window = &mut position.window;
        window.steps += 1;
        window.total += losses.total;
        window.gradient += length;
        for (name, value) in &losses.terms {
            *window.terms.entry(name.clone()).or_default() += value;
        }
    }

    fn diverged(&self, what: &str) -> Error {
        let kept = self.folder.read_last().ok().flatten();
        Error::Diverged {
            step: self.position.step + 1,
            what: what.to_owned(),
            kept: kept.map_or(0, |(position, _)| position.step),
        }
    }

    /// Writes a line about the steps since the last one.
    fn log(
        &mut self,
        lines: &mut Lines,
        speeds: &mut Lines,
        speed: &mut Speed,
        progress: &dyn Progress,
    ) -> Result<()> {
        let window = std::mem::take(&mut self.position.window);
        let stage = &self.stages[self.position.stage];
        let mean = |sum: f64| sum / window.steps.max(1) as f64;
        let rate = schedule(stage).factor(self.position.stage_step - 1);
        let terms: BTreeMap<&String, f64> =
            window.terms.iter().map(|(n, v)| (n, mean(*v))).collect();
        let epoch = self.position.sample as f64 / self.data.train.len().max(1) as f64;
        let fields = json!({
            "epoch": (epoch * 1000.0).round() / 1000.0,
            "lr": stage.plan.optimiser.lr * rate,
            "loss": mean(window.total),
            "terms": terms,
            "gradient": mean(window.gradient),
            "left_out": self.position.left_out,
        });
        lines.append(&steps_line(self.position.step, self.position.stage, fields))?;
        let waits = 100.0 * speed.waited_seconds / speed.seconds.max(1e-9);
        progress.message(&format!(
            "step {}/{}, loss {:.4}, {:.0} samples/s, waits {waits:.0} %",
            self.position.step,
            self.steps(),
            mean(window.total),
            speed.samples as f64 / speed.seconds.max(1e-9),
        ));
        let mut facts = sightline_core::Metadata::new();
        facts.insert("step".to_owned(), self.position.step.into());
        facts.insert("loss".to_owned(), mean(window.total).into());
        facts.insert("waits_percent".to_owned(), waits.round().into());
        progress.facts(facts);
        let done = Speed {
            step: self.position.step,
            ..std::mem::take(speed)
        };
        speeds.append(&serde_json::to_value(done).unwrap_or_default())
    }

    /// Measures the loss on held-out samples; whether it is the smallest of the stage.
    fn evaluate(
        &mut self,
        lines: &mut Lines,
        batches: u64,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let Some(samples) = self.data.validation.clone() else {
            return Ok(false);
        };
        let stage = &self.stages[self.position.stage];
        let mut tensors = Tensors::new();
        for parameter in &self.parameters {
            let tensor = self.tensor(parameter.kept(), &parameter.shape)?;
            tensors.insert(parameter.name.clone(), tensor);
        }
        let weights = Weights::of_tensors(tensors, self.spec.device);
        let mut preparing = self.preparing(stage, self.feeds[1].as_ref());
        // Always the same captions.
        preparing.choose = None;
        let mut samples = samples.in_order(FETCHERS);
        let mut sums = Losses::default();
        let mut count = 0;
        let size = stage.plan.batch as usize;
        for number in 0..batches {
            let some: Result<Vec<Sample>> = samples.by_ref().take(size).collect();
            let some = some?;
            // A remainder would be another measurement for objectives whose samples see each other.
            if some.is_empty() || (number > 0 && some.len() < size) {
                break;
            }
            let prepared = preparing.prepare(some, number * stage.plan.batch)?;
            if prepared.examples.is_empty() {
                continue;
            }
            let seed = self.spec.plan.seed.child("evaluation", number);
            let batch = self.batch(&prepared, 0..prepared.examples.len())?;
            sums.add(&stage.objective.loss(&weights, &batch, seed)?)?;
            count += prepared.examples.len();
        }
        if count == 0 {
            return Err(Error::NoSamples {
                name: "validation".to_owned(),
            });
        }
        let sums = sums.mean();
        let loss = sums.total;
        if !loss.is_finite() {
            return Err(self.diverged("the held-out loss"));
        }
        let is_best = self.position.best.is_none_or(|best| loss < best.loss);
        if is_best {
            self.position.best = Some(Best {
                stage: self.position.stage,
                step: self.position.step,
                loss,
            });
            self.position.since_best = 0;
        } else {
            self.position.since_best += 1;
        }
        let held_out = json!({ "loss": loss, "terms": sums.terms, "samples": count });
        let fields = json!({ "held_out": held_out, "is_best": is_best });
        lines.append(&steps_line(self.position.step, self.position.stage, fields))?;
        progress.message(&format!(
            "step {}/{}, held-out loss {loss:.4}{}",
            self.position.step,
            self.steps(),
            if is_best { ", the best so far" } else { "" },
        ));
        Ok(is_best)
    }

    fn record(&self) -> Result<Record> {
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
            start: self.settings.start.clone(),
            parameters: self.parameters.iter().map(|p| p.values.len() as u64).sum(),
            steps: self.position.step,
            samples: [self.position.sample, self.position.left_out],
            best: self.position.best,
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

/// The tensors of the model as steps see them.
#[derive(Default)]
struct Variables {
    all: Tensors,
    /// Numbers of parameters, and their variables.
    trained: Vec<(usize, Var)>,
}

/// Samples of a part of a batch of `count`: documents stay whole.
fn part_len(count: usize, stage: &Stage<'_>) -> usize {
    let images = stage.objective.images_of_document();
    let part = count.div_ceil(stage.plan.accumulate as usize);
    part.next_multiple_of(images.max(1))
}

fn schedule(stage: &Stage<'_>) -> Schedule {
    Schedule {
        shape: Shape::named(&stage.plan.optimiser.schedule),
        warmup_steps: stage.plan.optimiser.warmup_steps,
        steps: stage.steps,
    }
}

fn group_of<'p>(
    plan: &'p PlannedStage,
    name: &str,
) -> Option<&'p sightline_manifest::train::PlannedGroup> {
    let mut groups = plan.optimiser.groups.iter();
    groups.find(|group| pattern::any(&group.tensors, name))
}

fn scalar(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(
        tensor.flatten_all()?.sum_all()?.to_scalar::<f32>()?,
    ))
}
