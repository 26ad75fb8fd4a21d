//! What can go wrong between a manifest's model and its answers.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;
use sightline_core::image_spec::ImageSpecError;

use crate::yaml::YamlError;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A family that has weights was asked for without a folder that holds them.
    #[error("the family `{family}` needs a checkpoint")]
    NoCheckpoint {
        /// The family.
        family: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A configuration file is larger than any real one.
    #[error("`{}` has more than {limit_bytes} bytes, the limit for a configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// A configuration file is not JSON, or a value in it is of another type or unknown.
    #[error("`{}` is not a configuration that can be read", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A folder has no configuration, or several.
    #[error("`{}` has {wanted}", folder.display())]
    NoConfig {
        /// The folder.
        folder: PathBuf,
        /// What it lacks, as "neither … nor …".
        wanted: &'static str,
    },
    /// A checkpoint whose configuration says nothing of a known family.
    #[error("`{}` is {}", folder.display(), unrecognised(found.as_deref()))]
    Unrecognised {
        /// The folder.
        folder: PathBuf,
        /// The type that its configuration names.
        found: Option<String>,
    },
    /// A configuration in YAML has a line that is not read.
    #[error("`{}` is not a configuration that can be read", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: YamlError,
    },
    /// A value of a configuration is outside what can be.
    #[error("`{}`: `{field}` is {found}, expected {wanted}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, with the keys above it.
        field: String,
        /// Its value.
        found: String,
        /// What would do.
        wanted: String,
    },
    /// The image preparation cannot be followed.
    #[error("cannot follow `{}`", path.display())]
    ImageSpec {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        #[source]
        source: ImageSpecError,
    },
    /// The image preparation and the vision tower disagree about the size of an image.
    #[error(
        "`{}` prepares images of {width} x {height} pixels, the vision tower takes {image_size} x {image_size}",
        path.display()
    )]
    ImageSize {
        /// The preparation's file.
        path: PathBuf,
        /// Columns that it makes.
        width: u32,
        /// Rows that it makes.
        height: u32,
        /// Rows and columns that the tower takes.
        image_size: usize,
    },
    /// The tokenizer has ids for which the model has no embedding.
    #[error(
        "the tokenizer of `{}` has {tokenizer} ids, the token table {model} rows",
        folder.display()
    )]
    Vocabulary {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// Ids of the tokenizer.
        tokenizer: usize,
        /// Rows of the table.
        model: usize,
    },
    /// More tokens than the model has positions for.
    #[error("{what} has {tokens} tokens, the model's context is {limit}")]
    Context {
        /// What is too long.
        what: &'static str,
        /// Its tokens.
        tokens: usize,
        /// The context.
        limit: usize,
    },
    /// A visual input of another kind than the model takes.
    #[error("the model takes {wanted}, not {found}")]
    Visual {
        /// What it takes.
        wanted: &'static str,
        /// What it was given.
        found: &'static str,
    },
    /// A capability that the model's head does not have.
    #[error("the model's head does not offer `{capability}`")]
    Head {
        /// The capability.
        capability: &'static str,
    },
    /// Another number of things than belong together.
    #[error("{found} {what}, needed are {wanted}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there must be.
        wanted: usize,
    },
    /// A part of a text that is not there, or holds no word within the model's context.
    #[error("bytes {start} to {end} of `{text}` are no words that the model reads")]
    Span {
        /// The text.
        text: String,
        /// First byte.
        start: usize,
        /// The byte behind the last.
        end: usize,
    },
    /// A word that names a region which is not there.
    #[error("a word names region {region}, there are {regions}")]
    Region {
        /// The region, counted from 0.
        region: usize,
        /// How many there are.
        regions: usize,
    },
    /// Regions whose features are of another length than the model takes.
    #[error("the regions' features have {found} values, the model takes {wanted}")]
    FeatureWidth {
        /// Values of each.
        found: usize,
        /// What the checkpoint was trained with.
        wanted: usize,
    },
    /// A proposal that is no box with a part in its image, or whose objectness is no share.
    #[error(
        "proposal {number} is the box {edges:?} with objectness {objectness}, in an image of {width} x {height} pixels"
    )]
    Proposal {
        /// Its number among those that were given, from 0.
        number: usize,
        /// Left, top, right and bottom.
        edges: [f32; 4],
        /// How sure it is that there is an object.
        objectness: f32,
        /// Columns of the image.
        width: f32,
        /// Rows of the image.
        height: f32,
    },
    /// A class that nobody can ask for.
    #[error("class {number} has no name")]
    ClassName {
        /// Its number among those that were given, from 0.
        number: usize,
    },
    /// A prompt of another form than the model takes.
    #[error("a prompt of this model is {wanted}")]
    Prompt {
        /// What it takes.
        wanted: &'static str,
    },
    /// A way to decode that the model cannot follow.
    #[error("`{field}` is {found}, expected {wanted}")]
    Decoding {
        /// Which part of the decoding.
        field: &'static str,
        /// Its value.
        found: String,
        /// What would do.
        wanted: String,
    },
    /// A file of anchors is damaged.
    #[error("`{}` {problem}", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What it does or does not.
        problem: &'static str,
    },
    /// Vectors of another encoder than the anchors'.
    #[error("{side} vectors have {found} values, those of the anchors {wanted}")]
    AnchorWidth {
        /// `image` or `text`.
        side: &'static str,
        /// Their length.
        found: usize,
        /// The anchors'.
        wanted: usize,
    },
    /// Vectors for anchors that an encoder cannot have made.
    #[error("the {side} vectors have {found} values, those of the encoder {wanted}")]
    EncoderWidth {
        /// `image` or `text`.
        side: &'static str,
        /// Their length.
        found: usize,
        /// The encoder's.
        wanted: usize,
    },
    /// An anchor that is not there.
    #[error("there is no anchor {anchor}, there are {anchors}, counted from 0")]
    NoAnchor {
        /// The number that was asked for.
        anchor: usize,
        /// How many there are.
        anchors: usize,
    },
    /// A vector that cannot be made of unit length: all zero, or not finite.
    #[error("the {side} vector of row {row} has no direction")]
    NoDirection {
        /// `image` or `text`.
        side: &'static str,
        /// Its row, counted from 0.
        row: usize,
    },
    /// A checkpoint that cannot encode for another model.
    #[error("`{}` is of the family `{family}`, which cannot be an encoder here", folder.display())]
    Encoder {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// Its family.
        family: &'static str,
    },
    /// Something that would be written is there already.
    #[error("`{}` exists", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file could not be mapped or replaced.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// Settings of an objective that it does not have, or of another type.
    #[error("the settings of the objective `{objective}` cannot be read")]
    Options {
        /// The objective.
        objective: &'static str,
        /// Which and why.
        #[source]
        source: serde_json::Error,
    },
    /// A text that the vocabulary cannot write.
    #[error("the vocabulary of `{}` has nothing for `{word}` in `{text}`", folder.display())]
    NotCovered {
        /// The folder of the vocabulary.
        folder: PathBuf,
        /// What it lacks.
        word: String,
        /// The text.
        text: String,
    },
    /// A batch without what its objective is about.
    #[error("the objective `{objective}` needs {wanted}, which `{example}` does not have")]
    Example {
        /// The objective.
        objective: &'static str,
        /// What it needs.
        wanted: &'static str,
        /// The key of the example.
        example: String,
    },
    /// A model that has no part for an objective.
    #[error("the objective `{objective}` does not fit the model in `{}`: {why}", folder.display())]
    Objective {
        /// The objective.
        objective: &'static str,
        /// The model's folder.
        folder: PathBuf,
        /// What the model is or lacks.
        why: String,
    },
    /// Tensors that cannot be trained.
    #[error("{what} cannot be trained")]
    Untrainable {
        /// What, with the reason.
        what: String,
    },
    /// The tokenizer failed.
    #[error(transparent)]
    Text(#[from] sightline_text::Error),
    /// Weights could not be read, or a tower could not compute.
    #[error(transparent)]
    Nn(#[from] sightline_nn::Error),
    /// A model outside this process did not answer, or answered what is no answer, about one request; others may go well.
    #[error("{reason}")]
    Unanswered {
        /// Why, in few words, so that reasons can be counted.
        reason: String,
    },
    /// A model outside this process cannot be asked any more.
    #[error("{reason}")]
    Gone {
        /// Why.
        reason: String,
    },
    /// candle failed: out of memory, no such device, or a bug here.
    #[error("tensor arithmetic failed")]
    Tensor(#[from] candle_core::Error),
}

impl Error {
    /// Whether a GPU's memory is full, so that fewer samples at a time may go well.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Nn(sightline_nn::Error::Tensor(error)) | Self::Tensor(error) => {
                sightline_nn::device::is_out_of_memory(error)
            }
            _ => false,
        }
    }
}

fn unrecognised(found: Option<&str>) -> String {
    match found {
        Some(found) => format!("of the type `{found}`, which no family reads"),
        None => "of no family that is known".to_owned(),
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoCheckpoint { .. } => {
                "Set `checkpoint` in the model's manifest to the folder that holds `config.json` and \
                 the weights."
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "Give the folder that holds the published checkpoint's files."
            }
            Self::NoConfig { .. } => {
                "Put the configuration that belongs to the weights into the folder, beside them."
            }
            Self::Unrecognised { .. } => "Name the family with --family, if it is one of these.",
            Self::Config { .. } => {
                "The checkpoint is of another family, or its configuration was edited: fetch it again."
            }
            Self::ImageSize { .. } => {
                "Take the configuration of the model and of its image preparation from the same checkpoint."
            }
            Self::Context { .. } => {
                "Shorten the text, ask for fewer tokens (--max-tokens), or take a model with a longer context."
            }
            Self::AnchorWidth { .. } => {
                "Use the encoder that the anchors were made with, or make them again with this one."
            }
            Self::EncoderWidth { .. } => {
                "Make the vectors with that encoder (sightline embed), or name the one that made them."
            }
            Self::NoDirection { .. } => {
                "Leave the pair out: its vector is all zero, or holds something that is no number."
            }
            Self::Proposal { .. } => {
                "A box is left, top, right and bottom in pixels of its image, and objectness a number from 0 to 1."
            }
            Self::ClassName { .. } => "Give each class at least one name of letters.",
            Self::Encoder { .. } => "Name the checkpoint of a family that embeds, such as `clip`.",
            Self::Anchors { .. } => "The file was cut off or edited: build the anchors again.",
            Self::Exists { .. } => "Add to it, or name another folder.",
            Self::Vocabulary { .. } => "Take the tokenizer's files from the same checkpoint.",
            Self::FeatureWidth { .. } => {
                "Take the features of the detector that the checkpoint was trained with."
            }
            Self::ImageSpec { source, .. } => return source.hints(),
            Self::Text(error) => return error.hints(),
            Self::Nn(error) => return error.hints(),
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
