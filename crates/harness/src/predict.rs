//! The predictions that a task's file lacks: batch after batch, each written as soon as it is made.

use std::panic;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use candle_core::Device;
use sightline_core::{Digest, SampleKey};
use sightline_manifest::PlannedTask;
use sightline_models::{Error as ModelError, Strategy};
use sightline_report::record::{Cost, Throughput};

use crate::batches::{AHEAD, Batch, Feed, Item};
use crate::cache::Cache;
use crate::dataset::Dataset;
use crate::example::Truth;
use crate::execute::{At, Run, asked};
use crate::measure::Meter;
use crate::models::{Loaded, Planned};
use crate::predictions::{self, Header, Line, Outcome, Writer};
use crate::task::{self, Predictor, Setting, Work};
use crate::visuals::Preparer;
use crate::{Error, Result};

/// How the predictions of a task ended.
pub(crate) enum Predicted {
    /// Every sample has its line.
    Whole(Truth, Throughput, Option<Cost>),
    /// The run was stopped before.
    Stopped,
}

impl Run<'_> {
    /// Makes the predictions that the file of a task lacks.
    pub(crate) fn predict(
        &self,
        at: At<'_>,
        loaded: &Loaded,
        device: &Device,
    ) -> Result<Predicted> {
        let At {
            planned,
            task,
            path,
            header,
            ..
        } = at;
        let kind = task::task(&task.kind)?;
        let name = planned.name;
        // What was decoded before is another task's.
        let _ = loaded.preparer.take_decoded();
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
        let decoded = loaded.preparer.take_decoded();
        let cost = meter.cost(feed.batch_size);
        let cost = cost.map(|cost| Cost { decoded, ..cost });
        Ok(Predicted::Whole(truth, throughput, cost))
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
                let mut predictor = meter.ready(begin)?;
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
