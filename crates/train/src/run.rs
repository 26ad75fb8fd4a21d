//! A run: everything is checked, then steps are done, measured and kept until all stages are done or somebody asks for an end.
//!
//! What a step does is a function of the settings, the data, the weights before it and its number: the samples by their place in the row of
//! epochs, random choices by the seed's child of the step. A run that goes on from a checkpoint therefore writes the bytes that it would have
//! written undisturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use half::f16;
use sightline_core::Progress;
use sightline_manifest::TrainPlan;
use sightline_manifest::train::{Length, PlannedStage};
use sightline_models::VisualSpec;
use sightline_models::objective::{Need, Objective, Reward, Tensors, TrainingBatch};
use sightline_nn::Weights;
use sightline_preprocess::{Limits, Preprocessor};
use sightline_shard::order::OrderSpec;
use sightline_store::{free_bytes, write_atomic};

use crate::adamw::Moments;
use crate::assets::Texts;
use crate::captions::Captions;
use crate::checkpoint::{Kept, Parameter, Position, RunFolder, Trend, Window, len_bytes};
use crate::kept::KeptTensors;
use crate::loader::{Loader, Prepared, Preparing};
use crate::log::{Lines, Speed, write_page};
use crate::objective::{Form, Support, asks, batch_of};
use crate::regions::RegionFeed;
use crate::reward::CiderReward;
use crate::settings::Settings;
use crate::source::Data;
use crate::start::{digests as start_digests, parameters};
use crate::teacher::{Asked, Teacher};
use crate::{Error, Result, Roots, assets, check, pattern, teacher};

mod measure;
mod record;
mod step;

pub use record::{Record, Time};

use step::group_of;

/// Lines of metrics that a stage has, about.
const LINES_OF_STAGE: u64 = 200;
/// Checkpoints that are on the disk at once: the last, the best, the one that is being written.
const CHECKPOINTS: u64 = 3;
/// Threads that fetch samples of shards.
const FETCHERS: usize = 2;

const LOCK: &str = ".lock";
/// What the lock says.
const MARK: &[u8] = b"A folder of `sightline train`.\n";
/// What a run makes in its folder, beside the lock.
const MADE: [&str; 10] = [
    "run.json",
    "record.json",
    "metrics.jsonl",
    "speed.jsonl",
    "loss.html",
    "last",
    "best",
    "checkpoints",
    "assets",
    teacher::FOLDER,
];
/// Steps one after the other of which no sample could be used before the run ends.
const MOST_EMPTY_STEPS: u64 = 100;

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

/// Stack of the threads that compute: candle finds the steps of a gradient by recursion, as deep as the longest chain of them.
const STACK_LEN_BYTES: usize = 64 << 20;

/// Trains until all is done or `stop` is set.
pub fn train(spec: &TrainSpec<'_>, progress: &dyn Progress, stop: &AtomicBool) -> Result<Outcome> {
    // If rayon's threads are there already, they stay as they are.
    let _ = rayon::ThreadPoolBuilder::new()
        .stack_size(STACK_LEN_BYTES)
        .build_global();
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

/// The run's folder with a lock on it; what a run made there is removed where that was asked for. A folder that is neither empty nor
/// a run's is left alone, and so is what else lies in a run's.
fn take(out: &Path, overwrite: bool) -> Result<File> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let path = out.join(LOCK);
    // A run that ended before its first step has left nothing but a lock that says whose it is, and perhaps assets.
    let is_marked = || fs::read(&path).is_ok_and(|text| text == MARK);
    let is_run = out.join("run.json").is_file() || is_marked();
    let mut entries = fs::read_dir(out).map_err(Error::io("read", out))?;
    if !is_run && entries.next().is_some() {
        return Err(Error::NotARun {
            path: out.to_owned(),
        });
    }
    let mut options = OpenOptions::new();
    let opened = options.create(true).write(true).truncate(false).open(&path);
    let lock = opened.map_err(Error::io("create", &path))?;
    if let Err(TryLockError::WouldBlock) = lock.try_lock() {
        return Err(Error::Busy {
            path: out.to_owned(),
        });
    }
    fs::write(&path, MARK).map_err(Error::io("write", &path))?;
    if overwrite {
        for path in MADE.map(|name| out.join(name)) {
            let removed = match fs::symlink_metadata(&path) {
                Ok(there) if there.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(_) => continue,
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

impl Stage<'_> {
    /// Whether it trains the tensor of that name.
    fn trains(&self, name: &str) -> bool {
        self.tensors.contains(name)
            && self.objective.is_trained(name)
            && pattern::any(&self.plan.trained, name)
            && !group_of(self.plan, name).is_some_and(|group| group.frozen)
    }
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
    /// Steps since the last one that had a sample.
    empty_steps: u64,
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
            empty_steps: 0,
        };
        let path = run.folder.file("run.json");
        if let Some((position, parameters)) = run.folder.read_last()? {
            run.position = position;
            run.parameters = parameters;
        } else {
            run.parameters = run.fresh()?;
        }
        run.name_tensors()?;
        for number in run.position.stage..run.stages.len() {
            run.check_stage(number)?;
        }
        if run.position.step == 0 && run.position.stage_step == 0 {
            run.enter_stage();
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

    /// Checks that the patterns of a stage match something, and leave something to train.
    fn check_stage(&self, number: usize) -> Result<()> {
        let stage = &self.stages[number];
        for group in &stage.plan.optimiser.groups {
            check::patterns("group", &group.tensors, &self.parameters)?;
        }
        check::patterns("trained", &stage.plan.trained, &self.parameters)?;
        let mut names = self.parameters.iter().map(|parameter| &parameter.name);
        if names.any(|name| stage.trains(name)) {
            return Ok(());
        }
        Err(Error::NothingTrained { stage: number + 1 })
    }

    /// Makes the parameters those of the stage that begins: what it trains has moments that have seen nothing.
    fn enter_stage(&mut self) {
        let stage = &self.stages[self.position.stage];
        let plan = stage.plan;
        for parameter in &mut self.parameters {
            let is_trained = stage.trains(&parameter.name);
            // The average of the stage before is what that stage has made of the weights.
            if let Some(average) = parameter.average.take() {
                parameter.values = average;
            }
            parameter.moments = is_trained.then(|| Moments::zero(parameter.values.len()));
            parameter.average =
                (is_trained && plan.optimiser.ema.is_some()).then(|| parameter.values.clone());
        }
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
        // Also of a run that ended between its last checkpoint and its page.
        self.write_page()?;
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
            self.check_weights()?;
            if ends {
                self.leave_stage();
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
    fn leave_stage(&mut self) {
        if self.position.stage + 1 == self.stages.len() {
            self.position.is_complete = true;
            return;
        }
        self.position.stage += 1;
        self.position.stage_step = 0;
        self.position.best = None;
        self.position.since_best = 0;
        self.position.window = Window::default();
        self.position.trend = Trend::default();
        self.enter_stage();
    }

    /// Checks that the weights are numbers which the checkpoint can hold, so that the one before stays where they are not.
    fn check_weights(&self) -> Result<()> {
        let in_half = self.spec.plan.weights == "f16";
        for parameter in &self.parameters {
            let name = &parameter.name;
            let largest = parameter.largest();
            // Nothing can be computed with what has no square.
            if !(largest * largest).is_finite() {
                return Err(Error::Diverged {
                    step: self.position.step,
                    what: format!("the square of the weight `{name}`"),
                    kept: self.kept_step(),
                });
            }
            if in_half && largest > f16::MAX.to_f32() {
                return Err(Error::Half {
                    name: name.clone(),
                    largest,
                });
            }
        }
        Ok(())
    }

    fn tensor(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, shape, self.spec.device)?)
    }
}
