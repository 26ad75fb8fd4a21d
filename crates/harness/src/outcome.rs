//! What a run comes to: a record of each model, or what is missing.

use std::path::PathBuf;

use sightline_report::record::Record;

use crate::Error;

/// What a run came to.
#[derive(Debug)]
pub struct RunOutcome {
    /// Models in the order of their first task; those after a stop are missing.
    pub models: Vec<ModelOutcome>,
    /// Whether the run was stopped before its end.
    pub stopped: bool,
}

impl RunOutcome {
    /// Whether every model has its record.
    pub fn is_complete(&self) -> bool {
        let is_whole = |model: &ModelOutcome| {
            matches!(model.state, State::Recorded { .. } | State::Part { .. })
        };
        !self.stopped && self.models.iter().all(is_whole)
    }

    /// Whether a self-check found an answer that depends on the batch, the order or the number of threads.
    pub fn differs_from_itself(&self) -> bool {
        self.models.iter().any(|model| match &model.state {
            State::Recorded { record, .. } => {
                let mut checks = record
                    .tasks
                    .iter()
                    .filter_map(|task| task.self_check.as_ref());
                checks.any(|check| !check.differing.is_empty())
            }
            _ => false,
        })
    }

    /// Examples that something broke for, which no score counts.
    pub fn failed(&self) -> u64 {
        let of = |model: &ModelOutcome| match &model.state {
            State::Recorded { record, .. } => {
                record.tasks.iter().map(|task| task.counts.failed).sum()
            }
            State::Part { tasks } => tasks.iter().map(|task| task.failed).sum(),
            _ => 0,
        };
        self.models.iter().map(of).sum()
    }
}

/// What a model came to.
#[derive(Debug)]
pub struct ModelOutcome {
    /// Its name.
    pub model: String,
    /// What it came to.
    pub state: State,
}

/// What a model came to.
#[derive(Debug)]
pub enum State {
    /// All tasks are scored.
    Recorded {
        /// The record.
        record: Box<Record>,
        /// Its file.
        path: PathBuf,
        /// Whether this run wrote it; else it was there with the same outcome.
        is_new: bool,
    },
    /// Some tasks could not be finished. The predictions made are kept; there is no record.
    Incomplete {
        /// Those tasks.
        tasks: Vec<Incomplete>,
    },
    /// A part of the examples of all tasks is predicted.
    Part {
        /// Those tasks.
        tasks: Vec<PredictedPart>,
    },
    /// The run was stopped. The predictions made are kept.
    Stopped,
}

/// A part of a task's examples that is predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PredictedPart {
    /// Its name.
    pub task: String,
    /// Where its predictions are.
    pub path: PathBuf,
    /// Examples of the part.
    pub examples: u64,
    /// Those that something broke for.
    pub failed: u64,
}

/// A task that could not be finished.
#[derive(Debug)]
pub struct Incomplete {
    /// Its name.
    pub task: String,
    /// Why not: the shard, and how many whole samples it has.
    pub error: Error,
}
