//! What a task learns from: the features of another dataset's images, taken once.
//!
//! Features are kept in a file beside the predictions, named by the digest of what they are made from: model, dataset,
//! preparation, numerics. A run that is stopped takes them again from there; other tasks on the same training data do too.
//! An image that cannot be prepared ends the task, since a classifier of fewer images is another one; samples without an
//! image or without a label are left out and counted in the log.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use sightline_core::{Digest, Progress};

use crate::batches::{Batch, Feed};
use crate::dataset::Dataset;
use crate::example::Example;
use crate::forward::Featurer;
use crate::predictions::Outcome;
use crate::probe::Features;
use crate::task::{Task, Work};
use crate::visuals::{Library, Preparer};
use crate::{Error, Result};

/// Version of the files of features.
const SCHEMA: u32 = 1;

/// The dataset that a task learns from.
pub(crate) struct Training<'a> {
    pub(crate) dataset: Dataset,
    pub(crate) library: Library,
    pub(crate) preparer: &'a Preparer,
    /// Name of the model.
    pub(crate) model: &'a str,
    pub(crate) batch_size: usize,
    /// Folder of the files of features.
    pub(crate) folder: PathBuf,
    /// Of what features are made from.
    pub(crate) inputs: Digest,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: &'a AtomicBool,
}

/// What a classifier is trained on.
pub(crate) struct Learned<L> {
    /// `[N, D]`.
    pub(crate) features: Features,
    /// `[N]`.
    pub(crate) labels: Vec<L>,
    /// `[N]`.
    pub(crate) keys: Vec<sightline_core::SampleKey>,
}

/// First line of a file of features; behind it stand their values, little-endian `f32`.
#[derive(Serialize, Deserialize)]
struct Header {
    schema: u32,
    inputs: Digest,
    width: usize,
    /// Examples of the dataset.
    examples: usize,
    /// Numbers of those that have no image.
    without: Vec<usize>,
}

impl Training<'_> {
    /// The features of every example that has an image and a label, in the order of the dataset.
    pub(crate) fn learn<L>(
        &self,
        task: &dyn Task,
        featurer: &Featurer<'_>,
        label: impl Fn(&Example) -> Option<L>,
    ) -> Result<Learned<L>> {
        let path = self
            .folder
            .join(format!("{}.features", self.inputs.short()));
        let (examples, without, features) = match self.kept(&path, featurer.width())? {
            Some((header, features)) => {
                let examples = self.dataset.examples(None);
                let examples: Vec<Example> = examples
                    .map(|read| Ok(read?.example))
                    .collect::<Result<_>>()?;
                (examples, header.without, features)
            }
            None => self.compute(task, featurer, &path)?,
        };
        let mut learned = Learned {
            features: Features::default(),
            labels: Vec::new(),
            keys: Vec::new(),
        };
        let (mut rows, mut next) = (Vec::new(), 0);
        for (number, example) in examples.into_iter().enumerate() {
            if without.binary_search(&number).is_ok() {
                continue;
            }
            if let Some(label) = label(&example) {
                rows.push(next);
                learned.labels.push(label);
                learned.keys.push(example.key);
            }
            next += 1;
        }
        let left_out = next - rows.len() + without.len();
        if left_out > 0 {
            tracing::warn!(
                dataset = self.dataset.name,
                samples = left_out,
                "samples without an image or a label are not learned from"
            );
        }
        if rows.is_empty() {
            return Err(Error::NothingToLearn {
                dataset: self.dataset.name.clone(),
            });
        }
        learned.features = if rows.len() == features.len() {
            features
        } else {
            features.select(&rows)
        };
        Ok(learned)
    }

    /// The features in the file `path`, if it is of this width and of the same inputs.
    fn kept(&self, path: &Path, width: usize) -> Result<Option<(Header, Features)>> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        reader.read_line(&mut line).map_err(io)?;
        let Ok(header) = serde_json::from_str::<Header>(&line) else {
            return Ok(None);
        };
        if (header.schema, header.inputs, header.width) != (SCHEMA, self.inputs, width) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(io)?;
        let (values, rest) = bytes.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|&v| f32::from_le_bytes(v)).collect();
        let rows = header.examples.saturating_sub(header.without.len());
        let is_whole = rest.is_empty() && values.len() == rows.saturating_mul(width);
        let features = Features::new(values, width).filter(|_| is_whole);
        Ok(features.map(|features| (header, features)))
    }

    /// Takes the features and keeps them in the file `path`.
    fn compute(
        &self,
        task: &dyn Task,
        featurer: &Featurer<'_>,
        path: &Path,
    ) -> Result<(Vec<Example>, Vec<usize>, Features)> {
        let feed = Feed {
            dataset: &self.dataset,
            task,
            library: &self.library,
            preparer: self.preparer,
            model: self.model,
            batch_size: self.batch_size,
            limit: None,
            part: None,
            known: &HashMap::new(),
            cache: None,
            done: &[],
            path,
            shown: None,
            stop: self.stop,
        };
        self.progress.start("training images", None);
        let (mut values, mut without) = (Vec::new(), Vec::new());
        let truth = feed.each(|batch| self.batch(batch, featurer, &mut values, &mut without))?;
        let examples = truth.examples;
        self.progress.finish();
        if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Error::Stopped);
        }
        let header = Header {
            schema: SCHEMA,
            inputs: self.inputs,
            width: featurer.width(),
            examples: examples.len(),
            without,
        };
        self.keep(path, &header, &values)?;
        let features = Features::new(values, featurer.width()).unwrap_or_default();
        Ok((examples, header.without, features))
    }

    fn batch(
        &self,
        batch: Batch,
        featurer: &Featurer<'_>,
        values: &mut Vec<f32>,
        without: &mut Vec<usize>,
    ) -> Result<()> {
        let mut works: Vec<Work> = Vec::new();
        let count = batch.items.len() as u64;
        for (item, number) in batch.items.into_iter().zip(batch.first..) {
            match item.work {
                Ok(work) => works.push(work),
                Err(Outcome::Failed(reason)) => {
                    return Err(Error::TrainingSample {
                        dataset: self.dataset.name.clone(),
                        sample: item.key.to_string(),
                        reason,
                    });
                }
                Err(_) => without.push(number),
            }
        }
        for (row, work) in featurer.images(&works)?.into_iter().zip(&works) {
            if row.iter().any(|value| !value.is_finite()) {
                return Err(Error::TrainingSample {
                    dataset: self.dataset.name.clone(),
                    sample: work.key.to_string(),
                    reason: crate::forward::NOT_FINITE.to_owned(),
                });
            }
            values.extend(row);
        }
        self.progress.advance(count);
        Ok(())
    }

    /// Writes under another name first, so that what has this one is whole.
    fn keep(&self, path: &Path, header: &Header, values: &[f32]) -> Result<()> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(&self.folder).map_err(io)?;
        let mut bytes = serde_json::to_vec(header)?;
        bytes.push(b'\n');
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let mut file = File::create(&part).map_err(io)?;
        file.write_all(&bytes).map_err(io)?;
        file.sync_all().map_err(io)?;
        fs::rename(&part, path).map_err(io)
    }
}
