//! Checkpoints: what a run needs to go on as if it had never stopped, and a folder that loads as a model of the family.
//!
//! ```text
//! out/train/NAME/
//!   run.json                 what was asked for, of which data, by which version: written first
//!   assets/                  the model's folder but for weights: config.json, tokenizer, …
//!   checkpoints/00000600/    the model's folder, and
//!     model.safetensors        its weights: the moving average where there is one, in 32 or 16 bits
//!     optimizer.safetensors    weights in 32 bits, moments, moving average
//!     training.json            how far the run is
//!   last -> checkpoints/…    the newest one
//!   best -> checkpoints/…    the one with the smallest held-out loss
//!   metrics.jsonl, speed.jsonl, loss.html, record.json
//! ```
//!
//! A checkpoint is written under a temporary name, every file flushed, then renamed; then the link is renamed over the old one, then
//! older checkpoints are removed. Whatever ends the process, `last` is whole. Other folders than those of `last` and `best` are leftovers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use sightline_store::{remove_stale_temporaries, write_atomic};

use crate::adamw::Moments;
use crate::{Error, Result};

/// Version of `training.json`.
const SCHEMA: u32 = 1;

const CHECKPOINTS: &str = "checkpoints";
const OPTIMISER: &str = "optimizer.safetensors";
const PROGRESS: &str = "training.json";

/// A tensor of the model, and what the optimiser remembers of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, in row-major order.
    pub values: Vec<f32>,
    /// `None` while it is frozen.
    pub moments: Option<Moments>,
    /// The moving average of its values; `None` where there is none, or while it is frozen.
    pub average: Option<Vec<f32>>,
}

impl Parameter {
    /// What is measured and kept.
    pub fn kept(&self) -> &[f32] {
        self.average.as_deref().unwrap_or(&self.values)
    }

    /// The size of the largest of its numbers and averages; NaN if one is.
    pub fn largest(&self) -> f32 {
        let sizes = self.kept().iter().chain(&self.values).map(|v| v.abs());
        // What is compared with NaN is not less, and NaN stays.
        sizes.fold(0.0, |most, size| {
            if most.is_nan() || size <= most {
                most
            } else {
                size
            }
        })
    }
}

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps that were done, of all stages.
    pub step: u64,
    /// Number of the stage, from 0.
    pub stage: usize,
    /// Steps of it that were done.
    pub stage_step: u64,
    /// Samples that were taken in all: the place in the endless row of epochs.
    pub sample: u64,
    /// Samples that were left out in all.
    pub left_out: u64,
    /// The best measurement of the stage.
    pub best: Option<Best>,
    /// Measurements since then.
    pub since_best: u64,
    /// Losses since the last line of metrics.
    pub window: Window,
    /// Where the stage's losses go.
    #[serde(default)]
    pub trend: Trend,
    /// Bytes of `metrics.jsonl`.
    pub metrics_len_bytes: u64,
    /// Whether all is done.
    pub is_complete: bool,
}

/// A measurement on held-out samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Number of the stage, from 0.
    pub stage: usize,
    /// After which step.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// What the model is judged by, where that is not the loss: the larger, the better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Best {
    /// Whether it is better than another of the same stage.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.score, other.score) {
            (Some(own), Some(other)) => own > other,
            _ => self.loss < other.loss,
        }
    }
}

/// Where losses go: the least at first, and their mean lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Losses that were added.
    pub steps: u64,
    /// The least of the first [`Self::FIRST`].
    pub first: f64,
    /// The moving mean.
    pub recent: f64,
}

impl Trend {
    /// Losses of the beginning.
    pub const FIRST: u64 = 10;
    /// How many times the first loss, and how many times 1, is no training any more.
    pub const MOST: f64 = 4.0;

    /// Adds a loss; the factor by which losses have risen if that is too much: a model that knows nothing of its task, as one that
    /// begins, loses less.
    pub fn add(&mut self, loss: f64) -> Option<f64> {
        self.steps += 1;
        let rest = self.steps.min(Self::FIRST) as f64;
        self.recent += (loss - self.recent) / rest;
        if self.steps == 1 || (self.steps <= Self::FIRST && loss < self.first) {
            self.first = loss;
        }
        if self.steps <= Self::FIRST {
            return None;
        }
        let factor = self.recent / self.first.abs().max(1.0);
        (factor > Self::MOST).then_some(factor)
    }
}

/// Sums of losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// How many were summed.
    pub steps: u64,
    /// The sum of the losses.
    pub total: f64,
    /// The sum of each term.
    pub terms: BTreeMap<String, f64>,
    /// The sum of the lengths of gradients.
    pub gradient: f64,
}

#[derive(Serialize, Deserialize)]
struct Written {
    schema: u32,
    #[serde(flatten)]
    position: Position,
    /// Steps that each tensor's moments have seen.
    moments: BTreeMap<String, u64>,
}

/// What a checkpoint has beside the state of the training.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The folder whose files are copied.
    pub assets: &'a Path,
    /// The name of the file of weights.
    pub file: &'a str,
    /// Whether the weights are in 16 bits.
    pub in_half: bool,
    /// Names of the tensors that the stage's model has; of several stages some may have others.
    pub tensors: &'a BTreeSet<String>,
}

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The run in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file of it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where the link `name` (`last`, `best`) leads, if it is there.
    pub fn linked(&self, name: &str) -> Option<PathBuf> {
        let to = fs::read_link(self.root.join(name)).ok()?;
        Some(self.root.join(to))
    }

    /// The newest checkpoint, if there is one.
    pub fn read_last(&self) -> Result<Option<(Position, Vec<Parameter>)>> {
        match self.linked("last") {
            Some(folder) => read(&folder).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a checkpoint with copies of the files of `assets`, makes it `last`, and `best` too where `is_best`, and removes those that are
    /// neither.
    pub fn write(
        &self,
        position: &Position,
        parameters: &[Parameter],
        kept: &Kept<'_>,
        is_best: bool,
    ) -> Result<()> {
        let all = self.root.join(CHECKPOINTS);
        fs::create_dir_all(&all).map_err(Error::io("create", &all))?;
        let name = format!("{:08}", position.step);
        let whole = all.join(&name);
        let begun = all.join(format!(".{name}.tmp"));
        remove(&begun)?;
        fs::create_dir(&begun).map_err(Error::io("create", &begun))?;
        copy(kept.assets, &begun)?;
        let path = begun.join(kept.file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        write_atomic(&path, &weights(parameters, kept))?;
        write_atomic(begun.join(OPTIMISER), &optimiser(parameters))?;
        let written = Written {
            schema: SCHEMA,
            position: position.clone(),
            moments: parameters
                .iter()
                .filter_map(|p| Some((p.name.clone(), p.moments.as_ref()?.steps)))
                .collect(),
        };
        let path = begun.join(PROGRESS);
        let mut text = serde_json::to_vec_pretty(&written)
            .map_err(|error| Error::io("write", &path)(error.into()))?;
        text.push(b'\n');
        write_atomic(&path, &text)?;

        // One of the same step is left from a process that was killed before it could say so, or marks a stage's end.
        remove(&whole)?;
        fs::rename(&begun, &whole).map_err(Error::io("rename", &begun))?;
        flush(&all)?;
        // Of the two links the newest is last: who reads it finds everything that came before.
        if is_best {
            self.link("best", &name)?;
        }
        self.link("last", &name)?;
        self.remove_leftovers()
    }

    /// Says that the newest checkpoint is the last one: nothing was held out to choose by.
    pub fn best_is_last(&self) -> Result<()> {
        match self.linked("last").as_deref().and_then(Path::file_name) {
            Some(name) => self.link("best", &name.to_string_lossy()),
            None => Ok(()),
        }
    }

    #[cfg(unix)]
    fn link(&self, link: &str, checkpoint: &str) -> Result<()> {
        let (path, begun) = (self.root.join(link), self.root.join(format!(".{link}.tmp")));
        remove(&begun)?;
        let to = Path::new(CHECKPOINTS).join(checkpoint);
        std::os::unix::fs::symlink(to, &begun).map_err(Error::io("link", &path))?;
        fs::rename(&begun, &path).map_err(Error::io("link", &path))?;
        flush(&self.root)
    }

    #[cfg(not(unix))]
    fn link(&self, link: &str, _checkpoint: &str) -> Result<()> {
        let path = self.root.join(link);
        Err(Error::io("link", path)(
            std::io::ErrorKind::Unsupported.into(),
        ))
    }

    /// Removes what a process left that was killed while it wrote a file or removed a checkpoint.
    pub fn tidy(&self) -> Result<()> {
        remove_stale_temporaries(&self.root)?;
        if self.root.join(CHECKPOINTS).is_dir() {
            self.remove_leftovers()?;
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<()> {
        let all = self.root.join(CHECKPOINTS);
        let kept = ["last", "best"].map(|link| self.linked(link));
        for entry in fs::read_dir(&all).map_err(Error::io("read", &all))? {
            let path = entry.map_err(Error::io("read", &all))?.path();
            if !kept
                .iter()
                .flatten()
                .any(|kept| kept.file_name() == path.file_name())
            {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Bytes of a checkpoint of `parameters`, about.
pub fn len_bytes(parameters: &[Parameter]) -> u64 {
    let numbers: usize = parameters.iter().map(|p| p.values.len()).sum();
    // Weights, weights again, two moments, an average.
    numbers as u64 * 20 + (1 << 20)
}

/// Copies the files of the folder `from` to the folder `to`. Those of its folders, which nobody writes again, become second names of the same
/// bytes where the disk can do that: parts of a model may be large.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = entry.map_err(Error::io("read", from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if !path.is_dir() {
            let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
            write_atomic(target, &bytes)?;
            continue;
        }
        fs::create_dir(&target).map_err(Error::io("create", &target))?;
        for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
            let file = entry.map_err(Error::io("read", &path))?.path();
            let target = target.join(file.file_name().unwrap_or_default());
            if fs::hard_link(&file, &target).is_err() {
                fs::copy(&file, &target).map_err(Error::io("write", &target))?;
                let copied = fs::File::open(&target).and_then(|file| file.sync_all());
                copied.map_err(Error::io("flush", &target))?;
            }
        }
        flush(&target)?;
    }
    Ok(())
}

/// Removes a file, a link or a folder, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.map_err(Error::io("remove", path))
}

/// Flushes a folder's list of names.
fn flush(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io("flush", folder))?;
    }
    Ok(())
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn weights(parameters: &[Parameter], kept: &Kept<'_>) -> Vec<u8> {
    let own = parameters.iter().filter(|p| kept.tensors.contains(&p.name));
    let named = own.map(|p| {
        let bytes = if kept.in_half {
            let halves = p.kept().iter().map(|value| f16::from_f32(*value));
            halves.flat_map(f16::to_le_bytes).collect()
        } else {
            bytes_of(p.kept())
        };
        (p.name.clone(), p.shape.clone(), bytes)
    });
    let dtype = if kept.in_half { Dtype::F16 } else { Dtype::F32 };
    file(dtype, &named.collect::<Vec<_>>())
}

fn optimiser(parameters: &[Parameter]) -> Vec<u8> {
    let mut named = Vec::new();
    for p in parameters {
        let mut put = |kind: &str, values: &[f32]| {
            let name = format!("{kind}.{}", p.name);
            named.push((name, p.shape.clone(), bytes_of(values)));
        };
        put("value", &p.values);
        if let Some(moments) = &p.moments {
            put("mean", &moments.mean);
            put("square", &moments.square);
        }
        if let Some(average) = &p.average {
            put("average", average);
        }
    }
    file(Dtype::F32, &named)
}

/// A safetensors file. Hugging Face's loader asks for the metadata.
fn file(dtype: Dtype, named: &[(String, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views: Vec<(&String, TensorView<'_>)> = named
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(dtype, shape.clone(), bytes);
            (
                name,
                view.expect("a parameter has as many numbers as its shape says"),
            )
        })
        .collect();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).expect("names and shapes fit into a header")
}

fn read(folder: &Path) -> Result<(Position, Vec<Parameter>)> {
    let damaged = |file: &str, reason: String| Error::Damaged {
        path: folder.join(file),
        reason,
    };
    let bytes = |file: &str| {
        let path = folder.join(file);
        fs::read(&path).map_err(Error::io("read", path))
    };
    let written: Written = serde_json::from_slice(&bytes(PROGRESS)?)
        .map_err(|error| damaged(PROGRESS, error.to_string()))?;
    if written.schema != SCHEMA {
        let reason = format!("it has schema {}, known is {SCHEMA}", written.schema);
        return Err(damaged(PROGRESS, reason));
    }
    let stored = bytes(OPTIMISER)?;
    let tensors =
        SafeTensors::deserialize(&stored).map_err(|error| damaged(OPTIMISER, error.to_string()))?;
    let mut parameters: BTreeMap<String, Parameter> = BTreeMap::new();
    let values = |view: &TensorView<'_>| -> Vec<f32> {
        let (numbers, _) = view.data().as_chunks();
        numbers
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    };
    for (name, view) in tensors.tensors() {
        if let Some(name) = name.strip_prefix("value.") {
            let parameter = Parameter {
                name: name.to_owned(),
                shape: view.shape().to_vec(),
                values: values(&view),
                moments: None,
                average: None,
            };
            parameters.insert(name.to_owned(), parameter);
        }
    }
    for (name, view) in tensors.tensors() {
        let Some((kind, name)) = name.split_once('.').filter(|(kind, _)| *kind != "value") else {
            continue;
        };
        let Some(parameter) = parameters.get_mut(name) else {
            return Err(damaged(OPTIMISER, format!("`{name}` has no value")));
        };
        let steps = written.moments.get(name).copied().unwrap_or_default();
        let moments = || Moments {
            steps,
            ..Moments::default()
        };
        match kind {
            "mean" => parameter.moments.get_or_insert_with(moments).mean = values(&view),
            "square" => parameter.moments.get_or_insert_with(moments).square = values(&view),
            _ => parameter.average = Some(values(&view)),
        }
    }
    Ok((written.position, parameters.into_values().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<Parameter> {
        vec![
            Parameter {
                name: "a".to_owned(),
                shape: vec![2],
                values: vec![1.0, 2.5],
                moments: Some(Moments {
                    steps: 3,
                    mean: vec![0.5, 0.25],
                    square: vec![0.1, 0.2],
                }),
                average: Some(vec![1.5, 2.0]),
            },
            Parameter {
                name: "b.weight".to_owned(),
                shape: vec![1, 1],
                values: vec![7.0],
                moments: None,
                average: None,
            },
        ]
    }

    #[test]
    fn a_number_that_is_none_is_found_before_and_behind_others() {
        for at in 0..3 {
            let mut values = vec![1.0, -7.0, 2.0];
            let parameter = |values: &[f32]| Parameter {
                name: "w".to_owned(),
                shape: vec![3],
                values: values.to_vec(),
                moments: None,
                average: None,
            };
            assert_eq!(parameter(&values).largest().to_bits(), 7.0f32.to_bits());
            values[at] = f32::NAN;
            assert!(parameter(&values).largest().is_nan(), "{at}");
        }
    }

    #[test]
    fn what_is_judged_by_a_score_is_better_with_a_larger_one() {
        let best = |loss, score| Best {
            stage: 0,
            step: 1,
            loss,
            score,
        };
        assert!(best(0.1, None).is_better_than(&best(0.2, None)));
        assert!(best(0.3, Some(2.0)).is_better_than(&best(0.2, Some(1.0))));
        assert!(!best(0.1, Some(1.0)).is_better_than(&best(0.2, Some(1.0))));
    }

    #[test]
    fn losses_that_rise_are_told_from_those_that_fall_or_scatter() {
        let end = |losses: &mut dyn Iterator<Item = f64>| {
            let mut losses = losses.enumerate();
            let mut trend = Trend::default();
            losses.find_map(|(at, loss)| trend.add(loss).map(|_| at))
        };
        assert_eq!(end(&mut (0..100).map(|i| 6.0 - 0.05 * f64::from(i))), None);
        assert_eq!(
            end(&mut (0..100).map(|i| if i % 10 == 9 { 30.0 } else { 5.0 })),
            None
        );
        // From next to nothing losses may rise: what counts is what a model loses that knows nothing.
        assert_eq!(end(&mut (0..100).map(|i| 0.01 + 0.03 * f64::from(i))), None);
        let risen = end(&mut (0..100).map(|i| if i == 0 { 5.0 } else { 150.0 }));
        assert_eq!(risen, Some(10));
        let slow = end(&mut (0..200).map(|i| 5.0 + 0.5 * f64::from(i)));
        assert!(
            slow.is_some_and(|step| (30..60).contains(&step)),
            "{slow:?}"
        );
    }

    #[test]
    fn what_is_written_is_read_and_only_last_and_best_stay() {
        let folder = tempfile::tempdir().unwrap();
        let assets = folder.path().join("assets");
        fs::create_dir(&assets).unwrap();
        fs::write(assets.join("config.json"), "{}").unwrap();
        fs::create_dir(assets.join("vision")).unwrap();
        fs::write(assets.join("vision/config.json"), "{ }").unwrap();
        let tensors = BTreeSet::from(["a".to_owned()]);
        let run = RunFolder::new(folder.path());
        assert!(run.read_last().unwrap().is_none());
        let mut position = Position::default();
        for (step, is_best) in [(1, false), (2, true), (3, false), (4, false), (4, false)] {
            position.step = step;
            position.window.terms.insert("loss".to_owned(), 0.1);
            // What a killed process leaves.
            fs::create_dir_all(run.file("checkpoints/.00000004.tmp/x")).unwrap();
            let kept = Kept {
                assets: &assets,
                file: "model.safetensors",
                in_half: true,
                tensors: &tensors,
            };
            run.write(&position, &parameters(), &kept, is_best).unwrap();
        }
        let (read, found) = run.read_last().unwrap().unwrap();
        assert_eq!((read, found), (position, parameters()));
        let names = || {
            let mut names: Vec<_> = fs::read_dir(run.file("checkpoints"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(), ["00000002", "00000004"]);
        // Killed while it removed a checkpoint and wrote a page.
        fs::create_dir_all(run.file("checkpoints/00000003")).unwrap();
        fs::write(run.file(".loss.html.4711-3.tmp"), "<p").unwrap();
        run.tidy().unwrap();
        assert_eq!(names(), ["00000002", "00000004"]);
        assert!(!run.file(".loss.html.4711-3.tmp").exists());
        let file = fs::read(run.file("best/model.safetensors")).unwrap();
        let weights = SafeTensors::deserialize(&file).unwrap();
        let a = weights.tensor("a").unwrap();
        assert_eq!((a.dtype(), a.data().len()), (Dtype::F16, 4));
        assert!(weights.tensor("b.weight").is_err());
        assert!(run.file("last/config.json").is_file());
        assert!(run.file("last/vision/config.json").is_file());
    }
}
