//! What goes wrong between a plan and its records.

use std::io;
use std::path::{Path, PathBuf};

use sightline_core::Hint;
use sightline_core::registry::UnknownName;
use sightline_models::device::is_out_of_memory;
use sightline_preprocess::PrepareError;

use crate::annotations::{AnnotationProblem, Spot};
use crate::captions::CaptionError;
use crate::pixels::CardError;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that the system does not let us read or write.
    #[error("`{}`", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Captions that cannot be read or scored.
    #[error("`{}`", path.display())]
    Captions {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<CaptionError>,
    },
    /// Files that cannot be found or read.
    #[error(transparent)]
    Store {
        /// What is wrong.
        #[from]
        source: sightline_store::Error,
    },
    /// A prepared dataset that does not become shards.
    #[error(transparent)]
    Sharding {
        /// Why not.
        #[from]
        source: crate::prepare::ShardingError,
    },
    /// A shard that cannot be read further.
    #[error(transparent)]
    Shard {
        /// Where and why.
        source: sightline_shard::Error,
    },
    /// A model that cannot be loaded.
    #[error("model `{model}` cannot be loaded")]
    Load {
        /// Its name.
        model: String,
        /// File, tensor or setting, and why.
        #[source]
        source: Box<sightline_models::Error>,
    },
    /// A model that fails on what it is given.
    #[error("model `{model}` fails at task `{task}`")]
    Forward {
        /// Its name.
        model: String,
        /// The task.
        task: String,
        /// Why.
        #[source]
        source: Box<sightline_models::Error>,
    },
    /// A model whose output has another shape than it declares.
    #[error("model `{model}`: embeddings have shape {found:?} instead of {expected:?}")]
    Output {
        /// Its name.
        model: String,
        /// Shape as it is.
        found: Vec<usize>,
        /// Shape as it must be.
        expected: Vec<usize>,
    },
    /// A model that cannot do what a task needs, though its family says so.
    #[error("model `{model}` does not offer `{capability}`, which task `{task}` needs")]
    Capability {
        /// Its name.
        model: String,
        /// What is needed.
        capability: String,
        /// The task.
        task: String,
    },
    /// Pixels that cannot be prepared as a model needs them.
    #[error("images for model `{model}` cannot be prepared")]
    Preprocess {
        /// Its name.
        model: String,
        /// Why.
        #[source]
        source: PrepareError,
    },
    /// A card that does not prepare a model's images.
    #[error("images for model `{model}` cannot be prepared on its card")]
    Card {
        /// Its name.
        model: String,
        /// Why.
        #[source]
        source: Box<CardError>,
    },
    /// A model whose visual input this version cannot prepare.
    #[error("model `{model}` takes a visual input that this version cannot prepare")]
    Input {
        /// Its name.
        model: String,
    },
    /// A name in a plan that no registry has.
    #[error(transparent)]
    UnknownName {
        /// The name and its neighbours.
        source: UnknownName,
    },
    /// A plan whose task names what the plan does not hold.
    #[error("task `{task}` names {kind} `{name}`, which the plan does not hold")]
    Unplanned {
        /// The task.
        task: String,
        /// "dataset" or "model".
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A lock of another plan.
    #[error("the lock is of suite `{locked}` and another plan than that of suite `{planned}`")]
    OtherPlan {
        /// Suite of the lock.
        locked: String,
        /// Suite of the plan.
        planned: String,
    },
    /// Files that the lock does not hold.
    #[error("the lock holds no `{role}` of `{owner}`")]
    NotLocked {
        /// The dataset or model.
        owner: String,
        /// What is missing.
        role: String,
    },
    /// A file that is not the one that was locked.
    #[error("`{}` is {found} bytes, it was locked with {locked}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length in the lock.
        locked: u64,
        /// Its length now.
        found: u64,
    },
    /// A checkpoint folder that was not given.
    #[error("no checkpoint folder was given for model `{model}`")]
    NotGiven {
        /// The model.
        model: String,
    },
    /// A model whose plan names no checkpoint though its family reads one.
    #[error("model `{model}` has no checkpoint, its family `{family}` needs one")]
    NoCheckpoint {
        /// The model.
        model: String,
        /// Its family.
        family: String,
    },
    /// Annotations that cannot be used.
    #[error("`{}`{spot}: {problem}", path.display())]
    Annotations {
        /// The file.
        path: PathBuf,
        /// Where in it.
        spot: Spot,
        /// What is wrong there.
        problem: Box<AnnotationProblem>,
        /// What file it should be.
        published: &'static str,
    },
    /// Two files of a dataset for one image.
    #[error("dataset `{dataset}` has two files for the image of `{image}`")]
    ImageTwice {
        /// The dataset.
        dataset: String,
        /// The second file.
        image: String,
    },
    /// A dataset without images of the form that a model takes.
    #[error("dataset `{dataset}` has no `{field}`, which a model of this task takes")]
    NoVisuals {
        /// The dataset.
        dataset: String,
        /// The field of its manifest that is missing.
        field: &'static str,
    },
    /// Files of region features that cannot be used.
    #[error("region features of dataset `{dataset}` cannot be read")]
    Regions {
        /// The dataset.
        dataset: String,
        /// Why.
        #[source]
        source: Box<sightline_preprocess::regions::RegionsError>,
    },
    /// Region features of another length than a model takes.
    #[error("regions of dataset `{dataset}` have {found} values, model `{model}` takes {expected}")]
    RegionWidth {
        /// The dataset.
        dataset: String,
        /// The model.
        model: String,
        /// Values of a region.
        found: usize,
        /// Values that the model takes.
        expected: usize,
    },
    /// A classifier whose labels have no names, and a dataset that does not name as many.
    #[error(
        "model `{model}` has {labels} labels without names at task `{task}`, dataset names {classes}"
    )]
    Labels {
        /// The model.
        model: String,
        /// The task.
        task: String,
        /// Labels of the model, 0 where it takes any.
        labels: usize,
        /// Names in the dataset's list of classes.
        classes: usize,
    },
    /// A classifier without the labels that a task is about.
    #[error("model `{model}` has no label `{label}`, which task `{task}` is about")]
    NoLabel {
        /// The model.
        model: String,
        /// The task.
        task: String,
        /// The label.
        label: String,
    },
    /// A classifier of another number of images than a task's examples have.
    #[error("model `{model}` takes {found} images at once, task `{task}` has {expected}")]
    Images {
        /// The model.
        model: String,
        /// The task.
        task: String,
        /// Images that the model takes.
        found: usize,
        /// Images of an example.
        expected: usize,
    },
    /// A task that scores with tables which were not given.
    #[error("task `{task}` scores with `{metric}`, whose tables are not there")]
    NoTables {
        /// The task.
        task: String,
        /// The metric.
        metric: String,
    },
    /// A list of classes that cannot be used.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Classes {
        /// The list.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        problem: ClassesProblem,
    },
    /// Predictions that were made from something else.
    #[error(
        "predictions `{}` were made with {field} {found:?}, this run has {expected:?}",
        path.display()
    )]
    OtherPredictions {
        /// The file.
        path: PathBuf,
        /// The field of its header that differs.
        field: &'static str,
        /// As it is in the file.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// A record whose predictions would lie outside the records folder.
    #[error("the predictions of a record are below its folder, not at `{}`", path.display())]
    PredictionsOutside {
        /// Where they would be.
        path: PathBuf,
    },
    /// Predictions that are not those of their record.
    #[error("predictions `{}` are not those that the record `{record}` was made of", path.display())]
    OtherThanRecorded {
        /// The file.
        path: PathBuf,
        /// The record.
        record: String,
    },
    /// Two records that have no task in common.
    #[error("the records have no task of the suite in common: {}; {}", tasks[0], tasks[1])]
    NothingToCompare {
        /// The tasks of both.
        tasks: [String; 2],
    },
    /// Two outcomes that say something about different things.
    #[error("task `{task}` of one record {what} than that of the other")]
    Incomparable {
        /// The task.
        task: String,
        /// How they differ, between its name and "than".
        what: &'static str,
    },
    /// A suite that asks something else than it did.
    #[error("the suite asks task `{task}` otherwise than when the records were made")]
    OtherProtocol {
        /// The task.
        task: String,
    },
    /// A file of a dataset that is not the one that was used.
    #[error("`{file}` of dataset `{dataset}` is not the file that the records were made with")]
    OtherData {
        /// The dataset.
        dataset: String,
        /// The file, below its folder.
        file: String,
    },
    /// A score by another version of its metric.
    #[error(
        "record `{record}` has version {} of metric `{metric}`, this program version {}",
        versions[0],
        versions[1]
    )]
    OtherMetric {
        /// The metric.
        metric: String,
        /// The record.
        record: String,
        /// Its version there and here.
        versions: [u32; 2],
    },
    /// A line of a predictions file that cannot be used.
    #[error("predictions `{}`, line {line}: {problem}", path.display())]
    Predictions {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong there.
        problem: LineProblem,
    },
    /// Predictions that another process is writing.
    #[error("predictions `{}` are being written by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A model outside the program that cannot be used.
    #[error("model `{model}` cannot be asked")]
    Outside {
        /// Its name.
        model: String,
        /// Why.
        #[source]
        source: Box<sightline_adapters::Error>,
    },
    /// A model outside the program that is another one than when the lock was made.
    #[error("model `{model}` says something else about itself than when the lock was made")]
    OtherAdapter {
        /// Its name.
        model: String,
    },
    /// A part of a task's predictions that is not there.
    #[error("part {part} of {of} of task `{task}` is not there: `{}`", path.display())]
    NoPart {
        /// The task.
        task: String,
        /// Number of the part, from 1.
        part: usize,
        /// How many there are.
        of: usize,
        /// Where it would be.
        path: PathBuf,
    },
    /// No part of a task's predictions is there.
    #[error("there are no parts of the predictions of task `{task}` in `{}`", path.display())]
    NoParts {
        /// The task.
        task: String,
        /// Where they would be.
        path: PathBuf,
    },
    /// Parts of a task's predictions that are none of one run.
    #[error("part `{}` does not go with the others: {reason}", path.display())]
    OtherPart {
        /// The part.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A task without an example that a model could be asked about.
    #[error("task `{task}` has no example that the model can be asked about")]
    NothingToMeasure {
        /// The task.
        task: String,
    },
    /// A published file that is another one than the manifest says.
    #[error("`{}` is not the published file: its {what} is {found}, it should be {expected}", path.display())]
    OtherSource {
        /// The file.
        path: PathBuf,
        /// What was compared.
        what: &'static str,
        /// As it is.
        found: String,
        /// As the manifest says.
        expected: String,
    },
    /// An archive that cannot be unpacked.
    #[error("`{}` cannot be unpacked: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Training samples of which none has an image and a label.
    #[error(
        "dataset `{dataset}` holds no sample to learn from: none has an image and a label of the list"
    )]
    NothingToLearn {
        /// The dataset.
        dataset: String,
    },
    /// A training sample without features. A classifier of the others would be another one.
    #[error("sample `{sample}` of dataset `{dataset}` cannot be learned from: {reason}")]
    TrainingSample {
        /// The dataset.
        dataset: String,
        /// Key of the sample.
        sample: String,
        /// Why not.
        reason: String,
    },
    /// Two lists of classes that should be one.
    #[error("datasets `{train}` and `{test}` have different lists of classes")]
    TrainingClasses {
        /// The dataset that is learned from.
        train: String,
        /// The other one.
        test: String,
    },
    /// Annotations with more classes than the list.
    #[error(
        "the annotations of dataset `{dataset}` have {found} classes or more, its list has {listed}"
    )]
    OtherClasses {
        /// The dataset.
        dataset: String,
        /// Classes that there are at least.
        found: usize,
        /// Names of the list.
        listed: usize,
    },
    /// A key that a list of keys names and no sample has.
    #[error("dataset `{dataset}` has no sample `{key}`, which its list of ids names")]
    IdNotThere {
        /// The dataset.
        dataset: String,
        /// The key.
        key: String,
    },
    /// Fewer samples than are to be shown.
    #[error(
        "dataset `{dataset}` has {found} samples that can be shown, needed are more than {wanted}"
    )]
    FewDemonstrations {
        /// The dataset.
        dataset: String,
        /// How many there are.
        found: usize,
        /// How many are shown.
        wanted: usize,
    },
    /// Images of demonstrations that do not fit into memory.
    #[error("the images of dataset `{dataset}` that are shown have more than {limit} bytes")]
    ManyDemonstrations {
        /// The dataset.
        dataset: String,
        /// Most bytes.
        limit: usize,
    },
    /// Long work that was asked to stop.
    #[error("the run was stopped")]
    Stopped,
    /// A score that cannot be computed.
    #[error(transparent)]
    Metric {
        /// Why.
        #[from]
        source: sightline_metrics::Error,
    },
    /// Records that cannot be read or written.
    #[error(transparent)]
    Report {
        /// Why.
        source: Box<sightline_report::Error>,
    },
    /// A plan or lock that JSON does not hold.
    #[error("plan or lock cannot be written as JSON")]
    Json {
        /// Why.
        #[from]
        source: serde_json::Error,
    },
}

/// What is wrong with a list of classes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassesProblem {
    /// Nothing in it.
    #[error("holds no class")]
    None,
    /// A line without a name.
    #[error("is empty")]
    Empty,
    /// A list of keys without one.
    #[error("holds no key")]
    NoKey,
    /// What cannot be the key of a sample.
    #[error("`{0}` cannot be the key of a sample")]
    Key(String),
    /// A key that was there before.
    #[error("`{0}` was there before")]
    Twice(String),
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// More bytes than any real list has.
    #[error("the list is longer than {limit} bytes")]
    TooLong {
        /// Most bytes.
        limit: u64,
    },
}

/// What is wrong with a line of a predictions file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// No JSON of the layout.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Longer than any real line.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// Most bytes.
        limit: u64,
    },
    /// The file ends within it.
    #[error("has no end, the file is truncated")]
    Torn,
    /// Not exactly one of prediction, failure and skip.
    #[error("must hold one of `prediction`, `failed` and `skipped`")]
    Outcome,
    /// A line of another sample than the dataset has at this place.
    #[error("is of sample `{found}`, the dataset has `{expected}` here")]
    Key {
        /// Key of the line.
        found: String,
        /// Key of the dataset.
        expected: String,
    },
    /// More or fewer lines than samples.
    #[error("the dataset has {expected} samples, the file has {found} lines of samples")]
    Count {
        /// Lines of samples.
        found: u64,
        /// Samples of the dataset.
        expected: u64,
    },
    /// A value that no model of this task can have predicted.
    #[error("{what} is {found}, it must be {expected}")]
    Value {
        /// Which value.
        what: &'static str,
        /// As it is.
        found: String,
        /// What it must be.
        expected: String,
    },
}

impl Error {
    /// `source` is wrong with the captions at `path`.
    pub(crate) fn captions(path: &Path, source: CaptionError) -> Self {
        Self::Captions {
            path: path.to_owned(),
            source: Box::new(source),
        }
    }
}

impl From<sightline_report::Error> for Error {
    fn from(source: sightline_report::Error) -> Self {
        Self::Report {
            source: Box::new(source),
        }
    }
}

impl Error {
    /// Whether a model outside the program did not answer about one request.
    pub(crate) fn is_unanswered(&self) -> bool {
        let Self::Forward { source, .. } = self else {
            return false;
        };
        matches!(**source, sightline_models::Error::Unanswered { .. })
    }

    /// Whether what is missing may be there when the same command runs again.
    pub(crate) fn is_resumable(&self) -> bool {
        match self {
            Self::Shard { .. } | Self::NoPart { .. } | Self::NoParts { .. } => true,
            Self::Forward { source, .. } => matches!(
                **source,
                sightline_models::Error::Unanswered { .. } | sightline_models::Error::Gone { .. }
            ),
            _ => false,
        }
    }

    /// The card of the model called `name` fails at preparing images.
    pub(crate) fn card(name: &str, source: CardError) -> Self {
        Self::Card {
            model: name.to_owned(),
            source: Box::new(source),
        }
    }

    /// Whether a GPU's memory is full, so that fewer samples at a time may go well.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Forward { source, .. } => source.is_out_of_memory(),
            Self::Preprocess {
                source: PrepareError::Tensor(error),
                ..
            } => is_out_of_memory(error),
            _ => false,
        }
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Captions { source, .. } => return source.hints(),
            Self::Store { source } => return source.hints(),
            Self::Shard { source } => return source.hints(),
            Self::Sharding { source } => return source.hints(),
            Self::Load { source, .. } | Self::Forward { source, .. } => return source.hints(),
            Self::Preprocess { source, .. } => return source.hints(),
            Self::Card { source, .. } => return source.hints(),
            Self::UnknownName { source } => return source.hints(),
            Self::Metric { source } => return source.hints(),
            Self::Report { source } => return source.hints(),
            Self::Regions { source, .. } => return source.hints(),
            Self::Annotations { published, .. } => {
                format!("The file should be like {published}: fetch it again, or name the right one in the dataset's manifest.")
            }
            Self::ImageTwice { .. } => {
                "Name files of one size and one split of each image, or put the others elsewhere."
                    .to_owned()
            }
            Self::NoVisuals { dataset, field } => format!(
                "Add `{field}` to `datasets/{dataset}.toml`: a pattern for {}.",
                if *field == "regions" {
                    "files of region features"
                } else {
                    "image files"
                }
            ),
            Self::RegionWidth { .. } => {
                "Take the region features that the model was trained with.".to_owned()
            }
            Self::Labels { .. } | Self::NoLabel { .. } => {
                "Name the labels in the order of the model's outputs in a file, one a line, as `classes` of the dataset."
                    .to_owned()
            }
            Self::OtherSource { path, .. } | Self::Archive { path, .. } => format!(
                "Remove `{}` and get it again.",
                path.display()
            ),
            Self::TrainingSample { dataset, .. } => format!(
                "Repair the sample, or leave it out: list the keys of the others as `ids` of `datasets/{dataset}.toml`."
            ),
            Self::FewDemonstrations { .. } | Self::ManyDemonstrations { .. } => {
                "Change `pool` of the task's `demonstrations`, or take another dataset.".to_owned()
            }
            Self::NoTables { .. } => {
                "Make the tables with `sightline metrics setup`, or leave the metric out.".to_owned()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "Free space on that disk and run the same command again.".to_owned()
            }
            Self::Changed { .. } | Self::NotLocked { .. } | Self::OtherPlan { .. } => {
                "Make a new lock with `sightline lock`, or run without `--locked`.".to_owned()
            }
            Self::NotGiven { model } => {
                format!("Give the folder with `--checkpoint {model}=DIR`.")
            }
            Self::NoCheckpoint { .. } => {
                "Name the folder as `checkpoint` in the model's manifest.".to_owned()
            }
            Self::OtherPredictions { path, .. } => format!(
                "Remove `{}` and run again, or choose another records folder.",
                path.display()
            ),
            Self::Predictions { path, .. } => {
                format!("Remove `{}` and run again.", path.display())
            }
            Self::OtherProtocol { .. } => {
                "Give --limit as it was given to `run`, or the suite's manifest as it was then.".to_owned()
            }
            Self::OtherThanRecorded { .. } | Self::OtherMetric { .. } => {
                "Run the suite again: it takes the predictions up that it finds, and scores them.".to_owned()
            }
            Self::OtherData { .. } => {
                "Bring the file back, or make both records again.".to_owned()
            }
            Self::Outside { source, .. } => return source.hints(),
            Self::OtherAdapter { .. } => {
                "Run again: the lock is made anew, unless it is given with `--locked`.".to_owned()
            }
            Self::NoPart { part, of, .. } => format!("Run the suite with `--part {part}/{of}`."),
            Self::NoParts { .. } => {
                "Run the suite with `--part 1/N` to `--part N/N` first; --from names the records folders of other machines."
                    .to_owned()
            }
            Self::InUse { .. } => {
                "Wait for the other run to end, or choose another records folder.".to_owned()
            }
            _ => return Vec::new(),
        };
        vec![hint]
    }
}
