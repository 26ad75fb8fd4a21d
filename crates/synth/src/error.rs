//! What goes wrong when scenes are written.

use std::io;
use std::path::PathBuf;

use sightline_core::Hint;
use sightline_imaging::{EncodeError, PixelsError};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number of the spec is out of range.
    #[error("`{field}` is {value}, allowed are {min} to {max}")]
    Range {
        /// The field of the spec.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The smallest allowed.
        min: u64,
        /// The largest allowed.
        max: u64,
    },
    /// No split has a scene.
    #[error("`train`, `val` and `test` are all 0, there is nothing to write")]
    NoScenes,
    /// The base of the image addresses is not one.
    #[error(
        "`base_url` is {value:?}, expected an `http://` or `https://` address without spaces, `?` or `#`"
    )]
    BaseUrl {
        /// What was given.
        value: String,
    },
    /// The folder holds scenes of another spec.
    #[error("`{}` holds other scenes: {}", path.display(), list(differences))]
    OtherSpec {
        /// The folder.
        path: PathBuf,
        /// In what they differ.
        differences: Vec<Difference>,
    },
    /// The folder holds files that no run of this command began.
    #[error("`{}` holds `{name}`, and no scenes were begun there", path.display())]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// One of the files.
        name: String,
    },
    /// A dataset that was complete once is so no longer.
    #[error("`{}`: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Damage,
    },
    /// The system refused an operation on a file or folder.
    #[error("cannot {action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Store(#[from] sightline_store::Error),
    /// A scene could not be drawn.
    #[error("cannot draw image `{name}`")]
    Draw {
        /// Its name below the folder.
        name: String,
        /// Why not.
        #[source]
        source: PixelsError,
    },
    /// An image could not be encoded.
    #[error("cannot encode image `{name}`")]
    Encode {
        /// Its name below the folder.
        name: String,
        /// Why not.
        #[source]
        source: EncodeError,
    },
    /// A table or annotation file could not be put together.
    #[error("cannot put together `{name}`")]
    Table {
        /// Its name below the folder.
        name: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A field in which two specs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field.
    pub field: String,
    /// Its value in the folder.
    pub found: String,
    /// Its value in the spec.
    pub asked: String,
}

/// What is wrong with a file that was complete once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It is not the JSON this command writes.
    #[error("not a description of scenes of schema {schema}: {reason}")]
    Description {
        /// The schema that is read here.
        schema: u32,
        /// What the parser said.
        reason: String,
    },
    /// It is not there.
    #[error("the file is missing")]
    Missing,
    /// Its bytes are others.
    #[error("the content is not what was written")]
    Content,
    /// The images of a split are others.
    #[error("the images are not those that were written")]
    Images,
}

fn list(differences: &[Difference]) -> String {
    let all: Vec<String> = differences
        .iter()
        .map(|d| {
            format!(
                "`{}` is {} there, {} was asked for",
                d.field, d.found, d.asked
            )
        })
        .collect();
    all.join("; ")
}

impl Error {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// For errors of serialisers, whose types stay inside.
    pub(crate) fn table<E>(name: &str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let name = name.to_owned();
        move |e| Self::Table {
            name,
            source: io::Error::other(e),
        }
    }
}

impl Hint for Error {
    fn hints(&self) -> Vec<String> {
        match self {
            Self::OtherSpec { path, .. } => vec![format!(
                "Choose another folder, or remove `{}` first.",
                path.display()
            )],
            Self::Foreign { .. } => vec!["Choose a folder that is new or empty.".to_owned()],
            Self::Damaged { .. } => vec![
                "Remove the dataset's folder and run the same command again; the same bytes come back."
                    .to_owned(),
            ],
            Self::Store(source) => source.hints(),
            Self::Encode { source, .. } => source.hints(),
            Self::BaseUrl { .. } => vec![
                "It is what stands before `/images/train/000000.jpg` when the folder is served, such as \
                 `http://127.0.0.1:8000`."
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }
}
