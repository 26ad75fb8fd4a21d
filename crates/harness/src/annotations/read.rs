//! Files of annotations, and what is wrong with them.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sightline_core::SampleKey;

use super::{Form, Role};
use crate::example::Example;
use crate::{Error, Result};

/// Longest file of annotations in bytes; the longest published one (VQA 2.0, training) has a fifth of it.
const MAX_BYTES: u64 = 2 << 30;

/// The files of a dataset's annotations.
pub(crate) struct Files {
    roles: &'static [Role],
    /// Which part of them is read.
    pub(crate) split: Option<String>,
    paths: Vec<(String, PathBuf)>,
    /// The dataset's image files, in the order of their names.
    pub(crate) images: Vec<PathBuf>,
}

/// A file of annotations.
#[derive(Clone, Debug)]
pub(crate) struct AnnotationFile {
    role: &'static Role,
    path: PathBuf,
}

/// Where in a file something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The file as a whole.
    File,
    /// A line, counted from 1.
    Line(usize),
    /// An entry of a list, counted from 1.
    Entry(&'static str, usize),
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(number) => write!(f, ", line {number}"),
            Self::Entry(list, number) => write!(f, ", number {number} of `{list}`"),
        }
    }
}

/// What is wrong with annotations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnotationProblem {
    /// No JSON of the form.
    #[error("{0}")]
    Json(serde_json::Error),
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotUtf8,
    /// More bytes than any published file has.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// Most bytes.
        limit: u64,
    },
    /// Nothing to ask about.
    #[error("holds no {what}")]
    Empty {
        /// What it should hold.
        what: &'static str,
    },
    /// One thing twice.
    #[error("{what} `{id}` was there before")]
    Twice {
        /// What it is.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Something about a thing that is not there.
    #[error("is about {what} `{id}`, which is not there")]
    Unknown {
        /// What is not there.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// A value that the form does not have.
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

impl Files {
    /// The files `paths`, by what they are for, of the form `form`.
    pub(crate) fn new(form: &dyn Form, split: Option<&str>, paths: Vec<(String, PathBuf)>) -> Self {
        Self {
            roles: form.files(),
            split: split.map(str::to_owned),
            paths,
            images: Vec::new(),
        }
    }

    /// The same, of a dataset with these image files.
    #[must_use]
    pub(crate) fn with_images(mut self, images: &[PathBuf]) -> Self {
        self.images = images.to_vec();
        self
    }

    /// The files for `role`, in the order of their names.
    pub(crate) fn all(&self, role: &str) -> Vec<AnnotationFile> {
        let Some(known) = self.roles.iter().find(|known| known.name == role) else {
            return Vec::new();
        };
        self.paths
            .iter()
            .filter(|(name, _)| name == role)
            .map(|(_, path)| AnnotationFile {
                role: known,
                path: path.clone(),
            })
            .collect()
    }
}

impl AnnotationFile {
    /// The file `path`, which is for `role`.
    pub(crate) fn of(path: &Path, role: &'static Role) -> Self {
        Self {
            role,
            path: path.to_owned(),
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error that `problem` is at `spot`.
    pub(crate) fn refuse(&self, spot: Spot, problem: AnnotationProblem) -> Error {
        Error::Annotations {
            path: self.path.clone(),
            spot,
            problem: Box::new(problem),
            published: self.role.published,
        }
    }

    /// Its text.
    pub(crate) fn text(&self) -> Result<String> {
        let io = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        if fs::metadata(&self.path).map_err(io)?.len() > MAX_BYTES {
            return Err(self.refuse(Spot::File, AnnotationProblem::TooLong { limit: MAX_BYTES }));
        }
        let bytes = fs::read(&self.path).map_err(io)?;
        String::from_utf8(bytes).map_err(|e| {
            let before = &e.as_bytes()[..e.utf8_error().valid_up_to()];
            let line = before.split(|&b| b == b'\n').count();
            self.refuse(Spot::Line(line), AnnotationProblem::NotUtf8)
        })
    }

    /// The one JSON value that it is.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let text = self.text()?;
        serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| self.refuse(Spot::File, AnnotationProblem::Json(e)))
    }

    /// The JSON values of its lines, with their numbers; blank lines are passed over.
    pub(crate) fn json_lines<T: DeserializeOwned>(&self) -> Result<Vec<(usize, T)>> {
        let text = self.text()?;
        let text = text.trim_start_matches('\u{feff}');
        let lines = text
            .lines()
            .zip(1..)
            .filter(|(line, _)| !line.trim().is_empty());
        lines
            .map(|(line, number)| {
                let value = serde_json::from_str(line);
                let value = value
                    .map_err(|e| self.refuse(Spot::Line(number), AnnotationProblem::Json(e)))?;
                Ok((number, value))
            })
            .collect()
    }
}

/// The key for the published id `id`: what keys cannot hold becomes `_`.
pub(crate) fn key(file: &AnnotationFile, spot: &Spot, id: &str) -> Result<SampleKey> {
    let plain: String = id
        .chars()
        .map(|c| {
            if c.is_control() || matches!(c, '.' | '\\') {
                '_'
            } else {
                c
            }
        })
        .collect();
    SampleKey::new(plain).map_err(|error| {
        file.refuse(
            spot.clone(),
            AnnotationProblem::Value {
                what: "the id",
                found: format!("`{id}`"),
                expected: format!("the key of a sample ({error})"),
            },
        )
    })
}

/// Refuses a key that was `seen`.
pub(crate) fn unique(
    file: &AnnotationFile,
    spot: Spot,
    example: &Example,
    seen: &mut HashSet<SampleKey>,
) -> Result<()> {
    if seen.insert(example.key.clone()) {
        return Ok(());
    }
    let problem = AnnotationProblem::Twice {
        what: "the example",
        id: example.key.to_string(),
    };
    Err(file.refuse(spot, problem))
}
