//! What can end a training run, or keep it from beginning.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run did not begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] sightline_dataset::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// Scenes cannot be drawn.
    #[error(transparent)]
    Synth(#[from] sightline_synth::Error),
    /// The model or its objective.
    #[error(transparent)]
    Model(Box<sightline_models::Error>),
    /// The network below.
    #[error(transparent)]
    Nn(#[from] sightline_nn::Error),
    /// A tensor could not be computed.
    #[error("cannot compute")]
    Tensor(#[from] candle_core::Error),
    /// Pixels cannot be made as the model wants them.
    #[error(transparent)]
    Prepare(#[from] sightline_preprocess::PrepareError),
    /// The plot cannot be made.
    #[error(transparent)]
    Report(#[from] sightline_report::Error),
    /// A file of the run cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file of the run is not what was written.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Data without a sample.
    #[error("`{name}` holds no samples")]
    NoSamples {
        /// The data.
        name: String,
    },
    /// A name that no format's shards have.
    #[error("`{name}` has the extension of no shard format")]
    NoFormat {
        /// The name.
        name: String,
    },
    /// An objective that needs what the data do not have.
    #[error(
        "the objective `{objective}` needs {need}, and sample `{sample}` of `{shard}` has none"
    )]
    Lacks {
        /// The objective.
        objective: String,
        /// What it needs.
        need: String,
        /// The first sample that lacks it.
        sample: String,
        /// Where it lies.
        shard: String,
    },
    /// Documents with their images inside.
    #[error(
        "sample `{sample}` of `{shard}` is a document of several images in MMC4's form (`text_list`, `image_info`), which training does not read"
    )]
    Mmc4 {
        /// The sample.
        sample: String,
        /// Where it lies.
        shard: String,
    },
    /// An objective that needs what the manifest names no source of.
    #[error(
        "the objective `{objective}` needs {need}, and `{field}` says nothing about those of `{data}`"
    )]
    Unnamed {
        /// The objective.
        objective: String,
        /// What it needs.
        need: &'static str,
        /// The data that lack it.
        data: String,
        /// The key of the manifest that names it.
        field: String,
    },
    /// Files of regions that cannot be read.
    #[error(transparent)]
    Regions(Box<sightline_preprocess::regions::RegionsError>),
    /// Two images of one name among the files of regions.
    #[error("`{name}` has the image `{image}` twice")]
    SameName {
        /// The files.
        name: String,
        /// The second one's name.
        image: String,
    },
    /// Features of another detector.
    #[error("features of regions in `{name}` have {found} values, the model takes {wanted}")]
    FeatureWidth {
        /// The data.
        name: String,
        /// Values of a feature.
        found: usize,
        /// What the model takes.
        wanted: usize,
    },
    /// Regions without boxes.
    #[error(
        "the regions of `{sample}` in `{name}` have no boxes, by which it would be told what they show"
    )]
    NoBoxes {
        /// The files.
        name: String,
        /// The sample.
        sample: String,
    },
    /// A file of objects that is none.
    #[error("`{}` holds no objects in COCO's form: {reason}", path.display())]
    Objects {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Answers or classes that the model has no name for.
    #[error(
        "{what} `{found}` of `{data}` is none of the {known} that the objective `{objective}` knows"
    )]
    Unknown {
        /// What it is.
        what: &'static str,
        /// Its name.
        found: String,
        /// Where it is from.
        data: String,
        /// The objective.
        objective: String,
        /// How many it knows.
        known: usize,
    },
    /// A teacher that does not fit.
    #[error("`{}` cannot be the teacher: {problem}", path.display())]
    Teacher {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Documents that a batch does not hold whole.
    #[error(
        "stage {stage} has batches of {batch} samples, in parts of {part}, and documents of {images} samples"
    )]
    Documents {
        /// Number of the stage, from 1.
        stage: usize,
        /// Samples of a batch.
        batch: u64,
        /// Samples of a part of it.
        part: u64,
        /// Samples of a document.
        images: usize,
    },
    /// An objective that is not one of the family's.
    #[error("the family `{family}` has no objective `{}`", error.name)]
    Objective {
        /// The name and the nearest ones.
        error: Box<sightline_core::registry::UnknownName>,
        /// The family.
        family: String,
    },
    /// Tensors that the start has in another shape, or not at all.
    #[error("`{}` does not fit the model: {problem}", path.display())]
    Start {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
    /// Patterns that leave nothing to train, or name nothing.
    #[error("{what} `{pattern}` matches no tensor of the model")]
    Pattern {
        /// What it is for.
        what: &'static str,
        /// The pattern.
        pattern: String,
    },
    /// Everything is frozen.
    #[error("stage {stage} trains nothing: every tensor is frozen")]
    NothingTrained {
        /// Number of the stage, from 1.
        stage: usize,
    },
    /// Another run lies there.
    #[error("`{}` holds a run with other settings: {}", path.display(), list(changes))]
    Changed {
        /// The folder.
        path: PathBuf,
        /// `key: before → now`, each.
        changes: Vec<String>,
    },
    /// Something else lies there.
    #[error("`{}` is not empty and holds no training run", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process trains there.
    #[error("`{}` is being written by another process", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// Too little room for the checkpoints.
    #[error("`{}` has {free_bytes} bytes left, checkpoints need up to {needed_bytes}", path.display())]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// Numbers that are none.
    #[error("step {step}: {what} is not finite; {kept}")]
    Diverged {
        /// The step.
        step: u64,
        /// What.
        what: String,
        /// Which checkpoint there is, in words.
        kept: String,
    },
    /// Losses that rise instead of falling.
    #[error(
        "step {step}: the loss, {factor:.1} times what counts as its beginning ({first:.2}, 1 at the least), has left what training is about; {kept}"
    )]
    Rising {
        /// The step.
        step: u64,
        /// How many times the first losses, or 1.
        factor: f64,
        /// The least of the first losses.
        first: f64,
        /// Which checkpoint there is, in words.
        kept: String,
    },
    /// A weight that 16 bits do not hold.
    #[error("`{name}` holds {largest}, and weights of 16 bits go up to 65,504")]
    Half {
        /// The tensor.
        name: String,
        /// Its largest number.
        largest: f32,
    },
    /// Batches of nothing.
    #[error(
        "step {step}: of {steps} steps one after the other, {samples} samples each, none can be used: images or captions are missing or broken"
    )]
    EmptyBatch {
        /// The step.
        step: u64,
        /// How many had no sample.
        steps: u64,
        /// Samples of each.
        samples: u64,
    },
    /// Data whose samples are all broken.
    #[error(
        "none of the samples of `{name}` that are looked at can be used: images or captions are missing or broken"
    )]
    AllBroken {
        /// Which data.
        name: String,
    },
    /// Too few examples together.
    #[error(
        "stage {stage} has parts of {part} samples, and the objective `{objective}` tells samples of a part from each other: it needs {least} or more"
    )]
    FewTogether {
        /// Number of the stage, from 1.
        stage: usize,
        /// The objective.
        objective: String,
        /// Samples of a part.
        part: u64,
        /// Samples that it needs.
        least: usize,
    },
    /// Examples of several images.
    #[error(
        "the objective `{objective}` needs {images} images an example, and samples of shards have one: it can be measured, not trained"
    )]
    SeveralImages {
        /// The objective.
        objective: String,
        /// Images of an example.
        images: usize,
    },
    /// Dropout that nothing heeds.
    #[error(
        "stage {stage} asks for dropout, which the objective `{objective}` of `{family}` does not have"
    )]
    NoDropout {
        /// Number of the stage, from 1.
        stage: usize,
        /// The objective.
        objective: String,
        /// The family.
        family: String,
    },
    /// The thread that loads has ended.
    #[error("the thread that prepares batches has ended")]
    Loader,
}

fn list(changes: &[String]) -> String {
    changes.join("; ")
}

impl Error {
    /// An error of the system on the file `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether the run itself failed, not its surroundings nor its settings.
    pub fn is_no(&self) -> bool {
        matches!(
            self,
            Self::Diverged { .. } | Self::Rising { .. } | Self::Half { .. } | Self::Damaged { .. }
        )
    }
}

impl From<sightline_models::Error> for Error {
    fn from(error: sightline_models::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Data(error) => return error.hints(),
            Self::Store(error) => return error.hints(),
            Self::Synth(error) => return error.hints(),
            Self::Model(error) => return error.hints(),
            Self::Nn(error) => return error.hints(),
            Self::Objective { error, .. } => return error.hints(),
            Self::Lacks { .. } => {
                "`data.caption_column` names a column of metadata that holds captions, `data.caption_forms` makes some of columns; `sightline shards filter` leaves samples out."
            }
            Self::Mmc4 { .. } => {
                "Documents are made of samples that are an image with a caption each: `options = { images = 3 }`."
            }
            Self::Unnamed { field, .. } => return vec![format!("Name them with `{field}`.")],
            Self::Unknown { .. } => {
                "Name it where the objective's answers or classes are listed: `id2label` of the configuration, `base` or `novel` of the options."
            }
            Self::Documents { .. } => {
                "Make `batch` and, with `accumulate`, its parts a multiple of the objective's `images`."
            }
            Self::FewTogether { .. } => "Make `batch` larger, or `accumulate` smaller.",
            Self::Half { .. } => "Keep them in 32 bits: `checkpoint.weights = \"f32\"`.",
            Self::NoDropout { .. } => "Leave `dropout` out.",
            Self::Regions(error) => return error.hints(),
            Self::Changed { .. } => {
                "Train into another folder with `--out`, or begin anew with `--overwrite`."
            }
            Self::NotARun { .. } => "Name an empty folder or a new one with `--out`.",
            Self::NoSpace { .. } => "Make room, or name a folder on another disk with `--out`.",
            Self::NoFormat { .. } => "Say which it is with `data.format`.",
            Self::Diverged { .. } | Self::Rising { .. } => {
                "A smaller `lr`, a longer `warmup_steps` or a smaller `clip_grad_norm` helps; then train anew with `--overwrite`."
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
