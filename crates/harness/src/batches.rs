//! From shards to batches of prepared samples, ahead of the model.
//!
//! Batches are cut at multiples of the batch size in the order of the dataset, whatever was predicted
//! before: a batch that is partly done is predicted again as a whole, and only its missing lines are
//! written.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use sightline_core::{Sample, SampleKey};
use sightline_preprocess::Preprocessor;

use crate::dataset::Dataset;
use crate::error::LineProblem;
use crate::predictions::Outcome;
use crate::task::{Task, Work};
use crate::truth::Truth;
use crate::{Error, Result};

/// Batches that wait for the model, beside the one being prepared.
pub(crate) const AHEAD: usize = 2;

/// Consecutive samples.
pub(crate) struct Batch {
    /// Number of the first.
    pub(crate) first: usize,
    /// Keys, and what the model has to do, or what became of the sample without it.
    pub(crate) items: Vec<(SampleKey, Result<Work, Outcome>)>,
}

/// Where batches come from.
pub(crate) struct Feed<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) task: &'a dyn Task,
    pub(crate) preprocessor: &'a Preprocessor,
    pub(crate) batch_size: usize,
    pub(crate) limit: Option<u64>,
    /// Keys of the samples that have their lines already.
    pub(crate) done: &'a [SampleKey],
    /// The file of these lines.
    pub(crate) path: &'a Path,
    pub(crate) stop: &'a AtomicBool,
}

impl Feed<'_> {
    /// Sends every batch that is not done, until the end, an error, `stop`, or nobody receives. Returns the
    /// annotations of all samples; they are complete only in the first case. What precedes an error in a
    /// shard is sent before.
    pub(crate) fn run(&self, batches: &SyncSender<Batch>) -> Result<Truth> {
        let mut truth = Truth {
            samples: Vec::new(),
            classes: self.dataset.classes.names.len(),
        };
        let mut seen = HashSet::new();
        let mut waiting: Vec<(Sample, bool)> = Vec::new();
        let mut samples = self.dataset.samples(self.limit);
        loop {
            let next = samples.next();
            if let Some(Ok(sample)) = next {
                self.check(truth.samples.len(), &sample)?;
                truth.samples.push(self.dataset.classes.truth(&sample));
                let is_new = seen.insert(sample.key.clone());
                waiting.push((sample, is_new));
                if waiting.len() < self.batch_size {
                    continue;
                }
                if !self.send(&mut waiting, &truth, batches) {
                    return Ok(truth);
                }
                continue;
            }
            if !self.send(&mut waiting, &truth, batches) {
                return Ok(truth);
            }
            return match next {
                Some(Err(error)) => Err(error),
                _ if truth.samples.len() < self.done.len() => Err(self.refuse(
                    truth.samples.len(),
                    LineProblem::Count {
                        found: self.done.len() as u64,
                        expected: truth.samples.len() as u64,
                    },
                )),
                _ => Ok(truth),
            };
        }
    }

    /// Prepares what waits and sends it; whether to go on.
    fn send(
        &self,
        waiting: &mut Vec<(Sample, bool)>,
        truth: &Truth,
        batches: &SyncSender<Batch>,
    ) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return false;
        }
        let samples = std::mem::take(waiting);
        if samples.is_empty() || truth.samples.len() <= self.done.len() {
            return true;
        }
        let first = truth.samples.len() - samples.len();
        let items = self.prepare(samples);
        batches.send(Batch { first, items }).is_ok()
    }

    fn prepare(&self, samples: Vec<(Sample, bool)>) -> Vec<(SampleKey, Result<Work, Outcome>)> {
        let asked: Vec<_> = samples
            .iter()
            .map(|(sample, is_new)| self.ask(sample, *is_new))
            .collect();
        let images: Vec<&[u8]> = asked
            .iter()
            .filter_map(|asked| asked.as_ref().ok().map(|(image, _)| *image))
            .collect();
        let mut prepared = self.preprocessor.prepare_all(&images).into_iter();
        let works: Vec<Result<Work, Outcome>> = asked
            .into_iter()
            .map(|asked| {
                let (_, texts) = asked?;
                match prepared.next() {
                    Some(Ok(pixels)) => Ok(Work { pixels, texts }),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "image cannot be prepared");
                        Err(Outcome::Failed(format!("image: {}", error.class())))
                    }
                    None => Err(Outcome::Failed("image: lost".to_owned())),
                }
            })
            .collect();
        let keys = samples.into_iter().map(|(sample, _)| sample.key);
        keys.zip(works).collect()
    }

    /// The image and the texts of a sample, or what becomes of it without the model.
    fn ask<'s>(
        &self,
        sample: &'s Sample,
        is_new: bool,
    ) -> Result<(&'s [u8], Vec<String>), Outcome> {
        if !is_new {
            return Err(Outcome::Failed("the key occurs twice".to_owned()));
        }
        let skip = |why: &str| Outcome::Skipped(why.to_owned());
        let image = sample.image.as_ref().ok_or_else(|| skip("no image"))?;
        let texts = self.task.texts(sample).map_err(skip)?;
        Ok((&image.bytes, texts))
    }

    /// Checks that the line of a sample that is done is that sample's.
    fn check(&self, number: usize, sample: &Sample) -> Result<()> {
        match self.done.get(number) {
            Some(key) if *key != sample.key => Err(self.refuse(
                number,
                LineProblem::Key {
                    found: key.to_string(),
                    expected: sample.key.to_string(),
                },
            )),
            _ => Ok(()),
        }
    }

    fn refuse(&self, number: usize, problem: LineProblem) -> Error {
        Error::Predictions {
            path: self.path.to_owned(),
            // The header is line 1.
            line: number as u64 + 2,
            problem,
        }
    }
}
