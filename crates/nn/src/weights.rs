//! Named tensors of a checkpoint, read one by one.
//!
//! A model asks for every tensor it needs by name and shape, and at the end for the balance:
//! [`Weights::finish`] fails with **all** tensors that were missing or wrong, or returns the names that
//! nobody asked for. Until then a tensor with a problem is stood in for by zeros that occupy no memory.
//!
//! Weights are read from a folder or a file: safetensors, what `torch.save` and `torch.jit.save` write, or an index
//! with its shards beside it. Of a folder the first of these is read: `model.safetensors`,
//! `model.safetensors.index.json`, `pytorch_model.bin`, `pytorch_model.bin.index.json`, before them the same with
//! `open_clip_` before the name; `model.pth`, `model.pt`, `checkpoint.pth`, `checkpoint.pt`; else the only file that ends in
//! `.safetensors`, `.bin`, `.pth`, `.pt`, `.th` or `.ckpt` and is no state of a training. A prefix `module.`
//! (data-parallel training) or `_orig_mod.` (`torch.compile`) that all names share is dropped. Elements of 16, 32 or
//! 64 bits become `f32`. At most one tensor is in memory besides those already made.
//!
//! ```no_run
//! # use std::path::Path;
//! use candle_core::Device;
//! use sightline_nn::Weights;
//!
//! let weights = Weights::open(Path::new("clip-vit-base-patch32"), &Device::Cpu)?;
//! let text = weights.scope("text_model").scope("embeddings");
//! let positions = text.tensor("position_embedding.weight", &[77, 512])?;
//! let unused = weights.finish()?;
//! # Ok::<(), sightline_nn::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use sightline_core::Seed;

use crate::checkpoint::Checkpoint;
use crate::initial::initial;
use crate::{Dropout, Error, Precision, Result, TensorProblem};

/// Endings of names that hold no weights of the model: buffers that are computed anyway.
const BUFFERS: &[&str] = &[
    "position_ids",
    "token_type_ids",
    "num_batches_tracked",
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
];

/// Names of parts that a training program stores beside the model.
pub(crate) const TRAINING: &[&str] = &[
    "grad_scaler",
    "lr_scheduler",
    "lr_schedulers",
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "scaler",
    "scheduler",
];

/// Tensors by name, below a prefix. Clones and scopes share one account of what was asked for.
#[derive(Clone)]
pub struct Weights {
    shared: Rc<Shared>,
    prefix: String,
    precision: Precision,
    dtype: DType,
    dropout: Option<Dropout>,
}

struct Shared {
    source: Source,
    device: Device,
    asked: RefCell<BTreeSet<String>>,
    /// Every tensor of an [`Initial`] source that was asked for.
    begun: RefCell<BTreeMap<String, Tensor>>,
    /// Those of them that no source holds as they are.
    fresh: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<TensorProblem>>,
}

enum Source {
    Checkpoint(Checkpoint),
    Random(Seed),
    /// Of a training: what is trained are variables.
    Tensors(BTreeMap<String, Tensor>),
    Initial(Initial),
}

/// What a training begins with.
struct Initial {
    seed: Seed,
    /// What stands before their names, and where they are; the last one counts first.
    sources: Vec<(String, Weights)>,
}

impl Weights {
    /// The weights of a checkpoint, a folder or a file, for tensors on `device`.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        Ok(Self::new(
            Source::Checkpoint(Checkpoint::open(path)?),
            device,
        ))
    }

    /// As [`Self::open`], for files of an older layout: each tensor is known by what `rename` makes of its name, or
    /// not at all.
    pub fn open_renamed(
        folder: &Path,
        device: &Device,
        rename: impl Fn(&str) -> Option<String>,
    ) -> Result<Self> {
        let mut checkpoint = Checkpoint::open(folder)?;
        checkpoint.rename(rename);
        Ok(Self::new(Source::Checkpoint(checkpoint), device))
    }

    /// Any tensor of any name: uniform in ±0.05, the variances of batch norms (`running_var`) in 1 ± 0.05,
    /// depending on `seed` and name only. For measuring speed and testing shapes; it is no initialisation from which a
    /// model learns well.
    pub fn random(seed: Seed, device: &Device) -> Self {
        Self::new(Source::Random(seed), device)
    }

    /// These tensors, as they are: a [`Var`](candle_core::Var) stays the variable that gradients are computed for.
    pub fn of_tensors(tensors: BTreeMap<String, Tensor>, device: &Device) -> Self {
        Self::new(Source::Tensors(tensors), device)
    }

    /// What a training begins with: any tensor of any name, of the last of `sources` that holds it behind its prefix, else
    /// one from which models learn, depending on `seed` and name only. A tensor of a source with fewer rows than it is
    /// asked for is continued so. [`Self::begun`] returns what was asked for.
    pub fn initial(seed: Seed, sources: Vec<(String, Self)>, device: &Device) -> Self {
        Self::new(Source::Initial(Initial { seed, sources }), device)
    }

    /// Every tensor that was asked for of [`Self::initial`] weights so far, in any scope.
    pub fn begun(&self) -> BTreeMap<String, Tensor> {
        self.shared.begun.borrow().clone()
    }

    /// The names of those of [`Self::begun`] that no source holds, or not with all their rows.
    pub fn fresh(&self) -> BTreeSet<String> {
        self.shared.fresh.borrow().clone()
    }

    /// The same tensors without a gradient, as they are now: for what is computed beside a step and not learned from.
    /// Nothing is left out of them. Of weights that are no tensors of a training these are the weights themselves.
    #[must_use]
    pub fn detached(&self) -> Self {
        let Source::Tensors(tensors) = &self.shared.source else {
            return self.clone();
        };
        let detached = tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.detach()));
        Self {
            prefix: self.prefix.clone(),
            ..Self::of_tensors(detached.collect(), &self.shared.device)
        }
    }

    fn new(source: Source, device: &Device) -> Self {
        Self {
            shared: Rc::new(Shared {
                source,
                device: device.clone(),
                asked: RefCell::default(),
                begun: RefCell::default(),
                fresh: RefCell::default(),
                problems: RefCell::default(),
            }),
            prefix: String::new(),
            precision: Precision::F32,
            dtype: DType::F32,
            dropout: None,
        }
    }

    /// The same, for a step of training in which blocks leave out elements: behind each of their halves, before what they
    /// had is added. Each part has a seed of its own by its name.
    #[must_use]
    pub fn with_dropout(self, dropout: Dropout) -> Self {
        let dropout = Some(dropout);
        Self { dropout, ..self }
    }

    /// What the part whose scope this is leaves out.
    pub fn dropout(&self) -> Option<Dropout> {
        self.dropout.map(|dropout| dropout.of(&self.prefix))
    }

    /// The same, for a model that keeps its weights in `precision`; an error where its device cannot.
    pub fn with_precision(self, precision: Precision) -> Result<Self> {
        let dtype = precision.element_type(&self.shared.device)?;
        Ok(Self {
            precision,
            dtype,
            ..self
        })
    }

    /// The type of the model's tensors.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// In what linear maps keep their weights.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The files that [`Self::open`] would read, indexes included.
    pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
        Checkpoint::files(path)
    }

    /// The tensors whose names begin with `name` and a dot.
    #[must_use]
    pub fn scope(&self, name: impl Display) -> Self {
        Self {
            shared: Rc::clone(&self.shared),
            prefix: format!("{}{name}.", self.prefix),
            precision: self.precision,
            dtype: self.dtype,
            dropout: self.dropout,
        }
    }

    /// The tensor called `name` in this scope, in the type of the model's tensors. A missing one or one of another
    /// shape is noted for [`Self::finish`] and stood in for by zeros; an error means that the file could not be read.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(self.tensor_f32(name, shape)?.to_dtype(self.dtype)?)
    }

    /// As [`Self::tensor`], always as `f32`: for what is computed with before it is rounded.
    pub fn tensor_f32(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        let found = match &self.shared.source {
            Source::Random(seed) => Ok(random(*seed, &name, shape)?),
            Source::Checkpoint(checkpoint) => checkpoint.tensor(&name, shape)?,
            Source::Tensors(tensors) => match tensors.get(&name) {
                Some(tensor) if tensor.dims() == shape => Ok(tensor.to_dtype(DType::F32)?),
                found => Err(problem(&name, found.map(Tensor::dims), shape)),
            },
            Source::Initial(source) => {
                let begun = self.shared.begun.borrow().get(&name).cloned();
                match begun {
                    Some(tensor) if tensor.dims() == shape => Ok(tensor),
                    _ => source.tensor(&name, shape)?,
                }
            }
        };
        if let (Source::Initial(source), Ok(tensor)) = (&self.shared.source, &found) {
            if source.find(&name).is_none_or(|(_, _, held)| held != shape) {
                self.shared.fresh.borrow_mut().insert(name.clone());
            }
            let tensor = tensor.to_device(&self.shared.device)?;
            let mut begun = self.shared.begun.borrow_mut();
            begun.insert(name.clone(), tensor);
        }
        self.shared.asked.borrow_mut().insert(name);
        match found {
            Ok(tensor) => Ok(tensor.to_device(&self.shared.device)?),
            Err(problem) => {
                self.shared.problems.borrow_mut().push(problem);
                let zero = Tensor::zeros((), DType::F32, &self.shared.device)?;
                Ok(zero.broadcast_as(shape)?)
            }
        }
    }

    /// The shape of the tensor called `name` in this scope, if the files hold one. Random weights have no shapes
    /// before they are asked for.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        let name = format!("{}{name}", self.prefix);
        match &self.shared.source {
            Source::Random(_) => None,
            Source::Checkpoint(checkpoint) => checkpoint.shape(&name),
            Source::Tensors(tensors) => tensors.get(&name).map(Tensor::dims),
            Source::Initial(source) => source.find(&name).map(|(_, _, shape)| shape),
        }
    }

    /// Whether the files hold no tensor in this scope; random weights hold every one, and so do initial ones of which no
    /// source holds the scopes above.
    pub fn is_empty(&self) -> bool {
        self.has_none(&self.prefix)
    }

    fn has_none(&self, prefix: &str) -> bool {
        match &self.shared.source {
            Source::Random(_) => false,
            Source::Checkpoint(checkpoint) => {
                !checkpoint.names().any(|name| name.starts_with(prefix))
            }
            Source::Tensors(tensors) => !tensors.keys().any(|name| name.starts_with(prefix)),
            Source::Initial(source) => {
                let inside = |(of, weights): &(String, Self)| {
                    let rest = prefix.strip_prefix(of.as_str());
                    rest.map(|rest| weights.has_none(&format!("{}{rest}", weights.prefix)))
                };
                let mut sources = source.sources.iter().filter_map(inside).peekable();
                sources.peek().is_some() && sources.all(|is_empty| is_empty)
            }
        }
    }

    /// [`Self::finish`] returns neither `name` nor the names below it in this scope: the model has no use for them, and
    /// that is no reason for a warning.
    pub fn disregard(&self, name: impl Display) {
        let Source::Checkpoint(checkpoint) = &self.shared.source else {
            return;
        };
        let own = format!("{}{name}", self.prefix);
        let is_meant = |name: &&str| {
            let rest = name.strip_prefix(&own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let names = checkpoint.names().filter(is_meant);
        self.shared
            .asked
            .borrow_mut()
            .extend(names.map(str::to_owned));
    }

    /// Writes every tensor of floating point numbers in this scope to the safetensors file `to`, in 32 bits and under
    /// its name in the scope; what was there before is replaced. An error when there is none.
    pub fn export(&self, to: &Path) -> Result<()> {
        let mut tensors = HashMap::new();
        let mut path = PathBuf::new();
        if let Source::Checkpoint(checkpoint) = &self.shared.source {
            checkpoint.path().clone_into(&mut path);
            let in_scope = |name: &&str| name.starts_with(&self.prefix);
            for name in checkpoint.names().filter(in_scope) {
                let shape = checkpoint.shape(name).unwrap_or_default();
                // What is no floating point number is left out: counters such as `num_batches_tracked`.
                if let Ok(tensor) = checkpoint.tensor(name, shape)? {
                    tensors.insert(&name[self.prefix.len()..], tensor);
                }
            }
        }
        if tensors.is_empty() {
            let name = format!("{}*", self.prefix);
            let wanted = Vec::new();
            let problems = vec![TensorProblem::Missing { name, wanted }];
            return Err(Error::Tensors {
                path,
                problems,
                unused: Vec::new(),
            });
        }
        candle_core::safetensors::save(&tensors, to).map_err(|source| Error::Write {
            source: std::io::Error::other(source),
        })
    }

    /// Fails with every problem noted so far in any scope, and the tensors that nobody asked for; without problems
    /// returns the names of those, sorted. What holds no weights (`position_ids`, `num_batches_tracked`, an
    /// optimiser's state, …) is not among them.
    pub fn finish(&self) -> Result<Vec<String>> {
        let (path, all): (&Path, Vec<(&str, &[usize])>) = match &self.shared.source {
            Source::Random(_) => return Ok(Vec::new()),
            Source::Initial(_) => (Path::new("what training begins with"), Vec::new()),
            Source::Tensors(tensors) => {
                let named = tensors.iter();
                let named = named.map(|(name, tensor)| (name.as_str(), tensor.dims()));
                (Path::new("the tensors of the training"), named.collect())
            }
            Source::Checkpoint(checkpoint) => {
                let with_shape = |name| (name, checkpoint.shape(name).unwrap_or_default());
                let named = checkpoint.names().map(with_shape);
                (checkpoint.path(), named.collect())
            }
        };
        let asked = self.shared.asked.borrow();
        let is_unused =
            |(name, _): &(&str, &[usize])| !asked.contains(*name) && !is_no_weight(name);
        let unused = all.into_iter().filter(is_unused);
        let problems = self.shared.problems.borrow();
        if problems.is_empty() {
            return Ok(unused.map(|(name, _)| name.to_owned()).collect());
        }
        Err(Error::Tensors {
            path: path.to_owned(),
            problems: problems.clone(),
            unused: unused
                .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
                .collect(),
        })
    }
}

impl Initial {
    /// The last source that holds the tensor, its name there and its shape.
    fn find(&self, name: &str) -> Option<(&Weights, String, &[usize])> {
        self.sources.iter().rev().find_map(|(prefix, weights)| {
            let rest = name.strip_prefix(prefix.as_str())?;
            let shape = weights.shape(rest)?;
            Some((weights, rest.to_owned(), shape))
        })
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Result<Tensor, TensorProblem>> {
        let Some((weights, rest, found)) = self.find(name) else {
            return Ok(Ok(initial(self.seed, name, shape)?));
        };
        let is_continued = match (found, shape) {
            ([rows, inner @ ..], [wanted, of_wanted @ ..]) => {
                rows < wanted && !inner.is_empty() && inner == of_wanted
            }
            _ => false,
        };
        if found != shape && !is_continued {
            return Ok(Err(problem(name, Some(found), shape)));
        }
        let before = weights.shared.problems.borrow().len();
        let tensor = weights.tensor_f32(&rest, found)?.to_device(&Device::Cpu)?;
        if let Some(problem) = weights.shared.problems.borrow().get(before) {
            return Ok(Err(problem.clone()));
        }
        if !is_continued {
            return Ok(Ok(tensor));
        }
        let all = initial(self.seed, name, shape)?;
        let more = all.narrow(0, found[0], shape[0] - found[0])?;
        Ok(Ok(Tensor::cat(&[&tensor, &more], 0)?))
    }
}

/// A tensor that is not there, or of another shape.
fn problem(name: &str, found: Option<&[usize]>, wanted: &[usize]) -> TensorProblem {
    let (name, wanted) = (name.to_owned(), wanted.to_vec());
    match found {
        None => TensorProblem::Missing { name, wanted },
        Some(found) => TensorProblem::Shape {
            name,
            found: found.to_vec(),
            wanted,
        },
    }
}

fn is_no_weight(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let first = name.split('.').next().unwrap_or(name);
    BUFFERS.contains(&last) || TRAINING.contains(&first)
}

/// A prime, so that the rows of a matrix differ: longer tensors repeat their first numbers after so many.
const RANDOM_PERIOD: usize = 65_521;

fn random(seed: Seed, name: &str, shape: &[usize]) -> Result<Tensor> {
    let mut rng = seed.child(name, 0).rng();
    // A negative variance would make a network of NaNs.
    let centre = if name.ends_with("running_var") {
        1.0
    } else {
        0.0
    };
    let mut value = || (rng.bits() >> 40) as f32 / (1u64 << 24) as f32 * 0.1 - 0.05 + centre;
    let count: usize = shape.iter().product();
    let mut values: Vec<f32> = (0..count.min(RANDOM_PERIOD)).map(|_| value()).collect();
    while values.len() < count {
        let repeated = RANDOM_PERIOD.min(count - values.len());
        values.extend_from_within(..repeated);
    }
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::FormatError;

    fn tensor(shape: &[usize], dtype: DType) -> Tensor {
        let count: usize = shape.iter().product();
        Tensor::arange(0f32, count as f32, &Device::Cpu)
            .unwrap()
            .reshape(shape)
            .unwrap()
            .to_dtype(dtype)
            .unwrap()
    }

    fn save(path: &Path, tensors: &[(&str, Tensor)]) {
        let map: HashMap<&str, Tensor> = tensors.iter().cloned().collect();
        candle_core::safetensors::save(&map, path).unwrap();
    }

    fn open(folder: &Path) -> Result<Weights> {
        Weights::open(folder, &Device::Cpu)
    }

    fn message(error: &Error, folder: &Path) -> String {
        let mut chain = vec![error.to_string()];
        let mut cause = std::error::Error::source(error);
        while let Some(e) = cause {
            chain.push(e.to_string());
            cause = e.source();
        }
        let text = chain.join(": ");
        text.replace(&folder.display().to_string(), "FOLDER")
    }

    #[test]
    fn every_float_type_becomes_f32() {
        let folder = tempfile::tempdir().unwrap();
        let types = [DType::F16, DType::BF16, DType::F32, DType::F64];
        let names = ["a.f16", "a.bf16", "a.f32", "a.f64"];
        let tensors: Vec<(&str, Tensor)> = names
            .into_iter()
            .zip(types.map(|dtype| tensor(&[2, 3], dtype)))
            .collect();
        save(&folder.path().join("model.safetensors"), &tensors);
        let weights = open(folder.path()).unwrap();
        for (name, _) in &tensors {
            let name = name.strip_prefix("a.").unwrap();
            let read = weights.scope("a").tensor(name, &[2, 3]).unwrap();
            assert_eq!(
                read.to_vec2::<f32>().unwrap(),
                [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
                "{name}"
            );
        }
        assert!(weights.finish().unwrap().is_empty());
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let ids = tensor(&[4], DType::U32);
        save(
            &folder.path().join("model.safetensors"),
            &[
                ("a", tensor(&[2, 3], DType::F32)),
                ("ids", ids),
                ("large", tensor(&[1], DType::F32)),
            ],
        );
        let weights = open(folder.path()).unwrap();
        let stand_in = weights.tensor("a", &[3, 2]).unwrap();
        assert_eq!(stand_in.dims(), [3, 2]);
        // The stand-in for a tensor of 4 TiB takes no memory.
        weights.tensor("huge", &[1 << 20, 1 << 20]).unwrap();
        weights.tensor("ids", &[4]).unwrap();
        let error = weights.finish().unwrap_err();
        assert_eq!(
            message(&error, folder.path()),
            "`FOLDER/model.safetensors` does not hold the model: `a` is [2, 3] instead of [3, 2]; \
             `huge` [1048576, 1048576] is missing; `ids` holds U32 instead of floating point numbers; \
             `large` [1] is not asked for"
        );
    }

    #[test]
    fn unused_names_are_returned_but_not_buffers() {
        let folder = tempfile::tempdir().unwrap();
        let one = || tensor(&[1], DType::F32);
        save(
            &folder.path().join("model.safetensors"),
            &[
                ("used", one()),
                ("text.extra", one()),
                ("text.embeddings.position_ids", tensor(&[4], DType::U32)),
                ("optimizer.state", one()),
            ],
        );
        let weights = open(folder.path()).unwrap();
        weights.tensor("used", &[1]).unwrap();
        assert_eq!(weights.finish().unwrap(), ["text.extra"]);
        assert_eq!(weights.scope("text").shape("extra"), Some(&[1][..]));
        assert_eq!(weights.shape("extra"), None);
        assert!(!weights.scope("text").is_empty() && weights.scope("tex").is_empty());
        weights.disregard("tex");
        assert_eq!(weights.finish().unwrap(), ["text.extra"]);
        weights.disregard("text");
        assert!(weights.finish().unwrap().is_empty());
    }

    #[test]
    fn a_scope_can_be_exported() {
        let folder = tempfile::tempdir().unwrap();
        save(
            &folder.path().join("model.safetensors"),
            &[
                ("visual.cnn.conv1.weight", tensor(&[2, 3], DType::F16)),
                (
                    "visual.cnn.bn1.num_batches_tracked",
                    tensor(&[1], DType::U32),
                ),
                ("textual.bias", tensor(&[2], DType::F32)),
            ],
        );
        let weights = open(folder.path()).unwrap().scope("visual.cnn");
        let to = folder.path().join("backbone.safetensors");
        weights.export(&to).unwrap();
        let exported = candle_core::safetensors::load(&to, &Device::Cpu).unwrap();
        assert_eq!(exported.keys().collect::<Vec<_>>(), ["conv1.weight"]);
        assert_eq!(
            exported["conv1.weight"].to_vec2::<f32>().unwrap(),
            [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        );
        let error = weights.scope("none").export(&to).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("`visual.cnn.none.*` [] is missing")
        );
        let nowhere = folder.path().join("nowhere/backbone.safetensors");
        assert!(matches!(weights.export(&nowhere), Err(Error::Write { .. })));
    }

    #[test]
    fn an_older_layout_is_read_under_new_names() {
        let folder = tempfile::tempdir().unwrap();
        let one = || tensor(&[1], DType::F32);
        save(
            &folder.path().join("model.safetensors"),
            &[("old.a", one()), ("b", one()), ("detector.c", one())],
        );
        let rename = |name: &str| match name.strip_prefix("old.") {
            Some(rest) => Some(format!("new.{rest}")),
            None => (name != "detector.c").then(|| name.to_owned()),
        };
        let weights = Weights::open_renamed(folder.path(), &Device::Cpu, rename).unwrap();
        weights.scope("new").tensor("a", &[1]).unwrap();
        assert_eq!(weights.finish().unwrap(), ["b"]);
    }

    #[test]
    fn shards_are_read_through_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        save(
            &at("part-1.safetensors"),
            &[("a", tensor(&[2], DType::F32))],
        );
        save(
            &at("part-2.safetensors"),
            &[("b.c", tensor(&[3], DType::F32))],
        );
        let index = r#"{"metadata": {"total_size": 20}, "weight_map":
            {"a": "part-1.safetensors", "b.c": "part-2.safetensors", "gone": "part-1.safetensors"}}"#;
        fs::write(at("model.safetensors.index.json"), index).unwrap();
        let weights = open(folder.path()).unwrap();
        assert_eq!(
            weights.tensor("a", &[2]).unwrap().to_vec1::<f32>().unwrap(),
            [0.0, 1.0]
        );
        weights.scope("b").tensor("c", &[3]).unwrap();
        assert!(weights.finish().unwrap().is_empty());
        let files = Weights::files(folder.path()).unwrap();
        let names: Vec<_> = files
            .iter()
            .map(|f| f.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "model.safetensors.index.json",
                "part-1.safetensors",
                "part-2.safetensors"
            ]
        );
        weights.tensor("gone", &[1]).unwrap();
        assert_eq!(
            message(&weights.finish().unwrap_err(), folder.path()),
            "`FOLDER/model.safetensors.index.json` does not hold the model: `gone` [1] is missing"
        );
    }

    #[test]
    fn an_index_cannot_leave_its_folder() {
        for name in [
            "../secret.safetensors",
            "/etc/passwd",
            "..",
            "a/b.safetensors",
            "",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let index = serde_json::json!({ "weight_map": { "a": name } }).to_string();
            fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
            assert!(
                matches!(
                    Weights::files(folder.path()),
                    Err(Error::Format {
                        source: FormatError::ShardName { .. },
                        ..
                    })
                ),
                "{name}"
            );
        }
    }

    #[test]
    fn a_cut_file_says_how_much_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(&path, &[("a", tensor(&[100], DType::F32))]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 100]).unwrap();
        let error = open(folder.path()).map(|_| ()).unwrap_err();
        assert_eq!(
            message(&error, folder.path()),
            format!(
                "`FOLDER/model.safetensors` is not a readable file of weights: it ends after {} \
                 bytes, its header promises {}",
                whole.len() - 100,
                whole.len()
            )
        );
        for len in [0, 4, 8, 20] {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(open(folder.path()).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn hostile_headers_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let file = |header: &str, data: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(vec![0; data]);
            bytes
        };
        let header = |shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let huge = u64::MAX.to_string();
        for bytes in [
            u64::MAX.to_le_bytes().to_vec(),
            [&(1u64 << 40).to_le_bytes()[..], b"{}"].concat(),
            file("not json", 0),
            file(&header("[2]", "[0,4]"), 8),
            file(&header("[2]", "[8,0]"), 8),
            file(&header(&format!("[{huge},{huge}]"), "[0,8]"), 8),
            file(&header(&format!("[{huge}]"), &format!("[0,{huge}]")), 8),
            file(&header("[-1]", "[0,8]"), 8),
            file(
                &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
                0,
            ),
        ] {
            fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(open(folder.path()), Err(Error::Format { .. })),
                "{:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(80)])
            );
        }
    }

    #[test]
    fn no_changed_byte_of_a_header_panics() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save(&path, &[("a", tensor(&[2, 3], DType::F32))]);
        let whole = fs::read(&path).unwrap();
        let mut still_read = 0;
        for at in 0..whole.len() - 24 {
            for value in [0x00, b'"', b'9', 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                fs::write(&path, &bytes).unwrap();
                let read = open(folder.path()).and_then(|weights| weights.tensor("a", &[2, 3]));
                still_read += usize::from(read.is_ok());
            }
        }
        assert!((1..5 * whole.len()).contains(&still_read), "{still_read}");
    }

    #[test]
    fn a_file_with_a_name_of_its_own_is_read_if_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let file = || Weights::files(folder.path()).map(|files| files[0].clone());
        for name in ["config.json", "notes.txt"] {
            fs::write(at(name), "").unwrap();
        }
        assert!(file().is_err());
        fs::write(at("vqa.th"), "").unwrap();
        assert_eq!(file().unwrap(), at("vqa.th"));
        fs::remove_file(at("vqa.th")).unwrap();
        fs::write(at("ViT-B-32.pt"), "").unwrap();
        assert_eq!(file().unwrap(), at("ViT-B-32.pt"));
        fs::write(at("epoch_2.pth"), "").unwrap();
        assert!(file().is_err());
        for name in ["model.pth", "open_clip_model.safetensors"] {
            fs::write(at(name), "").unwrap();
            assert_eq!(file().unwrap(), at(name));
        }
    }

    #[test]
    fn a_folder_without_weights_says_what_is_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let error = open(folder.path()).map(|_| ()).unwrap_err();
        assert!(message(&error, folder.path()).starts_with("`FOLDER` has no weights: none of"));
    }
}
