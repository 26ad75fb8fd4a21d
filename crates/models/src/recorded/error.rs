//! Why recorded outputs cannot be compared.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;
use sightline_core::registry::UnknownName;

/// The result of this module.
pub type Result<T, E = RecordedError> = std::result::Result<T, E>;

/// Why a case cannot be opened, or one of its outputs not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordedError {
    /// A folder cannot be listed.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no recorded outputs.
    #[error("`{}` holds no `io.safetensors`, and no folders that do", path.display())]
    NoCase {
        /// The folder.
        path: PathBuf,
    },
    /// The file of inputs and outputs cannot be read.
    #[error("`{}` holds no tensors that can be read", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: candle_core::Error,
    },
    /// The description is of another form.
    #[error("`{}` is no object whose `family`, if any, is a text", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
    },
    /// A family that is not the expected one.
    #[error("`{}` says that its family is `{named}`, not `{wanted}`", path.display())]
    Family {
        /// The file.
        path: PathBuf,
        /// The family that it names.
        named: String,
        /// The family that was asked for.
        wanted: &'static str,
    },
    /// No such family.
    #[error(transparent)]
    UnknownFamily(#[from] UnknownName),
    /// A family that has no weights.
    #[error("the family `{family}` has no recorded outputs")]
    Unchecked {
        /// The family.
        family: &'static str,
    },
    /// An output that the family cannot compute.
    #[error("`out.{output}` is unknown to the family, or an input that it needs is missing")]
    Unknown {
        /// The output.
        output: String,
    },
    /// An input that is not there.
    #[error("the input `in.{input}` is missing")]
    Missing {
        /// The input.
        input: String,
    },
    /// A number that stands for nothing.
    #[error("the input `in.{input}` holds {value}, expected {wanted}")]
    Value {
        /// The input.
        input: String,
        /// The number.
        value: i64,
        /// What would do.
        wanted: String,
    },
    /// An output of another shape.
    #[error("the shape is {found:?}, recorded was {expected:?}")]
    Shape {
        /// The model's.
        found: Vec<usize>,
        /// The recorded one.
        expected: Vec<usize>,
    },
    /// The model cannot be loaded, or not be asked.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// Tensors do not fit together.
    #[error("tensor arithmetic failed")]
    Tensor(#[from] candle_core::Error),
}

impl From<sightline_nn::Error> for RecordedError {
    fn from(error: sightline_nn::Error) -> Self {
        Self::Model(error.into())
    }
}

impl Hint for RecordedError {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoCase { .. } => {
                "Put the inputs (`in.NAME`) and the outputs (`out.NAME`) of the reference program into \
                 `io.safetensors`, beside the checkpoint: docs/models.md says which ones a family knows."
            }
            Self::Unknown { .. } => "docs/models.md says which outputs and inputs a family knows.",
            Self::UnknownFamily(error) => return error.hints(),
            Self::Model(error) => return error.hints(),
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
