//! Which record each model had in each night: `nights.jsonl` beside the records, a line for each night that was finished.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sightline_core::Digest;
use sightline_store::write_atomic;

use crate::exit::{Exit, Failure};

/// A night.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Night {
    /// Layout of the line: 1.
    pub(super) schema: u32,
    /// Name of the list.
    pub(super) nightly: String,
    /// When it began, RFC 3339 in UTC.
    pub(super) began: String,
    /// The record of each model in each suite.
    pub(super) models: Vec<NightModel>,
}

/// The record of a model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NightModel {
    pub(super) suite: String,
    pub(super) model: String,
    pub(super) record: Digest,
}

impl Night {
    /// The record that a model had.
    pub(super) fn record_of(&self, suite: &str, model: &str) -> Option<Digest> {
        let mut models = self.models.iter();
        let found = models.find(|one| one.suite == suite && one.model == model);
        found.map(|one| one.record)
    }
}

/// All nights, oldest first.
pub(super) struct Nights {
    path: PathBuf,
    text: String,
    all: Vec<Night>,
}

impl Nights {
    /// Reads those of a records folder; none where there is no file.
    pub(super) fn read(records: &Path) -> Result<Self, Failure> {
        let path = records.join("nights.jsonl");
        let doing = || format!("reading `{}`", path.display());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| Failure::io(doing(), &error))?,
        };
        let mut all = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let night: Night = serde_json::from_str(line).map_err(|error| {
                Failure::usage(doing(), format!("line {number}: {error}"))
                    .with_exit(Exit::Environment)
                    .with_hint("Restore the file, or remove it: the next night is then the first.")
            })?;
            all.push(night);
        }
        Ok(Self { path, text, all })
    }

    /// The last one of a list.
    pub(super) fn last(&self, nightly: &str) -> Option<&Night> {
        self.all.iter().rfind(|night| night.nightly == nightly)
    }

    /// Writes all of them and `night`.
    pub(super) fn add(&self, night: &Night) -> Result<(), Failure> {
        let doing = || format!("writing `{}`", self.path.display());
        let line = serde_json::to_string(night)
            .map_err(|error| Failure::io(doing(), &io::Error::from(error)))?;
        let text = format!("{}{line}\n", self.text);
        write_atomic(&self.path, text.as_bytes())
            .map_err(|error| Failure::new(crate::command::exits::store(&error), doing(), &error))
    }
}
