//! Training runs: from what is written to a plan in which every default is filled in.

mod captions;
mod data;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sightline_core::Seed;
use sightline_core::registry::UnknownName;
use toml::Spanned;

use crate::catalog::Catalog;
use crate::check::{Checker, texts};
use crate::error::{Error, Fault, Misfit};
use crate::folder::Kind;
use crate::plan::Place;
use crate::rules::{self, MAX_BATCH_SIZE};
use crate::schema::{
    SCHEMA, Train, WrittenGroup, WrittenOptimiser, WrittenStage, WrittenTrainModel,
};
use crate::span::SourceFile;

pub use captions::CaptionForm;
pub use data::{PlannedData, PlannedRegions, PlannedSource};

/// What says that the vocabulary is made of the captions.
const WORDS: &str = "words";
/// How the learning rate changes after its warm-up.
const SCHEDULES: [&str; 3] = ["constant", "linear", "cosine"];
/// Types of weights in checkpoints.
const WEIGHTS: [&str; 2] = ["f32", "f16"];
/// Most steps, epochs and so on: a mistyped number must not become a run of years.
const MAX_STEPS: u64 = 1 << 32;

/// What manifests of training may name: for each family its objectives.
pub type TrainableFamilies = BTreeMap<String, Vec<String>>;

/// A training run, resolved. Equal plans with equal data give equal weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainPlan {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Name of the run.
    pub name: String,
    /// Family of the model.
    pub family: String,
    /// What it is for.
    pub description: String,
    /// From which every random choice derives.
    pub seed: Seed,
    /// What is trained.
    pub model: PlannedStart,
    /// On what.
    pub data: PlannedData,
    /// With what aim and how, one after the other; at least one.
    #[serde(rename = "stage")]
    pub stages: Vec<PlannedStage>,
    /// When it is measured; `None` without held-out samples.
    pub evaluation: Option<PlannedEvaluation>,
    /// Steps between two checkpoints.
    pub checkpoint_every: u64,
    /// Type of the weights in checkpoints: `f32` or `f16`.
    pub weights: String,
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStart {
    /// The folder of the configuration; `None` where the manifest holds it.
    pub folder: Option<Place>,
    /// The content of `config.json`; `None` where it lies in the folder.
    pub config: Option<Value>,
    /// The content of `preprocessor_config.json`.
    pub preprocessor: Option<Value>,
    /// Where the vocabulary is from.
    pub tokenizer: PlannedVocabulary,
    /// The checkpoint that tensors begin with.
    pub start: Option<Place>,
    /// Tensors of other checkpoints.
    pub take: Vec<PlannedTake>,
    /// Whole checkpoints that the model's folder holds, by the name of their folder in it.
    #[serde(default)]
    pub parts: BTreeMap<String, Place>,
    /// Whose vectors of regions are learned.
    #[serde(default)]
    pub teacher: Option<PlannedTeacher>,
}

/// A model whose vectors are learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedTeacher {
    /// Its family, which embeds.
    pub family: String,
    /// Its folder.
    pub checkpoint: Place,
}

/// Where the vocabulary is from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedVocabulary {
    /// The folder of the configuration, or there is none.
    Config,
    /// Every word of the captions.
    Words,
    /// Files of another folder.
    Folder(Place),
}

/// Tensors of another checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedTake {
    /// The checkpoint.
    pub from: Place,
    /// Patterns of names in it, with `*`.
    pub tensors: Vec<String>,
    /// What is put before the names.
    pub into: String,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Name of the objective.
    pub objective: String,
    /// Its options, an object.
    pub options: Value,
    /// How long.
    pub length: Length,
    /// Samples of a step.
    pub batch: u64,
    /// Parts that a batch is cut into, which do not see each other.
    pub accumulate: u64,
    /// Patterns of the tensors that are trained, of those that the objective trains.
    pub trained: Vec<String>,
    /// The share of elements that blocks leave out in training.
    pub dropout: f64,
    /// How weights move.
    pub optimiser: PlannedOptimiser,
}

/// How long a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Length {
    /// So many steps.
    Steps(u64),
    /// So many times over the data; the last step of each is full, samples beyond begin the next.
    Epochs(u64),
}

/// `AdamW` and what is around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedOptimiser {
    /// Largest learning rate.
    pub lr: f64,
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// Decoupled decay, times the learning rate.
    pub weight_decay: f64,
    /// Longest gradient, all tensors together.
    pub clip_grad_norm: Option<f64>,
    /// `constant`, `linear` or `cosine`.
    pub schedule: String,
    /// Steps to the largest rate.
    pub warmup_steps: u64,
    /// Decay of the moving average of the weights, which is then what is measured and kept.
    pub ema: Option<f64>,
    /// Tensors with settings of their own; the first that matches counts.
    pub groups: Vec<PlannedGroup>,
}

/// Tensors with settings of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedGroup {
    /// Patterns of names, with `*`.
    pub tensors: Vec<String>,
    /// Largest learning rate.
    pub lr: f64,
    /// Decoupled decay.
    pub weight_decay: f64,
    /// Whether they stay as they are.
    pub frozen: bool,
}

/// When it is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedEvaluation {
    /// Steps between two measurements.
    pub every: u64,
    /// Most batches of one.
    pub batches: u64,
    /// Measurements without a new best before it ends.
    pub patience: Option<u64>,
}

/// Reads and checks the training manifest at `path`. Everything that is wrong is told at once.
pub fn load_train(
    path: &Path,
    families: &TrainableFamilies,
    formats: &[String],
) -> Result<TrainPlan, Error> {
    let catalog = Catalog {
        formats: formats.to_vec(),
        ..Catalog::default()
    };
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut checker = Checker::new(folder, &catalog);
    let plan = checker.train(path, families);
    checker.finish(plan)
}

impl Checker<'_> {
    fn train(&mut self, path: &Path, families: &TrainableFamilies) -> Option<TrainPlan> {
        let (file, parsed) = self.read::<Train>(path)?;
        let (file, written) = (&file, parsed.value);
        self.own_name(Kind::Train, file, &written.name);
        let known: Vec<String> = families.keys().cloned().collect();
        let family = self.known("trainable family", file, &written.family, &known);
        let objectives = family.as_ref().map(|family| (family, &families[family]));
        if written.stage.is_empty() && parsed.is_whole {
            self.tell_at(file, written.name.span(), Fault::Empty { field: "stage" });
        }
        let stages: Vec<PlannedStage> = written
            .stage
            .iter()
            .filter_map(|stage| self.stage(file, stage.get_ref(), objectives))
            .collect();
        let model = self.start(file, &written.model);
        let data = self.data(file, &written.data);
        let has_validation = data.as_ref().is_some_and(|data| match &data.source {
            PlannedSource::Shards { validation, .. } => validation.is_some(),
            PlannedSource::Scenes { val, .. } => *val > 0,
        });
        let evaluation = &written.evaluation;
        let every = self.count(file, "every", evaluation.every.as_ref());
        let batches = self.count(file, "batches", evaluation.batches.as_ref());
        let patience = self.count(file, "patience", evaluation.patience.as_ref());
        let spans = [
            ("every", evaluation.every.as_ref().map(Spanned::span)),
            ("patience", evaluation.patience.as_ref().map(Spanned::span)),
        ];
        if data.is_some() && !has_validation {
            for (field, span) in spans {
                if let Some(span) = span {
                    let with = "training data without a validation split".to_owned();
                    self.tell_at(file, span, Fault::MeaninglessWith { field, with });
                }
            }
        }
        let checkpoint = self.count(file, "every", written.checkpoint.every.as_ref());
        let weights = match &written.checkpoint.weights {
            Some(weights) => self.known(
                "type of weights",
                file,
                weights,
                &WEIGHTS.map(str::to_owned),
            ),
            None => Some(WEIGHTS[0].to_owned()),
        };
        Some(TrainPlan {
            schema: SCHEMA,
            name: written.name.into_inner(),
            family: family?,
            description: written.description,
            seed: Seed(written.seed),
            model: model?,
            data: data?,
            stages,
            evaluation: has_validation.then(|| PlannedEvaluation {
                every: every.unwrap_or(200),
                batches: batches.unwrap_or(8),
                patience,
            }),
            checkpoint_every: checkpoint.unwrap_or(500),
            weights: weights?,
        })
    }

    /// A number from 1 on.
    fn count(
        &mut self,
        file: &Arc<SourceFile>,
        field: &'static str,
        written: Option<&Spanned<u64>>,
    ) -> Option<u64> {
        let written = written?;
        let checked = rules::range(field, *written.get_ref(), &(1..=MAX_STEPS));
        self.keep(file, written.span(), checked)
    }

    /// A number that `is_good`.
    fn number(
        &mut self,
        file: &Arc<SourceFile>,
        field: &'static str,
        written: Option<&Spanned<f64>>,
        limit: &str,
        is_good: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let written = written?;
        let value = *written.get_ref();
        if is_good(value) {
            return Some(value);
        }
        let fault = Fault::Range {
            field,
            value: value.to_string(),
            limit: limit.to_owned(),
        };
        self.tell_at(file, written.span(), fault);
        None
    }

    fn path_of(&mut self, file: &Arc<SourceFile>, written: &Spanned<String>) -> Option<Place> {
        self.keep(file, written.span(), rules::place(written.get_ref(), "."))
    }

    fn start(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenTrainModel,
    ) -> Option<PlannedStart> {
        let (folder, config) = match written.config.get_ref() {
            Value::String(path) => {
                let place = rules::place(path, ".");
                (Some(self.keep(file, written.config.span(), place)?), None)
            }
            config @ Value::Object(_) => (None, Some(config.clone())),
            other => {
                let fault = Fault::WrongType {
                    found: other.to_string(),
                    expected: "a folder, or a table with the content of `config.json`".to_owned(),
                };
                self.tell_at(file, written.config.span(), fault);
                return None;
            }
        };
        let preprocessor = written.preprocessor.as_ref().map(|table| {
            if !table.get_ref().is_object() {
                let fault = Fault::WrongType {
                    found: table.get_ref().to_string(),
                    expected: "a table with the content of `preprocessor_config.json`".to_owned(),
                };
                self.tell_at(file, table.span(), fault);
            }
            table.get_ref().clone()
        });
        let tokenizer = match &written.tokenizer {
            None => PlannedVocabulary::Config,
            Some(name) if name.get_ref() == WORDS => PlannedVocabulary::Words,
            Some(path) => PlannedVocabulary::Folder(self.path_of(file, path)?),
        };
        let start = match &written.start {
            Some(path) => Some(self.path_of(file, path)?),
            None => None,
        };
        let mut take = Vec::new();
        for other in &written.take {
            if let Some(tensors) = &other.tensors {
                self.list("tensors", "pattern", file, tensors);
            }
            take.push(PlannedTake {
                from: self.path_of(file, &other.from)?,
                tensors: other
                    .tensors
                    .as_ref()
                    .map_or_else(|| vec!["*".to_owned()], texts),
                into: other.into.clone().unwrap_or_default(),
            });
        }
        let mut parts = BTreeMap::new();
        for (name, path) in &written.parts {
            self.keep(file, path.span(), rules::name(name));
            parts.insert(name.clone(), self.path_of(file, path)?);
        }
        let teacher = match &written.teacher {
            Some(teacher) => Some(PlannedTeacher {
                family: teacher.family.clone(),
                checkpoint: self.path_of(file, &teacher.checkpoint)?,
            }),
            None => None,
        };
        Some(PlannedStart {
            folder,
            config,
            preprocessor,
            tokenizer,
            start,
            take,
            parts,
            teacher,
        })
    }

    fn stage(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenStage,
        objectives: Option<(&String, &Vec<String>)>,
    ) -> Option<PlannedStage> {
        if let Some((family, known)) = objectives
            && !known.contains(written.objective.get_ref())
        {
            let name = written.objective.get_ref();
            let names = known.iter().map(String::as_str);
            let misfit = Misfit {
                error: UnknownName::among("objective", name, names),
                family: family.clone(),
                objectives: known.clone(),
            };
            let fault = Fault::Objective {
                misfit: Box::new(misfit),
            };
            self.tell_at(file, written.objective.span(), fault);
        }
        let options = match &written.options {
            Some(options) if options.get_ref().is_object() => options.get_ref().clone(),
            Some(options) => {
                let fault = Fault::WrongType {
                    found: options.get_ref().to_string(),
                    expected: "a table".to_owned(),
                };
                self.tell_at(file, options.span(), fault);
                return None;
            }
            None => Value::Object(serde_json::Map::new()),
        };
        let steps = self.count(file, "steps", written.steps.as_ref());
        let epochs = self.count(file, "epochs", written.epochs.as_ref());
        let length = match (&written.steps, &written.epochs) {
            (Some(_), None) => steps.map(Length::Steps),
            (None, Some(_)) => epochs.map(Length::Epochs),
            (Some(_), Some(epochs)) => {
                let fault = Fault::MeaninglessWith {
                    field: "epochs",
                    with: "`steps`".to_owned(),
                };
                self.tell_at(file, epochs.span(), fault);
                None
            }
            (None, None) => {
                let field = "steps".to_owned();
                self.tell_at(
                    file,
                    written.objective.span(),
                    Fault::MissingField { field },
                );
                None
            }
        };
        let batch = rules::range("batch", *written.batch.get_ref(), &(1..=MAX_BATCH_SIZE));
        let batch = self.keep(file, written.batch.span(), batch);
        let accumulate = match &written.accumulate {
            None => Some(1),
            Some(parts) => {
                let limit = batch.unwrap_or(MAX_BATCH_SIZE);
                let checked = rules::range("accumulate", *parts.get_ref(), &(1..=limit));
                self.keep(file, parts.span(), checked)
            }
        };
        if let Some(trained) = &written.trained {
            self.list("trained", "pattern", file, trained);
        }
        let is_share = |value: f64| (0.0..1.0).contains(&value);
        let dropout = written.dropout.as_ref();
        let dropout = self.number(file, "dropout", dropout, "from 0 to below 1", is_share);
        let optimiser = self.optimiser(file, &written.optimiser);
        Some(PlannedStage {
            objective: written.objective.get_ref().clone(),
            options,
            length: length?,
            batch: batch?,
            accumulate: accumulate?,
            trained: written
                .trained
                .as_ref()
                .map_or_else(|| vec!["*".to_owned()], texts),
            dropout: dropout.unwrap_or(0.0),
            optimiser: optimiser?,
        })
    }

    fn optimiser(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenOptimiser,
    ) -> Option<PlannedOptimiser> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let (above, from) = ("above 0", "from 0 on");
        let lr = self.number(file, "lr", Some(&written.lr), above, positive);
        let betas = match &written.betas {
            None => [0.9, 0.999],
            Some(betas) => {
                let values = *betas.get_ref();
                if let Some(value) = values.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
                    let fault = Fault::Range {
                        field: "betas",
                        value: value.to_string(),
                        limit: "from 0 to below 1".to_owned(),
                    };
                    self.tell_at(file, betas.span(), fault);
                }
                values
            }
        };
        let eps = self.number(file, "eps", written.eps.as_ref(), above, positive);
        let decay = written.weight_decay.as_ref();
        let weight_decay = self
            .number(file, "weight_decay", decay, from, not_negative)
            .unwrap_or(0.01);
        let clip = written.clip_grad_norm.as_ref();
        let clip_grad_norm = self.number(file, "clip_grad_norm", clip, above, positive);
        let schedule = match &written.schedule {
            None => Some(SCHEDULES[0].to_owned()),
            Some(name) => self.known("schedule", file, name, &SCHEDULES.map(str::to_owned)),
        };
        let is_share = |value: f64| value > 0.0 && value < 1.0;
        let ema = written.ema.as_ref();
        let ema = self.number(file, "ema", ema, "between 0 and 1", is_share);
        let lr = lr?;
        let groups = written
            .group
            .iter()
            .map(|group| self.group(file, group, lr, weight_decay))
            .collect();
        Some(PlannedOptimiser {
            lr,
            betas,
            eps: eps.unwrap_or(1e-8),
            weight_decay,
            clip_grad_norm,
            schedule: schedule?,
            warmup_steps: written
                .warmup_steps
                .as_ref()
                .map_or(0, |steps| *steps.get_ref()),
            ema,
            groups,
        })
    }

    fn group(
        &mut self,
        file: &Arc<SourceFile>,
        written: &WrittenGroup,
        lr: f64,
        weight_decay: f64,
    ) -> PlannedGroup {
        self.list("tensors", "pattern", file, &written.tensors);
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = |value: f64| value >= 0.0 && value.is_finite();
        let own_lr = self.number(file, "lr", written.lr.as_ref(), "above 0", positive);
        let decay = written.weight_decay.as_ref();
        let own_decay = self.number(file, "weight_decay", decay, "from 0 on", not_negative);
        PlannedGroup {
            tensors: texts(&written.tensors),
            lr: own_lr.unwrap_or(lr),
            weight_decay: own_decay.unwrap_or(weight_decay),
            frozen: written.frozen,
        }
    }
}

#[cfg(test)]
mod tests {
    use sightline_core::Hint as _;

    use super::*;

    const GOOD: &str = r#"schema = 1
train = "tiny"
family = "simvlm"
description = "Small."
seed = 17

[model]
config = { d_model = 8 }
tokenizer = "words"

[data]
scenes = { train = 10, val = 2, size = 32 }

[[stage]]
objective = "prefix-lm"
steps = 5
batch = 4

[stage.optimiser]
lr = 2e-3
weight_decay = 0
group = [{ tensors = ["*.bias"], lr = 1 }]
"#;

    fn load(text: &str) -> Result<TrainPlan, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.toml");
        std::fs::write(&path, text).unwrap();
        let families = [
            ("clip".to_owned(), vec!["contrastive".to_owned()]),
            ("simvlm".to_owned(), vec!["prefix-lm".to_owned()]),
        ];
        load_train(&path, &families.into(), &["webdataset".to_owned()])
    }

    fn refused(text: &str) -> (String, Vec<String>) {
        let error = load(text).unwrap_err();
        let first = error.to_string();
        (first.lines().next().unwrap().to_owned(), error.hints())
    }

    #[test]
    fn defaults_are_filled_in() {
        let plan = load(GOOD).unwrap();
        assert_eq!(plan.stages[0].length, Length::Steps(5));
        assert_eq!(plan.stages[0].trained, ["*"]);
        let optimiser = &plan.stages[0].optimiser;
        let group = &optimiser.groups[0];
        let numbers = (
            optimiser.betas,
            optimiser.weight_decay,
            group.lr,
            group.weight_decay,
        );
        assert_eq!(numbers, ([0.9, 0.999], 0.0, 1.0, 0.0));
        assert_eq!(plan.evaluation.as_ref().unwrap().every, 200);
        assert_eq!(plan.model.tokenizer, PlannedVocabulary::Words);
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(serde_json::from_value::<TrainPlan>(json).unwrap(), plan);
    }

    #[test]
    fn what_is_wrong_is_told_where_it_stands() {
        for (from, to, message, hint) in [
            (
                "prefix-lm",
                "contrastive",
                "objective `contrastive` does not fit the family `simvlm`, which is trained by `prefix-lm`",
                "",
            ),
            (
                "prefix-lm",
                "prefixlm",
                "objective `prefixlm` does not fit the family `simvlm`, which is trained by `prefix-lm`",
                "Did you mean `prefix-lm`?",
            ),
            (
                "\"simvlm\"",
                "\"simvml\"",
                "unknown trainable family `simvml`",
                "Did you mean `simvlm`?",
            ),
            ("steps = 5", "stepps = 5", "2 problems in the manifests", ""),
            (
                "steps = 5",
                "steps = 0",
                "`steps` is 0, it must be from 1 to 4294967296",
                "",
            ),
            ("lr = 2e-3", "lr = -1", "`lr` is -1, it must be above 0", ""),
            (
                "val = 2, size",
                "val = 2, sizes",
                "unknown field `sizes`",
                "Did you mean `size`?",
            ),
            (
                "size = 32",
                "size = 8",
                "`size` is 8, it must be from 32 to 512",
                "",
            ),
            (
                "weight_decay = 0\n",
                "schedule = \"cosin\"\n",
                "unknown schedule `cosin`",
                "Did you mean `cosine`?",
            ),
            (
                "scenes = {",
                "train = \"a/*.tar\"\nscenes = {",
                "`scenes` means nothing with shards: `train` names some",
                "",
            ),
            (
                "config = {",
                "config = \"../x\"\npreprocessor = {",
                "path `../x` has a `..` part",
                "",
            ),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let (first, hints) = refused(&text);
            assert_eq!(first, message);
            assert!(
                hints.iter().any(|found| found.contains(hint)) || hint.is_empty(),
                "{hints:?}"
            );
        }
        let no_validation = GOOD.replace(", val = 2", "") + "[evaluation]\nevery = 3\n";
        assert_eq!(
            refused(&no_validation).0,
            "`every` means nothing with training data without a validation split"
        );
    }
}
