//! What can go wrong between a checkpoint and a result.

use std::fmt;
use std::io;
use std::path::PathBuf;

use sightline_core::Hint;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Problems with tensors that stand in one line; more of them have a line each.
const IN_ONE_LINE: usize = 8;

/// Problems with tensors that a message prints; the error holds all of them.
const PRINTED_PROBLEMS: usize = 2000;

/// Why weights could not be read, or a tower could not compute.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Tensors could not be written.
    #[error("cannot write the tensors")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder has no file of weights.
    #[error("`{}` has no weights: none of {}", folder.display(), quoted(looked_for))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// Names of files that are looked for.
        looked_for: Vec<&'static str>,
    },
    /// A folder has several files of weights, and none of a usual name.
    #[error("`{}` has several files of weights: {}", folder.display(), quoted(found))]
    SeveralWeights {
        /// The folder.
        folder: PathBuf,
        /// Names of the files.
        found: Vec<String>,
    },
    /// A file of weights is damaged or of another kind.
    #[error("`{}` is not a readable file of weights", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// Tensors that the model needs are missing, of another shape or of a type without fractions.
    #[error("`{}` does not hold the model: {}", path.display(), listed(problems, unused))]
    Tensors {
        /// The file, or the index when there are several.
        path: PathBuf,
        /// Every problem, in the order in which the model asks for tensors.
        problems: Vec<TensorProblem>,
        /// Names and shapes of the tensors that the model does not ask for, sorted.
        unused: Vec<(String, Vec<usize>)>,
    },
    /// A device that cannot keep weights in this type.
    #[error("weights cannot be kept in {precision} on {device}")]
    Precision {
        /// The type.
        precision: &'static str,
        /// The device.
        device: String,
    },
    /// A device that cannot be computed on.
    #[error("no device {device}")]
    Device {
        /// What was asked for.
        device: String,
        /// What the system says.
        #[source]
        source: Box<candle_core::Error>,
    },
    /// A device that this program was built without.
    #[error("this program has no code for {device}")]
    NoCuda {
        /// What was asked for.
        device: String,
    },
    /// An id that has no row in the embedding table.
    #[error("token id {id} is outside the vocabulary of {vocabulary_size}")]
    TokenId {
        /// The id.
        id: u32,
        /// Rows of the table.
        vocabulary_size: usize,
    },
    /// An index that has no row in a table of something else than tokens.
    #[error("{what} {index} is outside the table of {rows} rows")]
    Index {
        /// What the table holds.
        what: &'static str,
        /// The index.
        index: u32,
        /// Rows of the table.
        rows: usize,
    },
    /// A sequence that has more tokens than there are positions.
    #[error("sequence of {len} tokens, the limit is {limit}")]
    Length {
        /// Tokens.
        len: usize,
        /// Positions.
        limit: usize,
    },
    /// A tensor that does not fit where it enters.
    #[error("{what} has the shape {found:?}, needed is {wanted}")]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that fits.
        wanted: String,
    },
    /// candle failed: out of memory, no such device, or a bug here.
    #[error("tensor arithmetic failed")]
    Tensor(#[from] candle_core::Error),
}

/// One tensor of a checkpoint that the model cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorProblem {
    /// No tensor of that name.
    Missing {
        /// Its name.
        name: String,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
    },
    /// Another shape.
    Shape {
        /// Its name.
        name: String,
        /// The shape that the configuration asks for.
        wanted: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// Elements that are not floating point numbers of 16, 32 or 64 bits.
    Type {
        /// Its name.
        name: String,
        /// The element type in the file.
        found: String,
    },
}

impl fmt::Display for TensorProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, wanted } => write!(f, "`{name}` {wanted:?} is missing"),
            Self::Shape {
                name,
                wanted,
                found,
            } => write!(f, "`{name}` is {found:?} instead of {wanted:?}"),
            Self::Type { name, found } => {
                write!(
                    f,
                    "`{name}` holds {found} instead of floating point numbers"
                )
            }
        }
    }
}

fn quoted(names: &[impl AsRef<str>]) -> String {
    let names: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    names.join(", ")
}

fn listed(problems: &[TensorProblem], unused: &[(String, Vec<usize>)]) -> String {
    let count = problems.len() + unused.len();
    let unused = unused
        .iter()
        .map(|(name, shape)| format!("`{name}` {shape:?} is not asked for"));
    let parts = problems.iter().map(ToString::to_string).chain(unused);
    let mut parts: Vec<String> = parts.take(PRINTED_PROBLEMS).collect();
    if count > PRINTED_PROBLEMS {
        parts.push(format!("and {} more", count - PRINTED_PROBLEMS));
    }
    if count > IN_ONE_LINE {
        format!("{count} problems\n{}", parts.join("\n"))
    } else {
        parts.join("; ")
    }
}

/// What is wrong with a file of weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The file ends before what its header promises.
    #[error("it ends after {found_bytes} bytes, its header promises {needed_bytes}")]
    Truncated {
        /// Length of the file that would hold everything.
        needed_bytes: u64,
        /// Length of the file.
        found_bytes: u64,
    },
    /// A header or table of contents is larger than any real one.
    #[error("its {what} has {len_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its length.
        len_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The header of a safetensors file, or an index of shards, is not what it should be.
    #[error("its {what} is not JSON of the expected form")]
    Json {
        /// Which part.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// An index names a shard outside its folder.
    #[error("its index names the shard `{name}`, which is not the name of a file beside it")]
    ShardName {
        /// The name.
        name: String,
    },
    /// A tensor's place in the file contradicts its shape.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The contradiction.
        reason: String,
    },
    /// Neither of the two forms that PyTorch writes.
    #[error("it is neither a zip archive nor an older PyTorch file")]
    NotTorch,
    /// The archive is damaged or lacks an entry.
    #[error("its archive cannot be read: {message}")]
    Archive {
        /// What was found.
        message: String,
    },
    /// The pickled table of tensors is damaged, or needs what the restricted reader does not have.
    #[error("its pickle cannot be read: {reason} at byte {offset}")]
    Pickle {
        /// Offset of the opcode.
        offset: usize,
        /// What was found there.
        reason: String,
    },
    /// The pickle holds something else than names and tensors.
    #[error("its pickle holds no dictionary of tensors")]
    NotStateDict,
    /// The pickle calls something that no checkpoint needs.
    #[error(
        "its pickle calls `{name}` ({opcode} at byte {offset}), which is no part of a checkpoint; nothing was run"
    )]
    PickleCall {
        /// What is called.
        name: String,
        /// Name of the opcode that calls it.
        opcode: &'static str,
        /// Offset of the opcode.
        offset: usize,
    },
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NoWeights { .. } => {
                "Give the folder that holds the published checkpoint's files."
            }
            Self::SeveralWeights { .. } => "Name the file instead of the folder.",
            Self::Format {
                source: FormatError::PickleCall { .. },
                ..
            } => {
                "Do not load the file with PyTorch, which would run the call. If you trust it, load it there with \
                 `weights_only=True` and save its tensors as safetensors."
            }
            Self::Format {
                source: FormatError::Truncated { .. },
                ..
            } => "The file was probably not copied completely: fetch it again.",
            Self::Format { .. } => "The file may be damaged or of another kind: fetch it again.",
            Self::Tensors { .. } => {
                "The weights belong to another model or size than `config.json` describes: take \
                 both from the same checkpoint."
            }
            Self::TokenId { .. } => {
                "The tokenizer and the weights belong to different checkpoints: take both from the \
                 same one."
            }
            Self::Precision { .. } => "On a GPU weights are kept in f32, f16 or bf16.",
            Self::NoCuda { .. } => {
                "`just build-cuda` makes a second program, sightline-cuda, that has it (docs/gpu.md)."
            }
            Self::Device { .. } => {
                "`nvidia-smi` lists the devices; cuda:0 is the first one that CUDA_VISIBLE_DEVICES leaves. docs/gpu.md \
                 says where CUDA's libraries are looked for."
            }
            _ => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(missing: usize, unused: &[&str]) -> String {
        let problems = (0..missing).map(|i| TensorProblem::Missing {
            name: format!("t{i}"),
            wanted: vec![2, 3],
        });
        let unused = unused.iter().map(|name| ((*name).to_owned(), vec![4]));
        let error = Error::Tensors {
            path: "model.safetensors".into(),
            problems: problems.collect(),
            unused: unused.collect(),
        };
        error.to_string()
    }

    #[test]
    fn few_problems_stand_in_one_line_and_many_in_one_each() {
        assert_eq!(
            message(1, &["x"]),
            "`model.safetensors` does not hold the model: `t0` [2, 3] is missing; `x` [4] is not asked for"
        );
        let many = message(300, &["x", "y"]);
        assert_eq!(many.lines().count(), 303);
        assert!(many.starts_with(
            "`model.safetensors` does not hold the model: 302 problems\n`t0` [2, 3] is missing\n`t1`"
        ));
        assert!(many.ends_with("`x` [4] is not asked for\n`y` [4] is not asked for"));
        assert!(message(3000, &[]).ends_with("\n`t1999` [2, 3] is missing\nand 1000 more"));
    }
}
